// Raft paper §5.1, §5.2: terms, votes, who becomes leader.
import { expect } from 'chai';
import { type RaftMessage, term } from '../../../src/raft/types.ts';
import { Group } from '../harness/group.ts';
import { append, follower, isTo, messagesOf, vote } from './messages.ts';

describe('§5.1 Raft basics', () => {
  for (const role of ['follower', 'candidate', 'leader'] as const) {
    it(`a ${role} that sees a later term adopts it and follows`, () => {
      const group = new Group().start();
      if (role === 'leader') group.elect('n0');
      if (role === 'candidate') {
        group.fireTimer('n0');
        group.take(isTo('n2'));
        while (group.raft('n0').role !== 'candidate') group.deliver(group.network.shift()!);
        group.network = [];
      }
      expect(group.raft('n0').role).to.equal(role);
      group.deliver(append('n1', 'n0', 7, [0, 0], []));
      expect(group.raft('n0').term).to.equal(7);
      expect(group.raft('n0').role).to.equal('follower');
      expect(group.raft('n0').leader).to.equal('n1');
    });
  }

  it('a request of an earlier term is refused and learns the current term', () => {
    const group = follower([], 5);
    group.deliver(append('n1', 'n0', 3, [0, 0], [3]));
    group.deliver(vote('n2', 'n0', 4, 9, 4));
    group.deliver(vote('n2', 'n0', 4, 9, 4, { preVote: true }));
    expect(messagesOf(group, 'append-response')[0]).to.include({ term: 5, match: 0, to: 'n1' });
    for (const answer of messagesOf(group, 'vote-response')) expect(answer).to.include({ term: 5, granted: false });
    expect(messagesOf(group, 'vote-response')).to.have.length(2);
    expect(group.raft('n0').lastIndex).to.equal(0);
  });

  it('term and vote are durable before an answer that rests on them leaves', () => {
    const group = follower([]);
    group.member('n0').crashPoint = 'before-persist';
    group.deliver(vote('n1', 'n0', 1, 0, 0));
    expect(group.network).to.deep.equal([]);
    group.restart('n0');
    group.member('n0').crashPoint = 'before-send';
    group.deliver(vote('n1', 'n0', 1, 0, 0));
    expect(group.network).to.deep.equal([]);
    group.restart('n0');
    group.deliver(vote('n2', 'n0', 1, 0, 0));
    expect(messagesOf(group, 'vote-response')[0]).to.include({ to: 'n2', granted: false });
    group.deliver(vote('n1', 'n0', 1, 0, 0));
    expect(messagesOf(group, 'vote-response')[1]).to.include({ to: 'n1', granted: true });
  });

  it('hard state is reported only when it changed', () => {
    const group = new Group().start();
    const before = group.member('n0').durable.hardState;
    group.elect('n0');
    const elected = group.member('n0').durable.hardState;
    expect(elected).to.not.equal(before);
    group.propose('n0', 'x');
    group.advance(300);
    expect(group.member('n0').durable.hardState).to.equal(elected);
  });

  it('messages to oneself and for others are ignored', () => {
    const group = follower([]);
    for (const [from, to] of [
      ['n0', 'n0'],
      ['n1', 'n2'],
    ] as const) {
      const { message } = vote(from, to, 9, 9, 9);
      group.input('n0', (raft, nowMs) => raft.step(message, nowMs));
    }
    expect(group.raft('n0').term).to.equal(0);
    expect(group.network).to.deep.equal([]);
  });
});

