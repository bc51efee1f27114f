// Beginning a change of members on the leader: is it wise, is it in the log, does a majority agree? What follows (a new
// member catching up, the change-over) goes on by itself, and may take hours.
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, MembershipChange, MembershipEntry, NodeId } from '../raft/types.ts';
import { checkHealth, type MembershipOrder } from './members.ts';

/** The part of a replica that is used here. */
export interface ChangingReplica {
  readonly isLeader: boolean;
  /** In force. */
  readonly membership: MembershipEntry;
  /** Followers that answer this leader. */
  readonly connectedPeers: readonly NodeId[];
  /** Resolves when the change is done; in force are its first consequences when this returns. */
  changeMembership(change: MembershipChange, deadlineMs: number): Promise<unknown>;
  whenApplied(index: LogIndex, deadlineMs: number): Promise<void>;
  status(): { readonly nodeId: NodeId };
}

/**
 * Begins a change.
 * @returns the index of its first record, once that is committed.
 * @throws TLedgerError NOT_LEADER, NO_HEALTHY_MAJORITY, INVALID_ARGUMENT, UNKNOWN_NODE, MEMBERSHIP_CHANGING when nothing
 * happened; OUTCOME_UNKNOWN when the record may yet be taken back.
 */
export async function beginChange(
  replica: ChangingReplica,
  { change, force }: MembershipOrder,
  deadlineMs: number,
): Promise<LogIndex> {
  if (!replica.isLeader) throw new TLedgerError('NOT_LEADER');
  const before = replica.membership;
  if (!force) {
    const up = new Set([replica.status().nodeId, ...replica.connectedPeers]);
    checkHealth(before.membership, change, (nodeId) => up.has(nodeId));
  }
  const done = replica.changeMembership(change, deadlineMs);
  const { index } = replica.membership;
  if (index === before.index) {
    await done;
    return replica.membership.index;
  }
  // Another leader's record may be applied in that place; then the change ends, without effect, before `whenApplied` does.
  let ended: unknown = null;
  done.catch((error: unknown) => {
    ended = error;
  });
  await replica.whenApplied(index, deadlineMs).catch((error: unknown) => {
    throw new TLedgerError('OUTCOME_UNKNOWN', `record ${index} changes the members, but may yet be taken back`, error);
  });
  if (ended instanceof TLedgerError && ended.code === 'NOT_LEADER') throw ended;
  return index;
}
