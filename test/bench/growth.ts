// What grows with the log: `npm run bench:growth -- [--gigabytes 20] [--seconds 3] [--rounds 5] [--seed 1] [--size 1024]
// [--segment 1GiB] [--drop-caches] [--report reports/growth.json]`. Three real processes, flush sync, one group; the log is
// filled as fast as it goes. Measured: appends with and without a consumer of old data (one that stays at the leader, one
// that goes where it is sent) in turn, appends to the full log and to that of a second group which begins at 0.2 GB, in
// turn, memory of every node, and the time until the group serves again after all nodes were killed under load. Writes a
// report and, beside it, a plot (.svg).
// Says and checks first how much room on disk it needs, and removes its data. Exit code 0 only if the goals are met.
import { type ChildProcess, spawn } from 'node:child_process';
import { statfsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SeededRandom } from '../../src/base/random.ts';
import { type Band, plotOf } from '../../src/bench/plot.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import type { Producer } from '../../src/client/producer.ts';
import { settingKeys } from '../../src/config/schema.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import type { LocalCluster as Group } from '../../src/server/local_cluster.ts';
import { pause } from '../chaos/pause.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, percentile, tableOf } from './goals.ts';
import { cpuMsOf, memoryOf } from './processes.ts';
import { endAfter, writeReport } from './script.ts';

const TOPIC = 'growth';
const QUEUES = 4;
const FRAME_COUNT = 256;
const FRAMES_IN_FLIGHT = 16;
const SAMPLE_MS = 500;
const GB = 1e9;
/** What the log of the young group holds before it is measured. */
const YOUNG_GB = 0.2;
/** Appends that come first, after a group had nothing to do. */
const WARM_UP_MS = 1_000;
/** Part of the log that is there when old data begins to be read. */
const COLD_SHARE = 0.5;
/** Of every log; a twentieth comes on top, for what is derived. */
const COPIES = 3;
const DERIVED_SHARE = 1.05;
/** What a machine appends at most, as far as room on the disk goes. */
const MB_PER_SECOND_MAX = 120;
/** Rounds beside a reader, in which the log grows on. */
const READER_ROUNDS = 3;
/** Caches and compilations of a consumer that has just been started are not its speed. */
const READER_WARM_UP_MS = 2_000;
const READER_START_MS_MAX = 30_000;

const { values } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    size: { type: 'string', default: '1024' },
    segment: { type: 'string', default: '1GiB' },
    'drop-caches': { type: 'boolean', default: false },
    report: { type: 'string', default: 'reports/growth.json' },
  },
});
const targetBytes = Number(values.gigabytes) * GB;
const windowMs = Number(values.seconds) * 1_000;

interface Sample {
  readonly gigabytes: number;
  readonly megabytesPerSecond: number;
  readonly rssMegabytes: readonly number[];
}

/** Keeps frames of encoded messages under way, until it is stopped. */
class Load {
  readonly #producer: Producer;
  readonly #frames: readonly Buffer[];
  /** Bytes of records acknowledged, and messages. */
  bytes = 0;
  messages = 0;
  failures = 0;
  #isStopped = false;
  readonly #runs: Promise<void>[];

  constructor(client: TLedgerClient, frames: readonly Buffer[]) {
    this.#producer = client.producer({ windowFramesMax: FRAMES_IN_FLIGHT, windowBytesMax: 16 * 1024 * 1024 });
    this.#frames = frames;
    this.#runs = Array.from({ length: FRAMES_IN_FLIGHT }, (_, at) => this.#run(at));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#runs);
    await this.#producer.close().catch(() => {});
  }

  async #run(first: number): Promise<void> {
    for (let next = first; !this.#isStopped; next++) {
      const queue = next % QUEUES;
      try {
        await this.#producer.sendRecords(TOPIC, queue, this.#frames[queue]!, FRAME_COUNT);
        this.messages += FRAME_COUNT;
        this.bytes += this.#frames[queue]!.length;
      } catch {
        this.failures++;
        if (!this.#isStopped) await pause(10);
      }
    }
  }
}

/** A consumer of old data in another process. */
class Reader {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  bytes = 0;

