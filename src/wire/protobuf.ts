// What the hand-written codecs share: varints, integers and texts as protobuf writes them (protobuf.dev/programming-guides/
// encoding). Fields 1 to 15 only, whose tag is one byte. Whoever writes has made room: nothing is checked here.

/** The longest varint: 64 bits. */
export const VARINT_BYTES_MAX = 10;
const TWO_POW_7 = 0x80;
const INT32_MAX = 0x7fff_ffff;
/** As many bytes hold any number of 32 bits that is not negative. */
const INT32_BYTES_MAX = 5;

/** Where reading is, and the number read last. */
export interface Cursor {
  readonly bytes: Buffer;
  at: number;
  value: number;
  /** Whether it is an int32, a length or a flag as everybody reads it: written in no more bytes than that may take. */
  isInt32: boolean;
}

/** At the beginning of `bytes`. */
export function cursorOf(bytes: Buffer): Cursor {
  return { bytes, at: 0, value: 0, isInt32: false };
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
      cursor.isInt32 = count < INT32_BYTES_MAX && value <= INT32_MAX;
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

/** Bytes of the varint of `value`, a non-negative safe integer. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= TWO_POW_7; rest = Math.floor(rest / TWO_POW_7)) bytes++;
  return bytes;
}

/** A text, as UTF-8 behind its length. @returns where it ends. */
export function writeText(target: Buffer, at: number, fieldTag: number, text: string): number {
  target[at] = fieldTag;
  const start = writeVarint(target, at + 1, Buffer.byteLength(text));
  return start + target.write(text, start);
}
