import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex } from '../../src/raft/types.ts';
import { rebuildDerived } from '../../src/replica/rebuild.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { batchOf, DIRECTORY, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { Load } from './load.ts';

interface Stopped {
  readonly disk: MemoryDisk;
  readonly rows: ReadonlyMap<string, string>;
  readonly base: number;
  readonly applied: number;
}

/** A member of a group that was stopped as it should be. */
async function stopped(retentionBytes: number): Promise<Stopped> {
  const group = await Group.started({ retentionBytes });
  await group.createTopic('T', 2);
  await group.createTopic('U|x');
  const loads = [new Load(group).start(), new Load(group, { queueId: 1, producerId: '00000000000000bb' }).start()];
  for (const load of loads) await load.more(200);
  for (const load of loads) await load.stop();
  const leader = await group.elect();
  const last = group.append(leader, batchOf('U|x', ['one', 'two', 'three']));
  await group.run(500);
  await last;
  const member = group.member('n1');
  const base = member.log!.base.index;
  const applied = member.replica!.status().appliedIndex;
  const end = member.replica!.stop(0);
  await group.run(100);
  await end;
  const closing = member.open!.close();
  await group.run(10);
  await closing;
  const rows = await new MemoryStateStore(member.medium).load();
  return { disk: member.disk.clone(), rows, base, applied };
}

/** Derived files that are meant: of the log index, the units behind the base. */
function derivedOf(disk: MemoryDisk, base: number): Record<string, string> {
  const content: Record<string, string> = {};
  for (const path of disk.files()) {
    const [folder] = path.slice(DIRECTORY.length + 1).split('/');
    const from = folder === 'index' ? base * 32 : 0;
    if (folder === 'index' || folder === 'consumequeue' || folder === 'keyindex') {
      content[path] = disk.bytes(path).subarray(from).toString('latin1');
    }
  }
  return content;
}

/** Units of a queue below what it still holds are nobody's. */
function withoutUnread(content: Record<string, string>, rows: ReadonlyMap<string, string>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [path, bytes] of Object.entries(content)) {
    const [folder, topic, queueId] = path.slice(DIRECTORY.length + 1).split('/');
    const row = folder === 'consumequeue' ? rows.get(`q/${topic!.replaceAll('+', '|')}/${queueId}`) : undefined;
    const [min] = row === undefined ? [0] : (JSON.parse(row) as [number]);
    // A file of which nothing is read any more goes with one of the next checkpoints.
    if (bytes.length > min * 20) kept[path] = bytes.slice(min * 20);
  }
  return kept;
}

async function rebuild(disk: MemoryDisk, upTo: number | null): Promise<ReadonlyMap<string, string>> {
  const medium = new MemoryStateMedium();
  const { appliedIndex } = await rebuildDerived({
    ...{ disk, directory: DIRECTORY, store: new MemoryStateStore(medium), segmentSizeBytes: SEGMENT_SIZE_BYTES },
    upTo: upTo === null ? null : logIndex(upTo),
  });
  if (upTo !== null) expect(appliedIndex).to.equal(upTo);
  return new MemoryStateStore(medium).load();
}

describe('replica: making everything derived anew', () => {
  for (const retentionBytes of [0, 2 * SEGMENT_SIZE_BYTES]) {
    const which = retentionBytes === 0 ? 'a whole log' : 'a log that was cut, and the snapshot there';
    it(`gives, out of ${which}, byte for byte what the replica had`, async () => {
      const left = await stopped(retentionBytes);
      expect(left.base > 0).to.equal(retentionBytes > 0);
      const disk = left.disk.clone();
      const random = new SeededRandom(3);
      for (let round = 0; round < 30; round++) {
        const place = disk.randomStoredByte(random, (path) => /\/(index|consumequeue|keyindex)\//.test(path))!;
        disk.flip(place.path, place.position, random.between(0, 7));
      }
      for (const path of disk.files()) if (path.includes('/consumequeue/T/')) disk.lose(path);
      const before = withoutUnread(derivedOf(left.disk, left.base), left.rows);
      expect(withoutUnread(derivedOf(disk, left.base), left.rows)).not.to.deep.equal(before);
      const rows = await rebuild(disk, left.applied);
      expect(withoutUnread(derivedOf(disk, left.base), left.rows)).to.deep.equal(before);
      expect(Object.keys(before).length).to.be.at.least(3);
      expect([...rows]).to.deep.equal([...left.rows]);
    });
  }

  it('can be interrupted at any step of the disk and done again', async function () {
    this.timeout(180_000);
    const left = await stopped(2 * SEGMENT_SIZE_BYTES);
    const counted = left.disk.clone();
    const before = counted.operationCount;
    await rebuild(counted, left.applied);
    const steps = counted.operationCount - before;
    for (let at = 1; at <= steps; at += Math.ceil(steps / 25)) {
      const disk = left.disk.clone();
      let toGo = at;
      disk.onOperation = () => {
        if (--toGo === 0) throw new Error('crash');
      };
      await rebuild(disk, left.applied).then(
        () => expect.fail('it crashes'),
        () => {},
      );
      disk.crash({ mode: 'sectors', random: new SeededRandom(at) });
      const rows = await rebuild(disk, left.applied);
      expect([...rows]).to.deep.equal([...left.rows]);
      const meant = withoutUnread(derivedOf(disk, left.base), left.rows);
      expect(meant).to.deep.equal(withoutUnread(derivedOf(left.disk, left.base), left.rows));
    }
  });

  it('applies no more than is known to be committed, and refuses a record that the log does not have', async () => {
    const left = await stopped(2 * SEGMENT_SIZE_BYTES);
    const rows = await rebuild(left.disk.clone(), null);
    expect(JSON.parse(rows.get('applied')!)).to.deep.include({ index: left.base });
    const refused = await rebuild(left.disk.clone(), left.applied + 1_000).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'DATA_CORRUPTED');
  });
});
