// From a record's index to its place: 32 bytes a record, at (index - 1) * 32, in files of bounded size. Everything in
// it is derived from the log, so it is never flushed on the way and is rebuilt when it is missing or wrong. Files wholly
// below the log's base are gone; the first one kept may hold units below it, or zeros.
//
//   0       4          12     16      24     32
//   +-------+----------+------+-------+------+
//   | magic | position | size | index | term |
//   +-------+----------+------+-------+------+
//
// The magic is a CRC-32 of the other 28 bytes, seeded with a constant: a zeroed, torn or misplaced unit never passes
// for a valid one, and a flipped bit can't change a term that elections compare.
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { writeUint32 } from '../format/uint32.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';
import type { LogIndex, Term } from '../raft/types.ts';
import type { Disk, DiskFile } from './disk.ts';

export const INDEX_UNIT_BYTES = 32;
/** Units in one file by default: 32 MiB. */
export const INDEX_UNITS_PER_FILE = 1024 * 1024;
const MAGIC_SEED = 0x544c_4958; // "TLIX"
const STAGED_UNITS_MIN = 1024;
const NAME_PATTERN = /^\d{20}$/;

/** What the log index knows of a record. */
export interface IndexUnit {
  readonly position: PhysicalOffset;
  readonly sizeBytes: number;
  readonly term: Term;
}

/** Writes the unit of a record: the same bytes on every replica. */
export function encodeIndexUnit(
  target: Buffer,
  at: number,
  record: { readonly index: number; readonly position: number; readonly sizeBytes: number; readonly term: number },
): void {
  writeUint64(target, record.position, at + 4);
  writeUint32(target, record.sizeBytes, at + 12);
  writeUint64(target, record.index, at + 16);
  writeUint64(target, record.term, at + 24);
  writeUint32(target, crc32(target, at + 4, at + INDEX_UNIT_BYTES, MAGIC_SEED), at);
}

