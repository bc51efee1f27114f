// Keeps at most so many files open, so that thousands of consume queues need no thousands of descriptors. Files are
// opened when first used and the least recently used one is closed; what must still be flushed is remembered by path.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Disk, DiskFile } from './disk.ts';

/** Fewer would starve the flushes that run at the same time. */
const OPEN_FILES_MIN = 8;
/** Flushes under way at once: as many as libuv has threads by default, less what the log itself needs. */
const PARALLEL_FLUSHES = 3;

interface OpenFile {
  readonly path: string;
  readonly file: DiskFile;
  /** Flushes under way; a pinned file is not closed. */
  pins: number;
}

/**
 * A bounded set of open files. A file that was closed while it still had bytes to flush is opened again for its flush:
 * fdatasync covers what any descriptor of the file wrote.
 */
export class OpenFiles {
  readonly #disk: Disk;
  readonly #openFilesMax: number;
  /** The one that was not used for longest comes first. */
  readonly #open = new Map<string, OpenFile>();
  /** Files that this process knows to be durable in their directory. */
  readonly #made = new Set<string>();
  #dirty = new Set<string>();
  #hasFailed = false;
  #isClosed = false;

  /** @param openFilesMax bound of descriptors, at least 8; files being flushed may exceed it for that long. */
  constructor(disk: Disk, openFilesMax: number) {
    assert(openFilesMax >= OPEN_FILES_MIN, `at least ${OPEN_FILES_MIN} files must be allowed to be open`);
    this.#disk = disk;
    this.#openFilesMax = openFilesMax;
  }

  /** Writes to the page cache, making the file and its directory if need be. */
  write(path: string, bytes: Buffer, position: number): void {
    this.#acquire(path, true).file.write(bytes, position);
    this.#dirty.add(path);
  }

  /** Fills `target` from `position`. @throws TLedgerError DATA_CORRUPTED when the file is missing or ends before. */
  read(path: string, target: Buffer, position: number): void {
    const opened = this.#acquire(path, false);
    if (opened.file.read(target, position) !== target.length) {
      throw new TLedgerError('DATA_CORRUPTED', `${path} ends before byte ${position + target.length}`);
    }
  }

  /** As `read`, without blocking; the file may be closed or removed meanwhile. */
  async readAsync(path: string, target: Buffer, position: number): Promise<void> {
    const opened = this.#acquire(path, false);
    if ((await opened.file.readAsync(target, position)) !== target.length) {
      throw new TLedgerError('DATA_CORRUPTED', `${path} ends before byte ${position + target.length}`);
    }
  }

  /** Names of the files in a directory, sorted; none when it is missing. */
  list(directory: string): readonly string[] {
    return this.#disk.list(directory);
  }

  /** Removes a file, durably, with what of it was not flushed. Not while a flush is under way. */
  remove(path: string): void {
    const opened = this.#open.get(path);
    assert(opened === undefined || opened.pins === 0, 'a file is not removed while it is flushed');
    opened?.file.close();
    this.#open.delete(path);
    this.#dirty.delete(path);
    this.#made.delete(path);
    this.#disk.remove(path);
  }

  /**
   * Makes durable what was written before the call. A failure is final: nothing may be flushed again afterwards.
   * @throws whatever the disk throws.
   */
  async flush(): Promise<void> {
    assert(!this.#hasFailed, 'a failed flush is final');
    const paths = [...this.#dirty];
    this.#dirty = new Set();
    const worker = async (): Promise<void> => {
      for (let path = paths.pop(); path !== undefined; path = paths.pop()) await this.#flushOne(path);
    };
    await Promise.all(Array.from({ length: PARALLEL_FLUSHES }, worker));
  }

  close(): void {
    this.#isClosed = true;
    for (const opened of this.#open.values()) opened.file.close();
    this.#open.clear();
  }

  async #flushOne(path: string): Promise<void> {
    const opened = this.#acquire(path, false);
    opened.pins++;
    try {
      await opened.file.flush();
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    } finally {
      opened.pins--;
    }
  }

  #acquire(path: string, create: boolean): OpenFile {
    assert(!this.#isClosed, 'closed files are not used');
    const known = this.#open.get(path);
    if (known !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, known);
      return known;
    }
    while (this.#open.size >= this.#openFilesMax && this.#closeOne());
    const file = create && !this.#made.has(path) ? this.#make(path) : this.#reopen(path);
    const opened: OpenFile = { path, file, pins: 0 };
    this.#open.set(path, opened);
    return opened;
  }

  /** Opens durably, which costs a flush of the directory: once a process for each file that is written. */
  #make(path: string): DiskFile {
    if (!this.#disk.exists(path)) this.#disk.makeDirectory(path.slice(0, path.lastIndexOf('/')));
    const file = this.#disk.open(path, { create: true });
    this.#made.add(path);
    return file;
  }

  #reopen(path: string): DiskFile {
    if (!this.#disk.exists(path)) throw new TLedgerError('DATA_CORRUPTED', `${path} is missing`);
    return this.#disk.open(path);
  }

  /** @returns false when every file is being flushed. */
  #closeOne(): boolean {
    for (const { path, file, pins } of this.#open.values()) {
      if (pins > 0) continue;
      file.close();
      return this.#open.delete(path);
    }
    return false;
  }
}
