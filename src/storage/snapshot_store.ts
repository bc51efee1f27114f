// Snapshots: the whole replicated state as of one index, as files that are the same byte for byte on every replica. They
// stand for the records that the log no longer holds, and are what a member gets that needs those.
//
//   <group>/snapshot/<20-digit index>                        complete and durable; only ever made by a rename
//   <group>/snapshot/<20-digit index>.new                    being written here; removed when the store is opened
//   <group>/snapshot/<20-digit index>-<20-digit term>.part   arriving from the leader; resumed where it was left
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex, type Term } from '../raft/types.ts';
import type { Disk, DiskFile } from './disk.ts';
import { encodeHeader, SNAPSHOT_HEADER_BYTES, SnapshotEncoder } from './snapshot_format.ts';
import { type IncomingProgress, IncomingSnapshot, isIncomingName } from './snapshot_incoming.ts';
import { Snapshot, type SnapshotMeta, snapshotDamage } from './snapshot_reader.ts';
import type { StateEntry } from './state_store.ts';

export type { IncomingProgress } from './snapshot_incoming.ts';
export { Snapshot, type SnapshotChunk, type SnapshotMeta } from './snapshot_reader.ts';

const NAME_PATTERN = /^\d{20}$/;
const DRAFT_PATTERN = /^\d{20}\.new$/;
const NOTHING: IncomingProgress = { sizeBytes: 0, isComplete: false };

/**
 * The snapshots of one group. One write and one arriving snapshot at a time, beside each other. A failure of the disk
 * while writing or receiving is final for that file only: it is removed, and both may be begun anew.
 */
export class SnapshotStore {
  readonly #disk: Disk;
  readonly #directory: string;
  #incoming: IncomingSnapshot | null = null;
  #isWriting = false;
  #isClosed = false;

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /**
   * Opens what is there: drafts are removed, and of an arriving snapshot that was left half-way what is good is kept.
   * @param options.directory the group's directory; snapshots lie in `snapshot/` in it.
   * @throws TLedgerError STORAGE_FAILED; DATA_DIR_FOREIGN when a newer version of this software was here.
   */
  static open(options: { readonly disk: Disk; readonly directory: string }): SnapshotStore {
    const { disk } = options;
    const directory = `${options.directory}/snapshot`;
    disk.makeDirectory(directory);
    const store = new SnapshotStore(disk, directory);
    const names = disk.list(directory);
    for (const name of names.filter((known) => DRAFT_PATTERN.test(known))) disk.remove(`${directory}/${name}`);
    const arriving = names.filter(isIncomingName);
    const last = arriving.pop();
    for (const name of arriving) disk.remove(`${directory}/${name}`);
    if (last !== undefined) store.#incoming = IncomingSnapshot.resume(disk, directory, last);
    return store;
  }

  /** Indexes of the complete snapshots, ascending. */
  list(): readonly LogIndex[] {
    const names = this.#disk.list(this.#directory).filter((name) => NAME_PATTERN.test(name));
    return names.map((name) => logIndex(Number(name)));
  }

