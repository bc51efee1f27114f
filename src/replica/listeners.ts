// Those who want to know when something has changed, without being told what.
import type { Clock } from '../base/clock.ts';

/** A set of listeners; each is called once a change, after everything the event loop has in hand. */
export class Listeners {
  readonly #clock: Clock;
  readonly #call: (listener: () => void) => void;
  readonly #listeners = new Set<() => void>();

  /** @param call calls a listener; what that throws is its own fault. */
  constructor(clock: Clock, call: (listener: () => void) => void) {
    this.#clock = clock;
    this.#call = call;
  }

  /** @returns what ends it. */
  add(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(): void {
    this.#clock.defer(() => this.#listeners.forEach(this.#call));
  }
}
