// Compares the files of the key index of one segment with what the log says they hold, byte for byte: a file has no
// checksums, and a flipped bit may make messages impossible to find, which no search would notice.
import type { PhysicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { Damage } from './damage.ts';
import { fileBytes, type KeyFileHeader, type KeyIndexLayout } from './key_index_file.ts';
import type { KeyFiles } from './key_index_files.ts';
import { addKeysOfRecords } from './key_index_records.ts';
import { keyFileName, SegmentKeys } from './key_index_segment.ts';

const EVERYTHING = Number.MAX_SAFE_INTEGER as LogIndex;

/** What is compared. */
export interface CheckedSegment {
  readonly segment: PhysicalOffset;
  readonly layout: KeyIndexLayout;
  readonly files: KeyFiles;
  /** Of all files of a closed segment; null for the newest one, whose slots and header are not written yet. */
  readonly headers: readonly KeyFileHeader[] | null;
  /** Whether the files are still those that the check began with. */
  isCurrent(): boolean;
  /** They are damaged: they are to be made anew. */
  lost(reason: string): void;
}

/** A check on its way; see `KeyIndex.verify`. */
export class KeyIndexCheck {
  readonly #checked: CheckedSegment;
  /** Makes the files again, into an output that compares. */
  readonly #keys: SegmentKeys;
  #difference: { readonly file: string; readonly reason: string } | null = null;

  constructor(checked: CheckedSegment) {
    const { segment, layout } = checked;
    this.#checked = checked;
    this.#keys = new SegmentKeys({ segment, layout, open: (name) => this.#compareWith(name), holes: 'write' });
  }

  /** Whether `finish` asks for all records of the segment; else some from its beginning on are enough. */
  get needsAll(): boolean {
    return this.#checked.headers !== null;
  }

  /** Takes the segment's next verified, applied records: whole, in the order of the log; fillers may be among them. */
  add(buffer: Buffer, start: number, end: number): void {
    if (this.#difference === null) addKeysOfRecords({ buffer, start, end }, EVERYTHING, this.#keys);
  }

  /**
   * All records of the segment were given; of the newest segment: some from its beginning on.
   * @returns the damage, null if there is none or the files have been replaced meanwhile.
   */
  finish(): Damage | null {
    const { headers } = this.#checked;
    if (!this.#checked.isCurrent()) return null;
    if (headers === null) this.#keys.write();
    else if (this.#difference === null) {
      this.#keys.close();
      this.#checkLengths(headers);
    }
    if (this.#difference === null) return null;
    const { file, reason } = this.#difference;
    this.#checked.lost(`${file}: ${reason}`);
    return { kind: 'derived', what: 'key index', file, reason };
  }

  #compareWith(name: string): (bytes: Buffer, position: number) => void {
    const { files } = this.#checked;
    return (bytes, position) => {
      const there = Buffer.allocUnsafe(bytes.length);
      if (files.read(name, there, position) && there.equals(bytes)) return;
      this.#differs(name, `bytes from ${position} on are not what the log says`);
    };
  }

  #checkLengths(headers: readonly KeyFileHeader[]): void {
    const { files, layout, segment } = this.#checked;
    const { headers: right } = this.#keys;
    if (right.length !== headers.length) this.#differs(keyFileName(segment, right.length), 'it should not be there');
    for (const [ordinal, { entries }] of right.entries()) {
      const name = keyFileName(segment, ordinal);
      if (files.read(name, Buffer.alloc(1), fileBytes(layout, entries))) this.#differs(name, 'it is too long');
    }
  }

  #differs(name: string, reason: string): void {
    this.#difference ??= { file: this.#checked.files.pathOf(name), reason };
  }
}
