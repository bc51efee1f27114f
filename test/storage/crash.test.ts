import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type HardState, logIndex, term } from '../../src/raft/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { HardStateFile } from '../../src/storage/hard_state.ts';
import { type DiskFailure, MemoryDisk } from '../../src/storage/memory_disk.ts';
import { type CrashPoint, crashPointsOf, fates } from './crash_harness.ts';
import { append, codeOf, contentOf, DIRECTORY, expectConsistent, openLog, recordsOf } from './log_fixture.ts';

/** Small segments, so that a small workload rolls often. */
const SMALL = { segmentSizeBytes: 700, indexUnitsPerFile: 4, cacheBytesMax: 400 };
const open = (disk: MemoryDisk): CommitLog => openLog(disk, SMALL);

/** What the outside world knows of a replica. */
class Witness {
  /** Every content the log ever had between two truncations; the last one is the present. */
  readonly timelines: string[][] = [[]];
  /** How many records of the present were reported as flushed. */
  flushed = 0;
  hardState: HardState = { term: term(0), vote: null };
  /** Saved last, or being saved. */
  hardStatePending: HardState = this.hardState;

  /** What the log holds after each append of the workload, from a run without faults: an append may be torn. */
  readonly #script: readonly string[][];
  readonly recorded: string[][] = [];
  #appends = 0;

  constructor(script: readonly string[][]) {
    this.#script = script;
  }

  willAppend(): void {
    this.timelines[this.timelines.length - 1] = this.#script[this.#appends++] ?? [];
  }

