// One log record: a 48-byte header in DLedger's shape, then the body. The same bytes lie on every disk, travel to the
// followers and reach consumers; nobody encodes them again.
//
//   0       4      8        16       24         32       36        40       44        48
//   +-------+------+--------+--------+----------+--------+---------+--------+---------+---------------
//   | magic | size | index  | term   | position | channel| chainCrc| bodyCrc| bodySize| body
//   +-------+------+--------+--------+----------+--------+---------+--------+---------+---------------
//     4       4      8        8        8          4        4         4        4         bodySize
//
// bodyCrc = crc32(body). chainCrc = crc32(bytes 0..35, then bytes 40..43) seeded with the previous record's chainCrc
// (0 before the first), so it vouches for the whole log up to here: two replicas with the same (index, chainCrc) hold
// the same bytes. A producer leaves index, term, position, chainCrc and bodyCrc blank; the leader *seals* the record.
import { assert } from '../base/assert.ts';
import type { Brand } from '../base/brand.ts';
import { crc32 } from '../base/crc.ts';
import type { LogIndex, Term } from '../raft/types.ts';
import { MESSAGE_PHYSICAL_OFFSET_AT } from './message_layout.ts';
import { readInt32, readUint32, writeUint32 } from './uint32.ts';
import { isUint64Safe, readUint64, writeUint64 } from './uint64.ts';

/** Byte position in the endless log; segment files are named by the first one they hold. */
export type PhysicalOffset = Brand<number, 'PhysicalOffset'>;
/** Brands a number. */
export const physicalOffset = (value: number): PhysicalOffset => value as PhysicalOffset;

/** Size of every record header. */
export const RECORD_HEADER_BYTES = 48;

/** What a record is. */
export const recordMagic = {
  message: 1,
  noop: 2,
  membership: 3,
  command: 4,
  /** Closes a segment: magic and size (up to the segment's end) only; has no index and no place in the chain. */
  filler: -1,
} as const;
/** One of `recordMagic`. */
export type RecordMagic = (typeof recordMagic)[keyof typeof recordMagic];

const MAGIC_AT = 0;
const SIZE_AT = 4;
const INDEX_AT = 8;
const TERM_AT = 16;
const POSITION_AT = 24;
const CHANNEL_AT = 32;
const CHAIN_CRC_AT = 36;
const BODY_CRC_AT = 40;
const BODY_SIZE_AT = 44;

/** Magic of the record at `at`. */
export const magicAt = (buffer: Buffer, at: number): number => readInt32(buffer, at + MAGIC_AT);
/** Header and body together. */
export const sizeAt = (buffer: Buffer, at: number): number => readUint32(buffer, at + SIZE_AT);
/** Log index of the record at `at`. */
export const indexAt = (buffer: Buffer, at: number): LogIndex => readUint64(buffer, at + INDEX_AT) as LogIndex;
/** Term of the record at `at`. */
export const termAt = (buffer: Buffer, at: number): Term => readUint64(buffer, at + TERM_AT) as Term;
/** Physical offset of the record at `at`. */
export const positionAt = (buffer: Buffer, at: number): PhysicalOffset =>
  readUint64(buffer, at + POSITION_AT) as PhysicalOffset;
/** Flags of the record at `at` (record_flags.ts). */
export const flagsAt = (buffer: Buffer, at: number): number => readUint32(buffer, at + CHANNEL_AT);
/** Sets flags of a record that is not sealed yet. */
export function writeFlags(buffer: Buffer, at: number, flags: number): void {
  writeUint32(buffer, flags, at + CHANNEL_AT);
}
/** chainCrc that the record at `at` carries. */
export const chainCrcAt = (buffer: Buffer, at: number): number => readUint32(buffer, at + CHAIN_CRC_AT);
export const bodyCrcAt = (buffer: Buffer, at: number): number => readUint32(buffer, at + BODY_CRC_AT);
/** Size of the body of the record at `at`. */
export const bodySizeAt = (buffer: Buffer, at: number): number => readUint32(buffer, at + BODY_SIZE_AT);

