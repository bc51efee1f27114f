// Raft paper §7, dissertation §5: a log that was cut, and the snapshot that stands for what is gone.
import { expect } from 'chai';
import { logIndex, type NodeId, type SnapshotPoint, term } from '../../../src/raft/types.ts';
import { founded, Group, type GroupOptions } from '../harness/group.ts';
import type { StoredSnapshot } from '../harness/member_log.ts';
import { append, isTo, messagesOf, piece, termsOf } from './messages.ts';

/** Leader n0 has `count` records and cut its log at `base`; n2 has nothing but the no-op, and was away. */
function behind(base: number, count = 9, options: GroupOptions = {}): Group {
  const group = new Group(options).start();
  group.elect('n0');
  group.isolate('n2');
  group.propose('n0', ...Array.from({ length: count - 1 }, (_, at) => `v${at}`));
  group.settle();
  group.advance(100);
  cut(group, 'n0', base);
  return group;
}

function cut(group: Group, id: NodeId, index: number): void {
  group.send(group.member(id).compact(logIndex(index)));
}

function progressOf(group: Group, peer: NodeId) {
  return group
    .raft('n0')
    .status()
    .progress.find((progress) => progress.peer === peer)!;
}

/** One follower whose leader is written by the test; that leader has committed six records of `inTerm`. */
function follower(terms: number[], inTerm: number, hardTerm = terms.at(-1) ?? 0): Group {
  const committed = Array.from({ length: 6 }, () => inTerm);
  const group = new Group().preload('n0', terms, hardTerm).preload('n1', committed).preload('n2', committed).start();
  group.checker.assume(group.member('n1').records, inTerm);
  return group;
}

/** What a test's own leader sends: everything up to `index`, of term `inTerm`. */
function snapshotOf(index: number, inTerm: number): StoredSnapshot {
  return {
    index: logIndex(index),
    term: term(inTerm),
    membership: { index: logIndex(0), membership: founded(['n0', 'n1', 'n2']) },
    values: Array.from({ length: index }, (_, at) => `r${at + 1}@${inTerm}`),
  };
}

