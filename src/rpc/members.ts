// Who belongs to the group, as other nodes and clients are told; and what an operator may ask to be changed.
import { parseDestination } from '../base/address.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { checkNodeName } from '../base/names.ts';
import type { LogIndex, Membership, MembershipChange, MembershipEntry, NodeId } from '../raft/types.ts';
import type {
  ChangeMembershipRequest,
  Membership as MembershipMessage,
  MembershipRole,
} from '../wire/admin_messages.ts';
import type { MemberRole } from '../wire/ledger_messages.ts';

/** A member and its two addresses, `host:port` each. */
export interface MemberInfo {
  readonly nodeId: NodeId;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly role: MemberRole;
  /** Of a learner: becomes a voter by itself once it has caught up, in the place of `replaces`. */
  readonly promote: boolean;
  readonly replaces: NodeId | null;
}

/** Who belongs to the group, as the record at `index` says; index 0 stands for the founding members. */
export interface GroupMembers {
  readonly index: LogIndex;
  /** False while the record may still be taken back, as far as this node knows. */
  readonly isCommitted: boolean;
  /** Two majorities must agree: joint consensus. */
  readonly isChangingOver: boolean;
  readonly members: readonly MemberInfo[];
}

/** What an operator asks for. */
export interface MembershipOrder {
  readonly change: MembershipChange;
  /** Do it although the group would be left without a majority that answers. */
  readonly force: boolean;
}

/** Everybody that `entry` names, in the order of their names. */
export function groupMembersOf({ index, membership }: MembershipEntry, commit: LogIndex): GroupMembers {
  const { addresses, outgoing } = membership;
  const members = Object.keys(addresses)
    .sort()
    .map((nodeId): MemberInfo => {
      const learner = membership.learners.find(({ id }) => id === nodeId);
      const { client, peer } = addresses[nodeId]!;
      return {
        nodeId,
        clientAddress: client,
        peerAddress: peer,
        role: roleOf(membership, nodeId),
        promote: learner?.promote ?? false,
        replaces: learner?.replaces ?? null,
      };
    });
  return { index, isCommitted: index <= commit, isChangingOver: outgoing.length > 0, members };
}

/** What `nodeId` is by `membership`. @param wasMember whether it was named by an earlier one. */
export function membershipRoleOf(membership: Membership, nodeId: NodeId, wasMember: boolean): MembershipRole {
  if (membership.addresses[nodeId] !== undefined) return roleOf(membership, nodeId);
  return wasMember ? 'removed' : 'joining';
}

/** The message about it. */
export function toMembership({ index, isCommitted, isChangingOver, members }: GroupMembers): MembershipMessage {
  return {
    index: String(index),
    committed: isCommitted,
    changingOver: isChangingOver,
    members: members.map(({ replaces, ...member }) => ({ ...member, replaces: replaces ?? '' })),
  };
}

/** The change that a message asks for. @throws TLedgerError INVALID_ARGUMENT naming what is wrong. */
export function toOrder(request: ChangeMembershipRequest): MembershipOrder {
  return { change: toChange(request), force: request.force };
}

/** The message that asks for it. */
export function fromOrder({ change, force }: MembershipOrder): ChangeMembershipRequest {
  const none = { nodeId: '', clientAddress: '', peerAddress: '', learnerOnly: false, replaces: '', force };
  switch (change.type) {
    case 'add': {
      const { id, address, promote, replaces } = change;
      const added = { ...none, nodeId: id, clientAddress: address.client, peerAddress: address.peer };
      return { ...added, kind: 'ADD', learnerOnly: !promote, replaces: replaces ?? '' };
    }
    case 'promote':
      return { ...none, kind: 'PROMOTE', nodeId: change.id };
    case 'remove':
      return { ...none, kind: 'REMOVE', nodeId: change.id };
    case 'readdress': {
      const { id, address } = change;
      return { ...none, kind: 'READDRESS', nodeId: id, clientAddress: address.client, peerAddress: address.peer };
    }
    case 'cancel':
      return { ...none, kind: 'CANCEL' };
  }
}

/**
 * Refuses a change that would stop the group: whose voters, when it is done, have no majority that answers now.
 * @param isUp whether a member answers this leader, itself included.
 * @throws TLedgerError NO_HEALTHY_MAJORITY naming those that do not.
 */
export function checkHealth(membership: Membership, change: MembershipChange, isUp: (nodeId: NodeId) => boolean): void {
  const voters = votersAfter(membership, change);
  if (voters === null) return;
  // Whoever is promoted has caught up by then, so it answers.
  const silent = voters.filter((nodeId) => membership.voters.includes(nodeId) && !isUp(nodeId));
  if (2 * (voters.length - silent.length) > voters.length) return;
  throw new TLedgerError(
    'NO_HEALTHY_MAJORITY',
    `${silent.join(', ')} of ${voters.join(', ')} would not answer, so nothing could be committed; force does it all the same`,
  );
}

/** The voters once `change` is done; null when it changes none, or cannot be made. */
function votersAfter({ voters, learners }: Membership, change: MembershipChange): NodeId[] | null {
  const without = (nodeId: NodeId | null): NodeId[] => voters.filter((voter) => voter !== nodeId);
  switch (change.type) {
    case 'add':
      return change.promote ? [...without(change.replaces), change.id] : null;
    case 'promote': {
      const learner = learners.find(({ id }) => id === change.id);
      return learner === undefined ? null : [...without(learner.replaces), change.id];
    }
    case 'remove':
      return voters.includes(change.id) && voters.length > 1 ? without(change.id) : null;
    case 'readdress':
      return null;
    case 'cancel':
      // Both majorities have to agree, whichever way it goes.
      return null;
  }
}

function roleOf({ voters, outgoing }: Membership, nodeId: NodeId): MemberRole {
  if (voters.includes(nodeId)) return 'voter';
  return outgoing.includes(nodeId) ? 'leaving' : 'learner';
}

function toChange(request: ChangeMembershipRequest): MembershipChange {
  const { kind, nodeId: id, learnerOnly, replaces } = request;
  if (kind !== 'CANCEL') checked('node_id', () => checkNodeName(id));
  const address = () => {
    checked('peer_address', () => parseDestination(request.peerAddress));
    checked('client_address', () => parseDestination(request.clientAddress));
    return { peer: request.peerAddress, client: request.clientAddress };
  };
  switch (kind) {
    case 'ADD':
      if (replaces !== '') checked('replaces', () => checkNodeName(replaces));
      return {
        type: 'add',
        id,
        address: address(),
        promote: !learnerOnly,
        replaces: replaces === '' ? null : replaces,
      };
    case 'PROMOTE':
      return { type: 'promote', id };
    case 'REMOVE':
      return { type: 'remove', id };
    case 'READDRESS':
      return { type: 'readdress', id, address: address() };
    case 'CANCEL':
      return { type: 'cancel' };
    default:
      throw new TLedgerError('INVALID_ARGUMENT', `kind: ${kind} is no change of members`);
  }
}

function checked(field: string, check: () => unknown): void {
  try {
    check();
  } catch (error) {
    throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${messageOf(error)}`, error);
  }
}
