// Raft paper §6, dissertation §4.1 to §4.3: a group changes its members while it serves.
import { expect } from 'chai';
import { logIndex, type Membership, type MembershipEntry, type NodeId } from '../../../src/raft/types.ts';
import { addressOf, founded, Group, type GroupOptions } from '../harness/group.ts';
import { append, codeOf, isFrom, isTo, messagesOf, vote } from './messages.ts';

/** A group with a leader n0, and nodes after its members that wait to be added. */
function led(options: GroupOptions = {}): Group {
  const group = new Group({ spare: 2, ...options }).start();
  group.elect('n0');
  return group;
}

const inForce = (group: Group, id: NodeId): Membership => group.raft(id).membership.membership;

/** As it is in force on `id`: voters, voters of the other majority, learners. */
function shown(group: Group, id: NodeId): [string, string, string] {
  const { voters, outgoing, learners } = inForce(group, id);
  return [voters.join(' '), outgoing.join(' '), learners.map((learner) => learner.id).join(' ')];
}

/** An append whose last record is a membership. */
function membershipAppend(inTerm: number, prev: [number, number], membership: Membership) {
  const envelope = append('n1', 'n0', inTerm, prev, [inTerm]);
  return { ...envelope, records: envelope.records.map((record) => ({ ...record, membership })) };
}

