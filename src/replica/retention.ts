// How much of the log is kept: whole segments, and only what a snapshot stands for goes.
//
//   base                 boundary            boundary        commit    end
//     |====== segment =====|===== segment =====|==== tail =====|........|
//     snapshot             snapshot            snapshot, written once what comes behind it is committed
//                          └ the base, once it is too old, or `bytesMax` lie behind it, or the disk is too full
//
// The tail is never deleted, however old its messages are (RocketMQ keeps the last file, too): it goes when it is full.
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import type { LogIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';
import { endPositionOf } from './applying.ts';
import { StoreTimes } from './store_times.ts';

/** Followers that lag behind hold records back until the log is so many times as long, or as old, as wanted. */
const PATIENCE_FACTOR = 2;
/** Snapshots kept at a time. Beyond that the log is cut in larger steps: an eighth of what is kept. */
export const SNAPSHOTS_MAX = 16;
/** How often ages are looked at, at most. */
const LOOK_INTERVAL_MS_MAX = 10_000;
const LOOK_INTERVAL_MS_MIN = 50;
/** Looks during the shortest time that something is kept. */
const LOOKS_PER_AGE = 10;

interface RetentionOptions {
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  /** Bytes of the log that are kept at least; 0: as many as there are. */
  readonly bytesMax: number;
  /** How long messages are kept at least, by their store time; 0: for ever. */
  readonly ageMsMax: number;
  /** Whether a full disk makes segments go before their time ... */
  readonly mindsDisk: boolean;
  /** ... and is so full now. */
  readonly needsRoom: () => boolean;
  /** First record that somebody within reach still needs. */
  readonly retainFrom: () => LogIndex;
  /** Runs a task as a turn of the replica, or not at all if it takes none. */
  readonly turn: (task: () => void) => void;
  /** The log was cut, in this turn. */
  readonly onCut: (base: LogIndex) => void;
  /** The log turned out to be damaged. */
  readonly onDamage?: (damage: Damage) => void;
  /** Something odd that the replica can live with, for the log. */
  readonly onWarning: (message: string) => void;
  /** Something rare that went as it should, for the log. */
  readonly onEvent?: (message: string) => void;
  readonly onFailure: (error: unknown) => void;
}

/** Snapshots and cuts of one replica. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #storeTimes: StoreTimes;
  #taking: Promise<void> | null = null;
  #cutting: Promise<void> | null = null;
  #timer: Timer | null = null;
  #isStopped = false;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#storeTimes = new StoreTimes(options.log);
  }

  /** Whether snapshots are made at all. */
  get isOn(): boolean {
    const { bytesMax, ageMsMax, mindsDisk } = this.#options;
    return bytesMax > 0 || ageMsMax > 0 || mindsDisk;
  }

  /** Looks at ages from time to time. */
  start(): void {
    const { clock, ageMsMax } = this.#options;
    if (ageMsMax === 0 || this.#isStopped) return;
    const often = Math.min(LOOK_INTERVAL_MS_MAX, Math.max(LOOK_INTERVAL_MS_MIN, ageMsMax / LOOKS_PER_AGE));
    this.#timer = clock.after(often, () => {
      this.look();
      this.start();
    });
  }

  /** Looks no more. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
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

  /** Resolves when no snapshot is being written, and nothing is about to be cut. */
  async whenIdle(): Promise<void> {
    await this.#taking;
    await this.#cutting;
  }

  /** Cuts the log if something may go. */
  look(): void {
    if (this.#isStopped || this.#cutting !== null) return;
    this.#cutting = this.#cut()
      .catch((error: unknown) => this.#options.onFailure(error))
      .finally(() => {
        this.#cutting = null;
      });
  }

  /** Cuts the log to the latest snapshot before which nothing has to be kept. */
  async #cut(): Promise<void> {
    const { snapshots, onWarning } = this.#options;
    const boundary = this.#boundary();
    if (boundary === null) return;
    try {
      const snapshot = snapshots.open(boundary);
      try {
        // What stands for the records is read before they go.
        const rows = await snapshot.allRows();
        this.#options.turn(() => this.#cutNow(boundary, () => this.#options.broker.cut(snapshot, rows)));
      } finally {
        snapshot.close();
      }
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      // It stands for nothing, so the records stay.
      onWarning(`the log is not cut at ${boundary}: ${messageOf(error)}`);
      snapshots.remove(boundary);
    }
  }

  /** @param cutQueues what refers to the records is told before they go. */
  #cutNow(boundary: LogIndex, cutQueues: () => void): void {
    const { log, snapshots, onEvent, onWarning, onCut } = this.#options;
    if (boundary <= log.base.index) return;
    try {
      cutQueues();
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      onWarning(`the log is not cut at ${boundary}: ${messageOf(error)}`);
      snapshots.remove(boundary);
      return;
    }
    log.cutTo(boundary);
    onEvent?.(`deleted records up to ${boundary} (kept ${log.endPosition - log.base.end} bytes)`);
    for (const older of snapshots.list()) if (older < boundary) snapshots.remove(older);
    this.#storeTimes.cutTo(boundary);
    onCut(boundary);
  }

  async #take(boundary: LogIndex): Promise<void> {
    const { log, broker, onWarning, onEvent, onDamage, onFailure } = this.#options;
    try {
      await broker.takeSnapshot(log.tipAt(boundary));
      this.#thin();
    } catch (error) {
      if (!(error instanceof TLedgerError)) return onFailure(error);
      // The snapshot alone is lost, unless the broker is: then its next checkpoint fails, too, and this is why.
      onWarning(`there is no snapshot at ${boundary}: ${messageOf(error)}`);
      const damage = damageOf(error);
      if (damage !== null) onDamage?.(damage);
      await broker.checkpoint().catch(() => onFailure(error));
      return;
    }
    onEvent?.(`took a snapshot at ${boundary}`);
    await this.#cutting;
    this.look();
    await this.#cutting;
  }

  /**
   * Of the snapshots keeps the one at the base, the newest, those where the log can still be cut, and of these not more
   * than so many: the one goes first that makes the smallest step longer.
   */
  #thin(): void {
    const { log, snapshots } = this.#options;
    const sealed = new Set(log.sealedBoundaries);
    const ofUse = (index: LogIndex): boolean => sealed.has(index) || index === log.base.index || index > log.lastIndex;
    const kept: LogIndex[] = [];
    for (const [at, index] of snapshots.list().entries()) {
      if (ofUse(index) || at === snapshots.list().length - 1) kept.push(index);
      else snapshots.remove(index);
    }
    while (kept.length > SNAPSHOTS_MAX) {
      const steps = kept.map((_, at) => (at === 0 || at === kept.length - 1 ? Infinity : this.#stepOver(kept, at)));
      const [gone] = kept.splice(steps.indexOf(Math.min(...steps)), 1);
      snapshots.remove(gone!);
    }
  }

  /** Bytes between the neighbours of a snapshot. */
  #stepOver(kept: readonly LogIndex[], at: number): number {
    const { log } = this.#options;
    const positionOf = (index: LogIndex): number =>
      index > log.lastIndex ? log.endPosition : endPositionOf(log, index);
    return positionOf(kept[at + 1]!) - positionOf(kept[at - 1]!);
  }

  #boundary(): LogIndex | null {
    const { log, broker, snapshots } = this.#options;
    if (!this.isOn) return null;
    const sealed = new Set(log.sealedBoundaries);
    // What is held back (delayed messages, halves of transactions) is read again when it is released.
    const heldFrom = broker.tables.parked.firstIndex ?? Number.POSITIVE_INFINITY;
    const mayGo = (index: LogIndex): boolean =>
      index > log.base.index &&
      sealed.has(index) &&
      index < broker.appliedIndex &&
      index < heldFrom &&
      (this.#isTooMuch(index) || this.#isTooOld(index));
    return snapshots.list().findLast(mayGo) ?? this.#oldest(snapshots.list(), sealed);
  }

  /** Whether more than enough bytes lie behind record `index`. */
  #isTooMuch(index: LogIndex): boolean {
    const { log, bytesMax, retainFrom } = this.#options;
    const heldBytes = log.endPosition - log.base.end;
    if (bytesMax === 0 || heldBytes <= bytesMax) return false;
    const isPatient = heldBytes <= PATIENCE_FACTOR * bytesMax;
    return (!isPatient || index < retainFrom()) && log.endPosition - endPositionOf(log, index) >= bytesMax;
  }

  /** Whether all messages up to record `index` were stored too long ago. */
  #isTooOld(index: LogIndex): boolean {
    const { clock, ageMsMax, retainFrom } = this.#options;
    if (ageMsMax === 0) return false;
    const storedAtMs = this.#storeTimes.of(index);
    if (storedAtMs === null) return false;
    const ageMs = clock.wallMs() - storedAtMs;
    return ageMs >= PATIENCE_FACTOR * ageMsMax || (ageMs >= ageMsMax && index < retainFrom());
  }

  /** The nearest place to cut, when the disk is so full that whatever can go has to: one step at a time. */
  #oldest(snapshots: readonly LogIndex[], sealed: ReadonlySet<LogIndex>): LogIndex | null {
    const { log, broker, needsRoom } = this.#options;
    if (!needsRoom()) return null;
    const heldFrom = broker.tables.parked.firstIndex ?? Number.POSITIVE_INFINITY;
    const mayGo = (index: LogIndex): boolean =>
      index > log.base.index && sealed.has(index) && index < Math.min(broker.appliedIndex, heldFrom);
    return snapshots.find(mayGo) ?? null;
  }
}
