// Changing members from a program: what is asked for, and how far a change is said to be.
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/client.ts';
import { lagOf, type MembershipWish, progressOf, toChangeRequest, WaitReport } from '../../src/client/membership.ts';
import type { ClusterStatusResponse, GroupMember, NodeStatus } from '../../src/wire/admin_messages.ts';
import { FakeGroup, memberOf } from './fake_server.ts';

const addresses = { client: 'c3:1', peer: 'p3:2' };
const add: MembershipWish = { kind: 'add', nodeId: 'n3', addresses };

describe('client: the request for a change of members', () => {
  const none = { nodeId: '', clientAddress: '', peerAddress: '', learnerOnly: false, replaces: '', force: false };
  const n3 = { ...none, nodeId: 'n3', clientAddress: 'c3:1', peerAddress: 'p3:2' };
  const cases: readonly [MembershipWish, object][] = [
    [add, { ...n3, kind: 'ADD' }],
    [
      { ...add, learnerOnly: true },
      { ...n3, kind: 'ADD', learnerOnly: true },
    ],
    [
      { ...add, replaces: 'n0' },
      { ...n3, kind: 'ADD', replaces: 'n0' },
    ],
    [
      { kind: 'promote', nodeId: 'n3' },
      { ...none, kind: 'PROMOTE', nodeId: 'n3' },
    ],
    [
      { kind: 'remove', nodeId: 'n3' },
      { ...none, kind: 'REMOVE', nodeId: 'n3' },
    ],
    [
      { kind: 'readdress', nodeId: 'n3', addresses },
      { ...n3, kind: 'READDRESS' },
    ],
    [{ kind: 'cancel' }, { ...none, kind: 'CANCEL' }],
  ];
  for (const [wish, expected] of cases) {
    it(`to ${JSON.stringify(wish)}`, () => expect(toChangeRequest(wish, false)).to.deep.equal(expected));
  }
  it('carries force', () => expect(toChangeRequest({ kind: 'cancel' }, true).force).to.equal(true));
});

