import { expect } from 'chai';
import type { NodeId } from '../../src/raft/types.ts';
import { type DiskLevel, type DiskLimits, levelOf } from '../../src/replica/disk_watch.ts';
import { SNAPSHOTS_MAX } from '../../src/replica/retention.ts';
import { batchOf, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { expectAcknowledged, expectConverged, Load } from './load.ts';

const LIMITS: DiskLimits = { warnPercent: 75, cleanPercent: 85, refusePercent: 90, reserveBytes: 256 * 1024 };
const TOTAL_BYTES = 100 * 1024 * 1024;
const RESERVE = '/data/g0/reserve';
const YEAR_MS = 365 * 86_400_000;

const failure = (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(() => null).catch((error: unknown) => error);

describe('levels of a disk', () => {
  const cases: [before: DiskLevel, usedPercent: number, after: DiskLevel][] = [
    ['ok', 74.9, 'ok'],
    ['ok', 75, 'warn'],
    ['ok', 95, 'refuse'],
    ['warn', 73.1, 'warn'],
    ['warn', 72.9, 'ok'],
    ['clean', 83.5, 'clean'],
    ['clean', 82.9, 'warn'],
    ['refuse', 88.5, 'refuse'],
    ['refuse', 87.9, 'clean'],
    ['refuse', 50, 'ok'],
    ['ok', 99.9, 'full'],
    ['full', 99.6, 'full'],
    ['full', 99.4, 'refuse'],
  ];
  for (const [before, usedPercent, after] of cases) {
    it(`${before} at ${usedPercent} % is ${after}`, () => {
      const freeBytes = TOTAL_BYTES * (1 - usedPercent / 100);
      expect(levelOf({ usedPercent, freeBytes }, before, LIMITS)).to.equal(after);
    });
  }

  it('a limit of 0 is none', () => {
    const none = { warnPercent: 0, cleanPercent: 0, refusePercent: 0, reserveBytes: 0 };
    expect(levelOf({ usedPercent: 100, freeBytes: 0 }, 'ok', none)).to.equal('ok');
  });
});

describe('replica: a disk that fills up', () => {
  const fill = (group: Group, id: NodeId, usedPercent: number, pendingPercent = 0): void => {
    const freeBytes = TOTAL_BYTES * (1 - usedPercent / 100);
    const pendingBytes = (TOTAL_BYTES * pendingPercent) / 100;
    group.member(id).disk.spaceOf = () => ({ totalBytes: TOTAL_BYTES, freeBytes, pendingBytes });
  };
  const started = async (): Promise<{ group: Group; load: Load }> => {
    const group = await Group.started({ space: LIMITS });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(200);
    await load.stop();
    await group.run(12_000);
    return { group, load };
  };

  it('warns once, deletes the oldest step by step, refuses appends and nothing else, and recovers', async () => {
    const { group, load } = await started();
    const leader = group.leader()!;
    const first = () => group.replica(leader).status().firstIndex;
    const says = (text: string) => group.member(leader).warnings.filter((one) => one.includes(text)).length;
    fill(group, leader, 80);
    await group.run(5_000);
    expect(says('needed soon')).to.equal(1);
    expect(first()).to.equal(1);
    fill(group, leader, 86);
    await group.run(1_500);
    const cut = first();
    expect(cut).to.be.greaterThan(1);
    await group.run(1_500);
    expect(first()).to.be.greaterThan(cut);
    fill(group, leader, 91);
    await group.run(1_500);
    expect(group.replica(leader).status().disk!.level).to.equal('refuse');
    const refused = await failure(group.append(leader, batchOf('T', ['x'])));
    expect(refused).to.include({ code: 'DISK_FULL', retryable: true });
    expect(group.leader()).to.equal(leader);
    await group.createTopic('U');
    fill(group, leader, 89);
    await group.run(1_500);
    expect(await failure(group.append(leader, batchOf('T', ['x'])))).to.include({ code: 'DISK_FULL' });
    fill(group, leader, 20);
    await group.run(1_500);
    load.start();
    await load.more(20);
    await load.stop();
    await expectConverged(group);
    expectAcknowledged(group, load);
  });

  it('deletes nothing for room that is on its way, but is full until it is there', async () => {
    const { group } = await started();
    const leader = group.leader()!;
    const status = () => group.replica(leader).status();
    fill(group, leader, 88, 20);
    await group.run(3_000);
    expect(status()).to.include({ firstIndex: 1 });
    expect(status().disk!.level).to.equal('ok');
    const { disk } = group.member(leader);
    fill(group, leader, 99.9, 50);
    await group.run(1_500);
    expect(disk.exists(RESERVE)).to.equal(false);
    expect(status().disk!.level).to.equal('full');
  });

  it('gives the reserve up, lets the others go on, and catches up when there is room', async () => {
    const { group, load } = await started();
    const full = group.ids.find((id) => id !== group.leader())!;
    const { disk } = group.member(full);
    expect(disk.bytes(RESERVE).length).to.equal(LIMITS.reserveBytes);
    fill(group, full, 99.9);
    await group.run(1_500);
    expect(disk.exists(RESERVE)).to.equal(false);
    const { lastIndex } = group.replica(full).status();
    load.start();
    await load.more(60);
    await load.stop();
    expect(group.replica(full).status()).to.deep.include({ lastIndex, role: 'follower' });
    expect(group.replica(full).status().disk!.level).to.equal('full');
    fill(group, full, 20);
    await group.run(12_000);
    expect(disk.bytes(RESERVE).length).to.equal(LIMITS.reserveBytes);
    await expectConverged(group);
    expectAcknowledged(group, load);
  });
});

describe('replica: retention by age', () => {
  it('deletes what is too old, on every node, but never the tail', async () => {
    const group = await Group.started({ retentionMs: 60_000 });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(200);
    await load.stop();
    for (const id of group.ids) expect(group.replica(id).status().firstIndex, id).to.equal(1);
    await group.run(75_000);
    for (const id of group.ids) {
      const log = group.member(id).log!;
      expect(log.sealedBoundaries, id).to.deep.equal([]);
      expect(log.lastIndex, id).to.be.at.least(log.firstIndex);
      const { min, max } = group.replica(id).broker.range('T', 0);
      expect(min).to.be.within(1, max);
    }
    const [one, ...others] = group.ids.map((id) => group.member(id).log!.base);
    for (const other of others) expect(other).to.deep.equal(one);
    await expectConverged(group);
  });

  it('keeps a bounded number of snapshots, the newest and the one at the base among them', async () => {
    const group = await Group.started({ retentionMs: YEAR_MS });
    await group.createTopic('T');
    const load = new Load(group).start();
    const log = group.member('n0').log!;
    while (log.sealedBoundaries.length < 2.5 * SNAPSHOTS_MAX) await load.more(50);
    await load.stop();
    for (const id of group.ids) {
      const snapshots = group.member(id).open!.snapshots.list();
      expect(snapshots.length, id).to.be.within(SNAPSHOTS_MAX / 2, SNAPSHOTS_MAX);
      const positions = snapshots.map((index) => Number(log.tipAt(index).end));
      const steps = positions.slice(1).map((position, at) => position - positions[at]!);
      expect(Math.max(...steps), 'evenly spread').to.be.at.most(8 * SEGMENT_SIZE_BYTES);
    }
  });
});
