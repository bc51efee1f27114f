// The bytes of a snapshot file: the same on every replica, because the rows are sorted and nothing else is variable.
//
//   0       4         8     44              48        56        60         64
//   +-------+---------+-----+----------------+---------+---------+----------+---------+---------+- - -+--------+
//   | magic | version | tip | membershipSize | dataSize| dataCrc | headerCrc| piece 0 | piece 1 |     | last   |
//   +-------+---------+-----+----------------+---------+---------+----------+---------+---------+- - -+--------+
//     4       4        36     4                8         4         4          64 KiB    64 KiB          what is left
//
//   piece: data, and in its last 4 bytes the CRC-32 of its data, seeded with that of the piece before (the first one with
//          the CRC-32 of the tip): a piece fits in one place of one snapshot only, and any piece can be checked when it
//          arrives or is read again. dataCrc is the last one's. headerCrc covers bytes 0..59.
//   data:  the membership, then row after row: keySize 4, valueSize 4, key, value (UTF-8), keys strictly ascending by bytes
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';
import { decodeTip, encodeTip, type LogTip, TIP_BYTES } from './log_tip.ts';
import type { StateEntry } from './state_store.ts';

const MAGIC = 0x544c_534e; // "TLSN"
const VERSION = 1;
const TIP_AT = 8;
const MEMBERSHIP_SIZE_AT = 44;
const DATA_SIZE_AT = 48;
const DATA_CRC_AT = 56;
const HEADER_CRC_AT = 60;
const CRC_BYTES = 4;
const ROW_HEADER_BYTES = 8;

/** Size of the header of a snapshot file. */
export const SNAPSHOT_HEADER_BYTES = 64;
/** Size of every piece but the last. */
export const PIECE_BYTES = 64 * 1024;
/** What is written at once: a few pieces, less than a flush takes to notice. */
export const CHUNK_BYTES = 4 * PIECE_BYTES;
/** A membership lies in the first piece. */
export const MEMBERSHIP_BYTES_MAX = 32 * 1024;

/** What a snapshot's header says. */
export interface SnapshotHeader {
  readonly tip: LogTip;
  readonly membershipBytes: number;
  /** Membership and rows. */
  readonly dataBytes: number;
  readonly dataCrc: number;
}

/** What the first piece's checksum is seeded with. */
export function firstSeed(tip: LogTip): number {
  const bytes = Buffer.alloc(TIP_BYTES);
  encodeTip(bytes, 0, tip);
  return crc32(bytes);
}

/** Size of the whole file. */
export function snapshotBytes({ dataBytes }: SnapshotHeader): number {
  const pieces = Math.ceil(dataBytes / (PIECE_BYTES - CRC_BYTES));
  return SNAPSHOT_HEADER_BYTES + dataBytes + pieces * CRC_BYTES;
}

/** The piece at `buffer[start, end)`, or null when it does not continue what `seed` is the checksum of. */
export function openPiece(
  buffer: Buffer,
  start: number,
  end: number,
  seed: number,
): { data: Buffer; crc: number } | null {
  const dataEnd = end - CRC_BYTES;
  if (dataEnd <= start) return null;
  const crc = buffer.readUInt32BE(dataEnd);
  return crc32(buffer, start, dataEnd, seed) === crc ? { data: buffer.subarray(start, dataEnd), crc } : null;
}

/** The checksum in the last bytes before `end`, where a piece ends. */
export function crcBefore(buffer: Buffer, end: number): number {
  return buffer.readUInt32BE(end - CRC_BYTES);
}

/** A header's bytes. */
export function encodeHeader(header: SnapshotHeader): Buffer {
  const bytes = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(VERSION, 4);
  encodeTip(bytes, TIP_AT, header.tip);
  bytes.writeUInt32BE(header.membershipBytes, MEMBERSHIP_SIZE_AT);
  writeUint64(bytes, header.dataBytes, DATA_SIZE_AT);
  bytes.writeUInt32BE(header.dataCrc, DATA_CRC_AT);
  bytes.writeUInt32BE(crc32(bytes, 0, HEADER_CRC_AT), HEADER_CRC_AT);
  return bytes;
}

/**
 * The header at `at`, or null when it is damaged.
 * @param path names the file in errors.
 * @throws TLedgerError DATA_DIR_FOREIGN when a newer version of this software wrote it.
 */
