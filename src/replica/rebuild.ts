// Makes everything anew that is derived from a log: its index, the queues' units, the state, and what else an open group
// makes of it. What comes out is byte for byte what a replica has that applied the same records, for it is made by the
// same code. Offline: nobody else uses the directory.
//
//   state emptied, durably  ->  files of queues and indexes removed  ->  opened as after any loss  ->  applied  ->  saved
//
// Interrupted anywhere it leaves a directory that a node makes whole at its next start, and that may be rebuilt again.
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { Disk } from '../storage/disk.ts';
import type { KeyIndexLayout } from '../storage/key_index_file.ts';
import type { StateStore } from '../storage/state_store.ts';
import { openGroup } from './open_group.ts';

const APPLY_BYTES_MAX = 1024 * 1024;
/** Records applied between two checkpoints, in bytes: what is not saved yet is kept in memory. */
const SAVE_EVERY_BYTES = 64 * 1024 * 1024;
/** Directories of derived files, and how deep these lie in them. */
const DERIVED = { index: 0, consumequeue: 2, keyindex: 0 } as const;

/** What is rebuilt. */
export interface RebuildOptions {
  readonly disk: Disk;
  /** The group's directory. The log in it is whole. */
  readonly directory: string;
  /** The state's tables, opened, in whatever condition; closed when this returns or throws. */
  readonly store: StateStore;
  readonly segmentSizeBytes: number;
  readonly indexUnitsPerFile?: number;
  /** How the key index is laid out; without, there is none afterwards, and a node that wants one makes it. */
  readonly keyIndex?: KeyIndexLayout;
  /**
   * The last record known to be committed, at least the base: state is the result of committed records only. Null: the
   * base.
   */
  readonly upTo: LogIndex | null;
  readonly onProgress?: (applied: LogIndex) => void;
  readonly onWarning?: (message: string) => void;
}

/** What was done. */
export interface Rebuilt {
  /** The log goes so far. */
  readonly lastIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly topics: number;
  /** Bytes of an unfinished write that were cut from the log's end. */
  readonly bytesCut: number;
}

/**
 * See the head of the file.
 * @throws TLedgerError DATA_CORRUPTED when the log is damaged, or the snapshot at its base is; STORAGE_FAILED.
 */
export async function rebuildDerived(options: RebuildOptions): Promise<Rebuilt> {
  const { disk, directory, store, segmentSizeBytes, indexUnitsPerFile, keyIndex, upTo, onProgress, onWarning } =
    options;
  try {
    await emptied(store);
    for (const [name, depth] of Object.entries(DERIVED)) removeFiles(disk, `${directory}/${name}`, depth);
  } catch (error) {
    await store.close();
    throw error;
  }
  const group = await openGroup({
    ...{ disk, directory, store, segmentSizeBytes, onWarning: onWarning ?? (() => {}) },
    ...(indexUnitsPerFile === undefined ? {} : { indexUnitsPerFile }),
    ...(keyIndex === undefined ? {} : { keyIndex }),
  });
  try {
    const { log, broker } = group;
    const goal = upTo ?? log.base.index;
    if (goal > log.lastIndex) {
      throw new TLedgerError('DATA_CORRUPTED', `record ${goal} was applied, and the log ends with ${log.lastIndex}`);
    }
    let unsaved = 0;
    while (broker.appliedIndex < goal) {
      const first = logIndex(broker.appliedIndex + 1);
      const last = logIndex(Math.min(log.fit(first, APPLY_BYTES_MAX).lastIndex, goal));
      const { buffer, start, end } = log.read(first, last);
      broker.apply(buffer, start, end);
      unsaved += end - start;
      if (unsaved >= SAVE_EVERY_BYTES) {
        await broker.checkpoint();
        unsaved = 0;
      }
      onProgress?.(last);
      // The process has other things to do, too: a line of progress, an interrupt.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await broker.checkpoint();
    const { bytesCut } = log.recovery;
    const topics = broker.topics().length;
    return { lastIndex: log.lastIndex, appliedIndex: broker.appliedIndex, topics, bytesCut };
  } finally {
    await group.close();
  }
}

/** Durably. What was damaged is put aside by the store, or gone. */
async function emptied(store: StateStore): Promise<void> {
  try {
    await store.load();
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    await store.reset();
    await store.load();
  }
  await store.replace([]);
}

function removeFiles(disk: Disk, path: string, depth: number): void {
  for (const name of disk.list(path)) {
    if (depth > 0) removeFiles(disk, `${path}/${name}`, depth - 1);
    else disk.remove(`${path}/${name}`);
  }
}
