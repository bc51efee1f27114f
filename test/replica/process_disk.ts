// A simulated disk as one process sees it: what goes on in a process that is gone reaches it no more.
import type { Disk, DiskFile, DiskSpace } from '../../src/storage/disk.ts';

/** What happens to whoever goes on in a process that is gone. */
export class ProcessGone extends Error {
  override readonly name = 'ProcessGone';
}

/** See the head of the file. Open files of the process are the disk's own care. */
export class ProcessDisk implements Disk {
  readonly #disk: Disk;
  readonly #isAlive: () => boolean;

  constructor(disk: Disk, isAlive: () => boolean) {
    this.#disk = disk;
    this.#isAlive = isAlive;
  }

  open(path: string, options?: { readonly create?: boolean }): DiskFile {
    return this.#alive().open(path, options);
  }

  exists(path: string): boolean {
    return this.#alive().exists(path);
  }

  list(path: string): string[] {
    return this.#alive().list(path);
  }

  makeDirectory(path: string): void {
    this.#alive().makeDirectory(path);
  }

  remove(path: string): void {
    this.#alive().remove(path);
  }

  rename(from: string, to: string): void {
    this.#alive().rename(from, to);
  }

  link(from: string, to: string): boolean {
    return this.#alive().link(from, to);
  }

  space(path: string): DiskSpace {
    return this.#alive().space(path);
  }

  #alive(): Disk {
    if (!this.#isAlive()) throw new ProcessGone('a process that is gone uses its disk');
    return this.#disk;
  }
}
