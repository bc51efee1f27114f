// Raft paper §8, dissertation §6.4: reads that see everything that was answered for before them.
import { expect } from 'chai';
import { pendingReadsMax } from '../../../src/raft/limits.ts';
import { type LogIndex, term } from '../../../src/raft/types.ts';
import { Group, type GroupOptions } from '../harness/group.ts';
import { codeOf, isFrom, isTo, messagesOf, vote } from './messages.ts';

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

describe('dissertation §6.4.1 Lease reads', () => {
  /** Leader n0, whose last round was begun and echoed now. */
  const leasing = (options: GroupOptions = {}): Group => {
    const group = new Group({ ...options, config: { leaseReads: true, ...options.config } }).start();
    group.elect('n0');
    group.fireTimer('n0');
    group.settle();
    return group;
  };
  const read = (group: Group, id = 'n0'): boolean => {
    const { reads } = group.member(id);
    const token = 1000 + group.nowMs + reads.length;
    group.checker.beginRead(token);
    group.input(id, (raft, nowMs) => raft.readIndex(token, nowMs));
    return reads.some((answer) => answer.token === token);
  };

  it('a read is confirmed at once while a majority echoed a round that began not long ago', () => {
    const group = leasing();
    expect(read(group)).to.equal(true);
    expect(group.network).to.deep.equal([]);
    group.nowMs += 449;
    expect(read(group)).to.equal(true);
    group.nowMs += 1;
    expect(read(group), 'the margin of a tenth is for the clocks').to.equal(false);
  });

  it('the lease counts from when the round began, not from when it was answered', () => {
    const group = leasing();
    group.nowMs += 300;
    group.fireTimer('n0');
    group.nowMs += 400;
    group.settle();
    expect(read(group)).to.equal(true);
    group.nowMs += 50;
    expect(read(group)).to.equal(false);
  });

  it('an echo of one is no majority', () => {
    const group = leasing({ size: 5 });
    for (const id of ['n2', 'n3', 'n4']) group.isolate(id);
    group.nowMs += 440;
    group.fireTimer('n0');
    group.settle();
    group.nowMs += 10;
    expect(read(group)).to.equal(false);
  });

  it('not before the first commit of the own term', () => {
    const group = leasing();
    group.propose('n0', 'x');
    group.settle();
    group.nowMs += 2000;
    group.crash('n0');
    group.fireTimer('n1');
    while (!group.raft('n1').isLeader) group.deliver(group.network.shift()!);
    expect(read(group, 'n1')).to.equal(false);
    group.advance(100);
    expect(read(group, 'n1')).to.equal(true);
  });

  it('not any more in a term in which somebody was asked to campaign', () => {
    const group = leasing();
    group.input('n0', (raft, nowMs) => raft.transferLeadership('n1', nowMs));
    group.network = [];
    expect(read(group)).to.equal(false);
    group.input('n0', (raft, nowMs) => raft.peerDown('n1', nowMs));
    group.advance(300);
    expect(group.raft('n0').isTransferring).to.equal(false);
    expect(read(group), 'the request may still arrive').to.equal(false);
  });

  it('anew after a change of the membership', () => {
    const group = leasing({ spare: 1 });
    expect(read(group)).to.equal(true);
    group.change('n0', { type: 'remove', id: 'n2' });
    expect(read(group)).to.equal(false);
    group.advance(200);
    expect(read(group)).to.equal(true);
  });

  it('is off by default', () => {
    const group = leasing({ config: { leaseReads: false } });
    expect(read(group)).to.equal(false);
  });

  for (const { name, disturb } of [
    {
      name: 'the connection to the leader dropped',
      disturb: (g: Group) => g.input('n2', (r, t) => r.peerDown('n0', t)),
    },
    {
      name: 'it learned of a later term',
      disturb: (g: Group) => {
        const refusal = { type: 'vote-response', from: 'n1', to: 'n2', preVote: false, granted: false } as const;
        g.deliver({ message: { ...refusal, term: term(5) }, records: [] });
      },
    },
    {
      name: 'it restarted',
      disturb: (g: Group) => {
        g.crash('n2');
        g.restart('n2');
      },
    },
  ]) {
    it(`a voter keeps its promise though ${name}`, () => {
      const group = leasing();
      disturb(group);
      const { lastIndex } = group.raft('n2');
      for (const preVote of [true, false]) {
        group.network = [];
        group.deliver(vote('n1', 'n2', 6, lastIndex, 1, { preVote }));
        const granted = messagesOf(group, 'vote-response').filter((answer) => answer.granted);
        expect(granted).to.deep.equal([]);
      }
      group.nowMs += 500;
      group.network = [];
      group.deliver(vote('n1', 'n2', 6, lastIndex, 1));
      expect(messagesOf(group, 'vote-response')[0]).to.include({ granted: true });
    });
  }

  it('with the transport crying wolf, no campaign is brought forward', () => {
    const group = leasing();
    const { deadlineMs } = group.raft('n1');
    group.input('n1', (raft, nowMs) => raft.peerDown('n0', nowMs));
    expect(group.raft('n1').deadlineMs).to.equal(deadlineMs);
  });
});
