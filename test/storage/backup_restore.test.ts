import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { indexAt, magicAt, RECORD_HEADER_BYTES, recordMagic } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { type Restored, restoreBackup } from '../../src/storage/backup_restore.ts';
import { HardStateFile } from '../../src/storage/hard_state.ts';
import { claimDirectory, readIdentity } from '../../src/storage/identity.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import { BACKUP, backUp, cut, groupOf, layout, passage, SEGMENT } from './backup_fixture.ts';
import { crash, describeCrashes } from './crash_harness.ts';
import { contentOf, DIRECTORY, expectConsistent, openLog, recordsOf } from './log_fixture.ts';

const BODY = Buffer.from('{"v":1,"voters":["a","b","c"]}');
const GROUP_ID = 'fedcba9876543210';
const address = { peer: 'p:1', client: 'c:1' };
const members = { a: address, b: address, c: address };

function restore(disk: MemoryDisk, target: string, nodeId = 'a'): Promise<Restored> {
  const { indexUnitsPerFile } = layout;
  return restoreBackup({
    ...{ disk, directory: BACKUP, passage, target, cluster: 'c', group: 'group', nodeId, indexUnitsPerFile },
    ...{ groupId: GROUP_ID, members, membership: BODY },
  });
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => {
      expect(error).to.be.instanceOf(TLedgerError);
      return `${(error as TLedgerError).code}: ${(error as TLedgerError).message}`;
    },
  );
}

/** Eight records, the first three of them in a snapshot. */
async function backedUp(isCut = true): Promise<{ disk: MemoryDisk; records: string[] }> {
  const { disk, log } = await groupOf(8);
  if (isCut) await cut(disk, log, 3);
  const records = recordsOf(log);
  await backUp(disk, log);
  log.close();
  return { disk, records };
}

const claim = (disk: MemoryDisk, directory: string, nodeId = 'a') =>
  claimDirectory({
    ...{ disk, directory, founders: members },
    identity: { cluster: 'c', group: 'group', nodeId, segmentSizeBytes: SEGMENT },
  });

/** What a restored directory must be. */
function expectRestored(disk: MemoryDisk, directory: string, records: readonly string[], nodeId = 'a'): void {
  const claimed = claim(disk, directory, nodeId);
  const others = ['a', 'b', 'c'].filter((id) => id !== nodeId);
  expect([claimed.groupId, claimed.wasMember, claimed.promised]).to.deep.equal([GROUP_ID, true, others]);
  expect(claimed.founders).to.deep.equal(members);
  const hardState = HardStateFile.open({ disk, directory });
  expect(hardState.state).to.deep.equal({ term: 4, vote: null });
  hardState.close();
  const log = openLog(disk, { ...layout, directory });
  expectConsistent(log);
  expect(recordsOf(log).slice(0, -1)).to.deep.equal(records);
  const { buffer, start, end } = log.read(log.lastIndex, log.lastIndex);
  expect([magicAt(buffer, start), indexAt(buffer, start), log.lastTerm]).to.deep.equal([recordMagic.membership, 9, 4]);
  expect(buffer.subarray(start + RECORD_HEADER_BYTES, end).equals(BODY)).to.equal(true);
  expect(log.recovery.bytesCut).to.equal(0);
  log.close();
}

