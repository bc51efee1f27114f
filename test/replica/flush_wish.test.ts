import { expect } from 'chai';
import type { AppendResult, PackedAppend } from '../../src/replica/types.ts';
import { batchOf, Group } from './group.ts';
import { expectConverged } from './load.ts';

const ID = '00000000000000aa';

/** A group whose replicas flush at long intervals, so that nothing is on disk by chance. */
async function asyncGroup(): Promise<Group> {
  const group = await Group.started({ flush: 'async', flushIntervalMs: 1_000_000, checkpointIntervalMs: 1_000_000 });
  await group.createTopic('T');
  await group.run(1_000);
  return group;
}

async function put(group: Group, request: PackedAppend): Promise<AppendResult> {
  await group.until('somebody leads', () => group.leader() !== null);
  let answer: AppendResult | Error | null = null;
  group.append(group.leader()!, request).then(
    (result) => {
      answer = result;
    },
    (error: Error) => {
      answer = error;
    },
  );
  await group.until('an answer', () => answer !== null);
  if ((answer as unknown) instanceof Error) throw answer as unknown as Error;
  return answer as unknown as AppendResult;
}

const sync = (bodies: readonly string[], sequence: number) => ({
  ...batchOf('T', bodies, ID, sequence),
  flush: 'sync' as const,
});

describe('replica: what a single append may ask for', () => {
  it('sync in an async group: survives a power loss of all, with what lies before it; what lies behind may not', async () => {
    const group = await asyncGroup();
    expect(await put(group, batchOf('T', ['before']))).to.include({ queueOffset: 0, flush: 'async' });
    const kept = await put(group, sync(['a', 'b'], 1));
    expect(kept).to.include({ queueOffset: 1, flush: 'sync' });
    expect(await put(group, batchOf('T', ['behind']))).to.include({ queueOffset: 3, flush: 'async' });
    for (const id of group.ids) group.crash(id, 'lost');
    for (const id of group.ids) await group.start(id);
    await group.run(5_000);
    await expectConverged(group);
    for (const id of group.ids) expect(group.replica(id).broker.range('T', 0).max, id).to.equal(3);
    const again = await put(group, sync(['a', 'b'], 1));
    expect(again).to.include({ queueOffset: 1, repeated: true, flush: 'sync' });
  });

  it('async alone in an async group: is lost with the power of all, which proves that the test can tell', async () => {
    const group = await asyncGroup();
    await put(group, sync(['kept'], 1));
    await put(group, batchOf('T', ['lost']));
    for (const id of group.ids) group.crash(id, 'lost');
    for (const id of group.ids) await group.start(id);
    await group.run(5_000);
    for (const id of group.ids) expect(group.replica(id).broker.range('T', 0).max, id).to.equal(1);
  });

  it('sync waits for the disks of a majority, and what comes behind it waits with it', async () => {
    const group = await asyncGroup();
    const leader = group.leader()!;
    const held: (() => void)[] = [];
    for (const id of group.ids) group.member(id).disk.deferFlush = (finish) => held.push(finish);
    const told: string[] = [];
    const note = (name: string) => (): void => {
      told.push(name);
    };
    void group.append(leader, batchOf('T', ['before']), 60_000).then(note('before'));
    await group.run(500);
    expect(told).to.deep.equal(['before']);
    void group.append(leader, sync(['a'], 1), 60_000).then(note('sync'));
    void group.append(leader, batchOf('T', ['behind']), 60_000).then(note('behind'));
    await group.run(500);
    expect(told).to.deep.equal(['before']);
    for (const id of group.ids) group.member(id).disk.deferFlush = queueMicrotask;
    for (const finish of held.splice(0)) finish();
    await group.run(500);
    expect(told).to.deep.equal(['before', 'sync', 'behind']);
  });

  it('an async group goes on when more is written than may wait for a flush', async () => {
    const never = { flush: 'async', flushIntervalMs: 1_000_000, checkpointIntervalMs: 1_000_000 } as const;
    const group = await Group.started({ ...never, limits: { unflushedBytesMax: 8 * 1024 } });
    await group.createTopic('T');
    const body = 'x'.repeat(1_024);
    for (let at = 0; at < 40; at++) {
      expect(await put(group, batchOf('T', [body]))).to.include({ queueOffset: at, flush: 'async' });
    }
    for (const id of group.ids) group.crash(id, 'lost');
    for (const id of group.ids) await group.start(id);
    await group.run(5_000);
    await expectConverged(group);
    const kept = group.replica(group.leader()!).broker.range('T', 0).max;
    expect(kept, 'all but what may have waited').to.be.within(32, 40);
  });

  it('in a sync group everything is answered with the stronger guarantee', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const weak = { ...batchOf('T', ['x']), flush: 'async' as const };
    expect(await put(group, weak)).to.include({ flush: 'sync' });
    expect(await put(group, sync(['y'], 1))).to.include({ flush: 'sync' });
  });

  it("the leader's flush runs beside replication: two followers commit while it hangs", async () => {
    const group = await Group.started({ diskStallMs: 1_000_000 });
    await group.createTopic('T');
    const leader = group.leader()!;
    const held: (() => void)[] = [];
    group.member(leader).disk.deferFlush = (finish) => held.push(finish);
    expect(await put(group, batchOf('T', ['x']))).to.include({ queueOffset: 0, flush: 'sync' });
    expect(held.length, "the leader's own flush is under way").to.be.greaterThan(0);
    expect(group.replica(leader).status().flushedIndex).to.be.below(group.replica(leader).status().committedIndex);
  });
});
