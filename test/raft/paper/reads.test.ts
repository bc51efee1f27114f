// Raft paper §8, dissertation §6.4: reads that see everything that was answered for before them.
import { expect } from 'chai';
import { pendingReadsMax } from '../../../src/raft/limits.ts';
import type { LogIndex } from '../../../src/raft/types.ts';
import { Group } from '../harness/group.ts';
import { codeOf, isFrom, isTo, messagesOf } from './messages.ts';

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
