// What a broker starts from: the tables of its last checkpoint or, when they cannot be used, those of the snapshot at
// the log's base.
//
//   stored applied index     below the base                  base ................. last index
//   happens when             the log was begun anew there    always, else           never: refused
//   starts from              the snapshot at the base        the stored tables; if damaged, the snapshot at the base
import { assert } from '../base/assert.ts';
import type { TLedgerError } from '../base/errors.ts';
import type { BrokerOptions } from './options.ts';
import { readSnapshot, withSnapshotAt } from './snapshot_rows.ts';
import { readTables, type StoredTables } from './state_tables.ts';

/** What restoring needs of a broker's options. */
export type RestoreOptions = Pick<
  BrokerOptions,
  'store' | 'snapshots' | 'base' | 'lastIndex' | 'distrust' | 'onWarning'
>;

/**
 * Reads the tables of the last checkpoint.
 * @returns null when the log does not hold the records that come after them any more.
 * @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED. @throws InvariantError when they are ahead of the log.
 */
export async function readStored({ store, lastIndex, base }: RestoreOptions): Promise<StoredTables | null> {
  const tables = readTables(await store.load());
  assert(
    lastIndex === undefined || tables.applied <= lastIndex,
    () => `the state is the result of ${tables.applied} records, but the log has only ${lastIndex}: it lost some`,
  );
  return tables.applied < base.index ? null : tables;
}

/**
 * Puts the snapshot at the log's base in the place of what is stored, or nothing if the log has no base.
 * @param damage why the stored tables cannot be used; null when they are only too old.
 * @param become takes the tables over. What it refuses of a snapshot is refused before anything stored is given up.
 * @throws TLedgerError DATA_CORRUPTED when the snapshot is damaged: what is stored stays as it is then; STORAGE_FAILED.
 */
export async function restoreStored(
  options: RestoreOptions,
  damage: TLedgerError | null,
  become: (tables: StoredTables) => void,
): Promise<void> {
  const { store, snapshots, base, distrust, onWarning } = options;
  const isFromLog = base.index === 0;
  const snapshot = isFromLog ? null : withSnapshotAt(snapshots, base, readSnapshot);
  if (snapshot !== null) become(snapshot.tables);
  if (damage !== null) {
    const aside = await store.reset();
    const source = isFromLog ? 'the log' : `the snapshot at ${base.index} and the log`;
    const where = aside === null ? '' : `; the old state is kept in ${aside}`;
    onWarning?.(`the state is damaged and is made anew from ${source}: ${damage.message}${where}`);
  } else if (distrust !== undefined) {
    onWarning?.(`queues and state are made anew from the log: ${distrust}`);
    if (isFromLog) await store.replace([]);
  }
  if (snapshot === null) become(readTables(await store.load()));
  else await store.replace(snapshot.rows);
}
