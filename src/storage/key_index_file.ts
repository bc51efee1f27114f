// One file of the key index, in the layout of RocketMQ's IndexFile (ROCKETMQ_GRPC.md 10.4), while it is being written:
//
//   0        8        16           24           32          36
//   +--------+--------+------------+------------+-----------+---------+   times: store times in milliseconds
//   | begin  | end    | begin      | end        | slots     | entries |   offsets: of messages (record + 48), as in
//   | time 8 | time 8 | offset 8   | offset 8   | in use 4  | + 1   4 |   consume queue units
//   +--------+--------+------------+------------+-----------+---------+
//   40: slots, 4 bytes each: number of the newest entry whose hash falls into the slot, 0 for none
//   +------------+---------------------+-----------------------+--------------------+
//   | key hash 4 | physical offset 8   | seconds since begin 4 | previous entry 4   |  entry n at 40 + 4 * slots + 20 * n,
//   +------------+---------------------+-----------------------+--------------------+  n from 1: entry 0 is never used
//
// While a file is written its slots are in memory; entries go out as they come, slots and header when it is closed. A
// file ends with its last entry, and one without entries with its header.
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';

export const KEY_HEADER_BYTES = 40;
export const KEY_SLOT_BYTES = 4;
export const KEY_ENTRY_BYTES = 20;

const END_TIME_AT = 8;
const BEGIN_OFFSET_AT = 16;
const END_OFFSET_AT = 24;
const USED_SLOTS_AT = 32;
const INDEX_COUNT_AT = 36;

const OFFSET_AT = 4;
const SECONDS_AT = 12;
const PREVIOUS_AT = 16;
const SECONDS_MAX = 0x7fff_ffff;

/** Entries gathered before they are written. */
const PENDING_ENTRIES_MAX = 3_000;
/** Slots written at once; a piece without any is left a hole. */
const SLOTS_AT_ONCE = 16_384;
/** Entries read at once. */
const READ_ENTRIES = 52_000;

/** How files are laid out; the same for all files of an index, as a file does not say it. */
export interface KeyIndexLayout {
  readonly slots: number;
  /** Entries of one file. */
  readonly entriesMax: number;
}

/** The head of a file, without what follows from its name. */
export interface KeyFileHeader {
  readonly beginMs: number;
  readonly endMs: number;
  readonly beginOffset: PhysicalOffset;
  readonly endOffset: PhysicalOffset;
  readonly usedSlots: number;
  readonly entries: number;
}

/** How far a file has come that is being written. */
export interface KeyFileState {
  readonly entries: number;
  readonly beginMs: number;
  readonly endMs: number;
  /** Checksum of all entries. */
  readonly crc: number;
}

/** One entry. */
export interface KeyEntry {
  readonly hash: number;
  readonly offset: number;
  readonly seconds: number;
  /** 0 for none. */
  readonly previous: number;
}

/** Where the bytes of a file go. */
export type KeyFileOutput = (bytes: Buffer, position: number) => void;
/** Reads `target.length` bytes of a file. @returns false when it ends before. */
export type KeyFileInput = (target: Buffer, position: number) => boolean;

/** Where an entry lies. */
export const entryPosition = (layout: KeyIndexLayout, number: number): number =>
  KEY_HEADER_BYTES + KEY_SLOT_BYTES * layout.slots + KEY_ENTRY_BYTES * number;
/** Where the slot of a hash lies. */
export const slotPosition = (layout: KeyIndexLayout, hash: number): number =>
  KEY_HEADER_BYTES + KEY_SLOT_BYTES * (hash % layout.slots);
/** Length of a closed file. */
export const fileBytes = (layout: KeyIndexLayout, entries: number): number =>
  entries === 0 ? KEY_HEADER_BYTES : entryPosition(layout, entries + 1);

/** The entry at `at`; null when its numbers cannot be those of one. */
export function readEntry(buffer: Buffer, at: number): KeyEntry | null {
  if (!isUint64Safe(buffer, at + OFFSET_AT)) return null;
  return {
    hash: buffer.readInt32BE(at),
    offset: readUint64(buffer, at + OFFSET_AT),
    seconds: buffer.readInt32BE(at + SECONDS_AT),
    previous: buffer.readInt32BE(at + PREVIOUS_AT),
  };
}

