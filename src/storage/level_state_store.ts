// The state store on LevelDB. LevelDB drops damaged parts of its own log without a word when it opens, and reads blocks
// without checking them; so beside the entries lies a sum over all of them, changed in the same batch. Entries that do
// not add up are refused, never served: the owner rebuilds them from the replicated log.
//
// A database in use is locked by the file LOCK in it. When damaged files are put aside, that file stays where it is: it
// is one and the same lock before, meanwhile and afterwards, so two processes can never both believe to own the directory.
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { StateChanges, StateEntry, StateStore } from './state_store.ts';

/** Every entry's key has this before it, so that no key can be taken for the sum's. */
const ENTRY_PREFIX = '=';
const SUM_KEY = '!sum';
/** There while all entries are being replaced: what lies beside it is neither the old nor the new ones. */
const REPLACING_KEY = '!replacing';
/** One batch while entries are replaced, in characters: one keeps the process busy for a millisecond or two. */
const REPLACE_BATCH_CHARACTERS = 64 * 1024;
/** LevelDB's names for the lock of a database and for the file that all others are found by. */
const LOCK_FILE = 'LOCK';
const CURRENT_FILE = 'CURRENT';
/** Sums stay exact as numbers: a sum below this plus one CRC is a safe integer. */
const SUM_MODULUS = 2 ** 52;

type Database = Level<string, string>;

/** How LevelDB says why it would not open or read. */
interface LevelFailure {
  readonly code?: unknown;
  readonly cause?: unknown;
}

/** Opened with `LevelStateStore.open`; one process at a time. */
export class LevelStateStore implements StateStore {
  #database: Database;
  readonly #directory: string;
  /** CRC of each entry, so that a change knows what it takes out of the sum. */
  readonly #crcs = new Map<string, number>();
  #sum = 0;
  #isLoaded = false;

  private constructor(database: Database, directory: string) {
    this.#database = database;
    this.#directory = directory;
  }

  /**
   * Opens or makes the database in `directory`, whose parent exists.
   * @throws TLedgerError DATA_DIR_LOCKED, DATA_CORRUPTED (some damage only shows in `load`), STORAGE_FAILED
   */
  static async open(directory: string): Promise<LevelStateStore> {
    return new LevelStateStore(await openDatabase(directory), directory);
  }

  /**
   * Moves the files of a database that cannot be opened (DATA_CORRUPTED) out of the way, all but its lock.
   * @returns the directory they are in now: `<directory>.damaged-<n>`.
   */
  static setAside(directory: string): string {
    let number = 1;
    while (existsSync(`${directory}.damaged-${number}`)) number++;
    const aside = `${directory}.damaged-${number}`;
    mkdirSync(aside);
    // CURRENT goes last: a database that is half moved is still a damaged one, not an empty one with old logs to replay.
    const names = readdirSync(directory).filter((name) => name !== LOCK_FILE && name !== CURRENT_FILE);
    for (const name of names) renameSync(join(directory, name), join(aside, name));
    if (existsSync(join(directory, CURRENT_FILE))) renameSync(join(directory, CURRENT_FILE), join(aside, CURRENT_FILE));
    return aside;
  }

