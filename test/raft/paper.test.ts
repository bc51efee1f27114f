// One test a claim of the Raft paper (Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm, extended
// version) and of the dissertation (Consensus: Bridging Theory and Practice), named by its section.
import { assert, expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { pendingReadsMax } from '../../src/raft/limits.ts';
import { type LogIndex, logIndex, type RaftMessage, term } from '../../src/raft/types.ts';
import { Group } from './harness/group.ts';
import type { Envelope } from './harness/member.ts';

type Kind = RaftMessage['type'];
type Of<K extends Kind> = Extract<RaftMessage, { type: K }>;

function isFrom(from: string, type?: Kind) {
  return ({ message }: Envelope) => message.from === from && (type === undefined || message.type === type);
}

function isTo(to: string, type?: Kind) {
  return ({ message }: Envelope) => message.to === to && (type === undefined || message.type === type);
}

function messagesOf<K extends Kind>(group: Group, type: K): Of<K>[] {
  return group.network.map(({ message }) => message).filter((message): message is Of<K> => message.type === type);
}

function vote(
  from: string,
  to: string,
  asked: number,
  lastIndex: number,
  lastTerm: number,
  over: object = {},
): Envelope {
  const message: RaftMessage = {
    type: 'vote-request',
    from,
    to,
    term: term(asked),
    preVote: false,
    transfer: false,
    lastIndex: logIndex(lastIndex),
    lastTerm: term(lastTerm),
    ...over,
  };
  return { message, records: [] };
}

function append(
  from: string,
  to: string,
  inTerm: number,
  prev: [number, number],
  terms: number[],
  commit = 0,
): Envelope {
  const [prevIndex, prevTerm] = prev;
  const records = terms.map((recordTerm, at) => ({
    term: term(recordTerm),
    value: `r${prevIndex + at + 1}@${recordTerm}`,
  }));
  const runs = terms
    .map((recordTerm, at) => ({ term: term(recordTerm), firstIndex: logIndex(prevIndex + at + 1) }))
    .filter((run, at) => run.term !== terms[at - 1]);
  const message: RaftMessage = {
    type: 'append',
    from,
    to,
    term: term(inTerm),
    prevIndex: logIndex(prevIndex),
    prevTerm: term(prevTerm),
    lastIndex: logIndex(prevIndex + terms.length),
    runs,
    memberships: [],
    commit: logIndex(commit),
    round: 0,
  };
  return { message, records };
}

function termsOf(group: Group, id: string): number[] {
  return group.member(id).records.map((record) => record.term);
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

/** One follower whose peers are written by the test. */
function follower(terms: number[], hardTerm?: number): Group {
  return new Group().preload('n0', terms, hardTerm).start();
}

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

describe('§5.3 Log replication', () => {
  it('a leader appends, replicates, and commits what a majority holds durably', () => {
    const group = new Group().start();
    group.elect('n0');
    group.propose('n0', 'a', 'b');
    expect(group.raft('n0').commit).to.equal(1);
    group.settle();
    for (const { core } of group.all) expect(core.commit).to.equal(3);
    expect(group.checker.committedValues).to.deep.equal(['noop 1', 'a', 'b']);
  });

  it('only a leader takes proposals', () => {
    const group = new Group().start();
    group.elect('n0');
    expect(codeOf(() => group.propose('n1', 'x'))).to.equal('NOT_LEADER');
  });

  it('a heartbeat goes to every follower in each interval, and answers do not wait for a flush', () => {
    const group = new Group().start();
    group.elect('n0');
    group.member('n1').autoFlush = false;
    group.propose('n0', 'x');
    group.settle();
    group.fireTimer('n0');
    const beats = messagesOf(group, 'append');
    expect(beats.map(({ to }) => to)).to.deep.equal(['n1', 'n2']);
    for (const beat of beats) expect(beat).to.include({ prevIndex: 2, lastIndex: 2 });
    group.take(isTo('n2'));
    group.deliver(group.network.shift()!);
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 1 });
  });

  it('a heartbeat never acknowledges what is not flushed', () => {
    const group = new Group().start();
    group.elect('n0');
    for (const id of ['n1', 'n2']) group.member(id).autoFlush = false;
    group.propose('n0', 'x');
    group.settle();
    group.advance(300);
    expect(group.raft('n0').commit).to.equal(1);
    group.member('n1').beginFlush();
    group.send(group.member('n1').completeFlush());
    group.settle();
    expect(group.raft('n0').commit).to.equal(2);
  });

  it('the leader counts itself only after its own flush', () => {
    const group = new Group().start();
    group.elect('n0');
    group.member('n0').autoFlush = false;
    group.take(isTo('n2'));
    group.cut('n0', 'n2');
    group.propose('n0', 'x');
    group.settle();
    expect(group.raft('n1').flushedIndex).to.equal(2);
    expect(group.raft('n0').commit).to.equal(1);
    group.member('n0').beginFlush();
    group.send(group.member('n0').completeFlush());
    expect(group.raft('n0').commit).to.equal(2);
  });

  it('one answer to a flush acknowledges all records that it made durable', () => {
    const group = follower([]);
    const member = group.member('n0');
    member.autoFlush = false;
    for (const index of [0, 1, 2]) group.deliver(append('n1', 'n0', 1, [index, Math.min(index, 1)], [1]));
    expect(group.network).to.deep.equal([]);
    member.beginFlush();
    group.send(member.completeFlush());
    expect(messagesOf(group, 'append-response').map(({ match }) => match)).to.deep.equal([3]);
  });

  for (const { name, terms, prev, hint } of [
    { name: 'a shorter log', terms: [1, 1], prev: [5, 1], hint: [2, 1] },
    { name: 'an empty log', terms: [], prev: [5, 1], hint: [0, 0] },
    { name: 'another term at prevIndex', terms: [1, 1, 2, 2], prev: [4, 3], hint: [4, 2] },
    { name: 'a whole later term that the leader lacks', terms: [1, 1, 4, 4, 4], prev: [5, 3], hint: [2, 1] },
  ] as const) {
    it(`consistency check: ${name} refuses, and hints where to try next`, () => {
      const group = follower([...terms], 4);
      group.deliver(append('n1', 'n0', 5, [prev[0], prev[1]], [5]));
      const [answer] = messagesOf(group, 'append-response');
      expect(answer).to.include({ match: 0 });
      expect(answer!.reject).to.deep.equal({ prevIndex: prev[0], hintIndex: hint[0], hintTerm: hint[1] });
      expect(termsOf(group, 'n0')).to.deep.equal([...terms]);
    });
  }

  // Figure 7: the leader of term 8 brings each of these followers to its own log.
  const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  for (const [name, terms] of Object.entries({
    a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
    b: [1, 1, 1, 4],
    c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    e: [1, 1, 1, 4, 4, 4, 4],
    f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  })) {
    it(`figure 7 (${name}): a follower's log becomes the leader's`, () => {
      // n2 makes the majority; its vote is what figure 7's leader was elected with.
      const group = new Group()
        .preload('n0', leaderTerms, 7)
        .preload('n1', terms, 7)
        .preload('n2', leaderTerms, 7)
        .start();
      group.elect('n0');
      group.advance(200);
      expect(termsOf(group, 'n1')).to.deep.equal([...leaderTerms, 8]);
      expect(group.raft('n1').commit).to.equal(11);
    });
  }

  it('fast back-up takes one round trip a term, not one a record', () => {
    const ownTerms = [...Array(3).fill(1), ...Array(40).fill(2), ...Array(40).fill(3)];
    const leadTerms = [...Array(3).fill(1), ...Array(90).fill(4)];
    const group = new Group()
      .preload('n0', leadTerms, 4)
      .preload('n1', ownTerms, 4)
      .preload('n2', leadTerms, 4)
      .start();
    let refusals = 0;
    group.fireTimer('n0');
    for (let steps = 0; group.network.length > 0 && steps < 1000; steps++) {
      const envelope = group.network.shift()!;
      if (envelope.message.type === 'append-response' && envelope.message.reject !== null) refusals++;
      group.deliver(envelope);
    }
    expect(termsOf(group, 'n1')).to.deep.equal([...leadTerms, 5]);
    expect(refusals).to.be.within(1, 3);
  });

  it('an append that is held already removes nothing, however late it comes', () => {
    const group = follower([]);
    group.deliver(append('n1', 'n0', 1, [0, 0], [1, 1, 1, 1, 1]));
    group.deliver(append('n1', 'n0', 1, [1, 1], [1, 1]));
    group.deliver(append('n1', 'n0', 1, [2, 1], []));
    expect(termsOf(group, 'n0')).to.deep.equal([1, 1, 1, 1, 1]);
  });

  it('a follower commits what this leader has verified, not what happens to lie in its log', () => {
    const group = new Group().preload('n0', [1, 1, 2, 2]).preload('n1', [1, 1, 3, 3]).preload('n2', [1, 1]).start();
    group.deliver(append('n1', 'n0', 3, [2, 1], [], 4));
    expect(group.raft('n0').commit).to.equal(2);
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 2 });
  });

  it('a follower acknowledges what this leader has verified, not the length of its log', () => {
    const group = follower([1, 1, 2, 2], 2);
    group.deliver(append('n1', 'n0', 3, [1, 1], [1]));
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 2 });
  });

  for (const { name, late, complaint } of [
    { name: 'replaces', late: append('n2', 'n0', 2, [1, 1], [2]), complaint: 'a committed record is never removed' },
    { name: 'lacks', late: append('n2', 'n0', 2, [2, 2], []), complaint: 'leader completeness' },
  ]) {
    it(`a leader that ${name} a committed record stops the member`, () => {
      const group = new Group().preload('n1', [1, 1]).preload('n2', [1, 1]).start();
      group.deliver(append('n1', 'n0', 1, [0, 0], [1, 1], 2));
      expect(group.raft('n0').commit).to.equal(2);
      expect(() => group.deliver(late)).to.throw(complaint);
    });
  }

  it('match rises by acknowledgements alone: a hint is a guess', () => {
    const group = new Group().preload('n0', [1, 1, 1], 1).preload('n2', [1, 1, 1], 1).start();
    group.isolate('n1');
    group.elect('n0');
    const refusal = (prevIndex: number, hintIndex: number): RaftMessage => ({
      type: 'append-response',
      from: 'n1',
      to: 'n0',
      term: group.raft('n0').term,
      match: logIndex(0),
      round: 0,
      reject: { prevIndex: logIndex(prevIndex), hintIndex: logIndex(hintIndex), hintTerm: term(1) },
    });
    group.input('n0', (raft, nowMs) => raft.step(refusal(3, 2), nowMs));
    expect(group.raft('n0').status().progress[0]).to.include({ match: 0, next: 3, state: 'probe' });
    group.input('n0', (raft, nowMs) => raft.step(refusal(3, 0), nowMs));
    expect(group.raft('n0').status().progress[0], 'a stale refusal').to.include({ match: 0, next: 3 });
  });

  it('while probing, one append is under way; after its answer, a window of them', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
    for (let count = 0; count < 60; count++) group.send(group.member('n0').proposeCount(1));
    expect(group.network.filter(isTo('n1')), 'nothing while it is down').to.deep.equal([]);
    group.input('n0', (raft, nowMs) => raft.peerUp('n1', nowMs));
    const sizes = (): number[] => group.network.filter(isTo('n1')).map(({ records }) => records.length);
    expect(sizes()).to.deep.equal([0, 10]);
    group.deliver(group.take(isTo('n1'))[0]!);
    group.deliver(group.take(isFrom('n1'))[0]!);
    expect(sizes(), 'the window holds 3000 bytes, 1000 of which are under way').to.deep.equal([10, 10]);
    group.settle();
    expect(group.raft('n1').commit).to.equal(61);
  });

  it('the window is bounded in count as well', () => {
    const group = new Group({ config: { inflightBytesMax: 1e9 } }).start();
    group.elect('n0');
    for (let count = 0; count < 10; count++) group.send(group.member('n0').proposeCount(1));
    expect(group.network.filter(isTo('n1'))).to.have.length(4);
    group.settle();
    expect(group.raft('n1').commit).to.equal(11);
  });

  it('a record larger than a message travels alone', () => {
    const group = new Group({ recordSizeBytes: 50_000 }).start();
    group.elect('n0');
    group.propose('n0', 'a', 'b', 'c');
    expect(group.network.filter(isTo('n1')).map(({ records }) => records.length)).to.deep.equal([1]);
    group.settle();
    expect(group.raft('n1').commit).to.equal(4);
  });

  it('lost appends are found by the next heartbeat and sent again', () => {
    const group = new Group().start();
    group.elect('n0');
    for (let count = 0; count < 5; count++) group.send(group.member('n0').proposeCount(3));
    group.take(isTo('n1'));
    group.settle();
    expect(group.raft('n1').lastIndex).to.equal(1);
    group.advance(100);
    expect(group.raft('n1').commit).to.equal(16);
  });

  it('repeated and reordered messages change nothing', () => {
    const group = new Group({ config: { inflightCountMax: 64, inflightBytesMax: 1e6 } }).start();
    group.elect('n0');
    const seen: Envelope[] = [];
    for (let count = 0; count < 20; count++) group.send(group.member('n0').proposeCount(1));
    for (let count = 0; group.network.length > 0 && count < 500; count++) {
      // The newest first, and everything twice.
      const envelope = group.network.pop()!;
      seen.push(envelope);
      group.deliver(envelope);
      group.deliver(envelope);
      if (group.network.length > 200) group.network.splice(0, 100);
    }
    group.network = [];
    group.advance(500);
    const status = group.raft('n0').status();
    for (const envelope of seen) group.deliver(envelope);
    group.settle();
    expect(group.raft('n0').status()).to.deep.equal(status);
    for (const { core } of group.all) expect(core.commit).to.equal(21);
  });
});

