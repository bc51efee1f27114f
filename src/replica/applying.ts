// Applies committed records to the broker, a bounded amount a turn, and saves the applied state from time to time.
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Broker } from '../broker/broker.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';

/** Bytes applied in one turn before others get theirs, and in one piece. */
const APPLY_BYTES_PER_TURN = 4 * 1024 * 1024;
const APPLY_BYTES_MAX = 1024 * 1024;
/** Queues that one interval is enough for. Each has a file to be flushed: where there are more, they are saved less often. */
const QUEUES_PER_INTERVAL = 100;
const INTERVALS_MAX = 10;
/** Records not saved after which no further interval is waited for: a restart applies so many in a few seconds. */
const UNSAVED_RECORDS_MAX = 1_000_000;

interface ApplyingOptions {
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly clock: Clock;
  /**
   * How often applied state is saved, which bounds what a restart applies again; up to ten times as long when more than a
   * hundred queues have changed.
   */
  readonly checkpointIntervalMs: number;
  /** Told when all records of a segment are applied and the one behind it is committed; null: nobody wants to know. */
  readonly atBoundary: ((boundary: LogIndex) => void) | null;
  readonly onFailure: (error: unknown) => void;
}

/** The applied prefix of one replica. */
export class Applying {
  readonly #options: ApplyingOptions;
  /** Where the applied prefix of the log ends. */
  #position: PhysicalOffset;
  #savedIndex: LogIndex;
  #saving: Promise<void> = Promise.resolve();
  /** Intervals that have passed with something to save. */
  #intervals = 0;
  #isStopped = false;
  #timer: Timer | null = null;

  constructor(options: ApplyingOptions) {
    const { log, broker } = options;
    assert(broker.appliedIndex <= log.lastIndex, 'applied state never runs ahead of the log it was made from');
    this.#options = options;
    this.#savedIndex = broker.appliedIndex;
    this.#position = endPositionOf(log, broker.appliedIndex);
    log.keepFrom(this.#position);
  }

  get unappliedBytes(): number {
    return this.#options.log.endPosition - this.#position;
  }

  /** Applies up to `commit`. @returns whether some of it is left for another turn. */
  apply(commit: LogIndex): boolean {
    const { log, broker } = this.#options;
    let budget = APPLY_BYTES_PER_TURN;
    while (broker.appliedIndex < commit && budget > 0) {
      const first = (broker.appliedIndex + 1) as LogIndex;
      const last = Math.min(log.fit(first, APPLY_BYTES_MAX).lastIndex, commit, this.#boundaryAt(first)) as LogIndex;
      const { buffer, start, end } = log.read(first, last);
      broker.apply(buffer, start, end);
      assert(broker.appliedIndex === last, 'applying moves the applied index to the last record given');
      this.#position = endPositionOf(log, last);
      budget -= end - start;
    }
    log.keepFrom(this.#position);
    return broker.appliedIndex < commit;
  }

  /** The state was replaced by a snapshot, and the log begins behind it. */
  restarted(): void {
    this.#position = this.#options.log.base.end;
    this.#savedIndex = this.#options.broker.appliedIndex;
    this.#options.log.keepFrom(this.#position);
  }

  /** Begins to save at intervals. */
  start(): void {
    this.#timer = this.#options.clock.after(this.#options.checkpointIntervalMs, () => {
      this.#timer = null;
      if (this.#isStopped) return;
      if (this.#options.broker.appliedIndex === this.#savedIndex) return this.start();
      this.#intervals++;
      this.#saving = this.#save(this.#isDue).then(() => this.start());
    });
  }

  /** Saves no more until `start`; resolves when nothing is being saved. */
  async pause(): Promise<void> {
    // What is being saved sets the timer again when it ends.
    await this.#saving;
    this.#timer?.cancel();
  }

  /** Saves once more; resolves when everything applied is saved. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#saving;
    await this.#save(true);
  }

  /** No more saving: the replica failed. */
  abandon(): void {
    this.#isStopped = true;
  }

  /** Where to stop at the latest, so that the end of a segment is noticed: records behind it are another step. */
  #boundaryAt(first: LogIndex): number {
    const { log, atBoundary } = this.#options;
    if (atBoundary === null) return Number.POSITIVE_INFINITY;
    const segment = log.segmentOf(first);
    if (segment.firstIndex === first && first > log.firstIndex) atBoundary((first - 1) as LogIndex);
    return segment.lastIndex;
  }

  /** Whether as many intervals have passed as there is to flush. */
  get #isDue(): boolean {
    const { broker } = this.#options;
    const intervals = Math.min(INTERVALS_MAX, Math.ceil(broker.changedQueues / QUEUES_PER_INTERVAL));
    return this.#intervals >= intervals || broker.appliedIndex - this.#savedIndex >= UNSAVED_RECORDS_MAX;
  }

  /** @param withState whether the applied state is saved, too, and not only how far the log is vouched for. */
  async #save(withState: boolean): Promise<void> {
    try {
      await this.#options.log.advanceCheckpoint();
      if (!withState) return;
      this.#intervals = 0;
      this.#savedIndex = await this.#options.broker.checkpoint();
    } catch (error) {
      this.#isStopped = true;
      this.#options.onFailure(error);
    }
  }
}

/** Physical offset just behind record `index`, or behind the log's base. */
export function endPositionOf(log: CommitLog, index: LogIndex): PhysicalOffset {
  if (index === log.lastIndex) return log.endPosition;
  if (index < log.firstIndex) return log.base.end;
  const { position, sizeBytes } = log.locate(index);
  return physicalOffset(position + sizeBytes);
}
