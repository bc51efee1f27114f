// Keeps nodes away from a group's directory without touching anything in it: the lock of a directory is that of its state's
// database (the file `state/LOCK`), and a database elsewhere whose LOCK is a link to that file takes the same lock. So a
// damaged state can be locked, too, and what is only looked at stays byte for byte as it was.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { LevelStateStore } from './level_state_store.ts';

/** Says, in a group's directory, which process uses it. */
export const OWNER_FILE = 'lock';
const LOCK_FILE = 'LOCK';

/** A locked directory. */
export class OfflineLock {
  readonly #directory: string;
  readonly #scratch: string;
  readonly #holder: LevelStateStore;

  private constructor(directory: string, scratch: string, holder: LevelStateStore) {
    this.#directory = directory;
    this.#scratch = scratch;
    this.#holder = holder;
  }

  /** @throws TLedgerError DATA_DIR_LOCKED naming the directory and the process that uses it; STORAGE_FAILED. */
  static async take(directory: string): Promise<OfflineLock> {
    const scratch = mkdtempSync(join(tmpdir(), 'tledger-offline-'));
    try {
      mkdirSync(join(directory, 'state'), { recursive: true });
      mkdirSync(join(scratch, 'holder'));
      symlinkSync(resolve(directory, 'state', LOCK_FILE), join(scratch, 'holder', LOCK_FILE));
      return new OfflineLock(directory, scratch, await LevelStateStore.open(join(scratch, 'holder')));
    } catch (error) {
      rmSync(scratch, { recursive: true, force: true });
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_DIR_LOCKED') throw error;
      throw new TLedgerError('DATA_DIR_LOCKED', `${directory} is in use by ${ownerOf(directory)}`, error);
    }
  }

  /** All entries of the state, read from a copy. @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED */
  async readState(): Promise<Map<string, string>> {
    const copy = join(this.#scratch, 'state');
    rmSync(copy, { recursive: true, force: true });
    cpSync(join(this.#directory, 'state'), copy, {
      recursive: true,
      filter: (from) => !from.endsWith(`/${LOCK_FILE}`),
    });
    const store = await LevelStateStore.open(copy);
    try {
      return await store.load();
    } finally {
      await store.close();
    }
  }

  /** Lets nodes in again. Twice is harmless. */
  async release(): Promise<void> {
    await this.#holder.close();
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

/** Whoever is said to use a directory. */
export function ownerOf(directory: string): string {
  try {
    return `process ${readFileSync(join(directory, OWNER_FILE), 'utf8').trim()}`;
  } catch {
    return 'another process';
  }
}
