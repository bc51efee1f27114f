// Reads of old data by consumers: the same bytes as ever, few at a time, one chunk ahead, and never in the tail's way.
import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type PhysicalOffset, physicalOffset } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { ColdGate, ColdPace, RECENT_BYTES } from '../../src/storage/cold_gate.ts';
import type { ColdReads } from '../../src/storage/cold_reads.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { append, openLog, SEGMENT_BYTES } from './log_fixture.ts';

const CHUNK_BYTES = 512;
const CACHE_BYTES = 4 * CHUNK_BYTES;

/** A log of which only the last bytes are in memory. */
function coldLog(disk: MemoryDisk, readsMax = 2): CommitLog {
  const cold = { chunkBytes: CHUNK_BYTES, cacheBytesMax: CACHE_BYTES, readsMax, bytesPerSecond: 0 };
  return openLog(disk, { cacheBytesMax: CHUNK_BYTES, cold });
}

/** Records of 100 bytes. */
function fill(log: CommitLog, count: number, seed = 1): void {
  for (let at = 0; at < count; at++) append(log, [52], 1, seed + at);
}

/** Where record `index` lies. */
const placeOf = (log: CommitLog, index: number) => log.locate(logIndex(index));

async function readOf(log: CommitLog, position: PhysicalOffset, sizeBytes: number): Promise<Buffer> {
  const target = Buffer.alloc(sizeBytes);
  await log.cold.fill(position, target);
  return target;
}

/** Holds asynchronous reads back until `release`; counts those under way. */
class HeldReads {
  readonly waiting: (() => void)[] = [];
  /** Most that were under way at a time. */
  peak = 0;
  /** All that ever began. */
  begun = 0;

  constructor(disk: MemoryDisk) {
    disk.deferRead = (finish) => {
      this.begun++;
      this.waiting.push(finish);
      this.peak = Math.max(this.peak, this.waiting.length);
    };
  }

  /** Finishes the oldest ones, and lets what waited for them go on. */
  async release(count = 1): Promise<void> {
    for (const finish of this.waiting.splice(0, count)) finish();
    await settled();
  }
}

async function settled(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return error instanceof TLedgerError ? error.code : String(error);
}

