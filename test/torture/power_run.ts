// Rounds of: load on three real nodes, power off for all of them at one moment, power on, everything judged.
import { SeededRandom } from '../../src/base/random.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import type { SettingKey } from '../../src/config/schema.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { History } from '../chaos/history.ts';
import { type Faults, isFaultless, judge, type Verdict } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { pause, until } from '../chaos/pause.ts';
import { compareFiles, readLog, verifyReplicas } from '../chaos/replicas.ts';
import { type FileSystem, LoopDisks } from './loop_disks.ts';

const NODES = ['n0', 'n1', 'n2'];
const QUEUES = 4;
const GROUP = 'g0';
const SENDERS = 2;
const WINDOW = 32;
const LOAD_MS_MIN = 100;
const LOAD_MS_MAX = 900;
const SERVED_WITHIN_MS = 30_000;
const IDENTICAL_WITHIN_MS = 30_000;

/** What is run. */
export interface PowerLossOptions {
  readonly rounds: number;
  readonly flush: 'sync' | 'async';
  readonly seed: number;
  readonly fileSystem: FileSystem;
  readonly settings?: Partial<Record<SettingKey, string>>;
  readonly onLine: (line: string) => void;
}

/** What came of it. */
export interface PowerLossReport {
  readonly rounds: number;
  readonly acknowledged: number;
  /** Messages whose senders never learned what became of them: how much was under way when the power went. */
  readonly unknown: number;
  /** Rounds in which something acknowledged was missing, or anything else was wrong. */
  readonly lossyRounds: number;
  readonly lost: number;
  /** Everything that should not be, in words. */
  readonly problems: readonly string[];
}

interface Round {
  readonly topic: string;
  readonly history: History;
}

/** @returns what was lost; with `async` it ends with the first loss. */
export async function runPowerLoss(options: PowerLossOptions): Promise<PowerLossReport> {
  const disks = LoopDisks.make(NODES, options.fileSystem);
  try {
    const cluster = await LocalCluster.start({
      dataDir: disks.directory,
      settings: { segmentSizeBytes: '8MiB', flush: options.flush, ...options.settings },
      startTimeoutMs: 120_000,
    });
    try {
      return await new PowerLoss(options, disks, cluster).run();
    } finally {
      await cluster.stop();
    }
  } finally {
    disks.close();
  }
}

class PowerLoss {
  readonly #options: PowerLossOptions;
  readonly #disks: LoopDisks;
  readonly #cluster: LocalCluster;
  readonly #random: SeededRandom;
  readonly #client: TLedgerClient;
  readonly #rounds: Round[] = [];
  readonly #problems: string[] = [];
  #lost = 0;
  #lossyRounds = 0;

  constructor(options: PowerLossOptions, disks: LoopDisks, cluster: LocalCluster) {
    this.#options = options;
    this.#disks = disks;
    this.#cluster = cluster;
    this.#random = new SeededRandom(options.seed);
    this.#client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 60_000 });
  }

  async run(): Promise<PowerLossReport> {
    const { rounds, flush } = this.#options;
    try {
      await this.#cluster.waitForLeader();
      for (let round = 1; round <= rounds; round++) {
        await this.#round(round);
        if (flush === 'async' && this.#lossyRounds > 0) break;
      }
      if (flush === 'sync') await this.#judgeAll();
    } finally {
      await this.#client.close();
    }
    const histories = this.#rounds.map(({ history }) => history);
    return {
      rounds: histories.length,
      acknowledged: histories.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      unknown: histories.reduce((sum, { unknown }) => sum + unknown, 0),
      lossyRounds: this.#lossyRounds,
      lost: this.#lost,
      problems: this.#problems,
    };
  }

  async #round(number: number): Promise<void> {
    const round = { topic: `round-${number}`, history: new History(QUEUES) };
    this.#rounds.push(round);
    await this.#client.admin.createTopic(round.topic, { queues: QUEUES });
    const load = new Load({ endpoints: this.#cluster.endpoints, topic: round.topic, history: round.history });
    for (let at = 0; at < SENDERS; at++) load.startProducer({ window: WINDOW });
    load.startUnarySender();
    const isServing = await until(() => round.history.acknowledged > 0, SERVED_WITHIN_MS);
    if (!isServing) this.#problems.push(`round ${number}: nothing was acknowledged for ${SERVED_WITHIN_MS} ms`);
    const loadMs = this.#random.between(LOAD_MS_MIN, LOAD_MS_MAX);
    await pause(loadMs);
    const cutMs = this.#disks.cutPower();
    const atCut = round.history.acknowledged;
    await Promise.all(NODES.filter((node) => this.#cluster.isRunning(node)).map((node) => this.#cluster.kill(node)));
    const stopped = load.stop();
    this.#disks.remount();
    const begunMs = performance.now();
    const restarts = await Promise.allSettled(NODES.map((node) => this.#cluster.restart(node)));
    for (const outcome of restarts) {
      if (outcome.status === 'rejected') this.#problems.push(`round ${number}: ${outcome.reason}`);
    }
    await stopped;
    const verdict = await this.#judge(round);
    const servedMs = Math.round(performance.now() - begunMs);
    this.#options.onLine(
      `round ${number}: ${atCut} acknowledged in ${loadMs} ms, cut within ${cutMs} ms, judged ${servedMs} ms after power on, ${told(verdict)}`,
    );
  }

  /** Reads a topic, and holds it against what its senders were told. */
  async #judge({ topic, history }: Round): Promise<Verdict> {
    const log = await readLog(this.#client, topic, QUEUES).catch((error) => {
      this.#problems.push(`${topic} can't be read: ${error}`);
      return undefined;
    });
    const verdict = judge(history, log);
    if (log === undefined || !isFaultless(verdict)) this.#lossyRounds++;
    this.#lost += verdict.faults.lost;
    this.#problems.push(...verdict.examples.map((one) => `${topic}: ${one}`));
    const { identical, why } = await verifyReplicas(this.#client, IDENTICAL_WITHIN_MS);
    if (!identical) this.#problems.push(`${topic}: replicas differ: ${why}`);
    return verdict;
  }

  /** What survived one power loss must survive those behind it, too, on every node to the byte. */
  async #judgeAll(): Promise<void> {
    for (const round of this.#rounds) await this.#judge(round);
    for (const node of NODES) await this.#cluster.kill(node, 'SIGTERM');
    const directories = NODES.map((node) => this.#disks.pathOf(node));
    for (const folder of ['commitlog', 'consumequeue'] as const) {
      this.#problems.push(...compareFiles(directories, GROUP, folder));
    }
  }
}

function told({ faults, read }: Verdict): string {
  const wrong = Object.entries(faults).filter(([, count]: [string, Faults[keyof Faults]]) => count > 0);
  return wrong.length === 0 ? `all there (${read})` : wrong.map(([kind, count]) => `${count} ${kind}`).join(', ');
}
