// Reading a complete snapshot: its rows, to restore from, or its bytes as they are, to send. Both are verified piece by
// piece as they are read: what is damaged here neither becomes state nor leaves this disk.
import { assert } from '../base/assert.ts';
import type { TLedgerError } from '../base/errors.ts';
import { logIndex } from '../raft/types.ts';
import { DamageError } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import {
  crcBefore,
  decodeHeader,
  decodeRows,
  firstSeed,
  openPiece,
  PIECE_BYTES,
  SNAPSHOT_HEADER_BYTES,
  type SnapshotHeader,
  snapshotBytes,
} from './snapshot_format.ts';
import type { StateEntry } from './state_store.ts';

/** What a snapshot is of. */
export interface SnapshotMeta {
  /** The last record whose effect is in the state: what the log's base becomes (`CommitLog.restart`). */
  readonly tip: LogTip;
  /** The membership in force there, in a form that storage does not look into. At most 32 KiB. */
  readonly membership: Buffer;
}

/** Bytes of a snapshot file: `buffer[start, end)`. */
export interface SnapshotChunk {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/** A complete snapshot. Stays readable when it is removed meanwhile. */
export class Snapshot {
  readonly meta: SnapshotMeta;
  /** Size of the file: what a receiver must hold before it is complete. */
  readonly sizeBytes: number;
  readonly #file: DiskFile;
  readonly #header: SnapshotHeader;

  private constructor(file: DiskFile, header: SnapshotHeader) {
    this.#file = file;
    this.#header = header;
    this.sizeBytes = snapshotBytes(header);
    if (file.sizeBytes() !== this.sizeBytes) throw this.#damaged(`it has ${file.sizeBytes()} bytes`);
    const { tip, membershipBytes } = header;
    const [first] = membershipBytes > 0 ? this.#pieces() : [];
    this.meta = { tip, membership: Buffer.from(first?.subarray(0, membershipBytes) ?? []) };
  }

  /** @throws TLedgerError DATA_CORRUPTED when it is missing or its beginning is damaged; STORAGE_FAILED. */
  static open(disk: Disk, path: string): Snapshot {
    if (!disk.exists(path)) throw snapshotDamage(path, 'it is missing');
    const file = disk.open(path);
    try {
      return new Snapshot(file, readHeader(file));
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * At most `bytesMax` (> 0) bytes of the file from `offset` on, verified; empty at or behind the end.
   * @throws TLedgerError DATA_CORRUPTED when they are damaged here: nobody must get them; STORAGE_FAILED.
   */
  read(offset: number, bytesMax: number): SnapshotChunk {
    assert(offset >= 0 && bytesMax > 0, 'something is read');
    const to = Math.min(offset + bytesMax, this.sizeBytes);
    if (offset >= to) return { buffer: Buffer.alloc(0), start: 0, end: 0 };
    const firstPiece = pieceStart(offset);
    // The piece before ends with the checksum that the first one is checked against.
    const from = offset < SNAPSHOT_HEADER_BYTES ? 0 : firstPiece - (firstPiece > SNAPSHOT_HEADER_BYTES ? 4 : 0);
    const end = Math.min(this.sizeBytes, pieceStart(to - 1) + PIECE_BYTES);
    const buffer = Buffer.allocUnsafeSlow(end - from);
    const at = (position: number): number => position - from;
    this.#read(buffer, from);
    if (from === 0 && decodeHeader(buffer, at(0), this.#file.path) === null) throw this.#damaged('its header');
    let seed = from > 0 && from < firstPiece ? crcBefore(buffer, at(firstPiece)) : firstSeed(this.#header.tip);
    for (let piece = firstPiece; piece < end; piece += PIECE_BYTES) {
      seed = this.#open(buffer, at(piece), at(Math.min(piece + PIECE_BYTES, end)), seed, piece).crc;
    }
    return { buffer, start: at(offset), end: at(to) };
  }

  /**
   * All rows in ascending order of the keys' UTF-8 bytes, read and verified piece by piece as they are asked for.
   * @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED at whatever row the damage lies behind.
   */
  *rows(): Iterable<StateEntry> {
    const isWhole = yield* decodeRows(this.#pieces(), this.#header.membershipBytes);
    if (!isWhole) throw this.#damaged('it ends within a row');
  }

  /** The same, all at once, without blocking while a piece is read. */
  async allRows(): Promise<StateEntry[]> {
    const pieces: Buffer[] = [];
    let seed = firstSeed(this.#header.tip);
    for (let piece = SNAPSHOT_HEADER_BYTES; piece < this.sizeBytes; piece += PIECE_BYTES) {
      const bytes = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, this.sizeBytes - piece));
      if ((await this.#file.readAsync(bytes, piece)) !== bytes.length) throw this.#damaged('it is too short');
      const { data, crc } = this.#open(bytes, 0, bytes.length, seed, piece);
      seed = crc;
      pieces.push(data);
    }
    const rows: StateEntry[] = [];
    const decoding = decodeRows(pieces, this.#header.membershipBytes);
    for (let next = decoding.next(); ; next = decoding.next()) {
      if (next.done !== true) rows.push(next.value);
      else if (next.value) return rows;
      else throw this.#damaged('it ends within a row');
    }
  }

  /** Closing twice is harmless. */
  close(): void {
    this.#file.close();
  }

  *#pieces(): Generator<Buffer> {
    let seed = firstSeed(this.#header.tip);
    for (let piece = SNAPSHOT_HEADER_BYTES; piece < this.sizeBytes; piece += PIECE_BYTES) {
      const bytes = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, this.sizeBytes - piece));
      this.#read(bytes, piece);
      const { data, crc } = this.#open(bytes, 0, bytes.length, seed, piece);
      seed = crc;
      yield data;
    }
  }

  #open(buffer: Buffer, start: number, end: number, seed: number, position: number): { data: Buffer; crc: number } {
    const opened = openPiece(buffer, start, end, seed);
    const isLast = position + (end - start) === this.sizeBytes;
    if (opened === null || (isLast && opened.crc !== this.#header.dataCrc)) throw this.#damaged(`at byte ${position}`);
    return opened;
  }

  #read(target: Buffer, position: number): void {
    if (this.#file.read(target, position) !== target.length) throw this.#damaged('it is too short');
  }

  #damaged(how: string): TLedgerError {
    return snapshotDamage(this.#file.path, how);
  }
}

/** Where the piece that holds `offset` begins; the first one for the header's bytes. */
function pieceStart(offset: number): number {
  const number = Math.max(0, Math.floor((offset - SNAPSHOT_HEADER_BYTES) / PIECE_BYTES));
  return SNAPSHOT_HEADER_BYTES + number * PIECE_BYTES;
}

function readHeader(file: DiskFile): SnapshotHeader {
  const bytes = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
  const header = file.read(bytes, 0) === bytes.length ? decodeHeader(bytes, 0, file.path) : null;
  if (header === null) throw snapshotDamage(file.path, 'its header');
  return header;
}

/** The error that says so; the file is named by the snapshot's index. */
export function snapshotDamage(file: string, reason: string): TLedgerError {
  return new DamageError({ kind: 'snapshot', file, index: logIndex(Number(file.slice(-20))), reason });
}