describe('Cold reads', () => {
  it('give the bytes that lie there, whatever range of a segment is asked for', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 200);
    const random = new SeededRandom(7);
    for (let round = 0; round < 500; round++) {
      const segment = SEGMENT_BYTES * random.between(0, Math.floor(log.endPosition / SEGMENT_BYTES));
      const room = Math.min(SEGMENT_BYTES, log.endPosition - segment);
      const from = random.between(0, room - 1);
      const size = 1 + random.between(0, room - from - 1);
      const position = physicalOffset(segment + from);
      expect((await readOf(log, position, size)).equals(log.readAt(position, size)), `${position}+${size}`).to.equal(
        true,
      );
    }
    log.close();
  });

  it('give the right bytes to many readers at once, out of few buffers', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk, 3);
    fill(log, 200);
    const random = new SeededRandom(11);
    const waiting: (() => void)[] = [];
    disk.deferRead = (finish) => waiting.push(finish);
    const wrong: string[] = [];
    const reader = async (): Promise<void> => {
      for (let round = 0; round < 20; round++) {
        const segment = SEGMENT_BYTES * random.between(0, 3);
        const from = random.between(0, SEGMENT_BYTES - 2);
        const size = random.between(1, Math.min(SEGMENT_BYTES - from, 3 * CHUNK_BYTES));
        const position = physicalOffset(segment + from);
        const found = await readOf(log, position, size);
        if (!found.equals(log.readAt(position, size))) wrong.push(`${position}+${size}`);
      }
    };
    let isOver = false;
    const all = Promise.all(Array.from({ length: 40 }, reader)).finally(() => {
      isOver = true;
    });
    let kept = 0;
    while (!isOver) {
      // In any order.
      for (const finish of waiting.splice(random.between(0, waiting.length), 1)) finish();
      if (waiting.length === 0) await settled();
      else await Promise.resolve();
      kept = Math.max(kept, (log.cold as ColdReads).cachedBytes);
    }
    await all;
    expect(wrong).to.deep.equal([]);
    expect(kept).to.equal(CACHE_BYTES);
    log.close();
  });

  it('are at most so many at a time, in the order in which they were asked for', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk, 2);
    fill(log, 200);
    const reads = new HeldReads(disk);
    const done: number[] = [];
    // Every second chunk, backwards: nobody reads on.
    const asked = Array.from({ length: 10 }, (_, number) => number).map(async (number) => {
      await readOf(log, physicalOffset((20 - 2 * number) * CHUNK_BYTES), 10);
      done.push(number);
    });
    await settled();
    expect(reads.waiting).to.have.length(2);
    while (reads.waiting.length > 0) await reads.release();
    await Promise.all(asked);
    expect(done).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([reads.peak, reads.begun]).to.deep.equal([2, 10]);
    log.close();
  });

  it('keep nobody from appending and from reading the tail, which comes from memory', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 200);
    const reads = new HeldReads(disk);
    const cold = readOf(log, physicalOffset(0), 100);
    fill(log, 5, 900);
    const steps = disk.operationCount;
    for (const index of [202, 203, 204, 205]) {
      const { position, sizeBytes } = placeOf(log, index);
      const held = log.cold.held(position, sizeBytes);
      expect(held?.equals(await readOf(log, position, sizeBytes))).to.equal(true);
    }
    expect(disk.operationCount, 'the disk was not asked').to.equal(steps);
    expect(reads.waiting).to.have.length(1);
    await reads.release();
    expect(await cold).to.have.length(100);
    log.close();
  });

  it('need not be done for what several batches in memory hold, up to where a segment ends', () => {
    const disk = new MemoryDisk();
    const log = openLog(disk, { cacheBytesMax: 4 * SEGMENT_BYTES });
    fill(log, 100);
    const steps = disk.operationCount;
    const places = Array.from({ length: 100 }, (_, at) => placeOf(log, at + 1));
    const all = places.map(({ position, sizeBytes }) => Buffer.from(log.cold.held(position, sizeBytes)!));
    let segments = 1;
    for (let from = 0; from < 100; from++) {
      for (let to = from + 1; to < 100; to++) {
        const [first, last] = [places[from]!, places[to]!];
        // From the middle of one record to the middle of another.
        const [position, end] = [first.position + 30, last.position + 70];
        const held = log.cold.held(physicalOffset(position), end - position);
        const isOne = Math.floor(first.position / SEGMENT_BYTES) === Math.floor(last.position / SEGMENT_BYTES);
        if (!isOne) segments = Math.max(segments, 2);
        const wanted = Buffer.concat(all.slice(from, to + 1)).subarray(30, end - first.position);
        expect(held === null ? null : held.equals(wanted), `${from} to ${to}`).to.equal(isOne ? true : null);
      }
    }
    expect(segments, 'the log has several segments').to.equal(2);
    expect(log.cold.held(places[99]!.position, 101), 'behind the end').to.equal(null);
    expect(disk.operationCount, 'the disk was not asked').to.equal(steps);
    log.close();
  });

  it('read one chunk ahead of whoever reads on, and each chunk once', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 200);
    const reads = new HeldReads(disk);
    const chunks = 16;
    for (let chunk = 0; chunk < chunks; chunk++) {
      const begunBefore = reads.begun;
      for (let at = 0; at < CHUNK_BYTES; at += 128) {
        const read = readOf(log, physicalOffset(chunk * CHUNK_BYTES + at), 128);
        while (reads.waiting.length > 0) await reads.release();
        await read;
      }
      // The first two are asked for; from the second on the next one is on its way already.
      expect(reads.begun - begunBefore, `chunk ${chunk}`).to.equal(chunk === 0 ? 1 : chunk === 1 ? 2 : 1);
    }
    expect(reads.begun).to.equal(chunks + 1);
    log.close();
  });

  it('read nothing ahead for who jumps about, nor while others wait for the disk', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk, 1);
    fill(log, 200);
    const reads = new HeldReads(disk);
    for (const chunk of [0, 5, 2, 9, 4]) {
      const read = readOf(log, physicalOffset(chunk * CHUNK_BYTES), 10);
      while (reads.waiting.length > 0) await reads.release();
      await read;
    }
    expect(reads.begun).to.equal(5);
    const others = [12, 18].map((chunk) => readOf(log, physicalOffset(chunk * CHUNK_BYTES), 10));
    const on = readOf(log, physicalOffset(5 * CHUNK_BYTES), 10);
    while (reads.waiting.length > 0) await reads.release();
    await Promise.all([...others, on]);
    expect(reads.begun, '12, 18 and 5; not 6').to.equal(8);
    log.close();
  });

  it('do not show bytes that a truncation removed', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 30);
    const { position, sizeBytes } = placeOf(log, 12);
    // The chunk of record 12 holds records behind it, too.
    await readOf(log, position, sizeBytes);
    log.truncateAfter(logIndex(12));
    fill(log, 30, 500);
    for (let index = 10; index <= 20; index++) {
      const place = placeOf(log, index);
      const found = await readOf(log, place.position, place.sizeBytes);
      expect(found.equals(log.readAt(place.position, place.sizeBytes)), `record ${index}`).to.equal(true);
    }
    log.close();
  });

  it('fail alone: a read error or a short file concerns who asked, and is tried again', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 30);
    disk.failAt(1, 'EIO');
    expect(await failureOf(readOf(log, physicalOffset(0), 100))).to.equal('STORAGE_FAILED');
    expect(await readOf(log, physicalOffset(0), 100)).to.have.length(100);
    fill(log, 1);
    log.close();
  });

  it('are refused when the log closes, and find nothing where it was cut', async () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk, 1);
    fill(log, 100);
    await log.flush();
    const reads = new HeldReads(disk);
    const first = readOf(log, physicalOffset(0), 10);
    const second = failureOf(readOf(log, physicalOffset(6 * CHUNK_BYTES), 10));
    log.cutTo(log.boundaryBelow(log.lastIndex)!);
    await reads.release();
    expect(await first, 'what has begun ends well').to.have.length(10);
    expect(await second).to.equal('DATA_CORRUPTED');
    const last = Math.floor((log.endPosition - 1_000) / CHUNK_BYTES);
    const late = [last, last - 1].map((chunk) => readOf(log, physicalOffset(chunk * CHUNK_BYTES), 10));
    const codes = Promise.all(late.map(failureOf));
    log.close();
    while (reads.waiting.length > 0) await reads.release();
    expect(await codes).to.deep.equal(['null', 'SHUTTING_DOWN']);
  });
});

