import { expect } from 'chai';
import fc from 'fast-check';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex } from '../../src/raft/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { append, expectConsistent, openLog, recordsOf } from './log_fixture.ts';

/** A log is a list of records, some of which are durable. */
interface Model {
  /** Records before the first one held. */
  base: number;
  records: string[];
  /** Indexes, not counts. */
  flushed: number;
  /** Bodies and terms of the records, to make them again. */
  term: number;
}

interface Real {
  readonly disk: MemoryDisk;
  log: CommitLog;
}

const options = { segmentSizeBytes: 1000, indexUnitsPerFile: 4, cacheBytesMax: 900 };

class Append implements fc.AsyncCommand<Model, Real> {
  readonly sizes: readonly number[];
  readonly termStep: number;
  constructor(sizes: readonly number[], termStep: number) {
    this.sizes = sizes;
    this.termStep = termStep;
  }
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    model.term += this.termStep;
    const first = log.lastIndex + 1;
    expect(first).to.equal(model.base + model.records.length + 1);
    append(log, this.sizes, model.term, model.records.length);
    expect(log.lastIndex).to.equal(first + this.sizes.length - 1);
    for (let at = first; at <= log.lastIndex; at++) {
      const { buffer, start, end } = log.read(logIndex(at), logIndex(at));
      model.records.push(buffer.toString('latin1', start, end));
    }
    model.flushed = Math.max(model.flushed, log.flushedIndex);
  }
  toString = () => `append(${this.sizes}; +${this.termStep})`;
}

class Truncate implements fc.AsyncCommand<Model, Real> {
  readonly share: number;
  constructor(share: number) {
    this.share = share;
  }
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    const keep = Math.floor((model.records.length * this.share) / 100);
    log.truncateAfter(logIndex(model.base + keep));
    model.records.length = keep;
    model.flushed = Math.min(model.flushed, model.base + keep);
    // Records that replace others come from a later leader.
    model.term++;
  }
  toString = () => `truncate(${this.share} %)`;
}

class Flush implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    expect((await log.flush()).index).to.equal(model.base + model.records.length);
    model.flushed = model.base + model.records.length;
  }
  toString = () => 'flush';
}

class Checkpoint implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(_model: Model, { log }: Real): Promise<void> {
    await log.advanceCheckpoint();
  }
  toString = () => 'checkpoint';
}

class Reopen implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    real.log.close();
    real.disk.crash({ mode: 'lost' });
    real.log = openLog(real.disk, options);
    model.flushed = model.base + model.records.length;
    expect(recordsOf(real.log)).to.deep.equal(model.records);
  }
  toString = () => 'reopen';
}

class Crash implements fc.AsyncCommand<Model, Real> {
  readonly mode: 'lost' | 'sectors' | 'kill';
  readonly seed: number;
  constructor(mode: 'lost' | 'sectors' | 'kill', seed: number) {
    this.mode = mode;
    this.seed = seed;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    if (this.mode === 'kill') real.disk.kill();
    else real.disk.crash({ mode: this.mode, random: new SeededRandom(this.seed) });
    real.log = openLog(real.disk, options);
    const records = recordsOf(real.log);
    if (this.mode === 'kill') expect(records).to.deep.equal(model.records);
    expect(real.log.base.index).to.equal(model.base);
    const flushed = model.flushed - model.base;
    expect(records.length).to.be.at.least(flushed);
    expect(records.slice(0, flushed)).to.deep.equal(model.records.slice(0, flushed));
    // Behind that a truncation that was not flushed may be undone; the log itself is the new truth.
    model.records = records;
    model.flushed = model.base + records.length;
    model.term = Math.max(model.term, real.log.lastTerm);
  }
  toString = () => `crash(${this.mode}, ${this.seed})`;
}

class Cut implements fc.AsyncCommand<Model, Real> {
  readonly share: number;
  constructor(share: number) {
    this.share = share;
  }
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    const boundary = log.boundaryBelow(logIndex(model.base + Math.ceil((model.records.length * this.share) / 100)));
    if (boundary === null) return;
    log.cutTo(boundary);
    model.records.splice(0, boundary - model.base);
    model.base = boundary;
  }
  toString = () => `cut(${this.share} %)`;
}

/** Begins anew at a boundary of a longer log with the same beginning. */
class Restart implements fc.AsyncCommand<Model, Real> {
  readonly seed: number;
  constructor(seed: number) {
    this.seed = seed;
  }
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    const other = openLog(new MemoryDisk(), options);
    if (log.base.index > 0) other.restart(log.base);
    model.term++;
    for (let batch = 0; log.lastIndex + 4 > (other.sealedBoundaries.at(-1) ?? 0); batch++) {
      append(other, [100, 300], model.term, this.seed + batch);
    }
    log.restart(other.tipAt(other.sealedBoundaries.at(-1)!));
    model.base = log.base.index;
    model.records = [];
    model.flushed = model.base;
  }
  toString = () => `restart(${this.seed})`;
}

class Look implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(model: Model, { log }: Real): Promise<void> {
    expect(recordsOf(log)).to.deep.equal(model.records);
    expect(log.flushedIndex).to.equal(model.flushed);
    expectConsistent(log);
  }
  toString = () => 'look';
}

describe('commit log against a model', () => {
  it('behaves like a list of records of which a prefix is durable', async () => {
    const commands = fc.commands(
      [
        fc
          .tuple(fc.array(fc.oneof(fc.nat(60), fc.nat(900)), { minLength: 1, maxLength: 5 }), fc.nat(1))
          .map(([sizes, step]) => new Append(sizes, step)),
        fc.nat(100).map((share) => new Truncate(share)),
        fc.nat(100).map((share) => new Cut(share)),
        fc.nat(100).map((seed) => new Restart(seed)),
        fc.constant(new Flush()),
        fc.constant(new Checkpoint()),
        fc.constant(new Reopen()),
        fc
          .tuple(fc.constantFrom('lost' as const, 'sectors' as const, 'kill' as const), fc.nat())
          .map(([mode, seed]) => new Crash(mode, seed)),
        fc.constant(new Look()),
      ],
      { maxCommands: 40 },
    );
    const start = () => {
      const disk = new MemoryDisk();
      return { model: { base: 0, records: [], flushed: 0, term: 1 }, real: { disk, log: openLog(disk, options) } };
    };
    await fc.assert(
      fc.asyncProperty(commands, (run) => fc.asyncModelRun(start, run)),
      { numRuns: 250 },
    );
  }).timeout(180_000);
});
