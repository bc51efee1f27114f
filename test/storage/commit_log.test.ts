import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { indexAt, physicalOffset, positionAt, RECORD_HEADER_BYTES, sizeAt } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { verifyRecords } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import {
  append,
  blankBatch,
  codeOf,
  contentOf,
  DIRECTORY,
  expectConsistent,
  openLog,
  recordsOf,
  replicate,
  SEGMENT_BYTES,
} from './log_fixture.ts';

const caches = [
  ['from the cache', {}],
  ['from files', { cacheBytesMax: 0 }],
  ['from both', { cacheBytesMax: 3000 }],
] as const;

/** A log of some segments: 40 batches of 1 to 5 records of up to 900 bytes, terms 1, 1, 3, 4 … */
function filledLog(disk = new MemoryDisk(), options = {}) {
  const log = openLog(disk, options);
  for (let batch = 0; batch < 40; batch++) {
    const sizes = Array.from({ length: 1 + (batch % 5) }, (_, number) => (batch * 131 + number * 377) % 900);
    append(log, sizes, 1 + Math.floor(batch / 7) * 2, batch);
  }
  return log;
}

describe('commit log: appending', () => {
  it('is empty at first', () => {
    const log = openLog(new MemoryDisk());
    expect(log.shape).to.deep.equal({ baseIndex: 0, baseTerm: 0, lastIndex: 0, runs: [] });
    const { firstIndex, lastIndex, lastTerm, lastChain, endPosition, flushedIndex, unflushedBytes } = log;
    expect({ firstIndex, lastIndex, lastTerm, lastChain, endPosition, flushedIndex, unflushedBytes }).to.deep.equal({
      firstIndex: 1,
      lastIndex: 0,
      lastTerm: 0,
      lastChain: 0,
      endPosition: 0,
      flushedIndex: 0,
      unflushedBytes: 0,
    });
    expect(log.termAt(logIndex(0))).to.equal(0);
    expect(log.chainAt(logIndex(0))).to.equal(0);
  });

  it('seals in place and returns the indexes it gave', () => {
    const log = openLog(new MemoryDisk());
    const { buffer, start, end } = blankBatch([10, 20]);
    expect(log.appendBlank(buffer, start, end, term(3))).to.deep.equal({ firstIndex: 1, lastIndex: 2 });
    expect(indexAt(buffer, start)).to.equal(1);
    expect(positionAt(buffer, start + sizeAt(buffer, start))).to.equal(58);
    expect(log.read(logIndex(1), logIndex(2)).buffer).to.equal(buffer);
    expect(log.lastTerm).to.equal(3);
  });

  it('fills a segment to the last byte that a filler leaves, and no further', () => {
    for (const [bodySize, segments] of [
      [SEGMENT_BYTES - 8 - 100 - 48, 1],
      [SEGMENT_BYTES - 8 - 100 - 47, 2],
    ] as const) {
      const disk = new MemoryDisk();
      const log = openLog(disk);
      append(log, [52, bodySize]);
      expect(disk.list(`${DIRECTORY}/commitlog`)).to.have.length(segments);
      expectConsistent(log);
    }
  });

  it('closes a segment with a filler that spans the room left', () => {
    const disk = new MemoryDisk();
    const log = openLog(disk);
    append(log, [100, 4000]);
    const [first, second] = disk.list(`${DIRECTORY}/commitlog`);
    expect([first, second]).to.deep.equal(['00000000000000000000', '00000000000000004096']);
    const bytes = disk.bytes(`${DIRECTORY}/commitlog/${first}`);
    expect(bytes.readInt32BE(148)).to.equal(-1);
    expect(bytes.readUInt32BE(152)).to.equal(SEGMENT_BYTES - 148);
    expect(bytes.subarray(156).equals(Buffer.alloc(SEGMENT_BYTES - 156))).to.equal(true);
    expect(log.locate(logIndex(2)).position).to.equal(SEGMENT_BYTES);
  });

  it('takes a record of exactly the largest size and refuses a larger one', () => {
    const log = openLog(new MemoryDisk());
    expect(log.recordBytesMax).to.equal(SEGMENT_BYTES - 8);
    append(log, [10, log.recordBytesMax - 48]);
    expectConsistent(log);
    expect(() => append(log, [log.recordBytesMax - 47])).to.throw(InvariantError, 'a record exceeds 4088 bytes');
  });

  it('gives out the parts of a batch that lies in several segments', () => {
    const log = openLog(new MemoryDisk());
    const batch = blankBatch([1500, 1500, 1500, 1500, 1500]);
    log.appendBlank(batch.buffer, batch.start, batch.end, term(1));
    for (const [first, last] of [
      [1, 2],
      [3, 4],
      [5, 5],
      [2, 5],
    ] as const) {
      const { buffer, start, end } = log.read(logIndex(first), logIndex(last));
      expect(indexAt(buffer, start)).to.equal(first);
      expect(end - start).to.equal((last - first + 1) * 1548);
      expect(buffer.buffer === batch.buffer.buffer, `${first} to ${last} uncopied`).to.equal(first > 2 || last < 3);
    }
    expectConsistent(log);
  });

  it('gives out any part of one batch without copying it', () => {
    const log = openLog(new MemoryDisk());
    const { buffer, start, end } = blankBatch([10, 20, 30]);
    log.appendBlank(buffer, start, end, term(1));
    for (const [first, last] of [
      [1, 3],
      [1, 1],
      [2, 3],
    ] as const) {
      const range = log.read(logIndex(first), logIndex(last));
      expect(range.buffer.buffer).to.equal(buffer.buffer);
    }
  });

  it('refuses what its caller must never hand in, before anything is written', () => {
    const mistakes: readonly [string, (log: ReturnType<typeof openLog>) => void][] = [
      ['at least one record', (log) => log.appendBlank(Buffer.alloc(64), 64, 64, term(2))],
      ['unknown magic 0', (log) => log.appendBlank(Buffer.alloc(164), 64, 164, term(2))],
      ['is whole', (log) => log.appendBlank(blankBatch([50, 50]).buffer, 64, 64 + 97, term(2))],
      ['term 1 is behind 2', (log) => append(log, [1], 1)],
    ];
    for (const [reason, mistake] of mistakes) {
      const disk = new MemoryDisk();
      const log = openLog(disk);
      append(log, [5], 2);
      const before = contentOf(disk, DIRECTORY);
      expect(() => mistake(log)).to.throw(InvariantError, reason);
      expect(contentOf(disk, DIRECTORY)).to.deep.equal(before);
    }
  });
});

