import { expect } from 'chai';
import { crc32 } from '../../src/base/crc.ts';
import { blankRecord, physicalOffset, sealRecord } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import {
  append,
  blankBatch,
  codeOf,
  contentOf,
  countOpenFiles,
  DIRECTORY,
  expectConsistent,
  openLog,
  recordsOf,
  replicate,
  SEGMENT_BYTES,
} from './log_fixture.ts';

const segmentPath = (number: number) => `${DIRECTORY}/commitlog/${String(number * SEGMENT_BYTES).padStart(20, '0')}`;
const checkpointPath = `${DIRECTORY}/checkpoint`;

/** A killed process whose last records were not flushed: `flushed` batches, then `unflushed` ones. */
function killedDisk(flushed: readonly (readonly number[])[], unflushed: readonly (readonly number[])[]): MemoryDisk {
  const disk = new MemoryDisk();
  const log = openLog(disk);
  flushed.forEach((sizes, number) => void append(log, sizes, 1, number));
  log.close();
  const again = openLog(disk);
  unflushed.forEach((sizes, number) => void append(again, sizes, 2, 100 + number));
  disk.kill();
  return disk;
}

/** What a clean process would find: records and where each ends. */
function readAll(disk: MemoryDisk): { records: string[]; ends: number[] } {
  const log = openLog(disk.clone());
  const ends = [0];
  for (let at = 1; at <= log.lastIndex; at++) {
    const { position, sizeBytes } = log.locate(logIndex(at));
    ends.push(position + sizeBytes);
  }
  return { records: recordsOf(log), ends };
}

/** A slot as a newer version of this software might have written it. */
function newerSlot(slot: Buffer): Buffer {
  const copy = Buffer.from(slot);
  copy.writeUInt32BE(2, 4);
  copy.writeUInt32BE(crc32(copy, 24, 96, crc32(copy, 0, 20)), 20);
  return copy;
}

/** Zeroes a file from `from` on, as if its last sectors had never arrived. */
function zeroFrom(disk: MemoryDisk, path: string, from: number): void {
  disk.corrupt(path, from, Buffer.alloc(Math.max(0, disk.bytes(path).length - from)));
}

