// Going through the files of a backup, and those it is made of: in pieces, without blocking, at somebody's pace.
import { crc32 } from '../base/crc.ts';
import type { Disk, DiskFile } from './disk.ts';
import { type Pace, PIECE_BYTES } from './pace.ts';
import type { SegmentCheck } from './segment_check.ts';
import type { Snapshot } from './snapshot_reader.ts';

/** Written without a flush at most: what a later flush has to carry stays small. */
const UNFLUSHED_BYTES_MAX = 4 * 1024 * 1024;

/** How files are gone through. */
export interface Passage {
  readonly pace: Pace;
  /** So many bytes more were read. */
  readonly onBytes: (count: number) => void;
}

/** Gets each piece with its place in the file; it may change the bytes, which are used again. */
type PieceVisitor = (piece: Buffer, at: number) => void | Promise<void>;

/** Reads `[0, sizeBytes)`; ends early at the end of the file. @returns the number of bytes read. */
export async function readThrough(
  file: DiskFile,
  sizeBytes: number,
  { pace, onBytes }: Passage,
  visit: PieceVisitor,
): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, Math.max(1, sizeBytes)));
  let done = 0;
  while (done < sizeBytes) {
    const wanted = Math.min(buffer.length, sizeBytes - done);
    await pace.take(wanted);
    const count = await file.readAsync(buffer.subarray(0, wanted), done);
    await visit(buffer.subarray(0, count), done);
    onBytes(count);
    done += count;
    if (count < wanted) break;
  }
  return done;
}

/** Whether a file is of that size and content. */
export async function isIntact(
  disk: Disk,
  path: string,
  expected: { readonly sizeBytes: number; readonly crc32: number },
  passage: Passage,
): Promise<boolean> {
  if (!disk.exists(path)) return false;
  const file = disk.open(path);
  try {
    if (file.sizeBytes() !== expected.sizeBytes) return false;
    let crc = 0;
    const count = await readThrough(file, expected.sizeBytes, passage, (piece) => {
      crc = crc32(piece, 0, piece.length, crc);
    });
    return count === expected.sizeBytes && crc === expected.crc32;
  } finally {
    file.close();
  }
}

/** Writes a file front to back, flushing as it goes, without blocking. */
export class PacedWriter {
  readonly #file: DiskFile;
  #unflushedBytes = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  async write(piece: Buffer, at: number): Promise<void> {
    this.#file.write(piece, at);
    this.#unflushedBytes += piece.length;
    if (this.#unflushedBytes < UNFLUSHED_BYTES_MAX) return;
    this.#unflushedBytes = 0;
    await this.#file.flush();
  }

  /** All of it is durable when it resolves. @param sizeBytes what is missing up to there is zeros. */
  async finish(sizeBytes: number): Promise<void> {
    this.#file.truncate(sizeBytes);
    await this.#file.flush();
  }
}

/**
 * Reads the bytes of a segment through its check, and copies them.
 * @param target gets what was checked, with zeros behind the filler; null only to check.
 * @returns what is wrong that the check alone cannot tell; null if nothing is.
 */
export async function passSegment(
  file: DiskFile,
  sizeBytes: number,
  check: SegmentCheck,
  target: PacedWriter | null,
  passage: Passage & { readonly start: number },
): Promise<string | null> {
  const { start } = passage;
  const count = await readThrough(file, sizeBytes, passage, async (piece, at) => {
    check.feed(piece);
    if (target === null || check.fault !== null) return;
    if (check.isClosed) piece.fill(0, Math.min(piece.length, Math.max(0, check.paddingAt - start - at)));
    await target.write(piece, at);
  });
  return count < sizeBytes ? 'the file is too short' : null;
}

/**
 * Reads a snapshot, every piece of it verified, and copies it.
 * @returns CRC-32 of the whole file. @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED
 */
export async function passSnapshot(
  snapshot: Snapshot,
  target: PacedWriter | null,
  { pace, onBytes }: Passage,
): Promise<number> {
  let crc = 0;
  for (let at = 0; at < snapshot.sizeBytes; ) {
    const wanted = Math.min(PIECE_BYTES, snapshot.sizeBytes - at);
    await pace.take(wanted);
    const { buffer, start, end } = snapshot.read(at, wanted);
    crc = crc32(buffer, start, end, crc);
    await target?.write(buffer.subarray(start, end), at);
    onBytes(end - start);
    at += end - start;
  }
  return crc;
}
