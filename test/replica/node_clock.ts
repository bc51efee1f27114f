// One node's view of the common clock: it can stand still, as a process does that is stopped or that computes too long.
import type { Clock, ManualClock, Timer } from '../../src/base/clock.ts';

/** See the head of the file. */
export class NodeClock implements Clock {
  readonly #clock: ManualClock;
  #stalledUntilMs = 0;
  #wallOffsetMs = 0;
  #isAwakening = false;
  #held: { readonly rank: number; readonly task: () => void }[] = [];

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  wallMs(): number {
    return this.#clock.wallMs() + this.#wallOffsetMs;
  }

  /** Sets the wall clock; the monotonic one does not notice. */
  turnWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  after(delayMs: number, task: () => void): Timer {
    let isCancelled = false;
    const timer = this.#clock.after(delayMs, () => this.#run(0, () => isCancelled || task()));
    const cancel = (): void => {
      isCancelled = true;
      timer.cancel();
    };
    return { cancel };
  }

  defer(task: () => void): void {
    // What arrived after a stall comes to its end, promises and all, before what was deferred: a moment later here.
    this.#clock.after(this.#isAwakening ? 1 : 0, () => this.#run(2, task));
  }

  soon(task: () => void): void {
    this.defer(task);
  }

  /** Something arrives from outside: after the timers that are due, before what was deferred. */
  arrive(task: () => void): void {
    this.#run(1, task);
  }

  /** Nothing runs for so long; then everything that fell due, as an event loop goes about it. */
  stall(ms: number): void {
    this.#stalledUntilMs = this.#clock.monotonicMs() + ms;
    this.#clock.after(ms, () => {
      const held = this.#held;
      this.#held = [];
      this.#isAwakening = true;
      for (const rank of [0, 1, 2]) for (const due of held) if (due.rank === rank) due.task();
      this.#isAwakening = false;
    });
  }

  #run(rank: number, task: () => void): void {
    if (this.#clock.monotonicMs() >= this.#stalledUntilMs) task();
    else this.#held.push({ rank, task });
  }
}
