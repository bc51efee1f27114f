// The key index of one group: message key or unique id -> where the messages lie in the log. Derived from the log, local
// to a replica, never part of a snapshot. Files: key_index_segment.ts; bytes: key_index_file.ts.
//
//   apply ──> add … write ──> entries of the newest file (page cache)         ┐ flush, then the row that holds `place`
//             roll           slots and header of files that are closed        ┘
//   start: files behind `place` are leftovers; entries of the newest file are read again and its slots made of them;
//          segments whose files are missing, or were damaged, are indexed anew from the log by `build`, piece by piece
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import { type DamageAt, KeyIndexBuild, type ReadSegment, SegmentScan } from './key_index_build.ts';
import { KeyIndexCheck } from './key_index_check.ts';
import { KeyFile, type KeyFileHeader, type KeyFileState, type KeyIndexLayout } from './key_index_file.ts';
import { KeyFiles } from './key_index_files.ts';
import { addKeys, addKeysOfRecords, type FindableMessage } from './key_index_records.ts';
import type { SearchedFile, SearchedIndex } from './key_index_search.ts';
import { keyFileName, NEW_KEY_FILE_SUFFIX, parseKeyFileName, SegmentKeys } from './key_index_segment.ts';

/**
 * RocketMQ's files have 5,000,000 slots and 20,000,000 entries. Ours end with a segment of the log, which rarely holds
 * so many keys: a fifth of both keeps the slots of the newest file, which are in memory, at 4 MB. Chains are as long.
 */
export const defaultKeyIndexLayout: KeyIndexLayout = { slots: 1_000_000, entriesMax: 4_000_000 };

/** What an index stands on. */
export interface KeyIndexOptions {
  readonly disk: Disk;
  /** The group's `keyindex` directory; made when the first file is. */
  readonly directory: string;
  readonly segmentSizeBytes: number;
  /** The same for the life of a directory; when it changes all is indexed anew. */
  readonly layout?: KeyIndexLayout | undefined;
  /** Reads the log where it holds committed records. */
  readonly readLog: ReadSegment;
  readonly damageAt?: DamageAt | undefined;
  /** Told when the index is found damaged or lacking and is made anew from the log. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** How far an index had come: what a checkpoint stores. */
export interface KeyIndexPlace extends KeyIndexLayout, KeyFileState {
  readonly segment: PhysicalOffset;
  readonly ordinal: number;
  /** Of the file that is being written; -1 when what is there of its segment cannot be used. */
  readonly entries: number;
}

/** What of the log is there, and applied. */
export interface AppliedLog {
  /** Where the log begins: the end of the record just before its first one, 0 for a log that was never cut. */
  readonly base: PhysicalOffset;
  /** The last record applied, and where it ends. */
  readonly index: LogIndex;
  readonly end: PhysicalOffset;
}

interface ClosedSegment {
  readonly segment: PhysicalOffset;
  readonly headers: readonly KeyFileHeader[];
}

/** See the head of the file. */
export class KeyIndex implements SearchedIndex {
  readonly #options: KeyIndexOptions;
  readonly #layout: KeyIndexLayout;
  readonly #files: KeyFiles;
  /** Segments whose files are whole, ascending; all before the one that is being written. */
  #closed: ClosedSegment[] = [];
  /** Segments without files that can be used; the last one is indexed next. */
  #missing: PhysicalOffset[] = [];
  #active: SegmentKeys;
  /** Whether the files of the segment that is being written cannot be used: they are made anew once it is closed. */
  #isActiveDamaged = false;
  /** Names of files that nobody reads any more; they are removed after the next checkpoint. */
  #unread: string[] = [];
  #build: KeyIndexBuild | null = null;

