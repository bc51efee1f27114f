import { expect } from 'chai';
import { queueOffset } from '../../src/format/message.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { MemoryStateMedium } from '../../src/storage/memory_state_store.ts';
import { batchOf, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { expectAcknowledged, expectConverged, Load, outcome } from './load.ts';

const RETENTION_BYTES = 2 * SEGMENT_SIZE_BYTES;

/** Bytes of the log that a node holds. */
function heldBytes(group: Group, id: NodeId): number {
  const { endPosition } = group.replica(id).status();
  return endPosition - group.member(id).log!.base.end;
}

async function cutGroup(): Promise<{ group: Group; load: Load }> {
  const group = await Group.started({ retentionBytes: RETENTION_BYTES });
  await group.createTopic('T');
  const load = new Load(group).start();
  await load.more(400);
  await load.stop();
  await group.run(500);
  return { group, load };
}

describe('replica: retention', () => {
  it('keeps the log within bounds on every node, and the snapshots that stand for the rest', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES });
    await group.createTopic('T');
    const load = new Load(group).start();
    for (let round = 0; round < 60; round++) {
      await load.more(15);
      for (const id of group.ids) {
        expect(heldBytes(group, id), id).to.be.at.most(RETENTION_BYTES + 2 * SEGMENT_SIZE_BYTES);
        const { base } = group.member(id).log!;
        const snapshots = group.member(id).open!.snapshots.list();
        expect(snapshots.length).to.be.below(5);
        if (base.index > 0) expect(snapshots[0]).to.equal(base.index);
      }
    }
    await load.stop();
    for (const id of group.ids) {
      expect(heldBytes(group, id)).to.be.at.least(RETENTION_BYTES - SEGMENT_SIZE_BYTES);
      const { min, max } = group.replica(id).broker.range('T', 0);
      expect(min).to.be.greaterThan(500);
      const { log } = group.member(id);
      expect(log!.firstIndex).to.be.at.most(Number(min) + 1 + max);
    }
    for (const id of group.ids) {
      const { base } = group.member(id).log!;
      const { events } = group.member(id);
      expect(events).to.include(`took a snapshot at ${base.index}`);
      const deleted = events.findLast((event) => event.startsWith('deleted'));
      expect(deleted).to.match(new RegExp(`^deleted records up to ${base.index} \\(kept \\d+ bytes\\)$`));
    }
    await expectConverged(group);
    expectAcknowledged(group, load);
  });

  it('keeps everything when it is 0', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(300);
    await load.stop();
    for (const id of group.ids) {
      expect(group.replica(id).status().firstIndex).to.equal(1);
      expect(group.member(id).open!.snapshots.list()).to.deep.equal([]);
    }
  });

  it('keeps what a slow follower within reach needs, until twice as much lies there', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES, diskStallMs: 1_000_000 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(150);
    const leader = group.leader()!;
    const slow = group.ids.find((id) => id !== leader)!;
    const held: (() => void)[] = [];
    group.member(slow).disk.deferFlush = (finish) => held.push(finish);
    const { flushedIndex } = group.replica(slow).status();
    let longest = 0;
    while (group.replica(leader).status().firstIndex <= flushedIndex + 1) {
      longest = heldBytes(group, leader);
      await load.more(1);
    }
    expect(longest).to.be.greaterThan(2 * RETENTION_BYTES - SEGMENT_SIZE_BYTES);
    expect(longest).to.be.below(2 * RETENTION_BYTES + 2 * SEGMENT_SIZE_BYTES);
    await load.more(100);
    expect(heldBytes(group, leader)).to.be.at.most(2 * RETENTION_BYTES + 2 * SEGMENT_SIZE_BYTES);
    group.member(slow).disk.deferFlush = queueMicrotask;
    for (const finish of held) finish();
    await load.stop();
    await expectConverged(group);
    expectAcknowledged(group, load);
  });

  for (const mode of ['kill', 'lost', 'sectors'] as const) {
    it(`lets every node restart after cuts (${mode}), one by one and all at once`, async () => {
      const { group, load } = await cutGroup();
      for (const id of group.ids) {
        const { firstIndex } = group.replica(id).status();
        expect(firstIndex).to.be.greaterThan(100);
        group.crash(id, mode);
        await group.start(id);
        expect(group.replica(id).status().firstIndex).to.equal(firstIndex);
        load.start();
        await load.more(40);
        await load.stop();
      }
      for (const id of group.ids) group.crash(id, mode);
      for (const id of group.ids) await group.start(id);
      load.start();
      await load.more(40);
      await load.stop();
      await expectConverged(group);
      expectAcknowledged(group, load);
    });
  }

  for (const how of ['lost', 'damaged'] as const) {
    it(`makes a state store that was ${how} anew from the snapshot at the log's base`, async () => {
      const { group, load } = await cutGroup();
      const follower = group.ids.find((id) => id !== group.leader())!;
      group.crash(follower, 'kill');
      const member = group.member(follower);
      if (how === 'lost') member.medium = new MemoryStateMedium();
      else for (const key of member.medium.durable.keys()) member.medium.durable.set(key, 'nonsense');
      await group.start(follower);
      await expectConverged(group);
      expectAcknowledged(group, load);
      expect(group.replica(follower).broker.range('T', 0)).to.deep.equal(
        group.replica(group.leader()!).broker.range('T', 0),
      );
    });
  }

  it('recognises what a producer repeats though its record is gone', async () => {
    const { group, load } = await cutGroup();
    const producerId = '00000000000000bb';
    const first = outcome(group.append(group.leader()!, batchOf('T', ['once'], producerId, 1)));
    await group.run(50);
    expect(await first).to.equal('ok');
    const { lastIndex } = group.replica(group.leader()!).status();
    load.acknowledged = 0;
    const other = new Load(group, { producerId: '00000000000000cc' }).start();
    await other.more(300);
    await other.stop();
    expect(group.replica(group.leader()!).status().firstIndex).to.be.greaterThan(lastIndex);
    for (let round = 0; round < 2; round++) {
      const leader = await group.elect();
      await group.run(100);
      const { max } = group.replica(leader).broker.range('T', 0);
      const repeated = group.append(leader, batchOf('T', ['once'], producerId, 1));
      await group.run(50);
      expect((await repeated).repeated).to.equal(true);
      expect(group.replica(leader).broker.range('T', 0).max).to.equal(max);
      // A new leader knows it, too.
      group.crash(leader, 'kill');
      await group.run(1_500);
      await group.start(leader);
    }
  });

  it('answers for no record that is gone', async () => {
    const { group } = await cutGroup();
    const replica = group.replica(group.leader()!);
    const { firstIndex } = replica.status();
    expect(replica.digest(firstIndex).index).to.equal(firstIndex);
    expect(() => replica.digest((firstIndex - 1) as typeof firstIndex))
      .to.throw()
      .with.property('code', 'OFFSET_OUT_OF_RANGE');
    const { min } = replica.broker.range('T', 0);
    const below = { topic: 'T', queueId: 0, offset: queueOffset(min - 1), countMax: 1, bytesMax: 10_000 };
    expect(() => replica.broker.pull(below))
      .to.throw()
      .with.property('code', 'OFFSET_OUT_OF_RANGE');
    expect(replica.broker.pull({ ...below, offset: min }).count).to.equal(1);
  });

  it('does without a snapshot that finds no room, and cuts at a later one', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES });
    await group.createTopic('T');
    const load = new Load(group).start();
    const follower = group.ids.find((id) => id !== group.leader())!;
    const { disk } = group.member(follower);
    let failures = 0;
    disk.onOperation = ({ kind, path }) => {
      if (kind !== 'write' || !path.includes('/snapshot/') || failures === 2) return;
      failures++;
      disk.failAt(1, 'ENOSPC');
    };
    await load.more(400);
    expect(failures).to.equal(2);
    expect(group.member(follower).failure).to.equal(null);
    expect(group.member(follower).warnings.join()).to.include('there is no snapshot at');
    expect(group.replica(follower).status().firstIndex).to.be.greaterThan(100);
    await load.stop();
    await expectConverged(group);
  });

  it('stops for the reason for which the state could not be saved', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES, checkpointIntervalMs: 1_000_000 });
    await group.createTopic('T');
    const load = new Load(group).start();
    const follower = group.ids.find((id) => id !== group.leader())!;
    const { disk } = group.member(follower);
    disk.onOperation = ({ kind, path }) => {
      if (kind === 'flush' && path.includes('/consumequeue/')) disk.failAt(0, 'EIO');
    };
    await group.until('the follower to fail', () => group.member(follower).failure !== null, 60_000);
    expect(group.member(follower).failure).to.include({ code: 'STORAGE_FAILED' });
    expect(group.member(follower).failure?.message).to.include('consumequeue');
    await load.stop();
  });

  it('cuts behind a segment that was flushed when it was closed, though the flush under way hangs', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES, diskStallMs: 1_000_000 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(200);
    await load.stop();
    const leader = group.leader()!;
    const { disk } = group.member(leader);
    const held: Record<'log' | 'snapshot', (() => void)[]> = { log: [], snapshot: [] };
    let path = '';
    let isRolled = false;
    let isSnapshotHeld = true;
    disk.onOperation = (operation) => {
      if (operation.kind === 'create' && operation.path.includes('/commitlog/')) isRolled = true;
      if (operation.kind === 'flush') path = operation.path;
    };
    disk.deferFlush = (finish) => {
      if (isRolled && path.includes('/commitlog/')) held.log.push(finish);
      else if (isRolled && isSnapshotHeld && path.includes('/snapshot/')) held.snapshot.push(finish);
      else queueMicrotask(finish);
    };
    // A batch that begins in one segment and ends in the next: of its beginning only the log knows that it is durable.
    while (!isRolled) {
      const bodies = Array.from({ length: 7 }, (_, at) => `${at}`.padEnd(1_000, '.'));
      const appended = outcome(group.append(leader, batchOf('T', bodies)));
      await group.run(50);
      expect(await appended).to.equal('ok');
    }
    const closed = group.member(leader).log!.sealedBoundaries.at(-1)!;
    load.start();
    await load.more(300);
    isSnapshotHeld = false;
    for (const finish of held.snapshot) finish();
    await load.more(10);
    expect(group.member(leader).failure).to.equal(null);
    expect(group.member(leader).log!.base.index).to.equal(closed);
    disk.deferFlush = queueMicrotask;
    for (const finish of held.log) finish();
    await load.stop();
    await expectConverged(group);
  });

  for (const position of [40, 100]) {
    it(`does not cut at a snapshot that is damaged (byte ${position}), and cuts at a later one`, async () => {
      const group = await Group.started({ retentionBytes: RETENTION_BYTES });
      await group.createTopic('T');
      const load = new Load(group).start();
      const follower = group.ids.find((id) => id !== group.leader())!;
      const { disk } = group.member(follower);
      const snapshots = (): string[] => disk.files().filter((path) => /snapshot\/\d{20}$/.test(path));
      await group.until('a snapshot', () => snapshots().length === 2, 20_000);
      for (const path of snapshots()) disk.flip(path, position, 3);
      await load.more(300);
      await load.stop();
      expect(group.member(follower).warnings.join()).to.include('the log is not cut at');
      expect(group.replica(follower).status().firstIndex).to.be.greaterThan(100);
      await expectConverged(group);
      group.crash(follower, 'kill');
      await group.start(follower);
      await expectConverged(group);
      expectAcknowledged(group, load);
    });
  }

  it('takes snapshots at the ends of segments that lie in the middle of what is applied at once', async () => {
    const group = await Group.started({ retentionBytes: 100 * SEGMENT_SIZE_BYTES });
    await group.createTopic('T');
    const load = new Load(group, { bodyBytes: 300 }).start();
    await load.more(10);
    const follower = group.ids.find((id) => id !== group.leader())!;
    group.isolate(follower);
    await load.more(900);
    await load.stop();
    group.cut.clear();
    await expectConverged(group);
    await group.run(500);
    const { sealedBoundaries } = group.member(follower).log!;
    expect(sealedBoundaries.length).to.be.greaterThan(3);
    const taken = group.member(follower).open!.snapshots.list();
    expect(taken.length).to.be.greaterThan(1);
    for (const index of taken) expect(sealedBoundaries).to.include(index);
  });

  it('takes one snapshot at a time, however fast segments fill', async () => {
    const group = await Group.started({ retentionBytes: RETENTION_BYTES });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(10);
    const follower = group.ids.find((id) => id !== group.leader())!;
    const { broker } = group.replica(follower);
    const take = broker.takeSnapshot.bind(broker);
    let count = 0;
    let finish = (): void => {};
    broker.takeSnapshot = async (tip) => {
      count++;
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      // It is too late for this one: what is applied has moved on.
      void take;
      void tip;
    };
    await load.more(300);
    expect(count).to.equal(1);
    finish();
    await load.more(60);
    expect(count).to.equal(2);
    finish();
    await load.stop();
    await expectConverged(group);
  });

  for (const mode of ['kill', 'lost', 'sectors'] as const) {
    it(`may lose its node at any operation of the disk while it cuts (${mode})`, async function () {
      this.timeout(180_000);
      const group = await Group.started({ retentionBytes: RETENTION_BYTES });
      await group.createTopic('T');
      const load = new Load(group).start();
      await load.more(150);
      const paths = /\/(base|checkpoint|commitlog|index|snapshot|consumequeue)/;
      for (let at = 1; at <= 30; at++) {
        const victim = group.ids[at % 3]!;
        const member = group.member(victim);
        const { base } = member.log!;
        let left = at;
        let isCutting = false;
        group.crashAt(victim, mode, ({ path }) => {
          if (path.includes('/snapshot/')) isCutting = true;
          return isCutting && paths.test(path) && --left === 0;
        });
        await group.until('the crash', () => member.replica === null, 20_000);
        await group.run(20);
        await group.start(victim);
        expect(member.log!.base.index).to.be.at.least(base.index);
        await group.until(
          'it to catch up',
          () => {
            expect(member.failure).to.equal(null);
            const leader = group.leader();
            if (leader === null) return false;
            return group.replica(victim).status().lastIndex >= group.replica(leader).status().committedIndex - 3;
          },
          20_000,
        );
      }
      await load.stop();
      await expectConverged(group);
      expectAcknowledged(group, load);
    });
  }
});
