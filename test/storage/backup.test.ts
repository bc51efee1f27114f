import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { encodeManifest, readManifest } from '../../src/storage/backup_format.ts';
import { verifyBackup } from '../../src/storage/backup_reader.ts';
import { damageOf } from '../../src/storage/damage.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import {
  appendRecords,
  BACKUP,
  backUp,
  cut,
  expectGood,
  filesIn,
  groupOf,
  OWNER,
  passage,
  SEGMENT,
} from './backup_fixture.ts';
import { countOpenFiles, DIRECTORY } from './log_fixture.ts';

const start = (segment: number): string => String(segment * SEGMENT).padStart(20, '0');
const source = (segment: number): string => `${DIRECTORY}/commitlog/${start(segment)}`;
const other = (path: string): string => path.slice(0, 3);

async function failureOf(work: Promise<unknown>): Promise<TLedgerError> {
  try {
    await work;
  } catch (error) {
    expect(error).to.be.instanceOf(TLedgerError);
    return error as TLedgerError;
  }
  throw new Error('it did not fail');
}

/** A bit of a file of the backup, changed for good; links share it. */
function damage(disk: MemoryDisk, path: string, position = 100): void {
  disk.flip(path, position, 3);
}

describe('a backup', () => {
  it('links closed segments and copies the committed part of the open one', async () => {
    const { disk, log } = await groupOf(8);
    const done = await backUp(disk, log, { upTo: logIndex(7) });
    expect(filesIn(disk)).to.deep.equal([
      `commitlog/${start(0)}`,
      `commitlog/${start(1)}`,
      `commitlog/${start(2)}.7`,
      'manifest.json',
    ]);
    expect([done.bytesLinked, done.bytesCopied, done.bytesKept]).to.deep.equal([2 * SEGMENT, 252, 0]);
    expect([done.bytesRead, done.bytesTotal]).to.deep.equal([2 * SEGMENT + 252, 2 * SEGMENT + 252]);
    expect(await expectGood(disk)).to.deep.equal([0, 7]);
    expect(done.manifest).to.deep.equal(readManifest(disk, BACKUP));
    // Another name of the same file, until the log lets go of it.
    disk.remove(source(0));
    await expectGood(disk);
  });

  it('never links a segment whose last record could still be followed by another one', async () => {
    const { disk, log } = await groupOf(7);
    const done = await backUp(disk, log, { upTo: logIndex(6) });
    expect(done.bytesLinked).to.equal(SEGMENT);
    log.truncateAfter(logIndex(6));
    expect(await expectGood(disk)).to.deep.equal([0, 6]);
  });

  it('copies on another file system, the same bytes', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    disk.fileSystemOf = other;
    const done = await backUp(disk, log, { directory: '/copied' });
    expect([done.bytesLinked, done.bytesCopied]).to.deep.equal([0, 2 * SEGMENT + 504]);
    for (const path of filesIn(disk)) {
      expect(disk.bytes(`/copied/${path}`).equals(disk.bytes(`${BACKUP}/${path}`)), path).to.equal(true);
    }
  });

  it('of an empty log is one', async () => {
    const { disk, log } = await groupOf(0);
    await backUp(disk, log);
    expect(await expectGood(disk)).to.deep.equal([0, 0]);
    appendRecords(log, 1);
    await log.flush();
    await backUp(disk, log);
    expect(await expectGood(disk)).to.deep.equal([0, 1]);
  });

  it('begins with the snapshot that the log begins with', async () => {
    const { disk, log } = await groupOf(8);
    await cut(disk, log, 3);
    const done = await backUp(disk, log);
    expect(done.manifest.snapshot?.path).to.equal('snapshot/00000000000000000003');
    expect(await expectGood(disk)).to.deep.equal([3, 8]);
    await cut(disk, log, 6);
    log.close();
    await expectGood(disk);
  });

  it('of a log that is empty behind its base has a snapshot only', async () => {
    const { disk, log } = await groupOf(8);
    await cut(disk, log, 3);
    log.restart(log.tipAt(logIndex(3)));
    await backUp(disk, log);
    expect(await expectGood(disk)).to.deep.equal([3, 3]);
  });

  it('closes what it opened', async () => {
    const { disk, log } = await groupOf(8);
    await cut(disk, log, 3);
    const openFiles = countOpenFiles(disk);
    await backUp(disk, log);
    await backUp(disk, log);
    damage(disk, source(1));
    await failureOf(backUp(disk, log, { directory: '/elsewhere' }));
    expect(openFiles()).to.equal(0);
  });
});

