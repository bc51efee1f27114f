import { expect } from 'chai';
import { queueOffset } from '../../src/format/message.ts';
import { isJoint } from '../../src/raft/membership.ts';
import type { NodeId, RaftMessage, SnapshotRequest } from '../../src/raft/types.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import { MemoryStateMedium } from '../../src/storage/memory_state_store.ts';
import { type Behind, createTopics, fallenBehind } from './behind.ts';
import { addressOf, batchOf, Group } from './group.ts';
import { expectAcknowledged, expectConverged, Load, outcome } from './load.ts';

const count = (group: Group, type: RaftMessage['type']): number => group.network.sentCounts.get(type) ?? 0;

/** Everybody holds the same, the follower by a snapshot, and the group goes on. */
async function expectRecovered({ group, follower, load }: Behind): Promise<void> {
  load.start();
  await load.more(20);
  await load.stop();
  await expectConverged(group);
  expectAcknowledged(group, load);
  expect(group.replica(follower).broker.range('T', 0).min).to.be.greaterThan(100);
}

describe('replica: snapshots for those who fell behind', () => {
  it('arrive in pieces; the follower goes on behind them, refuses what is gone, and starts again there', async () => {
    const behind = await fallenBehind({}, 30);
    const { group, follower, leader } = behind;
    await group.start(follower);
    await group.until('the snapshot', () => group.replica(follower).status().firstIndex > 1);
    const { firstIndex } = group.replica(follower).status();
    expect(firstIndex).to.equal(group.replica(leader).status().firstIndex);
    expect(group.member(follower).events).to.deep.equal([`took over a snapshot at ${firstIndex - 1} from ${leader}`]);
    await group.run(1_000);
    const sent = count(group, 'snapshot');
    expect(sent, 'pieces of 900 bytes').to.be.within(5, 60);
    await expectRecovered(behind);
    expect(count(group, 'snapshot'), 'no second snapshot').to.equal(sent);
    const { broker } = group.replica(follower);
    const { checkpoint } = broker;
    let saves = 0;
    broker.checkpoint = () => {
      saves++;
      return checkpoint.call(broker);
    };
    behind.load.start();
    await group.run(2_000);
    await behind.load.stop();
    expect(saves, 'one every 200 ms, as ever').to.be.within(8, 14);
    const { min } = broker.range('T', 0);
    const below = { topic: 'T', queueId: 0, offset: queueOffset(min - 1), countMax: 10, bytesMax: 10_000 };
    expect(() => broker.pull(below))
      .to.throw()
      .with.property('code', 'OFFSET_OUT_OF_RANGE');
    expect(() => group.replica(follower).digest((firstIndex - 1) as typeof firstIndex))
      .to.throw()
      .with.property('code', 'OFFSET_OUT_OF_RANGE');
    group.crash(follower, 'sectors');
    await group.start(follower);
    await expectRecovered(behind);
    expect(count(group, 'snapshot'), 'not even after a restart').to.equal(sent);
  });

  for (const [seed, weather] of [
    { lossShare: 0.2, duplicateShare: 0, extraDelayMsMax: 0 },
    { lossShare: 0, duplicateShare: 0.5, extraDelayMsMax: 0 },
    { lossShare: 0, duplicateShare: 0.2, extraDelayMsMax: 20 },
    { lossShare: 0.1, duplicateShare: 0.3, extraDelayMsMax: 30 },
  ].entries()) {
    it(`arrive through ${JSON.stringify(weather)}`, async () => {
      const behind = await fallenBehind({ seed: seed + 1 }, 20);
      const { group, follower } = behind;
      group.network.weather = weather;
      await group.start(follower);
      await group.until('the snapshot', () => group.replica(follower).status().firstIndex > 1, 60_000);
      await group.run(500);
      group.network.calm();
      await expectRecovered(behind);
      expect(count(group, 'snapshot')).to.be.below(200);
    });
  }

  it('goes on where it was after each loss of the connection', async function () {
    this.timeout(180_000);
    const behind = await fallenBehind({ snapshotChunkBytes: 4_000 }, 800);
    const { group, follower, leader } = behind;
    const offsets: number[] = [];
    group.network.filter = (message) => {
      if (message.type !== 'snapshot') return true;
      offsets.push(message.offset);
      // Every piece but the first is cut off once before it arrives.
      if (message.offset === 0 || offsets.filter((offset) => offset === message.offset).length > 1) return true;
      group.clock.after(0, () => group.disconnect(leader, follower));
      group.clock.after(20, () => group.reconnect(leader, follower));
      return false;
    };
    await group.start(follower);
    await group.until('the snapshot', () => group.replica(follower).status().firstIndex > 1, 20_000);
    const distinct = [...new Set(offsets)];
    expect(distinct.length).to.be.greaterThan(9);
    // After each new connection the first question is asked with offset 0; its answer says where to go on.
    const repeated = offsets.filter((offset) => offset !== 0).length;
    expect(repeated).to.be.at.most(distinct.length * 2);
    group.network.filter = null;
    await expectRecovered(behind);
  });

  for (const how of ['its own restart', 'a power loss', 'a change of leader'] as const) {
    it(`goes on where it was after ${how}`, async function () {
      this.timeout(180_000);
      const behind = await fallenBehind({ snapshotChunkBytes: 4_000 }, 800);
      const { group, follower, leader } = behind;
      const seen: SnapshotRequest[] = [];
      group.network.filter = (message) => {
        if (message.type === 'snapshot') seen.push(message);
        return true;
      };
      await group.start(follower);
      await group.until('half of it', () => seen.some(({ offset }) => offset > 70_000), 20_000);
      if (how === 'a change of leader') {
        const other = group.ids.find((id) => id !== leader && id !== follower)!;
        void outcome(group.replica(leader).transferLeadership(other, group.clock.monotonicMs() + 2_000));
        await group.until('another leader', () => group.leader() === other);
      } else {
        group.crash(follower, how === 'its own restart' ? 'kill' : 'lost');
        await group.start(follower);
      }
      seen.length = 0;
      await group.until('the snapshot', () => group.replica(follower).status().firstIndex > 1, 20_000);
      const offsets = seen.map(({ offset }) => offset);
      expect(offsets[0]).to.equal(0);
      expect(offsets[1], `${offsets}`).to.be.at.least(64 * 1024);
      group.network.filter = null;
      await expectRecovered(behind);
    });
  }

  it('is begun again when the disk had no room for it', async () => {
    const behind = await fallenBehind({}, 10);
    const { group, follower } = behind;
    await group.start(follower);
    const { disk } = group.member(follower);
    let failures = 0;
    disk.onOperation = ({ kind, path }) => {
      if (kind !== 'write' || !path.endsWith('.part') || failures === 3) return;
      failures++;
      disk.failAt(1, 'ENOSPC');
    };
    await group.until('the snapshot', () => group.replica(follower).status().firstIndex > 1, 20_000);
    expect(failures).to.equal(3);
    expect(group.member(follower).warnings.join()).to.include('cannot be stored');
    await expectRecovered(behind);
  });

  for (const when of ['half-way', 'half-way, by the next process', 'right before it is installed'] as const) {
    it(`is dropped ${when}, when a leader takes over whose log goes back further`, async () => {
      const group = await Group.started({
        retentionBytes: (id) => (id === 'n0' ? 128 * 1024 : 0),
        snapshotChunkBytes: 300,
        preferredLeaders: ['n0'],
      });
      await group.createTopic('T');
      await group.until('n0 to lead', () => group.leader() === 'n0', 20_000);
      group.crash('n2', 'kill');
      await createTopics(group, 20);
      const load = new Load(group).start();
      await load.more(350);
      const parts = (): string[] =>
        group
          .member('n2')
          .disk.files()
          .filter((path) => path.endsWith('.part'));
      await group.start('n2');
      let release = (): void => {};
      let isHeld = false;
      const { snapshots } = group.member('n2').open!;
      const append = snapshots.appendIncoming.bind(snapshots);
      snapshots.appendIncoming = async (...piece) => {
        const progress = await append(...piece);
        if (!progress.isComplete || when !== 'right before it is installed') return progress;
        isHeld = true;
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        return progress;
      };
      if (when === 'right before it is installed') await group.until('all of it', () => isHeld);
      else await group.until('some of it', () => parts().length > 0 && count(group, 'snapshot') > 4);
      group.crash('n0', 'kill');
      if (when === 'half-way, by the next process') {
        group.crash('n2', 'kill');
        await group.start('n2');
        expect(parts()).to.have.length(1);
      }
      await load.more(20);
      await group.run(300);
      release();
      await load.more(5);
      expect(group.leader()).to.equal('n1');
      await load.stop();
      await expectConverged(group);
      expectAcknowledged(group, load);
      expect(group.replica('n2').status().firstIndex, 'by the log').to.equal(1);
      expect(parts()).to.deep.equal([]);
    });
  }

  it('is told apart from its late duplicates, which do no harm', async () => {
    const behind = await fallenBehind({}, 10);
    const { group, follower } = behind;
    const kept: { message: RaftMessage; bytes: RecordBytes }[] = [];
    group.network.filter = (message, bytes) => {
      if (message.type === 'snapshot') kept.push({ message, bytes: { ...bytes!, buffer: Buffer.from(bytes!.buffer) } });
      return true;
    };
    await group.start(follower);
    await expectRecovered(behind);
    const before = group.replica(follower).status();
    for (let round = 0; round < 2; round++) {
      for (const { message, bytes } of kept.reverse()) {
        group.replica(follower).onMessage(message, bytes);
        await group.run(1);
      }
    }
    await group.run(200);
    expect(group.replica(follower).status()).to.deep.equal(before);
    group.network.filter = null;
    await expectRecovered(behind);
    const { disk } = group.member(follower);
    expect(disk.files().filter((path) => path.endsWith('.part'))).to.deep.equal([]);
  });

  it('brings a new member that joins a group whose log was cut, with the membership', async () => {
    const behind = await fallenBehind({ spares: 1 }, 5);
    const { group, follower } = behind;
    await group.start(follower);
    await group.run(1_000);
    behind.load.start();
    const added = group
      .replica(group.leader()!)
      .changeMembership(
        { type: 'add', id: 'n3', address: addressOf('n3'), promote: true, replaces: null },
        group.clock.monotonicMs() + 20_000,
      );
    const told = outcome(added);
    await behind.load.more(300);
    expect(await told).to.equal('ok');
    await expectRecovered({ ...behind, follower: 'n3' });
    const { membership } = group.replica('n3').membership;
    expect(membership.voters).to.deep.equal(group.ids);
    expect(isJoint(membership)).to.equal(false);
    // From the snapshot that holds the membership: everybody restarts there.
    for (const id of group.ids) group.crash(id, 'lost');
    for (const id of group.ids) await group.start(id);
    await expectRecovered({ ...behind, follower: 'n3' });
  });

  it('does not loop under load: one snapshot, and then the log', async () => {
    const behind = await fallenBehind({}, 10);
    const { group, follower, load } = behind;
    load.start();
    await load.more(20);
    await group.start(follower);
    const before = count(group, 'snapshot');
    await load.more(200);
    const { appliedIndex, lastIndex } = group.replica(follower).status();
    expect(lastIndex - appliedIndex).to.be.below(5);
    expect(count(group, 'snapshot') - before).to.be.below(40);
    await load.stop();
    await expectRecovered(behind);
  });
});

