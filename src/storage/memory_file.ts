// A simulated file's two faces: what programs see, and what would be left if the power went now.
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import { SparseBytes } from './sparse_bytes.ts';

/** The unit a device writes as a whole; a lost write may lose any subset of its sectors. */
export const SECTOR_BYTES = 512;

type Change =
  | { readonly kind: 'write'; readonly sequence: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly sequence: number; readonly sizeBytes: number };

/** What a device takes or loses as a whole of a write that was not flushed. */
export interface UnflushedPiece {
  /** Which of the file's unflushed writes it is of, from 0 on. */
  readonly write: number;
  /** Where in the file it begins. */
  readonly position: number;
  readonly sizeBytes: number;
  /** Whether anything but zeros is durable there: a device that writes a sector as a whole leaves that or the new bytes. */
  readonly overwrites: boolean;
}

/** What is left of a piece: so many of its bytes from the beginning on, or other bytes of the same length in its place. */
export type PieceFate = number | Buffer;

/** A power loss by choice. */
export interface ChosenFate {
  /** Writes are cut into pieces at the multiples of this. */
  readonly sectorBytes: number;
  /** How many unflushed changes of size happened, the first ones, in each file; all the others did not. */
  readonly sizesKept: number;
  fateOf(piece: UnflushedPiece): PieceFate;
}

/** The contents of one file, apart from its name: `visible` now, `durable` after a power loss, and the way between. */
export class MemoryInode {
  #visible = new SparseBytes();
  #durable = new SparseBytes();
  /** Changes not flushed yet, oldest first. */
  #pending: Change[] = [];
  #sequence = 0;
  /** Sectors that cannot be read until they are written. */
  readonly #unreadable = new Set<number>();

  get sizeBytes(): number {
    return this.#visible.sizeBytes;
  }

  get unflushedCount(): number {
    return this.#pending.length;
  }

