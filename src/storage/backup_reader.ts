// Reads a backup as nobody trusts it: every file against its checksum, every record against the chain from the base to the
// last one, every piece and row of the snapshot. What restores a backup reads it the same way.
import { TLedgerError } from '../base/errors.ts';
import { decodeMembershipEntry } from '../format/membership.ts';
import {
  type BackupFile,
  type BackupSegment,
  filesOf,
  firstStart,
  INCOMPLETE_FILE,
  type Manifest,
  readManifest,
} from './backup_format.ts';
import { type PacedWriter, type Passage, passSegment, passSnapshot } from './backup_io.ts';
import type { Disk } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import { SegmentCheck } from './segment_check.ts';
import { Snapshot } from './snapshot_reader.ts';

/** Rows of a snapshot looked at before others come in between. */
const ROWS_AT_ONCE = 1_000;

/** What is wrong with a file of a backup. */
export interface BackupProblem {
  readonly file: string;
  readonly reason: string;
}

/** A backup that was read from end to end. */
export interface VerifiedBackup {
  readonly manifest: Manifest;
  /** Empty when all of it is good. */
  readonly problems: readonly BackupProblem[];
}

/** Where a backup lies, and how it is read. */
export interface ReadOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly passage: Passage;
}

/**
 * The manifest of a complete backup.
 * @throws TLedgerError DATA_CORRUPTED when there is none, or a damaged one; DATA_DIR_FOREIGN when newer software wrote it.
 */
export function openBackup(disk: Disk, directory: string): Manifest {
  const manifest = readManifest(disk, directory);
  if (manifest !== null) return manifest;
  const why = disk.exists(`${directory}/${INCOMPLETE_FILE}`)
    ? 'a backup was begun there, and never came to its end'
    : 'there is no manifest';
  throw new TLedgerError('DATA_CORRUPTED', `${directory} holds no complete backup: ${why}`);
}

/** Bytes that verifying or restoring a backup reads. */
export function bytesOf(manifest: Manifest): number {
  return filesOf(manifest).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/**
 * Reads all of a backup. What is wrong with it is an answer, not a failure.
 * @throws TLedgerError as `openBackup`; STORAGE_FAILED.
 */
export async function verifyBackup(options: ReadOptions): Promise<VerifiedBackup> {
  const manifest = openBackup(options.disk, options.directory);
  const problems: BackupProblem[] = [];
  const look = async (file: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof TLedgerError)) throw error;
      if (error.code === 'SHUTTING_DOWN') throw error;
      problems.push({ file, reason: error.message });
    }
  };
  await look('manifest.json', async () => checkOrder(manifest));
  let before = manifest.base;
  for (const segment of manifest.segments) {
    const from = before;
    await look(segment.path, () => readSegment({ ...options, manifest, segment, before: from, target: null }));
    before = segment.last;
  }
  const { snapshot } = manifest;
  if (snapshot !== null)
    await look(snapshot.path, () => readSnapshot({ ...options, manifest, snapshot, target: null }));
  return { manifest, problems };
}

/**
 * The files of a manifest are one log without gaps, from its base to its last record.
 * @throws TLedgerError DATA_CORRUPTED
 */
export function checkOrder({ base, last, segments, segmentSizeBytes, snapshot }: Manifest): void {
  const fail = (reason: string): never => {
    throw new TLedgerError('DATA_CORRUPTED', reason);
  };
  let start = firstStart(base, segmentSizeBytes);
  let before: LogTip = base;
  segments.forEach((segment, at) => {
    if (segment.start !== start) fail(`${segment.path} does not follow on the file before it`);
    if (segment.last.index <= before.index) fail(`${segment.path} holds no record`);
    if (segment.kind === 'tail' && at < segments.length - 1) fail(`${segment.path} is not the last one`);
    start += segmentSizeBytes;
    before = segment.last;
  });
  if (before.index !== last.index || before.chainCrc !== last.chainCrc) fail(`no file ends with record ${last.index}`);
  if ((snapshot === null) !== (base.index === 0)) fail(`there is no snapshot of record ${base.index}`);
}

