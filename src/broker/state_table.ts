// A part of the replicated state that keeps its own rows: which of them changed since the last checkpoint, and how they
// become the part again. The broker puts all parts into one batch of the store.
import type { StateChanges } from '../storage/state_store.ts';
import { refuseNonsense } from './state_tables.ts';

/** Rows to write: null removes one. */
export type RowChanges = Map<string, string | null>;

/** Contract: `prefix` is what the keys of its rows, and of nobody else's, begin with. */
export interface StateTable {
  readonly prefix: string;
  /** Adds the rows that changed since the last call; from here on nothing is changed. */
  takeChanges(into: RowChanges): void;
  /** Becomes what the rows say; changes that were not taken are forgotten. @throws TLedgerError DATA_CORRUPTED */
  restore(rows: ReadonlyMap<string, string>): void;
}

/** Rows that are made when a checkpoint takes them: by key, those that changed. */
export class ChangedRows {
  readonly #keys = new Set<string>();

  mark(key: string): void {
    this.#keys.add(key);
  }

  /** @param rowOf the row as it is now; null when it is gone. */
  take(into: RowChanges, rowOf: (key: string) => string | null): void {
    for (const key of this.#keys) into.set(key, rowOf(key));
    this.#keys.clear();
  }

  clear(): void {
    this.#keys.clear();
  }
}

/** Reads each row with the name of the one that makes no sense. @throws TLedgerError DATA_CORRUPTED */
export function readRows(rows: ReadonlyMap<string, string>, read: (key: string, value: unknown) => void): void {
  for (const [key, value] of rows) refuseNonsense(key, () => read(key, JSON.parse(value)));
}

/** What `restore` of each table gets of all that a store holds. */
export function rowsOf(prefix: string, entries: StateChanges): Map<string, string> {
  const rows = new Map<string, string>();
  for (const [key, value] of entries) if (value !== null && key.startsWith(prefix)) rows.set(key, value);
  return rows;
}