describe('recovery: a torn tail', () => {
  const shapes: readonly [string, number[][], number[][]][] = [
    ['small records', [[10, 20, 30]], [[5, 0, 17], [40]]],
    ['records without a body', [[0]], [[0, 0, 0, 0]]],
    ['a first record ever', [], [[100]]],
    ['larger records', [[300]], [[520], [640, 40]]],
    ['the first records of a second segment', [[3900]], [[200, 100], [50]]],
    ['a segment filled to its end', [[3000]], [[SEGMENT_BYTES - 8 - 3048 - 48]]],
  ];
  for (const [name, flushed, unflushed] of shapes) {
    for (const fill of ['zeros', 'a shorter file', 'garbage'] as const) {
      it(`cut at every byte (${name}; ${fill} behind the cut) leaves exactly the whole records before`, () => {
        const disk = killedDisk(flushed, unflushed);
        const { records, ends } = readAll(disk);
        const flushedCount = flushed.flat().length;
        const path = disk.files().findLast((file) => file.includes('/commitlog/'))!;
        const start = Number(path.slice(-20));
        const bytes = disk.bytes(path);
        const to = ends.at(-1)! - start;
        for (let cut = Math.max(0, ends[flushedCount]! - start); cut <= to; cut++) {
          const torn = disk.clone();
          if (fill === 'zeros') zeroFrom(torn, path, cut);
          else if (fill === 'garbage') torn.corrupt(path, cut, Buffer.alloc(Math.max(0, to - cut), 0xa5));
          else torn.open(path).truncate(cut);
          // Zeros that were cut off and read as zeros again are not missing.
          let reach = cut;
          if (fill !== 'garbage') while (reach < to && bytes[reach] === 0) reach++;
          const whole = ends.findLastIndex((end) => end <= start + reach);
          const log = openLog(torn);
          expect(log.lastIndex, `cut at ${cut}`).to.equal(whole);
          expect(log.flushedIndex).to.equal(whole);
          expect(recordsOf(log)).to.deep.equal(records.slice(0, whole));
          if (cut % 16 !== 0 && cut !== to) continue;
          append(log, [33, 44], 3);
          expectConsistent(log);
          torn.kill();
          expect(openLog(torn).lastIndex).to.equal(whole + 2);
        }
      });
    }
  }

  it('of a closed segment goes together with the filler, so that a smaller record takes its place', () => {
    const disk = killedDisk([[3000]], [[2000]]);
    expect(disk.exists(segmentPath(1))).to.equal(true);
    zeroFrom(disk, segmentPath(1), 1000);
    const log = openLog(disk);
    expect(log.lastIndex).to.equal(1);
    expect(disk.exists(segmentPath(1))).to.equal(false);
    append(log, [500], 2);
    const reference = openLog(new MemoryDisk());
    replicate(log, reference);
    expect(log.locate(logIndex(2)).position).to.equal(3048);
    expectConsistent(log);
  });

  it('does not come back: what lay behind the cut is zeroed', () => {
    const disk = killedDisk([[10]], [[100], [100], [100]]);
    const { records } = readAll(disk);
    disk.corrupt(segmentPath(0), 58 + 20, Buffer.of(0xff));
    const log = openLog(disk);
    expect(log.lastIndex).to.equal(1);
    expect(log.recovery.bytesCut).to.equal(3 * 148);
    expect(disk.bytes(`${DIRECTORY}/index/${'0'.repeat(20)}`)).to.have.length(32);
    expect(
      disk
        .bytes(segmentPath(0))
        .subarray(58)
        .equals(Buffer.alloc(SEGMENT_BYTES - 58)),
    ).to.equal(true);
    // The very same record again: a replica that had kept the others would now find them valid.
    const { buffer, start, end } = blankBatch([100], 100);
    log.appendBlank(buffer, start, end, term(2));
    disk.kill();
    expect(recordsOf(openLog(disk))).to.deep.equal(records.slice(0, 2));
  });

  it('is found in records that are larger than what is read at once', () => {
    const options = { segmentSizeBytes: 8 * 1024 * 1024 };
    const disk = new MemoryDisk();
    const log = openLog(disk, options);
    append(log, [100, 2_500_000, 100, 1_048_528, 1_048_529]);
    disk.kill();
    const whole = openLog(disk.clone(), options);
    expect(whole.lastIndex).to.equal(5);
    const { position, sizeBytes } = whole.locate(logIndex(2));
    for (const at of [position + 60, position + 1_200_000, position + sizeBytes - 1]) {
      const copy = disk.clone();
      copy.corrupt(segmentPath(0), at, Buffer.of(copy.bytes(segmentPath(0))[at]! ^ 1));
      expect(openLog(copy, options).lastIndex).to.equal(1);
    }
  });

  it('makes durable what it keeps, even if a failed flush had left the page cache lying', async () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [100, 200]);
    disk.failAt(1, 'EIO');
    expect(await log.flush().catch((error) => error.code)).to.equal('STORAGE_FAILED');
    disk.kill();
    const records = recordsOf(openLog(disk));
    expect(records).to.have.length(2);
    disk.crash({ mode: 'lost' });
    expect(recordsOf(openLog(disk))).to.deep.equal(records);
  });

  it('makes durable what it keeps of segments that were closed while their flush was failing', async () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [100]);
    disk.failAt(1, 'EIO');
    const flushed = log.flush().catch((error) => error.code);
    append(log, [3000, 3000, 3000]);
    expect(await flushed).to.equal('STORAGE_FAILED');
    disk.kill();
    const records = recordsOf(openLog(disk));
    expect(records).to.have.length(4);
    disk.crash({ mode: 'lost' });
    expect(recordsOf(openLog(disk))).to.deep.equal(records);
  });
});

