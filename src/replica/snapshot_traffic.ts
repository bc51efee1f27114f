// Snapshots on their way between replicas: a leader reads pieces of its own, a follower stores those that arrive. Consensus
// decides who gets which piece when; what arrives is verified by the store and goes on where it was left.
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { LogIndex, SnapshotChunk, SnapshotPoint, SnapshotRequest, Term } from '../raft/types.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import type { Snapshot, SnapshotStore } from '../storage/snapshot_store.ts';
import type { RecordBytes } from './types.ts';

/** Bytes of one piece by default; a message that carries one is well below every limit of a message. */
export const SNAPSHOT_CHUNK_BYTES = 512 * 1024;

interface SnapshotTrafficOptions {
  readonly snapshots: SnapshotStore;
  readonly chunkBytes: number;
  readonly onWarning: (message: string) => void;
  /** A snapshot that was to be sent is damaged. */
  readonly onDamage: (damage: Damage) => void;
  /** So much of a snapshot is durable here. */
  readonly onStored: (index: LogIndex, sizeBytes: number) => void;
  /** All of a snapshot is durable here, and verified. */
  readonly onArrived: (point: SnapshotPoint) => void;
  readonly onFailure: (error: unknown) => void;
}

/** Both directions for one replica. */
export class SnapshotTraffic {
  readonly #options: SnapshotTrafficOptions;
  /** The one that is being sent; followers that need one need the same. */
  #sending: { readonly index: LogIndex; readonly snapshot: Snapshot } | null = null;
  #storing: Promise<void> | null = null;
  #lastWarning = '';

  constructor(options: SnapshotTrafficOptions) {
    this.#options = options;
  }

  /** The bytes that go with `message`; null when this replica cannot give them, so that it is not sent. */
  read({ index, offset }: SnapshotRequest): RecordBytes | null {
    try {
      return { ...this.#open(index).read(offset, this.#options.chunkBytes), prevChain: 0 };
    } catch (error) {
      if (!(error instanceof TLedgerError)) throw error;
      this.#warn(`the snapshot at ${index} cannot be sent: ${messageOf(error)}`);
      const damage = damageOf(error);
      // One that is missing was found damaged before, and nobody had another.
      if (damage !== null && this.#options.snapshots.list().includes(index)) this.#options.onDamage(damage);
      return null;
    }
  }

  /** Stores a piece; one at a time, the leader repeats what came too early. */
  store({ index, term, offset }: SnapshotChunk, { buffer, start, end }: RecordBytes): void {
    if (this.#storing !== null) return;
    // The bytes are the transport's; they are written before this call returns.
    this.#storing = this.#store(index, term, offset, buffer.subarray(start, end)).finally(() => {
      this.#storing = null;
    });
  }

  /** A snapshot that is arriving is of no use any more once the log has come as far by itself. */
  onCommit(commit: LogIndex): void {
    const { snapshots } = this.#options;
    if (snapshots.arriving === null || commit < snapshots.arriving || this.#storing !== null) return;
    snapshots.dropIncoming();
  }

  /** Resolves when nothing is being stored any more. */
  async stop(): Promise<void> {
    await this.#storing;
    this.endSending();
  }

  /** A snapshot is damaged: nobody gets it any more, and another one may take its place. */
  drop(index: LogIndex): void {
    if (this.#sending?.index === index) this.endSending();
    this.#options.snapshots.remove(index);
  }

  /** This replica does not lead any more. */
  endSending(): void {
    this.#sending?.snapshot.close();
    this.#sending = null;
  }

  async #store(index: LogIndex, term: Term, offset: number, bytes: Buffer): Promise<void> {
    const { snapshots, onStored, onArrived, onFailure } = this.#options;
    try {
      const { sizeBytes, isComplete } = await snapshots.appendIncoming(index, term, offset, bytes);
      if (isComplete) onArrived({ index, term });
      else onStored(index, sizeBytes);
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'STORAGE_FAILED') return onFailure(error);
      // What was held of it is gone, and nothing else: the leader asks again, now and then.
      this.#warn(`the snapshot at ${index} cannot be stored: ${messageOf(error)}`);
    }
  }

  #open(index: LogIndex): Snapshot {
    if (this.#sending?.index !== index) {
      this.endSending();
      this.#sending = { index, snapshot: this.#options.snapshots.open(index) };
    }
    return this.#sending!.snapshot;
  }

  #warn(message: string): void {
    if (message === this.#lastWarning) return;
    this.#lastWarning = message;
    this.#options.onWarning(message);
  }
}
