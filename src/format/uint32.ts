// 32-bit big-endian integers in the hot loops over records. Buffer's own methods look themselves up, validate their
// argument and calculate in doubles: three to five times the cost of the four bytes, some eighty times a record.
//
// Bounds are checked all the same: beyond them a typed array would read nothing as 0, and drop what is written.

/** Reads an unsigned integer. @throws RangeError when it does not lie in the buffer. */
export function readUint32(source: Buffer, at: number): number {
  if (!(at >= 0 && at + 4 <= source.length)) throw outside(source, at);
  return ((source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!) >>> 0;
}

/** Reads a signed integer. @throws RangeError when it does not lie in the buffer. */
export function readInt32(source: Buffer, at: number): number {
  if (!(at >= 0 && at + 4 <= source.length)) throw outside(source, at);
  return (source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!;
}

const VALUE_MIN = -0x8000_0000;
const VALUE_MAX = 0xffff_ffff;

/** Writes an integer, signed or not. @throws RangeError when it has more than 32 bits, or there is no room for it. */
export function writeUint32(target: Buffer, value: number, at: number): void {
  if (!(value >= VALUE_MIN && value <= VALUE_MAX)) throw new RangeError(`${value} is not a 32-bit integer`);
  if (!(at >= 0 && at + 4 <= target.length)) throw outside(target, at);
  target[at] = value >>> 24;
  target[at + 1] = value >>> 16;
  target[at + 2] = value >>> 8;
  target[at + 3] = value;
}

function outside(buffer: Buffer, at: number): RangeError {
  return new RangeError(`a 32-bit integer at ${at} lies outside of a buffer of ${buffer.length} bytes`);
}