describe('a backup that goes on where an earlier one ended', () => {
  for (const fileSystem of ['the same', 'another'] as const) {
    it(`takes what is new only, on ${fileSystem} file system`, async () => {
      const { disk, log } = await groupOf(8);
      if (fileSystem === 'another') disk.fileSystemOf = other;
      await backUp(disk, log);
      appendRecords(log, 5);
      await log.flush();
      const done = await backUp(disk, log);
      expect(done.bytesKept).to.equal(2 * SEGMENT);
      expect(done.bytesLinked + done.bytesCopied).to.equal(2 * SEGMENT + 252);
      expect(await expectGood(disk)).to.deep.equal([0, 13]);
      expect(done.earlier?.last.index).to.equal(8);
      expect(filesIn(disk).filter((path) => path.includes('.'))).to.deep.equal([
        `commitlog/${start(4)}.13`,
        'manifest.json',
      ]);
    });
  }

  it('keeps the tail, too, when nothing is new', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    const done = await backUp(disk, log);
    expect([done.bytesLinked, done.bytesCopied, done.bytesKept]).to.deep.equal([0, 0, 2 * SEGMENT + 504]);
  });

  it('keeps what retention removed from the log', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    appendRecords(log, 5);
    await log.flush();
    await cut(disk, log, 6);
    const done = await backUp(disk, log);
    expect(done.earlier?.last.index).to.equal(8);
    expect(await expectGood(disk)).to.deep.equal([0, 13]);
  });

  it('lets go of it when asked to, with the snapshot in its place', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    appendRecords(log, 5);
    await log.flush();
    await cut(disk, log, 6);
    const done = await backUp(disk, log, { prune: true });
    expect(await expectGood(disk)).to.deep.equal([6, 13]);
    expect(done.bytesKept).to.equal(0);
    expect(filesIn(disk).filter((path) => /0[01]?$/.test(path) && !path.includes('.'))).to.include(
      `commitlog/${start(2)}`,
    );
    expect(filesIn(disk)).not.to.include(`commitlog/${start(0)}`);
    // A later one, on a member that still holds more, does not go back.
    expect((await backUp(disk, log)).manifest.base.index).to.equal(6);
  });

  it('begins anew when the log was cut beyond its end', async () => {
    const { disk, log } = await groupOf(2);
    await backUp(disk, log);
    appendRecords(log, 11);
    await log.flush();
    await cut(disk, log, 6);
    const done = await backUp(disk, log);
    expect(done.earlier).to.equal(null);
    expect(await expectGood(disk)).to.deep.equal([6, 13]);
  });

  it('mends a copy that was damaged, if the log still holds it', async () => {
    const { disk, log } = await groupOf(8);
    disk.fileSystemOf = other;
    await backUp(disk, log);
    for (const path of filesIn(disk).filter((name) => name !== 'manifest.json')) {
      damage(disk, `${BACKUP}/${path}`);
      await backUp(disk, log);
      await expectGood(disk, path);
    }
    damage(disk, `${BACKUP}/commitlog/${start(0)}`);
    await cut(disk, log, 3);
    const error = await failureOf(backUp(disk, log));
    expect([error.code, damageOf(error)]).to.deep.equal(['DATA_CORRUPTED', null]);
    expect(error.message).to.include(`${BACKUP}/commitlog/${start(0)}`);
  });

  it('refuses other directories, other groups, and members that lag', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    const lagging = await failureOf(backUp(disk, log, { upTo: logIndex(7) }));
    expect([lagging.code, lagging.message]).to.deep.equal([
      'INVALID_ARGUMENT',
      "the backup there reaches record 8, this node's committed log only record 7: ask a member that has caught up",
    ]);
    for (const [name, value] of Object.entries({ cluster: 'd', group: 'h', groupId: 'f'.repeat(16) })) {
      const error = await failureOf(backUp(disk, log, { [name]: value }));
      expect([error.code, error.message]).to.deep.equal([
        'DATA_DIR_FOREIGN',
        `${BACKUP} is the backup of another group: its ${name} is ${OWNER[name as keyof typeof OWNER]}, not ${value}`,
      ]);
    }
    const foreign = await failureOf(backUp(disk, log, { directory: DIRECTORY }));
    expect([foreign.code, foreign.message]).to.deep.equal([
      'INVALID_ARGUMENT',
      `${DIRECTORY} is neither empty nor a backup: it holds checkpoint`,
    ]);
    log.truncateAfter(logIndex(7));
    appendRecords(log, 2, 4);
    await log.flush();
    expect((await failureOf(backUp(disk, log))).message).to.equal(
      'the backup there is of another log: record 8 differs',
    );
    await expectGood(disk);
  });

  it('refuses what newer software wrote', async () => {
    const { disk, log } = await groupOf(1);
    const { manifest } = await backUp(disk, log);
    const newer = encodeManifest(manifest).toString().replace('"formatVersion": 1', '"formatVersion": 2');
    disk.corrupt(`${BACKUP}/manifest.json`, 0, Buffer.from(newer));
    expect((await failureOf(backUp(disk, log))).message).to.include('does not match its checksum');
  });
});

