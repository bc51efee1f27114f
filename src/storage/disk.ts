// The disk as a port. Storage code reaches files through this interface only, so that the same code runs on a real
// disk and on a simulated one that crashes, tears and fails on command.

/**
 * An open file. Reads and writes are synchronous: they go to the page cache and take microseconds; only flushing waits
 * for the device. Who reads what may have left the page cache, and much of it, takes `readAsync`. Any thrown error is final for the file: its owner stops using it and never retries a flush, because
 * after a failed fdatasync the page cache may no longer hold what was written.
 */
export interface DiskFile {
  readonly path: string;
  sizeBytes(): number;
  /** Fills `target` from `position` on; returns the number of bytes read, less than asked for only at the end of file. */
  read(target: Buffer, position: number): number;
  /**
   * As `read`, without blocking: for large and cold reads. `target` belongs to the file until the promise settles; of what
   * is written meanwhile any part may be seen. A file that is closed meanwhile is closed when the reads under way are done.
   */
  readAsync(target: Buffer, position: number): Promise<number>;
  /** Writes all of `bytes` at `position`, growing the file if need be. The buffer stays the caller's. */
  write(bytes: Buffer, position: number): void;
  /** fdatasync without blocking; what was written before the call is durable when it resolves. */
  flush(): Promise<void>;
  /** fdatasync, blocking. For the few bytes that a vote waits for. */
  flushNow(): void;
  /** Cuts or extends (sparsely) to `sizeBytes`. */
  truncate(sizeBytes: number): void;
  close(): void;
}

/** Room of a file system. */
export interface DiskSpace {
  readonly totalBytes: number;
  /** What this process may take now. */
  readonly freeBytes: number;
  /** What it will be able to take besides, as removed files of this process are still giving their room back. */
  readonly pendingBytes: number;
}

/** Directories and files; see `DiskFile` for what is durable when. */
export interface Disk {
  /** Opens for reading and writing; with `create` a missing file is made (durable in its directory before it returns). */
  open(path: string, options?: { readonly create?: boolean }): DiskFile;
  exists(path: string): boolean;
  /** Names in a directory, sorted; empty when the directory is missing. */
  list(path: string): string[];
  /** Makes a directory and its missing parents, durably. */
  makeDirectory(path: string): void;
  /** Removes a file, durably; a missing file is not an error. Its room may come back a little later. */
  remove(path: string): void;
  /** Renames a file over another, durably. */
  rename(from: string, to: string): void;
  /**
   * Makes `to`, which must not exist, another name of the file `from`, durably: the same bytes under two names, whichever
   * of them is written to, until the last name is removed.
   * @returns false when these two places cannot share a file (another file system, or one that has no such links).
   */
  link(from: string, to: string): boolean;
  /** Room of the file system that a path lies on, which must be there. */
  space(path: string): DiskSpace;
}
