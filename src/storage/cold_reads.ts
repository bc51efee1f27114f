// Reading old parts of the log for consumers: in large aligned chunks, without blocking, one chunk ahead of whoever reads
// on, through a cache of its own, so that nothing that was appended last ever has to make room.
//
//   segment  |  chunk  |  chunk  |  chunk  | ...            aligned to the segment's start
//   reader          ^ asks for bytes here
//   cache              [ held  ] [ read  ] [ read ahead ]   the reader came from the chunk before
//
// What is read is not verified here: whoever takes records out of it checks them (broker/pull.ts does). Only committed
// bytes may be asked for. A chunk may hold others behind them, up to where the log ended when it was read: a truncation
// drops it.
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { ColdGate, ColdPace } from './cold_gate.ts';
import { DamageError } from './damage.ts';
import type { LogTip } from './log_tip.ts';
import type { Segment, Segments } from './segment.ts';
import type { TailCache } from './tail_cache.ts';

/** Bounds of reading old data. */
export interface ColdLimits {
  /** Bytes read at a time. */
  readonly chunkBytes: number;
  /** Bytes of chunks kept; at least four chunks. */
  readonly cacheBytesMax: number;
  /** Reads of the disk under way at a time. */
  readonly readsMax: number;
  /** Bytes a second for all readers of old data together while records are being appended (`ColdPace`); 0: no bound. */
  readonly bytesPerSecond: number;
}

/** What holds unless said otherwise. */
export const defaultColdLimits: ColdLimits = {
  chunkBytes: 512 * 1024,
  cacheBytesMax: 32 * 1024 * 1024,
  readsMax: 2,
  bytesPerSecond: 16 * 1024 * 1024,
};

/** Buffers kept for chunks to come: making and freeing them costs more than reading into them. */
const SPARE_BUFFERS_MAX = 4;

/** The log for readers that must not slow it down. */
export interface ColdLog {
  /** Where the log ends. */
  readonly endPosition: PhysicalOffset;
  /** Bytes of one segment that are in memory because they were appended a short while ago; null when they are not. Not to be changed. */
  held(position: PhysicalOffset, sizeBytes: number): Buffer | null;
  /**
   * Fills `target` with committed bytes of one segment, from memory or the disk: at once (then undefined) or by the time
   * the promise resolves.
   * @throws TLedgerError, at once or later: DATA_CORRUPTED when no segment holds them (any more); STORAGE_FAILED,
   * OVERLOADED, SHUTTING_DOWN.
   */
  fill(position: PhysicalOffset, target: Buffer): Promise<void> | undefined;
  /** Resolves when so many bytes from `position` on may be read and sent; at once unless they are old. */
  pace(position: PhysicalOffset, sizeBytes: number): Promise<void> | undefined;
  /** Does other reading of old data within the same bound. */
  within<T>(work: () => Promise<T>): Promise<T>;
}

/** The parts of the log that are read. */
interface Parts {
  readonly segments: Segments;
  readonly cache: TailCache;
  readonly tip: LogTip;
}

/** Bytes `[start, end)` of the log, read or being read. */
interface Chunk {
  readonly start: number;
  readonly end: number;
  read: Promise<void>;
  /** Where they are, once the read has begun. */
  buffer: Buffer | null;
  isRead: boolean;
  /** Still to be found by who looks for it. */
  isKept: boolean;
  /** Who waits for it or is reading it: the buffer must not be used again before they are done. */
  users: number;
}

/** See the head of the file. */
export class ColdReads implements ColdLog {
  readonly #parts: Parts;
  readonly #limits: ColdLimits;
  readonly #gate: ColdGate;
  readonly #pace: ColdPace;
  /** By their start, the least recently used one first. */
  readonly #chunks = new Map<number, Chunk>();
  #cachedBytes = 0;
  /** Buffers of chunks that were given up, all of the same size. */
  readonly #spare: Buffer[] = [];

  /** @param parts of an open log: `tip` moves. */
  constructor(parts: Parts, limits: ColdLimits, clock: Clock) {
    assert(limits.cacheBytesMax >= 4 * limits.chunkBytes, 'the cache holds what two readers are at');
    this.#parts = parts;
    this.#limits = limits;
    this.#gate = new ColdGate(limits.readsMax);
    const endPosition = () => this.endPosition;
    this.#pace = new ColdPace({ clock, bytesPerSecond: limits.bytesPerSecond, endPosition });
  }

  get endPosition(): PhysicalOffset {
    return this.#parts.tip.end;
  }

  /** Bytes of chunks that are kept or being read. */
  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  held(position: PhysicalOffset, sizeBytes: number): Buffer | null {
    return this.#parts.cache.bytesAt(position, sizeBytes);
  }

  fill(position: PhysicalOffset, target: Buffer): Promise<void> | undefined {
    const end = position + target.length;
    // Who asks has the place from derived files, which may be wrong.
    if (end > this.endPosition) {
      throw new TLedgerError(
        'DATA_CORRUPTED',
        `${target.length} bytes at position ${position} lie behind the log's end`,
      );
    }
    const held = this.held(position, target.length);
    if (held !== null) held.copy(target);
    let done = held === null ? 0 : target.length;
    while (done < target.length) {
      const chunk = this.#chunkFor(position + done, end);
      if (!chunk.isRead) return this.#fillLater(chunk, position, target, done);
      done += copyFrom(chunk, position + done, target, done);
    }
    return undefined;
  }

  pace(position: PhysicalOffset, sizeBytes: number): Promise<void> | undefined {
    return this.#pace.take(position, sizeBytes);
  }

