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
  /** Bytes a second for all readers together while records are being appended; 0: no bound. */
  readonly bytesPerSecond: number;
}

/** What holds unless said otherwise. */
export const defaultColdLimits: ColdLimits = {
  chunkBytes: 512 * 1024,
  cacheBytesMax: 32 * 1024 * 1024,
  readsMax: 2,
  bytesPerSecond: 16 * 1024 * 1024,
};

/** The log for readers that must not slow it down. */
export interface ColdLog {
  /** Where the log ends. */
  readonly endPosition: PhysicalOffset;
  /** Bytes that are in memory because they were appended a short while ago; null when they are not. Not to be changed. */
  held(position: PhysicalOffset, sizeBytes: number): Buffer | null;
  /**
   * Committed bytes of one segment, from memory or the disk. Not to be changed.
   * @throws TLedgerError DATA_CORRUPTED when no segment holds them (any more); STORAGE_FAILED, OVERLOADED, SHUTTING_DOWN.
   */
  read(position: PhysicalOffset, sizeBytes: number): Promise<Buffer>;
  /** Resolves when so many bytes of old data may be read and sent. */
  pace(sizeBytes: number): Promise<void> | undefined;
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
  readonly bytes: Promise<Buffer>;
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

  async read(position: PhysicalOffset, sizeBytes: number): Promise<Buffer> {
    const end = position + sizeBytes;
    // Who asks has the place from derived files, which may be wrong.
    if (end > this.endPosition) {
      throw new TLedgerError('DATA_CORRUPTED', `${sizeBytes} bytes at position ${position} lie behind the log's end`);
    }
    const held = this.held(position, sizeBytes);
    if (held !== null) return held;
    const first = await this.#part(position, end);
    if (first.length === sizeBytes) return first;
    const bytes = Buffer.allocUnsafe(sizeBytes);
    let filled = first.copy(bytes);
    while (filled < sizeBytes) filled += (await this.#part(position + filled, end)).copy(bytes, filled);
    return bytes;
  }

  pace(sizeBytes: number): Promise<void> | undefined {
    return this.#pace.take(sizeBytes);
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
    this.#chunks.clear();
    this.#cachedBytes = 0;
  }

  /** The bytes from `position` on, up to `end` or the end of their chunk. */
  async #part(position: number, end: number): Promise<Buffer> {
    const segment = this.#parts.segments.at(physicalOffset(position));
    const start = this.#chunkStart(segment, position);
    const to = Math.min(end, this.#chunkEnd(segment, start));
    let chunk = this.#chunks.get(start);
    if (chunk === undefined || chunk.end < to) {
      if (chunk !== undefined) this.#drop(chunk);
      chunk = this.#load(segment, start);
    }
    this.#touch(chunk);
    this.#readAhead(segment, chunk);
    return (await chunk.bytes).subarray(position - start, to - start);
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
    const bytes = this.#gate.run(() => this.#readFile(start, end));
    const chunk: Chunk = { start, end, bytes };
    this.#chunks.set(start, chunk);
    this.#cachedBytes += end - start;
    bytes.catch(() => this.#drop(chunk));
    for (const oldest of this.#chunks.values()) {
      if (this.#cachedBytes <= this.#limits.cacheBytesMax) break;
      this.#drop(oldest);
    }
    return chunk;
  }

  /** The buffer is made only now that the read begins: who waits for a turn costs nothing. */
  async #readFile(start: number, end: number): Promise<Buffer> {
    const { file, start: segmentStart, firstIndex } = this.#parts.segments.at(physicalOffset(start));
    const buffer = Buffer.allocUnsafeSlow(end - start);
    const count = await file.readAsync(buffer, start - segmentStart);
    if (count === buffer.length) return buffer;
    const position = physicalOffset(start + count);
    const reason = 'the file is too short';
    throw new DamageError({ kind: 'log', file: file.path, position, index: firstIndex, reason });
  }

  #touch(chunk: Chunk): void {
    if (this.#chunks.get(chunk.start) !== chunk) return;
    this.#chunks.delete(chunk.start);
    this.#chunks.set(chunk.start, chunk);
  }

  #drop(chunk: Chunk): void {
    if (this.#chunks.get(chunk.start) !== chunk) return;
    this.#chunks.delete(chunk.start);
    this.#cachedBytes -= chunk.end - chunk.start;
  }

  #chunkStart(segment: Segment, position: number): number {
    return position - ((position - segment.start) % this.#limits.chunkBytes);
  }

  #chunkEnd(segment: Segment, start: number): number {
    return Math.min(start + this.#limits.chunkBytes, segment.end);
  }
}
