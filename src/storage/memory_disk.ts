// The in-memory twin of real_disk.ts, for tests and simulation. It knows what is durable, so it can lose power; it
// counts its operations, so a test can crash or fail at each of them.
import { dirname } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import type { Disk, DiskFile, DiskSpace } from './disk.ts';
import { diskError } from './disk_error.ts';
import { type ChosenFate, MemoryInode, type UnflushedPiece } from './memory_file.ts';
import { MemoryFile, type Stepper, systemError } from './memory_handle.ts';

/** The steps that a simulated disk counts; `flush-done` ends an asynchronous flush. */
export type DiskOperationKind =
  | 'create'
  | 'read'
  | 'write'
  | 'truncate'
  | 'flush'
  | 'flush-done'
  | 'make-directory'
  | 'remove'
  | 'rename'
  | 'link'
  | 'flush-directory';

/** One step that the disk is about to take. Port calls that must be durable take two: the change and its flush. */
export interface DiskOperation {
  readonly kind: DiskOperationKind;
  readonly path: string;
  /** 1, 2, 3 … in the order of steps. */
  readonly number: number;
}

/** `short` writes the first half of the bytes and then fails with ENOSPC, as a disk that fills up does. */
export type DiskFailure = 'EIO' | 'ENOSPC' | 'short';

/**
 * What is left of unflushed changes after a power loss: nothing, everything, or an arbitrary subset by sector of 512
 * bytes (needs `random`).
 */
export type CrashMode = 'lost' | 'kept' | 'sectors';

type Entry = MemoryInode | 'directory';
type Names = Map<string, Entry>;
/** A change of names: `removes` goes, then `adds` is there. */
interface NameChange {
  readonly removes: string | null;
  readonly adds: readonly [path: string, entry: Entry] | null;
}

/** A power loss by choice; see `MemoryInode.settleUnflushed`. */
export interface ChosenCrash extends Omit<ChosenFate, 'fateOf'> {
  readonly mode: 'chosen';
  /** How many unflushed changes of names happened, the first ones. */
  readonly namesKept: number;
  readonly fateOf: (path: string, piece: UnflushedPiece) => number | Buffer;
}

