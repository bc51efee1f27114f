// Makes the directory of a node out of a backup, offline: the same log on every node of the new group, and behind it one
// record that says who they are. The group has an id of its own, so that nobody of the old group is ever listened to.
//
//   restoring (marker) -> segments, snapshot: read as for a verification, and copied -> base, checkpoint, hard state
//     -> the log is opened as any start does -> membership record -> identity -> marker removed
//
// While the marker is there, no node starts on the directory; a restore that is begun again starts from nothing.
import { TLedgerError } from '../base/errors.ts';
import { blankRecord, recordMagic } from '../format/record.ts';
import { type LogIndex, type NodeId, type Term, term } from '../raft/types.ts';
import { firstStart, type Manifest, nameOf } from './backup_format.ts';
import { PacedWriter } from './backup_io.ts';
import { checkOrder, openBackup, type ReadOptions, readSegment, readSnapshot } from './backup_reader.ts';
import { Checkpoint } from './checkpoint.ts';
import { CommitLog } from './commit_log.ts';
import type { Disk } from './disk.ts';
import { HardStateFile } from './hard_state.ts';
import { type Founders, RESTORING_FILE, settleIdentity } from './identity.ts';
import { LogBase } from './log_base.ts';
import { SEGMENT_SIZE_BYTES_MIN } from './segment.ts';

/** Names beside the restored files that a directory may hold: the state's database, whose lock the caller has, and its mark. */
const FOREIGN_TO_RESTORE = ['state', 'lock'];
const FOLDERS = ['commitlog', 'index', 'snapshot'] as const;

/** What becomes of a backup. */
export interface RestoreOptions extends ReadOptions {
  /** The group's directory to be, on the same disk port; empty but for what the caller's lock made. */
  readonly target: string;
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** The new group's own; the same on all of its nodes. */
  readonly groupId: string;
  /** The members of the new group, all of them voters. */
  readonly members: Founders;
  /** The membership record that names them, encoded; the same on all of its nodes. */
  readonly membership: Buffer;
  /** Units in one file of the log index; only tests set it. */
  readonly indexUnitsPerFile?: number;
}

/** A node's directory that was made from a backup. */
export interface Restored {
  readonly manifest: Manifest;
  /** The record that names the new members: the last one. */
  readonly index: LogIndex;
  readonly term: Term;
}

/**
 * Restores one node of the new group.
 * @throws TLedgerError INVALID_ARGUMENT when the target is not empty; DATA_CORRUPTED naming the file when the backup is
 * incomplete or damaged; DATA_DIR_FOREIGN when newer software wrote it; STORAGE_FAILED. No node starts on what is left then.
 */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  const { disk, directory, target } = options;
  const manifest = openBackup(disk, directory);
  checkOrder(manifest);
  checkSize(manifest);
  clear(disk, target);
  disk.makeDirectory(target);
  disk.open(`${target}/${RESTORING_FILE}`, { create: true }).close();
  for (const folder of ['commitlog', 'snapshot']) disk.makeDirectory(`${target}/${folder}`);
  await copyLog(options, manifest);
  await copySnapshot(options, manifest);
  const forced = term(manifest.last.term + 1);
  writeMarks(options, manifest, forced);
  const index = appendMembership(options, manifest, forced);
  const { cluster, group, nodeId, groupId, members } = options;
  const identity = { cluster, group, nodeId, segmentSizeBytes: manifest.segmentSizeBytes };
  settleIdentity(disk, target, identity, { groupId, members });
  disk.remove(`${target}/${RESTORING_FILE}`);
  return { manifest, index, term: forced };
}

