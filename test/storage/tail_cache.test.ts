// What was appended last, in memory: bounded, but for what somebody needs soon.
import { expect } from 'chai';
import { physicalOffset } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import { NEEDED_BYTES_MAX, TailCache } from '../../src/storage/tail_cache.ts';

const BATCH_BYTES = 1024 * 1024;
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

  constructor(bytesMax: number) {
    this.cache = new TailCache(bytesMax);
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
    expect(new Filled(3 * BATCH_BYTES).push(3).first).to.equal(1);
    expect(new Filled(3 * BATCH_BYTES).push(10).first).to.equal(8);
  });

  it('holds beyond it what is needed soon, and no more than that', () => {
    const filled = new Filled(3 * BATCH_BYTES).push(4);
    filled.cache.keepFrom(logIndex(4));
    expect(filled.push(8).first).to.equal(4);
    filled.cache.keepFrom(logIndex(9));
    expect(filled.first).to.equal(9);
    filled.cache.keepFrom(logIndex(12));
    expect(filled.first, 'the bound is free for all').to.equal(10);
    filled.cache.keepFrom(logIndex(13));
    expect(filled.push(1).first).to.equal(11);
  });

  it('does not grow without end for who does not get on', () => {
    const filled = new Filled(3 * BATCH_BYTES);
    filled.cache.keepFrom(logIndex(1));
    const countMax = 3 + NEEDED_BYTES_MAX / BATCH_BYTES;
    expect(filled.push(countMax).first).to.equal(1);
    expect(filled.push(1).first).to.equal(2);
  });
});