describe('commit log: a follower', () => {
  for (const bytesMax of [1, 500, 5000, 1_000_000]) {
    it(`has byte-identical segments, fed in pieces of up to ${bytesMax} bytes`, () => {
      for (const [, options] of caches) {
        const disk = new MemoryDisk();
        const followerDisk = new MemoryDisk();
        const leader = filledLog(disk, options);
        const follower = openLog(followerDisk, options);
        replicate(leader, follower, bytesMax);
        expectConsistent(follower);
        expect(contentOf(followerDisk, `${DIRECTORY}/commitlog`)).to.deep.equal(
          contentOf(disk, `${DIRECTORY}/commitlog`),
        );
        expect(follower.shape).to.deep.equal(leader.shape);
        leader.close();
        follower.close();
        expect(contentOf(followerDisk, `${DIRECTORY}/index`)).to.deep.equal(contentOf(disk, `${DIRECTORY}/index`));
      }
    });
  }

  it('stays byte-identical after a suffix was replaced, also across segments', () => {
    for (const keep of [0, 1, 30, 60, 100]) {
      const [disk, followerDisk] = [new MemoryDisk(), new MemoryDisk()];
      const leader = filledLog(disk);
      const follower = openLog(followerDisk);
      replicate(leader, follower);
      leader.truncateAfter(logIndex(keep));
      follower.truncateAfter(logIndex(keep));
      for (let batch = 0; batch < 9; batch++) append(leader, [700, batch, 333], 50, batch);
      replicate(leader, follower);
      expectConsistent(follower);
      expect(contentOf(followerDisk, `${DIRECTORY}/commitlog`)).to.deep.equal(
        contentOf(disk, `${DIRECTORY}/commitlog`),
      );
    }
  });

  it('refuses the same records twice and records that leave a gap', () => {
    const leader = filledLog();
    const follower = openLog(new MemoryDisk());
    const range = leader.read(logIndex(1), logIndex(3));
    follower.appendSealed(range.buffer, range.start, range.end);
    expect(() => follower.appendSealed(range.buffer, range.start, range.end)).to.throw(InvariantError, 'right behind');
    const later = leader.read(logIndex(5), logIndex(6));
    expect(() => follower.appendSealed(later.buffer, later.start, later.end)).to.throw(InvariantError, 'right behind');
    expect(follower.lastIndex).to.equal(3);
    replicate(leader, follower);
  });

  it('refuses records of another chain, though they would fit, and goes on with the right ones', () => {
    const [leader, other] = [openLog(new MemoryDisk()), openLog(new MemoryDisk())];
    append(leader, [50, 50, 50, 50], 1, 1);
    append(other, [50, 50, 50, 50], 1, 2);
    const follower = openLog(new MemoryDisk());
    const prefix = leader.read(logIndex(1), logIndex(2));
    follower.appendSealed(prefix.buffer, prefix.start, prefix.end);
    const foreign = other.read(logIndex(3), logIndex(4));
    expect(codeOf(() => follower.appendSealed(foreign.buffer, foreign.start, foreign.end))).to.equal('DATA_CORRUPTED');
    expect(follower.lastIndex).to.equal(2);
    replicate(leader, follower);
    expectConsistent(follower);
  });

  it('refuses records laid out with another segment size, before anything is written', () => {
    const leader = filledLog(new MemoryDisk(), { segmentSizeBytes: 2 * SEGMENT_BYTES });
    const disk = new MemoryDisk();
    const follower = openLog(disk);
    const before = contentOf(disk, DIRECTORY);
    const { buffer, start, end } = leader.read(logIndex(1), leader.lastIndex);
    expect(codeOf(() => follower.appendSealed(buffer, start, end))).to.equal('DATA_CORRUPTED');
    expect(contentOf(disk, DIRECTORY)).to.deep.equal(before);
    expect(follower.lastIndex).to.equal(0);
  });
});

