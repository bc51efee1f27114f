// How long something took on a machine that may stall: time in which this process did not get to run does not count, so
// that a bound says something about what is tested and not about what else the machine had to do.

const TICK_MS = 5;
/** A tick may come so late without the machine being to blame. */
const LATE_MS = 10;

/** Runs from its making. */
export class WorkingTime {
  readonly #startMs = performance.now();
  readonly #timer = setInterval(() => this.#tick(), TICK_MS);
  #lastMs = this.#startMs;
  #stalledMs = 0;

  /** Milliseconds so far that the machine took away. */
  get stalledMs(): number {
    return this.#stalledMs;
  }

  /** Ends it. @returns milliseconds in which this process could run. */
  end(): number {
    this.#tick();
    clearInterval(this.#timer);
    return this.#lastMs - this.#startMs - this.#stalledMs;
  }

  #tick(): void {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#lastMs - TICK_MS;
    if (lateMs > LATE_MS) this.#stalledMs += lateMs;
    this.#lastMs = nowMs;
  }
}
