import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { isJoint } from '../../src/raft/membership.ts';
import type { MembershipChange, MembershipEntry, NodeId } from '../../src/raft/types.ts';
import { addressOf, batchOf, Group } from './group.ts';
import { expectAcknowledged, expectConverged, Load, outcome } from './load.ts';

const ELECTION_TIMEOUT_MS_MIN = 500;

/** Asks the leader, or `id`, for a change. */
function change(group: Group, asked: MembershipChange, id = group.leader()!, timeoutMs = 10_000) {
  return group.replica(id).changeMembership(asked, group.clock.monotonicMs() + timeoutMs);
}

/** Asks for a change, again while another one is under way, and runs until it is answered. */
async function changed(group: Group, asked: MembershipChange, id?: NodeId): Promise<MembershipEntry> {
  for (let attempts = 0; ; attempts++) {
    try {
      return await changedOnce(group, asked, id);
    } catch (error) {
      if (attempts === 100 || (error as TLedgerError).code !== 'MEMBERSHIP_CHANGING') throw error;
      await group.run(5);
    }
  }
}

async function changedOnce(group: Group, asked: MembershipChange, id?: NodeId): Promise<MembershipEntry> {
  let isSettled = false;
  const asking = change(group, asked, id);
  asking
    .catch(() => {})
    .finally(() => {
      isSettled = true;
    });
  await group.until(`${asked.type} to be answered`, () => isSettled, 12_000);
  return asking;
}

/** The code that a change ends with, once it has ended; '' before. */
function watch(asking: Promise<unknown>): { code: string } {
  const told = { code: '' };
  void outcome(asking).then((code) => {
    told.code = code;
  });
  return told;
}

const add = (id: NodeId, options: { promote?: boolean; replaces?: NodeId | null } = {}): MembershipChange => ({
  type: 'add',
  id,
  address: addressOf(id),
  promote: options.promote ?? true,
  replaces: options.replaces ?? null,
});

