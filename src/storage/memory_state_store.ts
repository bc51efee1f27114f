// The in-memory twin of the state store, with a crash: batches that no sync covered may be lost, the last ones first.
import { assert } from '../base/assert.ts';
import type { StateChanges, StateEntry, StateStore } from './state_store.ts';

/** What outlives the process: hand the same one to the next `MemoryStateStore`. */
export class MemoryStateMedium {
  /** What the last sync covered. */
  readonly durable = new Map<string, string>();
  /** Batches written since, oldest first. */
  readonly unsynced: StateChanges[] = [];
  #life = 1;

  /** Changes with each crash; a store of an earlier life does nothing any more. */
  get life(): number {
    return this.#life;
  }

  /** Ends the process and loses the newest unsynced batches. @param kept how many of the oldest ones survive. */
  crash(kept = 0): void {
    this.#life++;
    this.unsynced.length = Math.min(kept, this.unsynced.length);
  }

  /** An independent medium with the same contents. */
  clone(): MemoryStateMedium {
    const copy = new MemoryStateMedium();
    for (const [key, value] of this.durable) copy.durable.set(key, value);
    copy.unsynced.push(...this.unsynced);
    return copy;
  }
}

/** See the head of the file. */
export class MemoryStateStore implements StateStore {
  readonly #medium: MemoryStateMedium;
  readonly #life: number;
  #isOpen = true;
  #isLoaded = false;

  constructor(medium = new MemoryStateMedium()) {
    this.#medium = medium;
    this.#life = medium.life;
  }

  async load(): Promise<Map<string, string>> {
    this.#assertAlive();
    this.#isLoaded = true;
    return new Map(this.#sorted());
  }

  async write(changes: StateChanges, options: { readonly sync: boolean }): Promise<void> {
    this.#assertAlive();
    assert(this.#isLoaded, 'the state is loaded before it is written');
    this.#medium.unsynced.push(new Map(changes));
    if (!options.sync) return;
    await Promise.resolve();
    this.#assertAlive();
    for (const batch of this.#medium.unsynced.splice(0)) applyChanges(this.#medium.durable, batch);
  }

  async reset(): Promise<string | null> {
    this.#assertAlive();
    this.#medium.durable.clear();
    this.#medium.unsynced.length = 0;
    this.#isLoaded = false;
    return null;
  }

  entries(): AsyncIterable<StateEntry> {
    this.#assertAlive();
    assert(this.#isLoaded, 'the state is loaded before its entries are asked for');
    return this.#each(this.#sorted());
  }

  async replace(entries: Iterable<StateEntry> | AsyncIterable<StateEntry>): Promise<void> {
    this.#assertAlive();
    this.#medium.durable.clear();
    this.#medium.unsynced.length = 0;
    this.#isLoaded = false;
    const replaced: StateEntry[] = [];
    for await (const entry of entries) {
      this.#assertAlive();
      replaced.push(entry);
    }
    await Promise.resolve();
    this.#assertAlive();
    for (const [key, value] of replaced) this.#medium.durable.set(key, value);
    this.#isLoaded = true;
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }

  async *#each(entries: readonly StateEntry[]): AsyncGenerator<StateEntry> {
    for (const entry of entries) {
      this.#assertAlive();
      yield entry;
    }
  }

  #sorted(): StateEntry[] {
    const entries = new Map(this.#medium.durable);
    for (const changes of this.#medium.unsynced) applyChanges(entries, changes);
    return [...entries].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }

  #assertAlive(): void {
    assert(this.#isOpen && this.#life === this.#medium.life, 'the store is open and its process alive');
  }
}

function applyChanges(entries: Map<string, string>, changes: StateChanges): void {
  for (const [key, value] of changes) {
    if (value === null) entries.delete(key);
    else entries.set(key, value);
  }
}
