// How long something took on a machine that may stall: time in which this process did not get to run does not count, so
// that a bound says something about what is tested and not about what else the machine had to do.

const TICK_MS = 5;
/** A tick may come so late without the machine being to blame. */
const LATE_MS = 10;

/** A clock that stands still while the machine does. Runs from its making to its end. */
export class WorkingTime {
  readonly #timer = setInterval(() => this.elapsedMs, TICK_MS);
  #lastMs = performance.now();
  #elapsedMs = 0;

  /** Milliseconds so far in which this process could run. */
  get elapsedMs(): number {
    const nowMs = performance.now();
    const passedMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.#elapsedMs += passedMs > TICK_MS + LATE_MS ? TICK_MS : passedMs;
    return this.#elapsedMs;
  }

  /** Ends it. @returns milliseconds in which this process could run. */
  end(): number {
    clearInterval(this.#timer);
    return this.elapsedMs;
  }
}
