// What was appended last, in memory: bounded, but for what somebody needs soon.
import { expect } from 'chai';
import { physicalOffset } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import { TailCache } from '../../src/storage/tail_cache.ts';

const BATCH_BYTES = 1024 * 1024;
const NEEDED_BATCHES_MAX = 20;
const NOT_READ = Buffer.alloc(0);

const tipOf = (index: number): LogTip => ({
  ...{ index: logIndex(index), term: term(1), chainCrc: 0 },
  start: physicalOffset(Math.max(0, index - 1) * BATCH_BYTES),
  end: physicalOffset(index * BATCH_BYTES),
});

/** Batches of one record each, of 1 MiB. */
class Filled {
  readonly cache: TailCache;
  #last = 0;

  constructor(batchesMax: number) {
    const neededBytesMax = NEEDED_BATCHES_MAX * BATCH_BYTES;
    this.cache = new TailCache({ bytesMax: batchesMax * BATCH_BYTES, neededBytesMax });
  }

  push(count: number): this {
    for (let at = 0; at < count; at++) {
      const [previous, last] = [tipOf(this.#last), tipOf(++this.#last)];
      this.cache.push({
        ...{ buffer: NOT_READ, start: 0, end: BATCH_BYTES, previous, last },
        firstIndex: last.index,
        position: last.start,
      });
    }
    return this;
  }

  /** From record `index` on. */
  keepFrom(index: number): void {
    this.cache.keepFrom(tipOf(index).start);
  }

  /** The first record that it holds; all behind it are held, too. */
  get first(): number {
    const held = Array.from({ length: this.#last }, (_, at) => at + 1).filter(
      (at) => this.cache.find(logIndex(at)) >= 0,
    );
    expect(held.at(-1), 'it reaches up to the end').to.equal(this.#last);
    expect(held.length, 'without a gap').to.equal(this.#last - held[0]! + 1);
    expect(this.cache.sizeBytes).to.equal(held.length * BATCH_BYTES);
    return held[0]!;
  }
}

describe('TailCache', () => {
  it('holds what fits into its bound', () => {
    expect(new Filled(3).push(3).first).to.equal(1);
    expect(new Filled(3).push(10).first).to.equal(8);
  });

  it('holds what is needed soon beside it', () => {
    const filled = new Filled(3).push(4);
    filled.keepFrom(4);
    expect(filled.push(8).first, 'three before the one that is needed').to.equal(2);
    filled.keepFrom(9);
    expect(filled.first).to.equal(6);
    filled.keepFrom(13);
    expect(filled.first, 'nothing is').to.equal(10);
    expect(filled.push(1).first).to.equal(10);
  });

  it('holds a batch of which a part is needed, though there is no other bound', () => {
    const filled = new Filled(0).push(2);
    filled.cache.keepFrom(physicalOffset(2 * BATCH_BYTES));
    expect(filled.push(2).first).to.equal(3);
    filled.cache.keepFrom(physicalOffset(2.5 * BATCH_BYTES));
    expect(filled.push(1).first).to.equal(3);
    filled.cache.keepFrom(physicalOffset(3 * BATCH_BYTES));
    expect(filled.push(1).first).to.equal(4);
  });

  it('does not grow without end for who does not get on', () => {
    const filled = new Filled(3);
    filled.keepFrom(1);
    expect(filled.push(3 + NEEDED_BATCHES_MAX).first).to.equal(1);
    expect(filled.push(1).first).to.equal(2);
  });

  it('begins anew after it was cleared, and goes on after a truncation', () => {
    const filled = new Filled(2);
    filled.keepFrom(1);
    filled.push(6).cache.truncateAfter(tipOf(4));
    expect([filled.cache.find(logIndex(1)), filled.cache.find(logIndex(4))]).to.deep.equal([0, 3]);
    expect(filled.cache.find(logIndex(5))).to.equal(-1);
    expect(filled.cache.sizeBytes).to.equal(4 * BATCH_BYTES);
    filled.cache.clear();
    expect([filled.cache.sizeBytes, filled.cache.start]).to.deep.equal([0, null]);
  });
});
