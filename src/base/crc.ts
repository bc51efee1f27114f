// CRC-32 (IEEE 802.3, the polynomial of zlib and of RocketMQ). Two ways to the same number: a native one, where the cost of
// the call is lost in the bytes, and tables for headers and small bodies, where it is not.
import { crc32 as nativeCrc32 } from '@node-rs/crc32';

/**
 * Up to this size the tables are used (measured: a native call, and the view of the bytes that it wants, cost as much as 250
 * bytes by the tables, and leave garbage).
 */
export const TABLE_BYTES_MAX = 256;

/** Bytes that one step of the tables takes ("slicing-by-8", Kounavis and Berry 2005). */
const SLICE_BYTES = 8;
const ENTRIES = 256;

/** Entry `k * 256 + b`: what a byte b does to the CRC that k more bytes follow. */
const tables = new Int32Array(SLICE_BYTES * ENTRIES);
for (let byte = 0; byte < ENTRIES; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  tables[byte] = value;
}
for (let at = ENTRIES; at < tables.length; at++) {
  const before = tables[at - ENTRIES]!;
  tables[at] = (before >>> 8) ^ tables[before & 0xff]!;
}

/**
 * CRC-32 of `bytes[start, end)`.
 * @param seed the CRC of what came before, so that crc32(ab) = crc32(b, crc32(a)); 0 to begin.
 * @returns an unsigned 32-bit number.
 */
export function crc32(bytes: Buffer, start = 0, end = bytes.length, seed = 0): number {
  if (end - start <= TABLE_BYTES_MAX) return tableCrc32(bytes, start, end, seed);
  const all = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
  return nativeCrc32(all, seed) >>> 0;
}

function tableCrc32(bytes: Buffer, start: number, end: number, seed: number): number {
  let crc = ~seed;
  let at = start;
  for (; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    const head = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      tables[0x700 | (head & 0xff)]! ^
      tables[0x600 | ((head >>> 8) & 0xff)]! ^
      tables[0x500 | ((head >>> 16) & 0xff)]! ^
      tables[0x400 | (head >>> 24)]! ^
      tables[0x300 | bytes[at + 4]!]! ^
      tables[0x200 | bytes[at + 5]!]! ^
      tables[0x100 | bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}
