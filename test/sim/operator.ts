// Who runs the group, and means well: adds nodes, removes and replaces members, moves them, changes its mind. It never asks
// for a membership that would leave the group without a majority of sound nodes, and replaces those that are lost.
import type { Random } from '../../src/base/random.ts';
import type { MemberAddress, Membership, MembershipChange, MembershipEntry, NodeId } from '../../src/raft/types.ts';
import { Guess, type Outcome, type Work } from './calls.ts';
import { nodeId, numberOf } from './names.ts';
import type { SimNode } from './node.ts';
import { hold } from './truth.ts';
import type { World } from './world.ts';

/** What may be answered to such a wish. */
const answers = new Set([
  ...['NOT_LEADER', 'NO_LEADER', 'TRANSFERRING', 'MEMBERSHIP_CHANGING', 'INVALID_ARGUMENT', 'UNKNOWN_NODE'],
  ...['UNREACHABLE', 'OVERLOADED', 'SHUTTING_DOWN', 'OUTCOME_UNKNOWN', 'TIMEOUT'],
]);
const MOVES_MAX = 1_000_000;
/** A message may be under way for so long. */
const LATE_MS = 3_000;

/** Where a node is when it has moved so many times. */
export function addressOf(id: NodeId, moves = 0): MemberAddress {
  return { peer: `${id}.${moves}:40911`, client: `${id}.${moves}:8081` };
}

