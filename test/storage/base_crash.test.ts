// What a crash leaves of a log that is cut, or begun anew: the log before or after it, never something in between.
import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { describeCrashes } from './crash_harness.ts';
import { append, contentOf, DIRECTORY, expectConsistent, openLog, recordsOf } from './log_fixture.ts';

/** Three records of 252 bytes fit into a segment, so boundaries are 3, 6, 9 … */
const options = { segmentSizeBytes: 800, indexUnitsPerFile: 4, cacheBytesMax: 600 };
const BODY_BYTES = 204;
const open = (disk: MemoryDisk): CommitLog => openLog(disk, options);

/** What a log may be found as: it begins at `base`, holds records of `timeline`, at least up to `flushed`. */
interface Version {
  readonly base: number;
  /** All records from 1 on. */
  readonly timeline: readonly string[];
  readonly flushed: number;
}

/** What the outside knows: one version, or the two between which a change is under way. */
class Witness {
  versions: Version[] = [{ base: 0, timeline: [], flushed: 0 }];

  get version(): Version {
    return this.versions.at(-1)!;
  }

  set(change: Partial<Version>): void {
    this.versions = [{ ...this.version, ...change }];
  }

  during(change: Partial<Version>, act: () => void): void {
    this.versions = [this.version, { ...this.version, ...change }];
    act();
    this.versions = [this.version];
  }

  check(log: CommitLog, hint: string): void {
    const records = recordsOf(log);
    const { base, lastIndex, flushedIndex } = log;
    const fits = this.versions.some(
      (version) =>
        version.base === base.index &&
        lastIndex >= version.flushed &&
        lastIndex <= version.timeline.length &&
        records.every((record, at) => record === version.timeline[base.index + at]),
    );
    const found = `${hint}: base ${base.index}, last ${lastIndex}`;
    const known = JSON.stringify(this.versions.map(({ base, flushed, timeline }) => [base, flushed, timeline.length]));
    expect(fits, `${found}, which none of ${known} is`).to.equal(true);
    expect(flushedIndex, hint).to.equal(lastIndex);
    expectConsistent(log);
    expectTidy(log);
  }
}

let disk: MemoryDisk;

/** No file is left of what is below the base. */
function expectTidy({ base }: CommitLog): void {
  const { segmentSizeBytes, indexUnitsPerFile } = options;
  const start = base.index === 0 ? 0 : Math.ceil(base.end / segmentSizeBytes) * segmentSizeBytes;
  for (const path of Object.keys(contentOf(disk, `${DIRECTORY}/commitlog`))) {
    expect(Number(path.slice(-20))).to.be.at.least(start);
  }
  const unit = Math.floor(base.index / indexUnitsPerFile) * indexUnitsPerFile;
  for (const path of Object.keys(contentOf(disk, `${DIRECTORY}/index`))) {
    expect(Number(path.slice(-20))).to.be.at.least(unit * 32);
  }
}

const leaderDisk = new MemoryDisk();
const leader = open(leaderDisk);
for (let index = 1; index <= 31; index++) append(leader, [BODY_BYTES], Math.ceil(index / 5), index);
const leaderRecords = recordsOf(leader);

/** A log of the records of another leader, up to `count`. */
function divergedRecords(count: number): string[] {
  const other = open(new MemoryDisk());
  fill(other, count);
  return recordsOf(other);
}

function fill(log: CommitLog, last: number): void {
  while (log.lastIndex < last) append(log, [BODY_BYTES], 1 + Math.floor(log.lastIndex / 4), 100 + log.lastIndex);
}

const own = divergedRecords(20);

/** Sends what the leader has, up to `last`. */
function replicateTo(log: CommitLog, last: number): void {
  while (log.lastIndex < last) {
    const next = logIndex(log.lastIndex + 1);
    const { buffer, start, end } = leader.read(next, next);
    log.appendSealed(Buffer.from(buffer), start, end);
  }
}

function recover(crashed: MemoryDisk, witness: Witness, hint: string, isThorough = true): void {
  disk = crashed;
  const log = open(crashed);
  witness.check(log, hint);
  if (!isThorough) return;
  const again = open(crashed.clone());
  append(again, [BODY_BYTES, 30, BODY_BYTES, BODY_BYTES, BODY_BYTES], 9);
  expectConsistent(again);
}