describe('§7 Log compaction', () => {
  it('a follower that needs what is gone gets the snapshot, then the records after it', () => {
    const group = behind(6);
    group.heal();
    group.advance(300);
    expect(group.member('n2').log.base.index).to.equal(6);
    expect(group.raft('n2').commit).to.equal(9);
    expect(progressOf(group, 'n2')).to.include({ state: 'replicate', match: 9, snapshotOffset: null });
  });

  it('a follower that holds the record at the base gets records, however far the log was cut', () => {
    const group = behind(9);
    expect(progressOf(group, 'n1')).to.include({ state: 'replicate', match: 9 });
    group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
    group.input('n0', (raft, nowMs) => raft.peerUp('n1', nowMs));
    group.advance(100);
    expect(messagesOf(group, 'snapshot')).to.deep.equal([]);
    expect(progressOf(group, 'n1')).to.include({ state: 'replicate', match: 9 });
  });

  it('one piece is under way, the next begins where the answer says', () => {
    const group = behind(6, 9, { pieceBytesMax: 25 });
    group.heal();
    group.fireTimer('n0');
    const offsets: number[] = [];
    while (group.network.length > 0) {
      const under = messagesOf(group, 'snapshot');
      expect(under.length).to.be.at.most(1);
      if (group.network[0]!.message.type === 'snapshot') offsets.push(under[0]!.offset);
      group.deliver(group.network.shift()!);
    }
    expect(offsets).to.deep.equal([0, 25, 50]);
  });

  it('an unanswered piece is sent again after one heartbeat, then two, four, eight, and again one once it gets on', () => {
    const group = behind(6);
    group.heal();
    group.fireTimer('n0');
    group.deliver(group.take(isTo('n2', 'append'))[0]!);
    group.settleUntil(() => messagesOf(group, 'snapshot').length > 0);
    const sentInRound: number[] = [];
    for (let round = 1; round <= 30; round++) {
      group.network = [];
      group.fireTimer('n0');
      if (messagesOf(group, 'snapshot').length > 0) sentInRound.push(round);
      for (const envelope of group.take(isTo('n1'))) group.deliver(envelope);
      group.settleOnly(isTo('n0'));
    }
    expect(sentInRound).to.deep.equal([1, 3, 7, 15, 23]);
  });

  it('heartbeats go on meanwhile, and their refusals change nothing', () => {
    const group = behind(6, 9, { pieceBytesMax: 10 });
    group.heal();
    group.fireTimer('n0');
    group.settleUntil(() => progressOf(group, 'n2').state === 'snapshot');
    for (let turn = 0; turn < 3; turn++) {
      group.take(isTo('n2', 'snapshot'));
      group.fireTimer('n0');
      const heartbeats = group.take(isTo('n2', 'append'));
      expect(heartbeats.length).to.be.above(0);
      for (const heartbeat of heartbeats) group.deliver(heartbeat);
      group.settleOnly(isTo('n0'));
      expect(progressOf(group, 'n2').state).to.equal('snapshot');
    }
    expect(group.raft('n2').leader).to.equal('n0');
  });

  it('a follower that is sent a snapshot counts as heard: the leader stays, and reads are confirmed', () => {
    const group = behind(6, 9, { pieceBytesMax: 10 });
    group.crash('n1');
    group.heal();
    group.fireTimer('n0');
    group.settleUntil(() => progressOf(group, 'n2').state === 'snapshot');
    group.checker.beginRead(1);
    group.input('n0', (raft, nowMs) => raft.readIndex(1, nowMs));
    group.settleUntil(() => group.member('n0').reads.length > 0);
    expect(progressOf(group, 'n2').state).to.equal('snapshot');
  });

  it('a snapshot of an earlier term is refused with the current one', () => {
    const group = follower([], 3, 5);
    group.deliver(piece('n1', 'n0', 3, snapshotOf(4, 3)));
    expect(messagesOf(group, 'append-response')[0]).to.include({ term: 5, match: 0 });
    expect(group.member('n0').durable.incoming).to.equal(null);
  });

  it('a snapshot makes its sender the leader that is followed, and holds elections off', () => {
    const group = follower([], 3);
    group.nowMs += 400;
    group.deliver(piece('n1', 'n0', 3, snapshotOf(4, 3), 0, 10));
    expect(group.raft('n0').leader).to.equal('n1');
    expect(group.raft('n0').deadlineMs).to.be.at.least(900);
  });

  for (const { name, terms, commit, at } of [
    { name: 'holds its last record', terms: [1, 1, 1, 1, 1], commit: 0, at: 4 },
    { name: 'has committed as much', terms: [1, 1, 1, 1, 1], commit: 5, at: 5 },
    { name: 'has committed more', terms: [1, 1, 1, 1, 1], commit: 5, at: 3 },
  ]) {
    it(`a follower that ${name} is not set back by a snapshot, and says what it holds`, () => {
      const group = follower(terms, 1);
      if (commit > 0) group.deliver(append('n1', 'n0', 1, [5, 1], [], commit));
      group.network = [];
      group.deliver(piece('n1', 'n0', 1, snapshotOf(at, 1)));
      expect(termsOf(group, 'n0')).to.deep.equal(terms);
      expect(group.raft('n0').needsSnapshot({ index: logIndex(at), term: term(1) })).to.equal(false);
      expect(messagesOf(group, 'append-response')[0]).to.include({ match: Math.max(at, commit) });
      expect(messagesOf(group, 'snapshot-response')).to.deep.equal([]);
    });
  }

  it('a snapshot replaces a log that differs or ends before it, and nothing of that log stays', () => {
    for (const terms of [[1, 1, 1], [1, 1, 1, 1, 1, 1], []]) {
      const group = new Group({ size: 3 }).preload('n0', terms, 2);
      group.preload('n1', [2, 2, 2, 2, 2], 2).preload('n2', [2, 2, 2, 2, 2], 2).start();
      group.isolate('n0');
      group.elect('n1');
      cut(group, 'n1', 6);
      group.heal();
      group.advance(500);
      expect(group.checker.restoreCount).to.equal(1);
      expect(group.member('n0').log.at(6)?.term ?? group.member('n0').log.base.term).to.equal(group.raft('n1').term);
      expect(group.raft('n0').commit).to.equal(group.raft('n1').commit);
    }
  });

  it('after a snapshot the log is empty at its end, committed, durable, and of its term', () => {
    const group = follower([], 2);
    group.deliver(piece('n1', 'n0', 3, snapshotOf(4, 2)));
    const { commit, flushedIndex, lastIndex } = group.raft('n0');
    expect([commit, flushedIndex, lastIndex]).to.deep.equal([4, 4, 4]);
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 4 });
    // What is compared at the boundary is the term that the snapshot tells.
    group.network = [];
    group.deliver(append('n1', 'n0', 3, [4, 2], [2]));
    expect(messagesOf(group, 'append-response')[0]).to.include({ match: 5 });
    expect(() => group.deliver(append('n1', 'n0', 3, [4, 3], [3]))).to.throw('leader completeness');
  });

  it('a flush that began before a snapshot took the place of the log vouches for nothing', () => {
    const group = follower([], 2);
    group.member('n0').autoFlush = false;
    group.deliver(append('n1', 'n0', 1, [0, 0], [1, 1, 1, 1]));
    const { truncationCount } = group.raft('n0');
    group.deliver(piece('n1', 'n0', 2, snapshotOf(6, 2)));
    group.deliver(append('n1', 'n0', 2, [6, 2], [2]));
    group.raft('n0').flushed(logIndex(7), term(2), truncationCount);
    expect(group.raft('n0').flushedIndex).to.equal(6);
  });

  it('an installed snapshot answers to the leader of today, whoever sent it', () => {
    const group = follower([], 2);
    group.deliver(piece('n1', 'n0', 2, snapshotOf(4, 2), 0, 20));
    group.network = [];
    group.deliver(append('n2', 'n0', 3, [9, 3], []));
    group.deliver(piece('n2', 'n0', 3, snapshotOf(4, 2), 20));
    expect(messagesOf(group, 'append-response').at(-1)).to.include({ to: 'n2', term: 3, match: 4 });
  });

  it('without a known leader nothing is answered', () => {
    const group = follower([], 2);
    group.deliver(piece('n1', 'n0', 2, snapshotOf(4, 2), 0, 20));
    group.nowMs += 2000;
    group.fireTimer('n0');
    group.network = [];
    group.input('n0', (raft, nowMs) => raft.snapshotStored(logIndex(4), 40, nowMs));
    expect(group.network).to.deep.equal([]);
  });
});

