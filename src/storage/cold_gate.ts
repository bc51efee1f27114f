// What keeps readers of old data from slowing the tail: few reads of the disk at a time, and so many bytes a second
// while records are being appended.
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';

/** Reads that may wait for their turn; each reader has one at a time. */
const WAITING_MAX = 10_000;
/** A log that grows by as much a second is busy: readers of old data leave it the processor and the disk. */
const BUSY_BYTES_PER_SECOND = 1024 * 1024;
/** What lies within the last so many bytes of the log is not old: as a rule it is in the page cache, and costs the disk nothing. */
export const RECENT_BYTES = 64 * 1024 * 1024;
/** How often it is looked how much the log has grown. */
const LOOK_INTERVAL_MS = 100;

/** At most so many pieces of work at a time, the rest in the order in which they came. */
export class ColdGate {
  readonly #runningMax: number;
  readonly #waiting: { readonly begin: () => void; readonly refuse: (error: unknown) => void }[] = [];
  #running = 0;
  #isClosed = false;

  constructor(runningMax: number) {
    assert(runningMax >= 1, 'somebody gets through');
    this.#runningMax = runningMax;
  }

  get running(): number {
    return this.#running;
  }

  /** Whether work that comes now begins at once. */
  get isFree(): boolean {
    return !this.#isClosed && this.#running < this.#runningMax;
  }

  /** Begins `work` when there is room. @throws TLedgerError OVERLOADED, SHUTTING_DOWN; what the work throws. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new TLedgerError('SHUTTING_DOWN');
    if (this.isFree) this.#running++;
    else await this.#turn();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next.begin();
    }
  }

  /** Refuses what waits and what comes; what has begun goes on. */
  close(): void {
    this.#isClosed = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse(new TLedgerError('SHUTTING_DOWN'));
  }

  /** Whoever leaves hands its place over, so nobody gets in between. */
  #turn(): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX) {
      throw new TLedgerError('OVERLOADED', `${this.#waiting.length} reads of old data wait already`);
    }
    return new Promise((begin, refuse) => this.#waiting.push({ begin, refuse }));
  }
}

/** See the head of the file. */
export interface ColdPaceOptions {
  readonly clock: Clock;
  /** Bytes a second that all readers of old data get together while the log is busy; 0: as many as they like. */
  readonly bytesPerSecond: number;
  /** Where the log ends now. */
  readonly endPosition: () => number;
}

/** How fast old data is read: without a bound while the log is quiet. */
export class ColdPace {
  readonly #options: ColdPaceOptions;
  #lookedAtMs: number;
  #lookedEnd: number;
  #isBusy = false;
  /** When what was granted so far is used up. */
  #freeAtMs = 0;

  constructor(options: ColdPaceOptions) {
    this.#options = options;
    this.#lookedAtMs = options.clock.monotonicMs();
    this.#lookedEnd = options.endPosition();
  }

  /** Resolves when `bytes` from `position` of the log on may be read. */
  take(position: number, bytes: number): Promise<void> | undefined {
    const { clock, bytesPerSecond, endPosition } = this.#options;
    if (bytesPerSecond === 0 || position >= endPosition() - RECENT_BYTES) return undefined;
    const nowMs = clock.monotonicMs();
    this.#look(nowMs);
    if (!this.#isBusy) return undefined;
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (bytes * 1000) / bytesPerSecond;
    if (startMs <= nowMs) return undefined;
    return new Promise((resolve) => {
      clock.after(startMs - nowMs, resolve);
    });
  }

  #look(nowMs: number): void {
    const passedMs = nowMs - this.#lookedAtMs;
    if (passedMs < LOOK_INTERVAL_MS) return;
    const end = this.#options.endPosition();
    this.#isBusy = (end - this.#lookedEnd) * 1000 >= BUSY_BYTES_PER_SECOND * passedMs;
    this.#lookedAtMs = nowMs;
    this.#lookedEnd = end;
  }
}