describe('restoring a backup', () => {
  for (const isCut of [false, true]) {
    it(`makes byte-identical logs of all nodes, ${isCut ? 'behind a snapshot' : 'from record 1 on'}`, async () => {
      const { disk, records } = await backedUp(isCut);
      const done = [];
      for (const nodeId of Object.keys(members)) done.push(await restore(disk, `/${nodeId}`, nodeId));
      expect(done.map(({ index, term }) => [index, term])).to.deep.equal(Array(3).fill([9, 4]));
      const content = Object.keys(members).map((nodeId) => {
        const files = Object.entries(contentOf(disk, `/${nodeId}`));
        return files.map(([path, bytes]) => [path.slice(2), path.endsWith('/identity') ? '' : bytes]);
      });
      expect(content[1]).to.deep.equal(content[0]);
      expect(content[2]).to.deep.equal(content[0]);
      for (const nodeId of Object.keys(members)) expectRestored(disk, `/${nodeId}`, records, nodeId);
      const snapshots = SnapshotStore.open({ disk, directory: '/a' });
      expect(snapshots.list()).to.deep.equal(isCut ? [3] : []);
      if (isCut) expect([...snapshots.open(logIndex(3)).rows()]).to.have.length(3);
      // Nothing is shared: what the new group does to its files leaves the backup alone.
      const kept = contentOf(disk, BACKUP);
      for (const path of disk.files().filter((one) => one.startsWith('/a/'))) disk.flip(path, 0, 0);
      expect(contentOf(disk, BACKUP)).to.deep.equal(kept);
    });
  }

  it('of an empty log gives one with the membership only', async () => {
    const { disk, log } = await groupOf(0);
    await backUp(disk, log);
    expect((await restore(disk, '/a')).index).to.equal(1);
    const restored = openLog(disk, { ...layout, directory: '/a' });
    expect([restored.lastIndex, restored.lastTerm]).to.deep.equal([1, 1]);
  });

  it('of a log that is empty behind its base begins with a segment', async () => {
    const { disk, log } = await groupOf(8);
    await cut(disk, log, 3);
    log.restart(log.tipAt(logIndex(3)));
    await backUp(disk, log);
    expect((await restore(disk, '/a')).index).to.equal(4);
    const restored = openLog(disk, { ...layout, directory: '/a' });
    expect([restored.base.index, restored.lastIndex]).to.deep.equal([3, 4]);
  });

  it('refuses a directory that is not empty', async () => {
    const { disk } = await backedUp();
    expect(await messageOf(restore(disk, DIRECTORY))).to.match(
      /^INVALID_ARGUMENT: \/group is not empty: it holds base$/,
    );
    await restore(disk, '/a');
    expect(await messageOf(restore(disk, '/a'))).to.match(/^INVALID_ARGUMENT: \/a is not empty/);
  });

  it('refuses what is no backup', async () => {
    const { disk } = await backedUp();
    disk.remove(`${BACKUP}/manifest.json`);
    expect(await messageOf(restore(disk, '/a'))).to.equal(
      'DATA_CORRUPTED: /backup holds no complete backup: there is no manifest',
    );
    disk.open(`${BACKUP}/incomplete`, { create: true }).close();
    expect(await messageOf(restore(disk, '/a'))).to.include('a backup was begun there, and never came to its end');
    expect(disk.files().filter((path) => path.startsWith('/a/'))).to.deep.equal([]);
  });

  it('refuses a damaged one, naming the file, and no node starts on what is left', async () => {
    const { disk, records } = await backedUp();
    for (const [name, sizeBytes] of [
      ['commitlog/00000000000000000800', SEGMENT],
      ['commitlog/00000000000000001600.8', 504],
      ['snapshot/00000000000000000003', 100],
    ] as const) {
      for (let at = 0; at < sizeBytes; at += 50) {
        disk.flip(`${BACKUP}/${name}`, at, 2);
        expect(await messageOf(restore(disk, '/a')), name)
          .to.match(/^DATA_CORRUPTED: /)
          .and.include(name);
        expect(() => claim(disk, '/a')).to.throw('half of a backup');
        expect(() => readIdentity(disk, '/a')).to.throw('half of a backup');
        disk.flip(`${BACKUP}/${name}`, at, 2);
      }
    }
    // Begun again, it begins from nothing.
    await restore(disk, '/a');
    expectRestored(disk, '/a', records);
  });
});

function refusalOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error === crash) throw error;
    return (error as Error).message;
  }
  return 'none';
}

const witness: string[] = [];
describeCrashes<string[]>('a restore', {
  stepsMin: 40,
  stride: 7,
  prepare: async () => {
    const { disk, records } = await backedUp();
    witness.splice(0, witness.length, ...records);
    disk.crash({ mode: 'kept' });
    return disk;
  },
  witness: () => witness,
  work: (disk) => restore(disk, '/a'),
  recover: async (disk, records, hint, isThorough) => {
    const isWhole = disk.exists('/a/identity') && !disk.exists('/a/restoring');
    if (isWhole) return expectRestored(disk, '/a', records);
    if (disk.list('/a').length > 0)
      expect(
        refusalOf(() => claim(disk, '/a')),
        hint,
      ).to.include('half of a backup');
    if (!isThorough) return;
    await restore(disk, '/a');
    expectRestored(disk, '/a', records);
  },
});