/** The log index of a group. */
export class LogIndexFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #unitsPerFile: number;
  /** In order, the first one with number `#firstNumber`: the one that the record behind the base belongs to. */
  readonly #files: DiskFile[] = [];
  #firstNumber = 0;
  readonly #unit = Buffer.alloc(INDEX_UNIT_BYTES);
  #staged = Buffer.alloc(STAGED_UNITS_MIN * INDEX_UNIT_BYTES);
  #stagedFirst = 0;
  #stagedCount = 0;
  /** Files from this place in `#files` on may hold bytes that were not flushed. */
  #dirtyFrom = 0;

  private constructor(disk: Disk, directory: string, unitsPerFile: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.#unitsPerFile = unitsPerFile;
  }

  /** Opens the files that are there, without those wholly up to `base`; the first one is made by the first `write`. */
  static open(disk: Disk, directory: string, base: LogIndex, unitsPerFile = INDEX_UNITS_PER_FILE): LogIndexFiles {
    disk.makeDirectory(directory);
    const index = new LogIndexFiles(disk, directory, unitsPerFile);
    index.#firstNumber = Math.floor(base / unitsPerFile);
    const first = index.#pathOf(index.#firstNumber);
    for (const path of index.#paths()) if (path < first) disk.remove(path);
    try {
      for (let number = index.#firstNumber; disk.exists(index.#pathOf(number)); number++) {
        index.#files.push(disk.open(index.#pathOf(number), { create: true }));
      }
      return index;
    } catch (error) {
      index.close();
      throw error;
    }
  }

  /** Keeps a unit for the next `write`. Units are staged in the order of their index, without gaps. */
  stage(index: number, position: number, sizeBytes: number, term: number): void {
    if (this.#stagedCount === 0) this.#stagedFirst = index;
    assert(index === this.#stagedFirst + this.#stagedCount, 'index units are staged without gaps');
    const at = this.#stagedCount * INDEX_UNIT_BYTES;
    if (at === this.#staged.length) this.#staged = Buffer.concat([this.#staged], 2 * this.#staged.length);
    encodeIndexUnit(this.#staged, at, { index, position, sizeBytes, term });
    this.#stagedCount++;
  }

  /** How many units wait for `write`. */
  get stagedCount(): number {
    return this.#stagedCount;
  }

  /** Forgets what was staged for records that could not be written. */
  unstage(): void {
    this.#stagedCount = 0;
  }

  /** Writes what was staged: one write, or one a file. */
  write(): void {
    let done = 0;
    while (done < this.#stagedCount) {
      const unit = this.#stagedFirst - 1 + done;
      const number = Math.floor(unit / this.#unitsPerFile);
      const inFile = unit % this.#unitsPerFile;
      const count = Math.min(this.#stagedCount - done, this.#unitsPerFile - inFile);
      const bytes = this.#staged.subarray(done * INDEX_UNIT_BYTES, (done + count) * INDEX_UNIT_BYTES);
      this.#fileToWrite(number).write(bytes, inFile * INDEX_UNIT_BYTES);
      this.#dirtyFrom = Math.min(this.#dirtyFrom, number - this.#firstNumber);
      done += count;
    }
    this.#stagedCount = 0;
  }

  /** The unit of a record, or null when it is missing or not valid. */
  get(index: LogIndex): IndexUnit | null {
    const number = Math.floor((index - 1) / this.#unitsPerFile);
    const file = this.#files[number - this.#firstNumber];
    const unit = this.#unit;
    const inFile = ((index - 1) % this.#unitsPerFile) * INDEX_UNIT_BYTES;
    if (file === undefined || file.read(unit, inFile) !== INDEX_UNIT_BYTES) return null;
    if (crc32(unit, 4, INDEX_UNIT_BYTES, MAGIC_SEED) !== unit.readUInt32BE(0)) return null;
    if (!isUint64Safe(unit, 16) || readUint64(unit, 16) !== index) return null;
    return {
      position: physicalOffset(readUint64(unit, 4)),
      sizeBytes: unit.readUInt32BE(12),
      term: readUint64(unit, 24) as Term,
    };
  }

  /** Removes the units behind `index`, which is not below the base. */
  truncateAfter(index: LogIndex): void {
    const keep = Math.floor(index / this.#unitsPerFile) - this.#firstNumber;
    while (this.#files.length > keep + 1) {
      const file = this.#files.pop()!;
      file.close();
      this.#disk.remove(file.path);
    }
    const last = this.#files[keep];
    const sizeBytes = (index % this.#unitsPerFile) * INDEX_UNIT_BYTES;
    if (last !== undefined && last.sizeBytes() > sizeBytes) {
      last.truncate(sizeBytes);
      this.#dirtyFrom = Math.min(this.#dirtyFrom, keep);
    }
  }

  /** Removes the files that hold units up to `base` only. */
  cutTo(base: LogIndex): void {
    const firstNumber = Math.floor(base / this.#unitsPerFile);
    for (const file of this.#files.splice(0, firstNumber - this.#firstNumber)) {
      file.close();
      this.#disk.remove(file.path);
    }
    this.#dirtyFrom = Math.max(0, this.#dirtyFrom - (firstNumber - this.#firstNumber));
    this.#firstNumber = firstNumber;
  }

  /** Removes all files; the next unit is that of the record behind `base`. */
  restart(base: LogIndex): void {
    this.close();
    this.#files.length = 0;
    for (const path of this.#paths()) this.#disk.remove(path);
    this.#firstNumber = Math.floor(base / this.#unitsPerFile);
    this.#dirtyFrom = 0;
    this.unstage();
  }

  /** Makes durable what was written before the call, without blocking. A failure is final for the log. */
  async flush(): Promise<void> {
    const dirty = this.#files.slice(this.#dirtyFrom);
    // What is written from now on makes its file dirty again.
    this.#dirtyFrom = this.#files.length;
    await Promise.all(dirty.map((file) => file.flush()));
  }

  /** Makes durable whatever was written since the last time. */
  flushNow(): void {
    for (const file of this.#files.slice(this.#dirtyFrom)) file.flushNow();
    this.#dirtyFrom = this.#files.length;
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  #fileToWrite(number: number): DiskFile {
    const at = number - this.#firstNumber;
    assert(at >= 0 && at <= this.#files.length, 'the log index grows file by file');
    if (at === this.#files.length) this.#files.push(this.#disk.open(this.#pathOf(number), { create: true }));
    return this.#files[at]!;
  }

  /** All files that are there, in order. */
  #paths(): string[] {
    const names = this.#disk.list(this.#directory).filter((name) => NAME_PATTERN.test(name));
    return names.map((name) => `${this.#directory}/${name}`);
  }

  #pathOf(number: number): string {
    return `${this.#directory}/${indexFileName(number, this.#unitsPerFile)}`;
  }
}

/** Name of the file of that number, in the group's `index` directory. */
export function indexFileName(number: number, unitsPerFile: number): string {
  return String(number * unitsPerFile * INDEX_UNIT_BYTES).padStart(20, '0');
}