describe('client: how far a change of members is', () => {
  const node = (nodeId: string, more: Partial<NodeStatus> = {}): NodeStatus => ({
    ...{ nodeId, reachable: true, error: '', role: 'follower', term: '1', leaderId: 'n0', lastIndex: '5000' },
    ...{ firstIndex: '1', flushedIndex: '5000', committedIndex: '5000', appliedIndex: '5000', uptimeMs: '1', pid: 1 },
    ...{ flushedPosition: '0', endPosition: '0', clientAddress: 'c:1', peerAddress: 'p:1', version: '' },
    ...{ membershipRole: 'voter', replication: '', ...more },
  });
  const status = (
    members: readonly GroupMember[],
    more: { nodes?: NodeStatus[]; index?: string; committed?: boolean; changingOver?: boolean } = {},
  ): ClusterStatusResponse => {
    const { nodes = members.map(({ nodeId }) => node(nodeId)), ...rest } = more;
    const membership = { index: '7', committed: true, changingOver: false, ...rest, members };
    return { cluster: 'c', group: 'g', leaderId: 'n0', nodes, membership, outside: '' };
  };
  const voters = ['n0', 'n1', 'n2'].map((id) => memberOf(id));
  const learner = memberOf('n3', { role: 'learner', promote: true, peerAddress: 'p3:2' });
  const leaving = memberOf('n0', { role: 'leaving' });
  const remove: MembershipWish = { kind: 'remove', nodeId: 'n0' };

  const cases: readonly [string, MembershipWish, ClusterStatusResponse, string, RegExp][] = [
    ['an old view', add, status(voters, { index: '6' }), 'waiting', /^the node that answers has not heard/],
    ['a learner that is level', add, status([...voters, learner]), 'waiting', /^n3 is a learner and has caught up$/],
    [
      'a learner behind',
      add,
      status([...voters, learner], { nodes: [node('n0', { lastIndex: '12005' }), node('n3', { lastIndex: '5' })] }),
      'waiting',
      /^n3 is a learner, 12,000 records behind$/,
    ],
    [
      'a learner that gets a snapshot',
      add,
      status([...voters, learner], {
        nodes: [node('n0'), node('n3', { lastIndex: '4999', replication: 'snapshot' })],
      }),
      'waiting',
      /^n3 is a learner, 1 record behind, and gets a snapshot$/,
    ],
    [
      'a learner that is not there',
      add,
      status([...voters, learner], { nodes: [node('n0'), node('n3', { reachable: false, error: 'refused' })] }),
      'waiting',
      /^n3 is a learner, but does not answer at p3:2: refused$/,
    ],
    [
      'a voter while the group changes over',
      add,
      status([...voters, memberOf('n3')], { changingOver: true }),
      'waiting',
      /^n3 is a voter; the group is changing over$/,
    ],
    [
      'a voter that a majority has yet to take',
      add,
      status([...voters, memberOf('n3')], { committed: false }),
      'waiting',
      /once a majority agrees$/,
    ],
    ['a voter', add, status([...voters, memberOf('n3')]), 'done', /^n3 is a voter$/],
    ['nobody', add, status(voters), 'undone', /^n3 does not belong to the group$/],
    ['a learner for good', add, status([...voters, { ...learner, promote: false }]), 'undone', /stays a learner/],
    ['a voter on its way out', add, status([memberOf('n3', { role: 'leaving' })]), 'undone', /is leaving/],
    [
      'a learner that was wanted',
      { ...add, learnerOnly: true },
      status([...voters, { ...learner, promote: false }]),
      'done',
      /^n3 is a learner$/,
    ],
    ['a learner that is gone', { ...add, learnerOnly: true }, status(voters), 'undone', /does not belong/],
    ['a member that leaves', remove, status([leaving, ...voters.slice(1)], { changingOver: true }), 'waiting', /n0 is/],
    ['a member that left', remove, status(voters.slice(1)), 'done', /does not belong to the group any more$/],
    [
      'a member that left, unless it is taken back',
      remove,
      status(voters.slice(1), { committed: false }),
      'waiting',
      /once a majority agrees$/,
    ],
    ['a member that stays', remove, status(voters), 'undone', /^n0 still is a voter$/],
    [
      'a member at its new place',
      { kind: 'readdress', nodeId: 'n3', addresses },
      status([memberOf('n3', { clientAddress: 'c3:1', peerAddress: 'p3:2' })]),
      'done',
      /^n3 is at p3:2, for clients at c3:1$/,
    ],
    ['a member elsewhere', { kind: 'readdress', nodeId: 'n1', addresses }, status(voters), 'undone', /other addresses/],
    ['a learner yet to be promoted', { kind: 'cancel' }, status([...voters, learner]), 'waiting', /still to become/],
    ['nothing under way', { kind: 'cancel' }, status(voters), 'done', /^the members are n0, n1, n2$/],
  ];
  for (const [what, wish, seen, kind, text] of cases) {
    it(`${wish.kind}: ${what} means ${kind}`, () => {
      const progress = progressOf(wish, 7, seen);
      expect(progress.kind).to.equal(kind);
      expect(progress.text).to.match(text);
    });
  }

  const traceless: readonly MembershipWish[] = [
    add,
    { ...add, learnerOnly: true },
    remove,
    { kind: 'readdress', nodeId: 'n0', addresses },
  ];
  for (const wish of traceless) {
    it(`${JSON.stringify(wish)}: no trace of a change of which nobody knows whether it began is no proof`, () => {
      expect(progressOf(wish, undefined, status(voters)).kind).to.equal('waiting');
    });
  }

  it('counts the lag from the longest log that can be seen', () => {
    const nodes = [node('n0', { lastIndex: '9' }), node('n1', { lastIndex: '4' }), node('n2', { reachable: false })];
    expect(nodes.map((one) => lagOf(one, nodes))).to.deep.equal([0, 5, null]);
  });
});

describe('client: changing the members', () => {
  let group: FakeGroup;
  let client: TLedgerClient;

  beforeEach(async () => {
    group = await FakeGroup.start(3);
    client = new TLedgerClient({ endpoints: group.endpoints, timeoutMs: 20_000, attemptTimeoutMs: 5_000 });
  });
  afterEach(async () => {
    await group.stop();
    await client.close();
  });

  const promoted = () => group.membership.members.map((member) => ({ ...member, role: 'voter' as const }));

  it('waits until it is done, and tells what for', async () => {
    const texts: string[] = [];
    const changed = client.admin.changeMembers(add, {
      onProgress: (text) => {
        texts.push(text);
        setTimeout(() => group.setMembers(promoted()), 50);
      },
    });
    expect(await changed).to.deep.equal({ index: 1, isDone: true, text: 'n3 is a voter' });
    expect(texts).to.deep.equal(['n3 is a learner, but does not answer at p3:2: it is away']);
  });

  it('need not wait', async () => {
    expect(await client.admin.changeMembers(add, { wait: false })).to.include({ index: 1, isDone: false });
    expect(group.membership.members.at(-1)).to.include({ nodeId: 'n3', role: 'learner', promote: true });
  });

  it('stops waiting when it is interrupted, and says at a deadline that the change goes on', async () => {
    const interrupted = await client.admin.changeMembers(add, { signal: AbortSignal.timeout(300) });
    expect(interrupted).to.include({ isDone: false });
    const late = await client.admin
      .changeMembers({ kind: 'promote', nodeId: 'n3' }, { timeoutMs: 1_000 })
      .catch((error: TLedgerError) => error);
    expect(late).to.have.property('code', 'OUTCOME_UNKNOWN');
    expect((late as TLedgerError).message).to.match(/not done after 1000 ms and goes on: n3 is a learner/);
  });

  it('says that somebody took it back', async () => {
    const changed = client.admin.changeMembers(add, {
      onProgress: () => group.setMembers(group.membership.members.slice(0, 3)),
    });
    const error = await changed.catch((failure: TLedgerError) => failure);
    expect(error).to.have.property('code', 'MEMBERSHIP_CANCELLED');
  });

  it('sees for itself what became of a change whose answer was lost', async () => {
    group.onChangeMembership = () => 'apply, then drop';
    const removed = await client.admin.changeMembers({ kind: 'remove', nodeId: 'n2' });
    expect(removed).to.deep.include({ index: undefined, isDone: true });
    group.onChangeMembership = () => 'drop';
    const unseen = client.admin.changeMembers(add, { timeoutMs: 2_000 });
    expect(await unseen.catch((failure: TLedgerError) => failure)).to.have.property('code', 'OUTCOME_UNKNOWN');
    group.onChangeMembership = () => 'apply, then drop';
    const impatient = client.admin.changeMembers(add, { wait: false }).catch((failure: TLedgerError) => failure.code);
    expect(await impatient).to.equal('OUTCOME_UNKNOWN');
  });

  it('tries again while another change is under way, and not when it is refused for good', async () => {
    let asked = 0;
    group.onChangeMembership = () => (++asked < 3 ? 'MEMBERSHIP_CHANGING' : 'go on');
    await client.admin.changeMembers(add, { wait: false });
    expect(asked).to.equal(3);
    group.onChangeMembership = () => 'NO_HEALTHY_MAJORITY';
    const refused = client.admin.changeMembers(add).catch((failure: TLedgerError) => failure.code);
    expect(await refused).to.equal('NO_HEALTHY_MAJORITY');
  });
});

