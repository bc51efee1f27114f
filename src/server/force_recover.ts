// Forced recovery of a group whose majority is lost for good, on one survivor's directory while no node uses it: says what
// is there and what that may mean, and makes the survivor a group of one. The new group has an id of its own, so that old
// members that come back are refused instead of voting for what they still know.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { readTables } from '../broker/state_tables.ts';
import { decodeMembership, decodeMembershipEntry, encodeMembership } from '../format/membership.ts';
import { bootstrap, membersOf } from '../raft/membership.ts';
import { type LogIndex, logIndex, type MemberAddress, type Membership, type NodeId, type Term } from '../raft/types.ts';
import { describeSurvivor, forceMembership, type SurvivorDescription } from '../storage/force_recovery.ts';
import { type ClaimedDirectory, readIdentity } from '../storage/identity.ts';
import type { LevelStateStore } from '../storage/level_state_store.ts';
import { RealDisk } from '../storage/real_disk.ts';
import { SnapshotStore } from '../storage/snapshot_store.ts';
import { forgetOwner, lockDirectory } from './data_directory.ts';

/** Which directory, and where the survivor is reached if what is recorded does not hold any more. */
export interface RecoverOptions {
  readonly dataDir: string;
  readonly group: string;
  /** The survivor's addresses; those on record by default. */
  readonly address?: Partial<MemberAddress>;
}

/** What one survivor holds. Of two, the one with the higher last term, and then the higher last index, holds more. */
export interface Survivor {
  readonly directory: string;
  readonly cluster: string;
  readonly group: string;
  readonly groupId: string | null;
  readonly nodeId: NodeId;
  /** The first record that is held; those before are in a snapshot. */
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** All that the log holds is on disk. */
  readonly flushedIndex: LogIndex;
  /** The last record known to be committed: it was applied here. */
  readonly appliedIndex: LogIndex;
  /** Records after that one, without those that only say who the members are. Whether they were acknowledged is not known. */
  readonly uncertainCount: number;
  /** The term this node took part in last, and whom it voted for. */
  readonly term: Term;
  readonly vote: NodeId | null;
  readonly members: readonly NodeId[];
  /** The record that names them: 0 for the founding members. */
  readonly membersIndex: LogIndex;
  /** It is the only voter, where it is to be reached: the group is as small as force makes it, and can go on. */
  readonly isAlone: boolean;
  /** Members whose data is not here: what only they hold is lost. */
  readonly others: readonly NodeId[];
  /** Bytes of an unfinished write that were cut from the end. */
  readonly tornBytes: number;
  /** Where it is reached from now on. */
  readonly address: MemberAddress;
}

/** A survivor that is a group of one now. */
export interface Recovered {
  readonly groupId: string;
  /** The record that makes it the only member. */
  readonly index: LogIndex;
  readonly term: Term;
}

/**
 * Says what is there; an unfinished write at the end of the log is cut, as any start does, and nothing else is changed.
 * @throws TLedgerError DATA_DIR_LOCKED while a node uses it; DATA_DIR_FOREIGN when there is none; DATA_CORRUPTED;
 * INVALID_ARGUMENT when the survivor's address is neither recorded nor given.
 */
export function describe(options: RecoverOptions): Promise<Survivor> {
  return withLocked(options, async (survivor) => survivor);
}

/**
 * Makes it a group of one. What only others hold is lost; what is held here and was not committed becomes so.
 * Interrupted, it may be repeated; once it is done it changes nothing.
 * @returns null when it was done already.
 * @throws TLedgerError as `describe`; STORAGE_FAILED.
 */
export function recoverByForce(options: RecoverOptions): Promise<(Survivor & Recovered) | null> {
  return withLocked(options, async (survivor, claimed) => {
    const { nodeId, directory, address } = survivor;
    // The record comes last: where it is, the id is the new one, too.
    if (survivor.isAlone) return null;
    const { segmentSizeBytes } = claimed.identity;
    // First the id: from now on nobody of the old group is listened to, whatever happens next.
    const groupId = randomBytes(8).toString('hex');
    claimed.secede(groupId);
    const body = encodeMembership(bootstrap({ [nodeId]: address }));
    const { index, term } = forceMembership({ disk: new RealDisk(), directory, segmentSizeBytes, nodeId, body });
    return { ...survivor, groupId, index, term };
  });
}