describe('recovery: corruption', () => {
  /** Three segments and a bit, checkpointed at the start of the third, flushed further, and then killed. */
  async function damagedable(): Promise<{ disk: MemoryDisk; records: string[] }> {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    for (let batch = 0; batch < 9; batch++) append(log, [600, 300], 1 + (batch >> 2), batch);
    await log.flush();
    await log.advanceCheckpoint();
    for (let batch = 0; batch < 3; batch++) append(log, [150, 10], 4, batch);
    await log.flush();
    const records = recordsOf(log);
    disk.kill();
    return { disk, records };
  }

  it('of any bit of a flushed record is refused at the start or when the record is read, never cut off', async () => {
    const { disk, records } = await damagedable();
    const lengths = { refused: 0, detected: 0 };
    const tail = openLog(disk.clone()).endPosition;
    for (let position = 0; position < tail; position += 3) {
      const path = segmentPath(Math.floor(position / SEGMENT_BYTES));
      const inFile = position % SEGMENT_BYTES;
      const copy = disk.clone();
      const byte = copy.bytes(path)[inFile]!;
      copy.corrupt(path, inFile, Buffer.of(byte ^ (1 << (position % 8))));
      let found: string[] | null = null;
      const code = codeOf(() => {
        const log = openLog(copy);
        expect(log.lastIndex, `position ${position}`).to.equal(records.length);
        found = recordsOf(log);
      });
      if (code === 'DATA_CORRUPTED') lengths[found === null ? 'refused' : 'detected']++;
      // What is left unnoticed lies between records: fillers, and the unused bytes behind them.
      else expect(found, `position ${position}: ${code}`).to.deep.equal(records);
    }
    expect(lengths.refused).to.be.greaterThan(100);
  });

  it('of the last record is refused after a clean end, too, when there is nothing to scan', () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [600, 300]);
    log.close();
    for (let at = 648; at < 996; at += 11) {
      const copy = disk.clone();
      copy.corrupt(segmentPath(0), at, Buffer.of(copy.bytes(segmentPath(0))[at]! ^ 2));
      // The unused bytes of a header are vouched for by the chain only, which is looked at when the record is read.
      const look = at < 696 ? () => recordsOf(openLog(copy)) : () => openLog(copy);
      expect(codeOf(look), `byte ${at}`).to.equal('DATA_CORRUPTED');
    }
    disk.remove(segmentPath(0));
    expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
  });

  it('is named by file, position and index', async () => {
    const { disk } = await damagedable();
    const { position } = openLog(disk.clone()).locate(logIndex(19));
    const path = segmentPath(Math.floor(position / SEGMENT_BYTES));
    disk.corrupt(path, (position % SEGMENT_BYTES) + 60, Buffer.of(0xaa, 0xbb));
    expect(() => openLog(disk)).to.throw(
      `${path} is damaged at position ${position}, where record 19 should be: the body does not match its checksum`,
    );
  });

  it('leaves the disk as it is', async () => {
    const { disk } = await damagedable();
    const { position } = openLog(disk.clone()).locate(logIndex(19));
    disk.corrupt(segmentPath(Math.floor(position / SEGMENT_BYTES)), (position % SEGMENT_BYTES) + 60, Buffer.of(0xaa));
    const before = contentOf(disk, `${DIRECTORY}/commitlog`);
    expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
    expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
    expect(contentOf(disk, `${DIRECTORY}/commitlog`)).to.deep.equal(before);
  });

  it('in a closed segment is refused even if nobody knows what was flushed', async () => {
    const { disk } = await damagedable();
    disk.remove(checkpointPath);
    disk.corrupt(segmentPath(0), 700, Buffer.of(0xaa));
    // Refused once, refused ever after: a first attempt leaves nothing behind that a second one would believe.
    for (let attempt = 1; attempt <= 2; attempt++) {
      expect(() => openLog(disk)).to.throw(`${segmentPath(0)} is damaged at position 648, where record 2 should be`);
      expect(disk.exists(checkpointPath)).to.equal(false);
    }
  });

  it('in a closed segment is refused after a start that died at any step without knowing what was flushed', async () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      const { disk } = await damagedable();
      disk.remove(checkpointPath);
      const from = disk.operationCount;
      disk.onOperation = ({ number }) => {
        if (number >= from + step) throw new Error('crash');
      };
      try {
        openLog(disk);
        isOver = true;
      } catch (error) {
        if ((error as Error).message !== 'crash') throw error;
      }
      disk.crash({ mode: 'kept' });
      disk.corrupt(segmentPath(0), 700, Buffer.of(0xaa));
      // Where the checkpoint has come about it vouches for that record, and its damage shows when it is read.
      const look = disk.exists(checkpointPath) ? () => recordsOf(openLog(disk)) : () => openLog(disk);
      expect(codeOf(look), `step ${step}`).to.equal('DATA_CORRUPTED');
    }
  });

  it('that replaced the whole log by another valid one is refused', async () => {
    const { disk } = await damagedable();
    const other = new MemoryDisk();
    const log = openLog(other);
    for (let batch = 0; batch < 9; batch++) append(log, [600, 300], 1 + (batch >> 2), batch + 1);
    for (let batch = 0; batch < 3; batch++) append(log, [150, 10], 4, batch);
    log.close();
    for (const path of other.files()) if (path.includes('/commitlog/')) disk.corrupt(path, 0, other.bytes(path));
    expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
  });

  const strange: readonly [string, (disk: MemoryDisk) => void][] = [
    ['the first segment is missing', (disk) => disk.remove(segmentPath(0))],
    ['a segment in the middle is missing', (disk) => disk.remove(segmentPath(1))],
    ['the last segment is missing', (disk) => disk.remove(segmentPath(2))],
    ['all segments are missing', (disk) => [0, 1, 2].map((number) => disk.remove(segmentPath(number)))],
    ['a segment is shorter than it can be', (disk) => disk.open(segmentPath(1)).truncate(SEGMENT_BYTES - 1)],
    ['a segment is longer than it can be', (disk) => disk.open(segmentPath(2)).truncate(SEGMENT_BYTES + 1)],
    ['a segment is empty', (disk) => disk.open(segmentPath(2)).truncate(0)],
    [
      'two segments are swapped',
      (disk) => {
        disk.rename(segmentPath(0), '/aside');
        disk.rename(segmentPath(1), segmentPath(0));
        disk.rename('/aside', segmentPath(1));
      },
    ],
    ['a segment is a copy of another', (disk) => disk.corrupt(segmentPath(1), 0, disk.bytes(segmentPath(0)))],
    [
      'a segment has a name between two others',
      (disk) => disk.open(`${segmentPath(0).slice(0, -2)}77`, { create: true }).truncate(SEGMENT_BYTES),
    ],
    ['an old state of the log came back', (disk) => zeroFrom(disk, segmentPath(2), 300)],
  ];
  for (const [what, damage] of strange) {
    it(`is refused: ${what}`, async () => {
      const { disk } = await damagedable();
      damage(disk);
      const openFileCount = countOpenFiles(disk);
      expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
      expect(openFileCount(), 'files left open').to.equal(0);
    });
  }

  it('or any other failure of opening leaves no file open', async () => {
    for (const isNew of [false, true]) {
      for (let step = 1, isOver = false; !isOver; step++) {
        const disk = isNew ? new MemoryDisk() : (await damagedable()).disk;
        const openFileCount = countOpenFiles(disk);
        disk.failAt(step, 'EIO');
        isOver = codeOf(() => openLog(disk)) === 'none';
        if (!isOver) expect(openFileCount(), `step ${step}`).to.equal(0);
      }
    }
  });

  it('of the format of the checkpoint leaves no file open', () => {
    const disk = killedDisk([[100]], []);
    // Version 2, with the checksum of the slot as it is then.
    for (const at of [0, 4096])
      disk.corrupt(checkpointPath, at, newerSlot(disk.bytes(checkpointPath).subarray(at, at + 96)));
    const openFileCount = countOpenFiles(disk);
    expect(codeOf(() => openLog(disk))).to.equal('DATA_DIR_FOREIGN');
    expect(openFileCount()).to.equal(0);
  });

  it('of a filler before the checkpoint does no harm, and is refused by the next scan of that segment', async () => {
    const { disk, records } = await damagedable();
    const log = openLog(disk.clone());
    const last = [...records.keys()].findLast((at) => log.locate(logIndex(at + 1)).position < 2 * SEGMENT_BYTES)!;
    const { position, sizeBytes } = log.locate(logIndex(last + 1));
    zeroFrom(disk, segmentPath(1), position + sizeBytes - SEGMENT_BYTES);
    expect(recordsOf(openLog(disk.clone()))).to.deep.equal(records);
    disk.remove(`${DIRECTORY}/index/${'0'.repeat(20)}`);
    expect(() => openLog(disk)).to.throw(`${segmentPath(1)} is damaged at position`);
    const wrongSize = Buffer.alloc(8, 0xff);
    wrongSize.writeUInt32BE(2 * SEGMENT_BYTES - position - sizeBytes - 1, 4);
    disk.corrupt(segmentPath(1), position + sizeBytes - SEGMENT_BYTES, wrongSize);
    expect(() => openLog(disk)).to.throw(`${segmentPath(1)} is damaged at position`);
  });

  it('is seen in a record that was sealed for another place, though its checksums hold', () => {
    const disk = new MemoryDisk();
    openLog(disk).close();
    const record = blankRecord(4, Buffer.from('elsewhere'));
    sealRecord(record, 0, { index: logIndex(1), term: term(1), position: physicalOffset(SEGMENT_BYTES), prevChain: 0 });
    disk.corrupt(segmentPath(0), 0, record);
    expect(openLog(disk).lastIndex).to.equal(0);
  });

  it('is not seen in files that are no segments', async () => {
    const { disk, records } = await damagedable();
    disk.open(`${DIRECTORY}/commitlog/lost+found`, { create: true });
    expect(recordsOf(openLog(disk))).to.deep.equal(records);
  });
});