  within<T>(work: () => Promise<T>): Promise<T> {
    return this.#gate.run(work);
  }

  /** What lies behind `end` was removed from the log, and other bytes may come in its place. */
  truncateAfter(end: PhysicalOffset): void {
    for (const chunk of [...this.#chunks.values()]) if (chunk.end > end) this.#drop(chunk);
  }

  /** What lies before the log's first segment is not read any more. */
  cut(): void {
    for (const chunk of [...this.#chunks.values()]) if (chunk.start < this.#parts.segments.start) this.#drop(chunk);
  }

  /** The log is about to be closed: what waits is refused, and what is under way will not be kept. */
  close(): void {
    this.#gate.close();
    this.truncateAfter(physicalOffset(0));
  }

  /** Goes on with `target[done, …)` when `chunk` is read. */
  async #fillLater(chunk: Chunk, position: PhysicalOffset, target: Buffer, done: number): Promise<void> {
    chunk.users++;
    let filled = done;
    try {
      await chunk.read;
      filled += copyFrom(chunk, position + filled, target, filled);
    } finally {
      chunk.users--;
      this.#reuse(chunk);
    }
    if (filled < target.length) await this.fill(physicalOffset(position + filled), target.subarray(filled));
  }

  /** The chunk that holds the byte at `position`, and all up to `end` that belong into it. */
  #chunkFor(position: number, end: number): Chunk {
    const segment = this.#parts.segments.at(physicalOffset(position));
    const start = this.#chunkStart(segment, position);
    const to = Math.min(end, this.#chunkEnd(segment, start));
    let chunk = this.#chunks.get(start);
    if (chunk === undefined || chunk.end < to) {
      if (chunk !== undefined) this.#drop(chunk);
      chunk = this.#load(segment, start);
    } else {
      this.#chunks.delete(start);
      this.#chunks.set(start, chunk);
    }
    this.#readAhead(segment, chunk);
    return chunk;
  }

  /** Reads the next chunk, too, for whoever came here from the chunk before; not while others wait for the disk. */
  #readAhead(segment: Segment, chunk: Chunk): void {
    const { segments, cache } = this.#parts;
    const next = this.#chunkEnd(segment, chunk.start);
    // Before the tail's cache begins: what is in memory need not be read.
    const isOld = next + this.#limits.chunkBytes <= Math.min(this.endPosition, cache.start ?? this.endPosition);
    if (!isOld || chunk.end !== next || !this.#gate.isFree || this.#chunks.has(next)) return;
    const before = segments.get(segments.numberAt(chunk.start - 1));
    const isOn = before !== undefined && this.#chunks.has(this.#chunkStart(before, chunk.start - 1));
    // Its failure is told to whoever asks for it.
    if (isOn) this.#load(segments.at(physicalOffset(next)), next);
  }

  #load(segment: Segment, start: number): Chunk {
    const end = Math.min(this.#chunkEnd(segment, start), this.endPosition);
    const chunk: Chunk = { start, end, read: Promise.resolve(), buffer: null, isRead: false, isKept: true, users: 0 };
    this.#chunks.set(start, chunk);
    this.#cachedBytes += end - start;
    for (const oldest of this.#chunks.values()) {
      if (this.#cachedBytes <= this.#limits.cacheBytesMax) break;
      this.#drop(oldest);
    }
    chunk.read = this.#gate.run(() => this.#readFile(chunk));
    chunk.read.catch(() => this.#drop(chunk));
    return chunk;
  }

  /** The buffer is taken only now that the read begins: who waits for a turn costs nothing. */
  async #readFile(chunk: Chunk): Promise<void> {
    const { file, start, firstIndex } = this.#parts.segments.at(physicalOffset(chunk.start));
    chunk.buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#limits.chunkBytes);
    const wanted = chunk.buffer.subarray(0, chunk.end - chunk.start);
    chunk.users++;
    try {
      const count = await file.readAsync(wanted, chunk.start - start);
      chunk.isRead = count === wanted.length;
      if (chunk.isRead) return;
      const position = physicalOffset(chunk.start + count);
      const reason = 'the file is too short';
      throw new DamageError({ kind: 'log', file: file.path, position, index: firstIndex, reason });
    } finally {
      chunk.users--;
      this.#reuse(chunk);
    }
  }

  #drop(chunk: Chunk): void {
    if (!chunk.isKept) return;
    chunk.isKept = false;
    this.#chunks.delete(chunk.start);
    this.#cachedBytes -= chunk.end - chunk.start;
    this.#reuse(chunk);
  }

  /** Takes the buffer of a chunk that nobody needs any more for the next one. */
  #reuse(chunk: Chunk): void {
    if (chunk.isKept || chunk.users > 0 || chunk.buffer === null) return;
    this.#spare.push(chunk.buffer);
    chunk.buffer = null;
    if (this.#spare.length > SPARE_BUFFERS_MAX) this.#spare.pop();
  }

  #chunkStart(segment: Segment, position: number): number {
    return position - ((position - segment.start) % this.#limits.chunkBytes);
  }

  #chunkEnd(segment: Segment, start: number): number {
    return Math.min(start + this.#limits.chunkBytes, segment.end);
  }
}

/** Copies what `chunk` holds from `position` on into `target[at, …)`. @returns how many bytes. */
function copyFrom(chunk: Chunk, position: number, target: Buffer, at: number): number {
  assert(chunk.isRead && chunk.buffer !== null, 'only a chunk that is read is copied from');
  const count = Math.min(chunk.end - position, target.length - at);
  return chunk.buffer.copy(target, at, position - chunk.start, position - chunk.start + count);
}