/** See the head of the file. */
export class Operator {
  readonly #world: World;
  readonly #random: Random;
  readonly #guess: Guess;
  #isBusy = false;
  #moves = 0;
  /** What was asked for, and may still be begun. */
  #wish: MembershipChange | null = null;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    this.#guess = new Guess(world);
  }

  /**
   * Whether the group may do without a node for ever: of all sets of voters that decide somewhere, or may come to, a
   * majority is sound without it.
   */
  mayLose(node: SimNode): boolean {
    return this.#memberships().every((membership) => {
      const sides = sidesOf(membership);
      if (this.#wish !== null) sides.push(votersAfter(membership, this.#wish));
      return sides.every((side) => this.#isSound(side, node.id));
    });
  }

  /** Begins something, or changes its mind about what is under way. */
  act(): void {
    if (this.#isBusy) return this.#interfere();
    const change = this.#draw(this.#world.checker.truth.membership);
    if (change !== null) this.#begin(change);
  }

  /** Changes its mind, or forgets that something is under way. */
  #interfere(): void {
    const { membership } = this.#world.checker.truth;
    const members = Object.keys(membership.addresses);
    const id = members[this.#random.between(0, members.length - 1)]!;
    const kind = this.#random.next();
    if (kind < 0.3) this.#ask({ type: 'cancel' }, null);
    else if (kind < 0.6) this.#ask({ type: 'readdress', id, address: this.#address(id) }, null);
  }

  /** One step towards a group that is whole: takes back what cannot be finished, replaces and removes what is lost. */
  tidy(): void {
    if (this.#isBusy) return;
    const { membership } = this.#world.checker.truth;
    const isLost = (id: NodeId): boolean => this.#world.nodes[numberOf(id)]!.isGone;
    const stuck = membership.learners.find(({ id, promote }) => promote && isLost(id));
    if (stuck !== undefined) return this.#begin({ type: 'remove', id: stuck.id });
    if (membership.outgoing.length > 0 || membership.learners.some(({ promote }) => promote)) return;
    const lost = [...membership.voters, ...membership.learners.map(({ id }) => id)].find(isLost);
    if (lost === undefined) return;
    const spare = this.#spare(membership);
    const isVoter = membership.voters.includes(lost);
    if (spare === null || !isVoter) this.#begin({ type: 'remove', id: lost });
    else this.#begin({ type: 'add', id: spare.id, address: this.#address(spare.id), promote: true, replaces: lost });
  }

  /** Whether nothing is left for `tidy` to do. */
  get isTidy(): boolean {
    const { voters, outgoing, learners } = this.#world.checker.truth.membership;
    const isLost = (id: NodeId): boolean => this.#world.nodes[numberOf(id)]!.isGone;
    if (this.#isBusy || outgoing.length > 0 || learners.some(({ promote }) => promote)) return false;
    // A group of one cannot be smaller.
    return ![...voters, ...learners.map(({ id }) => id)].some(isLost) || voters.length === 1;
  }

  #draw(membership: Membership): MembershipChange | null {
    const { voters, learners } = membership;
    const members = [...voters, ...learners.map(({ id }) => id)];
    const member = members[this.#random.between(0, members.length - 1)]!;
    const voter = voters.find((id) => this.#world.nodes[numberOf(id)]!.isGone) ?? member;
    const spare = this.#spare(membership);
    switch (this.#random.between(0, 7)) {
      case 0:
      case 1:
        if (spare === null) return null;
        return { ...this.#add(spare), promote: this.#random.next() < 0.8, replaces: null };
      case 2:
      case 3:
        if (spare === null || !voters.includes(voter)) return null;
        return { ...this.#add(spare), promote: true, replaces: voter };
      case 4:
      case 5:
        return voters.length > 1 ? { type: 'remove', id: voter } : null;
      case 6:
        return learners.length > 0 ? { type: 'promote', id: learners[0]!.id } : null;
      default:
        return { type: 'readdress', id: member, address: this.#address(member) };
    }
  }

  #add({ id }: SimNode): { readonly type: 'add'; readonly id: NodeId; readonly address: MemberAddress } {
    return { type: 'add', id, address: this.#address(id) };
  }

  #address(id: NodeId): MemberAddress {
    this.#moves = (this.#moves + 1) % MOVES_MAX;
    return addressOf(id, this.#moves);
  }

  /** A node that could be added. */
  #spare(membership: Membership): SimNode | null {
    const isFree = (node: SimNode): boolean =>
      !node.isGone && !node.isDamaged && membership.addresses[node.id] === undefined;
    return this.#world.nodes.find(isFree) ?? null;
  }

  #begin(change: MembershipChange): void {
    if (!this.#memberships().every((membership) => this.#isSound(votersAfter(membership, change), null))) return;
    this.#isBusy = true;
    this.#wish = change;
    this.#ask(change, (isKnown) => {
      // What was not heard of may be begun yet, on a node that stalls or by a message that is late.
      const { electionTimeoutMsMax } = this.#world.plan.group;
      const waitMs = isKnown || this.#world.isCalm ? 0 : LATE_MS + 6 * electionTimeoutMsMax;
      this.#world.later(waitMs, () => {
        this.#isBusy = false;
        this.#wish = null;
      });
    });
  }

  /** All memberships that are in force on some node, be it up or down, and the last that is committed. */
  #memberships(): readonly Membership[] {
    const { checker } = this.#world;
    return [checker.truth.membership, ...checker.membershipsInForce()];
  }

  #isSound(voters: readonly NodeId[], without: NodeId | null): boolean {
    if (voters.length === 0) return true;
    const sound = voters.filter((id) => {
      const node = this.#world.nodes[numberOf(id)]!;
      return id !== without && !node.isGone && !node.isDamaged;
    });
    return sound.length * 2 > voters.length;
  }

  #ask(change: MembershipChange, done: ((isKnown: boolean) => void) | null): void {
    const world = this.#world;
    const timeoutMs = world.plan.group.electionTimeoutMsMax * this.#random.between(2, 12);
    world.count(`member: ${change.type}`);
    world.trace.say(() => `the operator asks for ${JSON.stringify(change)}`);
    const work: Work<MembershipEntry> = (process, reply) => {
      process.replica.changeMembership(change, process.life.monotonicMs() + timeoutMs).then(
        (entry) => reply(null, entry),
        (error: unknown) => reply(error, null),
      );
    };
    world.call(this.#guess.node, work, timeoutMs * 1.2, (outcome) => {
      this.#guess.learn(outcome);
      this.#learn(change, outcome);
      done?.(outcome.code !== 'TIMEOUT');
    });
  }

  #learn(change: MembershipChange, outcome: Outcome<MembershipEntry>): void {
    const { code, message, result } = outcome;
    const { marks, trace, checker } = this.#world;
    trace.say(() => `the operator is told ${code ?? JSON.stringify(result)}`);
    hold(code === null || answers.has(code), () => `the operator is told ${code}: ${message}`);
    if (code === 'MEMBERSHIP_CHANGING') marks.reach('a change is refused while another is under way');
    if (result === null) return;
    const true_ = checker.truth.memberships.find(({ index }) => index === result.index);
    hold(JSON.stringify(true_?.membership) === JSON.stringify(result.membership), () => {
      return `the operator is told of a membership at ${result.index} that is not committed there`;
    });
    hold(isFinished(change, result.membership), () => {
      return `${JSON.stringify(change)} is said to be finished in ${JSON.stringify(result.membership)}`;
    });
    this.#mark(change);
    if (change.type === 'remove') this.#afterRemoval(change.id);
    if (change.type === 'add' && change.replaces !== null) this.#afterRemoval(change.replaces);
  }

  #mark(change: MembershipChange): void {
    const { marks, nodes } = this.#world;
    switch (change.type) {
      case 'add':
        if (!change.promote) marks.reach('a learner stays a learner');
        else if (change.replaces === null) marks.reach('a member is added');
        else {
          marks.reach('a member is replaced');
          if (nodes[numberOf(change.replaces)]!.isLost) marks.reach('a lost node is replaced');
        }
        return;
      case 'remove':
        return marks.reach('a member is removed');
      case 'readdress':
        return marks.reach('a member moves');
      case 'cancel':
        return marks.reach('a change is cancelled');
      default:
    }
  }

  /** Who has left is stopped some time later, or is forgotten and runs on. */
  #afterRemoval(id: NodeId): void {
    const node = this.#world.nodes[numberOf(id)]!;
    if (this.#random.next() < 0.4) return;
    this.#world.later(this.#world.plan.group.electionTimeoutMsMax * 4 * this.#random.next(), () => {
      const { addresses } = this.#world.checker.truth.membership;
      // It may have been added again meanwhile.
      if (addresses[id] !== undefined || this.#isBusy) return;
      node.isRetired = true;
      this.#world.kill(node, 'kill');
    });
  }
}

