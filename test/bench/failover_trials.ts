// Trials of one way in which a leader goes: real processes under a moderate load, one fault at a time, the longest silence
// between two acknowledgements around each. Ends with a check that nothing acknowledged was lost.
import { TLedgerClient } from '../../src/client/index.ts';
import { GapMeter } from '../../src/server/demo/gap_meter.ts';
import type { LocalCluster } from '../../src/server/local_cluster.ts';
import { History } from '../chaos/history.ts';
import { isFaultless, judge } from '../chaos/judge.ts';
import { Leaders } from '../chaos/leaders.ts';
import { Load } from '../chaos/load.ts';
import { CLIENTS, Network } from '../chaos/network.ts';
import { pause, until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';
import { builtCluster } from './built.ts';

/** The ways, in words. */
export const failoverKinds = {
  kill: 'kill -9 of the leader',
  partition: 'the leader cut off from members and clients',
  transfer: 'leadership handed over',
} as const;

/** A way in which a leader goes. */
export type FailoverKind = keyof typeof failoverKinds;

/** What to try, and how often. */
export interface TrialsOptions {
  readonly kind: FailoverKind;
  readonly trials: number;
  readonly nodes: number;
  /** Messages a second. */
  readonly rate: number;
  /** Told of each trial. */
  readonly onTrial: (number: number, gapMs: number) => void;
}

/** What came of it. */
export interface Trials {
  readonly kind: FailoverKind;
  /** Milliseconds without an acknowledgement, a trial. */
  readonly gapsMs: readonly number[];
  readonly acknowledged: number;
  /** The first broken promises, in words; none when all were kept. */
  readonly broken: readonly string[];
}

const TOPIC = 'failover';
const QUEUES = 4;
const PRODUCERS = 2;
const WINDOW = 32;
const TIMEOUT_MS = 30_000;
/** Processes that have just been started are slow. */
const WARM_UP_MS = 3_000;
/** Load between two trials, so that each begins in calm, and acknowledgements that prove the group serves again. */
const CALM_MS = 500;
const SERVED_COUNT = 50;

/** Makes a group, tries, and ends the group. @throws Error when no leader or no service comes back in time. */
export async function runTrials(options: TrialsOptions): Promise<Trials> {
  const bench = await FailoverBench.start(options);
  try {
    const gapsMs: number[] = [];
    for (let number = 1; number <= options.trials; number++) {
      const gapMs = await bench.trial();
      gapsMs.push(gapMs);
      options.onTrial(number, gapMs);
    }
    return { kind: options.kind, gapsMs, ...(await bench.verdict()) };
  } finally {
    await bench.close();
  }
}

class FailoverBench {
  readonly #kind: FailoverKind;
  readonly #cluster: LocalCluster;
  readonly #network: Network;
  readonly #client: TLedgerClient;
  readonly #history = new History(QUEUES);
  readonly #meter = new GapMeter();
  readonly #leaders: Leaders;
  readonly #load: Load;

  private constructor(options: TrialsOptions, cluster: LocalCluster, network: Network) {
    this.#kind = options.kind;
    this.#cluster = cluster;
    this.#network = network;
    this.#client = new TLedgerClient({ endpoints: cluster.endpoints });
    this.#leaders = new Leaders(cluster.members, this.#history);
    const addresses = cluster.members.map(({ nodeId }) => nodeId);
    this.#load = new Load({
      endpoints: this.#isRouted ? addresses.map((nodeId) => network.addressesOf(nodeId).client) : cluster.endpoints,
      topic: TOPIC,
      history: this.#history,
      ratePerSender: options.rate / PRODUCERS,
      onAcknowledged: (nowMs) => this.#meter.acknowledged(nowMs),
    });
  }

  static async start(options: TrialsOptions): Promise<FailoverBench> {
    const LocalClusterOfBuild = await builtCluster();
    const network = new Network();
    const cluster = await LocalClusterOfBuild.start({
      nodes: options.nodes,
      settings: { segmentSizeBytes: '64MiB' },
      // Proxies only where something is to be cut: they cost a little.
      ...(options.kind === 'partition' ? { routes: (members) => network.open(members) } : {}),
    });
    const bench = new FailoverBench(options, cluster, network);
    await cluster.waitForLeader();
    await bench.#client.admin.createTopic(TOPIC, { queues: QUEUES });
    await until(() => bench.#leaders.current !== undefined, TIMEOUT_MS);
    for (let at = 0; at < PRODUCERS; at++) bench.#load.startProducer({ window: WINDOW });
    await pause(WARM_UP_MS);
    return bench;
  }

  /** @returns the longest silence around one fault, in milliseconds. */
  async trial(): Promise<number> {
    await pause(CALM_MS);
    const { current: leader, term } = this.#leaders;
    if (leader === undefined) throw new Error('there is no leader');
    this.#meter.open();
    const undo = await this.#harm(leader);
    if (!(await this.#leaders.after(term, TIMEOUT_MS))) throw new Error(`no new leader within ${TIMEOUT_MS} ms`);
    const enough = this.#meter.acknowledgedInWindow + SERVED_COUNT;
    if (!(await until(() => this.#meter.acknowledgedInWindow >= enough, TIMEOUT_MS))) throw new Error('no service');
    const gapMs = Math.round(this.#meter.close());
    await undo();
    const agreement = await verifyReplicas(this.#client, TIMEOUT_MS);
    if (!agreement.identical) throw new Error(`the replicas do not agree: ${agreement.why}`);
    return gapMs;
  }

  async verdict(): Promise<Pick<Trials, 'acknowledged' | 'broken'>> {
    await this.#load.stop();
    const verdict = judge(this.#history, await readLog(this.#client, TOPIC, QUEUES));
    return { acknowledged: verdict.acknowledged, broken: isFaultless(verdict) ? [] : verdict.examples };
  }

  async close(): Promise<void> {
    await Promise.race([this.#load.stop(), pause(TIMEOUT_MS)]);
    await this.#leaders.close();
    await this.#client.close();
    await this.#cluster.stop();
    await this.#network.close();
  }

  get #isRouted(): boolean {
    return this.#kind === 'partition';
  }

  /** Does the harm; resolves with how to undo it. */
  async #harm(leader: string): Promise<() => Promise<void>> {
    switch (this.#kind) {
      case 'kill':
        await this.#cluster.kill(leader);
        return () => this.#cluster.restart(leader);
      case 'partition': {
        const others = this.#cluster.members.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== leader);
        const heal = this.#network.cut([leader], [...others, CLIENTS]);
        return async () => heal();
      }
      case 'transfer':
        await this.#client.admin.transferLeadership();
        return async () => {};
    }
  }
}
