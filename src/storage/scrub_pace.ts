// How fast files are read in the background: a rate, and a step back whenever the process has better things to do. The
// event loop is the measure of that: a timer that comes late was kept waiting by somebody's work.
import type { Clock, Timer } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';

/** Read and judged at a time: a fraction of a millisecond to a few, however small the records are. */
export const SCRUB_PIECE_BYTES = 256 * 1024;
/** A timer that is later than this was kept waiting. */
const LATE_MS = 20;
/** Each late timer doubles the pause, up to this. */
const BACK_OFF_MS_MAX = 1_000;

/** Asked before each piece; resolves when it may be read. */
export interface Pace {
  /** @throws TLedgerError SHUTTING_DOWN when nothing more is to be read. */
  take(sizeBytes: number): Promise<void>;
}

/** Reads as fast as the disk gives, but lets others in between: for tools that have the data to themselves. */
export const unhurried: Pace = {
  take: () => new Promise((resolve) => setImmediate(resolve)),
};

/** A bounded rate in bytes a second. */
export class RatePace implements Pace {
  readonly #clock: Clock;
  #bytesPerSecond: number;
  /** When what was taken so far is paid for. */
  #paidMs: number;
  #backOffMs = 0;
  #timer: Timer | null = null;
  #refuse: ((error: TLedgerError) => void) | null = null;
  #isStopped = false;

  /** @param bytesPerSecond above 0. */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#paidMs = clock.monotonicMs();
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** How long it steps back at the moment because others are kept waiting; 0 when nobody is. */
  get backOffMs(): number {
    return this.#backOffMs;
  }

  set bytesPerSecond(value: number) {
    this.#bytesPerSecond = value;
  }

  take(sizeBytes: number): Promise<void> {
    if (this.#isStopped) return Promise.reject(stopped());
    const nowMs = this.#clock.monotonicMs();
    // Time that was not used is not saved up: there are no bursts.
    const dueMs = Math.max(nowMs, this.#paidMs) + this.#backOffMs;
    this.#paidMs = dueMs + (sizeBytes * 1000) / this.#bytesPerSecond;
    return new Promise((resolve, reject) => {
      this.#refuse = reject;
      this.#timer = this.#clock.after(dueMs - nowMs, () => {
        this.#refuse = null;
        const lateMs = this.#clock.monotonicMs() - dueMs;
        const longer = Math.min(BACK_OFF_MS_MAX, Math.max(LATE_MS, 2 * this.#backOffMs));
        this.#backOffMs = lateMs > LATE_MS ? longer : Math.floor(this.#backOffMs / 2);
        resolve();
      });
    });
  }

  /** Whoever waits, and whoever comes, is refused. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#refuse?.(stopped());
    this.#refuse = null;
  }
}

function stopped(): TLedgerError {
  return new TLedgerError('SHUTTING_DOWN', 'the check was ended');
}
