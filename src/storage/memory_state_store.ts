// The in-memory twin of the state store, with a crash: batches that no sync covered may be lost, the last ones first.
import { assert } from '../base/assert.ts';
import type { StateChanges, StateStore } from './state_store.ts';

/** What outlives the process: hand the same one to the next `MemoryStateStore`. */
export class MemoryStateMedium {
  /** What the last sync covered. */
  readonly durable = new Map<string, string>();
  /** Batches written since, oldest first. */
  readonly unsynced: StateChanges[] = [];

  /** Loses the newest unsynced batches. @param kept how many of the oldest unsynced batches survive. */
  crash(kept = 0): void {
    this.unsynced.length = Math.min(kept, this.unsynced.length);
  }
}

export class MemoryStateStore implements StateStore {
  readonly #medium: MemoryStateMedium;
  #isOpen = true;
  #isLoaded = false;

  constructor(medium = new MemoryStateMedium()) {
    this.#medium = medium;
  }

  async load(): Promise<Map<string, string>> {
    assert(this.#isOpen, 'the store is open');
    this.#isLoaded = true;
    const entries = new Map(this.#medium.durable);
    for (const changes of this.#medium.unsynced) applyChanges(entries, changes);
    return new Map([...entries].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  }

  async write(changes: StateChanges, options: { readonly sync: boolean }): Promise<void> {
    assert(this.#isOpen && this.#isLoaded, 'the store is open and was loaded');
    this.#medium.unsynced.push(new Map(changes));
    if (!options.sync) return;
    await Promise.resolve();
    for (const batch of this.#medium.unsynced.splice(0)) applyChanges(this.#medium.durable, batch);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }
}

function applyChanges(entries: Map<string, string>, changes: StateChanges): void {
  for (const [key, value] of changes) {
    if (value === null) entries.delete(key);
    else entries.set(key, value);
  }
}
