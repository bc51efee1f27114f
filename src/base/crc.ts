// CRC-32 (IEEE 802.3, the polynomial of zlib and of RocketMQ). Two ways to the same number: a native one for bodies,
// where the cost of the call is lost in the bytes, and a table for the few bytes of a header, where it is not.
import { crc32 as nativeCrc32 } from '@node-rs/crc32';

/** Below this size the table beats the native call (measured: a native call costs about as much as 150 table bytes). */
const TABLE_SIZE_BYTES_MAX = 96;

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/**
 * CRC-32 of `bytes[start, end)`.
 * @param seed the CRC of what came before, so that crc32(ab) = crc32(b, crc32(a)); 0 to begin.
 * @returns an unsigned 32-bit number.
 */
export function crc32(bytes: Buffer, start = 0, end = bytes.length, seed = 0): number {
  if (end - start > TABLE_SIZE_BYTES_MAX) {
    const all = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
    return nativeCrc32(all, seed) >>> 0;
  }
  let crc = ~seed;
  for (let at = start; at < end; at++) crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}