describe('§6 Cluster membership changes', () => {
  it('a membership is in force as soon as it is in the log, committed or not', () => {
    const group = led();
    group.isolate('n1');
    group.isolate('n2');
    group.change('n0', { type: 'remove', id: 'n2' });
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1', 'n0 n1 n2', '']);
    expect(group.raft('n0').membership.index).to.equal(2);
    expect(group.raft('n0').committedMembership.index).to.equal(0);
    group.heal();
    group.advance(300);
    for (const id of ['n0', 'n1', 'n2']) {
      expect(shown(group, id)).to.deep.equal(['n0 n1', '', '']);
      expect(group.raft(id).committedMembership.index).to.equal(3);
    }
  });

  it('in joint consensus records need both majorities', () => {
    const group = led({ size: 3 });
    group.add('n0', 'n3', { promote: false });
    group.settle();
    group.add('n0', 'n4', { promote: false });
    group.settle();
    // n0 n1 n2 -> n0 n3 n4 would take two steps; here, n1 makes room for n3, and n1 and n2 are slow.
    group.change('n0', { type: 'remove', id: 'n1' });
    const { lastIndex } = group.raft('n0');
    group.propose('n0', 'x');
    group.take(isTo('n1'));
    group.take(isTo('n2'));
    group.settle();
    expect(group.raft('n0').commit, 'learners do not count').to.be.below(lastIndex);
    group.isolate('n2');
    group.advance(100);
    expect(group.raft('n0').commit, 'n0 and n1: two of three, one of two').to.be.below(lastIndex);
    group.heal();
    group.advance(200);
    expect(group.raft('n0').commit).to.equal(group.raft('n0').lastIndex);
  });

  it('in joint consensus elections need both majorities', () => {
    const group = led({ size: 4, spare: 0 });
    for (const id of ['n1', 'n2', 'n3']) group.cut(id, 'n0');
    group.change('n0', { type: 'remove', id: 'n3' });
    group.settle();
    group.crash('n0');
    group.isolate('n3');
    group.nowMs += 2000;
    group.fireTimer('n1');
    group.settle();
    expect(group.raft('n1').role, 'n1 n2: two of three, two of four').to.equal('pre-candidate');
    group.heal();
    group.nowMs += 2000;
    group.fireTimer('n1');
    group.settle();
    expect(group.raft('n1').role).to.equal('leader');
  });

  it('a truncation brings back what was in force before it, however many changes it removes', () => {
    const group = new Group({ spare: 0 }).start();
    const joint: Membership = { ...founded(['n0', 'n1', 'n2']), voters: ['n0', 'n1'], outgoing: ['n0', 'n1', 'n2'] };
    group.deliver(membershipAppend(1, [0, 0], joint));
    group.deliver(membershipAppend(1, [1, 1], founded(['n0', 'n1'])));
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1', '', '']);
    group.deliver(append('n2', 'n0', 2, [1, 1], [2]));
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1', 'n0 n1 n2', '']);
    group.deliver(append('n1', 'n0', 3, [0, 0], [3]));
    expect(group.raft('n0').membership).to.deep.equal({ index: 0, membership: founded(['n0', 'n1', 'n2']) });
  });

  it('a change is told once, to whoever goes by it', () => {
    const told: (MembershipEntry | null)[] = [];
    const observer = {
      onStart: () => {},
      onWrite: () => {},
      onRestore: () => {},
      onReady: (member: { id: string }, ready: { membership: MembershipEntry | null }) => {
        if (member.id === 'n1') told.push(ready.membership);
      },
    };
    const group = led({ observer });
    group.change('n0', { type: 'readdress', id: 'n2', address: addressOf('n9') });
    group.advance(300);
    const changes = told.filter((entry) => entry !== null);
    expect(changes.map(({ index }) => index)).to.deep.equal([2]);
    expect(changes[0]!.membership.addresses.n2).to.deep.equal(addressOf('n9'));
  });

  it('a restarted member goes by what its log says', () => {
    const group = led();
    group.add('n0', 'n3', { promote: false });
    group.advance(200);
    group.crash('n1');
    group.restart('n1');
    expect(shown(group, 'n1')).to.deep.equal(['n0 n1 n2', '', 'n3']);
    expect(group.raft('n1').committedMembership.index, 'what is committed is not known yet').to.equal(0);
    group.advance(200);
    expect(group.raft('n1').committedMembership.index).to.equal(2);
  });

  for (const { name, code, prepare } of [
    { name: 'a follower', code: 'NOT_LEADER', prepare: (group: Group) => group.raft('n1') },
    {
      name: 'a leader that is handing over',
      code: 'TRANSFERRING',
      prepare: (group: Group) => {
        group.input('n0', (raft, nowMs) => raft.transferLeadership('n1', nowMs));
        return group.raft('n0');
      },
    },
    {
      name: 'a leader whose last change is not committed',
      code: 'MEMBERSHIP_CHANGING',
      prepare: (group: Group) => {
        group.add('n0', 'n4', { promote: false });
        return group.raft('n0');
      },
    },
    {
      name: 'a leader that hears no majority of the new voters',
      code: 'UNREACHABLE',
      prepare: (group: Group) => {
        group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
        return group.raft('n0');
      },
    },
  ]) {
    it(`${name} refuses a change: ${code}`, () => {
      const group = led();
      const raft = prepare(group);
      expect(codeOf(() => raft.changeMembership({ type: 'remove', id: 'n2' }, group.nowMs))).to.equal(code);
    });
  }

  it('proposals wait until the record of a change was taken over', () => {
    const { core } = led().member('n0');
    core.changeMembership({ type: 'remove', id: 'n2' }, core.deadlineMs);
    expect(() => core.propose(1)).to.throw('a record of the leader itself is written before any other');
  });

  it('a leader can lose its place to another and loses nothing: every member is replaced', () => {
    const group = new Group({ size: 3, spare: 3 }).start();
    group.elect('n0');
    for (const [added, replaced] of [
      ['n3', 'n0'],
      ['n4', 'n1'],
      ['n5', 'n2'],
    ] as const) {
      const leader = group.leader!;
      group.propose(leader.id, `before ${added}`);
      group.add(leader.id, added, { replaces: replaced });
      group.advance(3000);
    }
    const leader = group.leader!;
    expect(shown(group, leader.id)).to.deep.equal(['n3 n4 n5', '', '']);
    expect(group.checker.committedValues).to.include.members(['before n3', 'before n4', 'before n5']);
    expect(group.raft('n5').commit).to.equal(leader.core.commit);
  });
});

describe('§4.1 of the dissertation: safety of changes', () => {
  it('no change before the leader has committed a record of its own term', () => {
    const group = led();
    group.crash('n0');
    group.nowMs += 2000;
    group.fireTimer('n1');
    while (!group.raft('n1').isLeader) group.deliver(group.network.shift()!);
    expect(group.raft('n1').commit).to.be.below(group.raft('n1').lastIndex);
    const change = { type: 'remove', id: 'n0' } as const;
    expect(codeOf(() => group.change('n1', change))).to.equal('MEMBERSHIP_CHANGING');
    group.settle();
    group.change('n1', { type: 'readdress', id: 'n0', address: addressOf('n9') });
  });

  it('a change-over is left only once it is committed by both sides', () => {
    const group = led();
    group.change('n0', { type: 'remove', id: 'n1' });
    group.take(isTo('n2'));
    group.settle();
    expect(shown(group, 'n0'), 'n0 n1: two of three, one of two').to.deep.equal(['n0 n2', 'n0 n1 n2', '']);
    group.advance(200);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n2', '', '']);
  });
});