/** A simulated disk. `crash` and `kill` invalidate all open files, as the end of their process does. */
export class MemoryDisk implements Disk {
  #names: Names = new Map<string, Entry>([
    ['/', 'directory'],
    ['.', 'directory'],
  ]);
  #durableNames: Names = new Map(this.#names);
  /** Changes of names that are not durable yet, oldest first. */
  #pendingNames: NameChange[] = [];
  #life = 1;
  #operationCount = 0;
  #failures = new Map<number, DiskFailure>();

  /** Called before each step; what it throws ends the step (throw to crash there). */
  onOperation: ((operation: DiskOperation) => void) | null = null;
  /** How an asynchronous flush comes to its end; by default in a microtask. Tests hold it back here. */
  deferFlush: (finish: () => void) => void = queueMicrotask;
  /** The file system that a path lies on: files cannot be linked from one to another. */
  fileSystemOf: (path: string) => string = () => '/';
  /** How an asynchronous read comes to its end, which is when it looks at the bytes; by default in a microtask. */
  deferRead: (finish: () => void) => void = queueMicrotask;

  /** The room of the file system that a path lies on; plenty by default. Tests make it scarce. */
  spaceOf: (path: string) => DiskSpace = () => ({ totalBytes: 2 ** 40, freeBytes: 2 ** 40, pendingBytes: 0 });

  /** Steps taken so far. */
  get operationCount(): number {
    return this.#operationCount;
  }

  /** Lets the `count`-th step from now (1 = the next) fail. */
  failAt(count: number, failure: DiskFailure): void {
    this.#failures.set(this.#operationCount + count, failure);
  }

  /** Ends the process that used the disk; everything written stays, flushed or not. */
  kill(): void {
    this.#life++;
    this.onOperation = null;
    this.#failures.clear();
  }

  /** Power loss: the process ends, and unflushed changes meet the fate that `mode` names. */
  crash(options: { readonly mode: CrashMode; readonly random?: Random } | ChosenCrash): void {
    this.kill();
    if (options.mode === 'chosen') return this.#crashByChoice(options);
    const inodes = new Set([...this.#names.values(), ...this.#durableNames.values()]);
    const { mode, random } = options;
    assert(mode !== 'sectors' || random !== undefined, 'a crash by sectors needs a source of randomness');
    const held = mode === 'lost' ? 0 : mode === 'kept' ? this.#pendingNames.length : undefined;
    const count = held ?? random!.between(0, this.#pendingNames.length);
    this.#settleNames(count);
    for (const inode of inodes) {
      if (inode === 'directory') continue;
      if (mode === 'lost') inode.loseUnflushed();
      else if (mode === 'kept') inode.keepUnflushed();
      else inode.tearUnflushed(random!);
    }
  }

  /** An independent disk in the same state, with no open files, hooks or planned failures; also in the middle of a call. */
  clone(): MemoryDisk {
    const copy = new MemoryDisk();
    const inodes = new Map<Entry, Entry>([['directory', 'directory']]);
    for (const entry of [...this.#names.values(), ...this.#durableNames.values()]) {
      if (entry !== 'directory' && !inodes.has(entry)) inodes.set(entry, entry.clone());
    }
    copy.#names = new Map([...this.#names].map(([path, entry]) => [path, inodes.get(entry)!]));
    copy.#durableNames = new Map([...this.#durableNames].map(([path, entry]) => [path, inodes.get(entry)!]));
    copy.#pendingNames = this.#pendingNames.map(({ removes, adds }) => {
      return { removes, adds: adds === null ? null : [adds[0], inodes.get(adds[1]) ?? adds[1]] };
    });
    return copy;
  }

  /** All bytes of a file as programs see them. */
  bytes(path: string): Buffer {
    const inode = this.#inode(path, 'read');
    const bytes = Buffer.alloc(inode.sizeBytes);
    inode.read(bytes, 0);
    return bytes;
  }

  /** Overwrites bytes durably without counting as a step: damage, or a state made by hand. */
  corrupt(path: string, position: number, bytes: Buffer): void {
    this.#inode(path, 'read').corrupt(bytes, position);
  }

  /** Flips bit 0 … 7 of a byte, for good, without counting as a step. */
  flip(path: string, position: number, bit: number): void {
    const inode = this.#inode(path, 'read');
    assert(position >= 0 && position < inode.sizeBytes, () => `${path} has no byte ${position}`);
    inode.flip(position, bit);
  }

  /** A file vanishes, for good, without counting as a step. Who has it open keeps what nobody else will see. */
  lose(path: string): void {
    this.#inode(path, 'remove');
    for (const names of [this.#names, this.#durableNames]) names.delete(path);
    // No change of its name that is under way may bring it back.
    this.#pendingNames = this.#pendingNames.map(({ removes, adds }) => {
      return { removes, adds: adds?.[0] === path ? null : adds };
    });
  }

  /** Reads that touch the sector at `position` fail with EIO until it is written. */
  breakReads(path: string, position: number): void {
    this.#inode(path, 'read').breakReads(position);
  }

  /**
   * A stored byte to damage, each as likely as any other; null if there is none. The zeros that a preallocated segment
   * ends with are not counted.
   * @param fits only files whose path it accepts are looked at; all by default.
   */
  randomStoredByte(
    random: Random,
    fits: (path: string) => boolean = () => true,
  ): { readonly path: string; readonly position: number } | null {
    const ranges = this.files().flatMap((path) =>
      fits(path)
        ? this.#inode(path, 'read')
            .usedRanges()
            .map((range) => ({ path, ...range }))
        : [],
    );
    const total = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
    if (total === 0) return null;
    let left = random.between(0, total - 1);
    for (const { path, start, end } of ranges) {
      if (left < end - start) return { path, position: start + left };
      left -= end - start;
    }
    return null;
  }

  /** Paths of all files, sorted. */
  files(): string[] {
    return [...this.#names].flatMap(([path, entry]) => (entry === 'directory' ? [] : [path])).sort();
  }

  /** What a power loss now would put at risk: unflushed writes of each file, and changes of names. */
  unflushed(): {
    readonly names: number;
    readonly writes: readonly { readonly path: string; readonly position: number; readonly sizeBytes: number }[];
  } {
    const writes = [...new Map([...this.#durableNames, ...this.#names])].flatMap(([path, entry]) =>
      entry === 'directory' ? [] : entry.unflushedWrites().map((write) => ({ path, ...write })),
    );
    return { names: this.#pendingNames.length, writes };
  }

  /** Whether any change would be at risk in a power loss now. */
  isDurable(): boolean {
    const dirty = [...this.#names.values()].some((entry) => entry !== 'directory' && entry.unflushedCount > 0);
    return !dirty && this.#pendingNames.length === 0;
  }

  open(path: string, options: { readonly create?: boolean } = {}): DiskFile {
    const found = this.#names.get(path);
    if (found === undefined && options.create === true) {
      this.#step('create', path, 'open');
      this.#requireDirectory(dirname(path), path, 'open');
      const inode = new MemoryInode();
      this.#change({ removes: null, adds: [path, inode] });
    }
    if (options.create === true) this.#flushNames(path);
    return new MemoryFile(path, this.#inode(path, 'open'), this.#stepper());
  }

  exists(path: string): boolean {
    return this.#names.has(path);
  }

  list(path: string): string[] {
    const names = [];
    for (const known of this.#names.keys()) {
      if (known !== path && dirname(known) === path) names.push(known.slice(known.lastIndexOf('/') + 1));
    }
    return names.sort();
  }

  makeDirectory(path: string): void {
    const missing: string[] = [];
    for (let at = path; !this.#names.has(at); at = dirname(at)) missing.unshift(at);
    this.#requireDirectory(missing.length > 0 ? dirname(missing[0]!) : path, path, 'make directory');
    for (const directory of missing) {
      this.#step('make-directory', directory, 'make directory');
      this.#change({ removes: null, adds: [directory, 'directory'] });
    }
    this.#flushNames(path);
  }

  remove(path: string): void {
    if (!this.#names.has(path)) return;
    this.#inode(path, 'remove');
    this.#step('remove', path, 'remove');
    this.#change({ removes: path, adds: null });
    this.#flushNames(path);
  }

  rename(from: string, to: string): void {
    const inode = this.#inode(from, 'rename');
    this.#requireDirectory(dirname(to), from, 'rename');
    this.#step('rename', from, 'rename');
    this.#change({ removes: from, adds: [to, inode] });
    this.#flushNames(to);
  }

  space(path: string): DiskSpace {
    assert(this.exists(path), () => `${path} is there`);
    return this.spaceOf(path);
  }

  link(from: string, to: string): boolean {
    const inode = this.#inode(from, 'link');
    this.#requireDirectory(dirname(to), from, 'link');
    if (this.#names.has(to)) throw diskError('link', from, systemError('EEXIST'));
    if (this.fileSystemOf(from) !== this.fileSystemOf(to)) return false;
    this.#step('link', to, 'link');
    this.#change({ removes: null, adds: [to, inode] });
    this.#flushNames(to);
    return true;
  }

  #change(change: NameChange): void {
    applyName(this.#names, change);
    this.#pendingNames.push(change);
  }

  #settleNames(kept: number): void {
    for (const change of this.#pendingNames.slice(0, kept)) applyName(this.#durableNames, change);
    this.#pendingNames = [];
    this.#names = new Map(this.#durableNames);
  }

  #crashByChoice({ sectorBytes, sizesKept, namesKept, fateOf }: ChosenCrash): void {
    const paths = new Map([...this.#durableNames, ...this.#names].map(([path, entry]) => [entry, path]));
    this.#settleNames(namesKept);
    for (const [inode, path] of paths) {
      if (inode === 'directory') continue;
      inode.settleUnflushed({ sectorBytes, sizesKept, fateOf: (piece) => fateOf(path, piece) });
    }
  }

  #flushNames(path: string): void {
    this.#step('flush-directory', dirname(path), 'flush directory');
    for (const change of this.#pendingNames) applyName(this.#durableNames, change);
    this.#pendingNames = [];
  }

  #inode(path: string, operation: string): MemoryInode {
    const entry = this.#names.get(path);
    if (entry === undefined) throw diskError(operation, path, systemError('ENOENT'));
    if (entry === 'directory') throw diskError(operation, path, systemError('EISDIR'));
    return entry;
  }

  #requireDirectory(directory: string, path: string, operation: string): void {
    const entry = this.#names.get(directory);
    if (entry === undefined) throw diskError(operation, path, systemError('ENOENT'));
    if (entry !== 'directory') throw diskError(operation, path, systemError('ENOTDIR'));
  }

  /** @throws what the hook throws, or the planned failure; `short` is returned for writes to act on. */
  #step(kind: DiskOperationKind, path: string, verb: string): 'short' | null {
    const number = ++this.#operationCount;
    this.onOperation?.({ kind, path, number });
    const failure = this.#failures.get(number);
    if (failure === undefined) return null;
    if (failure === 'short' && kind === 'write') return 'short';
    throw diskError(verb, path, systemError(failure === 'short' ? 'ENOSPC' : failure));
  }

  #stepper(): Stepper {
    const life = this.#life;
    return {
      isAlive: () => this.#life === life,
      step: (kind, path) => {
        assert(this.#life === life, () => `${path} is used by a process that has ended`);
        return this.#step(kind, path, kind);
      },
      defer: (finish) => this.deferFlush(finish),
      deferRead: (finish) => this.deferRead(finish),
    };
  }
}

function applyName(names: Names, { removes, adds }: NameChange): void {
  if (removes !== null) names.delete(removes);
  if (adds !== null) names.set(...adds);
}
