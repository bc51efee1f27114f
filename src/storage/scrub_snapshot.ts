// Reads one snapshot file piece by piece without blocking and checks each, as snapshot_reader.ts does for whoever uses it.
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import type { Pace } from './scrub_pace.ts';
import {
  CHUNK_BYTES,
  decodeHeader,
  firstSeed,
  openPiece,
  PIECE_BYTES,
  SNAPSHOT_HEADER_BYTES,
  snapshotBytes,
} from './snapshot_format.ts';

/** What a snapshot was found to be. Of equal index, replicas have equal checksums. */
export interface SnapshotDigest {
  readonly tip: LogTip;
  readonly sizeBytes: number;
  /** The checksum over everything in it. */
  readonly dataCrc: number;
}

/** A good snapshot's digest, or what is wrong with it; null when it is not there (any more). */
export type SnapshotVerdict = { readonly digest: SnapshotDigest } | { readonly reason: string } | null;

/**
 * Checks the file at `path`. What the device cannot read is as bad as what it reads wrongly.
 * @throws TLedgerError DATA_DIR_FOREIGN when a newer version of this software wrote it; SHUTTING_DOWN.
 */
export async function checkSnapshot(disk: Disk, path: string, pace: Pace): Promise<SnapshotVerdict> {
  if (!disk.exists(path)) return null;
  let file: DiskFile | null = null;
  try {
    file = disk.open(path);
    return await checkFile(file, pace);
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'STORAGE_FAILED') throw error;
    return { reason: messageOf(error) };
  } finally {
    file?.close();
  }
}

async function checkFile(file: DiskFile, pace: Pace): Promise<SnapshotVerdict> {
  const start = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
  const header = (await file.readAsync(start, 0)) === start.length ? decodeHeader(start, 0, file.path) : null;
  if (header === null) return { reason: 'its header' };
  const sizeBytes = snapshotBytes(header);
  if (file.sizeBytes() !== sizeBytes) return { reason: `it has ${file.sizeBytes()} bytes instead of ${sizeBytes}` };
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let seed = firstSeed(header.tip);
  for (let position = SNAPSHOT_HEADER_BYTES; position < sizeBytes; position += CHUNK_BYTES) {
    const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - position));
    await pace.take(chunk.length);
    if ((await file.readAsync(chunk, position)) !== chunk.length) return { reason: 'it is too short' };
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      const piece = openPiece(chunk, at, Math.min(at + PIECE_BYTES, chunk.length), seed);
      if (piece === null) return { reason: `at byte ${position + at}` };
      seed = piece.crc;
    }
  }
  const { tip, dataCrc, dataBytes } = header;
  if (dataBytes > 0 && seed !== dataCrc) return { reason: 'its pieces are not those of its header' };
  return { digest: { tip, sizeBytes, dataCrc } };
}
