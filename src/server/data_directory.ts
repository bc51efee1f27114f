// A group's data directory while a node uses it. LevelDB's lock is what keeps a second process out; a small text file
// beside it says whom to look for.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { LevelStateStore } from '../storage/level_state_store.ts';
import { OWNER_FILE, ownerOf } from '../storage/offline_lock.ts';

/**
 * Opens the state in `directory`, which locks the directory for this process until the store is closed.
 * @throws TLedgerError DATA_DIR_LOCKED naming the directory and the process that uses it.
 */
export async function lockDirectory(directory: string): Promise<LevelStateStore> {
  const ownerFile = join(directory, OWNER_FILE);
  try {
    const store = await LevelStateStore.open(join(directory, 'state'));
    writeFileSync(ownerFile, `${process.pid}\n`);
    return store;
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_DIR_LOCKED') throw error;
    throw new TLedgerError('DATA_DIR_LOCKED', `${directory} is in use by ${ownerOf(directory)}`, error);
  }
}

/** Says that nobody uses the directory any more. */
export function forgetOwner(directory: string): void {
  rmSync(join(directory, OWNER_FILE), { force: true });
}
