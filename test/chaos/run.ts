// One run of chaos on real processes: load, readers and probes; faults from a seed; then everything is healed, read back,
// judged and compared. A run that met too little is void: it proves nothing.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRandom } from '../../src/base/random.ts';
import type { SettingKey } from '../../src/config/schema.ts';
import { GapMeter } from '../../src/server/demo/gap_meter.ts';
import { LocalCluster, type LocalMember } from '../../src/server/local_cluster.ts';
import { Cast } from './cast.ts';
import { type FaultKind, faults } from './faults.ts';
import { Histories } from './histories.ts';
import { History } from './history.ts';
import { isFaultless, judge } from './judge.ts';
import { Leaders } from './leaders.ts';
import { Load, type SenderOptions } from './load.ts';
import { Network } from './network.ts';
import { pause, until } from './pause.ts';
import { planOf, type Step } from './plan.ts';
import { type ProbeCounts, Prober, Reader } from './readers.ts';
import { compareFiles, readCutLog, verifyReplicas } from './replicas.ts';
import { type ChaosReport, FaultStatistics, voidReasons } from './report.ts';
import { Stage } from './stage.ts';
import { WorkingTime } from './working_time.ts';

/** How a run goes. */
export interface ChaosOptions {
  readonly nodes: number;
  readonly seed: number;
  /** How long faults are made; the whole run takes some seconds more. */
  readonly faultsMs: number;
  /** Ends the faults after so many steps (see plan.ts), even if there is time left. */
  readonly stepsMax?: number;
  readonly kinds: readonly FaultKind[];
  /** Settings of all nodes, beside those that a run needs. */
  readonly settings?: Readonly<Partial<Record<SettingKey, string>>>;
  /** Messages a second of all senders together. */
  readonly rate: number;
  /** Told what happens, as lines. */
  readonly onLine: (line: string) => void;
}

const TOPIC = 'chaos';
const GROUP = 'g0';
const QUEUES = 6;
/** Processes that have just been started are slow. */
const WARM_UP_MS = 2_000;
/** Load without faults before the first and after the last, by which service is measured. */
const CALM_MS = 3_000;
/** On a machine that does more than this. */
const START_MS_MAX = 90_000;
/** Service must go on so soon after a fault's end. */
const SERVED_WITHIN_MS = 20_000;
const SERVED_COUNT = 20;
const CONVERGED_WITHIN_MS = 30_000;

/** Different patience, so that some outcomes are unknown and some producers must begin anew. */
const producers: readonly SenderOptions[] = [
  { window: 24, sendTimeoutMs: 30_000, stallTimeoutMs: 1_000 },
  { window: 24, sendTimeoutMs: 5_000, stallTimeoutMs: 2_000 },
  { window: 16, sendTimeoutMs: 1_500, stallTimeoutMs: 500 },
  { window: 8, sendTimeoutMs: 400, stallTimeoutMs: 200 },
];
const UNARY_SENDERS = 4;