/** A header; null when its numbers cannot be those of one. */
export function readHeader(bytes: Buffer, layout: KeyIndexLayout): KeyFileHeader | null {
  for (let at = 0; at < USED_SLOTS_AT; at += 8) if (!isUint64Safe(bytes, at)) return null;
  const header = {
    beginMs: readUint64(bytes, 0),
    endMs: readUint64(bytes, END_TIME_AT),
    beginOffset: physicalOffset(readUint64(bytes, BEGIN_OFFSET_AT)),
    endOffset: physicalOffset(readUint64(bytes, END_OFFSET_AT)),
    usedSlots: bytes.readUInt32BE(USED_SLOTS_AT),
    entries: bytes.readUInt32BE(INDEX_COUNT_AT) - 1,
  };
  const { entries, usedSlots } = header;
  const isPossible =
    entries >= 0 &&
    entries <= layout.entriesMax &&
    usedSlots <= Math.min(entries, layout.slots) &&
    usedSlots > 0 === entries > 0 &&
    header.beginMs <= header.endMs &&
    header.beginOffset <= header.endOffset;
  return isPossible ? header : null;
}

/** A file that is being written, entry by entry, in the order of the log. */
export class KeyFile {
  readonly #layout: KeyIndexLayout;
  readonly #out: KeyFileOutput;
  /** Made with the first entry. */
  #slots: Int32Array | null = null;
  #pending: Buffer | null = null;
  #pendingCount = 0;
  #entries = 0;
  #usedSlots = 0;
  #beginMs = 0;
  #endMs = 0;
  #beginOffset = 0;
  #endOffset = 0;
  #crc = 0;

  constructor(layout: KeyIndexLayout, out: KeyFileOutput) {
    this.#layout = layout;
    this.#out = out;
  }

