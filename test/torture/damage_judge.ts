// A stopped replica with a byte changed, a file cut or a file gone: opened, read and scrubbed. Whatever it was, the replica
// serves what it held before, or says that it can't; anything else is a miss.
import { TLedgerError } from '../../src/base/errors.ts';
import { physicalOffset } from '../../src/format/record.ts';
import { UNIT_BYTES } from '../../src/storage/consume_queue.ts';
import { claimDirectory } from '../../src/storage/identity.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { ScrubPass } from '../../src/storage/scrub.ts';
import { unhurried } from '../../src/storage/scrub_pace.ts';
import { playHistory } from './crash_history.ts';
import { applyTo, DIRECTORY, layout, type MemoryStateMedium, openReplica, recordsOf } from './crash_replica.ts';

/** How damage came to light. `means nothing`: nothing that anybody reads has changed. */
export const outcomes = [
  'refused at start',
  'made anew at start',
  'refused when read',
  'found by the scrubber',
  'written anew at start',
  'unvouched tail cut',
  'means nothing',
] as const;
export type Outcome = (typeof outcomes)[number];

/** What a replica holds that nothing happened to. */
export interface Sound {
  readonly disk: MemoryDisk;
  readonly medium: MemoryStateMedium;
  readonly served: Served;
  /** All bytes after the next start, by path. */
  readonly afterStart: ReadonlyMap<string, Buffer>;
  readonly committed: number;
  /** First offset that is kept, by `topic/queue`. */
  readonly queueMins: ReadonlyMap<string, number>;
}

interface Served {
  readonly records: readonly Buffer[];
  readonly base: number;
  readonly hardState: string;
  readonly queues: string;
  readonly snapshots: string;
}

const members = { n0: { peer: 'n0.test:1', client: 'n0.test:2' } };
/** These are written at each start. */
const SLOTS = /\/(hardstate|checkpoint|base)$/;
const INDEX_UNIT_BYTES = 32;
const identity = { cluster: 'c', group: 'g', nodeId: 'n0', segmentSizeBytes: layout.segmentSizeBytes };
const claim = (disk: MemoryDisk): unknown =>
  claimDirectory({ disk, directory: DIRECTORY, founders: members, identity });

/** A replica that was stopped in order behind a random history: files of all kinds. */
export async function soundReplica(seed: number): Promise<Sound> {
  const { points } = await playHistory(seed);
  const { disk, medium, known } = points.at(-1)!;
  disk.kill();
  medium.crash();
  const empty = new MemoryDisk();
  claim(empty);
  const path = `${DIRECTORY}/identity`;
  disk.open(path, { create: true }).write(empty.bytes(path), 0);
  const { committed } = known.versions.at(-1)!;
  const group = await openReplica(disk, medium);
  applyTo(group, Math.min(committed, group.log.lastIndex));
  await group.broker.checkpoint();
  const queueMins = new Map<string, number>();
  for (const { name, queues } of group.broker.topics()) {
    for (let id = 0; id < queues; id++) queueMins.set(`${name}/${id}`, group.broker.range(name, id).min);
  }
  await group.close();
  disk.crash({ mode: 'kept' });
  const twin = disk.clone();
  const served = await serve(twin, medium.clone(), committed);
  return { disk, medium, served, committed, queueMins, afterStart: bytesOf(twin) };
}

/** Everything that a replica gives out. @throws TLedgerError DATA_CORRUPTED, DATA_DIR_FOREIGN. */
async function serve(disk: MemoryDisk, medium: MemoryStateMedium, committed: number): Promise<Served> {
  claim(disk);
  const group = await openReplica(disk, medium);
  return read(group, committed);
}

function read(group: Awaited<ReturnType<typeof openReplica>>, committed: number): Served {
  const records = recordsOf(group);
  applyTo(group, Math.min(committed, group.log.lastIndex));
  const { broker, log, snapshots, hardState } = group;
  const queues = broker.topics().flatMap(({ name, queues }) =>
    Array.from({ length: queues }, (_, queueId) => {
      const { min, max } = broker.range(name, queueId);
      const request = { topic: name, queueId, offset: min, countMax: 1_000, bytesMax: 1 << 22 };
      return [name, queueId, min, max, max > min ? broker.pull(request).records.toString('latin1') : ''];
    }),
  );
  const rows = snapshots.list().map((index) => {
    const snapshot = snapshots.open(index);
    return [index, [...snapshot.rows()]];
  });
  return {
    records,
    base: log.base.index,
    hardState: JSON.stringify(hardState.state),
    queues: JSON.stringify(queues),
    snapshots: JSON.stringify(rows),
  };
}

