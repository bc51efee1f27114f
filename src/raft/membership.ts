// Who belongs to a group, and how that may change: pure functions from one membership to the next (paper §6,
// dissertation §4). When a step may be taken is decided in leadership.ts; what is in force, in membership_history.ts.
//
//   voters abc ──remove c──► voters ab, outgoing abc ──committed──► voters ab
//      │  ▲                              │  ▲
//      │  └─── dropped by cancel ───┐    └──┘ cancel swaps the two: same majorities, the other way
//      │                            │
//      └──add d──► voters abc, learner d ──caught up──► voters abcd, outgoing abc ──committed──► voters abcd
//
// Voters change through joint consensus only, one more or one less alike, so that any two memberships that follow each
// other have majorities in common, whoever made them.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { membersMax } from './limits.ts';
import type { Learner, MemberAddress, Membership, MembershipChange, NodeId } from './types.ts';

/** The membership that a configuration names: all are voters. Without addresses, the blank of a node to be added. */
export function bootstrap(addresses: Readonly<Record<NodeId, MemberAddress>>): Membership {
  const voters = Object.keys(addresses).sort();
  return make(voters, [], [], new Map(Object.entries(addresses)));
}

/** Whether `id` has a vote, be it in one of the two majorities only. */
export function isVoter(membership: Membership, id: NodeId): boolean {
  return membership.voters.includes(id) || membership.outgoing.includes(id);
}

/** All members, sorted. */
export function membersOf({ voters, outgoing, learners }: Membership): NodeId[] {
  return [...new Set([...voters, ...outgoing, ...learners.map(({ id }) => id)])].sort();
}

/** Whether two majorities must agree. */
export function isJoint(membership: Membership): boolean {
  return membership.outgoing.length > 0;
}

/** Whether `nextStep` has, or will have, something to do. */
export function isUnfinished(membership: Membership): boolean {
  return isJoint(membership) || membership.learners.some(({ promote }) => promote);
}

/**
 * The membership that `change` leads to, or its first step.
 * @throws TLedgerError INVALID_ARGUMENT, UNKNOWN_NODE, MEMBERSHIP_CHANGING (the group is in joint consensus)
 */
export function planChange(current: Membership, change: MembershipChange): Membership {
  if (isJoint(current) && change.type !== 'cancel') throw new TLedgerError('MEMBERSHIP_CHANGING');
  switch (change.type) {
    case 'add':
      return planAdd(current, change);
    case 'promote':
      return planPromote(current, change.id);
    case 'remove':
      return planRemove(current, change.id);
    case 'readdress':
      return planReaddress(current, change.id, change.address);
    case 'cancel':
      return planCancel(current);
  }
}

/**
 * What follows by itself once `current` is committed: joint consensus is left; else the first learner that waits for its
 * promotion and has caught up becomes a voter, in the place of the one it replaces.
 * @returns null when there is nothing to do yet.
 */
export function nextStep(current: Membership, isCaughtUp: (learner: NodeId) => boolean): Membership | null {
  const { voters, learners } = current;
  const addresses = addressesOf(current);
  if (isJoint(current)) return make(voters, [], learners, addresses);
  const ready = learners.find(({ id, promote }) => promote && isCaughtUp(id));
  if (ready === undefined) return null;
  const promoted = [...voters.filter((id) => id !== ready.replaces), ready.id];
  const others = learners.filter(({ id }) => id !== ready.id);
  return make(promoted, voters, others, addresses);
}

/**
 * Asserted for each membership that a leader makes: it is well formed, and shares its majorities with the one before.
 * A follower cannot ask that much: it may know nothing yet, and a forced recovery makes memberships of its own.
 */
export function checkTransition(from: Membership, to: Membership): void {
  checkMembership(to);
  const entersOrKeeps = isJoint(to) ? same(to.outgoing, from.voters) : same(to.voters, from.voters);
  if (!isJoint(from)) assert(entersOrKeeps, 'voters change through joint consensus only');
  else if (isJoint(to)) assert(entersOrKeeps && same(to.voters, from.outgoing), 'joint consensus is left or turned');
  else assert(same(to.voters, from.voters), 'joint consensus is left towards its voters');
}

/** Asserted for each membership that enters the log. */
export function checkMembership(membership: Membership): void {
  const { voters, outgoing, learners, addresses } = membership;
  const learnerIds = learners.map(({ id }) => id);
  for (const ids of [voters, outgoing, learnerIds]) assert(isSortedSet(ids), 'members are sorted and distinct');
  assert(voters.length > 0 || membersOf(membership).length === 0, 'a group has at least one voter');
  assert(!same(voters, outgoing) || voters.length === 0, 'the two majorities of joint consensus differ');
  for (const { id, replaces } of learners) {
    assert(!isVoter(membership, id), 'a learner has no vote');
    assert(replaces === null || isVoter(membership, replaces), 'a learner replaces a voter');
  }
  assert(same(Object.keys(addresses).sort(), membersOf(membership)), 'exactly the members have an address');
}

