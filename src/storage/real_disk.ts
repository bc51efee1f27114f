// The disk port on the operating system's files. Its in-memory twin is memory_disk.ts; one conformance suite runs on both.
import {
  close,
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  read as readDescriptor,
  readdirSync,
  readSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Disk, DiskFile, DiskSpace } from './disk.ts';
import { diskError, errnoOf } from './disk_error.ts';
import { type FileKey, removedFiles } from './removed_files.ts';

/** Largest piece handed to one write call: larger ones into fresh page cache are 2-5 times slower (measured). */
const WRITE_PIECE_BYTES_MAX = 64 * 1024;
/** Files hold messages: readable by the owner and the group only. */
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;
/** Two places cannot share a file: other file systems, one without hard links, too many names of one file. */
const LINK_REFUSALS: readonly (string | undefined)[] = ['EXDEV', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/** Files of the operating system. Every failure is STORAGE_FAILED with path and errno; nothing is retried. */
export class RealDisk implements Disk {
  open(path: string, options: { readonly create?: boolean } = {}): DiskFile {
    const create = options.create === true;
    const flags = constants.O_RDWR | (create ? constants.O_CREAT : 0);
    const descriptor = attempt('open', path, () => openSync(path, flags, FILE_MODE));
    // Also when the file was there: a process that died between creating and flushing the name left it volatile.
    if (create) flushDirectory(dirname(path));
    return new RealFile(path, descriptor);
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  list(path: string): string[] {
    try {
      return readdirSync(path).sort();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw diskError('list', path, error);
    }
  }

  makeDirectory(path: string): void {
    const missing: string[] = [];
    for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.unshift(at);
    for (const directory of missing) {
      attempt('make directory', directory, () => mkdirSync(directory, { mode: DIRECTORY_MODE, recursive: true }));
      flushDirectory(dirname(directory));
    }
    if (missing.length === 0) flushDirectory(dirname(resolve(path)));
  }

  remove(path: string): void {
    const held = removedFiles.hold(path);
    let isGone = false;
    try {
      if (!isUnlinked(path)) return;
      flushDirectory(dirname(path));
      isGone = true;
    } finally {
      held?.(isGone);
    }
  }

  rename(from: string, to: string): void {
    attempt('rename', from, () => renameSync(from, to));
    flushDirectory(dirname(to));
    if (dirname(from) !== dirname(to)) flushDirectory(dirname(from));
  }

  link(from: string, to: string): boolean {
    try {
      linkSync(from, to);
    } catch (error) {
      if (LINK_REFUSALS.includes(errnoOf(error))) return false;
      throw diskError('link', from, error);
    }
    flushDirectory(dirname(to));
    return true;
  }

  space(path: string): DiskSpace {
    const { blocks, bfree, bavail, bsize } = attempt('look at the room of', path, () => statfsSync(path));
    // What is kept back for root counts neither as used nor as free, as `df` has it.
    const totalBytes = (blocks - bfree + bavail) * bsize;
    const pendingBytes = attempt('look at the room of', path, () => removedFiles.pendingBytesAt(path));
    return { totalBytes, freeBytes: bavail * bsize, pendingBytes };
  }
}

class RealFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  readonly #key: FileKey;
  /** Flushes and reads under way: they use the descriptor. */
  #running = 0;
  #closed = false;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#key = attempt('stat', path, () => removedFiles.entered(descriptor));
  }

  sizeBytes(): number {
    this.#assertOpen();
    return attempt('stat', this.path, () => fstatSync(this.#descriptor).size);
  }

  read(target: Buffer, position: number): number {
    this.#assertOpen();
    let done = 0;
    try {
      while (done < target.length) {
        const count = readSync(this.#descriptor, target, done, target.length - done, position + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw diskError('read', this.path, error);
    }
    return done;
  }

  async readAsync(target: Buffer, position: number): Promise<number> {
    this.#assertOpen();
    this.#running++;
    try {
      let done = 0;
      while (done < target.length) {
        const count = await this.#readPart(target, done, position + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    } catch (error) {
      throw diskError('read', this.path, error);
    } finally {
      this.#ended();
    }
  }

  write(bytes: Buffer, position: number): void {
    this.#assertOpen();
    let done = 0;
    try {
      while (done < bytes.length) {
        // A short write is continued; what made it short (a full disk) then answers with its errno.
        const piece = Math.min(bytes.length - done, WRITE_PIECE_BYTES_MAX);
        done += writeSync(this.#descriptor, bytes, done, piece, position + done);
      }
    } catch (error) {
      throw diskError('write', this.path, error);
    }
  }

  flush(): Promise<void> {
    this.#assertOpen();
    this.#running++;
    return new Promise((resolve, reject) => {
      fdatasync(this.#descriptor, (error) => {
        this.#ended();
        if (error) reject(diskError('flush', this.path, error));
        else resolve();
      });
    });
  }

  flushNow(): void {
    this.#assertOpen();
    attempt('flush', this.path, () => fdatasyncSync(this.#descriptor));
  }

  truncate(sizeBytes: number): void {
    this.#assertOpen();
    attempt('truncate', this.path, () => ftruncateSync(this.#descriptor, sizeBytes));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // What is under way still uses the descriptor; closed now, its number could already mean another file.
    if (this.#running > 0) return;
    removedFiles.left(this.#key);
    attempt('close', this.path, () => closeSync(this.#descriptor));
  }

  #readPart(target: Buffer, at: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      readDescriptor(this.#descriptor, target, at, target.length - at, position, (error, count) => {
        if (error) reject(error);
        else resolve(count);
      });
    });
  }

  #ended(): void {
    this.#running--;
    if (!this.#closed || this.#running > 0) return;
    removedFiles.left(this.#key);
    close(this.#descriptor);
  }

  #assertOpen(): void {
    assert(!this.#closed, () => `${this.path} is used after it was closed`);
  }
}

/** @returns false when there was no such file. */
function isUnlinked(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw diskError('remove', path, error);
  }
}

function flushDirectory(path: string): void {
  attempt('flush directory', path, () => {
    const descriptor = openSync(path, constants.O_RDONLY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  });
}

function attempt<T>(operation: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw diskError(operation, path, error);
  }
}