describe('§5.4 Safety', () => {
  for (const { name, own, candidate, granted } of [
    { name: 'a later last term wins over a longer log', own: [1, 1, 1], candidate: [1, 2], granted: true },
    { name: 'an earlier last term loses in spite of a longer log', own: [1, 2], candidate: [3, 1], granted: false },
    { name: 'of equal terms the longer log wins', own: [1, 1], candidate: [3, 1], granted: true },
    { name: 'of equal terms the shorter log loses', own: [1, 1], candidate: [1, 1], granted: false },
    { name: 'the same log is up to date enough', own: [1, 1], candidate: [2, 1], granted: true },
  ] as const) {
    for (const preVote of [false, true]) {
      it(`§5.4.1 election restriction${preVote ? ' (pre-vote)' : ''}: ${name}`, () => {
        const group = follower([...own], 2);
        group.deliver(vote('n1', 'n0', 5, candidate[0], candidate[1], { preVote }));
        expect(messagesOf(group, 'vote-response')[0]).to.include({ granted, preVote });
      });
    }
  }

  it('§5.4.2 records of earlier terms are committed only together with one of the own term (figure 8)', () => {
    // (c): n0 leads term 4, brings record 2 of term 2 to n1 and n2, and no record of its own to anybody.
    const group = new Group({ size: 5, config: { appendBytesMax: 100 } })
      .preload('n0', [1, 2], 3)
      .preload('n1', [1, 2], 3)
      .preload('n2', [1], 3)
      .preload('n3', [1], 3)
      .preload('n4', [1, 3], 3)
      .start();
    const isOwnRecord = ({ message }: Envelope): boolean =>
      message.type === 'append' && message.runs.at(-1)?.term === 4;
    group.isolate('n3');
    group.isolate('n4');
    group.fireTimer('n0');
    for (let round = 0; round < 3; round++) {
      while (group.network.length > 0) {
        const envelope = group.network.shift()!;
        if (!isOwnRecord(envelope) || envelope.message.to === 'n2') group.deliver(envelope);
        if (group.raft('n2').flushedIndex === 2) group.cut('n0', 'n2');
      }
      group.fireTimer('n0');
    }
    const held = group
      .raft('n0')
      .status()
      .progress.map(({ match }) => match);
    expect(held, 'n0 knows of three durable copies of record 2').to.deep.equal([2, 2, 0, 0]);
    expect(group.raft('n0').commit).to.equal(0);
    group.heal();
    group.advance(200);
    expect(group.raft('n0').commit, 'with the no-op above it').to.equal(3);
  });

  it('§5.4.2 a new leader appends a no-op, so that what came before it is committed without new writes', () => {
    const group = new Group().preload('n0', [1, 1], 1).preload('n1', [1, 1], 1).preload('n2', [], 1).start();
    group.elect('n0');
    expect(termsOf(group, 'n2')).to.deep.equal([1, 1, 2]);
    for (const { core } of group.all) expect(core.commit).to.equal(3);
  });

  it('§5.4.3 committed records survive every change of leader', () => {
    const group = new Group({ size: 5 }).start();
    for (const id of ['n0', 'n3', 'n1', 'n4', 'n2']) {
      group.elect(id);
      group.propose(id, `of ${id}`);
      group.settle();
    }
    for (const { core } of group.all) expect(core.commit).to.equal(10);
  });

  it('§5.5 a crashed follower is asked again until it is back', () => {
    const group = new Group().start();
    group.elect('n0');
    group.crash('n1');
    group.propose('n0', 'a', 'b');
    group.advance(1500);
    group.restart('n1');
    group.advance(100);
    expect(group.raft('n1').commit).to.equal(3);
    expect(group.raft('n0').term).to.equal(1);
  });

  it('§5.6 with heartbeats well below election timeouts, a leader stays', () => {
    const group = new Group({ size: 5 }).start();
    const { id } = group.awaitLeader();
    group.advance(60_000);
    expect(group.leader?.id).to.equal(id);
    expect(group.checker.leaderCount).to.equal(1);
  });
});

