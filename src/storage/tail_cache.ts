// The batches appended last, as they were handed in: replication and tail reads take them from here without touching
// files and, as long as it is one batch that is asked for, without copying. Little is kept beside what is needed soon:
// buffers that live long become old garbage, and for each 64 MiB of it V8 marks everything, on all cores.
import type { PhysicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { LogTip } from './log_tip.ts';

/** Records back to back in `buffer[start, end)`, all in one segment. The bytes are never changed again. */
export interface CachedBatch {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly firstIndex: LogIndex;
  readonly position: PhysicalOffset;
  /** The record before the first one. */
  readonly previous: LogTip;
  readonly last: LogTip;
}

/** However small the batches are, there are at most so many: each holds a buffer alive. */
const BATCH_COUNT_MAX = 8192;

/** Bounds of a cache. */
export interface TailCacheBounds {
  /**
   * Bytes that are held beside what is needed soon. Best small: see the head of the file. Buffers may be a third larger than
   * the records that count (see `gather` in src/replica/batch.ts).
   */
  readonly bytesMax: number;
  /** Most bytes held because somebody needs them soon (`keepFrom`); what is more is read from the files. */
  readonly neededBytesMax: number;
}

/** Bounded in bytes and in count; the oldest batches go first. What it holds always reaches up to the log's end. */
export class TailCache {
  readonly #bounds: TailCacheBounds;
  /** Oldest first, from `#head` on; compacted now and then, so that dropping one is cheap. */
  #batches: (CachedBatch | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  /** See `keepFrom`. */
  #neededFrom = Number.POSITIVE_INFINITY;

  constructor(bounds: TailCacheBounds) {
    this.#bounds = bounds;
  }

  get sizeBytes(): number {
    return this.#bytes;
  }

  push(batch: CachedBatch): void {
    this.#batches.push(batch);
    this.#bytes += batch.end - batch.start;
    this.#shrink();
  }

  /**
   * What lies at `position` and behind it will be asked for soon, e.g. to be applied once it is committed: it stays beside
   * `bytesMax` of what lies before. At first nobody needs anything.
   */
  keepFrom(position: PhysicalOffset): void {
    this.#neededFrom = position;
    this.#shrink();
  }

  /** The number of the batch that holds `index`, for `get`; -1 when it is not cached. Numbers last until the cache changes. */
  find(index: LogIndex): number {
    const last = this.#batches.length - 1;
    if (last < this.#head || index < this.#batches[this.#head]!.firstIndex) return -1;
    let low = this.#head;
    let high = last;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#batches[middle]!.firstIndex <= index) low = middle;
      else high = middle - 1;
    }
    return index <= this.#batches[low]!.last.index ? low : -1;
  }

  /** The same by position in the log. */
  findAt(position: PhysicalOffset): number {
    const last = this.#batches.length - 1;
    if (last < this.#head || position < this.#batches[this.#head]!.position) return -1;
    let low = this.#head;
    let high = last;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#batches[middle]!.position <= position) low = middle;
      else high = middle - 1;
    }
    return position < this.#batches[low]!.last.end ? low : -1;
  }

  /** Where the oldest batch lies; null when there is none. */
  get start(): PhysicalOffset | null {
    return this.#batches[this.#head]?.position ?? null;
  }

  /**
   * The bytes at a position, of one segment; null when it does not hold them all. Those of one batch are a view, which must
   * not be changed.
   */
  bytesAt(position: PhysicalOffset, sizeBytes: number): Buffer | null {
    const number = this.findAt(position);
    const batch = this.#batches[number];
    if (batch === undefined) return null;
    if (position + sizeBytes > batch.last.end) return this.#gather(number, position, sizeBytes);
    const at = batch.start + position - batch.position;
    return batch.buffer.subarray(at, at + sizeBytes);
  }

  get(number: number): CachedBatch | undefined {
    return this.#batches[number];
  }

  /** Drops what lies behind `tip`; a batch that it divides is dropped as a whole, with all before it. */
  truncateAfter(tip: LogTip): void {
    while (this.#batches.length > this.#head && this.#batches[this.#batches.length - 1]!.firstIndex > tip.index) {
      const newest = this.#batches.pop()!;
      this.#bytes -= newest.end - newest.start;
    }
    const newest = this.#batches[this.#batches.length - 1];
    if (this.#batches.length > this.#head && newest!.last.index !== tip.index) this.clear();
  }

  clear(): void {
    this.#batches = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  /** Bytes of several batches, the first of which has that number. */
  #gather(number: number, position: PhysicalOffset, sizeBytes: number): Buffer | null {
    const end = position + sizeBytes;
    if (end > this.#batches[this.#batches.length - 1]!.last.end) return null;
    const bytes = Buffer.allocUnsafe(sizeBytes);
    let at: number = position;
    for (let next = number; at < end; next++) {
      const batch = this.#batches[next]!;
      // What lies between is the end of a segment.
      if (batch.position > at) return null;
      const from = batch.start + at - batch.position;
      at += batch.buffer.copy(bytes, at - position, from, Math.min(batch.end, from + end - at));
    }
    return bytes;
  }

  #shrink(): void {
    let oldest = this.#batches[this.#head];
    while (oldest !== undefined && this.#isOver(oldest)) {
      this.#bytes -= oldest.end - oldest.start;
      this.#batches[this.#head++] = undefined;
      oldest = this.#batches[this.#head];
    }
    if (this.#head > BATCH_COUNT_MAX) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
  }

  #isOver(oldest: CachedBatch): boolean {
    const { bytesMax, neededBytesMax } = this.#bounds;
    if (this.#batches.length - this.#head > BATCH_COUNT_MAX || this.#bytes > bytesMax + neededBytesMax) return true;
    if (oldest.last.end > this.#neededFrom) return false;
    const end = this.#batches[this.#batches.length - 1]!.last.end;
    return Math.min(this.#neededFrom, end) - oldest.position > bytesMax;
  }
}