async function copyLog(options: RestoreOptions, manifest: Manifest): Promise<void> {
  const { segmentSizeBytes, base } = manifest;
  let before = base;
  for (const segment of manifest.segments) {
    await copy(options, `commitlog/${nameOf(segment.start)}`, segmentSizeBytes, (target) =>
      readSegment({ ...options, manifest, segment, before, target }),
    );
    before = segment.last;
  }
  // Behind a base there is always a segment, be it empty.
  if (manifest.segments.length > 0) return;
  await copy(options, `commitlog/${nameOf(firstStart(base, segmentSizeBytes))}`, segmentSizeBytes, async () => {});
}

async function copySnapshot(options: RestoreOptions, manifest: Manifest): Promise<void> {
  const { snapshot } = manifest;
  if (snapshot === null) return;
  await copy(options, snapshot.path, snapshot.sizeBytes, (target) =>
    readSnapshot({ ...options, manifest, snapshot, target }),
  );
}

async function copy(
  { disk, target }: RestoreOptions,
  path: string,
  sizeBytes: number,
  work: (writer: PacedWriter) => Promise<void>,
): Promise<void> {
  const file = disk.open(`${target}/${path}`, { create: true });
  try {
    const writer = new PacedWriter(file);
    await work(writer);
    await writer.finish(sizeBytes);
  } finally {
    file.close();
  }
}

/** Where the log begins, that all of it is vouched for, and a term in which nobody can have voted for anybody. */
function writeMarks({ disk, target }: RestoreOptions, { base, last }: Manifest, forced: Term): void {
  if (base.index > 0) {
    const file = LogBase.open(disk, `${target}/base`);
    file.save(base, { isFresh: false });
    file.close();
  }
  const checkpoint = new Checkpoint(disk, `${target}/checkpoint`);
  // There is no log index yet: the whole log is scanned when it is opened, and a bad record is damage wherever it lies.
  checkpoint.save({ flushed: last, mark: base });
  checkpoint.close();
  const hardState = HardStateFile.open({ disk, directory: target });
  hardState.save({ term: forced, vote: null });
  hardState.close();
}

function appendMembership(options: RestoreOptions, { segmentSizeBytes, last }: Manifest, forced: Term): LogIndex {
  const { disk, target: directory, membership, indexUnitsPerFile } = options;
  const log = CommitLog.open({
    ...{ disk, directory, segmentSizeBytes },
    ...(indexUnitsPerFile === undefined ? {} : { indexUnitsPerFile }),
  });
  try {
    if (log.lastIndex !== last.index || log.lastChain !== last.chainCrc) {
      throw new TLedgerError(
        'DATA_CORRUPTED',
        `${directory}: the restored log ends with record ${log.lastIndex}, not ${last.index}`,
      );
    }
    const record = blankRecord(recordMagic.membership, membership);
    return log.appendBlank(record, 0, record.length, forced).lastIndex;
  } finally {
    // Flushes, and fails if that fails.
    log.close();
  }
}

/** Empties a directory that an interrupted restore has left; any other one must be empty. */
function clear(disk: Disk, target: string): void {
  const names = disk.list(target).filter((name) => !FOREIGN_TO_RESTORE.includes(name));
  if (names.length === 0) return;
  if (!names.includes(RESTORING_FILE)) {
    throw new TLedgerError('INVALID_ARGUMENT', `${target} is not empty: it holds ${names[0]}`);
  }
  for (const folder of FOLDERS) {
    for (const name of disk.list(`${target}/${folder}`)) disk.remove(`${target}/${folder}/${name}`);
  }
  const folders: readonly string[] = FOLDERS;
  // The marker goes last: what is left half-way is still half a restore.
  const files = names.filter((name) => !folders.includes(name) && name !== RESTORING_FILE);
  for (const name of files) disk.remove(`${target}/${name}`);
}

function checkSize({ segmentSizeBytes }: Manifest): void {
  if (Number.isSafeInteger(segmentSizeBytes) && segmentSizeBytes >= SEGMENT_SIZE_BYTES_MIN) return;
  throw new TLedgerError('DATA_CORRUPTED', `segments of ${segmentSizeBytes} bytes cannot be`);
}
