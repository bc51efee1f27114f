import { expect } from 'chai';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { describeSurvivor, forceMembership } from '../../src/storage/force_recovery.ts';
import { HardStateFile } from '../../src/storage/hard_state.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { describeCrashes } from './crash_harness.ts';
import { append, codeOf, contentOf, countOpenFiles, DIRECTORY, openLog, recordsOf } from './log_fixture.ts';
import { metaOf, openSnapshots, rowsOf } from './snapshot_fixture.ts';

const options = { segmentSizeBytes: 800, indexUnitsPerFile: 4 };
const BODY = Buffer.from('{"v":1,"voters":["n0"]}');
const survivor = (disk: MemoryDisk) => ({ disk, directory: DIRECTORY, ...options });
const force = (disk: MemoryDisk, body = BODY) => forceMembership({ ...survivor(disk), nodeId: 'n0', body });

function appendMembership(log: ReturnType<typeof openLog>, body: string, ofTerm: number): void {
  const record = blankRecord(recordMagic.membership, Buffer.from(body));
  log.appendBlank(record, 0, record.length, term(ofTerm));
}

/** A member of a group of three in term 5, whose log ends in term 4 and was cut at 6. */
async function deserted(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const hardState = HardStateFile.open({ disk, directory: DIRECTORY });
  const log = openLog(disk, options);
  for (let index = 1; index <= 8; index++) append(log, [204], 3, index);
  appendMembership(log, 'three', 3);
  await log.flush();
  log.cutTo(logIndex(6));
  const store = openSnapshots(disk);
  await store.write(metaOf(6), rowsOf(3));
  store.close();
  append(log, [10, 20], 4);
  await log.flush();
  hardState.save({ term: term(5), vote: 'n2' });
  append(log, [30], 4);
  disk.kill();
  return disk;
}

describe('force recovery', () => {
  it('says what a survivor has', async () => {
    const disk = await deserted();
    const { hardState, base, lastIndex, lastTerm, memberships, snapshots } = describeSurvivor(survivor(disk));
    expect(hardState).to.deep.equal({ term: 5, vote: 'n2' });
    expect([base.index, base.term, lastIndex, lastTerm]).to.deep.equal([6, 3, 12, 4]);
    expect(memberships).to.deep.equal([{ index: 9, term: 3, body: Buffer.from('three') }]);
    expect(snapshots).to.deep.equal([6]);
    const before = contentOf(disk, DIRECTORY);
    describeSurvivor(survivor(disk));
    const ofRecords = (path: string): boolean => !/\/(checkpoint|base|hardstate)$/.test(path);
    for (const [path, content] of Object.entries(contentOf(disk, DIRECTORY)).filter(([path]) => ofRecords(path))) {
      expect(content, path).to.equal(before[path]);
    }
  });

  it('appends one membership record in a term of its own, for which it voted itself, durably', async () => {
    const disk = await deserted();
    const before = recordsOf(openLog(disk.clone(), options));
    expect(force(disk)).to.deep.equal({ index: 13, term: 6 });
    disk.crash({ mode: 'lost' });
    const after = describeSurvivor(survivor(disk));
    expect(after.hardState).to.deep.equal({ term: 6, vote: 'n0' });
    expect(after.memberships.at(-1)).to.deep.equal({ index: 13, term: 6, body: BODY });
    expect(recordsOf(openLog(disk, options)).slice(0, -1)).to.deep.equal(before);
  });

  it('does nothing when it was done already, and again for another membership', async () => {
    const disk = await deserted();
    force(disk);
    expect(force(disk)).to.deep.equal({ index: 13, term: 6 });
    expect(force(disk, Buffer.from('another'))).to.deep.equal({ index: 14, term: 7 });
    const hardState = HardStateFile.open({ disk, directory: DIRECTORY });
    hardState.save({ term: term(8), vote: null });
    hardState.close();
    // Somebody else may have led since.
    expect(force(disk, Buffer.from('another'))).to.deep.equal({ index: 15, term: 9 });
  });

  it('refuses a directory without a group, and a damaged log; leaves no file open', async () => {
    const empty = new MemoryDisk();
    expect(codeOf(() => describeSurvivor(survivor(empty)))).to.equal('DATA_CORRUPTED');
    expect(empty.files()).to.deep.equal([]);
    const disk = await deserted();
    const openFiles = countOpenFiles(disk);
    describeSurvivor(survivor(disk));
    force(disk);
    const path = disk.files().find((file) => file.includes('/commitlog/'))!;
    disk.remove(`${DIRECTORY}/index/${disk.list(`${DIRECTORY}/index`)[0]}`);
    disk.flip(path, 60, 3);
    expect(codeOf(() => describeSurvivor(survivor(disk)))).to.equal('DATA_CORRUPTED');
    expect(codeOf(() => force(disk, Buffer.from('another')))).to.equal('DATA_CORRUPTED');
    expect(openFiles()).to.equal(0);
  });
});

describeCrashes<{ forced: { index: number; term: number } | null; records: string[] }>('force recovery', {
  prepare: deserted,
  witness: () => ({ forced: null, records: [] }),
  stepsMin: 30,
  stride: 2,
  work: (disk, known) => {
    known.records = recordsOf(openLog(disk.clone(), options));
    known.forced = force(disk);
  },
  recover: (disk, { forced, records }, hint, isThorough) => {
    const log = openLog(disk, options);
    const found = recordsOf(log);
    log.close();
    // The record behind the last flush may be gone with the power; the one that was forced is the last.
    const isForced = found.length > 5 && found.at(-1)!.includes(BODY.toString());
    const kept = isForced ? found.slice(0, -1) : found;
    if (records.length > 0) expect(kept, hint).to.deep.equal(records.slice(0, kept.length));
    expect(kept.length, hint).to.be.at.least(5);
    const { hardState, lastIndex, lastTerm } = describeSurvivor(survivor(disk));
    expect(hardState.term, hint).to.be.at.least(Math.max(5, lastTerm));
    if (isForced) expect(hardState, hint).to.deep.equal({ term: lastTerm, vote: 'n0' });
    if (forced !== null) expect([isForced, { index: lastIndex, term: lastTerm }], hint).to.deep.equal([true, forced]);
    if (!isThorough) return;
    const twin = disk.clone();
    const first = force(twin);
    expect(force(twin), hint).to.deep.equal(first);
    expect(first.index, hint).to.equal(isForced ? lastIndex : lastIndex + 1);
  },
});
