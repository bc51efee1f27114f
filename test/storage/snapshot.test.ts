import { expect } from 'chai';
import fc from 'fast-check';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import type { Snapshot, SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateEntry } from '../../src/storage/state_store.ts';
import { codeOf, countOpenFiles } from './log_fixture.ts';
import {
  contentOfSnapshot,
  metaOf,
  openSnapshots,
  pathOf,
  rowsOf,
  SNAPSHOTS,
  sendSnapshot,
  tipOf,
} from './snapshot_fixture.ts';

const at = logIndex;
const failureOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error) => error.code ?? error.name,
  );

async function* slowly(rows: readonly StateEntry[]): AsyncGenerator<StateEntry> {
  for (const row of rows) {
    await Promise.resolve();
    yield row;
  }
}

/** A store with the snapshot at 40: `pieces` pieces of 64 KiB and a bit. */
async function storeWith(pieces: number): Promise<{ disk: MemoryDisk; store: SnapshotStore; rows: StateEntry[] }> {
  const disk = new MemoryDisk();
  const store = openSnapshots(disk);
  const rows = rowsOf(pieces * 64 + 3, 1001);
  await store.write(metaOf(40), rows);
  return { disk, store, rows };
}

/** All bytes of a snapshot as a sender reads them. */
function readAll(snapshot: Snapshot, chunkBytes: number): Buffer {
  const chunks: Buffer[] = [];
  for (let offset = 0; offset < snapshot.sizeBytes; offset += chunkBytes) {
    const { buffer, start, end } = snapshot.read(offset, chunkBytes);
    chunks.push(buffer.subarray(start, end));
  }
  return Buffer.concat(chunks);
}

