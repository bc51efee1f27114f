import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { queueOffset } from '../../src/format/message.ts';
import { physicalOffset } from '../../src/format/record.ts';
import {
  type ConsumeQueue,
  ConsumeQueues,
  topicDirectory,
  UNIT_BYTES,
  UNITS_PER_FILE,
  unitPhysicalOffset,
  unitSizeBytes,
} from '../../src/storage/consume_queue.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { countOpenFiles } from './log_fixture.ts';

const FIRST_FILE = '00000000000000000000';
const SECOND_FILE = '00000000000006000000';

function queues(disk = new MemoryDisk(), openFilesMax = 16): ConsumeQueues {
  return new ConsumeQueues({ disk, directory: '/cq', openFilesMax });
}

const at = (min: number, max: number) => ({ min: queueOffset(min), max: queueOffset(max) });

/** Appends units that say their own offset. */
function append(queue: ConsumeQueue, count: number): void {
  for (let added = 0; added < count; added++) queue.append(physicalOffset(queue.max * 100 + 48), 91, -queue.max);
}

/** Appends and writes them. */
function fill(queue: ConsumeQueue, count: number): void {
  append(queue, count);
  queue.write();
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
}

describe('a consume queue', () => {
  it('stores units of 20 bytes as RocketMQ does (ROCKETMQ_GRPC.md 10.3), the tag hash sign-extended', () => {
    const disk = new MemoryDisk();
    const queue = queues(disk).queue('T', 7, at(0, 0));
    queue.append(physicalOffset(2 ** 40 + 3), 1_234, -862_545_276);
    queue.append(physicalOffset(48), 91, 2_598_919);
    queue.write();
    const bytes = disk.bytes(`/cq/T/7/${FIRST_FILE}`);
    expect(bytes.length).to.equal(40);
    expect(bytes.readBigUInt64BE(0)).to.equal(2n ** 40n + 3n);
    expect(bytes.readUInt32BE(8)).to.equal(1_234);
    expect(bytes.readBigInt64BE(12)).to.equal(-862_545_276n);
    expect(bytes.readBigInt64BE(32)).to.equal(2_598_919n);
    const units = queue.read(queueOffset(0), 2);
    expect([unitPhysicalOffset(units, 0), unitSizeBytes(units, 0)]).to.deep.equal([2 ** 40 + 3, 1_234]);
    expect([queue.min, queue.max]).to.deep.equal([0, 2]);
  });

  it('goes on in a new file after 300,000 units, and reads across the seam', () => {
    const disk = new MemoryDisk();
    const queue = queues(disk).queue('T', 0, at(UNITS_PER_FILE - 700, UNITS_PER_FILE - 700));
    fill(queue, 1_400);
    expect(disk.files()).to.deep.equal([`/cq/T/0/${FIRST_FILE}`, `/cq/T/0/${SECOND_FILE}`]);
    expect(disk.bytes(`/cq/T/0/${FIRST_FILE}`).length).to.equal(UNITS_PER_FILE * UNIT_BYTES);
    expect(disk.bytes(`/cq/T/0/${SECOND_FILE}`).length).to.equal(700 * UNIT_BYTES);
    const units = queue.read(queueOffset(UNITS_PER_FILE - 2), 4);
    for (let number = 0; number < 4; number++) {
      const offset = UNITS_PER_FILE - 2 + number;
      expect(unitPhysicalOffset(units, number * UNIT_BYTES)).to.equal(offset * 100 + 48);
    }
  });

  it('gathers units: one write for what was appended, in pieces when there is much', () => {
    const disk = new MemoryDisk();
    const queue = queues(disk).queue('T', 0, at(0, 0));
    let writes = 0;
    disk.onOperation = ({ kind }) => {
      if (kind === 'write') writes++;
    };
    fill(queue, 500);
    expect(writes).to.equal(1);
    fill(queue, 5_000);
    expect(writes).to.be.within(2, 12);
    expect(disk.bytes(`/cq/T/0/${FIRST_FILE}`).length).to.equal(5_500 * UNIT_BYTES);
    expect(unitPhysicalOffset(queue.read(queueOffset(5_499), 1), 0)).to.equal(549_948);
  });

  it('writes the same bytes to the same place when it projects twice', () => {
    const disk = new MemoryDisk();
    fill(queues(disk).queue('T', 0, at(0, 0)), 100);
    const before = disk.bytes(`/cq/T/0/${FIRST_FILE}`);
    fill(queues(disk).queue('T', 0, at(0, 40)), 60);
    expect(disk.bytes(`/cq/T/0/${FIRST_FILE}`).equals(before)).to.equal(true);
  });

  it('reads only what it holds', () => {
    const queue = queues().queue('T', 0, at(5, 5));
    fill(queue, 10);
    expect(queue.read(queueOffset(15), 0).length).to.equal(0);
    expect(() => queue.read(queueOffset(4), 1)).to.throw(InvariantError);
    expect(() => queue.read(queueOffset(10), 6)).to.throw(InvariantError);
  });

  it('reads what is not written yet from memory, what is from its files, and both together', async () => {
    const disk = new MemoryDisk();
    const from = UNITS_PER_FILE - 30;
    const queue = queues(disk).queue('T', 0, at(from, from));
    for (const [writtenCount, count] of [
      [0, 10],
      [20, 40],
      [40, 40],
      [0, 600],
    ] as const) {
      append(queue, writtenCount);
      queue.write();
      append(queue, count);
      const held = queue.max - from;
      for (let first = 0; first <= held; first += 7) {
        for (const wanted of [0, 1, 9, held - first].filter((some) => some <= held - first)) {
          const offset = queueOffset(from + first);
          for (const units of [queue.read(offset, wanted), await queue.readAsync(offset, wanted)]) {
            expect(units.length).to.equal(wanted * UNIT_BYTES);
            for (let number = 0; number < wanted; number++) {
              const expected = (offset + number) * 100 + 48;
              expect(unitPhysicalOffset(units, number * UNIT_BYTES), `${offset} + ${number}`).to.equal(expected);
            }
          }
        }
      }
    }
  });

  it('says that data is damaged when a file is missing or too short', () => {
    const disk = new MemoryDisk();
    expect(codeOf(() => queues(disk).queue('T', 0, at(0, 9)).read(queueOffset(0), 9))).to.equal('DATA_CORRUPTED');
    fill(queues(disk).queue('T', 0, at(0, 0)), 8);
    expect(codeOf(() => queues(disk).queue('T', 0, at(0, 9)).read(queueOffset(0), 9))).to.equal('DATA_CORRUPTED');
  });

  it('finds its last unit, and misses any of its files', () => {
    const disk = new MemoryDisk();
    const range = at(UNITS_PER_FILE - 10, UNITS_PER_FILE + 10);
    fill(queues(disk).queue('T', 0, at(range.min, range.min)), 20);
    expect(unitPhysicalOffset(queues(disk).queue('T', 0, range).lastUnit(), 0)).to.equal((range.max - 1) * 100 + 48);
    const full = UNITS_PER_FILE * UNIT_BYTES;
    for (const [file, keepBytes] of [
      [FIRST_FILE, 0],
      [FIRST_FILE, full - 1],
      [SECOND_FILE, 0],
      [SECOND_FILE, 10 * UNIT_BYTES - 1],
    ] as const) {
      const copy = disk.clone();
      if (keepBytes === 0) copy.remove(`/cq/T/0/${file}`);
      else copy.open(`/cq/T/0/${file}`).truncate(keepBytes);
      expect(codeOf(() => queues(copy).queue('T', 0, range).lastUnit())).to.equal('DATA_CORRUPTED');
    }
  });

  it('keeps what was flushed through a power loss, whatever happens to the rest', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const disk = new MemoryDisk();
      const all = queues(disk);
      const queue = all.queue('T', 0, at(0, 0));
      fill(queue, 200);
      await queue.flush();
      fill(queue, 200);
      disk.crash({ mode: 'sectors', random: new SeededRandom(seed) });
      const again = queues(disk).queue('T', 0, at(0, 200));
      const units = again.read(queueOffset(0), 200);
      for (let offset = 0; offset < 200; offset++) {
        expect(unitPhysicalOffset(units, offset * UNIT_BYTES)).to.equal(offset * 100 + 48);
      }
    }
  });
});

