#!/usr/bin/env node
// The `tledger` command.
import { keepFreedMemory, tuneHeap } from '../server/heap.ts';
import { processContext } from './context.ts';
import { runCli } from './program.ts';

tuneHeap();
keepFreedMemory();
process.exitCode = await runCli(process.argv.slice(2), processContext());