describe('recovery: the log index', () => {
  const losses: readonly [string, (disk: MemoryDisk) => void][] = [
    [
      'all files are missing',
      (disk) =>
        disk
          .files()
          .filter((path) => path.includes('/index/'))
          .map((path) => disk.remove(path)),
    ],
    ['the first file is missing', (disk) => disk.remove(`${DIRECTORY}/index/${'0'.repeat(20)}`)],
    ['a file is short', (disk) => disk.open(`${DIRECTORY}/index/${String(256).padStart(20, '0')}`).truncate(100)],
    ['a file is zeroed', (disk) => zeroFrom(disk, `${DIRECTORY}/index/${'0'.repeat(20)}`, 0)],
    [
      'the last unit is damaged',
      (disk) => zeroFrom(disk, `${DIRECTORY}/index/${String(512).padStart(20, '0')}`, 3 * 32),
    ],
  ];
  for (const [what, lose] of losses) {
    it(`is made anew when ${what}`, () => {
      const disk = new MemoryDisk();
      const log = openLog(disk);
      for (let batch = 0; batch < 10; batch++) append(log, [600, 300], 1 + batch, batch);
      const records = recordsOf(log);
      log.close();
      const before = contentOf(disk, `${DIRECTORY}/index`);
      lose(disk);
      const again = openLog(disk);
      expect(recordsOf(again)).to.deep.equal(records);
      expectConsistent(again);
      expect(contentOf(disk, `${DIRECTORY}/index`)).to.deep.equal(before);
    });
  }

  it('with a unit that is valid but stands in the wrong place is not believed', () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    for (let batch = 0; batch < 4; batch++) append(log, [600], 1 + batch, batch);
    log.close();
    const path = `${DIRECTORY}/index/${'0'.repeat(20)}`;
    disk.corrupt(path, 32, disk.bytes(path).subarray(64, 96));
    expectConsistent(openLog(disk));
  });
});

