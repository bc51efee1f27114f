// tledger log verify, dump, repair
import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { registerDump } from './log_dump.ts';
import { registerRepair } from './log_repair.ts';
import { registerVerify } from './log_verify.ts';

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const log = program.command('log').description('look at the replicated log, check it, repair it');
  registerVerify(log, context);
  registerDump(log, context);
  registerRepair(log, context);
}
