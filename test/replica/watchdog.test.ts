import { expect } from 'chai';
import type { NodeId, RaftMessage } from '../../src/raft/types.ts';
import { batchOf, Group } from './group.ts';
import { expectAcknowledged, expectConverged, Load, outcome } from './load.ts';

const DISK_STALL_MS = 300;

/** Flushes of a node do not come back until the returned function is called. */
function hangDisk(group: Group, id: NodeId): () => void {
  const { disk } = group.member(id);
  const held: (() => void)[] = [];
  disk.deferFlush = (finish) => held.push(finish);
  return () => {
    disk.deferFlush = queueMicrotask;
    for (const finish of held) finish();
  };
}

/** Campaigns of a node from now on. */
function campaignsOf(group: Group, id: NodeId): RaftMessage[] {
  const seen: RaftMessage[] = [];
  group.network.filter = (message) => {
    if (message.from === id && message.type === 'vote-request') seen.push(message);
    return true;
  };
  return seen;
}

async function transfer(group: Group, target: NodeId): Promise<string> {
  const leader = group.leader()!;
  const told = outcome(group.replica(leader).transferLeadership(target, group.clock.monotonicMs() + 2_000));
  await group.run(1_500);
  return told;
}

describe('replica: a disk that hangs', () => {
  it('makes a leader give way soon; it does not campaign meanwhile, and may lead again afterwards', async () => {
    const group = await Group.started({ diskStallMs: DISK_STALL_MS });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(20);
    const sick = group.leader()!;
    const release = hangDisk(group, sick);
    load.resetGap();
    const beganMs = group.clock.monotonicMs();
    await group.until('another leader', () => group.leader() !== null && group.leader() !== sick);
    expect(group.clock.monotonicMs() - beganMs).to.be.within(DISK_STALL_MS, DISK_STALL_MS + 30);
    await load.more(20);
    const campaigns = campaignsOf(group, sick);
    await group.run(2_000);
    // Nobody else can lead now, and yet it does not try.
    const others = group.ids.filter((id) => id !== sick);
    group.crash(group.leader()!, 'kill');
    await group.until('another leader', () => group.leader() !== null, 3_000);
    expect(others).to.include(group.leader());
    expect(campaigns).to.deep.equal([]);
    release();
    await group.start(others.find((id) => group.member(id).replica === null)!);
    await group.run(500);
    await load.more(20);
    expect(await transfer(group, sick)).to.equal('ok');
    await load.more(20);
    await load.stop();
    await expectConverged(group);
    expectAcknowledged(group, load);
    expect(group.member(sick).warnings.join('; '))
      .to.include('a flush has not come back')
      .and.include('may lead again');
  });

  it("is nobody's business when the limit is 0", async () => {
    const group = await Group.started({ diskStallMs: 0 });
    await group.createTopic('T');
    const leader = group.leader()!;
    const release = hangDisk(group, leader);
    const load = new Load(group).start();
    await load.more(20);
    await group.run(5_000);
    expect(group.leader()).to.equal(leader);
    expect(group.member(leader).warnings).to.deep.equal([]);
    release();
    await load.stop();
    await expectConverged(group);
  });

  it('is not told from a disk that is merely busy: flushes shorter than the limit change nothing', async () => {
    const group = await Group.started({ diskStallMs: DISK_STALL_MS });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    group.member(leader).disk.deferFlush = (finish) => void group.clock.after(DISK_STALL_MS - 20, finish);
    const load = new Load(group, { timeoutMs: 2_000 }).start();
    await group.run(5_000);
    await load.stop();
    expect(group.leader()).to.equal(leader);
    expect(group.member(leader).warnings).to.deep.equal([]);
  });

  it('is not told from an event loop that stood still for a moment, with the flush come back unread', async () => {
    const group = await Group.started({ diskStallMs: 100 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    const { disk, clock } = group.member(leader);
    disk.deferFlush = (finish) => void group.clock.after(5, () => clock.arrive(finish));
    const told = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(1);
    clock.stall(300);
    await group.run(1_000);
    expect(group.member(leader).warnings).to.deep.equal([]);
    expect(group.leader()).to.equal(leader);
    expect(await told).to.equal('ok');
  });

  it('does not depose the leader of a group of one', async () => {
    const group = await Group.started({ nodes: 1, diskStallMs: DISK_STALL_MS });
    await group.createTopic('T');
    const release = hangDisk(group, 'n0');
    const told = outcome(group.append('n0', batchOf('T', ['x']), 10_000));
    await group.run(2_000);
    expect(group.leader()).to.equal('n0');
    release();
    await group.run(50);
    expect(await told).to.equal('ok');
  });

  it('does not keep a group of one from leading after it was let go', async () => {
    const group = await Group.started({ nodes: 1, diskStallMs: DISK_STALL_MS });
    await group.createTopic('T');
    group.member('n0').clock.stall(5_000);
    await group.run(5_010);
    expect(group.leader()).to.equal('n0');
    const told = outcome(group.append('n0', batchOf('T', ['x'])));
    await group.run(50);
    expect(await told).to.equal('ok');
  });
});

describe('replica: an event loop that stands still', () => {
  it('makes a leader give way though nobody has replaced it, and lets it lead again later', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const stalled = await group.elect();
    const [near, far] = group.ids.filter((id) => id !== stalled) as [NodeId, NodeId];
    // With one of the others out of reach of the third, neither can be elected meanwhile.
    group.disconnect(near, far);
    group.isolate(far);
    await group.run(200);
    const { term } = group.replica(stalled);
    group.member(stalled).clock.stall(1_500);
    await group.run(1_499);
    expect(group.replica(near).isLeader).to.equal(false);
    await group.run(100);
    expect(group.replica(near).isLeader, 'it was asked to campaign').to.equal(true);
    expect(group.replica(near).term).to.be.greaterThan(term);
    expect(group.member(stalled).warnings.join()).to.include('the event loop stood still');
    group.cut.clear();
    await group.run(1_500);
    expect(await transfer(group, stalled)).to.equal('ok');
    expect(group.leader()).to.equal(stalled);
  });

  it('answers nobody late with what is not so', async function () {
    this.timeout(180_000);
    for (let seed = 1; seed <= 8; seed++) {
      const group = await Group.started({ seed });
      await group.createTopic('T');
      const load = new Load(group).start();
      await load.more(10 + seed);
      const stalled = group.leader()!;
      const extra = outcome(group.append(stalled, batchOf('T', ['extra']), 200));
      await group.run(seed % 3);
      group.member(stalled).clock.stall(3_000);
      await group.run(3_000);
      expect(group.leader()).not.to.equal(stalled);
      const read = outcome(group.replica(stalled).readIndex());
      await group.run(500);
      expect(await read).to.equal('NOT_LEADER');
      await load.more(10);
      await load.stop();
      const isThere = group.bodies(stalled, 'T').includes('extra');
      const code = await extra;
      if (code === 'ok') expect(isThere, `seed ${seed}`).to.equal(true);
      if (code === 'NOT_LEADER' || code === 'NO_LEADER') expect(isThere, `seed ${seed}`).to.equal(false);
      await expectConverged(group);
    }
  });

  it('does not concern a follower for long, and shorter stalls concern nobody', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const follower = group.ids.find((id) => id !== leader)!;
    group.member(leader).clock.stall(300);
    group.member(follower).clock.stall(1_800);
    await group.run(2_500);
    expect(group.leader()).to.equal(leader);
    expect(group.member(leader).warnings).to.deep.equal([]);
    await group.run(1_000);
    expect(await transfer(group, follower)).to.equal('ok');
  });
});