/** A piece of the log to be read, and written to `target` if there is one. */
export interface SegmentReading extends ReadOptions {
  readonly manifest: Manifest;
  readonly segment: BackupSegment;
  /** The last record before it. */
  readonly before: LogTip;
  readonly target: PacedWriter | null;
}

/** @throws TLedgerError DATA_CORRUPTED when it is not what it should be; STORAGE_FAILED. */
export async function readSegment(reading: SegmentReading): Promise<void> {
  const { disk, directory, passage, manifest, segment, before, target } = reading;
  const { start, sizeBytes, kind, last } = segment;
  const fail = (reason: string): never => {
    throw new TLedgerError('DATA_CORRUPTED', `${directory}/${segment.path} is damaged: ${reason}`);
  };
  const check = new SegmentCheck(before, start, start + manifest.segmentSizeBytes);
  await withFile(disk, directory, segment, async (file) => {
    const fault = await passSegment(file, sizeBytes, check, target, { ...passage, start });
    if (fault !== null) fail(fault);
  });
  if (check.fault !== null) {
    fail(`position ${check.fault.position}, where record ${check.tip.index + 1} should be: ${check.fault.reason}`);
  }
  if (kind === 'segment' ? !check.isClosed : !check.isBetweenRecords) fail('it does not end where it should');
  if (!check.hasCleanPadding || check.crc !== segment.crc32) fail('it does not match its checksum');
  const isLast = check.tip.index === last.index && check.tip.chainCrc === last.chainCrc && check.tip.term === last.term;
  if (!isLast) fail(`it ends with record ${check.tip.index} instead of ${last.index}`);
}

/** The snapshot to be read, and written to `target` if there is one. */
export interface SnapshotReading extends ReadOptions {
  readonly manifest: Manifest;
  readonly snapshot: BackupFile;
  readonly target: PacedWriter | null;
}

/** @throws TLedgerError as `readSegment`. */
export async function readSnapshot({ disk, directory, passage, manifest, snapshot: entry, target }: SnapshotReading) {
  const fail = (reason: string): never => {
    throw new TLedgerError('DATA_CORRUPTED', `${directory}/${entry.path} is damaged: ${reason}`);
  };
  await withFile(disk, directory, entry, async () => {});
  const snapshot = Snapshot.open(disk, `${directory}/${entry.path}`);
  try {
    const { tip, membership } = snapshot.meta;
    const { base } = manifest;
    if (tip.index !== base.index || tip.chainCrc !== base.chainCrc) fail(`it is of record ${tip.index}`);
    decodeMembershipEntry(membership);
    const crc = await passSnapshot(snapshot, target, passage);
    if (crc !== entry.crc32) fail('it does not match its checksum');
    let left = ROWS_AT_ONCE;
    for (const _ of snapshot.rows()) {
      if (--left > 0) continue;
      left = ROWS_AT_ONCE;
      await passage.pace.take(0);
    }
  } finally {
    snapshot.close();
  }
}

/** @throws TLedgerError DATA_CORRUPTED when it is missing or of another size. */
async function withFile(
  disk: Disk,
  directory: string,
  { path, sizeBytes }: BackupFile,
  work: (file: ReturnType<Disk['open']>) => Promise<void>,
): Promise<void> {
  const full = `${directory}/${path}`;
  if (!disk.exists(full)) throw new TLedgerError('DATA_CORRUPTED', `${full} is missing`);
  const file = disk.open(full);
  try {
    if (file.sizeBytes() !== sizeBytes) {
      throw new TLedgerError('DATA_CORRUPTED', `${full} has ${file.sizeBytes()} bytes instead of ${sizeBytes}`);
    }
    await work(file);
  } finally {
    file.close();
  }
}
