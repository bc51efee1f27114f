// Snapshots: the whole replicated state as of one index, as files that are the same byte for byte on every replica. They
// stand for the records that the log no longer holds, and are what a member gets that needs those.
//
//   <group>/snapshot/<20-digit index>                        complete and durable; only ever made by a rename
//   <group>/snapshot/<20-digit index>.new                    being written here; removed when the store is opened
//   <group>/snapshot/<20-digit index>-<20-digit term>.part   arriving from the leader; resumed where it was left
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, Term } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import type { StateEntry } from './state_store.ts';

/** What a snapshot is of. */
export interface SnapshotMeta {
  /** The last record whose effect is in the state: what the log's base becomes (`CommitLog.restart`). */
  readonly tip: LogTip;
  /** The membership in force there, in a form that storage does not look into. At most 32 KiB. */
  readonly membership: Buffer;
}

/** Bytes of a snapshot file: `buffer[start, end)`; the FRAME_HEADROOM_BYTES before `start` are free. */
export interface SnapshotChunk {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/** A complete snapshot. Stays readable when it is removed meanwhile. */
export interface Snapshot {
  readonly meta: SnapshotMeta;
  /** Size of the file: what a receiver must hold before it is complete. */
  readonly sizeBytes: number;
  /**
   * At most `bytesMax` (> 0) bytes of the file from `offset` on, verified; empty at or behind the end.
   * @throws TLedgerError DATA_CORRUPTED when they are damaged here: nobody must get them; STORAGE_FAILED.
   */
  read(offset: number, bytesMax: number): SnapshotChunk;
  /**
   * All rows in ascending order of the keys' UTF-8 bytes, read and verified piece by piece as they are asked for.
   * @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED at whatever row the damage lies behind.
   */
  rows(): Iterable<StateEntry>;
  close(): void;
}

/** How far an arriving snapshot is held. */
export interface IncomingProgress {
  /** Bytes from the beginning that are held durably and are good so far: the next chunk begins here. May go back. */
  readonly sizeBytes: number;
  /** All of it is held: `completeIncoming` comes next. */
  readonly isComplete: boolean;
}

/**
 * The snapshots of one group. One write and one arriving snapshot at a time, beside each other. A failure of the disk
 * while writing or receiving is final for that file only: it is removed, and both may be begun anew.
 */
export class SnapshotStore {
  /**
   * Opens what is there: drafts are removed, and of an arriving snapshot that was left half-way what is good is kept.
   * @throws TLedgerError STORAGE_FAILED
   */
  static open(_options: { readonly disk: Disk; readonly directory: string }): SnapshotStore {
    return new SnapshotStore();
  }

  /** Indexes of the complete snapshots, ascending. */
  list(): readonly LogIndex[] {
    return [];
  }

  /**
   * Writes a snapshot; it is durable and listed when the promise resolves, and not there at all before. What `rows` gives
   * is taken in pieces of about 256 KiB, each flushed without blocking before more is asked for. One that is there
   * already is kept, and no row is asked for.
   * @param rows in strictly ascending order of the keys' UTF-8 bytes.
   * @throws TLedgerError STORAGE_FAILED, or whatever `rows` throws; nothing is left of it then.
   */
  write(_meta: SnapshotMeta, _rows: AsyncIterable<StateEntry> | Iterable<StateEntry>): Promise<void> {
    throw notYet();
  }

  /**
   * Opens a complete snapshot; the caller closes it.
   * @throws TLedgerError DATA_CORRUPTED when it is missing or its beginning is damaged; STORAGE_FAILED.
   */
  open(_index: LogIndex): Snapshot {
    throw notYet();
  }

  /** Removes a complete snapshot, durably; a missing one is no error. */
  remove(_index: LogIndex): void {
    throw notYet();
  }

  /** How far the snapshot at (index, term) has arrived, durably; 0 if nothing of it is held. */
  incomingSize(_index: LogIndex, _term: Term): number {
    throw notYet();
  }

  /**
   * Takes a chunk of the snapshot at (index, term) and makes it durable, without blocking. What is held already is
   * skipped; a chunk that would leave a gap is not taken; bytes that turn out bad are dropped with what depends on them.
   * Other arriving snapshots are dropped. The bytes stay the caller's.
   * @throws TLedgerError STORAGE_FAILED; then nothing of this snapshot is held any more.
   */
  appendIncoming(_index: LogIndex, _term: Term, _offset: number, _bytes: Buffer): Promise<IncomingProgress> {
    throw notYet();
  }

  /**
   * Makes a snapshot that has arrived completely one of the list, durably.
   * @returns false when it does not match its checksum; it is discarded then, and 0 bytes are held.
   */
  completeIncoming(_index: LogIndex, _term: Term): boolean {
    throw notYet();
  }

  /** Closes files. An arriving snapshot is kept for the next process. Closing twice is harmless. */
  close(): void {}
}

function notYet(): TLedgerError {
  return new TLedgerError('INTERNAL', 'snapshots are not kept yet');
}
