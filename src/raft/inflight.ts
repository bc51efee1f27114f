// The window of one follower: append messages that were sent and not acknowledged yet.
import { assert } from '../base/assert.ts';
import type { LogIndex } from './types.ts';

/** Append messages under way, oldest first, bounded in count and in bytes (etcd's Inflights). */
export class Inflight {
  readonly #countMax: number;
  readonly #bytesMax: number;
  readonly #lastIndexes: Float64Array;
  readonly #sizes: Float64Array;
  #head = 0;
  #count = 0;
  /** Sum of the sizes under way. */
  #bytes = 0;

  constructor({ countMax, bytesMax }: { countMax: number; bytesMax: number }) {
    assert(countMax >= 1 && bytesMax >= 1, 'a window lets at least one message through');
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
    this.#lastIndexes = new Float64Array(countMax);
    this.#sizes = new Float64Array(countMax);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that may still be sent: 0 when the window is full. */
  get roomBytes(): number {
    return this.#count === this.#countMax ? 0 : Math.max(0, this.#bytesMax - this.#bytes);
  }

  /** Whether a message of `sizeBytes` may leave now. An empty window lets any size through, else it might never go. */
  admits(sizeBytes: number): boolean {
    return this.#count === 0 || sizeBytes <= this.roomBytes;
  }

  add(lastIndex: LogIndex, sizeBytes: number): void {
    assert(this.admits(sizeBytes) && this.#count < this.#countMax, 'the window is never overrun');
    assert(this.#count === 0 || lastIndex > this.#newest, 'messages under way rise in index');
    const at = (this.#head + this.#count) % this.#countMax;
    this.#lastIndexes[at] = lastIndex;
    this.#sizes[at] = sizeBytes;
    this.#count++;
    this.#bytes += sizeBytes;
  }

  /** Forgets every message whose last record is at or below `index`: it has been acknowledged. */
  freeUpTo(index: LogIndex): void {
    while (this.#count > 0 && this.#lastIndexes[this.#head]! <= index) {
      this.#bytes -= this.#sizes[this.#head]!;
      this.#head = (this.#head + 1) % this.#countMax;
      this.#count--;
    }
    assert(this.#count > 0 || this.#bytes === 0, 'an empty window holds no bytes');
  }

  clear(): void {
    this.#count = 0;
    this.#bytes = 0;
  }

  get #newest(): number {
    return this.#lastIndexes[(this.#head + this.#count - 1) % this.#countMax]!;
  }
}