describe('replica: leaders that are preferred, and leases', () => {
  it('hands over to the preferred leader once it keeps up, and not again and again', async () => {
    const group = await Group.started({ preferredLeaders: ['n2', 'n1'] });
    await group.createTopic('T');
    const load = new Load(group).start();
    await group.until('n2 to lead', () => group.leader() === 'n2', 20_000);
    const { term } = group.replica('n2');
    await group.run(15_000);
    expect(group.replica('n2').term).to.equal(term);
    group.crash('n2', 'kill');
    await group.until('n1 to lead', () => group.leader() === 'n1', 30_000);
    await group.start('n2');
    await group.until('n2 to lead again', () => group.leader() === 'n2', 60_000);
    await load.stop();
    await expectConverged(group);
    expectAcknowledged(group, load);
  });

  for (const leaseReads of [false, true]) {
    it(`confirms no read on a leader that was deposed (lease reads: ${leaseReads})`, async function () {
      this.timeout(180_000);
      for (let seed = 1; seed <= 6; seed++) {
        const group = await Group.started({ leaseReads, seed });
        await group.createTopic('T');
        const old = await group.elect();
        await group.run(600);
        const asked = group.network.sentCounts.get('append') ?? 0;
        const quick = group.replica(old).readIndex();
        if (leaseReads) {
          expect(await quick).to.equal(group.replica(old).status().committedIndex);
          expect(group.network.sentCounts.get('append')).to.equal(asked);
        }
        group.isolate(old);
        let newest = 0;
        const stale: number[] = [];
        let confirmed = 0;
        for (let round = 0; round < 3_000; round++) {
          await group.run(1);
          const next = group.leader();
          if (next !== null && next !== old && round % 5 === 0) void outcome(group.append(next, batchOf('T', ['x'])));
          for (const id of group.ids)
            if (id !== old) newest = Math.max(newest, group.replica(id).status().committedIndex);
          const known = newest;
          if (!group.replica(old).isLeader) continue;
          void group
            .replica(old)
            .readIndex()
            .then((index) => {
              confirmed++;
              if (index < known) stale.push(round);
            })
            .catch(() => {});
        }
        expect(stale, `seed ${seed}`).to.deep.equal([]);
        if (leaseReads) expect(confirmed, 'while the lease lasted').to.be.greaterThan(100);
      }
    });
  }
});
