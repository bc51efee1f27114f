#!/usr/bin/env node
// The `tledger` command.
import { letHeapGrow } from '../server/heap.ts';
import { processContext } from './context.ts';
import { runCli } from './program.ts';

letHeapGrow();
process.exitCode = await runCli(process.argv.slice(2), processContext());