describe('client: members that come and go', () => {
  let group: FakeGroup;
  let client: TLedgerClient;

  beforeEach(async () => {
    group = await FakeGroup.start(4);
    client = new TLedgerClient({ endpoints: [group.endpoints[0]!], timeoutMs: 2_000, attemptTimeoutMs: 1_000 });
  });
  afterEach(async () => {
    await group.stop();
    await client.close();
  });

  const wait = (ms = 150): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const members = (...at: number[]): GroupMember[] =>
    at.map((one) => memberOf(`n${one}`, { clientAddress: group.endpoints[one]!, peerAddress: group.endpoints[one]! }));
  const servedBy = async (): Promise<string> => (await client.admin.metadata([], { stale: true })).nodeId;

  it('are used although they were not given', async () => {
    group.setMembers(members(0, 1));
    await servedBy();
    await wait();
    group.nodes[0]!.kill();
    expect(await servedBy()).to.equal('n1');
  });

  it('are found behind each other, when all that were given are gone', async () => {
    group.setMembers(members(0, 1));
    await servedBy();
    await wait();
    group.lead(1);
    group.setMembers(members(1, 2));
    await client.admin.clusterStatus();
    await wait();
    group.setMembers(members(2, 3));
    await client.admin.clusterStatus();
    await wait();
    group.nodes[0]!.kill();
    group.nodes[1]!.kill();
    group.lead(3);
    expect(await servedBy()).to.be.oneOf(['n2', 'n3']);
  });

  it('are avoided once they are removed, even if they were given', async () => {
    group.setMembers(members(0, 1, 2));
    await servedBy();
    await wait();
    group.lead(undefined);
    group.setMembers(members(1, 2));
    await servedBy();
    for (let turn = 0; turn < 5; turn++) expect(await servedBy()).not.to.equal('n0');
    group.nodes[1]!.kill();
    group.nodes[2]!.kill();
    await wait();
    expect(await servedBy(), 'better than nobody').to.equal('n0');
  });

  it('are not believed by an older list', async () => {
    group.setMembers(members(0, 1));
    await servedBy();
    await wait();
    group.membershipIndex = 0;
    group.members = members(0);
    await client.admin.clusterStatus();
    group.nodes[0]!.kill();
    expect(await servedBy()).to.equal('n1');
  });

  it('are not believed to be where somebody else answers', async () => {
    group.setMembers([...members(0), memberOf('n1', { clientAddress: group.endpoints[2]! })]);
    await servedBy();
    await wait();
    group.nodes[0]!.kill();
    const code = await servedBy().catch((error: TLedgerError) => error.code);
    expect(code).to.equal('UNREACHABLE');
  });
});

describe('client: a long wait for a change of members', () => {
  it('is told when it changes, and every 10 s with the time waited while it does not', () => {
    const report = new WaitReport(500);
    const said = [500, 750, 10_250, 10_500, 10_750, 20_500].map((nowMs) => report.next('n3 is away', nowMs));
    expect(said).to.deep.equal([
      'n3 is away',
      null,
      null,
      'n3 is away (waiting for 10 s)',
      null,
      'n3 is away (waiting for 20 s)',
    ]);
    expect(report.next('n3 is a voter', 20_750)).to.equal('n3 is a voter');
    expect(report.next('n3 is a voter', 30_749)).to.equal(null);
  });
});
