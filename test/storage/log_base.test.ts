import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import type { CommitLog, CommitLogOptions } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import {
  append,
  codeOf,
  contentOf,
  countOpenFiles,
  DIRECTORY,
  expectConsistent,
  openLog,
  recordsOf,
  replicate,
} from './log_fixture.ts';

/** Three records of 252 bytes fit into a segment, so boundaries are 3, 6, 9 … */
const options = { segmentSizeBytes: 800, indexUnitsPerFile: 4 };
const BODY_BYTES = 204;
const open = (disk: MemoryDisk, more: Partial<CommitLogOptions> = {}): CommitLog =>
  openLog(disk, { ...options, ...more });

/** A log of `count` such records, all flushed, each term twice. Another seed makes another log. */
async function logOf(
  count: number,
  more: Partial<CommitLogOptions> = {},
  seed = 0,
): Promise<{ disk: MemoryDisk; log: CommitLog }> {
  const disk = new MemoryDisk();
  const log = open(disk, more);
  for (let index = 1; index <= count; index++) append(log, [BODY_BYTES], Math.ceil(index / 2), seed + index);
  await log.flush();
  return { disk, log };
}

const names = (disk: MemoryDisk, folder: string): number[] =>
  disk.list(`${DIRECTORY}/${folder}`).map((name) => Number(name));

