// tledger cluster status
import type { Command } from 'commander';
import { lagOf } from '../../client/membership.ts';
import { shortly } from '../../client/shortly.ts';
import type { ClusterStatusResponse, NodeStatus } from '../../wire/admin_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { duration, grouped, table } from '../output.ts';
import { outsideLines } from '../outside.ts';
import { scrubDocument } from './log_verify.ts';

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  const cluster = program.command('cluster').description('look at the group as a whole');
  cluster
    .command('status')
    .description('show every member: role, term, how far its log goes; without a leader, too (exit code 3)')
    .option('--local', 'only the node that is asked, without asking the others')
    .addHelpText(
      'after',
      `
ROLE is that of Raft for voters; others are called learner, leaving, joining (not a member yet) or removed.
LAG is how many records a member's log is behind the longest one; FLUSHED the byte up to which it is on disk.

Examples:
  tledger cluster status
  tledger cluster status --endpoints 127.0.0.1:8082 --format json`,
    )
    .action((options: { readonly local?: boolean }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const status = await client.admin.clusterStatus({ localOnly: options.local === true, timeoutMs });
        await output.result(documentOf(status), () => textOf(status));
        if (status.leaderId === '') throw new QuietExit(exitCodes.unavailable);
      }),
    );
}

function documentOf(status: ClusterStatusResponse) {
  return {
    cluster: status.cluster,
    group: status.group,
    leaderId: status.leaderId === '' ? null : status.leaderId,
    ...(status.outside === '' ? {} : { outside: status.outside }),
    nodes: status.nodes.map((node) => {
      const { nodeId, reachable, clientAddress, peerAddress } = node;
      if (!reachable) return { nodeId, reachable, error: node.error, clientAddress, peerAddress };
      return {
        nodeId,
        reachable,
        role: node.role,
        ...(node.role === 'repairing' ? { repair: node.error } : {}),
        membershipRole: node.membershipRole,
        term: Number(node.term),
        firstIndex: Number(node.firstIndex),
        lastIndex: Number(node.lastIndex),
        flushedIndex: Number(node.flushedIndex),
        committedIndex: Number(node.committedIndex),
        appliedIndex: Number(node.appliedIndex),
        lag: lagOf(node, status.nodes),
        flushedPosition: Number(node.flushedPosition),
        endPosition: Number(node.endPosition),
        clientAddress,
        peerAddress,
        uptimeMs: Number(node.uptimeMs),
        version: node.version,
        pid: node.pid,
        scrub: scrubDocument(node.scrub ?? null),
        disk: diskDocument(node),
      };
    }),
  };
}

/** How full its disk is; null when it does not look. */
function diskDocument({ diskLevel = '', diskUsedPercent = 0, diskFreeBytes = '0' }: NodeStatus) {
  if (diskLevel === '') return null;
  return { level: diskLevel, usedPercent: Math.round(10 * diskUsedPercent) / 10, freeBytes: Number(diskFreeBytes) };
}

/** What Raft makes of a voter at the moment; of others, what they are in the group. */
function roleOf({ role, membershipRole }: NodeStatus): string {
  return role === 'leader' || role === 'repairing' || membershipRole === 'voter' || membershipRole === ''
    ? role
    : membershipRole;
}

function textOf(status: ClusterStatusResponse): string {
  const rows = status.nodes.map((node) => {
    if (!node.reachable) return [node.nodeId, 'unreachable', '', '', '', '', '', '', node.clientAddress, ''];
    return [
      node.nodeId,
      roleOf(node),
      node.term,
      grouped(node.lastIndex),
      grouped(node.committedIndex),
      grouped(node.appliedIndex),
      grouped(lagOf(node, status.nodes) ?? ''),
      grouped(node.flushedPosition),
      node.clientAddress,
      duration(Number(node.uptimeMs)),
    ];
  });
  const head = ['NODE', 'ROLE', 'TERM', 'LAST', 'COMMITTED', 'APPLIED', 'LAG', 'FLUSHED', 'ADDRESS', 'UPTIME'];
  const leader = status.leaderId === '' ? 'no leader' : `leader ${status.leaderId}`;
  const silent = status.nodes
    .filter(({ reachable, role }) => !reachable || role === 'repairing')
    .map(({ nodeId, error }) => `${nodeId}: ${shortly(error)}`);
  const damaged = status.nodes.flatMap(({ nodeId, scrub }) => {
    const count = scrub?.faults.length ?? 0;
    return count === 0 ? [] : [`${nodeId}: ${count} damaged places found, see tledger log verify`];
  });
  return [
    ...outsideLines(status.outside),
    `cluster ${status.cluster}, group ${status.group}, ${leader}`,
    '',
    table(head, rows),
    ...silent,
    ...damaged,
    ...status.nodes.flatMap((node) => {
      const disk = diskDocument(node);
      const text = `${node.nodeId}: disk ${disk?.usedPercent} % full (${disk?.level})`;
      return disk === null || disk.level === 'ok' ? [] : [text];
    }),
  ].join('\n');
}
