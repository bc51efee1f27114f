// A repair that is interrupted at any operation of the disk, or whose repetition is: the log is used by nobody before it
// is whole, and in the end it is.
import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import { type CrashCase, describeCrashes } from '../storage/crash_harness.ts';
import { append, codeOf, DIRECTORY, openLog, recordsOf, SEGMENT_BYTES } from '../storage/log_fixture.ts';
import { type Peer, peerOn, peersOf, repaired, setTerm } from './repair_fixture.ts';

const RECORDS = 10;
/** The first record of the later term. */
const NOOP = RECORDS + 1;

const path = (number: number): string => `${DIRECTORY}/commitlog/${String(number * SEGMENT_BYTES).padStart(20, '0')}`;

function sound(): MemoryDisk {
  const disk = new MemoryDisk();
  const log = openLog(disk);
  for (let batch = 0; batch < RECORDS / 2; batch++) append(log, [600, 1200 + batch], 1, batch);
  log.close();
  setTerm(disk, 1);
  return disk;
}

/** What is committed, and the place of the first record among them that covers all that was vouched for. */
interface Vouched {
  readonly records: string[];
  readonly coveredBy: number;
}

/**
 * @param damaged the disk to be repaired. @param peer who has what is missing.
 */
function caseOf(damaged: MemoryDisk, peer: Peer, vouched: Vouched, stepsMin: number): CrashCase<null> {
  damaged.crash({ mode: 'kept' });
  const peers = peersOf({ n1: peer });
  return {
    prepare: () => damaged.clone(),
    witness: () => null,
    work: (disk) => repaired(disk, peers),
    recover: async (disk, _, hint) => {
      // Whoever opens the log in between is refused, or finds all that was vouched for.
      disk.makeDirectory(DIRECTORY);
      const copy = disk.clone();
      if (codeOf(() => openLog(copy)) === 'none') {
        const held = heldBy(copy);
        if (held !== null) expectVouched(held, vouched, hint);
      }
      await repaired(disk, peers);
      expectVouched(heldBy(disk)!, vouched, hint);
    },
    stepsMin,
    stride: 9,
  };
}

/** All of them, or as many of the committed ones as cover what was vouched for; nothing else. */
function expectVouched(held: string[], { records, coveredBy }: Vouched, hint: string): void {
  const from = records.indexOf(held.at(-1)!);
  expect(from, hint).to.be.at.least(coveredBy);
  const count = Math.min(held.length, from + 1);
  expect(held.slice(-count), hint).to.deep.equal(records.slice(from + 1 - count, from + 1));
}

/** Null when reading finds damage, which is then not used either. */
function heldBy(disk: MemoryDisk): string[] | null {
  let held: string[] | null = null;
  const code = codeOf(() => {
    held = recordsOf(openLog(disk));
  });
  if (code !== 'none') expect(code).to.equal('DATA_CORRUPTED');
  return held;
}

const all = (records: string[]): Vouched => ({ records, coveredBy: records.length - 1 });

function overwritten(): CrashCase<null> {
  const disk = sound();
  const twin = peerOn(disk.clone());
  disk.corrupt(path(0), 500, Buffer.of(0xaa, 0xbb));
  disk.lose(path(1));
  return caseOf(disk, twin, all(recordsOf(twin.log)), 15);
}

function replaced(): CrashCase<null> {
  const disk = sound();
  const other = disk.clone();
  const mine = openLog(disk);
  append(mine, [900, 900, 700], 1, 9);
  mine.close();
  const theirs = openLog(other);
  append(theirs, [0], 2, 5);
  append(theirs, [500, 1800], 2, 5);
  theirs.close();
  const last = openLog(disk.clone()).locate(logIndex(NOOP)).position;
  disk.corrupt(path(Math.floor(last / SEGMENT_BYTES)), (last % SEGMENT_BYTES) + 60, Buffer.of(0xaa));
  const peer = peerOn(other);
  return caseOf(disk, peer, { records: recordsOf(peer.log), coveredBy: NOOP - 1 }, 30);
}

async function begun(): Promise<CrashCase<null>> {
  const disk = sound();
  const other = disk.clone();
  const log = openLog(other);
  const tip = log.tipAt(log.sealedBoundaries[0]!);
  const snapshots = SnapshotStore.open({ disk: other, directory: DIRECTORY });
  await snapshots.write({ tip, membership: Buffer.alloc(0) }, [['applied', 'x'.repeat(3_000)]]);
  snapshots.close();
  log.cutTo(tip.index);
  log.close();
  disk.corrupt(path(0), 500, Buffer.of(0xaa, 0xbb));
  const peer = peerOn(other);
  return caseOf(disk, peer, all(recordsOf(peer.log)), 40);
}

describeCrashes('a repair that overwrites damaged records', overwritten());
describeCrashes('a repair that replaces the tail', replaced());
describeCrashes('a repair that begins behind a snapshot', await begun());