describe('the base of a log: cutting', () => {
  it('knows where its segments end, and which end is below a committed record and flushed', async () => {
    const { log } = await logOf(8);
    append(log, [BODY_BYTES, BODY_BYTES, BODY_BYTES], 4);
    expect(log.sealedBoundaries).to.deep.equal([3, 6, 9]);
    expect(log.flushedIndex).to.equal(9);
    const below = [1, 3, 4, 6, 7, 9, 10, 11].map((index) => log.boundaryBelow(logIndex(index)));
    expect(below).to.deep.equal([null, null, 3, 3, 6, 6, 9, 9]);
  });

  it('does not offer a boundary that is not flushed yet', async () => {
    const { disk, log } = await logOf(5);
    const finishers: (() => void)[] = [];
    disk.deferFlush = (finish) => finishers.push(finish);
    append(log, [BODY_BYTES], 3);
    const flushing = log.flush();
    append(log, [BODY_BYTES], 4);
    expect(log.boundaryBelow(logIndex(7))).to.equal(3);
    expect(() => log.cutTo(logIndex(6))).to.throw('was flushed');
    for (const finish of finishers) finish();
    await flushing;
    expect(log.boundaryBelow(logIndex(7))).to.equal(6);
  });

  it('removes whole segments and whole files of the log index, and answers as before for the rest', async () => {
    const { disk, log } = await logOf(11);
    const records = recordsOf(log);
    const tip = log.tipAt(logIndex(6));
    log.cutTo(logIndex(6));
    expect(log.base).to.deep.equal(tip);
    expect(names(disk, 'commitlog')).to.deep.equal([1600, 2400]);
    expect(names(disk, 'index')).to.deep.equal([4 * 32, 8 * 32]);
    expect(recordsOf(log)).to.deep.equal(records.slice(6));
    expect(log.shape.runs).to.deep.equal([4, 5, 6].map((term) => ({ term, firstIndex: 2 * term - 1 })));
    expectConsistent(log);
    expect(log.sealedBoundaries).to.deep.equal([9]);
    expect(log.boundaryBelow(logIndex(9))).to.equal(null);
  });

  it('cuts within a term, so that the first run begins behind the base', async () => {
    const { log } = await logOf(11);
    log.cutTo(logIndex(3));
    expect(log.shape.runs.slice(0, 2)).to.deep.equal([
      { term: 2, firstIndex: 4 },
      { term: 3, firstIndex: 5 },
    ]);
    expect(log.shape.baseTerm).to.equal(2);
    expectConsistent(log);
  });

  it('refuses to cut elsewhere, and to answer for what is gone', async () => {
    const { log } = await logOf(11);
    for (const index of [0, 2, 4, 11, 12]) expect(() => log.cutTo(logIndex(index))).to.throw('no segment ends');
    log.cutTo(logIndex(6));
    expect(() => log.cutTo(logIndex(6))).to.throw('no segment ends');
    for (const ask of [
      () => log.read(logIndex(6), logIndex(7)),
      () => log.fit(logIndex(6), 1000),
      () => log.locate(logIndex(6)),
      () => log.termAt(logIndex(5)),
      () => log.chainAt(logIndex(5)),
      () => log.tipAt(logIndex(5)),
    ]) {
      expect(ask).to.throw('outside the log');
    }
    expect(() => log.truncateAfter(logIndex(5))).to.throw("can't truncate");
    expect(codeOf(() => log.readAt(log.base.start, 100))).to.equal('DATA_CORRUPTED');
  });

  it('is the same log after opening again, whatever is cut next, and appends on', async () => {
    const { disk, log } = await logOf(11);
    log.cutTo(logIndex(3));
    log.cutTo(logIndex(9));
    append(log, [10, 20], 7);
    const records = recordsOf(log);
    await log.flush();
    const { base } = log;
    log.close();
    disk.crash({ mode: 'lost' });
    const again = open(disk);
    expect(again.base).to.deep.equal(base);
    expect(recordsOf(again)).to.deep.equal(records);
    expectConsistent(again);
    append(again, [BODY_BYTES, BODY_BYTES], 7);
    again.cutTo(again.boundaryBelow(logIndex(again.lastIndex))!);
    expectConsistent(again);
    again.close();
  });

  it('sends what it holds to a log that ends at the base, in the same bytes at the same places', async () => {
    const { log } = await logOf(20);
    const { log: other } = await logOf(6);
    log.cutTo(logIndex(6));
    replicate(log, other);
    expect(recordsOf(other).slice(6)).to.deep.equal(recordsOf(log));
    expect(other.endPosition).to.equal(log.endPosition);
  });

  it('is opened from records before its mark, too, when the log index is gone', async () => {
    const { disk, log } = await logOf(14);
    log.cutTo(logIndex(6));
    const records = recordsOf(log);
    log.close();
    for (const name of disk.list(`${DIRECTORY}/index`)) disk.remove(`${DIRECTORY}/index/${name}`);
    const again = open(disk);
    expect(again.recovery).to.include({ scannedAfter: 6, recordsScanned: 8, indexRebuilt: true });
    expect(recordsOf(again)).to.deep.equal(records);
    expect(names(disk, 'index')).to.deep.equal([4 * 32, 8 * 32, 12 * 32]);
    expectConsistent(again);
  });

  it('makes damaged units of its first segment anew, from the chain of the base', async () => {
    const { disk, log } = await logOf(14);
    log.cutTo(logIndex(6));
    const records = recordsOf(log);
    log.close();
    const again = open(disk);
    for (const path of disk.files().filter((file) => file.includes('/index/'))) {
      disk.corrupt(path, 0, Buffer.alloc(disk.bytes(path).length, 7));
    }
    expect(recordsOf(again)).to.deep.equal(records);
    expectConsistent(again);
  });

  it('flushes the log index of what it holds with the next checkpoint', async () => {
    const { disk, log } = await logOf(11);
    log.cutTo(logIndex(6));
    await log.advanceCheckpoint();
    disk.crash({ mode: 'lost' });
    expect(open(disk).recovery).to.include({ scannedAfter: 11, indexRebuilt: false });
  });

  it('scans from the base when the checkpoint is older, and when it is lost', async () => {
    for (const [isLost, indexUnitsPerFile] of [
      [false, 4],
      [false, 100],
      [true, 4],
      [true, 100],
    ] as const) {
      const { disk, log } = await logOf(4, { indexUnitsPerFile });
      const old = disk.bytes(`${DIRECTORY}/checkpoint`);
      append(log, [BODY_BYTES, BODY_BYTES, BODY_BYTES, BODY_BYTES], 4);
      await log.flush();
      log.cutTo(logIndex(6));
      const records = recordsOf(log);
      log.close();
      if (isLost) disk.remove(`${DIRECTORY}/checkpoint`);
      else disk.corrupt(`${DIRECTORY}/checkpoint`, 0, old);
      const again = open(disk, { indexUnitsPerFile });
      expect(again.recovery.scannedAfter).to.equal(6);
      expect(recordsOf(again)).to.deep.equal(records);
      expectConsistent(again);
    }
  });

  it('finishes a cut that was interrupted behind the base', async () => {
    const { disk, log } = await logOf(11);
    const before = contentOf(disk, DIRECTORY);
    log.cutTo(logIndex(6));
    const records = recordsOf(log);
    log.close();
    const after = Object.keys(contentOf(disk, DIRECTORY));
    for (const [path, content] of Object.entries(before)) {
      if (after.includes(path)) continue;
      disk.open(path, { create: true }).close();
      disk.corrupt(path, 0, Buffer.from(content, 'latin1'));
    }
    const again = open(disk);
    expect(Object.keys(contentOf(disk, DIRECTORY))).to.deep.equal(after);
    expect(recordsOf(again)).to.deep.equal(records);
  });

  it('names what is missing above the base, and removes nothing then', async () => {
    const { disk, log } = await logOf(11);
    const first = `${DIRECTORY}/commitlog/${String(0).padStart(20, '0')}`;
    const content = disk.bytes(first);
    log.cutTo(logIndex(6));
    log.close();
    const missing = `${DIRECTORY}/commitlog/${String(1600).padStart(20, '0')}`;
    for (const gone of [[1600], [1600, 2400]]) {
      const copy = disk.clone();
      for (const start of gone) copy.remove(`${DIRECTORY}/commitlog/${String(start).padStart(20, '0')}`);
      copy.open(first, { create: true }).close();
      copy.corrupt(first, 0, content);
      expect(() => open(copy))
        .to.throw(missing)
        .with.property('code', 'DATA_CORRUPTED');
      expect(copy.exists(first)).to.equal(true);
    }
  });

  it('is refused without its base, or with a base that cannot be read; one damaged slot costs nothing', async () => {
    const { disk, log } = await logOf(11);
    log.cutTo(logIndex(3));
    log.cutTo(logIndex(6));
    const records = recordsOf(log);
    log.close();
    const path = `${DIRECTORY}/base`;
    const lost = disk.clone();
    lost.remove(path);
    expect(() => open(lost))
      .to.throw('is missing')
      .with.property('code', 'DATA_CORRUPTED');
    for (const slot of [0, 4096]) {
      const copy = disk.clone();
      copy.corrupt(path, slot + 30, Buffer.from('!'));
      expect(recordsOf(open(copy))).to.deep.equal(records);
      expect(recordsOf(open(copy))).to.deep.equal(records);
      copy.corrupt(path, 4096 - slot + 30, Buffer.from('!'));
      expect(recordsOf(open(copy)), 'settled by opening').to.deep.equal(records);
    }
    const both = disk.clone();
    for (const slot of [0, 4096]) both.corrupt(path, slot + 30, Buffer.from('!'));
    expect(() => open(both))
      .to.throw(path)
      .with.property('code', 'DATA_CORRUPTED');
  });

  it('is the same log, or is refused, whatever bit of its base flips in one slot or in both', async () => {
    const { disk, log } = await logOf(11);
    log.cutTo(logIndex(6));
    const records = recordsOf(log);
    log.close();
    const path = `${DIRECTORY}/base`;
    for (let bit = 0; bit < 61 * 8; bit++) {
      for (const slots of [[0], [4096], [0, 4096]]) {
        const copy = disk.clone();
        for (const slot of slots) copy.flip(path, slot + (bit >> 3), bit & 7);
        if (slots.length === 2)
          expect(
            codeOf(() => open(copy)),
            `bit ${bit}`,
          ).to.equal('DATA_CORRUPTED');
        else expect(recordsOf(open(copy)), `bit ${bit}`).to.deep.equal(records);
      }
    }
  });

  it('says so when a sector cannot be read: opening, reading and cutting change nothing then', async () => {
    const { disk, log } = await logOf(11);
    log.close();
    const segment = `${DIRECTORY}/commitlog/${String(800).padStart(20, '0')}`;
    const again = open(disk);
    disk.breakReads(segment, 600);
    expect(codeOf(() => again.read(logIndex(6), logIndex(6)))).to.equal('STORAGE_FAILED');
    expect(codeOf(() => again.cutTo(logIndex(6)))).to.equal('STORAGE_FAILED');
    expect(again.base.index).to.equal(0);
    again.cutTo(logIndex(3));
    disk.kill();
    for (const name of disk.list(`${DIRECTORY}/index`)) disk.lose(`${DIRECTORY}/index/${name}`);
    const before = contentOf(disk, `${DIRECTORY}/commitlog`);
    expect(codeOf(() => open(disk))).to.equal('STORAGE_FAILED');
    expect(contentOf(disk, `${DIRECTORY}/commitlog`)).to.deep.equal(before);
    for (const slot of [0, 4096]) disk.breakReads(`${DIRECTORY}/base`, slot);
    expect(codeOf(() => open(disk))).to.equal('STORAGE_FAILED');
  });

  it('does not take over a damaged checksum into the base', async () => {
    const { disk, log } = await logOf(11);
    log.close();
    const again = open(disk);
    const { position } = again.locate(logIndex(6));
    const path = `${DIRECTORY}/commitlog/${String(800).padStart(20, '0')}`;
    disk.corrupt(path, position - 800 + 36, Buffer.from('!!'));
    expect(codeOf(() => again.cutTo(logIndex(6)))).to.equal('DATA_CORRUPTED');
    expect(again.base.index).to.equal(0);
  });

  it('truncates down to the base, and goes on from there', async () => {
    const { disk, log } = await logOf(8);
    log.cutTo(logIndex(6));
    log.truncateAfter(logIndex(6));
    expect([log.lastIndex, log.flushedIndex, log.lastTerm]).to.deep.equal([6, 6, 3]);
    expect(log.shape.runs).to.deep.equal([]);
    log.close();
    const again = open(disk);
    expect(again.lastIndex).to.equal(6);
    append(again, [1, 2], 9);
    expect(again.locate(logIndex(7)).position).to.equal(1600);
    expectConsistent(again);
  });

  it('holds no file open that it has removed', async () => {
    const { disk, log } = await logOf(11);
    log.close();
    const openFiles = countOpenFiles(disk);
    const again = open(disk);
    const before = openFiles();
    again.cutTo(logIndex(6));
    expect(openFiles()).to.equal(before - 3 + 1); // two segments, one file of the log index; the base
    again.restart((await logOf(20)).log.tipAt(logIndex(18)));
    again.close();
    expect(openFiles()).to.equal(0);
  });
});

