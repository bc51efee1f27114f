// Frees the room of large removed files a piece at a time. What removes the last name of a file, or closes it last, waits
// for all of its room: a gigabyte of ext4 takes a third of a second and more, in which neither the event loop turns nor a
// flush of another file ends. So a file that is removed is held open, cut from its end in pieces, and closed empty.
//
//   remove: hold -> unlink -> flush the directory -> nobody has it open -> cut, pause, cut, pause, ... -> close
//
// Only files without any name are cut, and only once this process does not read them any more: a backup may share one by
// a link, or hold one open. Other processes keep away from a directory that is in use (its lock). A process that ends
// meanwhile leaves the rest to the operating system, which has had it on its own list since the unlink.
import { close, fstatSync, ftruncate, openSync, statSync } from 'node:fs';
import { assert } from '../base/assert.ts';

/** 1.6 ms of ext4 on the machine that PERFORMANCE.md's figures are of; what is smaller is removed at once. */
export const PIECE_BYTES = 4 * 1024 * 1024;
/** Of the time that pieces take: the disk and the processors belong to the log. */
const PAUSE_FACTOR = 3;
/** Files that may wait, each with a descriptor; what is removed beyond them gives its room back at once. */
export const WAITING_MAX = 32;
/** What stat(2) counts in. */
const BLOCK_BYTES = 512;

/** Tells files apart, whatever their names: device and inode. */
export type FileKey = `${number}:${number}`;

interface RemovedFile {
  readonly descriptor: number;
  sizeBytes: number;
}

/** Files of this process: who has them open, and which are being freed. One for all disks, as files are. */
export class RemovedFiles {
  readonly #users = new Map<FileKey, number>();
  /** Removed, but still open elsewhere in this process. */
  readonly #held = new Map<FileKey, RemovedFile>();
  readonly #waiting: RemovedFile[] = [];
  #isFreeing = false;

  /** A file was opened. @returns what `left` wants when it is closed. */
  entered(descriptor: number): FileKey {
    const { dev, ino } = fstatSync(descriptor);
    const key = keyOf(dev, ino);
    this.#users.set(key, (this.#users.get(key) ?? 0) + 1);
    return key;
  }

  /** A file is about to be closed, and nobody uses this handle any more. */
  left(key: FileKey): void {
    const users = this.#users.get(key);
    assert(users !== undefined, 'what is closed was opened');
    if (users > 1) return void this.#users.set(key, users - 1);
    this.#users.delete(key);
    const file = this.#held.get(key);
    if (file === undefined) return;
    this.#held.delete(key);
    this.#wait(file);
  }

  /**
   * Takes hold of a large file whose name is about to go.
   * @returns lets go of it, to be called once: with whether the name has gone, durably. Null when the file is small, not
   * there, cannot be opened, or one too many: it goes with its name then.
   */
  hold(path: string): ((isGone: boolean) => void) | null {
    if (this.#waiting.length + this.#held.size >= WAITING_MAX) return null;
    try {
      if (statSync(path).size <= PIECE_BYTES) return null;
      const descriptor = openSync(path, 'r+');
      return (isGone) => this.#letGo(descriptor, isGone);
    } catch {
      return null;
    }
  }

  /** What is still to be freed on the file system of `path`. @throws Error of the file system. */
  pendingBytesAt(path: string): number {
    const { dev } = statSync(path);
    const stats = this.#waiting.map(({ descriptor }) => fstatSync(descriptor));
    return stats.reduce((sum, { dev: device, blocks }) => sum + (device === dev ? blocks * BLOCK_BYTES : 0), 0);
  }

  #letGo(descriptor: number, isGone: boolean): void {
    const { dev, ino, nlink, size } = fstatSync(descriptor);
    if (!isGone || nlink > 0) return close(descriptor);
    const file = { descriptor, sizeBytes: size };
    const key = keyOf(dev, ino);
    if (this.#users.has(key)) this.#held.set(key, file);
    else this.#wait(file);
  }

  #wait(file: RemovedFile): void {
    this.#waiting.push(file);
    if (!this.#isFreeing) void this.#work();
  }

  async #work(): Promise<void> {
    this.#isFreeing = true;
    for (let file = this.#waiting[0]; file !== undefined; file = this.#waiting[0]) {
      while (file.sizeBytes > 0) {
        const beganAtMs = performance.now();
        const sizeBytes = Math.max(0, file.sizeBytes - PIECE_BYTES);
        // What cannot be cut is freed by closing it.
        file.sizeBytes = (await isCut(file.descriptor, sizeBytes)) ? sizeBytes : 0;
        await pause(PAUSE_FACTOR * (performance.now() - beganAtMs));
      }
      this.#waiting.shift();
      close(file.descriptor);
    }
    this.#isFreeing = false;
  }
}

/** Of this process. */
export const removedFiles = new RemovedFiles();

const keyOf = (device: number, inode: number): FileKey => `${device}:${inode}`;

function isCut(descriptor: number, sizeBytes: number): Promise<boolean> {
  return new Promise((resolve) => ftruncate(descriptor, sizeBytes, (error) => resolve(error === null)));
}

/** Keeps no process alive. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