describe('many consume queues', () => {
  it('work with few open files: 1,200 queues, 16 descriptors, and everything is flushed', async () => {
    const disk = new MemoryDisk();
    const openFileCount = countOpenFiles(disk);
    const all = queues(disk, 16);
    const each = Array.from({ length: 1_200 }, (_, queueId) => all.queue('T', queueId, at(0, 0)));
    for (let round = 0; round < 3; round++) {
      for (const queue of each) {
        fill(queue, 2);
        expect(openFileCount()).to.be.at.most(16);
      }
    }
    await all.flush();
    expect(openFileCount()).to.be.at.most(16 + 3);
    all.close();
    disk.crash({ mode: 'lost' });
    const again = queues(disk, 16);
    for (let queueId = 0; queueId < 1_200; queueId++) {
      const units = again.queue('T', queueId, at(0, 6)).read(queueOffset(0), 6);
      expect(unitPhysicalOffset(units, 5 * UNIT_BYTES)).to.equal(548);
    }
    again.close();
    expect(openFileCount()).to.equal(0);
  });

  it('gather units over many calls: few writes, few openings, nothing lost, bounded memory', async () => {
    const disk = new MemoryDisk();
    const counts = { write: 0, open: 0 };
    const open = disk.open.bind(disk);
    disk.open = (path, options) => {
      counts.open++;
      return open(path, options);
    };
    disk.onOperation = ({ kind }) => {
      if (kind === 'write') counts.write++;
    };
    const all = queues(disk, 16);
    const each = Array.from({ length: 3_000 }, (_, queueId) => all.queue('T', queueId, at(0, 0)));
    for (let round = 0; round < 10; round++) for (const queue of each) append(queue, 20);
    // 600,000 units are 12 MB: some had to be written, a buffer at a time.
    expect(counts.write).to.be.within(500, 6_000);
    expect(counts.open).to.be.at.most(counts.write);
    for (const queue of each) {
      expect(unitPhysicalOffset(queue.read(queueOffset(199), 1), 0)).to.equal(19_948);
      expect(unitPhysicalOffset(queue.read(queueOffset(0), 1), 0)).to.equal(48);
    }
    await all.flush();
    all.close();
    disk.crash({ mode: 'lost' });
    const again = queues(disk, 16);
    for (let queueId = 0; queueId < 3_000; queueId += 13) {
      const units = again.queue('T', queueId, at(0, 200)).read(queueOffset(0), 200);
      for (let offset = 0; offset < 200; offset++) {
        expect(unitPhysicalOffset(units, offset * UNIT_BYTES)).to.equal(offset * 100 + 48);
      }
    }
  });

  it('flush what was appended before, while others append', async () => {
    const disk = new MemoryDisk();
    const all = queues(disk);
    const each = Array.from({ length: 100 }, (_, queueId) => all.queue('T', queueId, at(0, 0)));
    for (const queue of each) append(queue, 5);
    const flushed = all.flush();
    // Half of them fill their buffer and write it by themselves.
    for (const [queueId, queue] of each.entries()) append(queue, queueId % 2 === 0 ? 5 : 600);
    await flushed;
    disk.crash({ mode: 'lost' });
    const again = queues(disk);
    for (let queueId = 0; queueId < 100; queueId++) {
      const units = again.queue('T', queueId, at(0, 5)).read(queueOffset(0), 5);
      expect(unitPhysicalOffset(units, 4 * UNIT_BYTES)).to.equal(448);
    }
  });

  it('write all that was appended when they are told to, without a flush', () => {
    const disk = new MemoryDisk();
    const all = queues(disk);
    for (let queueId = 0; queueId < 3; queueId++) append(all.queue('T', queueId, at(0, 0)), 2 + queueId);
    expect(disk.files()).to.deep.equal([]);
    all.write();
    const sizes = [0, 1, 2].map((queueId) => disk.bytes(`/cq/T/${queueId}/${FIRST_FILE}`).length / UNIT_BYTES);
    expect(sizes).to.deep.equal([2, 3, 4]);
  });

  it('do not close a file while it is being flushed', async () => {
    const disk = new MemoryDisk();
    const finish: (() => void)[] = [];
    const closed: string[] = [];
    disk.deferFlush = (done) => finish.push(done);
    const open = disk.open.bind(disk);
    disk.open = (path, options) => {
      const file = open(path, options);
      const close = file.close.bind(file);
      file.close = () => {
        closed.push(path);
        close();
      };
      return file;
    };
    const all = queues(disk, 8);
    const busy = all.queue('busy', 0, at(0, 0));
    fill(busy, 1);
    const flushed = all.flush();
    for (let queueId = 0; queueId < 20; queueId++) fill(all.queue('T', queueId, at(0, 0)), 1);
    fill(busy, 1);
    expect(finish.length).to.equal(1);
    expect(closed.length).to.be.greaterThan(5);
    expect(closed).not.to.include(`/cq/busy/0/${FIRST_FILE}`);
    finish[0]!();
    await flushed;
    expect(unitPhysicalOffset(busy.read(queueOffset(1), 1), 0)).to.equal(148);
  });

  it('make a file durable in its directory although an earlier process died while it made it', async () => {
    const disk = new MemoryDisk();
    disk.makeDirectory('/cq/T/0');
    disk.onOperation = ({ kind, path }) => {
      if (kind === 'flush-directory' && path === '/cq/T/0') throw new Error('killed');
    };
    const queue = queues(disk).queue('T', 0, at(0, 0));
    expect(() => fill(queue, 1)).to.throw('killed');
    disk.kill();
    const all = queues(disk);
    fill(all.queue('T', 0, at(0, 0)), 1);
    await all.flush();
    disk.crash({ mode: 'lost' });
    expect(disk.files()).to.deep.equal([`/cq/T/0/${FIRST_FILE}`]);
  });

  it('never flush again after a flush that failed', async () => {
    const disk = new MemoryDisk();
    const all = queues(disk);
    fill(all.queue('T', 0, at(0, 0)), 1);
    disk.failAt(1, 'EIO');
    const outcomes: string[] = [];
    for (let attempt = 0; attempt < 2; attempt++) {
      await all.flush().then(
        () => outcomes.push('done'),
        (error: Error & { code?: string }) => outcomes.push(error.code ?? error.name),
      );
    }
    expect(outcomes).to.deep.equal(['STORAGE_FAILED', 'InvariantError']);
  });
});

describe('directories of topics', () => {
  it('differ as the topics do, are no longer than they, and lead nowhere else', () => {
    const names = ['T', '%RETRY%g', 'a|b', 'a%b', 'a_b', 'a-b', '|', '%', '|'.repeat(127), '__proto__'];
    const directories = names.map(topicDirectory);
    expect(new Set(directories).size).to.equal(names.length);
    for (const [number, directory] of directories.entries()) {
      expect(directory).to.match(/^[%+a-zA-Z0-9_-]+$/);
      expect(directory.length).to.equal(names[number]!.length);
    }
    expect(topicDirectory('a|b')).to.equal('a+b');
  });
  for (const name of ['', '.', '..', 'a/b', '/etc', 'a+b', 'a\u0000b', 'a\nb', 'a\n', 'ä', 'x'.repeat(128)]) {
    it(`are refused for ${JSON.stringify(name)}`, () => expect(() => topicDirectory(name)).to.throw(InvariantError));
  }
});