/** Writes the header of a record that is not sealed yet; the body is expected at `at + 48`. */
export function writeBlankHeader(buffer: Buffer, at: number, magic: RecordMagic, bodySizeBytes: number): void {
  buffer.fill(0, at, at + RECORD_HEADER_BYTES);
  writeUint32(buffer, magic, at + MAGIC_AT);
  writeUint32(buffer, RECORD_HEADER_BYTES + bodySizeBytes, at + SIZE_AT);
  writeUint32(buffer, bodySizeBytes, at + BODY_SIZE_AT);
}

/** One record that is not sealed yet, alone in its buffer. */
export function blankRecord(magic: RecordMagic, body: Buffer): Buffer {
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + body.length);
  writeBlankHeader(record, 0, magic, body.length);
  body.copy(record, RECORD_HEADER_BYTES);
  return record;
}

/**
 * Gives the record at `at` its place in the log and its checksums; its flags stay as they are. A message's own physical offset field is set to
 * where its body will lie, as RocketMQ does.
 * @returns the record's chainCrc, which seeds the next one.
 */
export function sealRecord(
  buffer: Buffer,
  at: number,
  place: { index: LogIndex; term: Term; position: PhysicalOffset; prevChain: number },
): number {
  const bodyAt = at + RECORD_HEADER_BYTES;
  if (magicAt(buffer, at) === recordMagic.message) {
    writeUint64(buffer, place.position + RECORD_HEADER_BYTES, bodyAt + MESSAGE_PHYSICAL_OFFSET_AT);
  }
  writeUint64(buffer, place.index, at + INDEX_AT);
  writeUint64(buffer, place.term, at + TERM_AT);
  writeUint64(buffer, place.position, at + POSITION_AT);
  writeUint32(buffer, crc32(buffer, bodyAt, at + sizeAt(buffer, at)), at + BODY_CRC_AT);
  const chain = chainCrcOf(buffer, at, place.prevChain);
  writeUint32(buffer, chain, at + CHAIN_CRC_AT);
  return chain;
}

/** The chainCrc the record at `at` ought to carry, from its header bytes. */
export function chainCrcOf(buffer: Buffer, at: number, prevChain: number): number {
  const head = crc32(buffer, at, at + CHAIN_CRC_AT, prevChain);
  return crc32(buffer, at + BODY_CRC_AT, at + BODY_SIZE_AT, head);
}

/** Whether the body matches its bodyCrc. */
export function isBodyIntact(buffer: Buffer, at: number): boolean {
  const bodyAt = at + RECORD_HEADER_BYTES;
  return crc32(buffer, bodyAt, bodyAt + bodySizeAt(buffer, at)) === readUint32(buffer, at + BODY_CRC_AT);
}

/**
 * Whether `[at, end)` begins with a whole record by its header alone: a known magic, sizes that agree and fit, numbers
 * below 2^53. Says nothing of checksums. False for fillers.
 */
export function isRecordWhole(buffer: Buffer, at: number, end: number): boolean {
  if (end - at < RECORD_HEADER_BYTES) return false;
  const magic = magicAt(buffer, at);
  if (magic < recordMagic.message || magic > recordMagic.command) return false;
  const size = sizeAt(buffer, at);
  return (
    size === RECORD_HEADER_BYTES + bodySizeAt(buffer, at) &&
    size <= end - at &&
    isUint64Safe(buffer, at + INDEX_AT) &&
    isUint64Safe(buffer, at + TERM_AT) &&
    isUint64Safe(buffer, at + POSITION_AT)
  );
}

/** Magic and size: all that a filler has. */
export const FILLER_HEADER_BYTES = 8;

/** Where the first record at or after `at` begins; `end` when there are but fillers. @throws InvariantError for a part of a filler. */
export function skipFillers(buffer: Buffer, at: number, end: number): number {
  let next = at;
  while (end - next >= FILLER_HEADER_BYTES && magicAt(buffer, next) === recordMagic.filler) {
    const size = sizeAt(buffer, next);
    assert(size >= FILLER_HEADER_BYTES && size <= end - next, 'a filler is whole');
    next += size;
  }
  return next;
}
