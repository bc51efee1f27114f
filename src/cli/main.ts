#!/usr/bin/env node
// The `tledger` command.
import { keepFreedMemory, letHeapGrow } from '../server/heap.ts';
import { processContext } from './context.ts';
import { runCli } from './program.ts';

letHeapGrow();
keepFreedMemory();
process.exitCode = await runCli(process.argv.slice(2), processContext());
