// Who belongs to the group as others are told, what may be asked to be changed, and what would be unwise.
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { logIndex, type Membership, type MembershipChange } from '../../src/raft/types.ts';
import {
  checkHealth,
  fromOrder,
  groupMembersOf,
  membershipRoleOf,
  toMembership,
  toOrder,
} from '../../src/rpc/members.ts';
import { codecs } from '../../src/wire/services.ts';

const addressOf = (id: string) => ({ peer: `${id}:1`, client: `${id}:2` });
const membership = (
  voters: string[],
  { outgoing = [], learners = [] }: { outgoing?: string[]; learners?: Membership['learners'] } = {},
): Membership => {
  const ids = new Set([...voters, ...outgoing, ...learners.map(({ id }) => id)]);
  return { voters, outgoing, learners, addresses: Object.fromEntries([...ids].map((id) => [id, addressOf(id)])) };
};
const learner = (id: string, replaces: string | null = null) => ({ id, promote: true, replaces });

describe('members, as others are told', () => {
  const joint = membership(['n1', 'n3'], { outgoing: ['n0', 'n1'], learners: [learner('n2', 'n1')] });

  it('are named with their roles, in order', () => {
    const told = groupMembersOf({ index: logIndex(9), membership: joint }, logIndex(8));
    expect(told).to.deep.include({ index: 9, isCommitted: false, isChangingOver: true });
    expect(told.members.map(({ nodeId, role }) => `${nodeId} ${role}`)).to.deep.equal([
      'n0 leaving',
      'n1 voter',
      'n2 learner',
      'n3 voter',
    ]);
    expect(told.members[2]).to.deep.equal({
      ...{ nodeId: 'n2', role: 'learner', promote: true, replaces: 'n1', clientAddress: 'n2:2', peerAddress: 'n2:1' },
    });
    const settled = groupMembersOf({ index: logIndex(8), membership: membership(['n0']) }, logIndex(8));
    expect(settled).to.deep.include({ isCommitted: true, isChangingOver: false });
  });

  it('are on the wire what they are here', () => {
    const message = toMembership(groupMembersOf({ index: logIndex(9), membership: joint }, logIndex(9)));
    expect(message).to.deep.include({ index: '9', committed: true, changingOver: true });
    expect(message.members[0]).to.include({ nodeId: 'n0', role: 'leaving', promote: false, replaces: '' });
    expect(message.members[2]).to.include({ promote: true, replaces: 'n1' });
  });

  for (const [nodeId, wasMember, role] of [
    ['n0', true, 'leaving'],
    ['n1', true, 'voter'],
    ['n2', true, 'learner'],
    ['n9', true, 'removed'],
    ['n9', false, 'joining'],
  ] as const) {
    it(`${nodeId} is ${role}`, () => expect(membershipRoleOf(joint, nodeId, wasMember)).to.equal(role));
  }
});

describe('an order to change the members', () => {
  const changes: readonly MembershipChange[] = [
    { type: 'add', id: 'n3', address: addressOf('n3'), promote: true, replaces: null },
    { type: 'add', id: 'n3', address: addressOf('n3'), promote: true, replaces: 'n0' },
    { type: 'add', id: 'n3', address: addressOf('n3'), promote: false, replaces: null },
    { type: 'promote', id: 'n3' },
    { type: 'remove', id: 'n3' },
    { type: 'readdress', id: 'n3', address: addressOf('n4') },
    { type: 'cancel' },
  ];
  for (const change of changes) {
    for (const force of [true, false]) {
      it(`travels: ${JSON.stringify(change)}${force ? ', forced' : ''}`, () => {
        const bytes = codecs.changeMembershipRequest.encode(fromOrder({ change, force }));
        expect(toOrder(codecs.changeMembershipRequest.decode(bytes))).to.deep.equal({ change, force });
      });
    }
  }

  const blank = codecs.changeMembershipRequest.decode(Buffer.alloc(0));
  const n3 = { nodeId: 'n3', peerAddress: 'n3:1', clientAddress: 'n3:2' };
  const wrong: readonly (readonly [string, Partial<typeof blank>, RegExp])[] = [
    ['nothing', {}, /^kind: UNSPECIFIED|^node_id: "" is not a legal node name/],
    ['a kind that is none', { ...n3, kind: 'UNSPECIFIED' }, /^kind: UNSPECIFIED is no change of members$/],
    ['a kind of the future', { ...n3, kind: 7 as never }, /^kind: 7 is no change/],
    ['nobody to add', { ...n3, kind: 'ADD', nodeId: '' }, /^node_id: "" is not a legal node name/],
    ['a path for a name', { ...n3, kind: 'REMOVE', nodeId: '../n0' }, /^node_id: /],
    ['a name of 64 letters', { ...n3, kind: 'PROMOTE', nodeId: 'n'.repeat(64) }, /^node_id: /],
    ['no peer address', { ...n3, kind: 'ADD', peerAddress: '' }, /^peer_address: "" is not host:port/],
    ['no client address', { ...n3, kind: 'READDRESS', clientAddress: 'n3' }, /^client_address: "n3" is not host:port/],
    ['a wildcard for peers', { ...n3, kind: 'ADD', peerAddress: '0.0.0.0:1' }, /^peer_address: "0.0.0.0:1" is somethi/],
    ['a wildcard for clients', { ...n3, kind: 'READDRESS', clientAddress: '[::]:2' }, /^client_address: .* to listen/],
    ['an illegal node to replace', { ...n3, kind: 'ADD', replaces: 'n 0' }, /^replaces: /],
  ];
  for (const [what, fields, text] of wrong) {
    it(`is refused with ${what}`, () => {
      expect(() => toOrder({ ...blank, ...fields }))
        .to.throw(text)
        .with.property('code', 'INVALID_ARGUMENT');
    });
  }
});

