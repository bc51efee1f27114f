// How far an import has come, on disk beside the importer. It spares reading the group's queues again and remembers which
// offsets became which; the group itself is what decides. Written anew as a whole, so it is never torn.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { LaneState } from './lane.ts';

const VERSION = 1;

/** Whose progress it is. */
export interface ProgressOwner {
  readonly storeId: string;
  readonly cluster: string;
  readonly group: string;
}

/** Topic -> queue -> state. */
export type LaneStates = Record<string, Record<string, LaneState>>;

/** One file. */
export class ProgressFile {
  readonly path: string;
  readonly #owner: ProgressOwner;
  /** As an earlier run left it. */
  readonly lanes: LaneStates;

  private constructor(path: string, owner: ProgressOwner, lanes: LaneStates) {
    this.path = path;
    this.#owner = owner;
    this.lanes = lanes;
  }

  /**
   * Reads the file if there is one.
   * @throws TLedgerError INVALID_ARGUMENT when it belongs to another store or group, or is no such file.
   */
  static open(path: string, owner: ProgressOwner): ProgressFile {
    if (!existsSync(path)) return new ProgressFile(path, owner, {});
    let found: Partial<ProgressOwner & { version: number; lanes: LaneStates }>;
    try {
      found = JSON.parse(readFileSync(path, 'utf8'));
    } catch (error) {
      throw refusal(path, `cannot be read: ${messageOf(error)}`, error);
    }
    if (found?.version !== VERSION) throw refusal(path, `is no progress of version ${VERSION}`);
    for (const name of ['storeId', 'cluster', 'group'] as const) {
      if (found[name] !== owner[name]) throw refusal(path, `is of ${name} "${found[name]}", not "${owner[name]}"`);
    }
    return new ProgressFile(path, owner, found.lanes ?? {});
  }

  /** @throws TLedgerError STORAGE_FAILED */
  save(lanes: LaneStates): void {
    const text = JSON.stringify({ version: VERSION, ...this.#owner, lanes });
    writeWhole(this.path, text);
  }
}

/** Writes a file so that it is there as a whole or as it was. @throws TLedgerError STORAGE_FAILED */
export function writeWhole(path: string, text: string): void {
  try {
    writeFileSync(`${path}.new`, `${text}\n`, { flush: true });
    renameSync(`${path}.new`, path);
  } catch (error) {
    throw new TLedgerError('STORAGE_FAILED', `${path} cannot be written: ${messageOf(error)}`, error);
  }
}

function refusal(path: string, what: string, cause?: unknown): TLedgerError {
  return new TLedgerError('INVALID_ARGUMENT', `the progress file ${path} ${what}`, cause);
}
