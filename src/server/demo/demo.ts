// The failover demonstration: a group under load loses its leader to kill -9, again and again; afterwards everything
// that was acknowledged is read back and compared.
//
//   phase k:  [ load ......... kill -9 leader ... gap ... load goes on ... node restarted ... caught up ]
import { TLedgerError } from '../../base/errors.ts';
import { TLedgerClient } from '../../client/client.ts';
import { type ClusterEvent, LocalCluster } from '../local_cluster.ts';
import { readBody } from './body.ts';
import { Comparison, isFaultless, type Verdict } from './comparison.ts';
import { GapMeter, median } from './gap_meter.ts';
import { Load } from './load.ts';

/** How the demonstration is run. */
export interface DemoOptions {
  /** All producers together; rounded down to a multiple of their number. */
  readonly messages: number;
  /** How often the leader is killed. */
  readonly kills: number;
  readonly sizeBytes: number;
  readonly producers: number;
  readonly queues: number;
  /** Gives up when aborted; the nodes are ended, too. */
  readonly signal?: AbortSignal;
  /** Told of everything worth telling, as it happens. */
  readonly onEvent: (event: DemoEvent) => void;
}

/** A moment of the demonstration. */
export type DemoEvent =
  | { readonly kind: 'cluster'; readonly event: ClusterEvent }
  | { readonly kind: 'ready'; readonly endpoints: readonly string[]; readonly dataDir: string }
  | { readonly kind: 'killing'; readonly nodeId: string; readonly kill: number; readonly acknowledged: number }
  | { readonly kind: 'served-again'; readonly gapMs: number }
  | { readonly kind: 'caught-up'; readonly nodeId: string; readonly tookMs: number }
  | { readonly kind: 'sent'; readonly acknowledged: number; readonly seconds: number }
  | { readonly kind: 'reading' }
  | { readonly kind: 'verified'; readonly index: number; readonly identical: boolean };

/** The outcome; a person's and a program's. */
export interface DemoReport extends Verdict {
  /** Longest silence between two acknowledgements around each kill, in whole milliseconds. */
  readonly failoverGapMs: readonly number[];
  readonly medianGapMs: number | null;
  /** All replicas hold the same bytes. */
  readonly byteIdentical: boolean;
  /** Of the whole sending, gaps and waits included. */
  readonly seconds: number;
  readonly messagesPerSecond: number;
  /** What the first message that could not be sent was refused with, if there was one. */
  readonly firstFailure: string | null;
  readonly ok: boolean;
}

const TOPIC = 'demo';
const SERVED_TIMEOUT_MS = 30_000;
const CATCH_UP_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** Where in a phase its kill falls, and how much of the phase may be under way by then: the rest is sent after it. */
const KILL_AT_SHARE = 0.4;
const SENT_BEFORE_KILL_SHARE = 0.7;

/** Runs the demonstration in a temporary directory on free ports, and leaves nothing behind. */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const cluster = await LocalCluster.start({ onEvent: (event) => options.onEvent({ kind: 'cluster', event }) });
  const client = new TLedgerClient({ endpoints: cluster.endpoints });
  // Whatever waits for the group, anywhere below, fails at once then.
  const giveUp = (): void => client.abort();
  options.signal?.addEventListener('abort', giveUp);
  try {
    return await Promise.race([demonstrate(cluster, client, options), givenUp(options.signal)]);
  } finally {
    options.signal?.removeEventListener('abort', giveUp);
    client.abort();
    await cluster.stop();
  }
}

/** Rejects when the signal is aborted; never resolves. */
function givenUp(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const giveUp = (): void => reject(new TLedgerError('SHUTTING_DOWN', 'interrupted'));
    if (signal?.aborted === true) giveUp();
    signal?.addEventListener('abort', giveUp, { once: true });
  });
}

async function demonstrate(cluster: LocalCluster, client: TLedgerClient, options: DemoOptions): Promise<DemoReport> {
  const { onEvent, producers, queues, sizeBytes } = options;
  const messagesEach = Math.floor(options.messages / producers);
  await cluster.waitForLeader();
  await client.admin.createTopic(TOPIC, { queues, timeoutMs: SERVED_TIMEOUT_MS });
  onEvent({ kind: 'ready', endpoints: cluster.endpoints, dataDir: cluster.dataDir });

  const comparison = new Comparison({ producers, messagesEach, queues });
  const meter = new GapMeter();
  const load = new Load(client, { topic: TOPIC, producers, messagesEach, sizeBytes }, comparison, meter);
  options.signal?.addEventListener('abort', () => load.stop(), { once: true });
  const startMs = performance.now();
  const running = load.run();
  const failoverGapMs = await killUnderLoad({ cluster, client, load, meter, options, messagesEach });
  await running;
  const seconds = (performance.now() - startMs) / 1000;
  onEvent({ kind: 'sent', acknowledged: load.acknowledged, seconds });

  onEvent({ kind: 'reading' });
  await readBack(client, comparison, sizeBytes);
  const byteIdentical = await verify(client, onEvent);
  const verdict = comparison.verdict();
  return {
    ...verdict,
    failoverGapMs,
    medianGapMs: median(failoverGapMs),
    byteIdentical,
    seconds: Math.round(seconds * 1000) / 1000,
    messagesPerSecond: Math.round(load.acknowledged / seconds),
    firstFailure: load.firstFailure === undefined ? null : `${load.firstFailure.code}: ${load.firstFailure.message}`,
    ok: isFaultless(verdict) && byteIdentical && failoverGapMs.length === options.kills,
  };
}

