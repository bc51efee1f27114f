// The one timer of a replica: rings when consensus next has something to do. After a stall of the event loop it lets
// what already waits in the sockets be read first, so that a leader's heartbeat that lies there unread is not taken for
// a leader's death.
import type { Clock, Timer } from '../base/clock.ts';

/** A timer later than this has been held up by a stall rather than by the usual few milliseconds. */
export const STALL_MS = 50;

/** One timer, set again and again. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  readonly #onLate: (lateMs: number) => void;
  #timer: Timer | null = null;
  #dueMs = Number.POSITIVE_INFINITY;

  /** @param onLate told before it rings by how much the timer was held up. */
  constructor(clock: Clock, ring: () => void, onLate: (lateMs: number) => void) {
    this.#clock = clock;
    this.#ring = ring;
    this.#onLate = onLate;
  }

  /** Rings at `dueMs` (monotonic). An earlier ring may come instead of a later one; a later one never replaces an earlier. */
  set(dueMs: number): void {
    if (this.#timer !== null && dueMs >= this.#dueMs) return;
    this.#timer?.cancel();
    const nowMs = this.#clock.monotonicMs();
    // What is overdue already when it is set has not been held up.
    this.#dueMs = Math.max(dueMs, nowMs);
    const delayMs = Math.min(this.#dueMs - nowMs, 60_000);
    this.#timer = this.#clock.after(Math.ceil(delayMs), () => this.#onTimer());
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #onTimer(): void {
    this.#timer = null;
    const lateMs = this.#clock.monotonicMs() - this.#dueMs;
    this.#dueMs = Number.POSITIVE_INFINITY;
    if (lateMs <= STALL_MS) return this.#ring();
    this.#onLate(lateMs);
    this.#clock.defer(this.#ring);
  }
}