describe('snapshots: writing and reading', () => {
  it('gives back what was written: any membership, any sorted rows', async () => {
    const row = fc.tuple(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.oneof(fc.string(), fc.constant('x'.repeat(70_000))),
    );
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(row, { selector: ([key]) => key }), fc.string(), async (unsorted, membership) => {
        const rows = unsorted.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        const store = openSnapshots(new MemoryDisk());
        await store.write(metaOf(7, membership), rows);
        const { meta, rows: read } = contentOfSnapshot(store, 7);
        expect(meta).to.deep.equal(metaOf(7, membership));
        expect(read).to.deep.equal(rows);
      }),
      { numRuns: 100 },
    );
  }).timeout(180_000);

  for (const bytes of [65_500, 65_531, 65_532, 65_533, 262_128, 262_129, 4_000_000]) {
    it(`keeps one row of ${bytes} bytes, and the one behind it`, async () => {
      const store = openSnapshots(new MemoryDisk());
      const rows: StateEntry[] = [
        ['a', 'x'.repeat(bytes - 9)],
        ['b', 'y'],
      ];
      await store.write(metaOf(7, ''), rows);
      expect(contentOfSnapshot(store, 7).rows).to.deep.equal(rows);
    });
  }

  it('makes the same bytes of the same state, however it is given, and lists them by index', async () => {
    const rows = rowsOf(3000, 100);
    const stores = [0, 1].map(() => new MemoryDisk());
    for (const [number, disk] of stores.entries()) {
      const store = openSnapshots(disk);
      for (const index of [100, 20, 3000]) await store.write(metaOf(index), number === 0 ? rows : slowly(rows));
      expect(store.list()).to.deep.equal([20, 100, 3000]);
    }
    expect(stores[0]!.bytes(pathOf(100)).equals(stores[1]!.bytes(pathOf(100)))).to.equal(true);
    expect(stores[0]!.bytes(pathOf(100)).equals(stores[0]!.bytes(pathOf(20)))).to.equal(false);
  });

  it('holds an empty state', async () => {
    const store = openSnapshots(new MemoryDisk());
    await store.write(metaOf(7, ''), []);
    expect(contentOfSnapshot(store, 7)).to.deep.equal({ meta: metaOf(7, ''), rows: [] });
    expect(store.open(at(7)).sizeBytes).to.equal(64);
  });

  it('is durable when the promise resolves, not listed before, and not read while it is written', async () => {
    const disk = new MemoryDisk();
    const store = openSnapshots(disk);
    const writing = store.write(metaOf(40), rowsOf(1000, 1000));
    expect(store.list()).to.deep.equal([]);
    expect(codeOf(() => store.open(at(40)))).to.equal('DATA_CORRUPTED');
    await writing;
    disk.crash({ mode: 'lost' });
    expect(contentOfSnapshot(openSnapshots(disk), 40).rows).to.deep.equal(rowsOf(1000, 1000));
  });

  it('flushes every 256 KiB without blocking before it asks for more rows', async () => {
    const disk = new MemoryDisk();
    const store = openSnapshots(disk);
    const finishers: (() => void)[] = [];
    disk.deferFlush = (finish) => finishers.push(finish);
    const blocking: string[] = [];
    disk.onOperation = ({ kind }) => void (kind === 'flush' && blocking.push(kind));
    let asked = 0;
    const rows = (function* () {
      for (const row of rowsOf(1000, 1000)) {
        asked++;
        yield row;
      }
    })();
    const writing = store.write(metaOf(40), rows);
    for (let round = 1; round <= 3; round++) {
      await new Promise(setImmediate);
      expect(asked).to.be.within(round * 240, round * 260);
      expect(finishers).to.have.length(1);
      expect(blocking).to.have.length(round);
      finishers.shift()!();
    }
    disk.deferFlush = queueMicrotask;
    await writing;
    expect(asked).to.equal(1000);
  });

  it('keeps a snapshot that is there already and asks for no row', async () => {
    const { disk, store } = await storeWith(1);
    const before = disk.bytes(pathOf(40));
    const asked: Iterable<StateEntry> = {
      [Symbol.iterator]: () => {
        throw new Error('a row was asked for');
      },
    };
    await store.write(metaOf(40), asked);
    expect(disk.bytes(pathOf(40)).equals(before)).to.equal(true);
  });

  it('wants sorted rows, a small membership, and one write at a time', async () => {
    const store = openSnapshots(new MemoryDisk());
    for (const rows of [
      [
        ['b', ''],
        ['a', ''],
      ],
      [
        ['a', '1'],
        ['a', '2'],
      ],
    ] as const) {
      expect(await failureOf(store.write(metaOf(7), rows))).to.equal('InvariantError');
    }
    expect(await failureOf(store.write(metaOf(7, 'x'.repeat(32 * 1024 + 1)), []))).to.equal('InvariantError');
    const first = store.write(metaOf(7), rowsOf(10));
    expect(await failureOf(store.write(metaOf(8), []))).to.equal('InvariantError');
    await first;
    expect(store.list()).to.deep.equal([7]);
  });

  it('leaves nothing behind when the rows or the disk fail, and can be begun anew', async () => {
    const disk = new MemoryDisk();
    const store = openSnapshots(disk);
    const failing = async function* (): AsyncGenerator<StateEntry> {
      yield* rowsOf(600, 1000);
      throw new Error('no more rows');
    };
    expect(await failureOf(store.write(metaOf(40), failing()))).to.equal('Error');
    for (let step = 1; store.list().length === 0; step++) {
      disk.failAt(step, 'ENOSPC');
      const outcome = await failureOf(store.write(metaOf(40), rowsOf(600, 1000)));
      if (outcome === 'none') break;
      expect(outcome).to.equal('STORAGE_FAILED');
      expect(disk.list(SNAPSHOTS).filter((name) => name.endsWith('.new'))).to.deep.equal([]);
    }
    expect(contentOfSnapshot(store, 40).rows).to.deep.equal(rowsOf(600, 1000));
  });

  it('ends a write when the store is closed', async () => {
    const store = openSnapshots(new MemoryDisk());
    const writing = failureOf(store.write(metaOf(40), rowsOf(1000, 1000)));
    store.close();
    expect(await writing).to.equal('SHUTTING_DOWN');
  });

  it('removes a snapshot, which stays readable for who has it open', async () => {
    const { disk, store, rows } = await storeWith(2);
    const openFiles = countOpenFiles(disk);
    const snapshot = store.open(at(40));
    store.remove(at(40));
    store.remove(at(40));
    expect(store.list()).to.deep.equal([]);
    expect([...snapshot.rows()]).to.deep.equal(rows);
    snapshot.close();
    expect(openFiles()).to.equal(0);
    expect(codeOf(() => store.open(at(40)))).to.equal('DATA_CORRUPTED');
  });

  it('is read from any offset in chunks of any size, as it lies there', async () => {
    const { disk, store } = await storeWith(3);
    const bytes = disk.bytes(pathOf(40));
    const snapshot = store.open(at(40));
    expect(snapshot.sizeBytes).to.equal(bytes.length);
    for (const size of [1000, 65_536, 100_000, 1_000_000]) expect(readAll(snapshot, size).equals(bytes)).to.equal(true);
    const random = new SeededRandom(1);
    for (let round = 0; round < 200; round++) {
      const from = round < 80 ? round : random.between(0, bytes.length + 10);
      const size = random.between(1, 200_000);
      const { buffer, start, end } = snapshot.read(from, size);
      expect(buffer.subarray(start, end).equals(bytes.subarray(from, from + size))).to.equal(true);
    }
  });
});

