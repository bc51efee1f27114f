// The key index dies at every step of the disk: while messages are applied, flushed and cut, and while segments are
// indexed anew. What a checkpoint named is there afterwards, applying again doubles nothing, and the files become what
// they would have been without a crash.
import { expect } from 'chai';
import { encodeMessageRecord, locateParts, newParts } from '../../src/format/message.ts';
import { keyHash, keyHashSeed, locateFindable, newFindableParts } from '../../src/format/message_keys.ts';
import { indexAt, physicalOffset, positionAt, sizeAt } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { KeyIndex, type KeyIndexPlace } from '../../src/storage/key_index.ts';
import { KeySearch, NEWEST } from '../../src/storage/key_index_search.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { FakeLog, message } from '../broker/fixture.ts';
import { describeCrashes } from './crash_harness.ts';

const DIRECTORY = '/group/keyindex';
const LAYOUT = { slots: 5, entriesMax: 4 };
const MESSAGES = 12;

const log = new FakeLog(700);
for (let number = 0; number < MESSAGES; number++) {
  log.append(encodeMessageRecord(message({ body: Buffer.from(`b${number}`), keys: ['all', `k${number % 3}`] })));
}

const parts = newParts();
const found = newFindableParts();

/** What the outside knows: the checkpoint that is durable. */
interface Witness {
  place: KeyIndexPlace | null;
  /** Records that it is the result of. */
  applied: number;
  base: number;
}

function open(disk: MemoryDisk, witness: Witness): KeyIndex {
  const readLog = (position: number, sizeBytes: number) => log.read(position, sizeBytes);
  const index = new KeyIndex({ disk, directory: DIRECTORY, segmentSizeBytes: 700, layout: LAYOUT, readLog });
  const base = physicalOffset(log.endOf(witness.base));
  index.resume(witness.place, {
    base,
    index: logIndex(witness.applied),
    end: physicalOffset(log.endOf(witness.applied)),
  });
  return index;
}

/** Applies the records behind `from` up to `to`, as a broker does. */
function apply(index: KeyIndex, from: number, to: number): void {
  for (let record = from + 1; record <= to; record++) {
    const start = log.starts[record]!;
    const end = log.endOf(record);
    locateParts(log.bytes, start + 48, end, parts);
    locateFindable(log.bytes, parts.propertiesStart, parts.propertiesEnd, found);
    index.add({ buffer: log.bytes, at: start, found, seed: keyHashSeed('T') }, physicalOffset(start));
    index.write(physicalOffset(start));
  }
}

async function checkpoint(index: KeyIndex, witness: Witness, applied: number): Promise<void> {
  const { place } = index;
  await index.flush();
  witness.place = place;
  witness.applied = applied;
  index.removeUnread();
}

function foundBy(index: KeyIndex, key: string): number[] {
  const offsets: number[] = [];
  const search = new KeySearch(index, { hash: keyHash('T', key), beginMs: 0, endMs: Number.MAX_SAFE_INTEGER }, NEWEST);
  for (let offset = search.next(); offset !== null; offset = search.next()) {
    offsets.push(offset - 48);
    search.advance();
  }
  return offsets;
}

function expected(from: number, step: number, first: number): number[] {
  return log.starts.filter((start, record) => record > from && (record - 1) % step === first && start >= 0).reverse();
}

function filesOf(disk: MemoryDisk): Record<string, string> {
  const paths = disk.files().filter((path) => path.startsWith(`${DIRECTORY}/`));
  return Object.fromEntries(paths.map((path) => [path, disk.bytes(path).toString('hex')]));
}

/** The files of an index that nothing ever happened to. */
const untouched = ((): Record<string, string> => {
  const disk = new MemoryDisk();
  const index = open(disk, { place: null, applied: 0, base: 0 });
  apply(index, 0, MESSAGES);
  return filesOf(disk);
})();

async function recover(disk: MemoryDisk, witness: Witness, hint: string, isThorough: boolean): Promise<void> {
  const index = open(disk, witness);
  apply(index, witness.applied, MESSAGES);
  while (await index.build());
  expect(index.missing, hint).to.deep.equal([]);
  expect(foundBy(index, 'all'), hint).to.deep.equal(expected(witness.base, 1, 0));
  for (let key = 0; key < 3; key++)
    expect(foundBy(index, `k${key}`), hint).to.deep.equal(expected(witness.base, 3, key));
  if (isThorough) {
    await index.flush();
    index.removeUnread();
    const first = Math.ceil(log.endOf(witness.base) / 700) * 700;
    const right = Object.entries(untouched).filter(
      ([path]) => Number(path.slice(DIRECTORY.length + 1, DIRECTORY.length + 21)) >= first,
    );
    expect(Object.keys(filesOf(disk)).length, hint).to.be.at.least(right.length);
    for (const [path, bytes] of right) expect(filesOf(disk)[path], `${hint} ${path}`).to.equal(bytes);
  }
  index.close();
}

const boundary = log.starts.findLastIndex((start) => start >= 0 && start < 700);

describeCrashes<Witness>('applying keys, with checkpoints and a cut', {
  prepare: () => new MemoryDisk(),
  witness: () => ({ place: null, applied: 0, base: 0 }),
  work: async (disk, witness) => {
    const index = open(disk, witness);
    for (let applied = 0; applied < MESSAGES; applied += 2) {
      apply(index, applied, applied + 2);
      if (applied === 8) {
        index.cutTo(physicalOffset(log.endOf(boundary)));
        witness.base = boundary;
      }
      await checkpoint(index, witness, applied + 2);
    }
  },
  recover,
  stepsMin: 40,
  stride: 29,
});

let full: Witness = { place: null, applied: MESSAGES, base: 0 };

describeCrashes<Witness>('indexing segments anew', {
  prepare: async () => {
    const disk = new MemoryDisk();
    const witness: Witness = { place: null, applied: 0, base: 0 };
    const index = open(disk, witness);
    apply(index, 0, MESSAGES);
    await checkpoint(index, witness, MESSAGES);
    index.close();
    full = witness;
    for (const path of disk.files().slice(0, -2)) if (path.startsWith(DIRECTORY)) disk.lose(path);
    return disk;
  },
  witness: () => ({ ...full }),
  work: async (disk, witness) => {
    const index = open(disk, witness);
    while (await index.build());
  },
  recover,
  stepsMin: 20,
  stride: 19,
});

it('the log of these tests has segments with several files of the index', () => {
  expect(Object.keys(untouched).length).to.be.greaterThan(4);
  expect(positionAt(log.bytes, log.starts[MESSAGES]!)).to.equal(log.starts[MESSAGES]);
  expect(indexAt(log.bytes, log.starts[MESSAGES]!)).to.equal(MESSAGES);
  expect(sizeAt(log.bytes, log.starts[1]!)).to.be.lessThan(350);
});