describe('recovery: the checkpoint', () => {
  it('spares the scan of what it vouches for', () => {
    const disk = killedDisk([[100, 100], [100]], [[50], [60]]);
    const { recovery } = openLog(disk);
    expect(recovery).to.deep.include({ recordsScanned: 2, scannedAfter: 3, indexRebuilt: false, bytesCut: 0 });
    disk.kill();
    expect(openLog(disk).recovery).to.deep.include({ recordsScanned: 0, scannedAfter: 5 });
  });

  it('is exact after a killed process: it knows the last flush', async () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [100]);
    await log.flush();
    append(log, [100]);
    disk.kill();
    disk.corrupt(segmentPath(0), 60, Buffer.of(0xff));
    expect(codeOf(() => openLog(disk.clone()))).to.equal('DATA_CORRUPTED');
  });

  it('spares it after a power loss, too: the log index was flushed before', async () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [10, 10, 10]);
    await log.flush();
    await log.advanceCheckpoint();
    append(log, [10]);
    disk.crash({ mode: 'lost' });
    expect(openLog(disk).recovery).to.deep.include({ scannedAfter: 3, indexRebuilt: false });
    append(openLog(disk), [10, 10]);
    disk.kill();
    openLog(disk);
    disk.crash({ mode: 'lost' });
    expect(openLog(disk).recovery).to.deep.include({ scannedAfter: 5, indexRebuilt: false });
  });

  it('that is damaged costs a scan and nothing else', () => {
    for (const slots of [[0], [4096], [0, 4096]]) {
      const disk = killedDisk([[100, 100], [3900], [100]], [[50]]);
      const { records } = readAll(disk);
      for (const at of slots) disk.corrupt(checkpointPath, at + 30, Buffer.alloc(20, 0xff));
      const log = openLog(disk);
      expect(recordsOf(log)).to.deep.equal(records);
      expectConsistent(log);
    }
  });

  for (const keep of [1, 4]) {
    it(`does not vouch for records that were truncated after ${keep}, at whatever step the power goes`, async () => {
      for (let step = 1, isOver = false; !isOver; step++) {
        for (const mode of ['lost', 'kept'] as const) {
          const disk = new MemoryDisk();
          const log = openLog(disk);
          append(log, [100, 100, 3950, 100, 100]);
          await log.flush();
          await log.advanceCheckpoint();
          const from = disk.operationCount;
          disk.onOperation = ({ number }) => {
            if (number >= from + step) throw new Error('crash');
          };
          try {
            log.truncateAfter(logIndex(keep));
            append(log, [77], 2);
            isOver = true;
          } catch (error) {
            if ((error as Error).message !== 'crash') throw error;
          }
          disk.crash({ mode });
          expectConsistent(openLog(disk));
        }
      }
    });
  }
});
