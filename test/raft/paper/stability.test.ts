// Dissertation §9.6, §6.2, §4.2.3: a group keeps a leader that is well, and soon replaces one that is not.
import { expect } from 'chai';
import { Group, type GroupOptions } from '../harness/group.ts';
import { follower, isTo, messagesOf, vote } from './messages.ts';

describe('dissertation §9.6 Pre-vote', () => {
  it('a pre-vote raises no term and costs no vote', () => {
    const group = follower([], 3);
    for (const from of ['n1', 'n2']) {
      group.deliver(vote(from, 'n0', 4, 0, 0, { preVote: true }));
      expect(messagesOf(group, 'vote-response').at(-1)).to.include({ to: from, granted: true, term: 4 });
    }
    expect(group.member('n0').durable.hardState).to.deep.equal({ term: 3, vote: null });
  });

  it('a candidate whose pre-vote fails keeps its term', () => {
    const group = new Group().preload('n0', [1], 1).preload('n1', [1, 1], 1).preload('n2', [1, 1], 1).start();
    group.nowMs = 2000;
    for (let count = 0; count < 5; count++) {
      group.fireTimer('n0');
      group.settle();
    }
    expect(group.raft('n0').term).to.equal(1);
    expect(group.raft('n0').role).to.equal('follower');
  });

  it('a pre-vote is refused while a leader is heard', () => {
    const group = new Group().start();
    group.elect('n0');
    for (const to of ['n0', 'n1']) {
      group.deliver(vote('n2', to, 2, 99, 99, { preVote: true }));
      expect(messagesOf(group, 'vote-response').at(-1)).to.include({ from: to, granted: false, term: 1 });
    }
  });

  it('so is not the one that the leader itself asked for', () => {
    const group = new Group().start();
    group.elect('n0');
    group.deliver(vote('n2', 'n1', 2, 99, 99, { transfer: true }));
    expect(messagesOf(group, 'vote-response').at(-1)).to.include({ from: 'n1', granted: true, term: 2 });
  });

  it('a member that was isolated comes back without a change of leader', () => {
    const group = new Group().start();
    group.elect('n0');
    group.isolate('n2');
    group.advance(60_000);
    group.heal();
    group.advance(5_000);
    expect(group.leader?.id).to.equal('n0');
    expect(group.raft('n2').term).to.equal(1);
    expect(group.checker.leaderCount).to.equal(1);
  });

  it('a laggard learns the current term from a refused pre-vote', () => {
    const group = new Group().preload('n1', [], 9).start();
    group.deliver(vote('n0', 'n1', 1, 0, 0, { preVote: true }));
    group.fireTimer('n0');
    group.take(isTo('n2'));
    group.settle();
    expect(group.raft('n0').term).to.equal(9);
  });

  it('a member whose term ran ahead is taken in again: the leader hears of the term and leads a later one', () => {
    const group = new Group().preload('n2', [], 20).start();
    group.isolate('n2');
    group.elect('n0');
    group.heal();
    group.advance(10_000);
    const { leader } = group;
    expect(leader!.core.term).to.be.above(20);
    for (const { core } of group.all) expect(core.leader).to.equal(leader!.id);
  });
});

describe('dissertation §6.2 Check-quorum and §4.2.3 stickiness', () => {
  it('a leader that hears no majority for the longest election timeout steps down', () => {
    const group = new Group().start();
    group.elect('n0');
    group.isolate('n0');
    group.advance(900);
    expect(group.raft('n0').isLeader).to.equal(true);
    group.advance(300);
    expect(group.raft('n0').isLeader).to.equal(false);
    expect(group.raft('n0').term, 'in the same term').to.equal(1);
  });

  it('a leader that hears a majority stays, whoever else is gone', () => {
    const group = new Group({ size: 5 }).start();
    group.elect('n0');
    group.crash('n3');
    group.crash('n4');
    group.advance(10_000);
    expect(group.raft('n0').isLeader).to.equal(true);
  });

  it('a vote request of a later term is ignored while a leader is heard', () => {
    const group = new Group().start();
    group.elect('n0');
    for (const to of ['n0', 'n1']) group.deliver(vote('n2', to, 9, 99, 9));
    expect(group.network).to.deep.equal([]);
    expect(group.raft('n0').term).to.equal(1);
    group.nowMs += 501;
    group.deliver(vote('n2', 'n1', 9, 99, 9));
    expect(messagesOf(group, 'vote-response')[0]).to.include({ from: 'n1', granted: true, term: 9 });
  });
});