/** Sets of voters that decide, or will when learners are promoted. */
function sidesOf({ voters, outgoing, learners }: Membership): (readonly NodeId[])[] {
  const sides = [voters, outgoing];
  let grown = voters;
  for (const { id, promote, replaces } of learners) {
    if (!promote) continue;
    grown = [...grown.filter((voter) => voter !== replaces), id];
    sides.push(grown);
  }
  return sides;
}

/** The voters in the end, if the change comes to one. */
function votersAfter(membership: Membership, change: MembershipChange): readonly NodeId[] {
  const { voters, learners } = membership;
  switch (change.type) {
    case 'add':
      return change.promote ? [...voters.filter((id) => id !== change.replaces), change.id] : voters;
    case 'promote': {
      const replaces = learners.find(({ id }) => id === change.id)?.replaces ?? null;
      return [...voters.filter((id) => id !== replaces), change.id];
    }
    case 'remove':
      return voters.filter((id) => id !== change.id);
    default:
      return voters;
  }
}

function isFinished(change: MembershipChange, { voters, outgoing, addresses }: Membership): boolean {
  if (outgoing.length > 0) return false;
  switch (change.type) {
    case 'add':
      return change.promote ? voters.includes(change.id) : addresses[change.id] !== undefined;
    case 'promote':
      return voters.includes(change.id);
    case 'remove':
      return addresses[change.id] === undefined;
    default:
      return true;
  }
}

/** The founders of a group of so many nodes. */
export function founders(count: number): readonly NodeId[] {
  return Array.from({ length: count }, (_, number) => nodeId(number));
}
