// The files of the CommitLog: fixed size, named by the position of their first byte, one after the other without gaps.
// Rolling makes everything before it durable first, so only the last segment can have a torn tail.
import { assert } from '../base/assert.ts';
import type { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset, RECORD_HEADER_BYTES, recordMagic } from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import { DamageError } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';

/** Magic and size: all that a filler has. Every record leaves room for one behind it (DLedger's rule). */
export const FILLER_BYTES = 8;
/** The smallest segment that makes sense: one empty record and a filler. */
export const SEGMENT_SIZE_BYTES_MIN = RECORD_HEADER_BYTES + FILLER_BYTES;
const NAME_PATTERN = /^\d{20}$/;

/** One open segment file. */
export interface Segment {
  readonly start: PhysicalOffset;
  readonly end: PhysicalOffset;
  readonly file: DiskFile;
  /** The first record it holds, or will hold. Known for all but the last one after opening. */
  firstIndex: LogIndex;
}

/** All segments of a log behind its base, in order. There is always at least one. Numbers count from the first one held. */
export class Segments {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly sizeBytes: number;
  readonly #all: Segment[] = [];
  /** Where the first one begins. */
  #start = physicalOffset(0);
  /** The record behind the base. */
  #firstIndex = logIndex(1);

  private constructor(disk: Disk, directory: string, sizeBytes: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.sizeBytes = sizeBytes;
  }

