// What a backup looks like on disk:
//
//   <directory>/
//     manifest.json                        what belongs to the backup; there as a whole, old or new (by rename)
//     commitlog/<20-digit start>           a closed segment, byte for byte: often a hard link to the node's own file
//     commitlog/<20-digit start>.<index>   the records of the segment that was open, up to the last one backed up
//     snapshot/<20-digit index>            the state at the log's base, when the log does not begin with record 1
//     incomplete                           the first backup into this directory has not come to its end
//     *.new                                being written; not part of any backup
//
// A file that a manifest names never changes. What no manifest names is not part of the backup; the next one removes it.
import { crc32 } from '../base/crc.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type MembershipEntry, type NodeId, term } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import type { LogTip } from './log_tip.ts';

/** Raised when the layout changes; a higher one than ours is refused. */
export const BACKUP_FORMAT_VERSION = 1;
export const MANIFEST_FILE = 'manifest.json';
/** Stands for "a backup was begun here": without a manifest, only a directory with it is taken over. */
export const INCOMPLETE_FILE = 'incomplete';
export const DRAFT_SUFFIX = '.new';
/** 100 bytes to a few hundred a segment: enough for 100,000 of them. */
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

/** A file of a backup, with what it must be. */
export interface BackupFile {
  readonly kind: 'segment' | 'tail' | 'snapshot';
  /** Below the backup's directory. */
  readonly path: string;
  readonly sizeBytes: number;
  /** CRC-32 of the whole file. */
  readonly crc32: number;
}

/** A piece of the log: a closed segment or the records of the open one. */
export interface BackupSegment extends BackupFile {
  readonly kind: 'segment' | 'tail';
  /** Physical offset of its first byte. */
  readonly start: number;
  /** Its last record. */
  readonly last: LogTip;
}

/** What a backup is of, and made of. */
export interface Manifest {
  readonly cluster: string;
  readonly group: string;
  readonly groupId: string;
  readonly segmentSizeBytes: number;
  /** The record before the first one held; index 0 for a log that begins with record 1. */
  readonly base: LogTip;
  /** The last record: everything up to it is in the backup, nothing behind it. */
  readonly last: LogTip;
  /** Who belonged to the group then; null when no record had said so yet. */
  readonly membership: MembershipEntry | null;
  /** The state at the base; null for a log that begins with record 1. */
  readonly snapshot: BackupFile | null;
  /** In the order of the log, without gaps; of them only the last one may be a tail. */
  readonly segments: readonly BackupSegment[];
  /** When the backup came to its end, by the wall clock of the node that made it. */
  readonly createdMs: number;
  readonly createdBy: NodeId;
}

/** All files of a backup. */
export function filesOf({ segments, snapshot }: Manifest): readonly BackupFile[] {
  return snapshot === null ? segments : [...segments, snapshot];
}

/** Names a file of 20 digits, as the node's own are. */
export function nameOf(value: number): string {
  return String(value).padStart(20, '0');
}

/** Where a tail up to record `index` lies. */
export function tailPath(start: number, index: LogIndex): string {
  return `commitlog/${nameOf(start)}.${index}`;
}

/** Where the segment behind a base begins (segment.ts). */
export function firstStart(base: LogTip, segmentSizeBytes: number): number {
  return base.index === 0 ? 0 : (Math.floor(base.end / segmentSizeBytes) + 1) * segmentSizeBytes;
}

/** Identifies one backup: the checksum of its manifest, 8 hex digits. */
export function checksumOf(manifest: Manifest): string {
  return checksum(JSON.stringify(fieldsOf(manifest)));
}

/** One JSON document: `{"checksum": …, "manifest": …}`, the checksum being of the manifest without white space. */
export function encodeManifest(manifest: Manifest): Buffer {
  const fields = fieldsOf(manifest);
  const document = { checksum: checksum(JSON.stringify(fields)), manifest: fields };
  return Buffer.from(`${JSON.stringify(document, null, 1)}\n`);
}

/**
 * The manifest of a backup; null when there is none.
 * @throws TLedgerError DATA_CORRUPTED when it is damaged; DATA_DIR_FOREIGN when newer software wrote it.
 */
export function readManifest(disk: Disk, directory: string): Manifest | null {
  const path = `${directory}/${MANIFEST_FILE}`;
  if (!disk.exists(path)) return null;
  const file = disk.open(path);
  try {
    const sizeBytes = file.sizeBytes();
    if (sizeBytes > MANIFEST_BYTES_MAX) throw damaged(path, `it has ${sizeBytes} bytes`);
    const bytes = Buffer.alloc(sizeBytes);
    file.read(bytes, 0);
    return decodeManifest(bytes, path);
  } finally {
    file.close();
  }
}

/**
 * @param path names the file in errors.
 * @throws TLedgerError as `readManifest`.
 */
export function decodeManifest(bytes: Buffer, path: string): Manifest {
  let fields: ManifestFields;
  let expected: unknown;
  try {
    const document = JSON.parse(bytes.toString()) as { checksum: unknown; manifest: ManifestFields };
    ({ checksum: expected, manifest: fields } = document);
    if (typeof fields !== 'object' || fields === null) throw new Error('there is no manifest in it');
  } catch (error) {
    throw damaged(path, messageOf(error));
  }
  if (checksum(JSON.stringify(fields)) !== expected) throw damaged(path, 'it does not match its checksum');
  const { formatVersion, base, last, segments, createdAt, ...rest } = fields;
  if (!(formatVersion >= 1 && formatVersion <= BACKUP_FORMAT_VERSION)) {
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${path} has format version ${formatVersion}; this software reads up to version ${BACKUP_FORMAT_VERSION}`,
    );
  }
  return {
    ...rest,
    base: toTip(base),
    last: toTip(last),
    segments: segments.map((segment) => ({ ...segment, last: toTip(segment.last) })),
    createdMs: Date.parse(createdAt),
  };
}

interface TipFields {
  readonly index: number;
  readonly term: number;
  readonly chainCrc: number;
  readonly start: number;
  readonly end: number;
}

type ManifestFields = ReturnType<typeof fieldsOf>;

/** In this order in the file. */
function fieldsOf(manifest: Manifest) {
  const { cluster, group, groupId, segmentSizeBytes, base, last, membership, snapshot, segments } = manifest;
  return {
    formatVersion: BACKUP_FORMAT_VERSION as number,
    cluster,
    group,
    groupId,
    createdAt: new Date(manifest.createdMs).toISOString(),
    createdBy: manifest.createdBy,
    segmentSizeBytes,
    base: toFields(base),
    last: toFields(last),
    membership,
    snapshot,
    segments: segments.map((segment) => ({ ...segment, last: toFields(segment.last) })),
  };
}

function toFields({ index, term: ofTerm, chainCrc, start, end }: LogTip): TipFields {
  return { index, term: ofTerm, chainCrc, start, end };
}

function toTip({ index, term: ofTerm, chainCrc, start, end }: TipFields): LogTip {
  return {
    index: logIndex(index),
    term: term(ofTerm),
    chainCrc,
    start: physicalOffset(start),
    end: physicalOffset(end),
  };
}

function checksum(json: string): string {
  return crc32(Buffer.from(json)).toString(16).padStart(8, '0');
}

function damaged(path: string, reason: string): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `${path} is damaged: ${reason}`);
}
