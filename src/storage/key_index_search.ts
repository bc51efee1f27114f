// Looking for a hash in the key index, newest first, a bounded way at a time.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import type { KeyEntry, KeyFileHeader } from './key_index_file.ts';

/** Entries that one search looks at. */
export const SEARCH_ENTRIES_MAX = 2_048;
/** Files that one search opens. */
export const SEARCH_FILES_MAX = 256;

/** One file of the index, as a search sees it. */
export interface SearchedFile {
  readonly segment: PhysicalOffset;
  readonly ordinal: number;
  readonly header: KeyFileHeader;
  /** Number of the newest entry in the slot of a hash; 0 for none. */
  newest(hash: number): number;
  /** An entry. @returns null when the file does not hold one there. */
  entry(number: number): KeyEntry | null;
  /** Whether two hashes share a slot. */
  isSameSlot(a: number, b: number): boolean;
}

/** The index, as a search sees it. */
export interface SearchedIndex {
  /** The newest file at or before the place given; undefined when there is none. */
  fileAt(segment: PhysicalOffset, ordinal: number): SearchedFile | undefined;
  /** What a file holds is not what was written. */
  damaged(file: SearchedFile, reason: string): void;
}

/** The next entry to look at: entry 0 stands for none in this file, `null` for the newest of the slot. */
export interface SearchPlace {
  readonly segment: PhysicalOffset;
  readonly ordinal: number;
  readonly entry: number | null;
}

/** Before everything. */
export const NEWEST: SearchPlace = {
  segment: physicalOffset(Number.MAX_SAFE_INTEGER),
  ordinal: Number.MAX_SAFE_INTEGER,
  entry: null,
};

/** What is looked for: messages with a key of that hash, stored in [beginMs, endMs]. */
export interface SearchTarget {
  readonly hash: number;
  readonly beginMs: number;
  readonly endMs: number;
}

/** A place as text that callers hand back. */
export function placeText({ segment, ordinal, entry }: SearchPlace): string {
  return `${segment}.${ordinal}.${entry ?? ''}`;
}

/** @throws TLedgerError INVALID_ARGUMENT for text that `placeText` did not make. */
export function parsePlace(text: string): SearchPlace {
  const match = /^(\d{1,16})\.(\d{1,16})\.(\d{0,10})$/.exec(text);
  if (match === null) throw foreign(text);
  const [segment, ordinal] = [Number(match[1]), Number(match[2])];
  if (!Number.isSafeInteger(segment) || !Number.isSafeInteger(ordinal)) throw foreign(text);
  return { segment: physicalOffset(segment), ordinal, entry: match[3] === '' ? null : Number(match[3]) };
}

/** A search on its way. Used in one turn: what is applied meanwhile would not be seen. */
export class KeySearch {
  readonly #index: SearchedIndex;
  readonly #target: SearchTarget;
  #place: SearchPlace;
  #entriesLeft = SEARCH_ENTRIES_MAX;
  #filesLeft = SEARCH_FILES_MAX;
  #isDone = false;

  /** @throws TLedgerError INVALID_ARGUMENT for a place where this search cannot have been. */
  constructor(index: SearchedIndex, target: SearchTarget, from: SearchPlace) {
    this.#index = index;
    this.#target = target;
    this.#place = from;
    if (from.entry !== null && from.entry > 0) this.#checkPlace(from);
  }

  /** Nothing older is left. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Where the search goes on: at the entry that `next` gave last, or where it stopped. */
  get place(): SearchPlace {
    return this.#place;
  }

  /**
   * The offset of the next message that may have the key; `advance` goes behind it.
   * @returns null when nothing is left, or when the bounds are reached (`isDone` tells).
   */
  next(): PhysicalOffset | null {
    for (;;) {
      const file = this.#index.fileAt(this.#place.segment, this.#place.ordinal);
      if (file === undefined) {
        this.#isDone = true;
        return null;
      }
      const isHere = file.segment === this.#place.segment && file.ordinal === this.#place.ordinal;
      if (!isHere) this.#moveTo(file, null);
      const found = this.#isPromising(file.header) ? this.#searchFile(file) : 'nothing';
      if (found !== 'nothing') return found;
      this.#leave(file);
      if (this.#isDone || this.#filesLeft === 0) return null;
    }
  }

  /** Goes behind the entry that `next` gave. */
  advance(): void {
    const file = this.#index.fileAt(this.#place.segment, this.#place.ordinal);
    assert(file !== undefined && this.#place.entry !== null, 'the search stands at an entry');
    const number = this.#place.entry;
    const previous = file.entry(number)?.previous ?? 0;
    // A chain that does not go back would never end.
    if (previous >= number || previous < 0) this.#damaged(file, `entry ${number} comes behind a later one`);
    this.#moveTo(file, previous >= number ? 0 : previous);
  }

  /** @returns `nothing` when the file is done with, null when the search has to stop in it. */
  #searchFile(file: SearchedFile): PhysicalOffset | null | 'nothing' {
    const { hash } = this.#target;
    const { header } = file;
    this.#filesLeft--;
    let number = this.#place.entry ?? file.newest(hash);
    for (let bound = header.entries + 1; number > 0; ) {
      this.#moveTo(file, number);
      if (number >= bound) return this.#damaged(file, `entry ${number} comes behind a later one`);
      if (--this.#entriesLeft < 0) return null;
      const entry = file.entry(number);
      if (entry === null || !file.isSameSlot(entry.hash, hash))
        return this.#damaged(file, `entry ${number} is not in its slot`);
      if (entry.hash === hash && this.#isInTime(header, entry)) return physicalOffset(entry.offset);
      bound = number;
      number = entry.previous;
    }
    return 'nothing';
  }

  #isPromising({ entries, beginMs, endMs }: KeyFileHeader): boolean {
    return entries > 0 && endMs >= this.#target.beginMs && beginMs <= this.#target.endMs;
  }

  /** An entry knows its second. */
  #isInTime(header: KeyFileHeader, { seconds }: KeyEntry): boolean {
    const fromMs = header.beginMs + seconds * 1_000;
    return fromMs + 999 >= this.#target.beginMs && fromMs <= this.#target.endMs;
  }

  #damaged(file: SearchedFile, reason: string): 'nothing' {
    this.#index.damaged(file, reason);
    return 'nothing';
  }

  #leave({ segment, ordinal }: SearchedFile): void {
    if (ordinal > 0) this.#place = { segment, ordinal: ordinal - 1, entry: null };
    else if (segment === 0) this.#isDone = true;
    else this.#place = { segment: physicalOffset(segment - 1), ordinal: Number.MAX_SAFE_INTEGER, entry: null };
  }

  #moveTo({ segment, ordinal }: SearchedFile, entry: number | null): void {
    this.#place = { segment, ordinal, entry };
  }

  #checkPlace(from: SearchPlace): void {
    const file = this.#index.fileAt(from.segment, from.ordinal);
    // What was there may have been deleted, or be made anew: then the search goes on before it.
    if (file === undefined || file.segment !== from.segment || file.ordinal !== from.ordinal) return;
    // Another replica has come further: whatever is here lies before that.
    if (from.entry! > file.header.entries) return this.#moveTo(file, null);
    const entry = file.entry(from.entry!);
    if (entry === null || !file.isSameSlot(entry.hash, this.#target.hash)) throw foreign(placeText(from));
  }
}

function foreign(text: string): TLedgerError {
  return new TLedgerError('INVALID_ARGUMENT', `cursor: ${JSON.stringify(text)} is not of such a query`);
}