  constructor(mode: 'stay' | 'advised', endpoints: string) {
    const program = fileURLToPath(new URL('growth_reader.ts', import.meta.url));
    const loader = createRequire(import.meta.url).resolve('tsx');
    const child = spawn(process.execPath, ['--import', loader, program, mode, endpoints, TOPIC], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.on('data', (text: Buffer) => {
      this.bytes = Number(text.toString().trim().split('\n').at(-1));
    });
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** The reader has got something. */
async function begun(reader: Reader): Promise<void> {
  const untilMs = performance.now() + READER_START_MS_MAX;
  while (reader.bytes === 0) {
    if (performance.now() > untilMs) throw new Error('the reader of old data got nothing');
    await pause(50);
  }
}

/** Of disk, at most: readers come when the log is half full, and both groups grow while they are compared. */
function neededBytes(): number {
  const appended = (ms: number): number => (ms / 1_000) * MB_PER_SECOND_MAX * 1e6;
  const readingMs = 2 * READER_ROUNDS * (2 * windowMs + 2 * READER_WARM_UP_MS);
  const comparing = appended(Number(values.rounds) * (windowMs + WARM_UP_MS));
  const full = Math.max(targetBytes, COLD_SHARE * targetBytes + appended(readingMs)) + comparing;
  return COPIES * DERIVED_SHARE * (full + YOUNG_GB * GB + comparing);
}

function checkSpace(): void {
  const { bavail, bsize } = statfsSync(tmpdir());
  const [free, needed] = [bavail * bsize, neededBytes()];
  const says = `${tmpdir()} has ${(free / GB).toFixed(1)} GB free; ${(needed / GB).toFixed(1)} GB are needed`;
  console.error(says);
  if (free < needed) process.exit(2);
}

function framesOf(): Buffer[] {
  const random = new SeededRandom(Number(values.seed));
  return Array.from({ length: QUEUES }, (_, queueId) => {
    const records = Array.from({ length: FRAME_COUNT }, () => {
      const body = Buffer.from(Array.from({ length: Number(values.size) }, () => random.between(0, 255)));
      return encodeMessageRecord({ topic: TOPIC, queueId, body, bornAtMs: Date.now() });
    });
    return Buffer.concat(records);
  });
}

/** Whatever the disk's pages are cached in: so that old data is old. Needs to be root. */
function dropCaches(): void {
  if (!values['drop-caches']) return;
  writeFileSync('/proc/sys/vm/drop_caches', '1');
}

const megabytes = (bytes: number, ms: number): number => Number(((bytes / ms / 1e6) * 1_000).toFixed(1));
const fall = (from: number, to: number): number => Number((100 * (1 - to / from)).toFixed(1));

checkSpace();
const LocalCluster = await builtCluster();
/** Nothing of the log may go, however full the disk is: how full it gets was checked. */
const keepAll = ['retentionMs', 'diskCleanPercent', 'diskRefusePercent'].filter((key) =>
  (settingKeys as readonly string[]).includes(key),
);
const settings = { segmentSizeBytes: values.segment, ...Object.fromEntries(keepAll.map((key) => [key, 0])) };
const cluster = await LocalCluster.start({ settings });
let young: Promise<Group> | undefined;
endAfter(() => Promise.all([cluster.stop(), young?.then((group) => group.stop())]));
const samples: Sample[] = [];
const bands: Band[] = [];
const goals: Goal[] = [];
const peaks = new Map<string, number>();
const frames = framesOf();
let client = new TLedgerClient({ endpoints: cluster.endpoints });
let failures = 0;

function notePeaks(): void {
  for (const { nodeId } of cluster.members) {
    if (cluster.isRunning(nodeId)) {
      peaks.set(nodeId, Math.max(peaks.get(nodeId) ?? 0, memoryOf(cluster.pidOf(nodeId), 'VmHWM')));
    }
  }
}

/** Samples, and shows how far it is. @returns how to stop. */
function watch(load: Load): () => void {
  let before = { bytes: 0, atMs: performance.now() };
  const timer = setInterval(() => {
    const atMs = performance.now();
    const megabytesPerSecond = megabytes(load.bytes - before.bytes, atMs - before.atMs);
    before = { bytes: load.bytes, atMs };
    const rssMegabytes = cluster.members.map(({ nodeId }) => memoryOf(cluster.pidOf(nodeId), 'VmRSS'));
    samples.push({ gigabytes: load.bytes / GB, megabytesPerSecond, rssMegabytes });
    const done = `${(load.bytes / GB).toFixed(2)} of ${values.gigabytes} GB`;
    process.stderr.write(`\r${done}, ${megabytesPerSecond} MB/s, memory ${rssMegabytes.join(' ')} MB        `);
  }, SAMPLE_MS);
  return () => clearInterval(timer);
}

async function filled(load: Load, bytes: number): Promise<void> {
  while (load.bytes < bytes) await pause(50);
}

/** MB/s of appends for a while. */
async function rateOf(load: Load): Promise<number> {
  const begun = { bytes: load.bytes, atMs: performance.now() };
  await pause(windowMs);
  return megabytes(load.bytes - begun.bytes, performance.now() - begun.atMs);
}

interface Cost {
  readonly rate: number;
  /** Processor time of the leader. */
  readonly cpuMsPerMegabyte: number;
  /** Acknowledged, those of the warm-up included. */
  readonly gigabytes: number;
}

/** MB/s of appends to a group that had nothing to do, and what one MB costs. */
async function costOf(group: Group): Promise<Cost> {
  const own = new TLedgerClient({ endpoints: group.endpoints });
  const load = new Load(own, frames);
  try {
    await pause(WARM_UP_MS);
    const pid = group.pidOf((await group.waitForLeader()).nodeId);
    const begun = { bytes: load.bytes, cpuMs: cpuMsOf(pid) };
    const rate = await rateOf(load);
    const cpuMsPerMegabyte = (cpuMsOf(pid) - begun.cpuMs) / ((load.bytes - begun.bytes) / 1e6);
    return { rate, cpuMsPerMegabyte, gigabytes: load.bytes / GB };
  } finally {
    await load.stop();
    await own.close();
    failures += load.failures;
  }
}

/** Appends to the full log and to that of a young group, in turn: what else the machine does hits both alike. */
async function besideYoung(filledBytes: number): Promise<void> {
  young = LocalCluster.start({ settings });
  const group = await young;
  const own = new TLedgerClient({ endpoints: group.endpoints });
  await group.waitForLeader();
  await own.admin.createTopic(TOPIC, { queues: QUEUES });
  const load = new Load(own, frames);
  await filled(load, YOUNG_GB * GB);
  await load.stop();
  failures += load.failures;
  await own.close();
  const costs = { young: [] as Cost[], full: [] as Cost[] };
  for (let round = 1; round <= Number(values.rounds); round++) {
    const turns = [['young', group] as const, ['full', cluster] as const];
    for (const [name, one] of round % 2 === 0 ? turns.reverse() : turns) costs[name].push(await costOf(one));
    const rates = `young ${costs.young.at(-1)!.rate} MB/s, full ${costs.full.at(-1)!.rate} MB/s`;
    console.error(`round ${round} of ${values.rounds}: ${rates}`);
  }
  await group.stop();
  const middle = (name: keyof typeof costs, of: keyof Cost): number => {
    const all = costs[name].map((cost) => cost[of]);
    return Number(percentile(all, 0.5).toFixed(1));
  };
  const [before, after] = [middle('young', 'rate'), middle('full', 'rate')];
  const size = (from: number, name: keyof typeof costs): string => {
    const to = costs[name].reduce((sum, { gigabytes }) => sum + gigabytes, from);
    return `${from.toFixed(1)} to ${to.toFixed(1)} GB`;
  };
  goals.push(
    {
      what: 'throughput of the full log is below that of a young one by',
      value: fall(before, after),
      most: 10,
      unit: '%',
    },
    { what: `  young, ${size(YOUNG_GB, 'young')}`, value: before, unit: 'MB/s' },
    { what: `  full, ${size(filledBytes / GB, 'full')}`, value: after, unit: 'MB/s' },
    { what: '  processor time of the leader a MB, young', value: middle('young', 'cpuMsPerMegabyte'), unit: 'ms' },
    { what: '  the same, full', value: middle('full', 'cpuMsPerMegabyte'), unit: 'ms' },
  );
}

/** Appends alone and beside a consumer of old data, in turn. */
async function besideReader(load: Load, mode: 'stay' | 'advised'): Promise<void> {
  const leader = (await cluster.waitForLeader()).nodeId;
  const leaderAddress = cluster.members.find(({ nodeId }) => nodeId === leader)!.clientAddress;
  const alone: number[] = [];
  const beside: number[] = [];
  const readRates: number[] = [];
  for (let round = 0; round < READER_ROUNDS; round++) {
    alone.push(await rateOf(load));
    dropCaches();
    const from = load.bytes / GB;
    const reader = new Reader(mode, mode === 'stay' ? leaderAddress : cluster.endpoints.join(','));
    await begun(reader);
    await pause(READER_WARM_UP_MS);
    const before = { bytes: reader.bytes, atMs: performance.now() };
    beside.push(await rateOf(load));
    readRates.push(megabytes(reader.bytes - before.bytes, performance.now() - before.atMs));
    await reader.stop();
    bands.push({ from, to: load.bytes / GB, name: mode === 'stay' ? 'reader at the leader' : 'reader as advised' });
  }
  const [before, after] = [percentile(alone, 0.5), percentile(beside, 0.5)];
  const who = mode === 'stay' ? 'a cold reader at the leader' : 'a cold reader that follows advice';
  goals.push(
    { what: `appends beside ${who} fall by`, value: fall(before, after), most: 20, unit: '%' },
    { what: `  from ${before} to ${after}; it reads`, value: percentile(readRates, 0.5), unit: 'MB/s' },
  );
}

/** Kills every node at once, under load, and starts them again. */
async function killAll(): Promise<void> {
  const load = new Load(client, frames);
  await pause(WARM_UP_MS);
  failures += load.failures;
  notePeaks();
  const ids = cluster.members.map(({ nodeId }) => nodeId);
  await Promise.all(ids.map((nodeId) => cluster.kill(nodeId)));
  client.abort();
  await load.stop();
  const begunMs = performance.now();
  const passed = (): number => Math.round(performance.now() - begunMs);
  await Promise.all(ids.map((nodeId) => cluster.restart(nodeId)));
  const processesMs = passed();
  const cpuMs = ids.reduce((sum, nodeId) => sum + cpuMsOf(cluster.pidOf(nodeId)), 0);
  client = new TLedgerClient({ endpoints: cluster.endpoints });
  const producer = client.producer();
  await producer.send({ topic: TOPIC, queue: 0, body: Buffer.from('after') });
  goals.push(
    { what: 'all nodes killed: processes take part after', value: processesMs, unit: 'ms' },
    { what: '  processor time that their starts took together', value: cpuMs, unit: 'ms' },
    { what: 'all nodes killed: an append is acknowledged after', value: passed(), most: 3_000, unit: 'ms' },
  );
  await client.pull({ topic: TOPIC, queue: 0, offset: 0 });
  await producer.close();
}

/** Kills one node and waits until it serves reads again. */
async function killOne(): Promise<void> {
  const { nodeId } = await cluster.waitForLeader();
  await cluster.kill(nodeId);
  const begunMs = performance.now();
  await cluster.restart(nodeId);
  const { clientAddress } = cluster.members.find((member) => member.nodeId === nodeId)!;
  const own = new TLedgerClient({ endpoints: [clientAddress] });
  await own.pull({ topic: TOPIC, queue: 1, offset: 0 });
  const passedMs = Math.round(performance.now() - begunMs);
  goals.push({ what: 'the leader killed: it serves reads again after', value: passedMs, most: 3_000, unit: 'ms' });
  await own.close();
}

function writePlot(): void {
  const colours = ['#1f77b4', '#2ca02c', '#9467bd'];
  const svg = plotOf({
    title: `TLedger: one group grows to ${values.gigabytes} GB, ${values.size} bytes a message, three nodes, flush sync`,
    xName: 'GB in the log',
    bands,
    panels: [
      {
        title: 'appends acknowledged, MB/s',
        lines: [
          {
            name: 'appends',
            colour: colours[0]!,
            points: samples.map((one) => [one.gigabytes, one.megabytesPerSecond]),
          },
        ],
      },
      {
        title: 'resident memory of each node, MB',
        level: { y: 512, name: 'goal' },
        lines: cluster.members.map(({ nodeId }, at) => ({
          name: nodeId,
          colour: colours[at]!,
          points: samples.map((one) => [one.gigabytes, one.rssMegabytes[at] ?? 0]),
        })),
      },
    ],
  });
  writeFileSync(values.report.replace(/(\.json)?$/, '.svg'), svg);
}

try {
  await cluster.waitForLeader();
  await client.admin.createTopic(TOPIC, { queues: QUEUES });
  const load = new Load(client, frames);
  const stopWatching = watch(load);
  await filled(load, COLD_SHARE * targetBytes);
  await besideReader(load, 'stay');
  await besideReader(load, 'advised');
  await filled(load, targetBytes);
  stopWatching();
  process.stderr.write('\n');
  await load.stop();
  failures += load.failures;
  await besideYoung(load.bytes);
  await killAll();
  goals.push({ what: 'appends that failed while nobody was killed', value: failures, most: 0, unit: '' });
  await killOne();
  notePeaks();
  for (const [nodeId, peak] of peaks)
    goals.push({ what: `most memory of ${nodeId}`, value: peak, most: 512, unit: 'MB' });
} finally {
  await client.close().catch(() => {});
  await (await young?.catch(() => undefined))?.stop();
  await cluster.stop();
}
writeReport(values.report, { options: values, goals, bands, samples }, 1);
writePlot();
console.log(tableOf(goals));
process.exit(areMet(goals) ? 0 : 1);
