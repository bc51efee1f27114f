// The key index files of one segment of the log. Files begin and end with segments, so that what lies in them depends on
// nothing but the segment: whatever the log was cut to, made anew they are the same byte for byte.
//
//   log         |======== segment ========|======== segment ========|==== tail …
//   key index   |  file  | file-1 |file-2 |          file           |  file …
//                  full     full    not
//
// Names: the segment's 20-digit start; `-<n>` behind it for those that follow when one is full. A segment that is closed
// has exactly one file that is not full, the last one, even if it holds nothing: so a file that is missing is noticed.
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { KeyFile, type KeyFileHeader, type KeyFileOutput, type KeyIndexLayout } from './key_index_file.ts';

const NAME_DIGITS = 20;
const NAME_PATTERN = /^(\d{20})(?:-([1-9]\d{0,5}))?$/;

/** Behind the name of a file that is being made anew. */
export const NEW_KEY_FILE_SUFFIX = '.new';

/** Name of a file. */
export function keyFileName(segment: PhysicalOffset, ordinal: number): string {
  const start = String(segment).padStart(NAME_DIGITS, '0');
  return ordinal === 0 ? start : `${start}-${ordinal}`;
}

/** What a name stands for; null for a name of something else. */
export function parseKeyFileName(name: string): { readonly segment: PhysicalOffset; readonly ordinal: number } | null {
  const match = NAME_PATTERN.exec(name);
  if (match === null) return null;
  return { segment: physicalOffset(Number(match[1])), ordinal: Number(match[2] ?? 0) };
}

/** Gives the output of the file with that name, which is begun. */
export type OpenKeyFile = (name: string) => KeyFileOutput;

/** The files of a segment that is being indexed, in the order of the log. */
export class SegmentKeys {
  readonly segment: PhysicalOffset;
  readonly #layout: KeyIndexLayout;
  readonly #open: OpenKeyFile;
  /** Headers of the files that are closed. */
  readonly #closed: KeyFileHeader[];
  readonly #holes: 'skip' | 'write';
  #file: KeyFile;

  /**
   * @param was what the segment's files hold already, when they are gone on with: headers of full ones, and the last one.
   * @param options.holes whether bytes that are zero are handed out, too.
   */
  constructor(
    options: {
      readonly segment: PhysicalOffset;
      readonly layout: KeyIndexLayout;
      readonly open: OpenKeyFile;
      readonly holes?: 'skip' | 'write';
    },
    was?: { readonly closed: readonly KeyFileHeader[]; readonly file: KeyFile },
  ) {
    this.segment = options.segment;
    this.#layout = options.layout;
    this.#open = options.open;
    this.#holes = options.holes ?? 'skip';
    this.#closed = [...(was?.closed ?? [])];
    this.#file = was?.file ?? this.#begin();
  }

  /** Which of the segment's files is being written. */
  get ordinal(): number {
    return this.#closed.length;
  }

  /** The file that is being written. */
  get file(): KeyFile {
    return this.#file;
  }

  /** Headers of all files as they are now. */
  get headers(): readonly KeyFileHeader[] {
    return [...this.#closed, this.#file.header];
  }

  /** Adds an entry. */
  add(hash: number, offset: number, storedAtMs: number): void {
    if (this.#file.isFull) this.#next();
    this.#file.add(hash, offset, storedAtMs);
  }

  /** Hands out what was added. */
  write(): void {
    this.#file.write();
  }

  /** No record of the segment is to come: all of its files are handed out. */
  close(): void {
    if (this.#file.isFull) this.#next();
    this.#file.close(this.#holes);
  }

  #next(): void {
    this.#file.close(this.#holes);
    this.#closed.push(this.#file.header);
    this.#file = this.#begin();
  }

  #begin(): KeyFile {
    return new KeyFile(this.#layout, this.#open(keyFileName(this.segment, this.#closed.length)));
  }
}
