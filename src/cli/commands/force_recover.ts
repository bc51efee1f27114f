// tledger node force-recover: offline, for a group whose majority is lost for good.
import type { Command } from 'commander';
import type { Recovered, RecoverOptions, Survivor } from '../../server/force_recover.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, Output } from '../output.ts';
import { endpoint } from '../parsing.ts';

interface Options {
  readonly dataDir: string;
  readonly group: string;
  readonly peer?: string;
  readonly client?: string;
  readonly acceptDataLoss?: boolean;
}

const HELP = `
For a group whose majority will never come back; as long as it can, let it, and nothing is lost. With the node stopped,
run this on every survivor and compare: the one whose last record has the higher term, and of equal terms the higher
index, holds the most. Only on that one run it again with --accept-data-loss, and start its node. It is a group of one
then, with a new group id: members of the old group are refused. Delete their data, start them with --join, and take them
in with "tledger member add".

Exit code 0 when the node is a group of one now, or was one already; then nothing is changed. 1 if it is not.

Examples:
  tledger node force-recover --data-dir /var/lib/tledger --group g0
  tledger node force-recover --data-dir /var/lib/tledger --group g0 --accept-data-loss`;

/** Adds the command below `node`. */
export function registerForceRecover(node: Command, context: CliContext): void {
  node
    .command('force-recover')
    .description('say what a survivor holds; with --accept-data-loss make it a group of one')
    .requiredOption('--data-dir <directory>', "the node's data directory (required)")
    .option('--group <group>', 'the group', 'g0')
    .option('--peer <host:port>', 'where other members will reach it (default: as recorded)', endpoint)
    .option('--client <host:port>', 'where clients will reach it (default: as recorded)', endpoint)
    .option('--accept-data-loss', 'do it: what only the others hold is lost for good')
    .addHelpText('after', HELP)
    .action(async (options: Options, command: Command) => {
      const { describe, recoverByForce } = await import('../../server/force_recover.ts');
      const { dataDir, group, peer, client } = options;
      const where: RecoverOptions = { dataDir, group, address: { ...(peer && { peer }), ...(client && { client }) } };
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      const survivor = await describe(where);
      if (survivor.isAlone) return output.result({ recovered: false, ...survivor }, () => aloneText(survivor));
      if (options.acceptDataLoss !== true) {
        await output.result({ recovered: false, ...survivor }, () => textOf(survivor));
        throw new QuietExit(exitCodes.failed);
      }
      if (output.format === 'text') context.stderr.write(`${factsOf(survivor)}\n\n${consequencesOf(survivor)}\n\n`);
      const recovered = await recoverByForce(where);
      // Somebody else did it meanwhile.
      if (recovered === null) return output.result({ recovered: false, ...survivor }, () => aloneText(survivor));
      await output.result({ recovered: true, ...recovered }, () => doneText(recovered));
    });
}

function textOf(survivor: Survivor): string {
  return [
    factsOf(survivor),
    '',
    consequencesOf(survivor),
    '',
    'Nothing was changed. With --accept-data-loss this node becomes a group of one.',
  ].join('\n');
}

function factsOf(survivor: Survivor): string {
  const { lastIndex, lastTerm, firstIndex, appliedIndex, flushedIndex, membersIndex, term, vote } = survivor;
  const by = membersIndex === 0 ? 'who founded the group' : `as record ${grouped(membersIndex)} says`;
  const rows: readonly (readonly [string, string])[] = [
    ['directory', survivor.directory],
    ['node', `${survivor.nodeId} of cluster ${survivor.cluster}, group ${survivor.group} (id ${survivor.groupId})`],
    ['members', `${survivor.members.join(', ')}, ${by}`],
    ['last record', `term ${grouped(lastTerm)}, index ${grouped(lastIndex)}: compare these two with other survivors`],
    ['first record', `index ${grouped(firstIndex)}`],
    ['flushed', `index ${grouped(flushedIndex)}`],
    ['applied', `index ${grouped(appliedIndex)}: everything up to it is known to be committed`],
    ['last took part', `in term ${grouped(term)}${vote === null ? '' : `, voted for ${vote}`}`],
    ...(survivor.tornBytes > 0
      ? [['cut', `${grouped(survivor.tornBytes)} bytes of an unfinished write at the end`] as const]
      : []),
  ];
  return rows.map(([name, value]) => `${name.padEnd(16)}${value}`).join('\n');
}

function consequencesOf({ others, uncertainCount, appliedIndex, lastIndex }: Survivor): string {
  const lines = ['What it means to go on from here alone:'];
  if (others.length > 0) {
    lines.push(
      `- Records that only ${others.join(', ')} held are lost for good, acknowledged ones among them: an acknowledged`,
      '  record lies on a majority, and that need not have included this node.',
    );
  }
  if (uncertainCount > 0) {
    const range = `within ${grouped(appliedIndex + 1)} to ${grouped(lastIndex)}`;
    lines.push(
      `- ${grouped(uncertainCount)} records (${range}) come after the last one known to be committed. They become permanent,`,
      '  whether their senders were told so or not.',
    );
  } else {
    lines.push('- No record is held beyond the last one known to be committed.');
  }
  lines.push('- The group gets a new id: old members that come back are refused, and have to be added as new ones.');
  return lines.join('\n');
}

function aloneText(survivor: Survivor): string {
  const { nodeId, groupId, others } = survivor;
  const learners = others.length === 0 ? '' : `, with ${others.join(', ')} as learners`;
  return `${factsOf(survivor)}\n\n${nodeId} is a group of one already (id ${groupId})${learners}. Nothing was changed.`;
}

function doneText({ nodeId, index, term, groupId, address }: Survivor & Recovered): string {
  return [
    `${nodeId} is a group of one (id ${groupId}), by record ${grouped(index)} of term ${grouped(term)}, at ${address.peer}`,
    `and for clients at ${address.client}. Start its node; take others in with "tledger member add".`,
  ].join('\n');
}