describe('asynchronous flushes', () => {
  it('a completion for records that were replaced is ignored', () => {
    const group = follower([]);
    const member = group.member('n0');
    member.autoFlush = false;
    group.deliver(append('n1', 'n0', 1, [0, 0], [1, 1]));
    member.beginFlush();
    group.deliver(append('n2', 'n0', 2, [0, 0], [2, 2]));
    group.send(member.completeFlush());
    expect(group.raft('n0').flushedIndex).to.equal(0);
    expect(messagesOf(group, 'append-response')).to.deep.equal([]);
    member.beginFlush();
    group.send(member.completeFlush());
    expect(messagesOf(group, 'append-response')).to.have.length(1);
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 2, to: 'n2' });
  });

  it('so is one for records that were replaced and came back (the term alone would not tell)', () => {
    const group = follower([]);
    const member = group.member('n0');
    member.autoFlush = false;
    group.deliver(append('n1', 'n0', 1, [0, 0], [1, 1]));
    member.beginFlush();
    group.deliver(append('n2', 'n0', 2, [0, 0], [2, 2]));
    group.deliver(append('n1', 'n0', 3, [0, 0], [1, 1]));
    group.send(member.completeFlush());
    expect(group.raft('n0').flushedIndex).to.equal(0);
    expect(messagesOf(group, 'append-response')).to.deep.equal([]);
  });

  it('what a truncation removed is not durable any more', () => {
    const group = follower([1, 1, 1], 1);
    expect(group.raft('n0').flushedIndex).to.equal(3);
    group.member('n0').autoFlush = false;
    group.deliver(append('n1', 'n0', 2, [1, 1], [2, 2]));
    expect(group.raft('n0').flushedIndex).to.equal(1);
    expect(messagesOf(group, 'append-response')).to.deep.equal([]);
  });
});

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

