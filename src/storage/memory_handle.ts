// An open file of the simulated disk: each call is a step that the disk counts, and may fail or end the process at.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import type { DiskFile } from './disk.ts';
import { diskError } from './disk_error.ts';
import type { MemoryInode } from './memory_file.ts';

/** What a file needs of its disk. */
export interface Stepper {
  isAlive(): boolean;
  step(kind: 'read' | 'write' | 'truncate' | 'flush' | 'flush-done', path: string): 'short' | null;
  defer(finish: () => void): void;
  deferRead(finish: () => void): void;
}

/** See the head of the file. */
export class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #inode: MemoryInode;
  readonly #disk: Stepper;
  #closed = false;

  constructor(path: string, inode: MemoryInode, disk: Stepper) {
    this.path = path;
    this.#inode = inode;
    this.#disk = disk;
  }

  sizeBytes(): number {
    this.#assertOpen();
    return this.#inode.sizeBytes;
  }

  read(target: Buffer, position: number): number {
    this.#assertOpen();
    this.#disk.step('read', this.path);
    return this.#readNow(target, position);
  }

  readAsync(target: Buffer, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      this.#disk.step('read', this.path);
      this.#disk.deferRead(() => {
        // Of a process that ended nobody waits any more: its promise never settles.
        if (!this.#disk.isAlive()) return;
        try {
          resolve(this.#readNow(target, position));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  write(bytes: Buffer, position: number): void {
    this.#assertOpen();
    if (this.#disk.step('write', this.path) === 'short') {
      this.#inode.write(bytes.subarray(0, bytes.length >> 1), position);
      throw diskError('write', this.path, systemError('ENOSPC'));
    }
    this.#inode.write(bytes, position);
  }

  flush(): Promise<void> {
    this.#assertOpen();
    return new Promise((resolve, reject) => {
      const upTo = this.#inode.sequence;
      this.#flushStep('flush', reject, () => {
        this.#disk.defer(() => {
          // Of a process that ended nobody waits any more: its promise never settles.
          if (!this.#disk.isAlive()) return;
          this.#flushStep('flush-done', reject, () => {
            this.#inode.flushUpTo(upTo);
            resolve();
          });
        });
      });
    });
  }

  flushNow(): void {
    this.#assertOpen();
    this.#flushStep('flush', raise, () => this.#inode.flushUpTo(this.#inode.sequence));
  }

  truncate(sizeBytes: number): void {
    this.#assertOpen();
    this.#disk.step('truncate', this.path);
    this.#inode.truncate(sizeBytes);
  }

  close(): void {
    this.#closed = true;
  }

  #readNow(target: Buffer, position: number): number {
    if (!this.#inode.isReadable(position, target.length)) throw diskError('read', this.path, systemError('EIO'));
    return this.#inode.read(target, position);
  }

  #flushStep(kind: 'flush' | 'flush-done', fail: (error: unknown) => void, then: () => void): void {
    try {
      this.#disk.step(kind, this.path);
    } catch (error) {
      if (error instanceof TLedgerError) this.#inode.forgetUnflushed();
      fail(error);
      return;
    }
    then();
  }

  #assertOpen(): void {
    assert(!this.#closed, () => `${this.path} is used after it was closed`);
  }
}

function raise(error: unknown): never {
  throw error;
}

/** What an operating system says, by its name. */
export function systemError(errno: string): Error {
  return Object.assign(new Error(errno), { code: errno });
}