  async load(): Promise<Map<string, string>> {
    const entries = new Map<string, string>();
    let storedSum = '0';
    let isHalfReplaced = false;
    this.#crcs.clear();
    this.#sum = 0;
    try {
      for await (const [key, value] of this.#database.iterator()) {
        if (key === SUM_KEY) storedSum = value;
        else if (key === REPLACING_KEY) isHalfReplaced = true;
        else {
          entries.set(key.slice(ENTRY_PREFIX.length), value);
          this.#count(key, value);
        }
      }
      if (isHalfReplaced) {
        entries.clear();
        await this.#empty();
        await this.#database.batch([{ type: 'del', key: REPLACING_KEY }], { sync: true });
        storedSum = '0';
      }
    } catch (error) {
      throw toStateError(error, this.#directory);
    }
    if (storedSum !== String(this.#sum)) throw this.#doNotAddUp();
    this.#isLoaded = true;
    return entries;
  }

  entries(): AsyncIterable<StateEntry> {
    assert(this.#isLoaded, 'the state is loaded before its entries are asked for');
    // Made now: an iterator sees the database as it is when it is made.
    return this.#each(this.#database.iterator());
  }

  /**
   * A marker is durable before anything is removed, and goes with the last batch: LevelDB replays its log in order, so
   * where it is gone, everything before has happened. What lies beside a marker is removed by the next `load`.
   */
  async replace(entries: Iterable<StateEntry> | AsyncIterable<StateEntry>): Promise<void> {
    this.#isLoaded = false;
    let batch = this.#database.batch();
    try {
      await this.#database.batch([{ type: 'put', key: REPLACING_KEY, value: '' }], { sync: true });
      await this.#empty();
      let characters = 0;
      for await (const [name, value] of entries) {
        const key = ENTRY_PREFIX + name;
        batch.put(key, value);
        this.#count(key, value);
        characters += key.length + value.length;
        if (characters < REPLACE_BATCH_CHARACTERS) continue;
        await batch.write();
        batch = this.#database.batch();
        characters = 0;
      }
      batch.put(SUM_KEY, String(this.#sum));
      batch.del(REPLACING_KEY);
      await batch.write({ sync: true });
    } catch (error) {
      throw error instanceof TLedgerError ? error : toStateError(error, this.#directory);
    }
    this.#isLoaded = true;
  }

  async write(changes: StateChanges, options: { readonly sync: boolean }): Promise<void> {
    assert(this.#isLoaded, 'the state is loaded before it is written');
    const batch = this.#database.batch();
    for (const [name, value] of changes) {
      const key = ENTRY_PREFIX + name;
      this.#count(key, value);
      if (value === null) batch.del(key);
      else batch.put(key, value);
    }
    batch.put(SUM_KEY, String(this.#sum));
    try {
      await batch.write({ sync: options.sync });
    } catch (error) {
      throw toStateError(error, this.#directory);
    }
  }

  /** The files are moved while this process holds the lock; if another one takes it then, DATA_DIR_LOCKED. */
  async reset(): Promise<string | null> {
    const aside = LevelStateStore.setAside(this.#directory);
    await this.#database.close();
    this.#database = await openDatabase(this.#directory);
    this.#isLoaded = false;
    return aside;
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  async *#each(iterator: AsyncIterable<[string, string]>): AsyncGenerator<StateEntry> {
    let storedSum = '0';
    let sum = 0;
    try {
      for await (const [key, value] of iterator) {
        if (key === SUM_KEY) {
          storedSum = value;
          continue;
        }
        sum = (sum + crcOf(key, value)) % SUM_MODULUS;
        yield [key.slice(ENTRY_PREFIX.length), value];
      }
    } catch (error) {
      throw toStateError(error, this.#directory);
    }
    if (storedSum !== String(sum)) throw this.#doNotAddUp();
  }

  /** Removes all but the marker. */
  async #empty(): Promise<void> {
    await this.#database.clear({ gte: ENTRY_PREFIX });
    await this.#database.del(SUM_KEY);
    this.#crcs.clear();
    this.#sum = 0;
  }

  #doNotAddUp(): TLedgerError {
    return new TLedgerError('DATA_CORRUPTED', `the state in ${this.#directory} has lost or altered entries`);
  }

  /** Takes the entry's old value out of the sum and its new one in. */
  #count(key: string, value: string | null): void {
    const before = this.#crcs.get(key) ?? 0;
    const after = value === null ? 0 : crcOf(key, value);
    if (value === null) this.#crcs.delete(key);
    else this.#crcs.set(key, after);
    this.#sum = (this.#sum + SUM_MODULUS + after - before) % SUM_MODULUS;
  }
}

function crcOf(key: string, value: string): number {
  return crc32(Buffer.from(`${key}\u0000${value}`));
}

async function openDatabase(directory: string): Promise<Database> {
  const database: Database = new Level(directory, { keyEncoding: 'utf8', valueEncoding: 'utf8', compression: false });
  try {
    await database.open();
    return database;
  } catch (error) {
    throw toStateError(error, directory);
  }
}

function toStateError(error: unknown, directory: string): TLedgerError {
  const { code, cause } = error as LevelFailure;
  const reason = code === 'LEVEL_DATABASE_NOT_OPEN' && cause instanceof Error ? (cause as LevelFailure).code : code;
  const text = cause instanceof Error ? cause.message : messageOf(error);
  switch (reason) {
    case 'LEVEL_LOCKED':
      return new TLedgerError('DATA_DIR_LOCKED', `the state in ${directory} is used by another process`, error);
    case 'LEVEL_CORRUPTION':
      return new TLedgerError('DATA_CORRUPTED', `the state in ${directory} is damaged: ${text}`, error);
    default: {
      // A damaged CURRENT or MANIFEST makes LevelDB look for files that never were.
      const isDamaged = reason === 'LEVEL_IO_ERROR' && text.includes('No such file');
      return new TLedgerError(
        isDamaged ? 'DATA_CORRUPTED' : 'STORAGE_FAILED',
        `the state in ${directory} cannot be used: ${text}`,
        error,
      );
    }
  }
}
