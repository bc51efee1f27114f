// tledger log verify
import type { Command } from 'commander';
import type { ReplicaDigest, VerifyLogResponse } from '../../wire/admin_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, table } from '../output.ts';
import { integer } from '../parsing.ts';

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  const log = program.command('log').description('look at the replicated log');
  log
    .command('verify')
    .description('compare all replicas at one committed index; exit code 1 unless they are byte-identical')
    .option('--index <n>', 'the index (default: the highest that is committed on all reachable replicas)', integer(1))
    .addHelpText(
      'after',
      `
CHAIN is a checksum over every byte of the log up to that record, as it was when the record was written: equal chains
mean that the replicas took the same bytes in the same order. Stored bytes are not read again here: what a disk changed
later is found when it is read, or when the node starts.

Example:
  tledger log verify && echo identical`,
    )
    .action((options: { readonly index?: number }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const verified = await client.admin.verifyLog({ index: options.index, timeoutMs });
        await output.result(documentOf(verified), () => textOf(verified));
        if (!verified.identical) throw new QuietExit(exitCodes.failed);
      }),
    );
}

function documentOf({ index, identical, replicas }: VerifyLogResponse) {
  return {
    index: Number(index),
    identical,
    replicas: replicas.map((one) => {
      if (!one.reachable || one.error !== '') return { nodeId: one.nodeId, reachable: one.reachable, error: one.error };
      const { nodeId, reachable, chainCrc } = one;
      return { nodeId, reachable, index: Number(one.index), chainCrc, endPosition: Number(one.endPosition) };
    }),
  };
}

function textOf({ index, identical, replicas }: VerifyLogResponse): string {
  const rows = replicas.map((one) =>
    one.reachable && one.error === ''
      ? [one.nodeId, one.chainCrc.toString(16).padStart(8, '0'), grouped(one.endPosition)]
      : [one.nodeId, '', ''],
  );
  const failures = replicas
    .filter(({ error, reachable }) => error !== '' || !reachable)
    .map(({ nodeId, reachable, error }) => `${nodeId} ${reachable ? 'answered' : 'did not answer'}: ${error}`);
  const verdict = `${verdictOf(identical, replicas)} up to record ${grouped(index)}`;
  return [table(['NODE', 'CHAIN', 'BYTES'], rows), ...failures, verdict].join('\n');
}

function verdictOf(identical: boolean, replicas: readonly ReplicaDigest[]): string {
  if (identical) return 'all replicas are byte-identical';
  const answered = replicas.filter(({ reachable, error }) => reachable && error === '');
  const isOne = new Set(answered.map(({ chainCrc, endPosition }) => `${chainCrc} ${endPosition}`)).size === 1;
  if (answered.length === replicas.length || !isOne) return 'the replicas DIFFER';
  return `only ${answered.length} of ${replicas.length} replicas could be compared; those are byte-identical`;
}
