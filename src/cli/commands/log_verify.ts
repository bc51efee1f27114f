// tledger log verify: compares the replicas, tells of the checks of what they store, and with --deep has all of it read.
import type { Command } from 'commander';
import type { TLedgerClient } from '../../client/client.ts';
import type { NodeStatus, ReplicaDigest, ScrubStatus, VerifyLogResponse } from '../../wire/admin_messages.ts';
import { type CliContext, type Session, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { duration, grouped, table } from '../output.ts';
import { bytes, integer } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';
import { verifyOffline } from './log_survey.ts';

const POLL_MS = 500;

type Scrubs = ReadonlyMap<string, ScrubStatus | null>;

interface Options {
  readonly index?: number;
  readonly deep?: boolean;
  readonly rate?: number;
  readonly dataDir?: string;
  readonly group: string;
}

const HELP = `
CHAIN is a checksum over every byte of the log up to that record, as it was when the record was written: equal chains
mean that the replicas took the same bytes in the same order. CHECKED is when each member last read all that it stores
again (settings scrubIntervalMs and scrubBytesPerSecond), and how far it is with the next time.

With --deep every member reads everything now, from the beginning: each record (header, chain, body), each unit of the
log index and of the queues, the state, the snapshots, the small files; then it compares itself with the others. The
command waits for the last one and says what is damaged; a running group repairs that by itself. Ctrl-C ends the wait,
not the checks. Bytes that the operating system still has in memory are checked there, not on the device.

With --data-dir the same is done to the files of a node that is stopped; nothing is changed.

Exit code 0: all identical, nothing damaged. 1: not so, or not all could be asked.

Examples:
  tledger log verify && echo identical
  tledger log verify --deep --rate 100MiB
  tledger log verify --deep --data-dir /var/lib/tledger --group g0`;

/** Adds the command. */
export function registerVerify(log: Command, context: CliContext): void {
  log
    .command('verify')
    .description('compare all replicas; with --deep read and check all that they store')
    .option('--index <n>', 'compare at this index (default: the highest committed on all reachable ones)', integer(1))
    .option('--deep', 'read and check everything that is stored')
    .option('--rate <bytes>', 'with --deep: bytes a second on each member (default: as configured)', bytes(4096))
    .option('--data-dir <directory>', 'with --deep: look at the data directory of a stopped node instead')
    .option('--group <group>', 'with --data-dir: the group', 'g0')
    .addHelpText('after', HELP)
    .action((options: Options, command: Command) => {
      const { deep, rate, index, dataDir, group } = options;
      if (dataDir !== undefined && deep !== true) command.error('error: --data-dir goes with --deep');
      if (rate !== undefined && deep !== true) command.error('error: --rate goes with --deep');
      if (deep === true && index !== undefined) command.error('error: --index does not go with --deep');
      if (dataDir !== undefined) return verifyOffline(command, context, { dataDir, group });
      return withSession(command, context, async (session) => {
        const unfinished = deep === true ? await scrubAll(session, context, rate) : [];
        await verify(session, options, deep === true);
        if (unfinished.length > 0) throw new QuietExit(exitCodes.failed);
      });
    });
}

/** Compares, and shows what is known of the checks. */
async function verify({ client, output, timeoutMs }: Session, { index }: Options, isDeep: boolean): Promise<void> {
  const verified = await client.admin.verifyLog({ index, timeoutMs });
  const { nodes } = await client.admin.clusterStatus({ timeoutMs });
  const scrubs = new Map(nodes.map(({ nodeId, scrub }) => [nodeId, scrub ?? null]));
  await output.result(documentOf(verified, scrubs), () => textOf(verified, scrubs));
  const faults = [...scrubs.values()].some((scrub) => scrub !== null && scrub.faults.length > 0);
  if (!verified.identical || (isDeep && faults)) throw new QuietExit(exitCodes.failed);
}

/**
 * Has all members check everything; resolves when all of them have, or cannot be asked any more.
 * @returns those that have not come to the end: damage in the log ends a pass, and the node is being repaired then.
 */
async function scrubAll({ client, output, timeoutMs }: Session, context: CliContext, rate?: number): Promise<string[]> {
  const { members } = await client.admin.scrub({ bytesPerSecond: rate, timeoutMs });
  const waited = new Map(members.filter(({ error }) => error === '').map(({ nodeId, pass }) => [nodeId, Number(pass)]));
  for (const { nodeId, error } of members) {
    if (error !== '') context.stderr.write(`${nodeId} does not check: ${error}\n`);
  }
  const unfinished = members.filter(({ error }) => error !== '').map(({ nodeId }) => nodeId);
  let nodes: readonly NodeStatus[] = [];
  const line = new ProgressLine(context, output.format === 'text', () => progressOf(nodes, waited));
  const signal = context.interrupted();
  try {
    while (waited.size > 0 && !signal.aborted) {
      nodes = (await statusOf(client, timeoutMs)) ?? nodes;
      for (const { nodeId, scrub, reachable } of nodes) {
        const pass = waited.get(nodeId);
        // One that ended, or was given up: damage in the log ends it there, and is told of. Or the node started anew.
        const isOver = !reachable || scrub == null || Number(scrub.pass) !== pass || !scrub.running;
        if (pass === undefined || !isOver) continue;
        waited.delete(nodeId);
        if (scrub != null && Number(scrub.lastPass) >= pass) continue;
        unfinished.push(nodeId);
        context.stderr.write(`${nodeId} has not come to the end of its check: see its log, and cluster status\n`);
      }
      if (waited.size > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    line.stop();
  }
  if (signal.aborted) throw new QuietExit(exitCodes.interrupted);
  return unfinished;
}

async function statusOf(client: TLedgerClient, timeoutMs: number | undefined): Promise<readonly NodeStatus[] | null> {
  return (await client.admin.clusterStatus({ timeoutMs })).nodes;
}

function progressOf(nodes: readonly NodeStatus[], waited: ReadonlyMap<string, number>): string {
  const parts = nodes.flatMap(({ nodeId, scrub }) =>
    scrub != null && waited.has(nodeId) ? [`${nodeId} ${percentOf(scrub)} %`] : [],
  );
  return `checking: ${parts.join(', ')}`;
}

function percentOf({ checkedBytes, totalBytes }: ScrubStatus): number {
  return Number(totalBytes) === 0 ? 0 : Math.min(100, Math.floor((100 * Number(checkedBytes)) / Number(totalBytes)));
}

/** The checks of a member as JSON. */
export function scrubDocument(scrub: ScrubStatus | null) {
  if (scrub === null) return null;
  return {
    running: scrub.running,
    pass: Number(scrub.pass),
    startedAtMs: Number(scrub.startedAtMs),
    bytesPerSecond: Number(scrub.bytesPerSecond),
    index: Number(scrub.index),
    goal: Number(scrub.goal),
    checkedBytes: Number(scrub.checkedBytes),
    totalBytes: Number(scrub.totalBytes),
    nextAtMs: Number(scrub.nextAtMs),
    lastPass: Number(scrub.lastPass),
    lastAtMs: Number(scrub.lastAtMs),
    lastIndex: Number(scrub.lastIndex),
    faults: scrub.faults.map(({ kind, file, index, reason, atMs }) => ({
      ...{ kind, file, index: Number(index), reason, atMs: Number(atMs) },
    })),
  };
}

/** When everything was read last, and how far the pass under way is, in a few words. */
export function scrubText(scrub: ScrubStatus | null, nowMs: number): string {
  if (scrub === null) return '';
  const last = Number(scrub.lastAtMs) === 0 ? 'never' : `${duration(Math.max(0, nowMs - Number(scrub.lastAtMs)))} ago`;
  const now = scrub.running ? `, now ${percentOf(scrub)} %` : '';
  const faults = scrub.faults.length === 0 ? '' : `, ${scrub.faults.length} damaged`;
  return `${last}${now}${faults}`;
}

function documentOf({ index, identical, replicas }: VerifyLogResponse, scrubs: Scrubs) {
  return {
    index: Number(index),
    identical,
    replicas: replicas.map((one) => {
      if (!one.reachable || one.error !== '') return { nodeId: one.nodeId, reachable: one.reachable, error: one.error };
      const { nodeId, reachable, chainCrc } = one;
      const scrub = scrubDocument(scrubs.get(nodeId) ?? null);
      return { nodeId, reachable, index: Number(one.index), chainCrc, endPosition: Number(one.endPosition), scrub };
    }),
  };
}

function textOf({ index, identical, replicas }: VerifyLogResponse, scrubs: Scrubs): string {
  const nowMs = Date.now();
  const checked = (nodeId: string): string => scrubText(scrubs.get(nodeId) ?? null, nowMs);
  const rows = replicas.map((one) =>
    one.reachable && one.error === ''
      ? [one.nodeId, one.chainCrc.toString(16).padStart(8, '0'), grouped(one.endPosition), checked(one.nodeId)]
      : [one.nodeId, '', '', checked(one.nodeId)],
  );
  const failures = replicas
    .filter(({ error, reachable }) => error !== '' || !reachable)
    .map(({ nodeId, reachable, error }) => `${nodeId} ${reachable ? 'answered' : 'did not answer'}: ${error}`);
  const faults = [...scrubs].flatMap(([nodeId, scrub]) =>
    (scrub?.faults ?? []).map(({ kind, file, reason }) => `${nodeId}: damaged (${kind}): ${file}: ${reason}`),
  );
  const verdict = `${verdictOf(identical, replicas)} up to record ${grouped(index)}`;
  return [table(['NODE', 'CHAIN', 'BYTES', 'CHECKED'], rows), ...failures, ...faults, verdict].join('\n');
}

function verdictOf(identical: boolean, replicas: readonly ReplicaDigest[]): string {
  if (identical) return 'all replicas are byte-identical';
  const answered = replicas.filter(({ reachable, error }) => reachable && error === '');
  const isOne = new Set(answered.map(({ chainCrc, endPosition }) => `${chainCrc} ${endPosition}`)).size === 1;
  if (answered.length === replicas.length || !isOne) return 'the replicas DIFFER';
  return `only ${answered.length} of ${replicas.length} replicas could be compared; those are byte-identical`;
}
