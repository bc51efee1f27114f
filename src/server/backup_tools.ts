// Backups as they lie on this machine's disk, for people: which there are, whether they are good, and a node's directory
// made of one. Offline: no node is asked, and none may use the directory that is made.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { encodeMembership } from '../format/membership.ts';
import { bootstrap } from '../raft/membership.ts';
import type { LogIndex, MemberAddress, NodeId, Term } from '../raft/types.ts';
import { checksumOf, INCOMPLETE_FILE, MANIFEST_FILE, type Manifest } from '../storage/backup_format.ts';
import { type BackupProblem, bytesOf, openBackup, verifyBackup } from '../storage/backup_reader.ts';
import { restoreBackup } from '../storage/backup_restore.ts';
import { RESTORING_FILE } from '../storage/identity.ts';
import { unhurried } from '../storage/pace.ts';
import { RealDisk } from '../storage/real_disk.ts';
import { forgetOwner, lockDirectory } from './data_directory.ts';

/** What a backup is of. */
export interface BackupFacts {
  readonly directory: string;
  readonly cluster: string;
  readonly group: string;
  readonly groupId: string;
  /** The first record in it; those before are in its snapshot. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly chainCrc: number;
  /** Tells one backup from another. */
  readonly checksum: string;
  readonly segmentSizeBytes: number;
  readonly files: number;
  readonly sizeBytes: number;
  /** Who belonged to the group. */
  readonly members: readonly NodeId[];
  readonly createdMs: number;
  readonly createdBy: NodeId;
}

/** A directory that holds a backup, or was meant to. */
export type ListedBackup =
  | { readonly directory: string; readonly facts: BackupFacts; readonly error: null }
  | { readonly directory: string; readonly facts: null; readonly error: string };

/** How far reading a backup is. */
export type ReadProgress = (bytesRead: number, bytesTotal: number) => void;

/**
 * What the backup in a directory is of, by its manifest.
 * @throws TLedgerError DATA_CORRUPTED when there is none, or a damaged one; DATA_DIR_FOREIGN when newer software wrote it.
 */
export function describeBackup(directory: string): BackupFacts {
  return factsOf(directory, openBackup(new RealDisk(), directory));
}

/** The backups in a directory: itself, or those right below it. Only manifests are looked at. */
export function listBackups(directory: string): ListedBackup[] {
  const disk = new RealDisk();
  const isOne = (path: string): boolean =>
    disk.exists(join(path, MANIFEST_FILE)) || disk.exists(join(path, INCOMPLETE_FILE));
  const below = (): string[] => disk.list(directory).map((name) => join(directory, name));
  const found = isOne(directory) ? [directory] : below().filter(isOne);
  return found.map((path) => {
    try {
      return { directory: path, facts: describeBackup(path), error: null };
    } catch (error) {
      return { directory: path, facts: null, error: messageOf(error) };
    }
  });
}

/**
 * Reads all of a backup: checksums, the chain of its records, its snapshot.
 * @throws TLedgerError as `describeBackup`; STORAGE_FAILED. What is wrong with its files is an answer.
 */
export async function checkBackup(
  directory: string,
  onProgress: ReadProgress = () => {},
): Promise<{ readonly facts: BackupFacts; readonly problems: readonly BackupProblem[] }> {
  const disk = new RealDisk();
  const passage = passageOf(openBackup(disk, directory), onProgress);
  const { manifest, problems } = await verifyBackup({ disk, directory, passage });
  return { facts: factsOf(directory, manifest), problems };
}

/** Which node of which new group is made of a backup. */
export interface RestoreRequest {
  readonly directory: string;
  readonly dataDir: string;
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** All nodes of the new group; the same, and the same addresses, wherever one of them is restored. */
  readonly members: Readonly<Record<NodeId, MemberAddress>>;
  /** Tells one restoration of the same backup to the same members from another. */
  readonly generation: string;
}

/** A node of the new group, ready to be started. */
export interface RestoredNode {
  readonly facts: BackupFacts;
  readonly directory: string;
  readonly groupId: string;
  /** The record that names the members of the new group. */
  readonly index: LogIndex;
  readonly term: Term;
}

/**
 * Makes a node's directory of a backup.
 * @throws TLedgerError INVALID_ARGUMENT when the node's directory is not empty; DATA_DIR_LOCKED while a node uses it;
 * DATA_CORRUPTED naming the file when the backup is incomplete or damaged; DATA_DIR_FOREIGN when newer software wrote it.
 */
export async function restoreNode(request: RestoreRequest, onProgress: ReadProgress = () => {}): Promise<RestoredNode> {
  const { directory, dataDir, cluster, group, nodeId, members } = request;
  const disk = new RealDisk();
  const manifest = openBackup(disk, directory);
  const target = join(dataDir, group);
  refuseUsed(disk, target);
  disk.makeDirectory(target);
  const store = await lockDirectory(target);
  try {
    if ((await store.load()).size > 0) {
      throw new TLedgerError('INVALID_ARGUMENT', `${target} is not empty: there is a state in it`);
    }
    const groupId = restoredGroupId(manifest, request);
    const { index, term } = await restoreBackup({
      ...{ disk, directory, target, cluster, group, nodeId, groupId, members },
      membership: encodeMembership(bootstrap(members)),
      passage: passageOf(manifest, onProgress),
    });
    return { facts: factsOf(directory, manifest), directory: target, groupId, index, term };
  } finally {
    forgetOwner(target);
    await store.close();
  }
}

/**
 * The id of the group that is made of a backup: the same on all of its nodes without asking anybody, and another one for
 * another backup, other members, or another generation.
 */
export function restoredGroupId(
  manifest: Manifest,
  { cluster, group, members, generation }: Pick<RestoreRequest, 'cluster' | 'group' | 'members' | 'generation'>,
): string {
  const nodes = Object.keys(members)
    .sort()
    .map((nodeId) => [nodeId, members[nodeId]!.peer, members[nodeId]!.client]);
  const { groupId, last } = manifest;
  const of = [groupId, last.index, last.chainCrc, checksumOf(manifest)];
  const text = JSON.stringify(['restored', ...of, cluster, group, nodes, generation]);
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Before anything is made there. */
function refuseUsed(disk: RealDisk, target: string): void {
  const names = disk.list(target).filter((name) => name !== 'state' && name !== 'lock');
  if (names.length === 0 || names.includes(RESTORING_FILE)) return;
  throw new TLedgerError('INVALID_ARGUMENT', `${target} is not empty: it holds ${names[0]}`);
}

function passageOf(manifest: Manifest, onProgress: ReadProgress) {
  const bytesTotal = bytesOf(manifest);
  let bytesRead = 0;
  const onBytes = (count: number): void => {
    bytesRead += count;
    onProgress(bytesRead, bytesTotal);
  };
  return { pace: unhurried, onBytes };
}

function factsOf(directory: string, manifest: Manifest): BackupFacts {
  const { cluster, group, groupId, base, last, segmentSizeBytes, membership, createdMs, createdBy } = manifest;
  const { segments, snapshot } = manifest;
  return {
    ...{ directory, cluster, group, groupId },
    firstIndex: base.index + 1,
    lastIndex: last.index,
    lastTerm: last.term,
    chainCrc: last.chainCrc,
    checksum: checksumOf(manifest),
    segmentSizeBytes,
    files: segments.length + (snapshot === null ? 0 : 1),
    sizeBytes: bytesOf(manifest),
    members: Object.keys(membership?.membership.addresses ?? {}).sort(),
    ...{ createdMs, createdBy },
  };
}