describe('commit log: reading', () => {
  it('fits what is left of a large batch as it is, and gathers what is small', () => {
    const log = openLog(new MemoryDisk(), { segmentSizeBytes: 1024 * 1024 });
    append(log, [20_000, 20_000, 20_000]);
    append(log, [10]);
    const lastOf = (first: number) => log.fit(logIndex(first), 1_000_000).lastIndex;
    expect([1, 2, 3, 4].map(lastOf)).to.deep.equal([3, 3, 4, 4]);
  });

  for (const [source, options] of caches) {
    it(`answers every question consistently, ${source}`, () => {
      expectConsistent(filledLog(new MemoryDisk(), options));
    });

    it(`gives any range as contiguous verified records, ${source}`, () => {
      const log = filledLog(new MemoryDisk(), options);
      for (let first = 1; first <= log.lastIndex; first += 3) {
        for (let last = first; last <= log.lastIndex; last += 7) {
          const range = log.read(logIndex(first), logIndex(last));
          const verified = verifyRecords(range.buffer, range.start, range.end, range);
          expect(verified.lastIndex).to.equal(last);
          expect(verified.count).to.equal(last - first + 1);
        }
      }
    });

    it(`fits as many records as the bytes allow, at least one, ${source}`, () => {
      const log = filledLog(new MemoryDisk(), options);
      const sizes = [0];
      for (let at = 1; at <= log.lastIndex; at++) sizes.push(log.locate(logIndex(at)).sizeBytes);
      for (let first = 1; first <= log.lastIndex; first++) {
        for (const bytesMax of [0, sizes[first]!, sizes[first]! + 1, 2500, 10_000, 1_000_000]) {
          let last = first;
          let total = sizes[first]!;
          while (last < log.lastIndex && total + sizes[last + 1]! <= bytesMax) total += sizes[++last]!;
          expect(log.fit(logIndex(first), bytesMax), `${first} ${bytesMax}`).to.deep.equal({
            lastIndex: last,
            sizeBytes: total,
          });
        }
      }
    });

    it(`reads any stretch of a segment by position, ${source}`, () => {
      const disk = new MemoryDisk();
      const log = filledLog(disk, options);
      for (let at = 1; at + 3 <= log.lastIndex; at++) {
        const from = log.locate(logIndex(at)).position;
        const { position, sizeBytes } = log.locate(logIndex(at + 3));
        const segment = Math.floor(from / SEGMENT_BYTES) * SEGMENT_BYTES;
        if (position + sizeBytes > segment + SEGMENT_BYTES) continue;
        const file = disk.bytes(`${DIRECTORY}/commitlog/${String(segment).padStart(20, '0')}`);
        const expected = file.subarray(from - segment, position + sizeBytes - segment);
        expect(log.readAt(from, expected.length).equals(expected)).to.equal(true);
      }
      expect(codeOf(() => log.readAt(log.endPosition, 1))).to.equal('DATA_CORRUPTED');
      expect(codeOf(() => log.readAt(physicalOffset(100), SEGMENT_BYTES))).to.equal('DATA_CORRUPTED');
    });
  }

  it('hands out a large cached batch as it is, though more would fit', () => {
    const log = openLog(new MemoryDisk(), { segmentSizeBytes: 1_000_000 });
    append(log, [40_000]);
    const { buffer, start, end } = blankBatch([20_000, 20_000]);
    log.appendBlank(buffer, start, end, term(1));
    append(log, [10]);
    expect(log.fit(logIndex(2), 1_000_000).lastIndex).to.equal(3);
    expect(log.read(logIndex(2), logIndex(3)).buffer).to.equal(buffer);
    expect(log.fit(logIndex(2), 30_000).lastIndex).to.equal(2);
    expect(log.fit(logIndex(3), 1_000_000).lastIndex).to.equal(4);
  });

  it('refuses questions about records that it does not hold', () => {
    const log = filledLog();
    const behind = logIndex(log.lastIndex + 1);
    for (const ask of [
      () => log.locate(behind),
      () => log.locate(logIndex(0)),
      () => log.read(logIndex(2), logIndex(1)),
      () => log.read(behind, behind),
      () => log.fit(behind, 1),
      () => log.termAt(behind),
      () => log.chainAt(behind),
    ]) {
      expect(ask).to.throw(InvariantError, 'outside the log');
    }
  });

  it('tells damage instead of handing it on, for every byte of a record', () => {
    const disk = new MemoryDisk();
    const log = filledLog(disk, { cacheBytesMax: 0 });
    const { position, sizeBytes } = log.locate(logIndex(40));
    const segment = Math.floor(position / SEGMENT_BYTES) * SEGMENT_BYTES;
    const path = `${DIRECTORY}/commitlog/${String(segment).padStart(20, '0')}`;
    for (let at = 0; at < sizeBytes; at++) {
      const inFile = position - segment + at;
      const byte = disk.bytes(path)[inFile]!;
      disk.corrupt(path, inFile, Buffer.of(byte ^ 0x40));
      expect(
        codeOf(() => log.read(logIndex(40), logIndex(40))),
        `byte ${at}`,
      ).to.equal('DATA_CORRUPTED');
      if (at < RECORD_HEADER_BYTES) {
        expect(
          codeOf(() => log.chainAt(logIndex(40))),
          `chain, byte ${at}`,
        ).to.equal('DATA_CORRUPTED');
      }
      disk.corrupt(path, inFile, Buffer.of(byte));
    }
    expectConsistent(log);
  });

  it('reads what is needed soon from memory, however little is kept else', () => {
    const disk = new MemoryDisk();
    const log = openLog(disk, { cacheBytesMax: 0 });
    append(log, [200, 200], 1);
    log.keepFrom(log.endPosition);
    const { position } = log.locate(logIndex(2));
    append(log, [200, 200], 1);
    append(log, [200, 200], 1);
    const [before, needed] = [log.read(logIndex(1), logIndex(2)), log.read(logIndex(3), logIndex(6))];
    expect(before.end).to.be.greaterThan(before.start);
    const path = `${DIRECTORY}/commitlog/${'0'.repeat(20)}`;
    disk.corrupt(path, position - 100, Buffer.alloc(1_000, 0xff));
    expect(codeOf(() => log.read(logIndex(1), logIndex(2)))).to.equal('DATA_CORRUPTED');
    const { buffer, start, end } = log.read(logIndex(3), logIndex(4));
    expect(
      buffer.subarray(start, end).equals(needed.buffer.subarray(needed.start, needed.start + end - start)),
    ).to.equal(true);
    log.keepFrom(log.endPosition);
    expect(codeOf(() => log.read(logIndex(3), logIndex(4)))).to.equal('DATA_CORRUPTED');
  });

  it('rebuilds a log index that was damaged while it is open', () => {
    const disk = new MemoryDisk();
    const log = filledLog(disk, { cacheBytesMax: 0 });
    const path = `${DIRECTORY}/index/${String(8 * 32).padStart(20, '0')}`;
    const before = disk.bytes(path);
    for (let at = 0; at < before.length; at += 5) {
      disk.corrupt(path, at, Buffer.of(before[at]! ^ 1));
      expectConsistent(log);
      expect(disk.bytes(path).equals(before)).to.equal(true);
    }
  });

  it('looks only at the segment of a lost unit, writes nothing but its units, and flushes them with the checkpoint', async () => {
    const disk = new MemoryDisk();
    const log = filledLog(disk, { cacheBytesMax: 0 });
    await log.flush();
    await log.advanceCheckpoint();
    const lost = logIndex(Math.floor(log.lastIndex / 2));
    const expected = log.locate(lost);
    const segment = Math.floor(expected.position / SEGMENT_BYTES) * SEGMENT_BYTES;
    const inSegment = (at: number) => Math.floor(log.locate(logIndex(at)).position / SEGMENT_BYTES) * SEGMENT_BYTES;
    const units = Array.from({ length: log.lastIndex }, (_, at) => at + 1).filter((at) => inSegment(at) === segment);
    const indexFile = (index: number) =>
      `${DIRECTORY}/index/${String(Math.floor((index - 1) / 8) * 256).padStart(20, '0')}`;
    const before = contentOf(disk, DIRECTORY);
    disk.corrupt(indexFile(lost), ((lost - 1) % 8) * 32, Buffer.alloc(32));
    const steps = new Set<string>();
    disk.onOperation = ({ kind, path }) => void steps.add(`${kind} ${path.replace(DIRECTORY, '')}`);
    expect(log.locate(lost)).to.deep.equal(expected);
    expect(contentOf(disk, DIRECTORY)).to.deep.equal(before);
    const segments = [...steps].filter((step) => step.includes('/commitlog/')).map((step) => Number(step.slice(-20)));
    // The segment before gives the checksum that this one goes on from.
    expect(new Set(segments)).to.deep.equal(new Set([segment - SEGMENT_BYTES, segment]));
    const changes = [...steps].filter((step) => !step.startsWith('read '));
    expect(new Set(changes)).to.deep.equal(new Set(units.map((at) => `write ${indexFile(at).replace(DIRECTORY, '')}`)));
    await log.advanceCheckpoint();
    for (const at of units) expect([...steps]).to.include(`flush ${indexFile(at).replace(DIRECTORY, '')}`);
    disk.crash({ mode: 'lost' });
    const again = openLog(disk);
    expect(again.recovery).to.deep.include({ indexRebuilt: false, scannedAfter: again.lastIndex });
    expectConsistent(again);
  });

  it('finds every record though the whole log index is lost while it is open, even after an append that failed', () => {
    for (const failing of [false, true]) {
      const disk = new MemoryDisk();
      const log = filledLog(disk, { cacheBytesMax: 0 });
      const before = contentOf(disk, `${DIRECTORY}/index`);
      if (failing) {
        disk.failAt(1, 'EIO');
        expect(codeOf(() => append(log, [10], 99))).to.equal('STORAGE_FAILED');
      }
      for (const path of Object.keys(before)) disk.corrupt(path, 0, Buffer.alloc(before[path]!.length));
      expectConsistent(log);
      expect(contentOf(disk, `${DIRECTORY}/index`)).to.deep.equal(before);
    }
  });

  it('says so when the log itself is damaged where a unit is lost', () => {
    const disk = new MemoryDisk();
    const log = filledLog(disk, { cacheBytesMax: 0 });
    const { position } = log.locate(logIndex(40));
    const segment = Math.floor(position / SEGMENT_BYTES) * SEGMENT_BYTES;
    disk.corrupt(
      `${DIRECTORY}/commitlog/${String(segment).padStart(20, '0')}`,
      position - segment + 8,
      Buffer.of(0xff),
    );
    disk.corrupt(`${DIRECTORY}/index/${String(4 * 256).padStart(20, '0')}`, 7 * 32, Buffer.alloc(32));
    expect(codeOf(() => log.locate(logIndex(40)))).to.equal('DATA_CORRUPTED');
    expect(log.locate(logIndex(39)).position).to.be.lessThan(position);
  });
});