describe('§4.2.1 Catching up new servers', () => {
  it('a learner that lost its connection is not promoted until it is back', () => {
    const group = led();
    group.isolate('n3');
    group.add('n0', 'n3');
    group.advance(300);
    group.input('n0', (raft, nowMs) => raft.peerDown('n3', nowMs));
    group.heal();
    group.advance(2000);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1 n2', '', 'n3']);
    group.input('n0', (raft, nowMs) => raft.peerUp('n3', nowMs));
    group.advance(300);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1 n2 n3', '', '']);
  });

  it('a learner keeps up under load when each stretch of the log takes it less than an election timeout', () => {
    const group = led();
    group.isolate('n3');
    group.add('n0', 'n3');
    group.propose('n0', ...Array.from({ length: 60 }, (_, at) => `v${at}`));
    group.advance(700);
    group.heal();
    for (let turn = 0; turn < 20 && inForce(group, 'n0').learners.length > 0; turn++) {
      group.propose('n0', `w${turn}`);
      group.advance(40);
    }
    expect(inForce(group, 'n0').voters).to.include('n3');
  });

  it('a promotion waits for a handover to end', () => {
    const group = led();
    group.isolate('n3');
    group.add('n0', 'n3');
    group.advance(700);
    group.isolate('n1');
    group.propose('n0', 'x');
    group.settle();
    group.input('n0', (raft, nowMs) => raft.transferLeadership('n1', nowMs));
    group.heal();
    group.isolate('n1');
    group.advance(400);
    expect(group.raft('n0').isTransferring).to.equal(true);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1 n2', '', 'n3']);
    group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
    group.settle();
    group.advance(100);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1 n2 n3', '', '']);
  });

  it("the leader's status tells who keeps up", () => {
    const group = led();
    group.isolate('n3');
    group.add('n0', 'n3');
    group.advance(1000);
    const status = () =>
      group
        .raft('n0')
        .status()
        .progress.map(({ peer, caughtUp }) => `${peer} ${caughtUp}`);
    expect(status()).to.deep.equal(['n1 true', 'n2 true', 'n3 false']);
  });

  it('a learner counts for no majority: not for commits, reads, votes or check-quorum', () => {
    const group = led();
    group.add('n0', 'n3', { promote: false });
    group.settle();
    group.add('n0', 'n4', { promote: false });
    group.settle();
    group.isolate('n1');
    group.isolate('n2');
    const { commit } = group.raft('n0');
    group.propose('n0', 'x');
    group.checker.beginRead(1);
    group.input('n0', (raft, nowMs) => raft.readIndex(1, nowMs));
    group.settle();
    expect(group.raft('n0').commit).to.equal(commit);
    expect(group.member('n0').reads).to.deep.equal([]);
    group.advance(1100);
    expect(group.raft('n0').isLeader, 'two learners are no majority').to.equal(false);
    group.nowMs += 2000;
    group.fireTimer('n0');
    const asked = messagesOf(group, 'vote-request').map(({ to }) => to);
    expect(asked).to.deep.equal(['n1', 'n2']);
  });

  it('no learner ever campaigns, and leadership is not handed to one', () => {
    const group = led();
    group.add('n0', 'n3', { promote: false });
    group.advance(200);
    expect(codeOf(() => group.raft('n0').transferLeadership('n3', group.nowMs))).to.equal('UNKNOWN_NODE');
    group.isolate('n3');
    for (let turn = 0; turn < 5; turn++) group.fireTimer('n3');
    expect(group.raft('n3').role).to.equal('follower');
    expect(group.network.filter(isFrom('n3'))).to.deep.equal([]);
  });
});