describe('snapshots: damage', () => {
  const outcome = (disk: MemoryDisk, read: (snapshot: Snapshot) => unknown): string =>
    codeOf(() => {
      const snapshot = openSnapshots(disk).open(at(40));
      read(snapshot);
      snapshot.close();
    });

  it('any flipped bit is noticed, both when it is restored from and when it is sent', async () => {
    const disk = new MemoryDisk();
    await openSnapshots(disk).write(metaOf(40), rowsOf(5));
    const bytes = disk.bytes(pathOf(40));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      disk.corrupt(pathOf(40), 0, damaged);
      expect(
        outcome(disk, (snapshot) => [...snapshot.rows()]),
        `bit ${bit}`,
      ).to.equal('DATA_CORRUPTED');
      expect(
        outcome(disk, (snapshot) => readAll(snapshot, 100)),
        `bit ${bit}`,
      ).to.equal('DATA_CORRUPTED');
    }
    disk.corrupt(pathOf(40), 0, bytes);
    expect(outcome(disk, (snapshot) => [...snapshot.rows()])).to.equal('none');
  });

  it('a flipped bit in a large one is noticed in the chunks that it touches, and no row behind it is given out', async () => {
    const { disk, rows } = await storeWith(4);
    const bytes = disk.bytes(pathOf(40));
    const random = new SeededRandom(2);
    for (let round = 0; round < 60; round++) {
      const position = random.between(64, bytes.length - 1);
      const damaged = Buffer.from(bytes);
      damaged[position]! ^= 1 << random.between(0, 7);
      disk.corrupt(pathOf(40), 0, damaged);
      const given: StateEntry[] = [];
      expect(
        outcome(disk, (snapshot) => {
          for (const row of snapshot.rows()) given.push(row);
        }),
      ).to.equal('DATA_CORRUPTED');
      expect(given).to.deep.equal(rows.slice(0, given.length));
      if (position < 64 + 65_536) continue;
      expect(outcome(disk, (snapshot) => snapshot.read(position, 1))).to.equal('DATA_CORRUPTED');
      expect(outcome(disk, (snapshot) => snapshot.read(0, 60_000))).to.equal('none');
    }
  });

  it('a file that is too short or too long, swapped, or of another piece is noticed', async () => {
    const { disk, store } = await storeWith(3);
    const bytes = disk.bytes(pathOf(40));
    const changes: [string, Buffer][] = [
      ['one byte less', bytes.subarray(0, -1)],
      ['a piece less', bytes.subarray(0, 64 + 65_536)],
      ['the header alone', bytes.subarray(0, 64)],
      ['nothing', Buffer.alloc(0)],
      ['one byte more', Buffer.concat([bytes, Buffer.alloc(1)])],
    ];
    const swapped = Buffer.from(bytes);
    bytes.copy(swapped, 64, 64 + 65_536, 64 + 2 * 65_536);
    bytes.copy(swapped, 64 + 65_536, 64, 64 + 65_536);
    changes.push(['two pieces swapped', swapped]);
    await store.write(metaOf(50), rowsOf(3 * 64 + 3, 1001));
    const foreign = Buffer.from(bytes);
    disk.bytes(pathOf(50)).copy(foreign, 64, 64, 64 + 65_536);
    changes.push(['a piece of another snapshot', foreign], ['another snapshot', disk.bytes(pathOf(50))]);
    for (const [name, content] of changes) {
      const file = disk.open(pathOf(40));
      file.truncate(content.length);
      disk.corrupt(pathOf(40), 0, content);
      expect(
        outcome(disk, (snapshot) => [...snapshot.rows()]),
        name,
      ).to.equal('DATA_CORRUPTED');
    }
  });

  it('of a newer version it says so', async () => {
    const disk = new MemoryDisk();
    await openSnapshots(disk).write(metaOf(40), []);
    const { crc32 } = await import('../../src/base/crc.ts');
    const header = disk.bytes(pathOf(40)).subarray(0, 64);
    header.writeUInt32BE(2, 4);
    header.writeUInt32BE(crc32(header, 0, 60), 60);
    disk.corrupt(pathOf(40), 0, header);
    expect(outcome(disk, () => {})).to.equal('DATA_DIR_FOREIGN');
  });
});