function planAdd(current: Membership, change: Extract<MembershipChange, { type: 'add' }>): Membership {
  const { id, address, promote, replaces } = change;
  refuse(id === '', 'A member has a name.');
  refuse(membersOf(current).includes(id), `${id} is a member already.`);
  refuse(membersOf(current).length >= membersMax, `A group has at most ${membersMax} members.`);
  if (replaces !== null) {
    refuse(!promote, `${id} cannot replace ${replaces} without becoming a voter.`);
    mustBe(current.voters.includes(replaces), `No voter is called ${replaces}.`);
    const rival = current.learners.find((learner) => learner.replaces === replaces);
    refuse(rival !== undefined, `${rival?.id} is going to replace ${replaces} already.`);
  }
  refuseTaken(current, address);
  const learners = [...current.learners, { id, promote, replaces }];
  return make(current.voters, [], learners, addressesOf(current).set(id, address));
}

function planPromote(current: Membership, id: NodeId): Membership {
  refuse(current.voters.includes(id), `${id} is a voter already.`);
  const learner = current.learners.find((candidate) => candidate.id === id);
  mustBe(learner !== undefined, `No learner is called ${id}.`);
  refuse(learner?.promote === true, `${id} becomes a voter as soon as it has caught up.`);
  const learners = current.learners.map((other) =>
    other.id === id ? { ...other, promote: true, stays: true as const } : other,
  );
  return make(current.voters, [], learners, addressesOf(current));
}

function planRemove(current: Membership, id: NodeId): Membership {
  const { voters } = current;
  mustBe(membersOf(current).includes(id), `No member is called ${id}.`);
  const others = current.learners.filter((learner) => learner.id !== id);
  if (!voters.includes(id)) return make(voters, [], others, addressesOf(current));
  refuse(voters.length === 1, `${id} is the only voter.`);
  const learners = others.map((learner) => (learner.replaces === id ? { ...learner, replaces: null } : learner));
  const rest = voters.filter((voter) => voter !== id);
  return make(rest, voters, learners, addressesOf(current));
}

function planReaddress(current: Membership, id: NodeId, address: MemberAddress): Membership {
  const { voters, learners } = current;
  mustBe(membersOf(current).includes(id), `No member is called ${id}.`);
  const before = current.addresses[id];
  const isSame = before?.peer === address.peer && before.client === address.client;
  refuse(isSame, `${id} has that address already.`);
  refuseTaken(current, address, id);
  return make(voters, [], learners, addressesOf(current).set(id, address));
}

function planCancel(current: Membership): Membership {
  const { voters, outgoing, learners } = current;
  if (isJoint(current)) return make(outgoing, voters, learners, addressesOf(current));
  refuse(!learners.some(({ promote }) => promote), 'No change is under way.');
  const staying = learners
    .filter(({ promote, stays }) => !promote || stays === true)
    .map(({ id, replaces }) => ({ id, promote: false, replaces }));
  return make(voters, [], staying, addressesOf(current));
}

/** Sorts, and forgets the addresses of those who are no members any more. */
function make(
  voters: readonly NodeId[],
  outgoing: readonly NodeId[],
  learners: readonly Learner[],
  addresses: ReadonlyMap<NodeId, MemberAddress>,
): Membership {
  const named = {
    voters: [...voters].sort(),
    outgoing: [...outgoing].sort(),
    learners: [...learners].sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
  const members = membersOf({ ...named, addresses: {} });
  // Object.fromEntries defines own properties, whatever a member is called.
  const own = Object.fromEntries(members.map((id) => [id, addresses.get(id)!]));
  return { ...named, addresses: own };
}

function addressesOf({ addresses }: Membership): Map<NodeId, MemberAddress> {
  return new Map(Object.entries(addresses));
}

function refuseTaken(current: Membership, address: MemberAddress, except?: NodeId): void {
  refuse(address.peer === '' || address.client === '', 'A member has an address for peers and one for clients.');
  for (const [id, other] of Object.entries(current.addresses)) {
    refuse(id !== except && other.peer === address.peer, `${id} has the peer address ${address.peer}.`);
  }
}

function refuse(condition: boolean, message: string): void {
  if (condition) throw new TLedgerError('INVALID_ARGUMENT', message);
}

function mustBe(condition: boolean, message: string): void {
  if (!condition) throw new TLedgerError('UNKNOWN_NODE', message);
}

function same(one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((id, at) => id === other[at]);
}

function isSortedSet(ids: readonly NodeId[]): boolean {
  return ids.every((id, at) => at === 0 || ids[at - 1]! < id);
}