describe('a change that would stop the group', () => {
  const three = membership(['n0', 'n1', 'n2'], { learners: [learner('n4', 'n2'), learner('n5')] });
  const add = (replaces: string | null, promote = true): MembershipChange => {
    return { type: 'add', id: 'n3', address: addressOf('n3'), promote, replaces };
  };
  const cases: readonly (readonly [string, Membership, MembershipChange, string[], string | null])[] = [
    ['removes one of three that answer', three, { type: 'remove', id: 'n1' }, ['n0', 'n1', 'n2'], null],
    ['removes the dead one', three, { type: 'remove', id: 'n2' }, ['n0', 'n1'], null],
    ['removes one of the two that live', three, { type: 'remove', id: 'n1' }, ['n0', 'n1'], 'n2 of n0, n2'],
    ['removes one of two', membership(['n0', 'n1']), { type: 'remove', id: 'n1' }, ['n0'], null],
    ['removes the living of two', membership(['n0', 'n1']), { type: 'remove', id: 'n0' }, ['n0'], 'n1 of n1'],
    ['removes the last one, which is refused elsewhere', membership(['n0']), { type: 'remove', id: 'n0' }, [], null],
    ['removes a learner', three, { type: 'remove', id: 'n5' }, ['n0'], null],
    ['removes a stranger', three, { type: 'remove', id: 'n9' }, ['n0'], null],
    ['adds a fourth to two that live', three, add(null), ['n0', 'n1'], null],
    ['adds a voter where one of three lives', three, add(null), ['n0'], 'n1, n2 of n0, n1, n2, n3'],
    ['puts one in the place of the dead', three, add('n2'), ['n0', 'n1'], null],
    ['puts one in the place of a living one', three, add('n1'), ['n0', 'n1'], null],
    ['puts one in the place of the last that lives', three, add('n0'), ['n0'], 'n1, n2 of n1, n2, n3'],
    ['adds a learner', three, add(null, false), ['n0'], null],
    ['promotes a learner', three, { type: 'promote', id: 'n4' }, ['n0', 'n1'], null],
    ['promotes a learner in vain', three, { type: 'promote', id: 'n5' }, ['n0'], 'n1, n2 of n0, n1, n2, n5'],
    ['gives another address', three, { type: 'readdress', id: 'n1', address: addressOf('x') }, [], null],
    ['takes nothing back', three, { type: 'cancel' }, ['n0'], null],
    [
      'turns back, for which the dead ones have to agree anyway',
      membership(['n1'], { outgoing: ['n0', 'n1', 'n2'] }),
      { type: 'cancel' },
      ['n1'],
      null,
    ],
  ];
  for (const [what, before, change, up, silent] of cases) {
    it(`${silent === null ? 'is not one that' : 'is one that'} ${what}`, () => {
      const check = (): void => checkHealth(before, change, (id) => up.includes(id));
      if (silent === null) {
        check();
        return;
      }
      expect(check)
        .to.throw(`${silent} would not answer`)
        .with.property('code', 'NO_HEALTHY_MAJORITY' satisfies TLedgerError['code']);
    });
  }
});