  constructor(options: KeyIndexOptions) {
    this.#options = options;
    this.#layout = options.layout ?? defaultKeyIndexLayout;
    assert(this.#layout.slots > 0 && this.#layout.entriesMax > 0, 'a file has slots and entries');
    this.#files = new KeyFiles({ ...options, layout: this.#layout });
    this.#active = this.#begin(physicalOffset(0));
  }

  /** What a checkpoint stores. Between `write` and the next `add`. */
  get place(): KeyIndexPlace {
    const { segment, ordinal, file } = this.#active;
    const { state } = file;
    return { ...this.#layout, ...state, segment, ordinal, entries: this.#isActiveDamaged ? -1 : state.entries };
  }

  /** Segments that have to be indexed anew: what lies in them is not found until then. */
  get missing(): readonly PhysicalOffset[] {
    return this.#isActiveDamaged ? [...this.#missing, this.#active.segment] : this.#missing;
  }

  /**
   * Goes on where the last checkpoint was, or from the files of a log that was indexed up to there otherwise. What is
   * missing of the newest segment is read from the log before this returns, other segments are left to `build`.
   * @param place null when the log was not indexed so far.
   * @throws TLedgerError STORAGE_FAILED
   */
  resume(place: KeyIndexPlace | null, applied: AppliedLog): void {
    const { segmentSizeBytes } = this.#options;
    const first = this.#files.firstSegment(applied.base);
    const newest = Math.max(first, Math.floor(Math.max(0, applied.end - 1) / segmentSizeBytes) * segmentSizeBytes);
    const isUsable = place !== null && this.#isOfLayout(place) && place.segment === newest;
    const counts = new Map<number, number>();
    for (const name of this.#files.list()) {
      const known = parseKeyFileName(name);
      if (known === null && !name.endsWith(NEW_KEY_FILE_SUFFIX)) continue;
      const isLeft = known === null || !isUsable || known.segment < first || isBehind(known, place);
      if (isLeft) this.#files.remove(name);
      else counts.set(known.segment, (counts.get(known.segment) ?? 0) + 1);
    }
    for (let start: number = first; start < newest; start += segmentSizeBytes) {
      const segment = physicalOffset(start);
      const headers = this.#files.headers(segment, counts.get(segment) ?? 0);
      if (headers === null) this.#missing.push(segment);
      else this.#closed.push({ segment, headers });
    }
    if (this.#missing.length > 0) this.#warn(`${this.#missing.length} segments of the log are indexed by key anew`);
    if (!isUsable || !this.#reopen(place)) this.#rebuildActive(physicalOffset(newest), applied);
  }

  /** Begins anew with the first record behind `base`; what there was before it is removed with the next checkpoint. */
  restart(base: PhysicalOffset): void {
    const first = this.#files.firstSegment(base);
    for (const name of this.#files.list()) {
      // What comes behind the base will be written anew, under the same names.
      if ((parseKeyFileName(name)?.segment ?? first) < first) this.#unread.push(name);
      else this.#files.remove(name);
    }
    this.#closed = [];
    this.#missing = [];
    this.#build = null;
    this.#isActiveDamaged = false;
    this.#active = this.#begin(first);
  }

  /** Adds the keys of the next message that has some. @param position of its record. */
  add(message: FindableMessage, position: PhysicalOffset): void {
    this.#rollTo(position);
    addKeys(message, this.#active);
  }

  /** Ends a batch: what was added reaches the page cache. @param position of the last record of the batch. */
  write(position: PhysicalOffset): void {
    this.#rollTo(position);
    this.#active.write();
  }

  /** Makes what was written durable. A failure is final. */
  flush(): Promise<void> {
    return this.#files.flush();
  }

  /** The log begins behind `position` now: files of segments before it are not used any more. */
  cutTo(position: PhysicalOffset): void {
    const first = this.#files.firstSegment(position);
    assert(first <= this.#active.segment, 'the log is cut below what is applied');
    for (const { segment, headers } of this.#closed) {
      if (segment < first) this.#unread.push(...headers.map((_, ordinal) => keyFileName(segment, ordinal)));
    }
    this.#closed = this.#closed.filter(({ segment }) => segment >= first);
    this.#missing = this.#missing.filter((segment) => segment >= first);
  }

  /** Whether there are files for `removeUnread`. */
  get hasUnread(): boolean {
    return this.#unread.length > 0;
  }

  /** Removes, durably, the files that nobody reads any more. Not while a flush is under way. */
  removeUnread(): void {
    const names = this.#unread;
    this.#unread = [];
    for (const name of names) this.#files.remove(name);
  }

  fileAt(segment: PhysicalOffset, ordinal: number): SearchedFile | undefined {
    const active = this.#active;
    if (segment >= active.segment && !this.#isActiveDamaged) {
      const last = active.ordinal;
      const number = segment === active.segment ? Math.min(ordinal, last) : last;
      const file = number === last ? active.file : null;
      return this.#files.searched(active.segment, number, active.headers[number]!, file);
    }
    const closed = this.#closed.findLast((one) => one.segment <= segment);
    if (closed === undefined) return undefined;
    const last = closed.headers.length - 1;
    const number = closed.segment === segment ? Math.min(ordinal, last) : last;
    return this.#files.searched(closed.segment, number, closed.headers[number]!, null);
  }

  damaged({ segment, ordinal }: SearchedFile, reason: string): void {
    this.lost(segment, `${this.#files.pathOf(keyFileName(segment, ordinal))}: ${reason}`);
  }

  /** The files of a segment are damaged: they are not used any more, and made anew from the log. */
  lost(segment: PhysicalOffset, reason: string): void {
    if (segment === this.#active.segment) this.#isActiveDamaged = true;
    else {
      const at = this.#closed.findIndex((one) => one.segment === segment);
      if (at < 0) return;
      this.#closed.splice(at, 1);
      this.#missing = [...this.#missing, segment].sort((a, b) => a - b);
    }
    this.#warn(`the key index is damaged and is made anew from the log: ${reason}`);
  }

  /**
   * Does a bounded piece of what is missing, newest segment first.
   * @returns whether more is left to be done.
   * @throws TLedgerError DATA_CORRUPTED when the log is damaged there: that segment's turn comes after all others;
   * STORAGE_FAILED when the new files cannot be written. Either way the index is as it was.
   */
  async build(): Promise<boolean> {
    const segment = this.#missing.at(-1);
    if (segment === undefined && this.#build === null) return false;
    this.#build ??= this.#beginBuild(segment!);
    const build = this.#build;
    try {
      if (!(await build.step())) return true;
    } catch (error) {
      if (this.#build === build) this.#build = null;
      // What was cut off meanwhile cannot be read any more.
      if (!this.#missing.includes(build.segment)) return this.#missing.length > 0;
      this.#missing = [build.segment, ...this.#missing.filter((one) => one !== build.segment)];
      throw error;
    }
    // While files are flushed none is removed.
    if (this.#files.isFlushing) return true;
    if (this.#build === build) this.#build = null;
    if (this.#missing.includes(build.segment)) this.#replace(build);
    else build.discard();
    return this.#missing.length > 0;
  }

  /**
   * Begins to compare the files of a segment with the log. Of the newest segment only what a search reads from disk.
   * @returns null when the segment is not kept, or is to be made anew anyway.
   */
  verify(segment: PhysicalOffset): KeyIndexCheck | null {
    const find = (): ClosedSegment | undefined => this.#closed.find((one) => one.segment === segment);
    const closed = find();
    const isOpen = (): boolean => segment === this.#active.segment && !this.#isActiveDamaged;
    if (closed === undefined && !isOpen()) return null;
    return new KeyIndexCheck({
      segment,
      layout: this.#layout,
      files: this.#files,
      headers: closed?.headers ?? null,
      isCurrent: () => (closed === undefined ? isOpen() : find() === closed),
      lost: (reason) => this.lost(segment, reason),
    });
  }

  close(): void {
    this.#build?.close();
    this.#files.close();
  }

  #begin(segment: PhysicalOffset): SegmentKeys {
    return new SegmentKeys({ segment, layout: this.#layout, open: (name) => this.#files.outputOf(name) });
  }

  #rollTo(position: PhysicalOffset): void {
    const { segmentSizeBytes } = this.#options;
    while (position >= this.#active.segment + segmentSizeBytes) {
      const { segment } = this.#active;
      this.#active.close();
      if (this.#isActiveDamaged) this.#missing.push(segment);
      else this.#closed.push({ segment, headers: this.#active.headers });
      this.#isActiveDamaged = false;
      this.#active = this.#begin(physicalOffset(segment + segmentSizeBytes));
    }
    assert(position >= this.#active.segment, 'records come in the order of the log');
  }

  /** Goes on with the newest file as it was. @returns false when that is not possible. */
  #reopen(place: KeyIndexPlace): boolean {
    const { segment, ordinal } = place;
    if (place.entries < 0) return false;
    const closed: KeyFileHeader[] = [];
    for (let number = 0; number < ordinal; number++) {
      const header = this.#files.header(segment, number);
      if (header === null || header.entries !== this.#layout.entriesMax) return false;
      closed.push(header);
    }
    const name = keyFileName(segment, ordinal);
    const read = (target: Buffer, position: number): boolean => this.#files.read(name, target, position);
    const file = KeyFile.restore(this.#layout, this.#files.outputOf(name), { ...place, read });
    const damage =
      typeof file === 'string' ? file : this.#files.isInside(segment, file.header) ? null : 'foreign entries';
    if (typeof file === 'string' || damage !== null) {
      this.#warn(`${this.#files.pathOf(name)} is damaged and made anew from the log: ${damage}`);
      return false;
    }
    const open = (next: string) => this.#files.outputOf(next);
    this.#active = new SegmentKeys({ segment, layout: this.#layout, open }, { closed, file });
    return true;
  }

  /** Reads the newest segment as far as it is applied. A log that is damaged there is for others to notice and repair. */
  #rebuildActive(segment: PhysicalOffset, applied: AppliedLog): void {
    this.#removeFilesOf(segment);
    this.#active = this.#begin(segment);
    if (applied.end <= segment) return;
    const scan = new SegmentScan(this.#options.readLog, { from: segment, end: applied.end });
    try {
      while (!scan.isDone) addKeysOfRecords(scan.next(), applied.index, this.#active);
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      this.lost(segment, error.message);
    }
    this.#active.write();
  }

  #removeFilesOf(segment: PhysicalOffset): void {
    for (const name of this.#files.list()) if (parseKeyFileName(name)?.segment === segment) this.#files.remove(name);
  }

  #beginBuild(segment: PhysicalOffset): KeyIndexBuild {
    return new KeyIndexBuild({ ...this.#options, layout: this.#layout, segment });
  }

  #replace(build: KeyIndexBuild): void {
    const { segment } = build;
    this.#removeFilesOf(segment);
    build.install();
    this.#missing = this.#missing.filter((one) => one !== segment);
    this.#closed = [...this.#closed, { segment, headers: build.headers }].sort((a, b) => a.segment - b.segment);
  }

  #isOfLayout({ slots, entriesMax }: KeyIndexLayout): boolean {
    return slots === this.#layout.slots && entriesMax === this.#layout.entriesMax;
  }

  #warn(message: string): void {
    this.#options.onWarning?.(message);
  }
}

/** Whether a file comes behind the one that was being written. */
function isBehind(file: { segment: PhysicalOffset; ordinal: number }, place: KeyIndexPlace): boolean {
  return file.segment > place.segment || (file.segment === place.segment && file.ordinal > place.ordinal);
}
