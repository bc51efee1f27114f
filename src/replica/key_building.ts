// Has what is missing of the key index made from the log, a piece at a time, while the replica does its work.
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import type { KeyIndex } from '../storage/key_index.ts';

/** Between two pieces of about 1 MiB: whatever else there is to do comes first. */
const PAUSE_MS = 10;
/** How often somebody looks whether something is missing. */
const IDLE_MS = 5_000;
/** After a failure: what is damaged needs time to be repaired. */
const RETRY_MS = 60_000;

interface KeyBuildingOptions {
  /** Null when messages cannot be found by key. */
  readonly index: KeyIndex | null;
  readonly clock: Clock;
  /** The log turned out to be damaged. */
  readonly onDamage: (damage: Damage) => void;
  readonly onWarning: (message: string) => void;
}

/** See the head of the file. */
export class KeyBuilding {
  readonly #options: KeyBuildingOptions;
  #timer: Timer | null = null;
  #work: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: KeyBuildingOptions) {
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    if (this.#options.index !== null) this.#after(PAUSE_MS);
  }

  /** Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    this.abandon();
    await this.#work;
  }

  /** The replica failed: nothing is to be done any more. */
  abandon(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #after(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#work = this.#step();
    });
  }

  async #step(): Promise<void> {
    const { index, onWarning, onDamage } = this.#options;
    if (this.#isStopped || index === null) return;
    try {
      this.#after((await index.build()) ? PAUSE_MS : IDLE_MS);
    } catch (error) {
      // The files were closed under it.
      if (this.#isStopped) return;
      if (!(error instanceof TLedgerError)) throw error;
      onWarning(`a part of the key index cannot be made yet: ${messageOf(error)}`);
      this.#after(RETRY_MS);
      const damage = damageOf(error);
      if (damage !== null) onDamage(damage);
    }
  }
}