describe('dissertation §3.10 Leadership transfer', () => {
  it('the target takes over at once, and nothing that was acknowledged is lost', () => {
    const group = new Group().start();
    group.elect('n0');
    group.propose('n0', 'a');
    group.settle();
    group.input('n0', (raft, nowMs) => raft.transferLeadership('n2', nowMs));
    expect(messagesOf(group, 'timeout-now').map(({ to }) => to)).to.deep.equal(['n2']);
    group.settle();
    expect(group.leader?.id).to.equal('n2');
    expect(group.raft('n2').term).to.equal(2);
    for (const { core } of group.all) expect(core.leader).to.equal('n2');
  });

  it('a target that lags is brought up to date first, and proposals wait', () => {
    const group = new Group().start();
    group.elect('n0');
    group.isolate('n1');
    group.propose('n0', 'a', 'b');
    group.settle();
    group.input('n0', (raft, nowMs) => raft.transferLeadership('n1', nowMs));
    group.settle();
    expect(messagesOf(group, 'timeout-now')).to.deep.equal([]);
    expect(codeOf(() => group.propose('n0', 'x'))).to.equal('TRANSFERRING');
    expect(codeOf(() => group.input('n0', (raft, nowMs) => raft.transferLeadership('n2', nowMs)))).to.equal(
      'TRANSFERRING',
    );
    expect(group.raft('n0').status().transferee).to.equal('n1');
    group.heal();
    group.advance(200);
    expect(group.leader?.id).to.equal('n1');
  });

  for (const cause of ['the longest election timeout has passed', 'the connection to the target dropped'] as const) {
    it(`a transfer is given up when ${cause}, and writes go on`, () => {
      const group = new Group().start();
      group.elect('n0');
      group.crash('n1');
      group.input('n0', (raft, nowMs) => raft.transferLeadership('n1', nowMs));
      if (cause === 'the connection to the target dropped') {
        group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
      } else {
        group.advance(999);
        expect(codeOf(() => group.propose('n0', 'x'))).to.equal('TRANSFERRING');
        group.advance(1);
      }
      expect(group.raft('n0').status().transferee).to.equal(null);
      group.propose('n0', 'x');
      group.settle();
      expect(group.raft('n0').commit).to.equal(2);
      expect(group.raft('n0').term).to.equal(1);
    });
  }

  it('a lost TimeoutNow is sent again with the next heartbeat', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n0', (raft, nowMs) => raft.transferLeadership('n2', nowMs));
    expect(group.take(isTo('n2', 'timeout-now'))).to.have.length(1);
    group.advance(100);
    expect(group.leader?.id).to.equal('n2');
  });

  for (const { by, target, code } of [
    { by: 'n1', target: 'n2', code: 'NOT_LEADER' },
    { by: 'n0', target: 'n9', code: 'UNKNOWN_NODE' },
    { by: 'n0', target: 'n0', code: 'INVALID_ARGUMENT' },
  ]) {
    it(`a transfer by ${by} to ${target} is refused with ${code}`, () => {
      const group = new Group().start();
      group.elect('n0');
      expect(codeOf(() => group.input(by, (raft, nowMs) => raft.transferLeadership(target, nowMs)))).to.equal(code);
    });
  }

  it('a TimeoutNow of an earlier term, or of somebody who does not lead, starts nothing', () => {
    const group = new Group().start();
    group.elect('n0');
    for (const [from, ofTerm] of [
      ['n2', 1],
      ['n0', 0],
    ] as const) {
      const message: RaftMessage = { type: 'timeout-now', from, to: 'n1', term: term(ofTerm) };
      group.input('n1', (raft, nowMs) => raft.step(message, nowMs));
    }
    expect(group.raft('n1').role).to.equal('follower');
  });
});

