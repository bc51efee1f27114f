// Notices when this node cannot do its part though it is alive: a flush that does not come back, an event loop that stands
// still. Such a leader would keep the group waiting for as long as it can still send heartbeats, so it gives way.
import type { Clock } from '../base/clock.ts';
import { STALL_MS } from './alarm.ts';

interface WatchdogOptions {
  readonly clock: Clock;
  /** A flush under way for longer means a hanging disk. */
  readonly diskStallMs: number;
  /** A timer later than this means that the event loop stood still. */
  readonly loopStallMs: number;
  /** When the flush under way began; null when none is. */
  readonly flushingSinceMs: () => number | null;
  /** Told when the node stops and when it begins to be able to do its part. */
  readonly onChange: (isImpaired: boolean, reason: string) => void;
}

/** Watches one replica. */
export class Watchdog {
  readonly #options: WatchdogOptions;
  #isDiskHanging = false;
  #isLoopStalled = false;
  #isArmed = false;
  #isStopped = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  /** A flush began. */
  onFlush(): void {
    if (this.#isArmed || this.#isStopped) return;
    const { diskStallMs } = this.#options;
    if (diskStallMs > 0) this.#arm(diskStallMs);
  }

  /** The flush that was under way has come back. */
  onFlushed(): void {
    if (!this.#isDiskHanging) return;
    this.#isDiskHanging = false;
    this.#tell('the disk answers again');
  }

  /** A timer came so much later than it was due. */
  onLate(lateMs: number): void {
    const { clock, loopStallMs } = this.#options;
    if (lateMs <= loopStallMs || this.#isLoopStalled || this.#isStopped) return;
    this.#isLoopStalled = true;
    this.#tell(`the event loop stood still for ${Math.round(lateMs)} ms`);
    clock.after(loopStallMs, () => {
      this.#isLoopStalled = false;
      this.#tell('the event loop runs again');
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  #arm(delayMs: number): void {
    const { clock } = this.#options;
    this.#isArmed = true;
    const look = (): void => {
      this.#isArmed = false;
      if (!this.#isStopped) this.#look();
    };
    const dueMs = clock.monotonicMs() + delayMs;
    // After a stall of the event loop, a flush that came back in time may lie there unread.
    clock.after(delayMs, () => (clock.monotonicMs() - dueMs > STALL_MS ? clock.defer(look) : look()));
  }

  #look(): void {
    const { clock, diskStallMs, flushingSinceMs } = this.#options;
    const sinceMs = flushingSinceMs();
    if (sinceMs === null) return;
    const leftMs = sinceMs + diskStallMs - clock.monotonicMs();
    if (leftMs > 0) return this.#arm(leftMs);
    if (this.#isDiskHanging) return;
    this.#isDiskHanging = true;
    this.#tell(`a flush has not come back for ${diskStallMs} ms`);
  }

  #tell(reason: string): void {
    if (!this.#isStopped) this.#options.onChange(this.#isDiskHanging || this.#isLoopStalled, reason);
  }
}