describe('commit log: truncating', () => {
  for (const [source, options] of caches) {
    it(`is then the log that never had more, to the byte, ${source}`, () => {
      const full = filledLog().lastIndex;
      for (let keep = 0; keep <= full; keep += 7) {
        const disk = new MemoryDisk();
        const log = filledLog(disk, options);
        const before = recordsOf(log);
        log.truncateAfter(logIndex(keep));
        expect(recordsOf(log)).to.deep.equal(before.slice(0, keep));
        expectConsistent(log);
        const reference = new MemoryDisk();
        const shorter = openLog(reference);
        const whole = filledLog();
        if (keep > 0) {
          const { buffer, start, end } = whole.read(logIndex(1), logIndex(keep));
          shorter.appendSealed(buffer, start, end);
        }
        expect(contentOf(disk, `${DIRECTORY}/commitlog`)).to.deep.equal(contentOf(reference, `${DIRECTORY}/commitlog`));
        append(log, [10, 2000, 3000], 90);
        append(shorter, [10, 2000, 3000], 90);
        expect(contentOf(disk, `${DIRECTORY}/commitlog`)).to.deep.equal(contentOf(reference, `${DIRECTORY}/commitlog`));
        expectConsistent(log);
      }
    });
  }

  it('does not give out a batch that a truncation has divided', () => {
    const log = openLog(new MemoryDisk());
    append(log, [10, 20, 30]);
    log.truncateAfter(logIndex(2));
    append(log, [30], 2, 5);
    const { buffer, start, end } = log.read(logIndex(1), logIndex(3));
    const { lastTerm } = verifyRecords(buffer, start, end, log.read(logIndex(1), logIndex(3)));
    expect(lastTerm).to.equal(2);
    expectConsistent(log);
  });

  it('refuses to truncate behind its end', () => {
    const log = filledLog();
    expect(() => log.truncateAfter(logIndex(log.lastIndex + 1))).to.throw(InvariantError);
    log.truncateAfter(log.lastIndex);
    expectConsistent(log);
  });

  it('never brings removed records back, whatever is appended after it and however it ends', async () => {
    for (const mode of ['kept', 'lost'] as const) {
      for (let extra = 0; extra < 6; extra++) {
        const disk = new MemoryDisk();
        const log = openLog(disk);
        append(log, [100, 100, 100, 100, 100, 100]);
        await log.flush();
        await log.advanceCheckpoint();
        log.truncateAfter(logIndex(2));
        // The same sizes again, so that removed records would lie exactly behind the new ones.
        for (let number = 0; number < extra; number++) append(log, [100], 2, number);
        const expected = recordsOf(log);
        log.close();
        disk.crash({ mode });
        expect(recordsOf(openLog(disk))).to.deep.equal(expected);
      }
    }
  });
});