describe('dissertation §6.4 Read index', () => {
  function read(group: Group, id: string, token: number): void {
    group.checker.beginRead(token);
    group.input(id, (raft, nowMs) => raft.readIndex(token, nowMs));
  }

  it('a read is answered after a majority confirmed the leader in a round begun after it', () => {
    const group = new Group().start();
    group.elect('n0');
    group.propose('n0', 'a');
    group.settle();
    read(group, 'n0', 7);
    expect(group.member('n0').reads).to.deep.equal([]);
    expect(messagesOf(group, 'append').map(({ to }) => to)).to.deep.equal(['n1', 'n2']);
    group.settle();
    expect(group.member('n0').reads).to.deep.equal([{ token: 7, index: 2 }]);
  });

  it('an answer to an earlier round confirms nothing', () => {
    const group = new Group().start();
    group.elect('n0');
    group.fireTimer('n0');
    const earlier = group.network.splice(0);
    read(group, 'n0', 1);
    group.network = earlier;
    group.settle();
    expect(group.member('n0').reads).to.deep.equal([]);
    group.advance(100);
    expect(group.member('n0').reads).to.have.length(1);
  });

  it('reads of one turn share a round', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n0', (raft, nowMs) => {
      for (const token of [1, 2, 3]) raft.readIndex(token, nowMs);
    });
    expect(messagesOf(group, 'append')).to.have.length(2);
    group.settle();
    expect(group.member('n0').reads.map(({ token }) => token)).to.deep.equal([1, 2, 3]);
  });

  it('a read waits for the first commit of the own term, and covers what earlier leaders committed', () => {
    const group = new Group().start();
    group.elect('n0');
    group.propose('n0', 'a');
    // n1 and n2 hold the record; n1 does not know that it is committed.
    for (const envelope of group.take(isFrom('n0', 'append'))) group.deliver(envelope);
    for (const envelope of group.take(isFrom('n2'))) group.deliver(envelope);
    group.network = [];
    expect(group.raft('n0').commit).to.equal(2);
    expect(group.raft('n1').commit).to.equal(1);
    group.crash('n0');
    group.nowMs += 2000;
    group.fireTimer('n1');
    while (!group.raft('n1').isLeader) group.deliver(group.network.shift()!);
    group.network = [];
    read(group, 'n1', 5);
    group.deliver(group.take(isTo('n2'))[0]!);
    group.deliver(group.take(isFrom('n2'))[0]!);
    expect(group.member('n1').reads, 'the no-op is not committed').to.deep.equal([]);
    group.advance(200);
    expect(group.member('n1').reads).to.deep.equal([{ token: 5, index: 3 }]);
  });

  it('a leader that was replaced without knowing confirms nothing, and aborts its reads when it learns', () => {
    const group = new Group().start();
    group.elect('n0');
    group.isolate('n0');
    group.elect('n1');
    group.propose('n1', 'new');
    group.settle();
    read(group, 'n0', 9);
    group.settle();
    group.heal();
    group.advance(200);
    expect(group.member('n0').reads).to.deep.equal([]);
    expect(group.member('n0').abortedReads).to.deep.equal([9]);
  });

  it('only a leader takes reads, and only so many', () => {
    const group = new Group().start();
    group.elect('n0');
    expect(codeOf(() => read(group, 'n1', 1))).to.equal('NOT_LEADER');
    group.isolate('n0');
    const fill = (): void => {
      for (let token = 0; token <= pendingReadsMax; token++) group.raft('n0').readIndex(token, group.nowMs);
    };
    expect(codeOf(fill)).to.equal('OVERLOADED');
  });

  it('in a group of one a read needs nobody else', () => {
    const group = new Group({ size: 1 }).start();
    group.fireTimer('n0');
    read(group, 'n0', 3);
    expect(group.member('n0').reads).to.deep.equal([{ token: 3, index: 1 as LogIndex }]);
  });
});

describe("the owner's side of the contract", () => {
  it('an input before the records of the last one were taken over is refused', () => {
    const group = follower([]);
    const raft = group.raft('n0');
    raft.step(append('n1', 'n0', 1, [0, 0], [1]).message, 0);
    expect(() => raft.tick(1)).to.throw('taken over');
    raft.ready();
    raft.tick(1);
  });

  it('a Ready hands out each thing once', () => {
    const group = follower([]);
    const raft = group.raft('n0');
    raft.step(append('n1', 'n0', 1, [0, 0], [1]).message, 0);
    assert.isTrue(raft.ready().stateChanged);
    const { hardState, append: written, messages, stateChanged } = raft.ready();
    expect({ hardState, written, messages, stateChanged }).to.deep.equal({
      hardState: null,
      written: null,
      messages: [],
      stateChanged: false,
    });
  });

  for (const [name, config] of Object.entries({
    'heartbeats slower than elections': { heartbeatIntervalMs: 600 },
    'a longest timeout below the shortest': { electionTimeoutMsMax: 400 },
    'no room in a message': { appendBytesMax: 0 },
  })) {
    it(`a configuration with ${name} is refused`, () => {
      expect(() => new Group({ config }).start()).to.throw();
    });
  }
});