  hasAppended(log: CommitLog): void {
    if (this.#script.length === 0) this.recorded.push(recordsOf(log));
  }

  get present(): string[] {
    return this.timelines.at(-1)!;
  }

  truncate(index: number): void {
    this.timelines.push(this.present.slice(0, index));
    this.flushed = Math.min(this.flushed, index);
  }

  /** What a recovered log must be: all that was flushed, and nothing that never was. */
  check(records: readonly string[], hint: string): void {
    expect(records.length, `${hint}: flushed records are missing`).to.be.at.least(this.flushed);
    expect(records.slice(0, this.flushed), hint).to.deep.equal(this.present.slice(0, this.flushed));
    const isKnown = this.timelines.some((timeline) => records.every((record, at) => record === timeline[at]));
    expect(isKnown, `${hint}: the log holds what was never written that way`).to.equal(true);
  }
}

/** Appends, rolls, flushes, truncates, replaces, checkpoints, closes and opens again: about 200 steps of the disk. */
async function work(disk: MemoryDisk, witness: Witness): Promise<void> {
  let log = open(disk);
  const hardState = HardStateFile.open({ disk, directory: DIRECTORY });
  const write = (sizes: readonly number[], ofTerm: number, seed: number): void => {
    witness.willAppend();
    append(log, sizes, ofTerm, seed);
    witness.hasAppended(log);
  };
  const flush = async (): Promise<void> => {
    witness.flushed = Math.max(witness.flushed, (await log.flush()).index);
  };
  const truncate = (index: number): void => {
    witness.truncate(index);
    log.truncateAfter(logIndex(index));
  };
  const vote = (ofTerm: number, who: string | null): void => {
    witness.hardStatePending = { term: term(ofTerm), vote: who };
    hardState.save(witness.hardStatePending);
    witness.hardState = witness.hardStatePending;
  };
  vote(1, 'n0');
  write([100, 20], 1, 1);
  const pending = flush();
  write([200], 1, 2);
  await pending;
  write([300, 10, 10], 1, 3); // rolls
  await flush();
  const advancing = log.advanceCheckpoint(); // beside what follows
  write([640], 1, 4); // a segment of its own
  await advancing;
  const first = flush();
  write([400], 1, 5); // rolls while a flush runs
  await first;
  vote(2, 'n1');
  truncate(7); // within the unflushed part
  write([500, 90], 2, 6);
  await flush();
  vote(3, null);
  const overtaken = log.advanceCheckpoint();
  truncate(4); // below the flushed part and the checkpoint, back over two segments, while that is being saved
  await overtaken;
  const second = flush();
  write([30, 30], 3, 7);
  await second;
  await flush();
  log.close();
  log = open(disk);
  write([50, 600, 60], 3, 8);
  truncate(8);
  await flush();
  write([1], 4, 9);
}

let script: Promise<readonly string[][]> | null = null;
/** What the workload appends, from a run to its end. */
async function recordScript(): Promise<readonly string[][]> {
  const witness = new Witness([]);
  await work(new MemoryDisk(), witness);
  return witness.recorded;
}

async function newWitness(): Promise<Witness> {
  script ??= recordScript();
  return new Witness(await script);
}

/** Opens what a crash has left and checks it; then once more, which must change nothing. */
function checkRecovery(disk: MemoryDisk, witness: Witness, hint: string): void {
  const log = open(disk);
  const records = recordsOf(log);
  witness.check(records, hint);
  expect(log.flushedIndex, hint).to.equal(log.lastIndex);
  expectConsistent(log);
  const { state } = HardStateFile.open({ disk, directory: DIRECTORY });
  expect([witness.hardState, witness.hardStatePending], hint).to.deep.include(state);
  disk.crash({ mode: 'lost' });
  const before = contentOf(disk, `${DIRECTORY}/commitlog`);
  const again = open(disk);
  expect(recordsOf(again), hint).to.deep.equal(records);
  expect(contentOf(disk, `${DIRECTORY}/commitlog`), hint).to.deep.equal(before);
  append(again, [70, 300, 300], 9);
  expectConsistent(again);
}

describe('crash at every step of the disk', () => {
  let points: CrashPoint<Witness>[] = [];

  before(async () => {
    const disk = new MemoryDisk();
    const witness = await newWitness();
    ({ points } = await crashPointsOf(disk, witness, () => work(disk, witness)));
    expect(points.length).to.be.greaterThan(100);
  });

  for (const [name, fate] of fates) {
    it(`keeps what was flushed and invents nothing: ${name}`, () => {
      for (const { step, disk: found, known } of points) {
        const disk = found.clone();
        fate(disk, step);
        checkRecovery(disk, known, `step ${step}`);
      }
    });
  }

  it('recovers from crashes during recovery', async () => {
    for (const { step, disk: found, known } of points.filter((_, at) => at % 11 === 5)) {
      const crashed = found.clone();
      crashed.crash({ mode: 'sectors', random: new SeededRandom(step) });
      const inner = await crashPointsOf(crashed, null, () => open(crashed));
      for (const { step: innerStep, disk } of inner.points) {
        disk.crash({ mode: 'sectors', random: new SeededRandom(innerStep) });
        checkRecovery(disk, known, `step ${step}, recovery step ${innerStep}`);
      }
    }
  });
});

describe('a failing disk', () => {
  for (const failure of ['EIO', 'ENOSPC', 'short'] as const satisfies readonly DiskFailure[]) {
    it(`ends the log for good at any step (${failure}), and loses nothing that was flushed`, async () => {
      for (let step = 1, isOver = false; !isOver; step += failure === 'EIO' ? 1 : 3) {
        const disk = new MemoryDisk();
        const witness = await newWitness();
        disk.failAt(step, failure);
        try {
          await work(disk, witness);
          isOver = true;
        } catch (error) {
          if (!(error instanceof TLedgerError)) throw error;
          expect(error.code, `step ${step}`).to.equal('STORAGE_FAILED');
          expect(error.message).to.match(/^cannot .* (EIO|ENOSPC)$/);
        }
        const random = new SeededRandom(step);
        if (step % 3 === 0) disk.kill();
        else disk.crash({ mode: step % 3 === 1 ? 'lost' : 'sectors', random });
        checkRecovery(disk, witness, `step ${step}`);
      }
    }).timeout(180_000);
  }

  it('leaves a log that refuses every change after a failed write, too, and forgets the torn records', async () => {
    for (const failing of [1, 2]) {
      const disk = new MemoryDisk();
      const log = open(disk);
      append(log, [100]);
      await log.flush();
      disk.failAt(failing, 'short');
      expect(codeOf(() => append(log, [100]))).to.equal('STORAGE_FAILED');
      expect(log.lastIndex).to.equal(1);
      expect(codeOf(() => append(log, [100]))).to.equal('STORAGE_FAILED');
      expect(await log.flush().catch((error) => error.code)).to.equal('STORAGE_FAILED');
      log.close();
      // The records were whole if only the log index failed; nobody was told of them, so both outcomes are right.
      expect(open(disk).lastIndex).to.equal(failing);
    }
  });

  it('leaves a log that refuses every change with the first error, and still answers reads', async () => {
    const disk = new MemoryDisk();
    const log = open(disk);
    append(log, [100]);
    await log.flush();
    append(log, [100]);
    disk.failAt(1, 'ENOSPC');
    const flushing = log.flush();
    const sharing = [log.flush(), log.flush()];
    const outcomes = await Promise.all([flushing, ...sharing].map((flush) => flush.catch((error) => error)));
    for (const outcome of outcomes) expect(outcome).to.be.instanceOf(TLedgerError).and.equal(outcomes[0]);
    for (const change of [() => append(log, [10]), () => log.truncateAfter(logIndex(1))]) {
      expect(codeOf(change)).to.equal('STORAGE_FAILED');
    }
    expect(await log.advanceCheckpoint().catch((error) => error)).to.equal(outcomes[0]);
    expect(await log.flush().catch((error) => error)).to.equal(outcomes[0]);
    expect(log.flushedIndex).to.equal(1);
    expect(recordsOf(log)).to.have.length(2);
    log.close();
    log.close();
    expect(open(disk).lastIndex).to.equal(2);
  });
});
