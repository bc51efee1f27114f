// Dissertation §3.10: leadership is handed over on purpose.
import { expect } from 'chai';
import { type RaftMessage, term } from '../../../src/raft/types.ts';
import { Group } from '../harness/group.ts';
import { codeOf, isTo, messagesOf } from './messages.ts';

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

describe('preferred leaders', () => {
  const preferring = (...preferredLeaders: string[]): Group => {
    const group = new Group({ config: { preferredLeaders } }).start();
    group.elect('n0');
    return group;
  };

  for (const { preferred, away, leader } of [
    { preferred: ['n2', 'n1'], away: [], leader: 'n2' },
    { preferred: ['n2', 'n1'], away: ['n2'], leader: 'n1' },
    { preferred: ['n0', 'n2'], away: [], leader: 'n0' },
    { preferred: ['n9', 'n1', 'n0'], away: [], leader: 'n1' },
    { preferred: ['n9'], away: [], leader: 'n0' },
    { preferred: [], away: [], leader: 'n0' },
  ]) {
    it(`${preferred.join(', ') || 'none'}; away: ${away.join(', ') || 'none'}: ${leader} leads in the end`, () => {
      const group = preferring(...preferred);
      for (const id of away) {
        group.isolate(id);
        group.input('n0', (raft, nowMs) => raft.peerDown(id, nowMs));
      }
      group.advance(6000);
      expect(group.leader?.id).to.equal(leader);
      expect(group.raft(leader).term).to.equal(leader === 'n0' ? 1 : 2);
    });
  }

  it('not one that lags, nor a learner', () => {
    const group = preferring('n1', 'n2');
    for (const id of ['n1', 'n2']) group.member(id).autoFlush = false;
    group.propose('n0', 'x');
    group.advance(900);
    group.member('n2').beginFlush();
    group.send(group.member('n2').completeFlush());
    group.advance(5000);
    expect(group.leader?.id, 'n1 has flushed nothing').to.equal('n2');
  });

  it('one that does not take over is asked ever more rarely', () => {
    const group = preferring('n1');
    group.input('n1', (raft, nowMs) => raft.setImpaired(true, nowMs));
    const attemptsMs: number[] = [];
    let wasTransferring = false;
    while (group.nowMs < 100_000) {
      group.advance(10);
      const { isTransferring } = group.raft('n0');
      if (isTransferring && !wasTransferring) attemptsMs.push(Math.round(group.nowMs / 1000));
      wasTransferring = isTransferring;
    }
    const pauses = attemptsMs.map((atMs, at) => atMs - (attemptsMs[at - 1] ?? 1));
    expect(pauses).to.deep.equal([4, 8, 16, 32]);
  });

  it('writes go on but for the moment of the handover', () => {
    const group = preferring('n1');
    let refused = 0;
    for (let turn = 0; turn < 600; turn++) {
      const { leader } = group;
      if (leader === undefined || codeOf(() => group.propose(leader.id, `v${turn}`)) !== 'nothing thrown') refused++;
      group.advance(10);
    }
    expect(group.leader?.id).to.equal('n1');
    expect(refused).to.be.below(3);
  });
});

describe('a member that cannot do its part (hung disk, stalled event loop)', () => {
  it('hands leadership to the voter that holds the most, at once', () => {
    const group = new Group({ size: 5 }).start();
    group.elect('n0');
    for (const id of ['n1', 'n2']) group.cut('n0', id);
    group.propose('n0', 'x');
    group.settle();
    group.heal();
    group.input('n0', (raft, nowMs) => raft.setImpaired(true, nowMs));
    expect(group.raft('n0').role).to.equal('follower');
    expect(messagesOf(group, 'timeout-now').map(({ to }) => to)).to.deep.equal(['n3']);
    group.settle();
    expect(group.leader?.id).to.equal('n3');
  });

  it('does not campaign, on its own or on request, until it is well again', () => {
    const group = new Group().start();
    group.elect('n0');
    group.input('n1', (raft, nowMs) => raft.setImpaired(true, nowMs));
    group.isolate('n1');
    for (let turn = 0; turn < 3; turn++) group.fireTimer('n1');
    expect(group.raft('n1').role).to.equal('follower');
    expect(group.network).to.deep.equal([]);
    group.heal();
    group.deliver({ message: { type: 'timeout-now', from: 'n0', to: 'n1', term: term(1) }, records: [] });
    expect(group.raft('n1').role).to.equal('follower');
    group.input('n1', (raft, nowMs) => raft.setImpaired(false, nowMs));
    group.fireTimer('n1');
    expect(group.raft('n1').role).to.equal('pre-candidate');
  });

  it('gives its reads up, and votes like everybody', () => {
    const group = new Group().start();
    group.elect('n0');
    group.checker.beginRead(1);
    group.input('n0', (raft, nowMs) => raft.readIndex(1, nowMs));
    group.input('n0', (raft, nowMs) => raft.setImpaired(true, nowMs));
    expect(group.member('n0').abortedReads).to.deep.equal([1]);
    group.isolate('n2');
    group.settle();
    expect(group.leader?.id, 'n1, with the vote of n0').to.equal('n1');
  });

  it('stays when it is the only voter', () => {
    const group = new Group({ size: 1 }).start();
    group.elect('n0');
    group.input('n0', (raft, nowMs) => raft.setImpaired(true, nowMs));
    expect(group.raft('n0').isLeader).to.equal(true);
  });
});
