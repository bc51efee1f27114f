// What a crash leaves of snapshots: each one is there as a whole or not at all, and what arrived durably stays.
import { expect } from 'chai';
import { logIndex, term } from '../../src/raft/types.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { describeCrashes } from './crash_harness.ts';
import { append, expectConsistent, openLog, recordsOf } from './log_fixture.ts';
import {
  contentOfSnapshot,
  metaOf,
  openSnapshots,
  pathOf,
  rowsOf,
  SNAPSHOTS,
  sendSnapshot,
} from './snapshot_fixture.ts';

const rows = rowsOf(3 * 64 + 3, 1001);
const PIECE_BYTES = 65_536;

/** A leader's snapshot. */
const senderDisk = new MemoryDisk();
const sender = openSnapshots(senderDisk);
before(() => sender.write(metaOf(40), rows));

describeCrashes<{ written: number[] }>('writing snapshots', {
  prepare: () => new MemoryDisk(),
  witness: () => ({ written: [] }),
  stepsMin: 25,
  stride: 1,
  work: async (disk, known) => {
    const store = openSnapshots(disk);
    for (const index of [40, 50]) {
      await store.write(metaOf(index), rows);
      known.written.push(index);
    }
    store.remove(logIndex(40));
    store.close();
  },
  recover: async (disk, { written }, hint, isThorough) => {
    const store = openSnapshots(disk);
    const listed = store.list();
    if (written.length === 1) expect(listed, hint).to.include(40);
    if (written.length === 2) expect(listed, hint).to.include(50);
    for (const index of listed) expect(contentOfSnapshot(store, index)).to.deep.equal({ meta: metaOf(index), rows });
    expect(disk.list(SNAPSHOTS), hint).to.have.length(listed.length);
    if (!isThorough) return;
    const twin = disk.clone();
    const again = openSnapshots(twin);
    for (const index of [40, 50]) await again.write(metaOf(index), rows);
    expect(twin.bytes(pathOf(40)).equals(senderDisk.bytes(pathOf(40)))).to.equal(true);
    store.close();
  },
});

describeCrashes<{ held: number; isComplete: boolean }>('receiving a snapshot', {
  prepare: () => new MemoryDisk(),
  witness: () => ({ held: 0, isComplete: false }),
  stepsMin: 25,
  stride: 1,
  work: async (disk, known) => {
    let store = openSnapshots(disk);
    for (const chunkBytes of [70_000, 30_000, 90_000, 1_000_000]) {
      await sendSnapshot(sender, store, 40, { chunkBytes, chunksMax: 1 });
      known.held = store.incomingSize(logIndex(40), term(3));
      if (chunkBytes !== 30_000) continue;
      store.close();
      store = openSnapshots(disk);
    }
    known.isComplete = store.completeIncoming(logIndex(40), term(3));
    expect(known.isComplete).to.equal(true);
    store.close();
  },
  recover: async (disk, { held, isComplete }, hint, isThorough) => {
    const store = openSnapshots(disk);
    const size = store.incomingSize(logIndex(40), term(3));
    const whole = sender.open(logIndex(40)).sizeBytes;
    // The beginning of a piece is sent again.
    const kept = held < 64 || held === whole ? held : 64 + Math.floor((held - 64) / PIECE_BYTES) * PIECE_BYTES;
    expect(size, hint).to.be.at.least(kept);
    if (isComplete) expect(store.list(), hint).to.deep.equal([40]);
    for (const index of store.list()) {
      expect(contentOfSnapshot(store, index), hint).to.deep.equal({ meta: metaOf(40), rows });
    }
    store.close();
    if (!isThorough) return;
    const twin = disk.clone();
    const again = openSnapshots(twin);
    await sendSnapshot(sender, again, 40);
    expect(again.completeIncoming(logIndex(40), term(3)), hint).to.equal(true);
    expect(twin.bytes(pathOf(40)).equals(senderDisk.bytes(pathOf(40))), hint).to.equal(true);
    expect(twin.list(SNAPSHOTS)).to.have.length(1);
  },
});

describeCrashes<{ isInstalled: boolean; flushed: number }>(
  'installing a snapshot: complete it, then begin the log anew',
  {
    prepare: async () => {
      const disk = new MemoryDisk();
      const log = openLog(disk);
      append(log, [10, 20, 30]);
      await log.flush();
      const store = openSnapshots(disk);
      await sendSnapshot(sender, store, 40, { chunksMax: 2 });
      store.close();
      log.close();
      disk.kill();
      return disk;
    },
    witness: () => ({ isInstalled: false, flushed: 3 }),
    stepsMin: 25,
    stride: 2,
    work: async (disk, known) => {
      const log = openLog(disk);
      const store = openSnapshots(disk);
      await sendSnapshot(sender, store, 40);
      expect(store.completeIncoming(logIndex(40), term(3))).to.equal(true);
      log.restart(metaOf(40).tip);
      known.isInstalled = true;
      append(log, [70], 3);
      await log.flush();
      known.flushed = 41;
    },
    recover: (disk, { isInstalled, flushed }, hint) => {
      const log = openLog(disk);
      const store = openSnapshots(disk);
      expect([0, 40], hint).to.include(log.base.index);
      if (isInstalled) expect(log.base, hint).to.deep.equal(metaOf(40).tip);
      if (log.base.index === 40) {
        expect(contentOfSnapshot(store, 40).meta.tip, hint).to.deep.equal(log.base);
        expect(log.lastIndex, hint).to.be.at.least(isInstalled ? flushed : 40);
      } else {
        expect(recordsOf(log), hint).to.have.length(3);
      }
      expectConsistent(log);
      store.close();
    },
  },
);
