// 64-bit big-endian integers as JavaScript numbers. Everything the log counts stays below 2^53; two 32-bit accesses
// cost half of one BigInt access (measured 135 ns against 237 ns a header).
import { assert } from '../base/assert.ts';
import { readUint32, writeUint32 } from './uint32.ts';

const TWO_POW_32 = 4_294_967_296;
const HIGH_WORD_MAX = 0x1f_ffff; // 2^53 - 1 has this high word

/** Writes a safe non-negative integer. @throws RangeError for any other number, or when there is no room for it. */
export function writeUint64(target: Buffer, value: number, at: number): void {
  if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is not a 64-bit integer`);
  const high = Math.floor(value / TWO_POW_32);
  writeUint32(target, high, at);
  // What is left over, exactly as by %, which V8 leaves to the C library.
  writeUint32(target, value - high * TWO_POW_32, at + 4);
}

/** Reads a non-negative integer. @throws InvariantError when it exceeds 2^53 - 1; see `isUint64Safe` for foreign bytes. */
export function readUint64(source: Buffer, at: number): number {
  const high = readUint32(source, at);
  assert(high <= HIGH_WORD_MAX, 'a stored 64-bit integer exceeds 2^53 - 1');
  return high * TWO_POW_32 + readUint32(source, at + 4);
}

/** Whether the integer at `at` can be read by `readUint64`; asked before reading bytes that somebody else wrote. */
export function isUint64Safe(source: Buffer, at: number): boolean {
  return readUint32(source, at) <= HIGH_WORD_MAX;
}
