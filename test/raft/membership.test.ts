// Memberships as values: what each change leads to, step by step, and which steps may follow each other.
import { assert, expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { membersMax } from '../../src/raft/limits.ts';
import {
  bootstrap,
  checkMembership,
  checkTransition,
  isJoint,
  isUnfinished,
  isVoter,
  membersOf,
  nextStep,
  planChange,
} from '../../src/raft/membership.ts';
import type { MemberAddress, Membership, MembershipChange, NodeId } from '../../src/raft/types.ts';

const addressOf = (id: NodeId): MemberAddress => ({ peer: `${id}:1`, client: `${id}:2` });
const groupOf = (...ids: NodeId[]): Membership => bootstrap(Object.fromEntries(ids.map((id) => [id, addressOf(id)])));
const add = (id: NodeId, promote = true, replaces: NodeId | null = null): MembershipChange => ({
  type: 'add',
  id,
  address: addressOf(id),
  promote,
  replaces,
});

/** As text: `ab` voters a and b; `ab<abc` joint, c leaves; `ab +c` learner c; `ab +c!` to be promoted; `ab +c!a` for a. */
function show({ voters, outgoing, learners }: Membership): string {
  const joint = outgoing.length === 0 ? '' : `<${outgoing.join('')}`;
  const rest = learners.map(({ id, promote, replaces }) => ` +${id}${promote ? '!' : ''}${replaces ?? ''}`);
  return `${voters.join('')}${joint}${rest.join('')}`;
}

function changed(from: Membership, ...changes: MembershipChange[]): Membership {
  return changes.reduce((current, change) => {
    const next = planChange(current, change);
    checkTransition(current, next);
    return next;
  }, from);
}

/** Every step that follows by itself, when all learners have caught up. */
function settled(from: Membership): string[] {
  const steps: string[] = [];
  for (let current: Membership | null = from; current !== null; ) {
    steps.push(show(current));
    const next: Membership | null = nextStep(current, () => true);
    if (next !== null) checkTransition(current, next);
    current = next;
  }
  return steps;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof TLedgerError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}

describe('raft/membership: changes', () => {
  const abc = groupOf('a', 'b', 'c');

  for (const { name, from = abc, change, steps } of [
    { name: 'a new voter begins as a learner', change: add('d'), steps: ['abc +d!', 'abcd<abc', 'abcd'] },
    { name: 'a learner that is not to vote stays one', change: add('d', false), steps: ['abc +d'] },
    { name: 'a replacement goes in one step', change: add('d', true, 'a'), steps: ['abc +d!a', 'bcd<abc', 'bcd'] },
    {
      name: 'a learner is promoted on request',
      from: changed(abc, add('d', false)),
      change: { type: 'promote', id: 'd' },
      steps: ['abc +d!', 'abcd<abc', 'abcd'],
    },
    { name: 'a voter is removed', change: { type: 'remove', id: 'b' }, steps: ['ac<abc', 'ac'] },
    {
      name: 'a learner is removed at once',
      from: changed(abc, add('d', false)),
      change: { type: 'remove', id: 'd' },
      steps: ['abc'],
    },
    {
      name: 'a learner whose voter is removed becomes a voter all the same',
      from: changed(abc, add('d', true, 'a')),
      change: { type: 'remove', id: 'a' },
      steps: ['bc<abc +d!', 'bc +d!', 'bcd<bc', 'bcd'],
    },
    {
      name: 'cancel drops who waits for a promotion, and nobody else',
      from: changed(abc, add('d', true, 'a'), add('e', false)),
      change: { type: 'cancel' },
      steps: ['abc +e'],
    },
    {
      name: 'cancel leaves a learner that was taken in to stay, and can be promoted again',
      from: changed(abc, add('d', false), { type: 'promote', id: 'd' }, add('e')),
      change: { type: 'cancel' },
      steps: ['abc +d'],
    },
    {
      name: 'a learner that stayed is promoted later',
      from: changed(abc, add('d', false), { type: 'promote', id: 'd' }, { type: 'cancel' }),
      change: { type: 'promote', id: 'd' },
      steps: ['abc +d!', 'abcd<abc', 'abcd'],
    },
    {
      name: 'cancel turns a change-over around',
      from: changed(abc, { type: 'remove', id: 'a' }),
      change: { type: 'cancel' },
      steps: ['abc<bc', 'abc'],
    },
    {
      name: 'two learners are promoted one after the other',
      from: changed(abc, add('e')),
      change: add('d'),
      steps: ['abc +d! +e!', 'abcd<abc +e!', 'abcd +e!', 'abcde<abcd', 'abcde'],
    },
  ] as { name: string; from?: Membership; change: MembershipChange; steps: string[] }[]) {
    it(`${name}: ${steps.join(', ')}`, () => {
      expect(settled(changed(from, change))).to.deep.equal(steps);
    });
  }

  it('an address changes at once, and that of nobody else', () => {
    const moved = changed(abc, { type: 'readdress', id: 'b', address: { peer: 'new:1', client: 'new:2' } });
    expect(show(moved)).to.equal('abc');
    expect(moved.addresses).to.deep.equal({
      a: addressOf('a'),
      b: { peer: 'new:1', client: 'new:2' },
      c: addressOf('c'),
    });
  });

  const joint = planChange(abc, { type: 'remove', id: 'a' });
  const waiting = planChange(abc, add('d', true, 'a'));
  const full = groupOf(...Array.from({ length: membersMax }, (_, at) => `n${at}`));
  for (const { name, from = abc, change, code } of [
    { name: 'adding a member', change: add('b'), code: 'INVALID_ARGUMENT' },
    { name: 'adding a nameless member', change: add(''), code: 'INVALID_ARGUMENT' },
    { name: 'adding beyond the limit', from: full, change: add('x'), code: 'INVALID_ARGUMENT' },
    { name: 'replacing without a promotion', change: add('d', false, 'a'), code: 'INVALID_ARGUMENT' },
    { name: 'replacing a stranger', change: add('d', true, 'x'), code: 'UNKNOWN_NODE' },
    { name: 'replacing a learner', from: waiting, change: add('e', true, 'd'), code: 'UNKNOWN_NODE' },
    { name: 'replacing one twice', from: waiting, change: add('e', true, 'a'), code: 'INVALID_ARGUMENT' },
    {
      name: 'an address that is taken',
      change: { ...add('d'), address: addressOf('a') },
      code: 'INVALID_ARGUMENT',
    },
    {
      name: 'no address',
      change: { ...add('d'), address: { peer: '', client: 'x:1' } },
      code: 'INVALID_ARGUMENT',
    },
    { name: 'promoting a voter', change: { type: 'promote', id: 'a' }, code: 'INVALID_ARGUMENT' },
    { name: 'promoting twice', from: waiting, change: { type: 'promote', id: 'd' }, code: 'INVALID_ARGUMENT' },
    { name: 'promoting a stranger', change: { type: 'promote', id: 'x' }, code: 'UNKNOWN_NODE' },
    { name: 'removing a stranger', change: { type: 'remove', id: 'x' }, code: 'UNKNOWN_NODE' },
    {
      name: 'removing the only voter',
      from: groupOf('a'),
      change: { type: 'remove', id: 'a' },
      code: 'INVALID_ARGUMENT',
    },
    {
      name: 'a stranger with the name of an inherited property',
      change: { type: 'readdress', id: 'constructor', address: addressOf('x') },
      code: 'UNKNOWN_NODE',
    },
    {
      name: 'the address it has',
      change: { type: 'readdress', id: 'a', address: addressOf('a') },
      code: 'INVALID_ARGUMENT',
    },
    {
      name: "somebody else's address",
      change: { type: 'readdress', id: 'a', address: addressOf('b') },
      code: 'INVALID_ARGUMENT',
    },
    { name: 'cancelling nothing', change: { type: 'cancel' }, code: 'INVALID_ARGUMENT' },
    { name: 'a second change in joint consensus', from: joint, change: add('d'), code: 'MEMBERSHIP_CHANGING' },
  ] as { name: string; from?: Membership; change: MembershipChange; code: string }[]) {
    it(`refuses ${name}: ${code}`, () => {
      expect(codeOf(() => planChange(from, change))).to.equal(code);
    });
  }

  it('waits for a learner that lags', () => {
    const two = changed(abc, add('d'), add('e'));
    expect(nextStep(two, () => false)).to.equal(null);
    expect(show(nextStep(two, (id) => id === 'e')!)).to.equal('abce<abc +d!');
    expect([isUnfinished(two), isUnfinished(abc), isUnfinished(joint)]).to.deep.equal([true, false, true]);
  });

  it('names its members', () => {
    const mixed = changed(abc, add('e', false), { type: 'remove', id: 'a' });
    expect(membersOf(mixed)).to.deep.equal(['a', 'b', 'c', 'e']);
    expect(['a', 'b', 'e', 'x'].map((id) => isVoter(mixed, id))).to.deep.equal([true, true, false, false]);
    expect(membersOf(groupOf())).to.deep.equal([]);
  });

  it('a member called like a property of every object is a member like any other', () => {
    const odd = planChange(abc, add('__proto__', false));
    expect(Object.keys(odd.addresses)).to.include('__proto__');
    checkMembership(odd);
  });
});

describe('raft/membership: what may follow what', () => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  const change: fc.Arbitrary<MembershipChange> = fc.oneof(
    fc.record({
      type: fc.constant('add' as const),
      id: fc.constantFrom(...ids),
      address: fc.constantFrom(...ids.map(addressOf)),
      promote: fc.boolean(),
      replaces: fc.constantFrom(null, ...ids),
    }),
    fc.record({ type: fc.constantFrom('promote' as const, 'remove' as const), id: fc.constantFrom(...ids) }),
    fc.record({
      type: fc.constant('readdress' as const),
      id: fc.constantFrom(...ids),
      address: fc.constantFrom(...ids.map(addressOf)),
    }),
    fc.constant({ type: 'cancel' as const }),
    fc.constant({ type: 'cancel' as const }),
  );

  it('whatever is asked, in whatever order: well formed, and any two that follow each other share their majorities', () => {
    const asked = fc.array(fc.oneof(change, fc.constant('step' as const), fc.constant('step' as const)), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(asked, (inputs) => {
        let current = groupOf('a', 'b', 'c');
        for (const input of inputs) {
          let next: Membership | null = null;
          try {
            next = input === 'step' ? nextStep(current, () => true) : planChange(current, input);
          } catch (error) {
            if (!(error instanceof TLedgerError)) throw error;
          }
          if (next === null) continue;
          checkTransition(current, next);
          assert(majoritiesMeet(current, next), `${show(current)} -> ${show(next)}`);
          current = next;
        }
      }),
      { numRuns: 300 },
    );
  });

  const abc = groupOf('a', 'b', 'c');
  const abd = groupOf('a', 'b', 'd');
  const joint: Membership = {
    voters: abd.voters,
    outgoing: abc.voters,
    learners: [],
    addresses: { ...abc.addresses, ...abd.addresses },
  };
  for (const { name, from, to } of [
    { name: 'other voters without joint consensus', from: abc, to: abd },
    { name: 'joint consensus of others', from: groupOf('a', 'b'), to: joint },
    { name: 'leaving joint consensus towards the old voters', from: joint, to: abc },
    { name: 'voters that are not sorted', from: abc, to: { ...abc, voters: ['c', 'a', 'b'] } },
    { name: 'a member without an address', from: abc, to: { ...abc, addresses: { a: addressOf('a') } } },
    { name: 'an address of nobody', from: abc, to: { ...abc, addresses: joint.addresses } },
    { name: 'a learner that votes', from: abc, to: { ...abc, learners: [{ id: 'a', promote: true, replaces: null }] } },
    { name: 'joint consensus with itself', from: abc, to: { ...abc, outgoing: abc.voters } },
    { name: 'nobody left', from: abc, to: { ...groupOf(), outgoing: ['a'], addresses: { a: addressOf('a') } } },
  ]) {
    it(`asserts against ${name}`, () => {
      expect(() => checkTransition(from, to)).to.throw();
    });
  }

  it('joint consensus is entered, turned and left', () => {
    checkTransition(abc, joint);
    checkTransition(joint, { ...joint, voters: abc.voters, outgoing: abd.voters });
    checkTransition(joint, abd);
    expect([isJoint(joint), isJoint(abc)]).to.deep.equal([true, false]);
  });
});

/** Whether every quorum of one membership has a member in common with every quorum of the other. */
function majoritiesMeet(one: Membership, other: Membership): boolean {
  const all = [...new Set([...membersOf(one), ...membersOf(other)])];
  const subsets = Array.from(
    { length: 2 ** all.length },
    (_, bits) => new Set(all.filter((_, at) => bits & (1 << at))),
  );
  const isQuorum = ({ voters, outgoing }: Membership, set: ReadonlySet<NodeId>): boolean =>
    [voters, outgoing].every((side) => side.length === 0 || side.filter((id) => set.has(id)).length * 2 > side.length);
  const quorums = (membership: Membership) => subsets.filter((set) => isQuorum(membership, set));
  const others = quorums(other);
  // Enough to look at complements: a quorum that meets none of the other's leaves one of them outside.
  return quorums(one).every((set) => !others.some((candidate) => [...candidate].every((id) => !set.has(id))));
}