/** Runs chaos. The data directory is kept when anything was found. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const run = new Run(options);
  try {
    return await run.go();
  } finally {
    await run.close();
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #dataDir = mkdtempSync(join(tmpdir(), 'tledger-chaos-'));
  readonly #startMs = performance.now();
  readonly #history = new History(QUEUES);
  readonly #network = new Network();
  readonly #stepMeter = new GapMeter();
  readonly #runMeter = new GapMeter();
  readonly #statistics = new FaultStatistics();
  /** Closed in reverse. */
  readonly #open: (() => Promise<unknown>)[] = [];
  /** By node, while it is a member. */
  readonly #witnesses = new Map<string, { readonly reader: Reader; readonly prober: Prober }>();
  readonly #probes: ProbeCounts = { answered: 0, unanswered: 0 };
  #histories: Histories | undefined;
  #isKept = true;

  constructor(options: ChaosOptions) {
    this.#options = options;
  }

  async go(): Promise<ChaosReport> {
    const history = this.#history;
    const stage = await this.#setUp();
    const { cluster, leaders } = stage;
    const load = this.#startLoad(stage);
    await pause(WARM_UP_MS);
    const calmBefore = await this.#calm();
    this.#runMeter.open();
    await this.#makeFaults(stage);
    const longestGapMs = this.#runMeter.close();
    const calmAfter = await this.#calm();

    this.#say('faults are over: reading back');
    await Promise.all([load.stop(), this.#histories?.stop()]);
    const { client } = stage;
    const agreement = await verifyReplicas(client, CONVERGED_WITHIN_MS);
    if (!agreement.identical) history.sight('diverged', `the replicas do not agree: ${agreement.why}`);
    const found = await readCutLog(client, TOPIC, QUEUES, (queue) => history.shown(queue)).catch((error: unknown) => {
      history.sight('broken', `the group could not be read back: ${error}`);
      return undefined;
    });
    const ends = found?.log.map((keys) => keys.length) ?? [];
    for (const [nodeId, { reader }] of this.#witnesses) {
      const isThere = await until(() => reader.hasReached(ends), CONVERGED_WITHIN_MS);
      if (!isThere) history.sight('broken', `the reader of ${nodeId} did not reach the end`);
    }
    await this.#histories?.judge().catch((error: unknown) => {
      history.sight('broken', `the histories could not be read back: ${error}`);
    });
    const leaderChanges = leaders.changes;
    await this.close();
    // Nodes that do not agree have been seen above; and each cuts its files where its own snapshots lie.
    const isComparable = agreement.identical && !this.#isCut;
    const directories = isComparable ? cluster.members.map(({ dataDir }) => dataDir) : [];
    for (const what of compareFiles(directories, GROUP, 'consumequeue')) history.sight('diverged', what);

    const verdict = judge(history, found?.log);
    const figures = {
      ...{ nodes: this.#options.nodes, seed: this.#options.seed, settings: this.#options.settings ?? {} },
      seconds: Math.round((performance.now() - this.#startMs) / 1_000),
      operations: verdict.acknowledged + verdict.failed + verdict.unknown,
      observed: history.observed,
      ...{ isCut: this.#isCut, cut: found?.cut ?? 0 },
      ...{ probesAnswered: this.#probes.answered, probesUnanswered: this.#probes.unanswered },
      histories: this.#histories?.counts ?? { judged: 0, operations: 0, undecided: 0 },
      acknowledgedPerSecondBefore: calmBefore,
      acknowledgedPerSecondAfter: calmAfter,
      ...{ leaderChanges, longestGapMs: Math.round(longestGapMs), ...this.#statistics.summary() },
      refusals: Object.fromEntries(load.codes),
    };
    const voids = voidReasons(figures, verdict);
    this.#isKept = !isFaultless(verdict);
    const dataDir = this.#isKept ? this.#dataDir : null;
    return { ...figures, verdict, voids, dataDir, ok: isFaultless(verdict) && voids.length === 0 };
  }

  /** Ends everything that was started; harmless when called again. */
  async close(): Promise<void> {
    for (let close = this.#open.pop(); close !== undefined; close = this.#open.pop()) await close();
    if (!this.#isKept) rmSync(this.#dataDir, { recursive: true, force: true });
  }

  async #setUp(): Promise<Stage> {
    mkdirSync(this.#dataDir, { recursive: true });
    let stage: Stage | undefined;
    const cluster = await LocalCluster.start({
      nodes: this.#options.nodes,
      dataDir: this.#dataDir,
      settings: { segmentSizeBytes: '8MiB', ...this.#options.settings },
      startTimeoutMs: START_MS_MAX,
      routes: (members) => this.#network.open(members),
      onEvent: (event) => {
        if (event.kind === 'exited') stage?.exited(event.nodeId, event);
      },
    });
    this.#open.push(() => this.#network.close());
    this.#open.push(() => cluster.stop());
    await cluster.waitForLeader();
    const onLeader = (nodeId: string, term: number): void => this.#say(`${nodeId} leads in term ${term}`);
    const leaders = new Leaders(cluster.members, this.#history, onLeader);
    this.#open.push(() => leaders.close());
    const parts = { cluster, leaders, network: this.#network, history: this.#history };
    const onEnter = ({ nodeId }: LocalMember): void => this.#watch(nodeId);
    const cast = new Cast({ ...parts, onEnter, onLeave: (nodeId) => this.#unwatch(nodeId) });
    this.#open.push(() => cast.close());
    await cast.client.admin.createTopic(TOPIC, { queues: QUEUES });
    await until(() => leaders.current !== undefined, SERVED_WITHIN_MS);
    stage = new Stage({ ...parts, cast });
    return stage;
  }

  /** Reads from a member and probes it. */
  #watch(nodeId: string): void {
    const at = { nodeId, address: this.#network.addressesOf(nodeId).client };
    const reader = new Reader(at, TOPIC, this.#history, this.#isCut);
    this.#witnesses.set(nodeId, { reader, prober: new Prober(at, TOPIC, this.#history) });
  }

  async #unwatch(nodeId: string): Promise<void> {
    const witness = this.#witnesses.get(nodeId);
    if (witness === undefined) return;
    this.#witnesses.delete(nodeId);
    const { reader, prober } = witness;
    await Promise.all([reader.close(), prober.close()]);
    this.#probes.answered += prober.counts.answered;
    this.#probes.unanswered += prober.counts.unanswered;
  }

  #startLoad(stage: Stage): Load {
    const { cluster } = stage;
    const load = new Load({
      endpoints: cluster.members.map(({ nodeId }) => this.#network.addressesOf(nodeId).client),
      topic: TOPIC,
      history: this.#history,
      ratePerSender: this.#options.rate / (producers.length + UNARY_SENDERS),
      onAcknowledged: (nowMs) => {
        this.#stepMeter.acknowledged(nowMs);
        this.#runMeter.acknowledged(nowMs);
      },
    });
    for (const options of producers) load.startProducer(options);
    for (let at = 0; at < UNARY_SENDERS; at++) load.startUnarySender();
    this.#open.push(() => load.stop());
    this.#open.push(() => Promise.all([...this.#witnesses.keys()].map((nodeId) => this.#unwatch(nodeId))));
    for (const { nodeId } of cluster.members) this.#watch(nodeId);
    const accesses = () => {
      return [...this.#witnesses.keys()].map((nodeId) => ({
        nodeId,
        address: this.#network.addressesOf(nodeId).client,
      }));
    };
    const histories = new Histories({ client: () => stage.client, nodes: accesses, history: this.#history });
    this.#histories = histories;
    this.#open.push(() => histories.close());
    return load;
  }

  /** Acknowledgements a second while nothing is done to the group. */
  async #calm(): Promise<number> {
    const before = this.#history.acknowledged;
    const begunMs = performance.now();
    await pause(CALM_MS);
    const passedMs = performance.now() - begunMs;
    return Math.round(((this.#history.acknowledged - before) * 1_000) / passedMs);
  }

  async #makeFaults(stage: Stage): Promise<void> {
    const untilMs = performance.now() + this.#options.faultsMs;
    let steps = 0;
    for (const step of planOf(this.#options.seed, this.#options.kinds)) {
      if (performance.now() >= untilMs || steps++ >= (this.#options.stepsMax ?? Number.POSITIVE_INFINITY)) return;
      await this.#makeStep(stage, step);
    }
  }

  async #makeStep(stage: Stage, step: Step): Promise<void> {
    this.#stepMeter.open();
    const kinds = step.faults.map(({ kind }) => kind);
    this.#say(`begin ${kinds.join(' and ')}`);
    const met: FaultKind[] = [];
    const made = step.faults.map(async ({ kind, seed }) => {
      const trace = await faults[kind](stage, new SeededRandom(seed));
      if (trace === undefined) return this.#say(`${kind}: nobody to harm`);
      met.push(kind);
      this.#statistics.made(kind, trace.leftTrace);
      return this.#say(`${kind}: ${trace.what}${trace.leftTrace ? '' : ' (left no trace)'}`);
    });
    for (const outcome of await Promise.allSettled(made)) {
      if (outcome.status === 'fulfilled') continue;
      // A node that does not come back, for instance: the run goes on without it, and has failed.
      this.#history.sight('broken', `${kinds.join(' and ')}: ${outcome.reason}`);
    }
    const enough = this.#history.acknowledged + SERVED_COUNT;
    if (!(await this.#isServed(enough))) {
      this.#history.sight('broken', `no service ${SERVED_WITHIN_MS} ms after ${kinds.join(' and ')}`);
    }
    const gapMs = Math.round(this.#stepMeter.close());
    this.#statistics.gap(met, gapMs);
    this.#say(`longest silence ${gapMs} ms`);
    await pause(step.quietMs);
  }

  /** Whether so much is acknowledged in time; what the machine takes away meanwhile does not count. */
  async #isServed(acknowledged: number): Promise<boolean> {
    const time = new WorkingTime();
    while (this.#history.acknowledged < acknowledged && time.elapsedMs < SERVED_WITHIN_MS) await pause(20);
    time.end();
    return this.#history.acknowledged >= acknowledged;
  }

  /** Whether the group deletes old messages. */
  get #isCut(): boolean {
    return this.#options.settings?.retentionBytes !== undefined;
  }

  #say(text: string): void {
    const seconds = (performance.now() - this.#startMs) / 1_000;
    this.#options.onLine(`${seconds.toFixed(1).padStart(7)} s  ${text}`);
  }
}