async function flush(log: CommitLog, witness: Witness): Promise<void> {
  const { index } = await log.flush();
  witness.set({ flushed: Math.max(index, witness.version.flushed) });
}

describeCrashes<Witness>('cutting a log', {
  prepare: () => new MemoryDisk(),
  witness: () => new Witness(),
  stepsMin: 100,
  stride: 13,
  recover,
  work: async (crashed, witness) => {
    disk = crashed;
    const log = open(crashed);
    const cut = (boundary: number): void => {
      witness.during({ base: boundary, flushed: Math.max(boundary, witness.version.flushed) }, () => {
        log.cutTo(logIndex(boundary));
      });
    };
    witness.set({ timeline: own.slice(0, 8) });
    fill(log, 8);
    await flush(log, witness);
    cut(3);
    witness.set({ timeline: own.slice(0, 13) });
    const pending = flush(log, witness);
    const advancing = log.advanceCheckpoint();
    fill(log, 13);
    await advancing;
    await pending;
    await flush(log, witness);
    witness.set({ timeline: own });
    fill(log, 20);
    cut(9);
    cut(log.boundaryBelow(log.lastIndex)!);
    await flush(log, witness);
    log.close();
  },
});

describeCrashes<Witness>('beginning anew behind a base', {
  prepare: async () => {
    const before = new MemoryDisk();
    const log = open(before);
    fill(log, 8);
    await log.flush();
    log.cutTo(logIndex(3));
    fill(log, 11);
    before.kill();
    return before;
  },
  witness: () => {
    const witness = new Witness();
    // Of the records behind a flush any number may be left.
    witness.set({ base: 3, flushed: 8, timeline: own.slice(0, 11) });
    return witness;
  },
  stepsMin: 60,
  stride: 13,
  recover,
  work: async (crashed, witness) => {
    disk = crashed;
    const log = open(crashed);
    const restart = (base: number): void => {
      const after = { base, flushed: base, timeline: leaderRecords.slice(0, base) };
      witness.during(after, () => log.restart(leader.tipAt(logIndex(base))));
    };
    witness.set({ flushed: log.lastIndex });
    restart(9);
    witness.set({ timeline: leaderRecords });
    replicateTo(log, 27);
    await flush(log, witness);
    witness.during({ base: 21 }, () => log.cutTo(logIndex(21)));
    replicateTo(log, 29);
    const flushing = flush(log, witness);
    const advancing = log.advanceCheckpoint();
    restart(30);
    await advancing;
    await flushing;
    witness.set({ timeline: leaderRecords });
    replicateTo(log, 31);
    await flush(log, witness);
    log.close();
  },
});

describe('a failing disk under a cut or a new beginning', () => {
  for (const what of ['cut', 'restart'] as const) {
    it(`ends the log for good at any step of a ${what}, and leaves it before or after`, async () => {
      for (let step = 1, isOver = false; !isOver; step++) {
        disk = new MemoryDisk();
        const witness = new Witness();
        witness.set({ timeline: own.slice(0, 11) });
        const log = open(disk);
        fill(log, 11);
        await flush(log, witness);
        disk.failAt(step, step % 2 === 0 ? 'EIO' : 'short');
        let last = '';
        disk.onOperation = ({ kind }) => {
          last = kind;
        };
        const change = (): void => (what === 'cut' ? log.cutTo(logIndex(6)) : log.restart(leader.tipAt(logIndex(9))));
        const after = what === 'cut' ? { base: 6 } : { base: 9, flushed: 9, timeline: leaderRecords.slice(0, 9) };
        try {
          witness.during(after, change);
          isOver = true;
        } catch (error) {
          expect((error as { code?: string }).code).to.equal('STORAGE_FAILED');
          // A record that could not be read has changed nothing.
          if (last !== 'read') expect(() => append(log, [1], 9)).to.throw('cannot');
        }
        if (step % 3 === 0) disk.kill();
        else disk.crash({ mode: 'lost' });
        recover(disk, witness, `step ${step}`);
      }
    });
  }
});
