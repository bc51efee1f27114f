import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex } from '../../src/raft/types.ts';
import { CommitLog } from '../../src/storage/commit_log.ts';
import type { Damage } from '../../src/storage/damage.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateEntry } from '../../src/storage/state_store.ts';
import { append, codeOf, contentOf, DIRECTORY, openLog, recordsOf, SEGMENT_BYTES } from '../storage/log_fixture.ts';
import { peerOn, peersOf, refused, repaired, setTerm, termOf } from './repair_fixture.ts';

const COMMITLOG = `${DIRECTORY}/commitlog`;
const segmentPath = (number: number): string => `${COMMITLOG}/${String(number * SEGMENT_BYTES).padStart(20, '0')}`;
const checkpointPath = `${DIRECTORY}/checkpoint`;

/** A log of some segments and two terms, closed: all of it is vouched for. */
function sound(batches = 20): MemoryDisk {
  const disk = new MemoryDisk();
  const log = openLog(disk);
  for (let batch = 0; batch < batches; batch++) append(log, [200, 90, 333 + batch], batch < 12 ? 1 : 2, batch);
  log.close();
  setTerm(disk, 2);
  return disk;
}

/** A snapshot at a boundary of the log, as retention takes it. */
async function snapshotAt(disk: MemoryDisk, number: number, ...rows: StateEntry[]): Promise<number> {
  const log = openLog(disk);
  const tip = log.tipAt(log.sealedBoundaries[number]!);
  log.close();
  const snapshots = SnapshotStore.open({ disk, directory: DIRECTORY });
  await snapshots.write({ tip, membership: Buffer.alloc(0) }, [['applied', `${tip.index}`], ...rows]);
  snapshots.close();
  return tip.index;
}

function cutAt(disk: MemoryDisk, index: number): void {
  const log = openLog(disk);
  log.cutTo(logIndex(index));
  log.close();
}

const flip = (disk: MemoryDisk, number: number, at: number): void => {
  const path = segmentPath(number);
  disk.corrupt(path, at, Buffer.of(disk.bytes(path)[at]! ^ 4));
};

/** Damage to the log that is repaired to the very bytes that were there. */
const damages: readonly (readonly [string, (disk: MemoryDisk) => void])[] = [
  ['a bit in a body', (disk) => flip(disk, 1, 700)],
  ['a bit in the first record', (disk) => flip(disk, 0, 60)],
  ['a bit in the header of the first record of a segment', (disk) => flip(disk, 2, 8)],
  [
    'bits in three segments',
    (disk) => {
      flip(disk, 0, 900);
      flip(disk, 2, 40);
      flip(disk, 2, 3000);
    },
  ],
  ['a missing segment', (disk) => disk.remove(segmentPath(1))],
  ['the first segment missing', (disk) => disk.remove(segmentPath(0))],
  ['the last segment missing', (disk) => disk.remove(segmentPath(3))],
  [
    'all segments missing',
    (disk) => {
      for (const path of disk.files()) if (path.startsWith(`${COMMITLOG}/`)) disk.remove(path);
    },
  ],
  ['a segment cut short', (disk) => truncate(disk, segmentPath(1), 1000)],
  ['a segment that has grown', (disk) => truncate(disk, segmentPath(1), SEGMENT_BYTES + 10)],
  [
    'a segment and the log index',
    (disk) => {
      disk.remove(segmentPath(1));
      for (const path of disk.files()) if (path.startsWith(`${DIRECTORY}/index/`)) disk.remove(path);
    },
  ],
  [
    'the last record, which the checkpoint names',
    (disk) => {
      const log = openLog(disk.clone());
      const { position } = log.locate(log.lastIndex);
      flip(disk, Math.floor(position / SEGMENT_BYTES), (position % SEGMENT_BYTES) + 70);
    },
  ],
  [
    'a filler',
    (disk) => {
      const log = openLog(disk.clone());
      const { position, sizeBytes } = log.locate(log.sealedBoundaries[0]!);
      flip(disk, 0, position + sizeBytes + 1);
    },
  ],
  [
    'a closed segment, and the checkpoint lost',
    (disk) => {
      flip(disk, 1, 700);
      disk.remove(checkpointPath);
    },
  ],
];

