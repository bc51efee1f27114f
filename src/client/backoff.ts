// How long to wait before trying again: doubling, with jitter, bounded.
import type { Random } from '../base/random.ts';

const FIRST_MS = 20;
const LAST_MS = 500;

/** Math.random as a `Random`: clients need no replay. */
export const systemRandom: Random = {
  next: () => Math.random(),
  between: (low, high) => low + Math.floor(Math.random() * (high - low + 1)),
};

/** Delays of 20, 40, 80 … 500 ms, each shortened at random by up to a half. */
export class Backoff {
  readonly #random: Random;
  #nextMs = FIRST_MS;

  constructor(random: Random = systemRandom) {
    this.#random = random;
  }

  /** The next delay in milliseconds. */
  next(): number {
    const delayMs = this.#nextMs * (0.5 + this.#random.next() / 2);
    this.#nextMs = Math.min(LAST_MS, this.#nextMs * 2);
    return delayMs;
  }

  /** Begins anew after a success. */
  reset(): void {
    this.#nextMs = FIRST_MS;
  }
}

/** Resolves after `delayMs`, or at once when `signal` is aborted. */
export function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, delayMs));
    signal?.addEventListener('abort', done);
  });
}