export function decodeHeader(bytes: Buffer, at: number, path: string): SnapshotHeader | null {
  if (bytes.length - at < SNAPSHOT_HEADER_BYTES || bytes.readUInt32BE(at) !== MAGIC) return null;
  if (crc32(bytes, at, at + HEADER_CRC_AT) !== bytes.readUInt32BE(at + HEADER_CRC_AT)) return null;
  const version = bytes.readUInt32BE(at + 4);
  if (version !== VERSION) {
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${path} has format version ${version}; this software reads version ${VERSION}`,
    );
  }
  for (const field of [TIP_AT, TIP_AT + 8, TIP_AT + 16, TIP_AT + 24, DATA_SIZE_AT]) {
    if (!isUint64Safe(bytes, at + field)) return null;
  }
  const membershipBytes = bytes.readUInt32BE(at + MEMBERSHIP_SIZE_AT);
  const dataBytes = readUint64(bytes, at + DATA_SIZE_AT);
  if (membershipBytes > Math.min(MEMBERSHIP_BYTES_MAX, dataBytes)) return null;
  return {
    tip: decodeTip(bytes, at + TIP_AT),
    membershipBytes,
    dataBytes,
    dataCrc: bytes.readUInt32BE(at + DATA_CRC_AT),
  };
}

/** Turns a membership and rows into pieces, gathered in chunks of at most `CHUNK_BYTES`. */
export class SnapshotEncoder {
  readonly #tip: LogTip;
  readonly #membershipBytes: number;
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  /** Bytes of the chunk in use, and where its last piece begins. */
  #used = 0;
  #pieceAt = 0;
  #full: Buffer[] = [];
  #crc: number;
  #dataBytes = 0;
  #lastKey: Buffer | null = null;

  constructor(tip: LogTip, membership: Buffer) {
    assert(membership.length <= MEMBERSHIP_BYTES_MAX, () => `a membership has ${membership.length} bytes`);
    this.#tip = tip;
    this.#membershipBytes = membership.length;
    this.#crc = firstSeed(tip);
    this.#put(membership);
  }

  /** Adds a row; its key comes after that of the one before. */
  add([key, value]: StateEntry): void {
    const keyBytes = Buffer.from(key);
    const valueBytes = Buffer.from(value);
    assert(this.#lastKey === null || Buffer.compare(this.#lastKey, keyBytes) < 0, 'rows of a snapshot are sorted');
    this.#lastKey = keyBytes;
    const header = Buffer.allocUnsafe(ROW_HEADER_BYTES);
    header.writeUInt32BE(keyBytes.length, 0);
    header.writeUInt32BE(valueBytes.length, 4);
    for (const part of [header, keyBytes, valueBytes]) this.#put(part);
  }

  /** Chunks that are full, for the caller to write one after the other. */
  takeFull(): Buffer[] {
    const full = this.#full;
    if (full.length > 0) this.#full = [];
    return full;
  }

  /** Ends the last piece. @returns the last chunks, and the header that goes before everything. */
  finish(): { readonly chunks: Buffer[]; readonly header: SnapshotHeader } {
    if (this.#used > this.#pieceAt) this.#sealPiece();
    const chunks = [...this.takeFull(), this.#chunk.subarray(0, this.#used)].filter((chunk) => chunk.length > 0);
    const header = {
      tip: this.#tip,
      membershipBytes: this.#membershipBytes,
      dataBytes: this.#dataBytes,
      dataCrc: this.#crc,
    };
    return { chunks, header };
  }

  #put(bytes: Buffer): void {
    for (let done = 0; done < bytes.length; ) {
      const room = this.#pieceAt + PIECE_BYTES - CRC_BYTES - this.#used;
      const copied = bytes.copy(this.#chunk, this.#used, done, Math.min(bytes.length, done + room));
      done += copied;
      this.#used += copied;
      this.#dataBytes += copied;
      if (copied === room) this.#sealPiece();
    }
  }

  #sealPiece(): void {
    this.#crc = crc32(this.#chunk, this.#pieceAt, this.#used, this.#crc);
    this.#used = this.#chunk.writeUInt32BE(this.#crc, this.#used);
    this.#pieceAt = this.#used;
    if (this.#used < CHUNK_BYTES) return;
    this.#full.push(this.#chunk);
    this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#used = 0;
    this.#pieceAt = 0;
  }
}

/**
 * Rows out of the data of a snapshot, which comes in verified pieces.
 * @returns false when the data ends within a row.
 */
export function* decodeRows(pieces: Iterable<Buffer>, membershipBytes: number): Generator<StateEntry, boolean> {
  let skip = membershipBytes;
  let rest: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    const data = skip > 0 ? piece.subarray(skip) : piece;
    skip = 0;
    rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
    let at = 0;
    while (rest.length - at >= ROW_HEADER_BYTES) {
      const keyAt = at + ROW_HEADER_BYTES;
      const valueAt = keyAt + rest.readUInt32BE(at);
      const end = valueAt + rest.readUInt32BE(at + 4);
      if (end > rest.length) break;
      yield [rest.toString('utf8', keyAt, valueAt), rest.toString('utf8', valueAt, end)];
      at = end;
    }
    rest = rest.subarray(at);
  }
  return rest.length === 0;
}