describe("early campaigns when the leader's connection drops", () => {
  it('the group has a new leader long before an election timeout', () => {
    const group = new Group().start();
    group.elect('n0');
    group.advance(1000);
    const diedMs = group.nowMs;
    group.crash('n0');
    for (const id of ['n1', 'n2']) group.input(id, (raft, nowMs) => raft.peerDown('n0', nowMs));
    while (group.leader === undefined && group.nowMs < diedMs + 100) group.advance(1);
    expect(group.nowMs - diedMs).to.be.within(5, 62);
  });

  it('a leader that others still hear stays', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n1', (raft, nowMs) => raft.peerDown('n0', nowMs));
    group.advance(5000);
    expect(group.raft('n0').isLeader).to.equal(true);
    expect(group.raft('n1').leader).to.equal('n0');
    expect(group.raft('n1').term).to.equal(1);
  });

  it('after a few attempts the normal timeouts remain', () => {
    const group = new Group().start();
    group.elect('n0');
    group.isolate('n1');
    group.input('n1', (raft, nowMs) => raft.peerDown('n0', nowMs));
    const gapsMs = Array.from({ length: 8 }, () => {
      const { nowMs } = group;
      group.fireTimer('n1');
      return group.nowMs - nowMs;
    });
    expect(gapsMs[0]).to.be.within(5, 60);
    for (const gapMs of gapsMs.slice(1, 5)) expect(gapMs).to.be.within(50, 150);
    for (const gapMs of gapsMs.slice(5)) expect(gapMs).to.be.within(500, 1000);
  });

  it('a message of the leader clears the suspicion', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n1', (raft, nowMs) => raft.peerDown('n0', nowMs));
    group.fireTimer('n0');
    group.settle();
    expect(group.raft('n1').deadlineMs - group.nowMs).to.be.at.least(500);
    group.deliver(vote('n2', 'n1', 2, 99, 99, { preVote: true }));
    expect(messagesOf(group, 'vote-response').at(-1)).to.include({ granted: false });
  });
});

describe('quiet idle groups', () => {
  const idling = (options: GroupOptions = {}): Group => {
    const group = new Group({ ...options, config: { idleHeartbeatIntervalMs: 400, ...options.config } }).start();
    group.elect('n0');
    group.advance(1000);
    return group;
  };
  /** Times, after now, at which n0 sends heartbeats within `ms`. */
  const roundsWithin = (group: Group, ms: number): number[] => {
    const startMs = group.nowMs;
    const times: number[] = [];
    while (group.raft('n0').deadlineMs <= startMs + ms) {
      group.advance(group.raft('n0').deadlineMs - group.nowMs);
      times.push(group.nowMs - startMs);
    }
    group.advance(startMs + ms - group.nowMs);
    return times;
  };

  it('heartbeats come at the idle interval while nothing is under way', () => {
    const group = idling();
    const [first, second, third] = roundsWithin(group, 1200);
    expect([second! - first!, third! - second!]).to.deep.equal([400, 400]);
  });

  it('no election comes of it, and terms stay', () => {
    const group = idling();
    group.advance(60_000);
    expect(group.raft('n0').isLeader).to.equal(true);
    expect(group.raft('n0').term).to.equal(1);
  });

  it('a follower that lags brings the normal interval back: something is under way', () => {
    const group = idling();
    group.isolate('n2');
    group.propose('n0', 'x');
    const rounds = roundsWithin(group, 950);
    expect(rounds.length).to.be.within(9, 10);
  });

  it('a follower whose connection is known to be gone does not', () => {
    const group = idling();
    group.isolate('n2');
    group.input('n0', (raft, nowMs) => raft.peerDown('n2', nowMs));
    group.propose('n0', 'x');
    group.advance(400);
    expect(roundsWithin(group, 1200).length).to.be.at.most(3);
  });

  for (const { name, act } of [
    { name: 'a proposal', act: (g: Group) => g.propose('n0', 'x') },
    { name: 'a transfer', act: (g: Group) => g.input('n0', (r, t) => r.transferLeadership('n1', t)) },
    { name: 'a change of the membership', act: (g: Group) => void g.change('n0', { type: 'remove', id: 'n2' }) },
    { name: 'a connection that comes back', act: (g: Group) => g.input('n0', (r, t) => r.peerUp('n1', t)) },
  ]) {
    it(`${name} brings the next heartbeat forward to the normal interval`, () => {
      const group = idling();
      group.fireTimer('n0');
      group.settle();
      expect(group.raft('n0').deadlineMs - group.nowMs).to.equal(400);
      act(group);
      expect(group.raft('n0').deadlineMs - group.nowMs).to.equal(100);
    });
  }

  it('a read takes a round at once', () => {
    const group = idling();
    group.checker.beginRead(1);
    group.input('n0', (raft, nowMs) => raft.readIndex(1, nowMs));
    group.settle();
    expect(group.member('n0').reads.map(({ token }) => token)).to.deep.equal([1]);
  });

  it('a leader that hears nobody steps down, one idle interval later at most', () => {
    const group = idling();
    group.isolate('n0');
    group.advance(1000 + 400);
    expect(group.raft('n0').isLeader).to.equal(false);
  });

  it('a leader that is gone is replaced as soon as ever', () => {
    const group = idling();
    group.crash('n0');
    group.advance(2000);
    expect(group.leader).to.not.equal(undefined);
  });
});

describe('§4.2.3 a leader is not asked for its place by requests of strangers', () => {
  it('a pre-vote or a vote of a node that nobody knows changes nothing while the leader is heard', () => {
    const group = new Group().start();
    group.elect('n0');
    group.advance(100);
    for (const preVote of [true, false]) group.deliver(vote('n9', 'n1', 50, 99, 49, { preVote }));
    expect(group.raft('n1').term).to.equal(1);
    expect(group.raft('n1').leader).to.equal('n0');
  });
});
