// What is durable of a log, and how it becomes so: one fdatasync at a time, and the checkpoint that remembers.
//
// Only the tail segment can have unflushed bytes (a roll flushes it), so a flush is one call on one file. The log index
// is derived and flushed only for checkpoints.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, Term } from '../raft/types.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { LogParts } from './log_reader.ts';
import { earlier, type LogTip } from './log_tip.ts';

/** A restart scans at most about this much: one or two tenths of a second. */
const CHECKPOINT_EVERY_BYTES = 64 * 1024 * 1024;

/** What a flush vouches for. */
export interface Flushed {
  readonly index: LogIndex;
  readonly term: Term;
}

/** Owned by CommitLog; knows when the log has failed or is closed. */
export class LogFlusher {
  readonly #parts: LogParts;
  readonly #checkpoint: Checkpoint;
  /** Durable for certain; never beyond the log's end. */
  #flushed: LogTip;
  /** Where the next recovery begins, unless that is below the base by then; at or before `#flushed`. */
  #mark: LogTip;
  /** The flush under way and what it will vouch for. */
  #running: { target: LogTip; rolled: boolean; readonly done: Promise<unknown> } | null = null;
  #next: Promise<Flushed> | null = null;
  /** The checkpoint under way and where the mark will be when it is saved. */
  #advancing: { target: LogTip; readonly done: Promise<void> } | null = null;
  #failure: { readonly error: unknown } | null = null;
  #closed = false;

  constructor(parts: LogParts, checkpoint: Checkpoint) {
    this.#parts = parts;
    this.#checkpoint = checkpoint;
    this.#flushed = parts.tip;
    this.#mark = parts.tip;
  }

  get flushed(): LogTip {
    return this.#flushed;
  }

  /** @throws the error that made the log final. */
  assertUsable(): void {
    if (this.#failure !== null) throw this.#failure.error;
    assert(!this.#closed, 'the log is not used after it was closed');
  }

  /** Runs a change of the files; whatever it throws makes the log final. */
  guard(change: () => void): void {
    try {
      change();
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    }
  }

  flush(): Promise<Flushed> {
    if (this.#running === null) return this.#start();
    const start = (): Promise<Flushed> => {
      this.#next = null;
      return this.#start();
    };
    this.#next ??= this.#running.done.then(start, start);
    return this.#next;
  }

  /** Flushes the tail segment before the next one is made, and saves that it is complete. */
  flushTailNow(): void {
    this.#parts.segments.tail.file.flushNow();
    if (this.#running === null) {
      this.#flushed = this.#parts.tip;
      this.#saveCheckpoint();
    } else {
      // The flush that runs may get to know of a failure that ours did not see, so it alone may vouch for the segment.
      this.#running.target = this.#parts.tip;
      this.#running.rolled = true;
    }
  }

  /** Durably takes back what was vouched for behind `tip`, and what a running flush is about to vouch for. */
  lowerTo(tip: LogTip): void {
    if (this.#running !== null) this.#running.target = earlier(this.#running.target, tip);
    if (this.#advancing !== null) this.#advancing.target = earlier(this.#advancing.target, tip);
    if (this.#flushed.index <= tip.index) return;
    this.#flushed = tip;
    this.#mark = earlier(this.#mark, tip);
    this.#checkpoint.lower({ flushed: this.#flushed, mark: this.#mark });
  }

  /** The log begins anew behind `base`: durably, nothing but that is vouched for, by no flush under way either. */
  restart(base: LogTip): void {
    if (this.#running !== null) {
      this.#running.target = base;
      this.#running.rolled = false;
    }
    if (this.#advancing !== null) this.#advancing.target = base;
    this.#flushed = base;
    this.#mark = base;
    this.#checkpoint.lower({ flushed: base, mark: base });
  }

  /** Saves the checkpoint without blocking; a call during another one waits for that. */
  advanceCheckpoint(): Promise<void> {
    if (this.#advancing !== null) return this.#advancing.done;
    const flushed = this.#parts.index.flush();
    const advancing = { target: this.#flushed, done: Promise.resolve() };
    advancing.done = flushed
      .then(() => this.#noteMark(advancing.target))
      .catch((error: unknown) => {
        if (this.#closed) return;
        this.#failure ??= { error };
        throw error;
      })
      .finally(() => {
        this.#advancing = null;
      });
    this.#advancing = advancing;
    return advancing.done;
  }

  /** The index up to `target` is durable: the mark may move there. */
  async #noteMark(target: LogTip): Promise<void> {
    if (this.#closed || this.#failure !== null) return;
    // A roll may have moved it further meanwhile.
    if (target.index > this.#mark.index) this.#mark = target;
    this.#checkpoint.note({ flushed: this.#flushed, mark: this.#mark });
    await this.#checkpoint.flush();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { base, segments, index } = this.#parts;
    try {
      if (this.#failure === null) {
        segments.tail.file.flushNow();
        if (this.#running === null) this.#flushed = this.#parts.tip;
        this.#saveCheckpoint();
      }
    } finally {
      for (const part of [base, segments, index, this.#checkpoint]) part.close();
    }
  }

  async #start(): Promise<Flushed> {
    this.assertUsable();
    const target = this.#parts.tip;
    if (target.index <= this.#flushed.index) return { index: target.index, term: target.term };
    const done = this.#parts.segments.tail.file.flush();
    const running = { target, rolled: false, done };
    this.#running = running;
    try {
      await done;
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#running = null;
    }
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#closed) throw new TLedgerError('SHUTTING_DOWN', 'the log was closed during a flush');
    this.guard(() => this.#vouchFor(running.target, running.rolled));
    return { index: running.target.index, term: running.target.term };
  }

  /** Only ever called after the flush has returned. */
  #vouchFor(tip: LogTip, rolled: boolean): void {
    if (tip.index <= this.#flushed.index) return;
    this.#flushed = tip;
    if (rolled) this.#saveCheckpoint();
    else this.#checkpoint.note({ flushed: tip, mark: this.#mark });
    // Its failure makes the log final, which the next call tells.
    if (tip.end - this.#mark.end >= CHECKPOINT_EVERY_BYTES) this.advanceCheckpoint().catch(() => {});
  }

  /** Blocks for two small flushes; only a roll and the end do that. */
  #saveCheckpoint(): void {
    this.#parts.index.flushNow();
    this.#mark = this.#flushed;
    this.#checkpoint.save({ flushed: this.#flushed, mark: this.#mark });
  }
}