  /**
   * Writes a snapshot; it is durable and listed when the promise resolves, and not there at all before. What `rows` gives
   * is taken in pieces of about 256 KiB, each flushed without blocking before more is asked for. One that is there
   * already is kept, and no row is asked for.
   * @param rows in strictly ascending order of the keys' UTF-8 bytes.
   * @throws TLedgerError STORAGE_FAILED, SHUTTING_DOWN (closed meanwhile), or whatever `rows` throws; nothing is left of
   * it then.
   */
  async write(meta: SnapshotMeta, rows: AsyncIterable<StateEntry> | Iterable<StateEntry>): Promise<void> {
    assert(!this.#isClosed && !this.#isWriting, 'one snapshot is written at a time');
    const path = this.#pathOf(meta.tip.index);
    if (this.#disk.exists(path)) return;
    const draft = `${path}.new`;
    this.#isWriting = true;
    try {
      this.#disk.remove(draft);
      const file = this.#disk.open(draft, { create: true });
      try {
        await this.#writeDraft(file, meta, rows);
      } finally {
        file.close();
      }
      this.#disk.rename(draft, path);
    } catch (error) {
      // Any other error is the end of the process: the next one cleans up.
      if (error instanceof TLedgerError) this.#tryRemove(draft);
      throw error;
    } finally {
      this.#isWriting = false;
    }
  }

  /**
   * Opens a complete snapshot; the caller closes it.
   * @throws TLedgerError DATA_CORRUPTED when it is missing or its beginning is damaged; STORAGE_FAILED.
   */
  open(index: LogIndex): Snapshot {
    const path = this.#pathOf(index);
    const snapshot = Snapshot.open(this.#disk, path);
    if (snapshot.meta.tip.index === index) return snapshot;
    snapshot.close();
    throw snapshotDamage(path, `it is that at ${snapshot.meta.tip.index}`);
  }

  /** Removes a complete snapshot, durably; a missing one is no error. */
  remove(index: LogIndex): void {
    this.#disk.remove(this.#pathOf(index));
  }

  /** The one that is arriving, begun by this process or an earlier one; null if none is. */
  get arriving(): LogIndex | null {
    return this.#incoming?.index ?? null;
  }

  /** How far the snapshot at (index, term) has arrived, durably: all of it when it is complete, 0 if nothing is held. */
  incomingSize(index: LogIndex, ofTerm: Term): number {
    return this.#completeSize(index, ofTerm) ?? this.#arriving(index, ofTerm)?.progress.sizeBytes ?? 0;
  }

  /**
   * Takes a chunk of the snapshot at (index, term) and makes it durable, without blocking. What is held already is
   * skipped; a chunk that would leave a gap is not taken; bytes that turn out bad are dropped with what depends on them.
   * Other arriving snapshots are dropped. The bytes stay the caller's. May be called again before it has resolved.
   * @throws TLedgerError STORAGE_FAILED; then nothing of this snapshot is held any more. DATA_DIR_FOREIGN when a newer
   * version of this software made the snapshot.
   */
  async appendIncoming(index: LogIndex, ofTerm: Term, offset: number, bytes: Buffer): Promise<IncomingProgress> {
    assert(!this.#isClosed, 'a closed store receives nothing');
    const sizeBytes = this.#completeSize(index, ofTerm);
    if (sizeBytes !== null) return { sizeBytes, isComplete: true };
    if (this.#arriving(index, ofTerm) === null) {
      this.dropIncoming();
      if (offset > 0) return NOTHING;
      this.#incoming = IncomingSnapshot.begin(this.#disk, this.#directory, index, ofTerm);
    }
    const incoming = this.#incoming!;
    try {
      incoming.append(offset, bytes);
      await incoming.flush();
    } catch (error) {
      if (this.#incoming === incoming && error instanceof TLedgerError) {
        incoming.close();
        this.#incoming = null;
        this.#tryRemove(incoming.path);
      }
      throw error;
    }
    return this.#incoming === incoming ? incoming.progress : NOTHING;
  }

  /**
   * Makes a snapshot that has arrived completely, every piece of it verified, one of the list, durably.
   * @returns false when it is not held completely: the sender goes on at `incomingSize`.
   * @throws TLedgerError STORAGE_FAILED
   */
  completeIncoming(index: LogIndex, ofTerm: Term): boolean {
    const incoming = this.#arriving(index, ofTerm);
    if (this.#completeSize(index, ofTerm) !== null) {
      if (incoming !== null) this.dropIncoming();
      return true;
    }
    if (incoming === null || !incoming.progress.isComplete) return false;
    incoming.close();
    this.#incoming = null;
    this.#disk.rename(incoming.path, this.#pathOf(index));
    return true;
  }

  /** Forgets a snapshot that is arriving: the log has come further by itself. */
  dropIncoming(): void {
    if (this.#incoming === null) return;
    const { path } = this.#incoming;
    this.#incoming.close();
    this.#incoming = null;
    this.#disk.remove(path);
  }

  /** Closes files. An arriving snapshot is kept for the next process; a write under way fails. Twice is harmless. */
  close(): void {
    this.#isClosed = true;
    this.#incoming?.close();
    this.#incoming = null;
  }

  async #writeDraft(
    file: DiskFile,
    { tip, membership }: SnapshotMeta,
    rows: AsyncIterable<StateEntry> | Iterable<StateEntry>,
  ): Promise<void> {
    const encoder = new SnapshotEncoder(tip, membership);
    let end = SNAPSHOT_HEADER_BYTES;
    const write = async (bytes: Buffer, position: number): Promise<void> => {
      file.write(bytes, position);
      end = Math.max(end, position + bytes.length);
      await file.flush();
      if (this.#isClosed) throw new TLedgerError('SHUTTING_DOWN', 'snapshots were closed while one was written');
    };
    for await (const row of rows) {
      encoder.add(row);
      for (const chunk of encoder.takeFull()) await write(chunk, end);
    }
    const { chunks, header } = encoder.finish();
    for (const chunk of chunks) await write(chunk, end);
    await write(encodeHeader(header), 0);
  }

  #arriving(index: LogIndex, ofTerm: Term): IncomingSnapshot | null {
    const incoming = this.#incoming;
    return incoming !== null && incoming.index === index && incoming.term === ofTerm ? incoming : null;
  }

  /** Size of a complete snapshot; null if there is none, or none that can be opened: then it is received again. */
  #completeSize(index: LogIndex, ofTerm: Term): number | null {
    if (!this.#disk.exists(this.#pathOf(index))) return null;
    try {
      const snapshot = this.open(index);
      snapshot.close();
      return snapshot.meta.tip.term === ofTerm ? snapshot.sizeBytes : null;
    } catch (error) {
      if (error instanceof TLedgerError && error.code === 'DATA_CORRUPTED') return null;
      throw error;
    }
  }

  /** What cannot be removed now is removed when the store is opened. */
  #tryRemove(path: string): void {
    try {
      this.#disk.remove(path);
    } catch {}
  }

  #pathOf(index: LogIndex): string {
    return `${this.#directory}/${String(index).padStart(20, '0')}`;
  }
}
