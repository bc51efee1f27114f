// What the hand-written codecs share: varints, integers and texts as protobuf writes them.

/** The longest varint: 64 bits. */
export const VARINT_BYTES_MAX = 10;
const TWO_POW_7 = 0x80;
/** The largest int32. */
export const INT32_MAX = 0x7fff_ffff;

/** Where reading is, and the number read last. */
export interface Cursor {
  readonly bytes: Buffer;
  at: number;
  value: number;
}

/** Reads a varint into `cursor.value`; false when it is cut off or exceeds 2^53 - 1. */
export function readVarint(cursor: Cursor): boolean {
  let value = 0;
  let unit = 1;
  for (let count = 0; count < VARINT_BYTES_MAX; count++) {
    const byte = cursor.bytes[cursor.at++];
    if (byte === undefined) return false;
    value += (byte & 0x7f) * unit;
    if (byte < TWO_POW_7) {
      cursor.value = value;
      return Number.isSafeInteger(value);
    }
    unit *= TWO_POW_7;
  }
  return false;
}

/** Writes a non-negative safe integer as protobuf does. @returns where it ends. */
export function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  let cursor = at;
  while (rest >= TWO_POW_7) {
    target[cursor++] = (rest % TWO_POW_7) | TWO_POW_7;
    rest = Math.floor(rest / TWO_POW_7);
  }
  target[cursor++] = rest;
  return cursor;
}

/** An integer; a negative one is sign-extended to ten bytes, as protobuf wants it. @returns where it ends. */
export function writeInt(target: Buffer, at: number, fieldTag: number, value: number): number {
  target[at] = fieldTag;
  if (value >= 0) return writeVarint(target, at + 1, value);
  let rest = BigInt.asUintN(64, BigInt(value));
  let cursor = at + 1;
  for (; rest >= 0x80n; rest >>= 7n) target[cursor++] = Number(rest & 0x7fn) | TWO_POW_7;
  target[cursor++] = Number(rest);
  return cursor;
}

/** How long the varint of `value` is. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= TWO_POW_7; rest = Math.floor(rest / TWO_POW_7)) bytes++;
  return bytes;
}

/** A text. @returns where it ends. */
export function writeText(target: Buffer, at: number, fieldTag: number, text: string): number {
  target[at] = fieldTag;
  const start = writeVarint(target, at + 1, Buffer.byteLength(text));
  return start + target.write(text, start);
}
