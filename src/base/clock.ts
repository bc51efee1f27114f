// Time as a port. Consensus runs on the monotonic clock only; the wall clock stamps messages and nothing else.

/** A pending timer; `cancel` is idempotent and a no-op after it fired. */
export interface Timer {
  cancel(): void;
}

/**
 * Where time comes from and how work is put off.
 * `after` fires once, not before `delayMs` has passed on the monotonic clock. `defer` runs `task` after what the
 * event loop already has in hand (incoming bytes, finished flushes), which is how waiting work gathers into one batch.
 * `soon` runs it when what runs now has ended, before the event loop turns to anything else: for what nothing more could
 * join. Clocks that stand still until told to move make no difference between the two.
 */
export interface Clock {
  /** Milliseconds (fractional) since an arbitrary start; never moves back, unaffected by wall-clock jumps. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01T00:00:00Z; may jump either way. */
  wallMs(): number;
  after(delayMs: number, task: () => void): Timer;
  defer(task: () => void): void;
  soon(task: () => void): void;
}

/** The machine's clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, task) => {
    const handle = setTimeout(task, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  defer: (task) => {
    setImmediate(task);
  },
  soon: (task) => {
    queueMicrotask(task);
  },
};

/** A clock that stands still until told to move: the in-memory twin, for tests and simulation. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #sequence = 0;
  readonly #wallStartMs: number;
  readonly #timers: { readonly atMs: number; readonly sequence: number; readonly task: () => void }[] = [];

  constructor(wallStartMs = 1_700_000_000_000) {
    this.#wallStartMs = wallStartMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + Math.floor(this.#nowMs);
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, task };
    this.#timers.push(timer);
    return {
      cancel: () => {
        const at = this.#timers.indexOf(timer);
        if (at >= 0) this.#timers.splice(at, 1);
      },
    };
  }

  defer(task: () => void): void {
    this.after(0, task);
  }

  soon(task: () => void): void {
    this.defer(task);
  }

  /** Moves time forward by `ms`, running each timer that falls due at its own instant, in order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#earliest(untilMs);
      if (due === undefined) break;
      this.#timers.splice(this.#timers.indexOf(due), 1);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.task();
    }
    this.#nowMs = untilMs;
  }

  #earliest(untilMs: number) {
    return this.#timers
      .filter((timer) => timer.atMs <= untilMs)
      .sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence)[0];
  }
}
