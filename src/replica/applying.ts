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

interface ApplyingOptions {
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly clock: Clock;
  /** How often applied state is saved, which bounds what a restart applies again. */
  readonly checkpointIntervalMs: number;
  /** Told when all records of a segment are applied and the one behind it is committed; null: nobody wants to know. */
  readonly atBoundary: ((boundary: LogIndex) => void) | null;
  readonly onFailure: (error: unknown) => void;
}

/** The applied prefix of one replica. */
export class Applying {
  readonly #options: ApplyingOptions;
  /** Where the applied prefix of the log ends. */
  #position: number;
  #savedIndex: LogIndex;
  #saving: Promise<void> = Promise.resolve();
  #isStopped = false;
  #timer: Timer | null = null;

  constructor(options: ApplyingOptions) {
    const { log, broker } = options;
    assert(broker.appliedIndex <= log.lastIndex, 'applied state never runs ahead of the log it was made from');
    this.#options = options;
    this.#savedIndex = broker.appliedIndex;
    this.#position = endPositionOf(log, broker.appliedIndex);
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
    return broker.appliedIndex < commit;
  }

  /** The state was replaced by a snapshot, and the log begins behind it. */
  restarted(): void {
    this.#position = this.#options.log.base.end;
    this.#savedIndex = this.#options.broker.appliedIndex;
  }

  /** Begins to save at intervals. */
  start(): void {
    this.#timer = this.#options.clock.after(this.#options.checkpointIntervalMs, () => {
      this.#timer = null;
      if (this.#isStopped) return;
      if (this.#options.broker.appliedIndex > this.#savedIndex) this.#saving = this.#save().then(() => this.start());
      else this.start();
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
    await this.#save();
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

  async #save(): Promise<void> {
    try {
      await this.#options.log.advanceCheckpoint();
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