interface Stage {
  readonly cluster: LocalCluster;
  readonly client: TLedgerClient;
  readonly load: Load;
  readonly meter: GapMeter;
  readonly options: DemoOptions;
  readonly messagesEach: number;
}

/** One phase a kill: load up to the kill, the gap, load again, restart, catch up. */
async function killUnderLoad(stage: Stage): Promise<number[]> {
  const { load, messagesEach, options } = stage;
  const gaps: number[] = [];
  for (let kill = 0; kill < options.kills; kill++) {
    const phaseStart = Math.floor((messagesEach * kill) / options.kills);
    const phaseEnd = Math.floor((messagesEach * (kill + 1)) / options.kills);
    const upTo = (share: number): number => phaseStart + Math.floor((phaseEnd - phaseStart) * share);
    load.raiseQuota(upTo(SENT_BEFORE_KILL_SHARE));
    await load.whenSettled(upTo(KILL_AT_SHARE) * options.producers);
    assertWanted(options.signal);
    gaps.push(await killLeader(stage, kill + 1, phaseEnd));
    await load.whenSettled(phaseEnd * options.producers);
  }
  load.raiseQuota(messagesEach);
  return gaps;
}

async function killLeader(
  { cluster, client, load, meter, options }: Stage,
  kill: number,
  phaseEnd: number,
): Promise<number> {
  const { onEvent } = options;
  const { nodeId } = await cluster.waitForLeader();
  onEvent({ kind: 'killing', nodeId, kill, acknowledged: load.acknowledged });
  meter.open();
  await cluster.kill(nodeId, 'SIGKILL');
  load.raiseQuota(phaseEnd);
  // What was on its way when the leader died may still arrive: the gap is over when another one leads and answers.
  await cluster.waitForLeader(SERVED_TIMEOUT_MS);
  await untilServed(load, meter, phaseEnd * options.producers, options.signal);
  const gapMs = Math.round(meter.close());
  assertWanted(options.signal);
  onEvent({ kind: 'served-again', gapMs });
  const startMs = performance.now();
  await cluster.restart(nodeId);
  await untilCaughtUp(client, nodeId);
  onEvent({ kind: 'caught-up', nodeId, tookMs: Math.round(performance.now() - startMs) });
  return gapMs;
}

/** Waits for one more acknowledgement; there is none to come when all of the phase is settled already. */
async function untilServed(load: Load, meter: GapMeter, phaseTotal: number, signal?: AbortSignal): Promise<void> {
  const seen = meter.acknowledgedInWindow;
  const deadlineMs = performance.now() + SERVED_TIMEOUT_MS;
  while (meter.acknowledgedInWindow === seen && load.settled < phaseTotal) {
    assertWanted(signal);
    if (performance.now() > deadlineMs) throw new TLedgerError('NO_LEADER', 'nobody was served after the leader died');
    await sleep(1);
  }
}

/** Waits until a node has applied all that was committed when it was asked. */
async function untilCaughtUp(client: TLedgerClient, nodeId: string | undefined): Promise<void> {
  const deadlineMs = performance.now() + CATCH_UP_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const { nodes } = await client.admin.clusterStatus();
    const committed = Math.max(...nodes.map((node) => Number(node.committedIndex)));
    const asked = nodes.filter((node) => nodeId === undefined || node.nodeId === nodeId);
    if (asked.every((node) => node.reachable && Number(node.appliedIndex) >= committed)) return;
    await sleep(POLL_MS);
  }
  throw new TLedgerError('DEADLINE_EXCEEDED', `${nodeId ?? 'some node'} did not catch up in ${CATCH_UP_TIMEOUT_MS} ms`);
}

async function readBack(client: TLedgerClient, comparison: Comparison, sizeBytes: number): Promise<void> {
  for await (const { queue, messages } of client.consumeBatches({ topic: TOPIC, untilEnd: true })) {
    for (const { body } of messages) {
      const sent = readBody(body, sizeBytes);
      if (sent === undefined) comparison.readForeign();
      else comparison.read(queue, sent.producer, sent.number);
    }
  }
}

async function verify(client: TLedgerClient, onEvent: DemoOptions['onEvent']): Promise<boolean> {
  await untilCaughtUp(client, undefined);
  const { index, identical } = await client.admin.verifyLog();
  onEvent({ kind: 'verified', index: Number(index), identical });
  return identical;
}

/** @throws TLedgerError SHUTTING_DOWN once the demonstration was interrupted. */
function assertWanted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new TLedgerError('SHUTTING_DOWN', 'interrupted');
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
