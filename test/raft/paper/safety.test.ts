// Raft paper §5.4 to §5.6: what is committed stays, whoever leads and whatever crashes.
import { expect } from 'chai';
import { Group } from '../harness/group.ts';
import type { Envelope } from '../harness/member.ts';
import { append, follower, messagesOf, termsOf, vote } from './messages.ts';

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
