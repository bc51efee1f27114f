// How much of the log is kept: whole segments, and only what a snapshot stands for goes.
//
//   base                 boundary            boundary        commit    end
//     |====== segment =====|===== segment =====|==== tail =====|........|
//     snapshot             snapshot            snapshot, written once what comes behind it is committed
//                          └ the base, once `bytesMax` lie behind it and nobody within reach needs what is before
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import type { LogIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';

/** Followers that lag behind hold records back until the log is so many times as long as wanted. */
const PATIENCE_FACTOR = 2;

interface RetentionOptions {
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly snapshots: SnapshotStore;
  /** Bytes of the log that are kept at least; 0 keeps everything. */
  readonly bytesMax: number;
  /** A snapshot became durable. */
  readonly onSnapshot: () => void;
  /** Something odd that the replica can live with, for the log. */
  readonly onWarning: (message: string) => void;
  /** Something rare that went as it should, for the log. */
  readonly onEvent?: (message: string) => void;
  readonly onFailure: (error: unknown) => void;
}

/** Snapshots and cuts of one replica. */
export class Retention {
  readonly #options: RetentionOptions;
  #taking: Promise<void> | null = null;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Whether snapshots are made at all. */
  get isOn(): boolean {
    return this.#options.bytesMax > 0;
  }

  /**
   * All records up to the end of a segment are applied, and the one behind it is committed: the segment ends there on
   * every replica. The state as of now is written as a snapshot while applying goes on; one at a time, so that a boundary
   * that comes too soon gets none, and the log is not cut there.
   */
  atBoundary(boundary: LogIndex): void {
    if (this.#taking !== null) return;
    this.#taking = this.#take(boundary).finally(() => {
      this.#taking = null;
    });
  }

  /** Resolves when no snapshot is being written. */
  async whenIdle(): Promise<void> {
    await this.#taking;
  }

  /**
   * Cuts the log to the latest snapshot that leaves `bytesMax` behind it. Call when a snapshot became durable.
   * @param retainFrom first record that somebody within reach still needs.
   * @returns the new base, or null when everything stays.
   */
  cut(retainFrom: LogIndex): LogIndex | null {
    const { log, snapshots, onEvent } = this.#options;
    const boundary = this.#boundary(retainFrom);
    if (boundary === null) return null;
    // What stands for the records is read before they go.
    if (!this.#cutQueues(boundary)) return null;
    log.cutTo(boundary);
    onEvent?.(`deleted records up to ${boundary} (kept ${log.endPosition - log.base.end} bytes)`);
    for (const older of snapshots.list()) if (older < boundary) snapshots.remove(older);
    return boundary;
  }

  /** @returns false when the snapshot is damaged: it stands for nothing and is removed, and the records stay. */
  #cutQueues(boundary: LogIndex): boolean {
    const { broker, snapshots, onWarning } = this.#options;
    try {
      const snapshot = snapshots.open(boundary);
      try {
        broker.cut(snapshot);
      } finally {
        snapshot.close();
      }
      return true;
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      onWarning(`the log is not cut at ${boundary}: ${messageOf(error)}`);
      snapshots.remove(boundary);
      return false;
    }
  }

  async #take(boundary: LogIndex): Promise<void> {
    const { log, broker, onSnapshot, onWarning, onEvent, onFailure } = this.#options;
    try {
      await broker.takeSnapshot(log.tipAt(boundary));
    } catch (error) {
      if (!(error instanceof TLedgerError)) return onFailure(error);
      // The snapshot alone is lost, unless the broker is: then its next checkpoint fails, too, and this is why.
      onWarning(`there is no snapshot at ${boundary}: ${messageOf(error)}`);
      await broker.checkpoint().catch(() => onFailure(error));
      return;
    }
    onEvent?.(`took a snapshot at ${boundary}`);
    onSnapshot();
  }

  #boundary(retainFrom: LogIndex): LogIndex | null {
    const { log, broker, snapshots, bytesMax } = this.#options;
    const heldBytes = log.endPosition - log.base.end;
    if (!this.isOn || heldBytes <= bytesMax) return null;
    const isPatient = heldBytes <= PATIENCE_FACTOR * bytesMax;
    const sealed = new Set(log.sealedBoundaries);
    const mayGo = (index: LogIndex): boolean =>
      index > log.base.index &&
      sealed.has(index) &&
      index < broker.appliedIndex &&
      (!isPatient || index < retainFrom) &&
      log.endPosition - log.tipAt(index).end >= bytesMax;
    return snapshots.list().findLast(mayGo) ?? null;
  }
}
