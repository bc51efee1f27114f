// The files of the CommitLog: fixed size, named by the position of their first byte, one after the other without gaps.
// Rolling makes everything before it durable first, so only the last segment can have a torn tail.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset, RECORD_HEADER_BYTES, recordMagic } from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { Disk, DiskFile } from './disk.ts';

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

/** All segments of a log, in order. There is always at least one. */
export class Segments {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly sizeBytes: number;
  readonly #all: Segment[] = [];

  private constructor(disk: Disk, directory: string, sizeBytes: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.sizeBytes = sizeBytes;
  }

  /**
   * Opens all segments; makes the first one in an empty directory. Files of other names are left alone.
   * @throws TLedgerError DATA_CORRUPTED when a segment is missing or too long.
   */
  static open(disk: Disk, directory: string, sizeBytes: number): Segments {
    assert(sizeBytes >= SEGMENT_SIZE_BYTES_MIN, () => `a segment of ${sizeBytes} bytes can't hold a record`);
    disk.makeDirectory(directory);
    const segments = new Segments(disk, directory, sizeBytes);
    const names = disk.list(directory).filter((name) => NAME_PATTERN.test(name));
    const expected = names.map((_, number) => nameOf(number * sizeBytes));
    const strange = names.findIndex((name, at) => name !== expected[at]);
    if (strange >= 0) {
      const found = `${directory}/${names[strange]}`;
      throw new TLedgerError('DATA_CORRUPTED', `segment ${directory}/${expected[strange]} is missing before ${found}`);
    }
    try {
      names.forEach((name, number) => {
        segments.#all.push(openSegment(disk, `${directory}/${name}`, number * sizeBytes, sizeBytes));
      });
      for (const { file } of segments.#all) if (file.sizeBytes() > sizeBytes) throw segments.#wrongSize(file);
      if (names.length === 0) segments.add(logIndex(1));
      return segments;
    } catch (error) {
      segments.close();
      throw error;
    }
  }

  get count(): number {
    return this.#all.length;
  }

  get tail(): Segment {
    return this.#all[this.#all.length - 1]!;
  }

  /** By number, from 0. */
  get(number: number): Segment | undefined {
    return this.#all[number];
  }

  numberAt(position: number): number {
    return Math.floor(position / this.sizeBytes);
  }

  /** @throws TLedgerError DATA_CORRUPTED when no segment holds the position. */
  at(position: number): Segment {
    const segment = this.#all[this.numberAt(position)];
    if (segment === undefined) {
      const name = nameOf(this.numberAt(position) * this.sizeBytes);
      throw new TLedgerError('DATA_CORRUPTED', `segment ${this.#directory}/${name} is missing: position ${position}`);
    }
    return segment;
  }

  /** Appends an empty segment, durable by name; its size is flushed with the first records. */
  add(firstIndex: LogIndex): Segment {
    const start = this.#all.length * this.sizeBytes;
    const path = `${this.#directory}/${nameOf(start)}`;
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

  /** Zeroes the tail segment from `end` on, so that no removed byte can be taken for a record again. Not flushed. */
  clearAfter(end: PhysicalOffset): void {
    const { start, file } = this.tail;
    assert(end >= start, 'only the tail segment is cleared');
    file.truncate(end - start);
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

  #wrongSize(file: DiskFile): TLedgerError {
    return new TLedgerError(
      'DATA_CORRUPTED',
      `${file.path} has ${file.sizeBytes()} bytes instead of ${this.sizeBytes}`,
    );
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

function nameOf(start: number): string {
  return String(start).padStart(20, '0');
}
