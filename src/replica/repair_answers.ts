// What a replica that is whole gives to one that is being repaired: verified records, pieces of snapshots, and how far its
// log is committed. Nothing that is damaged here leaves this disk.
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex, type Term } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';

/** Records behind a given one, and what is known around them. */
export interface RecordsAnswer {
  /** The last record that is not in this log any more. */
  readonly baseIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** The last record known to be committed. */
  readonly committedIndex: LogIndex;
  readonly committedTerm: Term;
  /** What identifies the log up to the record before the first one asked for; null when that is not held here. */
  readonly previous: { readonly term: Term; readonly chainCrc: number } | null;
  /** Whole records back to back, as they lie in the log without fillers; may be none. */
  readonly records: Buffer;
}

/** Which snapshot, and from which byte on; see `snapshotAnswer`. */
export interface AskedSnapshot {
  readonly index: LogIndex | null;
  readonly offset: number;
  readonly heldFrom: LogIndex | null;
}

/** A piece of a snapshot. */
export interface SnapshotAnswer {
  readonly index: LogIndex;
  readonly term: Term;
  /** Of all of it. */
  readonly sizeBytes: number;
  readonly piece: Buffer;
}

/** @throws TLedgerError DATA_CORRUPTED when they are damaged here, too; STORAGE_FAILED. */
export function recordsAnswer(
  log: CommitLog,
  committedIndex: LogIndex,
  firstIndex: LogIndex,
  bytesMax: number,
): RecordsAnswer {
  const { base, lastIndex } = log;
  const committedTerm = log.termAt(committedIndex);
  const known = { baseIndex: base.index, lastIndex, committedIndex, committedTerm, records: Buffer.alloc(0) };
  const before = logIndex(firstIndex - 1);
  if (before < base.index || before > lastIndex) return { ...known, previous: null };
  const previous = { term: log.termAt(before), chainCrc: log.chainAt(before) };
  if (bytesMax === 0 || firstIndex > lastIndex) return { ...known, previous };
  const { buffer, start, end } = log.read(firstIndex, log.fit(firstIndex, bytesMax).lastIndex);
  return { ...known, previous, records: buffer.subarray(start, end) };
}

/**
 * @param index null: the newest one that a log may begin behind. Records that are held back (delayed messages, halves of
 * transactions) are read again, so none of them may lie below it; retention keeps to the same.
 * @param heldFrom the oldest of them.
 * @returns null when there is none. @throws TLedgerError DATA_CORRUPTED when it is damaged here, too; STORAGE_FAILED.
 */
export function snapshotAnswer(
  snapshots: SnapshotStore,
  { index, offset, heldFrom }: AskedSnapshot,
  bytesMax: number,
): SnapshotAnswer | null {
  const held = snapshots.list();
  const asked = index ?? held.findLast((one) => heldFrom === null || one < heldFrom);
  if (asked === undefined || !held.includes(asked)) return null;
  const snapshot = snapshots.open(asked);
  try {
    if (offset > snapshot.sizeBytes) {
      throw new TLedgerError('INVALID_ARGUMENT', `the snapshot at ${asked} has ${snapshot.sizeBytes} bytes`);
    }
    const { buffer, start, end } = snapshot.read(offset, bytesMax);
    const { term } = snapshot.meta.tip;
    return { index: asked, term, sizeBytes: snapshot.sizeBytes, piece: buffer.subarray(start, end) };
  } finally {
    snapshot.close();
  }
}