describe('§7 what an owner must not do', () => {
  const point: SnapshotPoint & { membership: StoredSnapshot['membership'] } = snapshotOf(4, 2);

  for (const { name, terms, hardTerm, at, message } of [
    {
      name: 'below the end of the log',
      terms: [2, 2, 2, 2, 2],
      hardTerm: 2,
      at: { ...point },
      message: 'reaches as far',
    },
    { name: 'of a later term than the own', terms: [], hardTerm: 1, at: { ...point }, message: 'later term' },
    {
      name: 'with a membership from after its end',
      terms: [],
      hardTerm: 2,
      at: { ...point, membership: { ...point.membership, index: logIndex(5) } },
      message: 'in force at its end',
    },
  ]) {
    it(`install a snapshot ${name}`, () => {
      const { core } = follower(terms, 2, hardTerm).member('n0');
      expect(() => core.restore(at, 0)).to.throw(message);
    });
  }

  it('install a snapshot over what is committed', () => {
    const group = follower([2, 2, 2, 2, 2], 2);
    group.deliver(append('n1', 'n0', 3, [5, 2], [], 5));
    expect(() => group.raft('n0').restore(point, group.nowMs)).to.throw('never replaces what is committed');
  });

  it('cut a log beyond what is committed, or at another term', () => {
    const group = follower([1, 1, 1], 1);
    const { core } = group.member('n0');
    expect(() => core.logCut(logIndex(2), term(1), 0)).to.throw('only what is committed and durable');
    group.deliver(append('n1', 'n0', 1, [3, 1], [], 3));
    expect(() => core.logCut(logIndex(2), term(2), group.nowMs)).to.throw('a record that it holds');
    core.logCut(logIndex(2), term(1), group.nowMs);
    expect(core.lastIndex).to.equal(3);
  });
});

describe('§7 livelock between installing and cutting (dledger #319)', () => {
  it('a leader that cuts its log with every heartbeat gets every follower up to date', () => {
    const group = behind(6, 9, { pieceBytesMax: 30 });
    group.heal();
    let turns = 0;
    for (; progressOf(group, 'n2').match < group.raft('n0').lastIndex && turns < 60; turns++) {
      group.advance(50);
      if (turns < 20) group.propose('n0', `w${turns}`);
      const { retainFrom, commit, flushedIndex } = group.raft('n0');
      const index = Math.min(retainFrom - 1, commit, flushedIndex);
      if (index > group.member('n0').log.base.index) cut(group, 'n0', index);
    }
    expect(progressOf(group, 'n2').match).to.equal(group.raft('n0').lastIndex);
    expect(turns).to.be.below(60);
  });

  it('what must stay: what connected followers need, and what comes after a snapshot under way', () => {
    const group = behind(6, 9, { pieceBytesMax: 10 });
    expect(group.raft('n0').retainFrom, 'n2 is silent, but not for long').to.equal(2);
    group.advance(1000);
    expect(group.raft('n0').retainFrom, 'n2 is gone; n1 has everything').to.equal(10);
    group.heal();
    group.fireTimer('n0');
    group.settleUntil(() => progressOf(group, 'n2').state === 'snapshot');
    expect(group.raft('n0').retainFrom).to.equal(7);
    group.advance(300);
    expect(group.raft('n0').retainFrom).to.equal(10);
    expect(group.raft('n1').retainFrom, 'a follower needs to keep nothing for others').to.equal(10);
  });
});