describe('replica: while a snapshot is being installed', () => {
  /** Runs until the follower installs, and holds it there: `release` lets it go on. */
  async function holdInstall(behind: Behind): Promise<() => Promise<void>> {
    const { group, follower } = behind;
    await group.start(follower);
    const { broker } = group.replica(follower);
    const install = broker.install.bind(broker);
    let isHeld = false;
    let release = (): void => {};
    broker.install = async (...given) => {
      const done = install(...given);
      isHeld = true;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await done;
    };
    await group.until('the installation', () => isHeld, 20_000);
    return async () => {
      release();
      await group.run(1);
    };
  }

  it('ignores messages and time, however long it takes, and does not campaign afterwards', async () => {
    const behind = await fallenBehind();
    const { group, follower, leader } = behind;
    const release = await holdInstall(behind);
    const said: RaftMessage[] = [];
    group.network.filter = (message) => {
      if (message.from === follower) said.push(message);
      return true;
    };
    await group.run(5_000);
    expect(said).to.deep.equal([]);
    expect(await outcome(group.append(follower, batchOf('T', ['x'])))).to.equal('NOT_LEADER');
    await release();
    await group.run(400);
    expect(said.map(({ type }) => type))
      .to.include('append-response')
      .and.not.include('vote-request');
    expect(group.member(follower).warnings.join()).not.to.include('stood still');
    expect(group.leader()).to.equal(leader);
    group.network.filter = null;
    await expectRecovered(behind);
  });

  for (const what of ['a flush', 'a checkpoint', 'a snapshot'] as const) {
    it(`has waited for ${what} under way`, async () => {
      const group = await Group.started({ retentionBytes: 64 * 1024, diskStallMs: 1_000_000 });
      await group.createTopic('T');
      const load = new Load(group).start();
      await load.more(30);
      const follower = group.ids.find((id) => id !== group.leader())!;
      const { open } = group.member(follower);
      let release = (): void => {};
      let isHeld = false;
      const hold = <Result>(work: Promise<Result>): Promise<Result> => {
        if (isHeld) return work;
        isHeld = true;
        return new Promise((resolve) => {
          release = () => resolve(work);
        });
      };
      const { log, broker } = open!;
      const [flush, checkpoint, take] = [log.flush, broker.checkpoint, broker.takeSnapshot];
      if (what === 'a flush') log.flush = () => hold(flush.call(log));
      if (what === 'a checkpoint') broker.checkpoint = () => hold(checkpoint.call(broker));
      if (what === 'a snapshot') broker.takeSnapshot = (tip) => hold(take.call(broker, tip));
      await group.until('it to be under way', () => isHeld);
      group.isolate(follower);
      const { firstIndex } = group.replica(follower).status();
      await load.more(300);
      await load.stop();
      group.cut.clear();
      await group.run(500);
      expect(group.replica(follower).status().firstIndex).to.equal(firstIndex);
      release();
      await expectConverged(group);
      expect(group.replica(follower).status().firstIndex).to.be.greaterThan(firstIndex);
      expect(open!.snapshots.list()[0], 'older ones are gone').to.equal(log.base.index);
      expectAcknowledged(group, load);
    });
  }

  it('does not miss who went and who came', async () => {
    const behind = await fallenBehind();
    const { group, follower, leader } = behind;
    const other = group.ids.find((id) => id !== leader && id !== follower)!;
    const release = await holdInstall(behind);
    const said: RaftMessage[] = [];
    group.network.filter = (message) => {
      if (message.from === follower) said.push(message);
      return true;
    };
    group.crash(leader, 'kill');
    await group.run(5);
    await release();
    // It heard that the leader is gone, and asks early instead of after an election timeout.
    await group.until('another leader', () => group.leader() !== null, 1_000);
    expect([follower, other]).to.include(group.leader());
    await group.start(leader);
    await expectRecovered(behind);
  });

  it('stops in order, and is what the snapshot says after the next start', async () => {
    const behind = await fallenBehind();
    const { group, follower } = behind;
    const release = await holdInstall(behind);
    let isStopped = false;
    const open = group.member(follower).open!;
    const stopping = group
      .replica(follower)
      .stop(100)
      .then(() => open.close())
      .then(() => {
        isStopped = true;
      });
    await group.run(200);
    expect(isStopped).to.equal(false);
    await release();
    await group.run(200);
    await stopping;
    group.crash(follower, 'kill');
    await group.start(follower);
    expect(group.replica(follower).status().firstIndex).to.be.greaterThan(1);
    await expectRecovered(behind);
  });

  it('tells callers of an old leader that it cannot know', async () => {
    const behind = await fallenBehind({ retentionBytes: 64 * 1024 });
    const { group, follower, load } = behind;
    await group.start(follower);
    await expectRecovered(behind);
    const leader = group.leader()!;
    group.isolate(leader);
    const appended = outcome(group.append(leader, batchOf('T', ['x']), 600_000));
    const asked = outcome(
      group.replica(leader).changeMembership({ type: 'remove', id: follower }, group.clock.monotonicMs() + 600_000),
    );
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    load.start();
    await load.more(300);
    group.cut.clear();
    await group.run(2_000);
    expect(await appended).to.equal('OUTCOME_UNKNOWN');
    expect(await asked).to.equal('OUTCOME_UNKNOWN');
    await load.stop();
    await expectConverged(group);
  });

  for (const mode of ['kill', 'lost', 'sectors'] as const) {
    it(`may lose its node at every operation of the disk (${mode})`, async function () {
      this.timeout(180_000);
      const behind = await fallenBehind({ snapshotChunkBytes: 2_000 }, 4);
      const { group, follower, load } = behind;
      let crashes = 0;
      for (let at = 1; ; at++) {
        // The disk as it was when it fell behind, each time anew.
        const isOver = await installAndCrash(group, follower, at, mode);
        if (isOver) break;
        crashes++;
      }
      expect(crashes).to.be.greaterThan(20);
      await expectConverged(group);
      expectAcknowledged(group, load);
    });
  }

  /** @returns whether the installation was over before the `at`-th operation. */
  async function installAndCrash(
    group: Group,
    follower: NodeId,
    at: number,
    mode: 'kill' | 'lost' | 'sectors',
  ): Promise<boolean> {
    const member = group.member(follower);
    const kept = { disk: member.disk.clone(), medium: new MemoryStateMedium() };
    for (const [key, value] of member.medium.durable) kept.medium.durable.set(key, value);
    await group.start(follower);
    const before = group.replica(follower).status();
    let left = at;
    let isCrashed = false;
    group.crashAt(follower, mode, () => {
      isCrashed = --left === 0;
      return isCrashed;
    });
    await group.until(
      'the installation or its end',
      () =>
        isCrashed || group.replica(follower).broker.appliedIndex === group.replica(group.leader()!).broker.appliedIndex,
      20_000,
    );
    member.disk.onOperation = null;
    if (!isCrashed) return true;
    await group.start(follower);
    const { firstIndex, lastIndex } = group.replica(follower).status();
    if (firstIndex === 1) expect(lastIndex).to.equal(before.lastIndex);
    await group.until('it to catch up', () => {
      expect(member.failure).to.equal(null);
      return group.replica(follower).broker.appliedIndex === group.replica(group.leader()!).broker.appliedIndex;
    });
    group.crash(follower, 'kill');
    member.disk = kept.disk;
    member.medium = kept.medium;
    return false;
  }
});
