// Makes the key index files of one segment from the log: read record by record, as the bytes lie there, and checked
// before they are believed. New files stand beside the old ones until all of them are durable.
import { TLedgerError } from '../base/errors.ts';
import {
  FILLER_HEADER_BYTES,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  magicAt,
  type PhysicalOffset,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
} from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import { type Damage, DamageError } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { KeyFileHeader, KeyIndexLayout } from './key_index_file.ts';
import { addKeysOfRecords } from './key_index_records.ts';
import { NEW_KEY_FILE_SUFFIX, SegmentKeys } from './key_index_segment.ts';

/** What is wrong with the record of the log at a position; null when nothing is. */
export type DamageAt = (position: PhysicalOffset) => Damage | null;
/** Reads bytes of one segment. @throws TLedgerError DATA_CORRUPTED when the log does not hold them. */
export type ReadSegment = (position: PhysicalOffset, sizeBytes: number) => Buffer;

const EVERYTHING = Number.MAX_SAFE_INTEGER as LogIndex;
/** Bytes read at once, unless a record is larger. */
const READ_BYTES = 1_048_576;

/** What is made, from what, and where it goes. */
export interface KeyIndexBuildOptions {
  readonly disk: Disk;
  /** Is there, or is made. */
  readonly directory: string;
  readonly layout: KeyIndexLayout;
  /** A segment that is closed, and all of it committed. */
  readonly segment: PhysicalOffset;
  readonly segmentSizeBytes: number;
  readonly readLog: ReadSegment;
  /** What is wrong with the record at a position; null when nothing is. */
  readonly damageAt?: DamageAt | undefined;
}

/** The files of one closed segment, on their way. */
export class KeyIndexBuild {
  readonly segment: PhysicalOffset;
  readonly #options: KeyIndexBuildOptions;
  readonly #scan: SegmentScan;
  readonly #keys: SegmentKeys;
  readonly #files = new Map<string, DiskFile>();

  constructor(options: KeyIndexBuildOptions) {
    const { segment, segmentSizeBytes, layout, readLog, damageAt } = options;
    this.segment = segment;
    this.#options = options;
    const range = { from: segment, end: physicalOffset(segment + segmentSizeBytes) };
    this.#scan = new SegmentScan(readLog, range, damageAt);
    this.#keys = new SegmentKeys({ segment, layout, open: (name) => this.#outputOf(name) });
  }

  /** Headers of the files, once all is done. */
  get headers(): readonly KeyFileHeader[] {
    return this.#keys.headers;
  }

  /** Reads about 1 MiB of the log. @returns whether all is done, and durable. @throws what disk and log throw; final. */
  async step(): Promise<boolean> {
    try {
      if (!this.#scan.isDone) {
        addKeysOfRecords(this.#scan.next(), EVERYTHING, this.#keys);
        if (!this.#scan.isDone) return false;
        this.#keys.close();
      }
      for (const file of this.#files.values()) await file.flush();
      return true;
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** Puts the new files in their places, where nothing is any more. */
  install(): void {
    for (const [name, file] of this.#files) {
      file.close();
      this.#options.disk.rename(file.path, this.#pathOf(name));
    }
  }

  /** The end comes before all is done: what is left of it is removed at the next start. */
  close(): void {
    for (const file of this.#files.values()) file.close();
  }

  /** The new files are not wanted. */
  discard(): void {
    for (const file of this.#files.values()) {
      file.close();
      this.#options.disk.remove(file.path);
    }
    this.#files.clear();
  }

  #outputOf(name: string): (bytes: Buffer, position: number) => void {
    return (bytes, position) => {
      let file = this.#files.get(name);
      if (file === undefined) {
        const { disk, directory } = this.#options;
        if (this.#files.size === 0) disk.makeDirectory(directory);
        file = disk.open(`${this.#pathOf(name)}${NEW_KEY_FILE_SUFFIX}`, { create: true });
        file.truncate(0);
        this.#files.set(name, file);
      }
      file.write(bytes, position);
    };
  }

  #pathOf(name: string): string {
    return `${this.#options.directory}/${name}`;
  }
}

/** Records of `[from, end)`, which begins with a record and lies inside one segment, piece by piece. */
export class SegmentScan {
  readonly #read: ReadSegment;
  readonly #damageAt: DamageAt | undefined;
  readonly #end: number;
  #position: number;
  #nextIndex = 0;

  constructor(
    read: ReadSegment,
    range: { readonly from: PhysicalOffset; readonly end: PhysicalOffset },
    damageAt?: DamageAt,
  ) {
    this.#read = read;
    this.#damageAt = damageAt;
    this.#position = range.from;
    this.#end = range.end;
  }

  /** What was read ends here. */
  get position(): PhysicalOffset {
    return physicalOffset(this.#position);
  }

  get isDone(): boolean {
    return this.#position >= this.#end;
  }

  /**
   * The next whole records, without fillers; fewer than a piece holds at the end only.
   * @throws TLedgerError DATA_CORRUPTED when the log is damaged there.
   */
  next(): { readonly buffer: Buffer; readonly start: number; readonly end: number } {
    let bytes = this.#take(READ_BYTES);
    if (bytes.length >= RECORD_HEADER_BYTES && isRecord(bytes) && sizeAt(bytes, 0) > bytes.length) {
      bytes = this.#take(sizeAt(bytes, 0));
    }
    let at = 0;
    while (at < bytes.length) {
      if (bytes.length - at < FILLER_HEADER_BYTES) break;
      if (magicAt(bytes, at) === recordMagic.filler) {
        const result = { buffer: bytes, start: 0, end: at };
        this.#position = this.#end;
        return result;
      }
      if (bytes.length - at < RECORD_HEADER_BYTES || at + sizeAt(bytes, at) > bytes.length) break;
      this.#check(bytes, at);
      at += sizeAt(bytes, at);
    }
    if (at === 0) throw this.#damaged(0);
    this.#position += at;
    return { buffer: bytes, start: 0, end: at };
  }

  #take(sizeBytes: number): Buffer {
    return this.#read(this.position, Math.min(sizeBytes, this.#end - this.#position));
  }

  #check(bytes: Buffer, at: number): void {
    const isRight =
      isRecordWhole(bytes, at, bytes.length) &&
      positionAt(bytes, at) === this.#position + at &&
      (this.#nextIndex === 0 || indexAt(bytes, at) === this.#nextIndex) &&
      isBodyIntact(bytes, at);
    if (!isRight) throw this.#damaged(at);
    this.#nextIndex = indexAt(bytes, at) + 1;
  }

  #damaged(at: number): TLedgerError {
    const position = physicalOffset(this.#position + at);
    const damage = this.#damageAt?.(position) ?? null;
    if (damage !== null) return new DamageError(damage);
    return new TLedgerError('DATA_CORRUPTED', `the log is damaged at or after position ${position}`);
  }
}

function isRecord(bytes: Buffer): boolean {
  const magic = magicAt(bytes, 0);
  return magic >= recordMagic.message && magic <= recordMagic.command;
}