describe('snapshots: arriving', () => {
  const receiver = () => {
    const disk = new MemoryDisk();
    return { disk, store: openSnapshots(disk) };
  };

  it('arrives in chunks of any size and becomes the same file', async () => {
    const { disk: there, store: sender } = await storeWith(3);
    for (const chunkBytes of [10, 63, 65, 65_536, 100_000, 1_000_000]) {
      const { disk, store } = receiver();
      await sendSnapshot(sender, store, 40, { chunkBytes, chunksMax: chunkBytes < 100 ? 20 : 1000 });
      if (chunkBytes < 100) await sendSnapshot(sender, store, 40);
      expect(store.list()).to.deep.equal([]);
      expect(store.completeIncoming(at(40), term(3))).to.equal(true);
      expect(store.list()).to.deep.equal([40]);
      disk.crash({ mode: 'lost' });
      expect(disk.bytes(pathOf(40)).equals(there.bytes(pathOf(40)))).to.equal(true);
      expect(disk.list(SNAPSHOTS)).to.have.length(1);
    }
  });

  it('takes duplicates and overlaps for what they are, and no chunk behind a gap', async () => {
    const { disk: there, store: sender } = await storeWith(3);
    const bytes = there.bytes(pathOf(40));
    const { disk, store } = receiver();
    const random = new SeededRandom(3);
    let size = 0;
    while (size < bytes.length) {
      const from = random.between(0, Math.min(bytes.length, size + 30_000));
      const chunk = bytes.subarray(from, from + random.between(1, 60_000));
      const progress = await store.appendIncoming(at(40), term(3), from, chunk);
      const expected = from > size ? size : Math.max(size, from + chunk.length);
      expect(progress).to.deep.equal({ sizeBytes: expected, isComplete: expected === bytes.length });
      size = expected;
      expect(store.incomingSize(at(40), term(3))).to.equal(size);
    }
    await store.appendIncoming(at(40), term(3), bytes.length, Buffer.alloc(100));
    expect(store.completeIncoming(at(40), term(3))).to.equal(true);
    expect(disk.bytes(pathOf(40)).equals(bytes)).to.equal(true);
    expect(sender.list()).to.deep.equal([40]);
  });

  it('is not complete before all of it is held, durably', async () => {
    const { store: sender } = await storeWith(3);
    const { disk, store } = receiver();
    expect(store.completeIncoming(at(40), term(3))).to.equal(false);
    await sendSnapshot(sender, store, 40, { chunksMax: 1 });
    expect(store.completeIncoming(at(40), term(3))).to.equal(false);
    const finishers: (() => void)[] = [];
    disk.deferFlush = (finish) => finishers.push(finish);
    const snapshot = sender.open(at(40));
    const { buffer, start, end } = snapshot.read(100_000, 1_000_000);
    const appended = store.appendIncoming(at(40), term(3), 100_000, buffer.subarray(start, end));
    expect(store.completeIncoming(at(40), term(3))).to.equal(false);
    expect(store.incomingSize(at(40), term(3))).to.equal(100_000);
    finishers[0]!();
    expect(await appended).to.deep.equal({ sizeBytes: snapshot.sizeBytes, isComplete: true });
    expect(store.completeIncoming(at(40), term(3))).to.equal(true);
  });

  it('drops bad bytes from the piece on in which they are, and goes on there', async () => {
    const { disk: there, store: sender } = await storeWith(4);
    const bytes = there.bytes(pathOf(40));
    for (const position of [3, 50, 64, 65_599, 65_600, 2 * 65_536, bytes.length - 1]) {
      const { disk, store } = receiver();
      const damaged = Buffer.from(bytes);
      damaged[position]! ^= 4;
      const { sizeBytes, isComplete } = await store.appendIncoming(at(40), term(3), 0, damaged);
      expect(isComplete).to.equal(false);
      expect(sizeBytes).to.equal(position < 64 ? 0 : 64 + Math.floor((position - 64) / 65_536) * 65_536);
      expect(store.completeIncoming(at(40), term(3))).to.equal(false);
      await sendSnapshot(sender, store, 40);
      expect(store.completeIncoming(at(40), term(3))).to.equal(true);
      expect(disk.bytes(pathOf(40)).equals(bytes)).to.equal(true);
    }
  });

  it('does not take a flush that began before bytes were dropped for one of what came after', async () => {
    const { disk: there } = await storeWith(2);
    const bytes = there.bytes(pathOf(40));
    const { disk, store } = receiver();
    const finishers: (() => void)[] = [];
    disk.deferFlush = (finish) => finishers.push(finish);
    const damaged = Buffer.from(bytes);
    damaged[1000]! ^= 1;
    const first = store.appendIncoming(at(40), term(3), 0, damaged.subarray(0, 60_000));
    const second = store.appendIncoming(at(40), term(3), 60_000, damaged.subarray(60_000, 70_000));
    const third = store.appendIncoming(at(40), term(3), 64, bytes.subarray(64, 60_000));
    finishers[0]!();
    expect((await first).sizeBytes).to.equal(0);
    finishers[1]!();
    expect((await second).sizeBytes).to.equal(64);
    finishers[2]!();
    expect((await third).sizeBytes).to.equal(60_000);
  });

  it('wants the snapshot of that index and term, and drops others that arrive', async () => {
    const { store: sender } = await storeWith(2);
    const { disk, store } = receiver();
    const snapshot = sender.open(at(40));
    const { buffer, start, end } = snapshot.read(0, 1_000_000);
    const bytes = buffer.subarray(start, end);
    expect((await store.appendIncoming(at(41), term(3), 0, bytes)).sizeBytes).to.equal(0);
    expect((await store.appendIncoming(at(40), term(4), 0, bytes)).sizeBytes).to.equal(0);
    await store.appendIncoming(at(40), term(3), 0, bytes.subarray(0, 1000));
    expect(disk.list(SNAPSHOTS)).to.have.length(1);
    expect(store.incomingSize(at(40), term(3))).to.equal(1000);
    expect(store.incomingSize(at(40), term(4))).to.equal(0);
    expect((await store.appendIncoming(at(50), term(3), 500, bytes)).sizeBytes).to.equal(0);
    expect(disk.list(SNAPSHOTS)).to.deep.equal([]);
  });

  it('is resumed by the next process where the last whole piece ends', async () => {
    const { store: sender } = await storeWith(4);
    for (const fate of ['kill', 'lost', 'sectors'] as const) {
      const { disk, store } = receiver();
      await sendSnapshot(sender, store, 40, { chunksMax: 2 });
      expect(store.incomingSize(at(40), term(3))).to.equal(200_000);
      if (fate === 'kill') disk.kill();
      else disk.crash({ mode: fate, random: new SeededRandom(1) });
      const again = openSnapshots(disk);
      expect(again.incomingSize(at(40), term(3))).to.equal(64 + 3 * 65_536);
      expect(disk.isDurable()).to.equal(true);
      await sendSnapshot(sender, again, 40);
      again.close();
      const last = openSnapshots(disk);
      expect(last.completeIncoming(at(40), term(3))).to.equal(true);
      expect(contentOfSnapshot(last, 40)).to.deep.equal(contentOfSnapshot(sender, 40));
    }
  });

  it('keeps the pieces before what a power loss tore', async () => {
    const { store: sender } = await storeWith(4);
    const { disk, store } = receiver();
    await sendSnapshot(sender, store, 40, { chunksMax: 3 });
    const [part] = disk.list(SNAPSHOTS);
    disk.corrupt(`${SNAPSHOTS}/${part}`, 64 + 65_536 + 512, Buffer.alloc(512));
    disk.crash({ mode: 'lost' });
    const again = openSnapshots(disk);
    expect(again.incomingSize(at(40), term(3))).to.equal(64 + 65_536);
    await sendSnapshot(sender, again, 40);
    expect(again.completeIncoming(at(40), term(3))).to.equal(true);
  });

  it('does not rely on bytes of a process whose flush failed before it was killed', async () => {
    const { store: sender } = await storeWith(3);
    const { disk, store } = receiver();
    await sendSnapshot(sender, store, 40, { chunksMax: 1 });
    disk.failAt(2, 'EIO');
    disk.onOperation = ({ kind }) => {
      if (kind === 'remove') throw new Error('killed');
    };
    expect(await failureOf(sendSnapshot(sender, store, 40, { chunksMax: 1 }))).to.equal('STORAGE_FAILED');
    disk.kill();
    const again = openSnapshots(disk);
    expect(again.incomingSize(at(40), term(3))).to.equal(sender.open(at(40)).sizeBytes);
    expect(again.completeIncoming(at(40), term(3))).to.equal(true);
    disk.crash({ mode: 'lost' });
    expect(contentOfSnapshot(openSnapshots(disk), 40)).to.deep.equal(contentOfSnapshot(sender, 40));
  });

  it('says of a snapshot that is there already that it is complete, unless it cannot be opened', async () => {
    const { store: sender } = await storeWith(1);
    const { disk, store } = receiver();
    await sendSnapshot(sender, store, 40);
    store.completeIncoming(at(40), term(3));
    const { sizeBytes } = sender.open(at(40));
    expect(store.incomingSize(at(40), term(3))).to.equal(sizeBytes);
    expect(await store.appendIncoming(at(40), term(3), 0, Buffer.alloc(9))).to.deep.equal({
      sizeBytes,
      isComplete: true,
    });
    expect(store.completeIncoming(at(40), term(3))).to.equal(true);
    disk.corrupt(pathOf(40), 20, Buffer.from('!'));
    expect(store.incomingSize(at(40), term(3))).to.equal(0);
    await sendSnapshot(sender, store, 40);
    expect(store.completeIncoming(at(40), term(3))).to.equal(true);
    expect(contentOfSnapshot(store, 40)).to.deep.equal(contentOfSnapshot(sender, 40));
  });

  it('is forgotten when the disk fails, and can be sent again', async () => {
    const { store: sender } = await storeWith(2);
    const { disk, store } = receiver();
    for (let step = 1, isOver = false; !isOver; step++) {
      disk.failAt(step, step % 2 === 0 ? 'short' : 'EIO');
      try {
        await sendSnapshot(sender, store, 40);
        isOver = true;
      } catch (error) {
        expect((error as { code?: string }).code).to.equal('STORAGE_FAILED');
        expect(store.incomingSize(at(40), term(3))).to.equal(0);
        for (const name of disk.list(SNAPSHOTS)) expect(disk.bytes(`${SNAPSHOTS}/${name}`)).to.have.length(0);
      }
    }
    disk.kill();
    const again = openSnapshots(disk);
    expect(again.completeIncoming(at(40), term(3))).to.equal(true);
    expect(contentOfSnapshot(again, 40)).to.deep.equal(contentOfSnapshot(sender, 40));
  });

  it('can be dropped, and leaves no file open', async () => {
    const { store: sender } = await storeWith(2);
    const disk = new MemoryDisk();
    const openFiles = countOpenFiles(disk);
    const store = openSnapshots(disk);
    await sendSnapshot(sender, store, 40, { chunksMax: 1 });
    expect(openFiles()).to.equal(1);
    store.dropIncoming();
    expect(openFiles()).to.equal(0);
    await sendSnapshot(sender, store, 40);
    store.completeIncoming(at(40), term(3));
    expect(openFiles()).to.equal(0);
    await sendSnapshot(sender, store, 41, { chunksMax: 0 }).catch(() => {});
    store.close();
    store.close();
    expect(openFiles()).to.equal(0);
    expect(tipOf(40)).to.deep.equal(contentOfSnapshot(openSnapshots(disk), 40).meta.tip);
  });
});