describe('the base of a log: beginning anew', () => {
  it('discards everything and goes on behind the base, as the log goes on that the base is from', async () => {
    const { log: leader } = await logOf(21);
    for (const own of [0, 2, 8, 30]) {
      const { disk, log } =
        own === 0 ? { disk: new MemoryDisk(), log: open(new MemoryDisk()) } : await logOf(own, {}, 7);
      log.restart(leader.tipAt(logIndex(18)));
      expect([log.lastIndex, log.flushedIndex, log.lastTerm]).to.deep.equal([18, 18, 9]);
      expect(log.lastChain).to.equal(leader.chainAt(logIndex(18)));
      if (own > 0) expect([names(disk, 'commitlog'), names(disk, 'index')]).to.deep.equal([[4800], []]);
      expectConsistent(log);
      replicate(leader, log);
      expect(recordsOf(log)).to.deep.equal(recordsOf(leader).slice(18));
      expect(log.locate(logIndex(19))).to.deep.equal(leader.locate(logIndex(19)));
      await log.flush();
      log.close();
      if (own === 0) continue;
      disk.crash({ mode: 'lost' });
      const again = open(disk);
      expect(recordsOf(again)).to.deep.equal(recordsOf(leader).slice(18));
      expect(names(disk, 'commitlog')).to.deep.equal([4800]);
      expectConsistent(again);
    }
  });

  it('is empty behind its base after opening again', async () => {
    const { log: leader } = await logOf(21);
    const { disk, log } = await logOf(8);
    log.restart(leader.tipAt(logIndex(9)));
    disk.crash({ mode: 'lost' });
    const again = open(disk);
    expect([again.firstIndex, again.lastIndex, again.flushedIndex]).to.deep.equal([10, 9, 9]);
    replicate(leader, again);
    expect(recordsOf(again)).to.deep.equal(recordsOf(leader).slice(9));
  });

  it('begins in the segment behind the base, also with a record that would have fitted before', async () => {
    const roomy = { segmentSizeBytes: 900 };
    const { log: other } = await logOf(21, roomy);
    const [leader, follower] = [open(new MemoryDisk(), roomy), open(new MemoryDisk(), roomy)];
    for (const log of [leader, follower]) log.restart(other.tipAt(logIndex(9)));
    append(leader, [1], 9);
    replicate(leader, follower);
    for (const log of [leader, follower]) expect(log.locate(logIndex(10)).position).to.equal(2700);
  });

  it('leaves no trace of the old log in any slot when it finishes after a crash', async () => {
    const { log: leader } = await logOf(21);
    const { disk, log } = await logOf(14, {}, 7);
    disk.onOperation = ({ kind, path }) => {
      if (kind === 'remove' && path.includes('/commitlog/')) throw new Error('crash');
    };
    expect(() => log.restart(leader.tipAt(logIndex(9)))).to.throw('crash');
    disk.crash({ mode: 'lost' });
    open(disk);
    disk.crash({ mode: 'lost' });
    for (const file of ['base', 'checkpoint']) {
      for (const slot of [0, 4096]) {
        const copy = disk.clone();
        copy.corrupt(`${DIRECTORY}/${file}`, slot + 30, Buffer.from('!'));
        const again = open(copy);
        expect([again.base.index, again.lastIndex]).to.deep.equal([9, 9]);
      }
    }
  });

  it('refuses records that do not continue the chain of the base', async () => {
    const { log: leader } = await logOf(21);
    const { log } = await logOf(2);
    log.restart({ ...leader.tipAt(logIndex(9)), chainCrc: 1 });
    const range = leader.read(logIndex(10), logIndex(10));
    expect(codeOf(() => log.appendSealed(range.buffer, range.start, range.end))).to.equal('DATA_CORRUPTED');
  });

  it('notices on opening when the first record does not continue the chain of the base', async () => {
    const { log: leader } = await logOf(21);
    const { disk, log } = await logOf(2);
    log.restart(leader.tipAt(logIndex(9)));
    replicate(leader, log);
    await log.flush();
    disk.crash({ mode: 'lost' });
    const other = new MemoryDisk();
    const strange = open(other);
    strange.restart({ ...leader.tipAt(logIndex(9)), chainCrc: 1 });
    for (const path of [`${DIRECTORY}/base`]) disk.corrupt(path, 0, other.bytes(path));
    for (const name of disk.list(`${DIRECTORY}/index`)) disk.remove(`${DIRECTORY}/index/${name}`);
    expect(() => open(disk))
      .to.throw('the chain is broken')
      .with.property('code', 'DATA_CORRUPTED');
  });

  it('vouches for nothing that a flush or a checkpoint under way was to cover', async () => {
    const { log: leader } = await logOf(21);
    const { disk, log } = await logOf(11);
    const finishers: (() => void)[] = [];
    append(log, [BODY_BYTES], 6);
    disk.deferFlush = (finish) => finishers.push(finish);
    const flushing = log.flush();
    const advancing = log.advanceCheckpoint();
    log.restart(leader.tipAt(logIndex(9)));
    for (let count = 0; count < 3; count++) {
      for (const finish of finishers.splice(0)) finish();
      await Promise.resolve();
      await new Promise(setImmediate);
    }
    expect((await flushing).index).to.equal(9);
    await advancing;
    expect(log.flushedIndex).to.equal(9);
    disk.crash({ mode: 'lost' });
    expect(open(disk).lastIndex).to.equal(9);
  });

  it('never goes back to an earlier base', async () => {
    const { log: leader } = await logOf(21);
    const { log } = await logOf(2);
    log.restart(leader.tipAt(logIndex(9)));
    expect(() => log.restart(leader.tipAt(logIndex(6)))).to.throw('moved');
  });
});