describe('replica: changes of the membership', () => {
  it('adds a voter: it learns, promotes itself once it has caught up, and the caller is told then', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(50);
    const seen: string[] = [];
    const stop = group.replica(group.leader()!).onMembership(() => {
      const { voters, outgoing, learners } = group.replica(group.leader()!).membership.membership;
      seen.push(`${voters}/${outgoing}/${learners.map(({ id }) => id)}`);
    });
    const { membership } = await changed(group, add('n3'));
    stop();
    expect(membership.voters).to.deep.equal(['n0', 'n1', 'n2', 'n3']);
    expect(membership.outgoing).to.deep.equal([]);
    expect([...new Set(seen)]).to.deep.equal(['n0,n1,n2//n3', 'n0,n1,n2,n3/n0,n1,n2/', 'n0,n1,n2,n3//']);
    await load.more(50);
    await load.stop();
    await expectConverged(group, group.ids);
    expectAcknowledged(group, load);
    expect(group.replica('n3').membership.membership).to.deep.equal(membership);
    expect(group.member('n3').told.at(-1)).to.deep.equal(membership);
  });

  it('counts the new voter: with it and one other out of reach, four do not commit', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    await changed(group, add('n3'));
    const leader = await group.elect();
    const follower = group.ids.find((id) => id !== leader && id !== 'n3')!;
    group.isolate('n3');
    group.isolate(follower);
    const told = watch(group.append(leader, batchOf('T', ['x']), 400));
    await group.run(600);
    expect(told.code).to.equal('OUTCOME_UNKNOWN');
  });

  it('adds a learner that stays one: it holds everything and has no vote', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const { membership } = await changed(group, add('n3', { promote: false }));
    expect(membership.voters).to.deep.equal(['n0', 'n1', 'n2']);
    const load = new Load(group).start();
    await load.more(30);
    await load.stop();
    await expectConverged(group, group.ids);
    expectAcknowledged(group, load);
    for (const id of ['n0', 'n1', 'n2']) if (id !== group.leader()) group.isolate(id);
    await group.run(5_000);
    expect(group.replica('n3').status().role).to.equal('follower');
    expect(group.leader()).to.equal(null);
    group.cut.clear();
    await group.elect();
    expect((await changed(group, { type: 'promote', id: 'n3' })).membership.voters).to.include('n3');
  });

  it('replaces each member of three in turn under load; nothing is lost, and nobody waits for an election', async function () {
    this.timeout(180_000);
    const group = await Group.started({ spares: 3, retentionBytes: 128 * 1024, snapshotChunkBytes: 900 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(400);
    for (const [at, old] of ['n0', 'n1', 'n2'].entries()) {
      load.resetGap();
      const fresh = `n${3 + at}`;
      const { membership } = await changed(group, add(fresh, { replaces: old }));
      expect(membership.voters).to.include(fresh).and.not.include(old);
      await load.more(150);
      expect(load.gapMsMax, `gap while ${fresh} replaced ${old}`).to.be.below(ELECTION_TIMEOUT_MS_MIN);
      group.crash(old, 'kill');
    }
    await load.more(50);
    await load.stop();
    await expectConverged(group, ['n3', 'n4', 'n5']);
    expectAcknowledged(group, load);
    expect(group.replica('n5').broker.range('T', 0).min, 'it came by a snapshot').to.be.greaterThan(0);
  });

  it('removes a follower, which falls silent', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const removed = group.ids.find((id) => id !== leader)!;
    const { membership } = await changed(group, { type: 'remove', id: removed });
    expect(membership.voters).not.to.include(removed);
    const { term } = group.replica(leader);
    await group.run(5_000);
    expect(group.leader()).to.equal(leader);
    expect(group.replica(leader).term, 'the removed one disturbs nobody').to.equal(term);
    expect(group.replica(removed).status().role).to.equal('follower');
    expect(await outcome(changed(group, { type: 'remove', id: removed }))).to.equal('UNKNOWN_NODE');
  });

  it('removes the leader: the caller is told by it, and another leads without an election timeout', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(50);
    const leader = group.leader()!;
    load.resetGap();
    const { membership } = await changed(group, { type: 'remove', id: leader }, leader);
    expect(membership.voters).not.to.include(leader);
    await load.more(50);
    expect(load.gapMsMax).to.be.below(100);
    expect(group.leader()).not.to.equal(leader);
    await load.stop();
    await group.run(3_000);
    expect(group.replica(leader).status().role).to.equal('follower');
    await expectConverged(
      group,
      group.ids.filter((id) => id !== leader),
    );
    expectAcknowledged(
      group,
      load,
      {},
      group.ids.filter((id) => id !== leader),
    );
  });

  it('takes nothing more for a leader that is out: whoever asks is sent elsewhere, and nobody is left in doubt', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = group.leader()!;
    const told = watch(change(group, { type: 'remove', id: leader }, leader));
    const outcomes: { code: string }[] = [];
    for (let at = 0; group.replica(leader).isLeader; at++) {
      outcomes.push(watch(group.append(leader, batchOf('T', [`m${at}`]), 60_000)));
      await group.run(1);
      expect(at, 'it steps down').to.be.below(5_000);
    }
    await group.run(20);
    expect(told.code).to.equal('ok');
    const codes = outcomes.map(({ code }) => code);
    expect(codes[0], 'before it was out').to.equal('ok');
    expect(codes.at(-1), 'when it was out').to.equal('NOT_LEADER');
    expect(new Set(codes)).to.deep.equal(new Set(['ok', 'NOT_LEADER']));
  });

  it('cancels while the new member still learns; whoever asked for it is told', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    group.isolate('n3');
    const asked = watch(change(group, add('n3'), undefined, 60_000));
    await group.run(500);
    expect(asked.code).to.equal('');
    const other = group.leader()! === 'n0' ? 'n1' : 'n0';
    expect(await outcome(changed(group, { type: 'remove', id: other }))).to.equal('ok');
    const { membership } = await changed(group, { type: 'cancel' });
    expect(membership.learners).to.deep.equal([]);
    await group.run(10);
    expect(asked.code).to.equal('INVALID_ARGUMENT');
  });

  it('is waited for longer than its record stays in the log', async () => {
    const group = await Group.started({ spares: 1, retentionBytes: 128 * 1024 });
    await group.createTopic('T');
    await group.run(200);
    group.isolate('n3');
    const asked = watch(change(group, add('n3'), undefined, 600_000));
    await group.run(50);
    const { index } = group.replica(group.leader()!).membership;
    const load = new Load(group).start();
    await load.more(400);
    expect(group.replica(group.leader()!).status().firstIndex).to.be.greaterThan(index);
    expect(asked.code).to.equal('');
    group.cut.clear();
    await group.until('the answer', () => asked.code !== '');
    expect(asked.code).to.equal('ok');
    const [, learned] = group.member('n3').told;
    expect(
      learned?.learners.map(({ id }) => id),
      'by the snapshot, before any record',
    ).to.deep.equal(['n3']);
    await load.stop();
    await expectConverged(group);
    expectAcknowledged(group, load);
  });

  it('turns joint consensus around when it is cancelled, even before it is committed', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    const [removed, needed] = group.ids.filter((id) => id !== leader) as [NodeId, NodeId];
    group.isolate(needed);
    const asked = watch(change(group, { type: 'remove', id: removed }));
    await group.run(50);
    expect(group.replica(leader).membership.membership.outgoing).to.deep.equal(group.ids);
    const cancelled = watch(change(group, { type: 'cancel' }));
    await group.run(50);
    expect([asked.code, cancelled.code]).to.deep.equal(['', '']);
    group.cut.clear();
    await group.run(300);
    expect([asked.code, cancelled.code]).to.deep.equal(['INVALID_ARGUMENT', 'ok']);
    const { membership } = group.replica(leader).membership;
    expect([membership.voters, membership.outgoing]).to.deep.equal([group.ids, []]);
  });

  it('readdresses a member, and tells every transport', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const address = { peer: 'elsewhere:1', client: 'elsewhere:2' };
    await changed(group, { type: 'readdress', id: 'n1', address });
    await group.run(200);
    for (const id of group.ids) expect(group.member(id).told.at(-1)!.addresses.n1, id).to.deep.equal(address);
  });

  it('refuses what makes no sense, at the leader alone', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const follower = group.ids.find((id) => id !== group.leader())!;
    expect(await outcome(change(group, add('n3'), follower))).to.equal('NOT_LEADER');
    expect(await outcome(change(group, add('n1')))).to.equal('INVALID_ARGUMENT');
    expect(await outcome(change(group, { type: 'promote', id: 'n9' }))).to.equal('UNKNOWN_NODE');
    const first = watch(change(group, add('n3', { promote: false })));
    expect(await outcome(change(group, { type: 'remove', id: 'n1' }))).to.equal('MEMBERSHIP_CHANGING');
    await group.run(100);
    expect(first.code).to.equal('ok');
  });

  it('lets a group of one grow to three', async () => {
    const group = await Group.started({ nodes: 1, spares: 2 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(20);
    await changed(group, add('n1'));
    await changed(group, add('n2'));
    await load.more(20);
    group.crash('n0', 'kill');
    await load.more(20);
    await load.stop();
    await group.start('n0');
    await expectConverged(group, group.ids);
    expectAcknowledged(group, load);
  });

  for (const flush of ['sync', 'async'] as const) {
    it(`answers a group of one, where a change may be finished at once (flush ${flush})`, async () => {
      const group = await Group.started({ nodes: 1, spares: 1, flush });
      await group.createTopic('T');
      const told = watch(change(group, add('n1', { promote: false })));
      await group.run(20);
      expect(told.code).to.equal('ok');
    });
  }
});

