// A small group on a memory disk, and backups of it.
import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { verifyBackup } from '../../src/storage/backup_reader.ts';
import { type BackupDone, type BackupOptions, writeBackup } from '../../src/storage/backup_writer.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import type { Pace } from '../../src/storage/pace.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import { append, DIRECTORY, openLog } from './log_fixture.ts';
import { rowsOf } from './snapshot_fixture.ts';

export const BACKUP = '/backup';
export const SEGMENT = 800;
export const layout = { segmentSizeBytes: SEGMENT, indexUnitsPerFile: 4 };
export const OWNER = { cluster: 'c', group: 'group', groupId: '0123456789abcdef', nodeId: 'n1' };
/** Nobody else is there to wait for. */
export const atOnce: Pace = { take: async () => {} };
export const passage = { pace: atOnce, onBytes: () => {} };

/** Records of 252 bytes: three to a segment. */
export function appendRecords(log: CommitLog, count: number, ofTerm = 3): void {
  for (let number = 0; number < count; number++) append(log, [204], ofTerm, log.lastIndex + 1);
}

/** A disk with a log of so many records, all flushed. */
export async function groupOf(count: number): Promise<{ disk: MemoryDisk; log: CommitLog }> {
  const disk = new MemoryDisk();
  const log = openLog(disk, layout);
  appendRecords(log, count);
  await log.flush();
  return { disk, log };
}

/** Cuts the log, with a snapshot in the place of what is cut. */
export async function cut(disk: MemoryDisk, log: CommitLog, boundary: number): Promise<void> {
  const store = SnapshotStore.open({ disk, directory: DIRECTORY });
  const tip = log.tipAt(logIndex(boundary));
  await store.write({ tip, membership: Buffer.alloc(0) }, rowsOf(3));
  log.cutTo(logIndex(boundary));
  for (const index of store.list()) if (index < boundary) store.remove(index);
  store.close();
}

/** Backs up all of the log, or what the options say. */
export function backUp(disk: MemoryDisk, log: CommitLog, options: Partial<BackupOptions> = {}): Promise<BackupDone> {
  return writeBackup({
    ...{ disk, directory: BACKUP, log, groupDirectory: DIRECTORY, segmentSizeBytes: SEGMENT },
    ...OWNER,
    ...{ upTo: log.flushedIndex, membership: null, prune: false, pace: atOnce },
    wallMs: () => 1_700_000_000_000,
    onProgress: () => {},
    ...options,
  });
}

/** The records of a backup that is good; throws otherwise. */
export async function expectGood(disk: MemoryDisk, hint = ''): Promise<readonly [number, number]> {
  const { manifest, problems } = await verifyBackup({ disk, directory: BACKUP, passage });
  expect(problems, hint).to.deep.equal([]);
  return [manifest.base.index, manifest.last.index];
}

/** What lies in the backup, and how much of it is shared with the node's own files. */
export function filesIn(disk: MemoryDisk): string[] {
  return disk.files().flatMap((path) => (path.startsWith(`${BACKUP}/`) ? [path.slice(BACKUP.length + 1)] : []));
}