  /**
   * Opens the segments behind `base` and removes those before, which a cut that was interrupted has left. Makes the first
   * one in the empty directory of a log without a base. Files of other names are left alone.
   * @throws TLedgerError DATA_CORRUPTED when a segment is missing or too long; nothing is removed then.
   */
  static open(disk: Disk, directory: string, sizeBytes: number, base: LogTip): Segments {
    const segments = Segments.#none(disk, directory, sizeBytes);
    segments.#begin(base);
    const names = segments.#names();
    const below = names.filter((name) => Number(name) < segments.#start);
    const held = names.slice(below.length);
    segments.#checkNames(held, base);
    try {
      held.forEach((name, number) => {
        const start = segments.#start + number * sizeBytes;
        segments.#all.push(openSegment(disk, `${directory}/${name}`, start, sizeBytes));
      });
      for (const { file } of segments.#all) if (file.sizeBytes() > sizeBytes) throw segments.#wrongSize(file);
      for (const name of below) disk.remove(`${directory}/${name}`);
      if (held.length === 0) segments.add(logIndex(1));
      return segments;
    } catch (error) {
      segments.close();
      throw error;
    }
  }

  /** Removes all segments that are there, in whatever state, and makes the first one behind `base`. */
  static restart(disk: Disk, directory: string, sizeBytes: number, base: LogTip): Segments {
    const segments = Segments.#none(disk, directory, sizeBytes);
    segments.restart(base);
    return segments;
  }

  static #none(disk: Disk, directory: string, sizeBytes: number): Segments {
    assert(sizeBytes >= SEGMENT_SIZE_BYTES_MIN, () => `a segment of ${sizeBytes} bytes can't hold a record`);
    disk.makeDirectory(directory);
    return new Segments(disk, directory, sizeBytes);
  }

  /** Where the segments begin that lie in `directory`, ascending, whatever they hold. */
  static startsIn(disk: Disk, directory: string): number[] {
    const names = disk.list(directory).filter((name) => NAME_PATTERN.test(name));
    return names.map(Number);
  }

  /**
   * Where the segment behind a base begins. A base is the last record of its segment, and a filler follows it, so it
   * never ends where its segment does.
   */
  static startBehind(base: LogTip, sizeBytes: number): PhysicalOffset {
    return physicalOffset(base.index === 0 ? 0 : (Math.floor(base.end / sizeBytes) + 1) * sizeBytes);
  }

  /** The name of the file that begins at that position. */
  static nameOf(start: number): string {
    return String(start).padStart(20, '0');
  }

  get count(): number {
    return this.#all.length;
  }

  get tail(): Segment {
    return this.#all[this.#all.length - 1]!;
  }

  /** Where the first segment begins: no byte before is held. */
  get start(): PhysicalOffset {
    return this.#start;
  }

  /** By number, from 0. */
  get(number: number): Segment | undefined {
    return this.#all[number];
  }

  /** Below 0 for a position before the first segment. */
  numberAt(position: number): number {
    return Math.floor((position - this.#start) / this.sizeBytes);
  }

  /** @throws TLedgerError DATA_CORRUPTED when no segment holds the position. */
  at(position: number): Segment {
    const segment = this.#all[this.numberAt(position)];
    if (segment !== undefined) return segment;
    throw this.#missing(Math.floor(position / this.sizeBytes) * this.sizeBytes);
  }

  /** Appends an empty segment, durable by name; its size is flushed with the first records. */
  add(firstIndex: LogIndex): Segment {
    const start = this.#start + this.#all.length * this.sizeBytes;
    const path = `${this.#directory}/${Segments.nameOf(start)}`;
    const segment = openSegment(this.#disk, path, start, this.sizeBytes);
    segment.firstIndex = firstIndex;
    this.#all.push(segment);
    segment.file.truncate(this.sizeBytes);
    return segment;
  }

  /** Removes the last segment, durably. Never the first. */
  removeTail(): void {
    assert(this.#all.length > 1, 'the first segment stays');
    const { file } = this.#all.pop()!;
    file.close();
    this.#disk.remove(file.path);
  }

  /** Removes the segments before number `count`, durably, the first one first. Never the last. */
  removeHead(count: number): void {
    assert(count < this.#all.length, 'the last segment stays');
    for (let number = 0; number < count; number++) {
      const { file, end } = this.#all.shift()!;
      this.#start = end;
      file.close();
      this.#disk.remove(file.path);
    }
  }

  /** Removes all segments, durably, and makes the first one behind `base`. */
  restart(base: LogTip): void {
    this.close();
    this.#all.length = 0;
    for (const name of this.#names()) this.#disk.remove(`${this.#directory}/${name}`);
    this.#begin(base);
    this.add(logIndex(base.index + 1));
  }

  /** Zeroes the tail segment from `end` on, so that no removed byte can be taken for a record again. Not flushed. */
  clearAfter(end: PhysicalOffset): void {
    const { start, file } = this.tail;
    assert(end >= start || this.#all.length === 1, 'only the tail segment is cleared');
    file.truncate(Math.max(0, end - start));
    file.truncate(this.sizeBytes);
  }

  /**
   * Every segment has its full size. On opening the last ones may have been caught before they grew; recovery first
   * decides what belongs to the log.
   * @throws TLedgerError DATA_CORRUPTED naming the file that has another size.
   */
  checkSizes(): void {
    for (const { file } of this.#all) {
      if (file.sizeBytes() !== this.sizeBytes) throw this.#wrongSize(file);
    }
  }

  close(): void {
    for (const { file } of this.#all) file.close();
  }

  #names(): string[] {
    return this.#disk.list(this.#directory).filter((name) => NAME_PATTERN.test(name));
  }

  /** All segments from the first one on are there; none at all only where nothing was ever written. */
  #checkNames(names: readonly string[], base: LogTip): void {
    const expected = [this.#start, ...names.slice(1).map((_, at) => this.#start + (at + 1) * this.sizeBytes)].map(
      Segments.nameOf,
    );
    const strange = names.findIndex((name, at) => name !== expected[at]);
    if (strange >= 0) throw this.#missing(Number(expected[strange]!));
    if (names.length === 0 && base.index > 0) throw this.#missing(this.#start);
  }

  #begin(base: LogTip): void {
    this.#start = Segments.startBehind(base, this.sizeBytes);
    this.#firstIndex = logIndex(base.index + 1);
  }

  /** Its first record is this one or a later one. */
  #missing(start: number): TLedgerError {
    return this.#damaged(`${this.#directory}/${Segments.nameOf(start)}`, start, 'the segment is missing');
  }

  #wrongSize(file: DiskFile): TLedgerError {
    const start = Number(file.path.slice(-20));
    return this.#damaged(file.path, start, `it has ${file.sizeBytes()} bytes instead of ${this.sizeBytes}`);
  }

  #damaged(file: string, start: number, reason: string): TLedgerError {
    const number = this.numberAt(start);
    const index = this.#all[number]?.firstIndex || this.#firstIndex;
    return new DamageError({ kind: 'log', file, position: physicalOffset(start), index, reason });
  }
}

/** Writes the filler that closes a segment at `end`. */
export function writeFiller(segment: Segment, end: PhysicalOffset): void {
  const filler = Buffer.alloc(FILLER_BYTES);
  filler.writeInt32BE(recordMagic.filler, 0);
  filler.writeUInt32BE(segment.end - end, 4);
  segment.file.write(filler, end - segment.start);
}

function openSegment(disk: Disk, path: string, start: number, sizeBytes: number): Segment {
  return {
    start: physicalOffset(start),
    end: physicalOffset(start + sizeBytes),
    file: disk.open(path, { create: true }),
    firstIndex: logIndex(0),
  };
}