describe('damage and a backup', () => {
  it('is named, and the earlier backup stays what it was', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    appendRecords(log, 5);
    await log.flush();
    log.close();
    damage(disk, source(3), 252 + 60);
    const before = filesIn(disk);
    const error = await failureOf(backUp(disk, log));
    expect(error.code).to.equal('DATA_CORRUPTED');
    expect(damageOf(error)).to.deep.equal({
      ...{ kind: 'log', file: source(3), position: 3 * SEGMENT + 252, index: 11 },
      reason: 'the body does not match its checksum',
    });
    expect(await expectGood(disk)).to.deep.equal([0, 8]);
    expect(filesIn(disk)).to.deep.equal(before);
  });

  it('of any byte of any segment keeps it from being made', async () => {
    for (const fileSystem of [() => '/', other]) {
      const { disk, log } = await groupOf(4);
      disk.fileSystemOf = fileSystem;
      for (let at = 0; at < 764 + 252; at += 3) {
        const [path, position] = at < 764 ? [source(0), at] : [source(1), at - 764];
        damage(disk, path, position);
        // The last record is looked at before anything is begun.
        const error = await failureOf(backUp(disk, log));
        expect(error.code).to.equal('DATA_CORRUPTED');
        expect(error.message).to.include(path);
        damage(disk, path, position);
      }
      await backUp(disk, log);
      await expectGood(disk);
    }
  });

  it('behind the filler is left behind: what is copied has zeros there', async () => {
    const { disk, log } = await groupOf(4);
    damage(disk, source(0), 790);
    const done = await backUp(disk, log);
    expect([done.bytesLinked, done.bytesCopied]).to.deep.equal([0, SEGMENT + 252]);
    await expectGood(disk);
  });

  it('of the snapshot is named', async () => {
    const { disk, log } = await groupOf(8);
    await cut(disk, log, 3);
    damage(disk, `${DIRECTORY}/snapshot/00000000000000000003`, 90);
    expect(damageOf(await failureOf(backUp(disk, log)))).to.include({ kind: 'snapshot', index: 3 });
    expect((await failureOf(verifyBackup({ disk, directory: BACKUP, passage }))).message).to.include(
      'no complete backup',
    );
  });

  it('of a missing file is named', async () => {
    const { disk, log } = await groupOf(8);
    disk.lose(source(1));
    expect(damageOf(await failureOf(backUp(disk, log)))).to.include({ kind: 'log', file: source(1), index: 4 });
  });

  it('of any bit of a backup is found when it is verified', async () => {
    const { disk, log } = await groupOf(8);
    disk.fileSystemOf = other;
    await cut(disk, log, 3);
    await backUp(disk, log);
    for (const path of filesIn(disk)) {
      const sizeBytes = disk.bytes(`${BACKUP}/${path}`).length;
      for (let at = 0; at < sizeBytes; at++) {
        disk.flip(`${BACKUP}/${path}`, at, at % 8);
        const found = await verifyBackup({ disk, directory: BACKUP, passage }).then(
          ({ problems }) => problems.map(({ file }) => file).join(),
          (error: unknown) => (error as TLedgerError).code,
        );
        // White space between the fields of a manifest says nothing.
        const expected = path === 'manifest.json' ? ['DATA_CORRUPTED', ''] : [path];
        expect(expected, `byte ${at} of ${path}`).to.include(found);
        disk.flip(`${BACKUP}/${path}`, at, at % 8);
      }
    }
    await expectGood(disk);
  });
});

describe('what happens to the log during a backup', () => {
  for (const fileSystem of ['the same', 'another'] as const) {
    for (const what of ['is cut', 'begins anew', 'is appended to'] as const) {
      it(`is not seen by it: it ${what}, on ${fileSystem} file system`, async () => {
        let steps = 0;
        for (let at = 0; at <= steps; at++) {
          const { disk, log } = await groupOf(8);
          if (fileSystem === 'another') disk.fileSystemOf = other;
          await cut(disk, log, 3);
          const tip = { ...log.tipAt(logIndex(8)), index: logIndex(20), term: term(9) };
          let step = 0;
          const take = async (): Promise<void> => {
            if (step++ !== at) return;
            if (what === 'is cut') await cut(disk, log, 6);
            else if (what === 'begins anew') log.restart(tip);
            else appendRecords(log, 5);
          };
          await backUp(disk, log, { pace: { take } });
          steps = step;
          expect(await expectGood(disk, `at ${at}`)).to.deep.equal([3, 8]);
        }
        expect(steps).to.be.greaterThan(2);
      });
    }
  }

  it('ends when it is not wanted any more, and leaves nothing behind', async () => {
    const { disk, log } = await groupOf(8);
    await backUp(disk, log);
    appendRecords(log, 5);
    await log.flush();
    const before = filesIn(disk);
    let left = 4;
    const take = async (): Promise<void> => {
      if (--left === 0) throw new TLedgerError('SHUTTING_DOWN');
    };
    expect((await failureOf(backUp(disk, log, { pace: { take } }))).code).to.equal('SHUTTING_DOWN');
    expect(filesIn(disk)).to.deep.equal(before);
    expect(await expectGood(disk)).to.deep.equal([0, 8]);
  });
});