  /** Marks the present, for `flushUpTo`. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Whether the device answers for all of `[position, position + sizeBytes)`. */
  isReadable(position: number, sizeBytes: number): boolean {
    if (this.#unreadable.size === 0) return true;
    const last = sectorOf(position + sizeBytes - 1);
    for (let sector = sectorOf(position); sector <= last; sector++) if (this.#unreadable.has(sector)) return false;
    return true;
  }

  read(target: Buffer, position: number): number {
    return this.#visible.read(target, position);
  }

  write(bytes: Buffer, position: number): void {
    const last = sectorOf(position + bytes.length - 1);
    // A device puts a sector that is written anew somewhere else.
    for (const sector of this.#unreadable) {
      if (sector >= sectorOf(position) && sector <= last) this.#unreadable.delete(sector);
    }
    this.#visible.write(bytes, position);
    this.#pending.push({ kind: 'write', sequence: ++this.#sequence, position, bytes: Buffer.from(bytes) });
  }

  truncate(sizeBytes: number): void {
    this.#visible.truncate(sizeBytes);
    this.#pending.push({ kind: 'truncate', sequence: ++this.#sequence, sizeBytes });
  }

  /** Makes durable what was changed up to `sequence`. */
  flushUpTo(sequence: number): void {
    let done = 0;
    for (; done < this.#pending.length && this.#pending[done]!.sequence <= sequence; done++) {
      apply(this.#durable, this.#pending[done]!);
    }
    this.#pending.splice(0, done);
  }

  /** A failed flush: the cache forgets that these pages were dirty, so no later flush writes them (as Linux does). */
  forgetUnflushed(): void {
    this.#pending = [];
  }

  /** After a power loss nothing of what was not flushed is left. */
  loseUnflushed(): void {
    this.#pending = [];
    this.#visible = this.#durable.clone();
  }

  /** After a power loss everything had reached the device by luck. */
  keepUnflushed(): void {
    this.#pending = [];
    this.#durable = this.#visible.clone();
  }

  /**
   * After a power loss an arbitrary subset of the sectors written had reached the device. Changes of size are ordered
   * by the file system's journal, so those that happened are the first ones.
   */
  tearUnflushed(random: Random): void {
    let sizesHold = true;
    for (const change of this.#pending) {
      if (change.kind === 'truncate') {
        sizesHold &&= random.next() < 0.5;
        if (sizesHold) apply(this.#durable, change);
      } else {
        tear(this.#durable, change.bytes, change.position, random);
      }
    }
    this.loseUnflushed();
  }

  /** Unflushed writes, oldest first. */
  unflushedWrites(): readonly { readonly position: number; readonly sizeBytes: number }[] {
    return this.#pending.flatMap((change) =>
      change.kind === 'write' ? [{ position: change.position, sizeBytes: change.bytes.length }] : [],
    );
  }

  /** After a power loss exactly that is left which was chosen. */
  settleUnflushed({ sectorBytes, sizesKept, fateOf }: ChosenFate): void {
    let [write, size] = [0, 0];
    for (const change of this.#pending) {
      if (change.kind === 'truncate') {
        if (size++ < sizesKept) apply(this.#durable, change);
        continue;
      }
      for (const { at, end } of piecesOf(change.position, change.bytes.length, sectorBytes)) {
        const position = change.position + at;
        const before = Buffer.alloc(end - at);
        this.#durable.read(before, position);
        const fate = fateOf({ write, position, sizeBytes: end - at, overwrites: before.some((byte) => byte !== 0) });
        const left = typeof fate === 'number' ? change.bytes.subarray(at, at + fate) : fate;
        assert(left.length <= end - at, 'a piece stays in its place');
        if (left.length > 0) this.#durable.write(left, position);
      }
      write++;
    }
    this.loseUnflushed();
  }

  /** Changes bytes behind everybody's back, as a failing device would. */
  corrupt(bytes: Buffer, position: number): void {
    this.#visible.write(bytes, position);
    this.#durable.write(bytes, position);
  }

  /** Flips a bit of a stored byte, in what programs see, in what a power loss would leave and on the way there. */
  flip(position: number, bit: number): void {
    const flipIn = (bytes: Buffer, at: number): void => {
      bytes[at] = bytes[at]! ^ (1 << bit);
    };
    const byte = Buffer.alloc(1);
    for (const bytes of [this.#visible, this.#durable]) {
      if (bytes.read(byte, position) === 0) continue;
      flipIn(byte, 0);
      bytes.write(byte, position);
    }
    this.#pending = this.#pending.map((change) => {
      if (change.kind === 'truncate' || position < change.position) return change;
      if (position >= change.position + change.bytes.length) return change;
      const bytes = Buffer.from(change.bytes);
      flipIn(bytes, position - change.position);
      return { ...change, bytes };
    });
  }

  /** From now on the sector at `position` cannot be read, until it is written. */
  breakReads(position: number): void {
    this.#unreadable.add(sectorOf(position));
  }

  /** Where bytes other than zero lie, as ranges; zeros between two of them may be included. */
  usedRanges(): { readonly start: number; readonly end: number }[] {
    return this.#visible.usedRanges();
  }

  clone(): MemoryInode {
    const copy = new MemoryInode();
    copy.#visible = this.#visible.clone();
    copy.#durable = this.#durable.clone();
    copy.#pending = [...this.#pending];
    copy.#sequence = this.#sequence;
    for (const sector of this.#unreadable) copy.#unreadable.add(sector);
    return copy;
  }
}

function sectorOf(position: number): number {
  return Math.floor(position / SECTOR_BYTES);
}

function apply(target: SparseBytes, change: Change): void {
  if (change.kind === 'write') target.write(change.bytes, change.position);
  else target.truncate(change.sizeBytes);
}

function* piecesOf(position: number, sizeBytes: number, unit: number): Generator<{ at: number; end: number }> {
  for (let at = 0; at < sizeBytes; ) {
    const end = Math.min(sizeBytes, at + unit - ((position + at) % unit));
    yield { at, end };
    at = end;
  }
}

function tear(target: SparseBytes, bytes: Buffer, position: number, random: Random): void {
  // Most crashes lose a tail, some lose or keep all, some leave holes: each file draws how dense its losses are.
  const keepChance = [0, 0.5, 0.9, 1][random.between(0, 3)]!;
  for (const { at, end } of piecesOf(position, bytes.length, SECTOR_BYTES)) {
    if (random.next() < keepChance) target.write(bytes.subarray(at, end), position + at);
  }
}
