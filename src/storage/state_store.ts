// The state tables on disk, as a port: a small ordered map of text whose changes are written as atomic batches. The
// replicated log is its write-ahead log, so it need not be durable at every step, only never half-written.

/** One entry. Keys and values are text of any content; keys are not empty. */
export type StateEntry = readonly [key: string, value: string];

/** Changes of one batch: a value replaces what the key had, null removes the key. */
export type StateChanges = ReadonlyMap<string, string | null>;

/**
 * Contract: batches take effect in the order of the calls, each wholly or not at all, also when the process or the
 * machine dies. After a crash the store holds what some prefix of the batches gave, and at least everything up to the
 * last batch written with `sync` whose promise had resolved. Any rejection is final: the owner stops using the store.
 * @throws TLedgerError DATA_CORRUPTED (stored bytes are damaged), STORAGE_FAILED.
 */
export interface StateStore {
  /** Every entry, in ascending order of the keys' UTF-8 bytes. Comes before any `write`, and not while one is under way. */
  load(): Promise<Map<string, string>>;
  /** @param options.sync durable when the promise resolves. */
  write(changes: StateChanges, options: { readonly sync: boolean }): Promise<void>;
  /**
   * Empties a store whose entries are damaged or no longer fit what they were derived from; no other process can take it
   * meanwhile. `load` may be called anew afterwards. Comes when nothing else is under way.
   * @returns where the old entries were put for people to look at, if anywhere.
   */
  reset(): Promise<string | null>;
  /**
   * Everything as of this call, in ascending order of the keys' UTF-8 bytes, whatever is written while it is read. Of a
   * write whose promise is pending, all or nothing is in it. Whoever stops early ends the iteration with `return`
   * (as `break` does). The store must have been loaded.
   * @throws TLedgerError DATA_CORRUPTED (at the end, when the entries don't add up), STORAGE_FAILED.
   */
  entries(): AsyncIterable<StateEntry>;
  /**
   * Replaces all entries, durably when the promise resolves; a crash before leaves an empty store or what was there.
   * Afterwards the store may be written as if it had been loaded. Comes when nothing else is under way.
   * @throws also whatever `entries` throws; the store is final then, and empty at the next start.
   */
  replace(entries: Iterable<StateEntry> | AsyncIterable<StateEntry>): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}