describe('CommitLog.damageAt', () => {
  it('tells a damaged record from a sound one, and from a place where none begins', () => {
    const disk = new MemoryDisk();
    const log = coldLog(disk);
    fill(log, 100);
    const { position } = placeOf(log, 50);
    expect(log.damageAt(position)).to.equal(null);
    for (const at of [20, 60]) {
      const { file } = damageIn(disk, log, 50, at);
      expect(log.damageAt(position)).to.include({ kind: 'log', file, position, index: 50 });
      damageIn(disk, log, 50, at);
    }
    expect(log.damageAt(physicalOffset(position + 1))).to.equal(null);
    expect(log.damageAt(placeOf(log, 100).position), 'what is in memory is looked at on the disk').to.equal(null);
    expect(log.damageAt(placeOf(log, 1).position)).to.equal(null);
    log.close();
  });

  /** Flips a bit of record `index`, on the disk. */
  function damageIn(disk: MemoryDisk, log: CommitLog, index: number, at: number): { file: string } {
    const { position } = placeOf(log, index);
    const path = `/group/commitlog/${String(position - (position % SEGMENT_BYTES)).padStart(20, '0')}`;
    const file = disk.open(path);
    const byte = Buffer.alloc(1);
    file.read(byte, (position % SEGMENT_BYTES) + at);
    byte[0]! ^= 1;
    file.write(byte, (position % SEGMENT_BYTES) + at);
    file.close();
    return { file: path };
  }
});

describe('ColdGate', () => {
  it('lets the next one in when one fails', async () => {
    const gate = new ColdGate(1);
    const order: string[] = [];
    const failing = gate.run(async () => {
      await settled();
      throw new Error('no');
    });
    const next = gate.run(async () => order.push('next'));
    expect(gate.isFree).to.equal(false);
    await failing.catch(() => order.push('failed'));
    await next;
    expect(order.sort()).to.deep.equal(['failed', 'next']);
    expect(gate.isFree).to.equal(true);
  });
});

describe('ColdPace', () => {
  it('holds readers back while the log grows, and only then', async () => {
    const clock = new ManualClock();
    let end = 0;
    const pace = new ColdPace({ clock, bytesPerSecond: 1_000_000, endPosition: () => end });
    const grow = (bytes: number): void => {
      end += bytes;
      clock.advance(100);
    };
    grow(RECENT_BYTES);
    grow(0);
    for (let round = 0; round < 100; round++) expect(pace.take(0, 1_000_000)).to.equal(undefined);
    grow(10_000_000);
    expect(pace.take(0, 500_000), 'the first one after a while need not wait').to.equal(undefined);
    const served: string[] = [];
    void pace.take(0, 250_000)?.then(() => served.push('a'));
    void pace.take(0, 250_000)?.then(() => served.push('b'));
    clock.advance(499);
    await settled();
    expect(served).to.deep.equal([]);
    clock.advance(1);
    await settled();
    expect(served).to.deep.equal(['a']);
    clock.advance(250);
    await settled();
    expect(served).to.deep.equal(['a', 'b']);
    grow(0);
    grow(0);
    for (let round = 0; round < 100; round++) expect(pace.take(0, 1_000_000)).to.equal(undefined);
  });

  it('holds nobody back from what was appended a short while ago', () => {
    const clock = new ManualClock();
    let end = 10 * RECENT_BYTES;
    const pace = new ColdPace({ clock, bytesPerSecond: 1_000, endPosition: () => end });
    clock.advance(100);
    end += 10_000_000;
    for (let round = 0; round < 100; round++) expect(pace.take(end - RECENT_BYTES, 1e6)).to.equal(undefined);
    expect(pace.take(end - RECENT_BYTES - 1, 1_000), 'the first one').to.equal(undefined);
    expect(pace.take(end - RECENT_BYTES - 1, 1_000)).to.be.a('promise');
  });

  it('has no bound when it is given none', () => {
    const clock = new ManualClock();
    let end = 0;
    const pace = new ColdPace({ clock, bytesPerSecond: 0, endPosition: () => end });
    for (let round = 0; round < 10; round++) {
      end += 1e9;
      clock.advance(100);
      expect(pace.take(0, 1e9)).to.equal(undefined);
    }
  });
});
