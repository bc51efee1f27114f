// A crash at every disk operation of a backup: what lies there afterwards is the earlier backup or the new one, whole, and
// the next backup goes on from it; what was never complete is never taken for it.
import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { openBackup } from '../../src/storage/backup_reader.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { appendRecords, BACKUP, backUp, cut, expectGood, filesIn, groupOf, layout } from './backup_fixture.ts';
import { describeCrashes } from './crash_harness.ts';
import { codeOf, openLog } from './log_fixture.ts';

/** What the first backup has, and what the second one adds. */
interface Witness {
  isDone: boolean;
}

interface Case {
  readonly name: string;
  readonly isIncrement: boolean;
  readonly isCut: boolean;
  readonly prune: boolean;
  readonly fileSystemOf: (path: string) => string;
}

const apart = (path: string): string => path.slice(0, 3);
const together = (): string => '/';

const cases: readonly Case[] = [
  { name: 'a first backup by links', isIncrement: false, isCut: false, prune: false, fileSystemOf: together },
  {
    name: 'a first backup by copies, with a snapshot',
    isIncrement: false,
    isCut: true,
    prune: false,
    fileSystemOf: apart,
  },
  { name: 'an increment by links', isIncrement: true, isCut: false, prune: false, fileSystemOf: together },
  {
    name: 'an increment by copies that lets go of what was cut',
    isIncrement: true,
    isCut: true,
    prune: true,
    fileSystemOf: apart,
  },
];

async function prepared({ isIncrement, isCut, fileSystemOf }: Case): Promise<MemoryDisk> {
  const { disk, log } = await groupOf(isIncrement ? 5 : 11);
  disk.fileSystemOf = fileSystemOf;
  if (isIncrement) {
    await backUp(disk, log);
    appendRecords(log, 6);
    await log.flush();
  }
  if (isCut) await cut(disk, log, 3);
  log.close();
  disk.crash({ mode: 'kept' });
  return disk;
}

/** The log is opened before the disk is made to fail: only what the backup does counts. */
async function work(disk: MemoryDisk, { prune }: Case): Promise<void> {
  const hook = disk.onOperation;
  disk.onOperation = null;
  const log = openLog(disk, layout);
  disk.onOperation = hook;
  await backUp(disk, log, { prune });
}

for (const one of cases) {
  const isBase = one.isCut && (!one.isIncrement || one.prune);
  const whole = [isBase ? 3 : 0, 11];
  describeCrashes<Witness>(one.name, {
    stepsMin: 20,
    stride: 5,
    prepare: () => prepared(one),
    witness: () => ({ isDone: false }),
    work: async (disk, known) => {
      await work(disk, one);
      known.isDone = true;
    },
    recover: async (disk, _known, hint, isThorough) => {
      disk.fileSystemOf = one.fileSystemOf;
      if (!one.isIncrement && !disk.exists(`${BACKUP}/manifest.json`)) {
        expect(
          codeOf(() => openBackup(disk, BACKUP)),
          hint,
        ).to.equal('DATA_CORRUPTED');
      } else {
        const found = await expectGood(disk, hint);
        expect(one.isIncrement ? [[0, 5], whole] : [whole], hint).to.deep.include(found);
      }
      if (!isThorough) return;
      const log = openLog(disk, layout);
      await backUp(disk, log, { prune: one.prune, upTo: logIndex(11) });
      log.close();
      expect(await expectGood(disk, hint)).to.deep.equal(whole);
      expect(filesIn(disk).filter((path) => path.endsWith('.new') || path === 'incomplete')).to.deep.equal([]);
    },
  });
}

describe('a disk that fails during a backup', () => {
  for (const failure of ['EIO', 'ENOSPC', 'short'] as const) {
    it(`${failure}: the backup fails with STORAGE_FAILED, and the earlier one stays what it was`, async () => {
      for (const one of cases) {
        for (let step = 1, isOver = false; !isOver; step++) {
          const disk = await prepared(one);
          const log = openLog(disk, layout);
          disk.failAt(step, failure);
          const before = disk.operationCount;
          const code = await backUp(disk, log, { prune: one.prune }).then(
            () => 'none',
            (error: { code?: string }) => error.code,
          );
          isOver = disk.operationCount - before < step;
          disk.kill();
          // What fails when the backup is complete is tidied up by the next one.
          if (code !== 'none') expect(code, `step ${step}`).to.equal('STORAGE_FAILED');
          if (one.isIncrement || code === 'none') await expectGood(disk, `step ${step}`);
        }
      }
    });
  }
});
