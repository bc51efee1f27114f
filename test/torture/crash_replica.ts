// The replica whose disk is tortured, and what the outside knows of it: what a crash may leave is decided by that alone.
import { SeededRandom } from '../../src/base/random.ts';
import type { HardState } from '../../src/raft/types.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { type OpenGroup, openGroup } from '../../src/replica/open_group.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';

export const DIRECTORY = '/group';

/** Small, so that a short history rolls, cuts and fills several files of the log index. */
export const layout = {
  segmentSizeBytes: 2048,
  indexUnitsPerFile: 8,
  cacheBytesMax: 1500,
  neededBytesMax: 0,
  keyIndex: { slots: 8, entriesMax: 16 },
};

/** Opens a replica; also after a crash. */
export function openReplica(
  disk: MemoryDisk,
  medium: MemoryStateMedium,
  onWarning: (message: string) => void = () => {},
): Promise<OpenGroup> {
  const store = new MemoryStateStore(medium);
  return openGroup({ disk, directory: DIRECTORY, store, onWarning, ...layout });
}

/** Records of one log from record 1 on; grows, and is replaced by another one when it is truncated. */
export type Timeline = Buffer[];

/** One thing that the log may be found to be. */
export interface Version {
  readonly base: number;
  readonly timeline: Timeline;
  /** Reported as flushed: must be there. */
  readonly flushed: number;
  /** Known to be committed: may be applied. */
  readonly committed: number;
}

/** What the outside knows at one moment; every field is replaced, never changed. */
export interface Known {
  /** While a change is under way, what was before and what will be. */
  versions: readonly Version[];
  /** The last one saved, and the one being saved. */
  hardStates: readonly HardState[];
  /** The broker reported a checkpoint up to here. */
  stored: number;
  /** Snapshots that are complete. */
  snapshots: readonly number[];
}

/** What a crash finds. */
export interface CrashPoint {
  /** The step of the disk that is not done any more, and its file. */
  readonly kind: string;
  readonly path: string;
  readonly disk: MemoryDisk;
  readonly medium: MemoryStateMedium;
  readonly known: Known;
}

/** Nothing is known of a new replica. */
export function knownOfNothing(): Known {
  const none = { term: term(0), vote: null };
  return {
    versions: [{ base: 0, timeline: [], flushed: 0, committed: 0 }],
    hardStates: [none],
    stored: 0,
    snapshots: [],
  };
}

/** Keeps what a crash at each step of `disk` finds; steps that only read find what the next one finds. */
export function recordCrashPoints(disk: MemoryDisk, medium: MemoryStateMedium, known: Known): CrashPoint[] {
  const points: CrashPoint[] = [];
  disk.onOperation = ({ kind, path }) => {
    if (kind === 'read') return;
    points.push({ kind, path, disk: disk.clone(), medium: medium.clone(), known: { ...known } });
  };
  return points;
}

/** Flushes return some microtasks later, so that other work comes in between. */
export function delayFlushes(disk: MemoryDisk, seed: number): void {
  const random = new SeededRandom(seed);
  disk.deferFlush = (finish) => {
    let turns = random.between(0, 5);
    const turn = (): void => {
      if (turns-- > 0) queueMicrotask(turn);
      else finish();
    };
    queueMicrotask(turn);
  };
}

/** The records `first` … `last` of a group, one buffer each. */
export function recordsOf({ log }: OpenGroup, first: number = log.firstIndex, last: number = log.lastIndex): Buffer[] {
  const records: Buffer[] = [];
  for (let index = first; index <= last; index++) {
    const { buffer, start, end } = log.read(logIndex(index), logIndex(index));
    records.push(Buffer.from(buffer.subarray(start, end)));
  }
  return records;
}

/** Applies what the log holds up to `index`. */
export function applyTo({ log, broker }: OpenGroup, index: number): void {
  if (index <= broker.appliedIndex) return;
  const { buffer, start, end } = log.read(logIndex(broker.appliedIndex + 1), logIndex(index));
  broker.apply(buffer, start, end);
}

export { MemoryDisk, MemoryStateMedium };