describe('§5.2 Leader election', () => {
  it('a member starts as a follower and campaigns when it hears nothing for an election timeout', () => {
    const group = new Group().start();
    expect(group.raft('n0').role).to.equal('follower');
    const { deadlineMs } = group.raft('n0');
    expect(deadlineMs).to.be.within(500, 1000);
    group.nowMs = deadlineMs - 1;
    group.send(group.member('n0').tick(group.nowMs));
    expect(group.raft('n0').role).to.equal('follower');
    group.fireTimer('n0');
    expect(group.raft('n0').role).to.equal('pre-candidate');
  });

  it('election timeouts are drawn anew each time and spread over the whole interval', () => {
    const group = new Group().start();
    const drawn = Array.from({ length: 200 }, () => {
      const { nowMs } = group;
      group.fireTimer('n0');
      return group.nowMs - nowMs;
    });
    expect(Math.min(...drawn)).to.be.within(500, 520);
    expect(Math.max(...drawn)).to.be.within(980, 1000);
    expect(new Set(drawn).size).to.be.above(100);
  });

  it('a candidate raises its term, votes for itself and asks all others', () => {
    const group = new Group({ size: 5 }).start();
    group.fireTimer('n0');
    while (group.raft('n0').role !== 'candidate') group.deliver(group.network.shift()!);
    expect(group.member('n0').durable.hardState).to.deep.equal({ term: 1, vote: 'n0' });
    const requests = messagesOf(group, 'vote-request').filter(({ preVote }) => !preVote);
    expect(requests.map(({ to }) => to)).to.deep.equal(['n1', 'n2', 'n3', 'n4']);
    for (const request of requests) expect(request).to.include({ term: 1, lastIndex: 0, lastTerm: 0, transfer: false });
  });

  for (const { size, granted, refused, role } of [
    { size: 1, granted: 0, refused: 0, role: 'leader' },
    { size: 3, granted: 1, refused: 0, role: 'leader' },
    { size: 3, granted: 0, refused: 1, role: 'candidate' },
    { size: 3, granted: 0, refused: 2, role: 'follower' },
    { size: 4, granted: 1, refused: 1, role: 'candidate' },
    { size: 5, granted: 2, refused: 0, role: 'leader' },
    { size: 5, granted: 1, refused: 2, role: 'candidate' },
    { size: 5, granted: 1, refused: 3, role: 'follower' },
  ]) {
    it(`of ${size} voters, ${granted} granted and ${refused} refused beside the own vote: ${role}`, () => {
      const group = new Group({ size }).start();
      group.fireTimer('n0');
      const answer = (at: number, preVote: boolean, yes: boolean): void => {
        const askedTerm = term(preVote || yes ? 1 : group.raft('n0').term);
        const message: RaftMessage = {
          type: 'vote-response',
          from: `n${at}`,
          to: 'n0',
          term: askedTerm,
          preVote,
          granted: yes,
        };
        for (const _copy of [1, 2]) group.input('n0', (raft, nowMs) => raft.step(message, nowMs));
      };
      for (let at = 1; at < size; at++) answer(at, true, true);
      for (let at = 1; at <= granted; at++) answer(at, false, true);
      for (let at = granted + 1; at <= granted + refused; at++) answer(at, false, false);
      expect(group.raft('n0').role).to.equal(role);
    });
  }

  it('a member votes once in a term, first come, first served, and says the same again when asked again', () => {
    const group = follower([]);
    for (const [from, granted] of [
      ['n1', true],
      ['n2', false],
      ['n1', true],
    ] as const) {
      group.deliver(vote(from, 'n0', 2, 0, 0));
      expect(messagesOf(group, 'vote-response').at(-1)).to.include({ to: from, granted, term: 2 });
    }
  });

  it('an answer to an earlier campaign counts for nothing', () => {
    const group = new Group({ size: 5 }).start();
    for (const other of ['n1', 'n2', 'n3', 'n4']) group.cut('n0', other);
    const grant = (from: string, ofTerm: number, preVote: boolean): void => {
      const message: RaftMessage = {
        type: 'vote-response',
        from,
        to: 'n0',
        term: term(ofTerm),
        preVote,
        granted: true,
      };
      group.input('n0', (raft, nowMs) => raft.step(message, nowMs));
    };
    const campaign = (inTerm: number): void => {
      group.fireTimer('n0');
      for (const from of ['n1', 'n2']) grant(from, inTerm, true);
      expect(group.raft('n0')).to.include({ role: 'candidate', term: inTerm });
    };
    campaign(1);
    group.fireTimer('n0');
    for (const from of ['n1', 'n2']) grant(from, 1, true);
    expect(group.raft('n0').role, 'pre-votes for term 1 do not open term 2').to.equal('pre-candidate');
    campaign(2);
    for (const from of ['n1', 'n2', 'n3', 'n4']) grant(from, 1, false);
    expect(group.raft('n0').role, 'votes of term 1 do not win term 2').to.equal('candidate');
    for (const from of ['n1', 'n2']) grant(from, 2, false);
    expect(group.raft('n0').role).to.equal('leader');
  });

  it('a vote survives a restart', () => {
    const group = follower([]);
    group.deliver(vote('n1', 'n0', 2, 0, 0));
    group.crash('n0');
    group.restart('n0');
    group.deliver(vote('n2', 'n0', 2, 0, 0));
    expect(messagesOf(group, 'vote-response').map(({ granted }) => granted)).to.deep.equal([true, false]);
  });

  it('a candidate that hears the leader of its term follows it', () => {
    const group = new Group().start();
    group.fireTimer('n0');
    while (group.raft('n0').role !== 'candidate') group.deliver(group.network.shift()!);
    group.deliver(append('n1', 'n0', 1, [0, 0], []));
    expect(group.raft('n0').role).to.equal('follower');
    expect(group.raft('n0').leader).to.equal('n1');
  });

  it('a split vote ends with a new election in a later term', () => {
    const group = new Group({ size: 4 }).start();
    group.fireTimer('n0');
    group.fireTimer('n1');
    group.settle();
    group.awaitLeader();
    expect(group.checker.leaderCount).to.equal(1);
  });

  it('a group of one elects itself at its first timeout and commits alone', () => {
    const group = new Group({ size: 1 }).start();
    group.fireTimer('n0');
    expect(group.raft('n0').isLeader).to.equal(true);
    group.propose('n0', 'a', 'b');
    expect(group.raft('n0').commit).to.equal(3);
  });

  it('two leaders in one term stop the member that sees them', () => {
    const group = new Group().start();
    group.elect('n0');
    expect(() => group.deliver(append('n1', 'n0', 1, [0, 0], []))).to.throw('at most one leader');
    const other = follower([]);
    other.deliver(append('n1', 'n0', 1, [0, 0], []));
    expect(() => other.deliver(append('n2', 'n0', 1, [0, 0], []))).to.throw('at most one leader');
  });
});
