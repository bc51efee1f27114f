// How fast large files are gone through beside other work.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';

/** Read and written at a time: a millisecond or so of work. */
export const PIECE_BYTES = 256 * 1024;

/** Waited for before each piece. */
export interface Pace {
  /** @throws TLedgerError SHUTTING_DOWN when the work is not wanted any more. */
  take(sizeBytes: number): Promise<void>;
}

/** As fast as the disk gives, but others come in between. */
export const unhurried: Pace = { take: () => new Promise((resolve) => setImmediate(resolve)) };

/** At most so many bytes a second; 0 for as many as the disk gives. Time that was not used is not saved up. */
export class RateLimit implements Pace {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  readonly #signal: AbortSignal | undefined;
  #paidMs = 0;

  /** @param signal ends the work: whoever waits, and whoever comes, is refused. */
  constructor(clock: Clock, bytesPerSecond: number, signal?: AbortSignal) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#signal = signal;
  }

  async take(sizeBytes: number): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const dueMs = Math.max(nowMs, this.#paidMs);
    if (this.#bytesPerSecond > 0) this.#paidMs = dueMs + (sizeBytes * 1000) / this.#bytesPerSecond;
    await this.#until(dueMs - nowMs);
    if (this.#signal?.aborted) throw new TLedgerError('SHUTTING_DOWN', 'the work was ended before it was done');
  }

  #until(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer?.cancel();
        this.#signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = delayMs > 0 ? this.#clock.after(delayMs, done) : null;
      this.#signal?.addEventListener('abort', done);
      if (timer === null) setImmediate(done);
    });
  }
}