async function withLocked<T>(
  options: RecoverOptions,
  work: (survivor: Survivor, claimed: ClaimedDirectory) => Promise<T>,
): Promise<T> {
  const directory = join(options.dataDir, options.group);
  const disk = new RealDisk();
  const claimed = readIdentity(disk, directory);
  // The state's lock is the directory's: no node can use it meanwhile.
  const store = await lockDirectory(directory);
  try {
    return await work(await surveyOf(options, directory, claimed, store), claimed);
  } finally {
    forgetOwner(directory);
    await store.close();
  }
}

async function surveyOf(
  options: RecoverOptions,
  directory: string,
  claimed: ClaimedDirectory,
  store: LevelStateStore,
): Promise<Survivor> {
  const { cluster, group, nodeId, segmentSizeBytes } = claimed.identity;
  const disk = new RealDisk();
  const found = describeSurvivor({ disk, directory, segmentSizeBytes });
  const { applied } = readTables(await store.load());
  const { index: membersIndex, membership } = membershipOf(found, claimed, disk, directory);
  const appliedIndex = logIndex(Math.max(applied, found.base.index));
  const members = membersOf(membership);
  const address = addressOf(options, nodeId, membership.addresses[nodeId] ?? claimed.founders[nodeId]);
  const owned = found.memberships.filter(({ index }) => index > appliedIndex).length;
  return {
    ...{ directory, cluster, group, groupId: claimed.groupId, nodeId },
    firstIndex: logIndex(found.base.index + 1),
    lastIndex: found.lastIndex,
    lastTerm: found.lastTerm,
    flushedIndex: found.lastIndex,
    appliedIndex,
    uncertainCount: Math.max(0, found.lastIndex - appliedIndex - owned),
    term: found.hardState.term,
    vote: found.hardState.vote,
    members,
    membersIndex,
    isAlone: isAlone(membership, nodeId, address),
    others: members.filter((id) => id !== nodeId),
    tornBytes: found.recovery.bytesCut,
    address,
  };
}

/** In force by what the log, a snapshot or the founding says, in this order. */
function membershipOf(
  found: SurvivorDescription,
  claimed: ClaimedDirectory,
  disk: RealDisk,
  directory: string,
): { readonly index: LogIndex; readonly membership: Membership } {
  const last = found.memberships.at(-1);
  if (last !== undefined) return { index: last.index, membership: decodeMembership(last.body) };
  const founding = { index: logIndex(0), membership: bootstrap(claimed.founders) };
  if (found.base.index === 0) return founding;
  const snapshots = SnapshotStore.open({ disk, directory });
  try {
    const snapshot = snapshots.open(found.base.index);
    try {
      return decodeMembershipEntry(snapshot.meta.membership) ?? founding;
    } finally {
      snapshot.close();
    }
  } finally {
    snapshots.close();
  }
}

/** Learners have no say. */
function isAlone(
  { voters, outgoing, addresses }: Membership,
  nodeId: NodeId,
  { peer, client }: MemberAddress,
): boolean {
  const recorded = addresses[nodeId];
  const isThere = recorded?.peer === peer && recorded.client === client;
  return isThere && outgoing.length === 0 && voters.length === 1 && voters[0] === nodeId;
}

function addressOf(
  { address: given }: RecoverOptions,
  nodeId: NodeId,
  recorded: MemberAddress | undefined,
): MemberAddress {
  const peer = given?.peer || recorded?.peer;
  const client = given?.client || recorded?.client;
  if (peer && client) return { peer, client };
  throw new TLedgerError('INVALID_ARGUMENT', `where ${nodeId} is reached is not on record: give --peer and --client`);
}
