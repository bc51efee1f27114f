// Snapshots for the storage tests: rows of chosen sizes, and whole snapshots compared.
import { physicalOffset } from '../../src/format/record.ts';
import { type LogIndex, logIndex, type Term, term } from '../../src/raft/types.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { type SnapshotMeta, SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateEntry } from '../../src/storage/state_store.ts';
import { DIRECTORY } from './log_fixture.ts';

export const SNAPSHOTS = `${DIRECTORY}/snapshot`;

export const openSnapshots = (disk: MemoryDisk): SnapshotStore => SnapshotStore.open({ disk, directory: DIRECTORY });

export function tipOf(index: number, ofTerm = 3): LogTip {
  const end = physicalOffset(index * 100);
  return { index: logIndex(index), term: term(ofTerm), chainCrc: index * 7, start: physicalOffset(end - 100), end };
}

export const metaOf = (index: number, membership = '{"v":1}', ofTerm = 3): SnapshotMeta => ({
  tip: tipOf(index, ofTerm),
  membership: Buffer.from(membership),
});

/** `count` rows, sorted, of about `valueBytes` each. */
export function rowsOf(count: number, valueBytes = 20, seed = 0): StateEntry[] {
  return Array.from({ length: count }, (_, at) => {
    const key = `key/${String(at).padStart(6, '0')}`;
    return [key, `${seed}:${at}:é`.padEnd(valueBytes, String.fromCharCode(97 + (at % 26)))] as const;
  });
}

export const pathOf = (index: number): string => `${SNAPSHOTS}/${String(index).padStart(20, '0')}`;

/** What a complete snapshot holds, all of it read and verified. */
export function contentOfSnapshot(store: SnapshotStore, index: number): { meta: SnapshotMeta; rows: StateEntry[] } {
  const snapshot = store.open(logIndex(index));
  try {
    return { meta: snapshot.meta, rows: [...snapshot.rows()] };
  } finally {
    snapshot.close();
  }
}

/** Sends a snapshot in chunks of `chunkBytes`, from where the receiver says; stops after `chunksMax`. */
export async function sendSnapshot(
  from: SnapshotStore,
  to: SnapshotStore,
  index: number,
  options: { readonly chunkBytes?: number; readonly chunksMax?: number; readonly term?: number } = {},
): Promise<void> {
  const { chunkBytes = 100_000, chunksMax = Number.POSITIVE_INFINITY } = options;
  const [at, ofTerm]: [LogIndex, Term] = [logIndex(index), term(options.term ?? 3)];
  const snapshot = from.open(at);
  try {
    let offset = to.incomingSize(at, ofTerm);
    for (let count = 0; offset < snapshot.sizeBytes && count < chunksMax; count++) {
      const { buffer, start, end } = snapshot.read(offset, chunkBytes);
      offset = (await to.appendIncoming(at, ofTerm, offset, buffer.subarray(start, end))).sizeBytes;
    }
  } finally {
    snapshot.close();
  }
}