describe('§4.2.2 Removing the current leader', () => {
  it('it leads until the others hold the record, though it is not counted', () => {
    const group = led();
    group.change('n0', { type: 'remove', id: 'n0' });
    // The change-over is committed, the record that leaves it is not.
    while (inForce(group, 'n0').outgoing.length > 0) group.deliver(group.network.shift()!);
    group.take(isTo('n2'));
    group.settle();
    expect(group.raft('n0').isLeader, 'n0 and n1 are one of n1 n2').to.equal(true);
    group.advance(200);
    expect(group.raft('n0').role).to.equal('follower');
    expect(['n1', 'n2']).to.include(group.leader!.id);
  });

  it('it proposes as long as it leads', () => {
    const group = led();
    group.change('n0', { type: 'remove', id: 'n0' });
    while (inForce(group, 'n0').outgoing.length > 0) group.deliver(group.network.shift()!);
    group.propose('n0', 'last words');
    group.settle();
    group.advance(500);
    expect(group.checker.committedValues).to.include('last words');
  });

  it('the voter that holds the most takes over at once', () => {
    const group = led({ size: 4, spare: 0 });
    group.isolate('n1');
    group.propose('n0', 'x');
    group.settle();
    const before = group.nowMs;
    group.change('n0', { type: 'remove', id: 'n0' });
    group.settle();
    expect(['n2', 'n3']).to.include(group.leader?.id);
    expect(group.nowMs).to.equal(before);
  });
});

describe('§4.2.3 Disruptive servers', () => {
  it('a removed member that keeps asking changes nothing, and raises no term', () => {
    const group = led({ size: 4, spare: 0 });
    group.isolate('n3');
    group.change('n0', { type: 'remove', id: 'n3' });
    group.advance(300);
    group.heal();
    const { term } = group.raft('n0');
    group.advance(10_000);
    expect(group.raft('n0').isLeader).to.equal(true);
    expect(group.raft('n0').term).to.equal(term);
  });

  it('answers of those who are no members count for nothing, whatever their term', () => {
    const group = led();
    group.deliver({
      message: {
        type: 'append-response',
        from: 'n4',
        to: 'n0',
        term: 9 as never,
        match: logIndex(0),
        round: 0,
        reject: null,
      },
      records: [],
    });
    expect(group.raft('n0').isLeader).to.equal(true);
  });

  it("a stranger's requests are handled: it may be a member by a record that is not here yet", () => {
    const group = new Group({ size: 1, spare: 1 }).start();
    group.nowMs += 500;
    group.deliver(vote('n9', 'n1', 3, 4, 2));
    expect(group.raft('n1').term).to.equal(3);
    expect(group.member('n1').durable.hardState.vote).to.equal('n9');
    group.network = [];
    group.deliver(append('n9', 'n1', 3, [0, 0], [3]));
    expect(group.raft('n1').leader).to.equal('n9');
  });
});

describe('§4.3 Arbitrary changes using joint consensus', () => {
  it('two replacements asked for at once go one after the other, and end by themselves', () => {
    const group = led();
    group.add('n0', 'n3', { replaces: 'n1' });
    group.take(isTo('n3'));
    while (group.raft('n0').committedMembership.index !== group.raft('n0').membership.index) {
      group.deliver(group.network.shift()!);
    }
    group.add('n0', 'n4', { replaces: 'n2' });
    group.advance(1500);
    expect(shown(group, 'n0')).to.deep.equal(['n0 n3 n4', '', '']);
    const committed = group.member('n0').log.memberships.map(({ membership }) => membership);
    expect(committed.filter(({ outgoing }) => outgoing.length > 0)).to.have.length(2);
  });

  it('cancel takes an addition back, and the group is as before', () => {
    const group = led();
    group.isolate('n3');
    group.add('n0', 'n3', { replaces: 'n1' });
    group.settle();
    group.change('n0', { type: 'cancel' });
    group.advance(300);
    expect(group.raft('n0').membership.membership).to.deep.equal(founded(['n0', 'n1', 'n2']));
    expect(
      group
        .raft('n0')
        .status()
        .progress.map(({ peer }) => peer),
    ).to.deep.equal(['n1', 'n2']);
  });

  it('a single voter becomes three and one again, and lives', () => {
    const group = new Group({ size: 1, spare: 2 }).start();
    group.elect('n0');
    for (const id of ['n1', 'n2']) {
      group.add('n0', id);
      group.advance(500);
    }
    expect(shown(group, 'n0')).to.deep.equal(['n0 n1 n2', '', '']);
    for (const id of ['n1', 'n2']) {
      group.change('n0', { type: 'remove', id });
      group.advance(500);
    }
    group.propose('n0', 'alone');
    expect(group.raft('n0').commit).to.equal(group.raft('n0').lastIndex);
  });
});