function truncate(disk: MemoryDisk, path: string, sizeBytes: number): void {
  const file = disk.open(path);
  file.truncate(sizeBytes);
  file.close();
}

describe('replica: repairing a damaged log', () => {
  for (const [what, damage] of damages) {
    it(`brings back the very bytes after ${what}`, async () => {
      const disk = sound();
      const before = contentOf(disk, COMMITLOG);
      const twin = peerOn(disk.clone());
      damage(disk);
      expect(contentOf(disk, COMMITLOG)).not.to.deep.equal(before);
      await repaired(disk, peersOf({ n1: null, n2: twin }));
      expect(contentOf(disk, COMMITLOG)).to.deep.equal(before);
      expect(recordsOf(openLog(disk))).to.deep.equal(recordsOf(twin.log));
      expect(disk.files().filter((path) => path.includes('repair'))).to.deep.equal([]);
    });
  }

  it('brings back the very bytes after any 200 flipped bits, one at a time', async () => {
    const origin = sound();
    const before = contentOf(origin, COMMITLOG);
    const twin = peerOn(origin.clone());
    const random = new SeededRandom(7);
    const end = twin.log.endPosition;
    for (let count = 0; count < 200; count++) {
      const disk = origin.clone();
      const position = random.between(0, end - 1);
      flip(disk, Math.floor(position / SEGMENT_BYTES), position % SEGMENT_BYTES);
      await repaired(disk, peersOf({ n1: twin }));
      const isUnused = contentOf(disk, COMMITLOG)[segmentPath(Math.floor(position / SEGMENT_BYTES))];
      // Behind a filler's header nobody looks: those bytes are no record.
      if (isUnused !== before[segmentPath(Math.floor(position / SEGMENT_BYTES))]) {
        expect(recordsOf(openLog(disk))).to.deep.equal(recordsOf(twin.log));
      } else expect(contentOf(disk, COMMITLOG)).to.deep.equal(before);
    }
  }).timeout(180_000);

  it('is done by peers together when none of them has it all', async () => {
    const disk = sound();
    const first = disk.clone();
    const second = disk.clone();
    await snapshotAt(second, 0);
    cutAt(second, openLog(second.clone()).sealedBoundaries[0]!);
    const shorter = openLog(first);
    shorter.truncateAfter(logIndex(20));
    flip(disk, 0, 700);
    flip(disk, 2, 700);
    const peers = peersOf({ n1: { ...peerOn(first.clone()), log: shorter }, n2: peerOn(second) });
    await repaired(disk, peers);
    expect(recordsOf(openLog(disk))).to.deep.equal(recordsOf(openLog(sound())));
  });

  it('says what is missing, refuses and asks again while no healthy peer answers, and ends when one does', async () => {
    const disk = sound();
    const twin = peerOn(disk.clone());
    flip(disk, 1, 700);
    const [warning, ...others] = await refused(disk, peersOf({ n1: null, n2: null }));
    expect(warning).to.include('n1 cannot be reached').and.include('restore a backup');
    expect(others).to.deep.equal([]);
    expect(codeOf(() => openLog(disk))).to.equal('DATA_CORRUPTED');
    await repaired(disk, peersOf({ n1: twin }));
    expect(recordsOf(openLog(disk))).to.deep.equal(recordsOf(twin.log));
  });

  it('does not spread damage, and is not fooled by a peer that has other bytes', async () => {
    const disk = sound();
    const bad = disk.clone();
    flip(bad, 1, 700);
    flip(disk, 1, 720);
    const warnings = await refused(disk, peersOf({ n1: { ...peerOn(sound()), log: unrecovered(bad) } }));
    expect(warnings.join()).to.include('n1: ');
    const before = contentOf(disk, COMMITLOG);
    const liar = peersOf({ n1: peerOn(sound()) });
    const lying = {
      ...liar,
      fetchRecords: async (...args: Parameters<typeof liar.fetchRecords>) => {
        const answer = await liar.fetchRecords(...args);
        if (answer.records.length > 60) answer.records[60]! ^= 1;
        return answer;
      },
    };
    await refused(disk, lying);
    expect(contentOf(disk, COMMITLOG)).to.deep.equal(before);
  });

  it('of a group of one tells what is damaged and what can be done', async () => {
    const disk = sound();
    flip(disk, 1, 700);
    const failure = await repaired(disk, peersOf({})).catch((error: Error) => error);
    expect(failure).to.be.instanceOf(Error).and.have.property('code', 'DATA_CORRUPTED');
    expect(failure).to.have.property('message').that.includes('no other member').and.includes('restore a backup');
  });

  it('does without a snapshot that nobody has, but not while the log is damaged, too', async () => {
    const disk = sound();
    const index = logIndex(await snapshotAt(disk, 1));
    const file = `${DIRECTORY}/snapshot/${String(index).padStart(20, '0')}`;
    disk.corrupt(file, 30, Buffer.of(0xee));
    flip(disk, 0, 700);
    const damage: Damage = { kind: 'snapshot', file, index, reason: 'a test says so' };
    const warnings = await refused(disk, peersOf({ n1: null }), 3, { damage, isDispensable: true });
    expect(warnings.join()).to.include('n1 cannot be reached');
    expect(
      codeOf(() => openLog(disk.clone())),
      'the mark is still there',
    ).to.equal('DATA_CORRUPTED');
    await repaired(disk, peersOf({ n1: peerOn(sound()) }), damage, true);
    expect(SnapshotStore.open({ disk, directory: DIRECTORY }).list()).to.deep.equal([]);
    openLog(disk);
  });

  describe('where peers hold other records', () => {
    /** This node led term 2 and wrote what never came to be; the others went on in term 3. */
    function diverged(): { disk: MemoryDisk; others: MemoryDisk } {
      const disk = sound(12);
      const others = disk.clone();
      const mine = openLog(disk);
      append(mine, [500, 600, 700, 800], 2, 9);
      mine.close();
      setTerm(disk, 2);
      const theirs = openLog(others);
      append(theirs, [0], 3, 5);
      append(theirs, [400, 100, 3000, 2000], 3, 5);
      theirs.close();
      setTerm(others, 3);
      return { disk, others };
    }

    it('takes what they know to be committed, once that covers all that it vouched for', async () => {
      const { disk, others } = diverged();
      const log = openLog(disk.clone());
      const { position } = log.locate(logIndex(38));
      flip(disk, Math.floor(position / SEGMENT_BYTES), (position % SEGMENT_BYTES) + 50);
      const early = peersOf({ n1: peerOn(others.clone(), 36) });
      const warnings = await refused(disk, early);
      expect(warnings.join()).to.include('this node may have vouched for record 40 of term 2');
      expect(codeOf(() => openLog(disk.clone()))).to.equal('DATA_CORRUPTED');
      await repaired(disk, peersOf({ n1: peerOn(others.clone(), 38) }));
      const now = openLog(disk);
      expect(now.lastIndex).to.equal(38);
      const theirs = openLog(others);
      expect(now.lastChain).to.equal(theirs.chainAt(logIndex(38)));
      expect(now.flushedIndex).to.equal(38);
      expect(termOf(disk)).to.equal(3);
    });

    it('also where the difference begins before the damage', async () => {
      const { disk, others } = diverged();
      const log = openLog(disk.clone());
      const { position } = log.locate(log.lastIndex);
      flip(disk, Math.floor(position / SEGMENT_BYTES), (position % SEGMENT_BYTES) + 50);
      await repaired(disk, peersOf({ n1: peerOn(others.clone()) }));
      expect(recordsOf(openLog(disk))).to.deep.equal(recordsOf(openLog(others)));
      expect(contentOf(disk, COMMITLOG)).to.deep.equal(contentOf(others, COMMITLOG));
    });
  });

  describe('where peers have cut the records away', () => {
    it('cuts its log at a snapshot of its own behind the damage', async () => {
      const disk = sound();
      const others = disk.clone();
      const boundary = await snapshotAt(disk, 1);
      await snapshotAt(others, 1);
      cutAt(others, boundary);
      flip(disk, 1, 700);
      await repaired(disk, peersOf({ n1: peerOn(others.clone()) }));
      const log = openLog(disk);
      expect(log.base.index).to.equal(boundary);
      expect(recordsOf(log)).to.deep.equal(recordsOf(openLog(others)));
    });

    it('begins anew behind the snapshot of a peer that has committed all that this node vouched for', async () => {
      const disk = sound();
      const others = disk.clone();
      const boundary = await snapshotAt(others, 1);
      cutAt(others, boundary);
      flip(disk, 0, 700);
      const last = openLog(others.clone()).lastIndex;
      const warnings = await refused(disk, peersOf({ n1: peerOn(others.clone(), last - 1) }));
      expect(warnings.join()).to.include(`vouched for record ${last} of term 2`);
      await repaired(disk, peersOf({ n1: peerOn(others.clone()) }));
      const log = openLog(disk);
      expect([log.base.index, log.lastIndex]).to.deep.equal([boundary, last]);
      expect(recordsOf(log)).to.deep.equal(recordsOf(openLog(others)));
      const snapshots = SnapshotStore.open({ disk, directory: DIRECTORY });
      expect(snapshots.list()).to.deep.equal([boundary]);
    });

    it('cuts its log at no snapshot of its own above a message that was held back', async () => {
      const disk = sound();
      const others = disk.clone();
      const boundary = await snapshotAt(others, 0);
      await snapshotAt(disk, 1, ['p!0000000000000001', '[]']);
      cutAt(others, boundary);
      flip(disk, 0, 700);
      const later = disk.clone();
      const baseAfter = async (damaged: MemoryDisk): Promise<number> => {
        await repaired(damaged, peersOf({ n1: peerOn(others.clone()) }));
        return openLog(damaged).base.index;
      };
      // Waiting for a peer that knows too little to be committed so far is better.
      await refused(disk, peersOf({ n1: peerOn(others.clone(), boundary) }));
      expect(await baseAfter(disk)).to.equal(boundary);
      const free = await snapshotAt(later, 2);
      expect(await baseAfter(later)).to.equal(free);
    });

    it('begins anew behind no snapshot above a record that is held back', async () => {
      const disk = sound();
      const others = disk.clone();
      const boundaries = [await snapshotAt(others, 0), await snapshotAt(others, 1), await snapshotAt(others, 2)];
      cutAt(others, boundaries[0]!);
      flip(disk, 0, 700);
      for (const [heldFrom, expected] of [
        [null, boundaries[2]],
        [logIndex(boundaries[2]! + 1), boundaries[2]],
        [logIndex(boundaries[2]!), boundaries[1]],
        [logIndex(boundaries[0]! + 1), boundaries[0]],
      ] as const) {
        const damaged = disk.clone();
        await repaired(damaged, peersOf({ n1: { ...peerOn(others.clone()), heldFrom } }));
        const log = openLog(damaged);
        expect(log.base.index).to.equal(expected);
        expect(log.lastChain).to.equal(openLog(others.clone()).lastChain);
      }
    });

    for (const slots of [[0], [0, 4096]]) {
      it(`finds where its log began with ${slots.length} bad slot(s) of the base`, async () => {
        const disk = sound();
        const boundary = await snapshotAt(disk, 1);
        cutAt(disk, boundary);
        const before = contentOf(disk, COMMITLOG);
        for (const at of slots) disk.corrupt(`${DIRECTORY}/base`, at + 30, Buffer.of(0xee));
        expect(codeOf(() => openLog(disk.clone()))).to.equal(slots.length === 2 ? 'DATA_CORRUPTED' : 'none');
        await repaired(disk, peersOf({}));
        expect(openLog(disk).base.index).to.equal(boundary);
        expect(contentOf(disk, COMMITLOG)).to.deep.equal(before);
      });
    }
  });
});

/** A log that is open although it is damaged: the damage came later. */
function unrecovered(disk: MemoryDisk): CommitLog {
  const copy = sound();
  const log = CommitLog.open({
    disk: copy,
    directory: DIRECTORY,
    segmentSizeBytes: SEGMENT_BYTES,
    indexUnitsPerFile: 8,
    cacheBytesMax: 0,
  });
  for (const path of disk.files()) {
    if (path.startsWith(`${COMMITLOG}/`)) copy.corrupt(path, 0, disk.bytes(path));
  }
  return log;
}