describe('replica: changes of the membership and lost leaders', () => {
  it('says that a change had no effect once another record has its place, even if the membership stays', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    group.isolate(leader);
    const told = watch(change(group, add('n3'), leader, 60_000));
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    void outcome(group.append(group.leader()!, batchOf('T', ['instead'])));
    await group.run(100);
    expect(told.code).to.equal('');
    expect(group.member(leader).told.at(-1)!.learners).to.have.length(1);
    group.cut.clear();
    await group.run(1_000);
    expect(told.code).to.equal('NOT_LEADER');
    expect(group.member(leader).told.at(-1)!.learners, 'its record is gone, and so is the learner').to.have.length(0);
    expect(group.replica(leader).membership.index).to.equal(0);
  });

  it('answers at the deadline what cannot be known, and the change may go on', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    group.isolate('n3');
    const told = watch(change(group, add('n3'), leader, 300));
    await group.run(500);
    expect(told.code).to.equal('OUTCOME_UNKNOWN');
    group.cut.clear();
    await group.until(
      'it to be a voter',
      () => group.replica(group.leader()!).membership.membership.voters.length === 4,
    );
  });

  it('tells the caller of a leader that lost its term what others finished', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    // The learner is held back until another leads.
    group.isolate('n3');
    const told = watch(change(group, add('n3'), leader, 60_000));
    await group.run(200);
    const target = group.ids.find((id) => id !== leader && id !== 'n3')!;
    void outcome(group.replica(leader).transferLeadership(target, group.clock.monotonicMs() + 2_000));
    await group.until('another leader', () => group.leader() === target);
    group.cut.clear();
    await group.until('the caller to be told', () => told.code !== '');
    expect(told.code).to.equal('ok');
    await group.run(300);
    const { membership } = group.replica(target).membership;
    expect(membership.voters).to.include('n3');
    expect(isJoint(membership)).to.equal(false);
  });

  it('is called off for sure only by a replica that saw it: one that skipped memberships does not know', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    group.isolate('n3');
    const told = watch(change(group, add('n3'), leader, 60_000));
    await group.run(200);
    group.isolate(leader);
    const others = group.ids.filter((id) => id !== leader);
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    for (const one of others) for (const other of others) group.cut.delete(`${one}>${other}`);
    await group.until('n3 to vote', () => group.replica(group.leader()!).membership.membership.voters.includes('n3'));
    await group.until('the change to end', () => !isJoint(group.replica(group.leader()!).membership.membership));
    await changed(group, { type: 'remove', id: 'n3' });
    group.cut.clear();
    await group.until('the caller to be told', () => told.code !== '');
    expect(told.code, 'it was finished, and then undone').to.be.oneOf(['OUTCOME_UNKNOWN', 'ok']);
  });

  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it(`goes on when a leader is lost in joint consensus: the next one leaves it and serves (seed ${seed})`, async () => {
      const group = await Group.started({ spares: 1, seed });
      await group.createTopic('T');
      const load = new Load(group).start();
      await load.more(20);
      const leader = group.leader()!;
      const told = watch(
        change(group, add('n3', { replaces: group.ids.find((id) => id !== leader)! }), leader, 60_000),
      );
      await group.until('joint consensus', () => isJoint(group.replica(leader).membership.membership));
      await group.run(seed - 1);
      group.crash(leader, 'kill');
      await load.more(20);
      const next = group.leader()!;
      await group.until('joint consensus to be left', () => !isJoint(group.replica(next).membership.membership));
      await load.more(20);
      await group.start(leader);
      await load.stop();
      expect(told.code, 'its node is gone').to.be.oneOf(['', 'ok', 'OUTCOME_UNKNOWN']);
      const { voters } = group.replica(next).membership.membership;
      expect(voters).to.have.length(3);
      await expectConverged(group, [...voters]);
      expectAcknowledged(group, load, {}, [...voters]);
    });
  }

  for (const mode of ['kill', 'lost', 'sectors'] as const) {
    it(`knows its membership again after a restart, from the state and from the log's tail (${mode})`, async () => {
      const group = await Group.started({ spares: 1 });
      await group.createTopic('T');
      await changed(group, add('n3', { promote: false }));
      await group.run(500);
      for (const isInState of [true, false]) {
        if (!isInState) await changed(group, { type: 'promote', id: 'n3' });
        await group.run(isInState ? 500 : 20);
        const before = group.replica('n3').membership;
        for (const id of group.ids) group.crash(id, mode);
        for (const id of group.ids) await group.start(id);
        expect(group.replica('n3').membership, `in the state: ${isInState}`).to.deep.equal(before);
        await group.elect();
        await group.run(200);
        const next = group.replica(group.leader()!).membership;
        expect(next.membership.voters).to.deep.equal(isInState ? ['n0', 'n1', 'n2'] : group.ids);
      }
      expect(await outcome(changed(group, { type: 'remove', id: 'n3' }))).to.equal('ok');
    });
  }

  it('leaves nobody without an answer when its node fails in the middle', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    const { disk } = group.member(leader);
    disk.onOperation = (operation) => {
      if (operation.kind === 'write' && operation.path.includes('commitlog')) disk.failAt(1, 'ENOSPC');
    };
    const told = watch(change(group, add('n3'), leader));
    await group.run(10);
    expect(told.code).to.equal('OUTCOME_UNKNOWN');
    expect(group.member(leader).failure).to.be.instanceOf(TLedgerError);
  });
});