  /**
   * A file that had these entries, which are read again; slots follow from them.
   * @returns why it is damaged, if it is.
   */
  static restore(
    layout: KeyIndexLayout,
    out: KeyFileOutput,
    was: KeyFileState & { readonly read: KeyFileInput },
  ): KeyFile | string {
    const file = new KeyFile(layout, out);
    file.#beginMs = was.beginMs;
    const bytes = Buffer.allocUnsafe(KEY_ENTRY_BYTES * Math.min(READ_ENTRIES, was.entries));
    while (file.#entries < was.entries) {
      const count = Math.min(READ_ENTRIES, was.entries - file.#entries);
      const piece = bytes.subarray(0, count * KEY_ENTRY_BYTES);
      if (!was.read(piece, entryPosition(layout, file.#entries + 1))) return 'it ends before its last entry';
      for (let at = 0; at < piece.length; at += KEY_ENTRY_BYTES) {
        if (!file.#take(piece, at)) return `entry ${file.#entries + 1} is not what was written`;
      }
      file.#crc = crc32(piece, 0, piece.length, file.#crc);
    }
    if (file.#crc !== was.crc) return 'its entries are not what was written';
    file.#endMs = was.endMs;
    return file;
  }

  get header(): KeyFileHeader {
    return {
      beginMs: this.#beginMs,
      endMs: this.#endMs,
      beginOffset: physicalOffset(this.#beginOffset),
      endOffset: physicalOffset(this.#endOffset),
      usedSlots: this.#usedSlots,
      entries: this.#entries,
    };
  }

  /** What it takes to go on with the file. After `write`. */
  get state(): KeyFileState {
    assert(this.#pendingCount === 0, 'entries are written before they are counted on');
    return { entries: this.#entries, beginMs: this.#beginMs, endMs: this.#endMs, crc: this.#crc };
  }

  get isFull(): boolean {
    return this.#entries === this.#layout.entriesMax;
  }

  /** Number of the newest entry in the slot of a hash; 0 for none. */
  newest(hash: number): number {
    return this.#slots === null ? 0 : this.#slots[hash % this.#layout.slots]!;
  }

  /** Adds an entry to a file that is not full. */
  add(hash: number, offset: number, storedAtMs: number): void {
    assert(!this.isFull, 'a full file takes no more entries');
    assert(offset >= this.#endOffset, 'entries are added in the order of the log');
    if (this.#entries === 0) {
      this.#beginMs = this.#endMs = storedAtMs;
      this.#beginOffset = offset;
    }
    if (storedAtMs > this.#endMs) this.#endMs = storedAtMs;
    this.#pending ??= Buffer.allocUnsafeSlow(PENDING_ENTRIES_MAX * KEY_ENTRY_BYTES);
    const at = this.#pendingCount * KEY_ENTRY_BYTES;
    const pending = this.#pending;
    pending.writeInt32BE(hash, at);
    writeUint64(pending, offset, at + OFFSET_AT);
    pending.writeInt32BE(this.#secondsOf(storedAtMs), at + SECONDS_AT);
    pending.writeInt32BE(this.#enter(hash, offset), at + PREVIOUS_AT);
    if (++this.#pendingCount === PENDING_ENTRIES_MAX) this.write();
  }

  /** Hands out what was added. */
  write(): void {
    if (this.#pendingCount === 0) return;
    const first = this.#entries - this.#pendingCount + 1;
    const bytes = this.#pending!.subarray(0, this.#pendingCount * KEY_ENTRY_BYTES);
    this.#out(bytes, entryPosition(this.#layout, first));
    this.#crc = crc32(bytes, 0, bytes.length, this.#crc);
    this.#pendingCount = 0;
  }

  /**
   * Hands out all that a closed file has and this one has not yet: entries, slots, header.
   * @param holes whether bytes that are zero need to be handed out, too.
   */
  close(holes: 'skip' | 'write' = 'skip'): void {
    this.write();
    this.#writeSlots(holes);
    const header = Buffer.alloc(KEY_HEADER_BYTES);
    writeUint64(header, this.#beginMs, 0);
    writeUint64(header, this.#endMs, END_TIME_AT);
    writeUint64(header, this.#beginOffset, BEGIN_OFFSET_AT);
    writeUint64(header, this.#endOffset, END_OFFSET_AT);
    header.writeUInt32BE(this.#usedSlots, USED_SLOTS_AT);
    header.writeUInt32BE(this.#entries + 1, INDEX_COUNT_AT);
    this.#out(header, 0);
  }

  #writeSlots(holes: 'skip' | 'write'): void {
    if (this.#slots === null) return;
    if (holes === 'write') this.#out(Buffer.alloc(KEY_ENTRY_BYTES), entryPosition(this.#layout, 0));
    const piece = Buffer.allocUnsafe(Math.min(SLOTS_AT_ONCE, this.#slots.length) * KEY_SLOT_BYTES);
    for (let first = 0; first < this.#slots.length; first += SLOTS_AT_ONCE) {
      const slots = this.#slots.subarray(first, first + SLOTS_AT_ONCE);
      if (holes === 'skip' && slots.every((entry) => entry === 0)) continue;
      for (let slot = 0; slot < slots.length; slot++) piece.writeInt32BE(slots[slot]!, slot * KEY_SLOT_BYTES);
      this.#out(piece.subarray(0, slots.length * KEY_SLOT_BYTES), KEY_HEADER_BYTES + first * KEY_SLOT_BYTES);
    }
  }

  /** @returns the entry that was the newest one of the slot. */
  #enter(hash: number, offset: number): number {
    this.#slots ??= new Int32Array(this.#layout.slots);
    const slot = hash % this.#layout.slots;
    const previous = this.#slots[slot]!;
    if (previous === 0) this.#usedSlots++;
    this.#slots[slot] = ++this.#entries;
    this.#endOffset = offset;
    return previous;
  }

  #secondsOf(storedAtMs: number): number {
    const seconds = Math.floor((storedAtMs - this.#beginMs) / 1_000);
    return Math.max(0, Math.min(seconds, SECONDS_MAX));
  }

  /** Takes a stored entry over. @returns false when it cannot be the next one. */
  #take(bytes: Buffer, at: number): boolean {
    const hash = bytes.readInt32BE(at);
    if (hash < 0 || !isUint64Safe(bytes, at + OFFSET_AT)) return false;
    const offset = readUint64(bytes, at + OFFSET_AT);
    if (offset < this.#endOffset) return false;
    if (this.#entries === 0) this.#beginOffset = offset;
    return this.#enter(hash, offset) === bytes.readInt32BE(at + PREVIOUS_AT);
  }
}