/** @returns how the damage came to light. @throws Error when it did not, with what was served. */
export async function judgeDamage(sound: Sound, disk: MemoryDisk, path: string): Promise<Outcome> {
  const { committed, served } = sound;
  const warnings: string[] = [];
  let group: Awaited<ReturnType<typeof openReplica>>;
  try {
    claim(disk);
    group = await openReplica(disk, sound.medium.clone(), (warning) => warnings.push(warning));
  } catch (error) {
    return refusal(error, 'refused at start');
  }
  try {
    const found = read(group, committed);
    const isCut = isTailCut(found, served, committed, path);
    if (!isCut) assertSame(found, served);
    if (isCut) return 'unvouched tail cut';
  } catch (error) {
    return refusal(error, 'refused when read');
  }
  if (warnings.length > 0) return 'made anew at start';
  if (await isFoundByScrub(disk, group)) return 'found by the scrubber';
  return isAsItWas(sound, disk, path) ? 'written anew at start' : 'means nothing';
}

/** Whether the file says again what it said. Slots count how often they were written. */
function isAsItWas({ afterStart }: Sound, disk: MemoryDisk, path: string): boolean {
  const sane = afterStart.get(path);
  if (sane === undefined || !disk.exists(path)) return sane === undefined && !disk.exists(path);
  return SLOTS.test(path) || disk.bytes(path).equals(sane);
}

/** Whether anybody reads a byte: units of messages that were cut are kept, and read by nobody. */
export function isRead({ disk, queueMins, served }: Sound, path: string, position: number): boolean {
  if (disk.bytes(path)[position] === 0) return false;
  const [, , kind, topic, queueId] = path.split('/');
  if (kind === 'index') return Number(path.slice(-20)) + position >= served.base * INDEX_UNIT_BYTES;
  if (kind !== 'consumequeue') return true;
  return position >= (queueMins.get(`${topic}/${queueId}`) ?? Number.POSITIVE_INFINITY) * UNIT_BYTES;
}

function refusal(error: unknown, outcome: Outcome): Outcome {
  if (error instanceof TLedgerError && ['DATA_CORRUPTED', 'DATA_DIR_FOREIGN'].includes(error.code)) return outcome;
  throw error;
}

/** A checkpoint that was lost leaves nobody who vouches for the end: only that may go, and nothing committed. */
function isTailCut(found: Served, served: Served, committed: number, path: string): boolean {
  if (!path.endsWith('/checkpoint') || found.records.length >= served.records.length) return false;
  return found.base + found.records.length >= committed;
}

function assertSame(found: Served, served: Served): void {
  const { records, ...rest } = found;
  const isSameLog =
    records.length === served.records.length && records.every((one, at) => one.equals(served.records[at]!));
  if (!isSameLog) throw new Error(`${records.length} records are served, and ${served.records.length} were held`);
  for (const [name, value] of Object.entries(rest)) {
    // One that is gone is not served.
    if (name === 'snapshots' && found.snapshots === '[]') continue;
    if (value !== served[name as keyof Served]) throw new Error(`other ${name} are served`);
  }
}

async function isFoundByScrub(disk: MemoryDisk, group: Awaited<ReturnType<typeof openReplica>>): Promise<boolean> {
  let isFound = false;
  const { log, broker } = group;
  const target = {
    disk,
    directory: DIRECTORY,
    segmentSizeBytes: layout.segmentSizeBytes,
    indexUnitsPerFile: layout.indexUnitsPerFile,
    base: () => log.base,
    queueMin: (topic: string, queueId: number) => {
      const known = broker.topic(topic);
      return known === undefined || queueId >= known.queues ? null : broker.range(topic, queueId).min;
    },
  };
  const keyCheck = (start: number) => broker.keys.index?.verify(physicalOffset(start)) ?? null;
  const pass = new ScrubPass(
    { ...target, keyCheck },
    {
      pace: unhurried,
      from: null,
      goal: broker.appliedIndex,
      onFinding: () => {
        isFound = true;
      },
      onProgress: () => {},
    },
  );
  await pass.run();
  return isFound;
}

function bytesOf(disk: MemoryDisk): ReadonlyMap<string, Buffer> {
  return new Map(disk.files().map((path) => [path, disk.bytes(path)]));
}
