// Raft paper §5.3: how a leader's log becomes everybody's.
import { expect } from 'chai';
import { logIndex, type RaftMessage, term } from '../../../src/raft/types.ts';
import { Group } from '../harness/group.ts';
import type { Envelope } from '../harness/member.ts';
import { append, codeOf, follower, isFrom, isTo, messagesOf, termsOf } from './messages.ts';

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
