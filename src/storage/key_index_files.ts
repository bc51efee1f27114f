// The directory of the key index: its files by segment and number, a few of them open at a time.
import { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import type { Disk } from './disk.ts';
import {
  entryPosition,
  KEY_ENTRY_BYTES,
  KEY_HEADER_BYTES,
  KEY_SLOT_BYTES,
  type KeyFile,
  type KeyFileHeader,
  type KeyFileOutput,
  type KeyIndexLayout,
  readEntry,
  readHeader,
  slotPosition,
} from './key_index_file.ts';
import type { SearchedFile } from './key_index_search.ts';
import { keyFileName } from './key_index_segment.ts';
import { OpenFiles } from './open_files.ts';

const OPEN_FILES_MAX = 16;

/** Where the files are, and how they are laid out. */
export interface KeyFilesOptions {
  readonly disk: Disk;
  /** Made when the first file is. */
  readonly directory: string;
  readonly layout: KeyIndexLayout;
  readonly segmentSizeBytes: number;
}

/** All files of one key index. */
export class KeyFiles {
  readonly #options: KeyFilesOptions;
  readonly #files: OpenFiles;
  #flushing = 0;

  constructor(options: KeyFilesOptions) {
    this.#options = options;
    this.#files = new OpenFiles(options.disk, OPEN_FILES_MAX);
  }

  /** While it is, nothing is removed. */
  get isFlushing(): boolean {
    return this.#flushing > 0;
  }

  /** Names of all files in the directory, whatever they are. */
  list(): readonly string[] {
    return this.#files.list(this.#options.directory);
  }

  pathOf(name: string): string {
    return `${this.#options.directory}/${name}`;
  }

  /** Writes into the file of that name, which is made with the first bytes. */
  outputOf(name: string): KeyFileOutput {
    const path = this.pathOf(name);
    return (bytes, position) => this.#files.write(path, bytes, position);
  }

  /** Fills `target`. @returns false when the file is missing or ends before. */
  read(name: string, target: Buffer, position: number): boolean {
    try {
      this.#files.read(this.pathOf(name), target, position);
      return true;
    } catch (error) {
      if (error instanceof TLedgerError && error.code === 'DATA_CORRUPTED') return false;
      throw error;
    }
  }

  /** Makes what was written durable. A failure is final. */
  async flush(): Promise<void> {
    this.#flushing++;
    try {
      await this.#files.flush();
    } finally {
      this.#flushing--;
    }
  }

  /** Removes a file, durably. Not while a flush is under way. */
  remove(name: string): void {
    this.#files.remove(this.pathOf(name));
  }

  close(): void {
    this.#files.close();
  }

  /**
   * Headers of the files of a closed segment.
   * @param count files that bear its name.
   * @returns null when one is missing, or makes no sense.
   */
  headers(segment: PhysicalOffset, count: number): readonly KeyFileHeader[] | null {
    const headers: KeyFileHeader[] = [];
    for (let ordinal = 0; ordinal < count; ordinal++) {
      const header = this.header(segment, ordinal);
      const isLast = ordinal === count - 1;
      if (header === null || (header.entries === this.#options.layout.entriesMax) === isLast) return null;
      headers.push(header);
    }
    return count === 0 ? null : headers;
  }

  /** A file's header; null when there is none that makes sense. */
  header(segment: PhysicalOffset, ordinal: number): KeyFileHeader | null {
    const bytes = Buffer.allocUnsafe(KEY_HEADER_BYTES);
    if (!this.read(keyFileName(segment, ordinal), bytes, 0)) return null;
    const header = readHeader(bytes, this.#options.layout);
    return header !== null && this.isInside(segment, header) ? header : null;
  }

  /** Whether all that a file holds lies in its segment. */
  isInside(segment: PhysicalOffset, { entries, beginOffset, endOffset }: KeyFileHeader): boolean {
    return entries === 0 || (beginOffset >= segment && endOffset < segment + this.#options.segmentSizeBytes);
  }

  /** First segment of a log that begins behind `base`: a segment ends with a filler, so no record ends with it. */
  firstSegment(base: PhysicalOffset): PhysicalOffset {
    const { segmentSizeBytes } = this.#options;
    return physicalOffset(Math.ceil(base / segmentSizeBytes) * segmentSizeBytes);
  }

  /** @param file the file while it is being written: its slots are in memory. */
  searched(segment: PhysicalOffset, ordinal: number, header: KeyFileHeader, file: KeyFile | null): SearchedFile {
    const name = keyFileName(segment, ordinal);
    const { layout } = this.#options;
    const slot = Buffer.allocUnsafe(KEY_SLOT_BYTES);
    const entry = Buffer.allocUnsafe(KEY_ENTRY_BYTES);
    return {
      segment,
      ordinal,
      header,
      newest: (hash) => {
        if (file !== null) return file.newest(hash);
        // A slot that cannot be read leads to an entry that there is not.
        return this.read(name, slot, slotPosition(layout, hash)) ? slot.readInt32BE(0) : header.entries + 1;
      },
      entry: (number) => (this.read(name, entry, entryPosition(layout, number)) ? readEntry(entry, 0) : null),
      isSameSlot: (a, b) => a % layout.slots === b % layout.slots,
    };
  }
}
