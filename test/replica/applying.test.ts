import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { logIndex } from '../../src/raft/types.ts';
import { Applying } from '../../src/replica/applying.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';

/** An applied prefix that grows by `recordsEach` in each interval, in which so many queues have changed since it was saved. */
function saving(changedQueues: number, recordsEach: number) {
  const seen = { saved: [] as number[], marks: 0, interval: 0 };
  const clock = new ManualClock();
  const broker = {
    appliedIndex: logIndex(0),
    changedQueues,
    checkpoint: async () => {
      seen.saved.push(seen.interval);
      return broker.appliedIndex;
    },
  };
  const log = {
    ...{ lastIndex: logIndex(0), endPosition: 0, keepFrom: () => {} },
    advanceCheckpoint: async () => {
      seen.marks++;
    },
  };
  const applying = new Applying({
    log: log as unknown as CommitLog,
    broker: broker as unknown as Broker,
    ...{ clock, checkpointIntervalMs: 100, atBoundary: null },
    onFailure: (error) => {
      throw error;
    },
  });
  const run = async (intervals: number) => {
    applying.start();
    for (let passed = 0; passed < intervals; passed++) {
      seen.interval++;
      broker.appliedIndex = logIndex(broker.appliedIndex + recordsEach);
      clock.advance(100);
      await applying.pause();
      applying.start();
    }
    return seen;
  };
  return { applying, run };
}

describe('replica: applying', () => {
  it('has the log keep what is to be applied, and no more', () => {
    const kept: number[] = [];
    const log = {
      ...{ firstIndex: 1, lastIndex: logIndex(9), endPosition: 900 },
      keepFrom: (position: number) => kept.push(position),
      fit: (first: number) => ({ lastIndex: logIndex(first + 1), sizeBytes: 200 }),
      read: () => ({ buffer: Buffer.alloc(200), start: 0, end: 200 }),
      locate: (index: number) => ({ position: (index - 1) * 100, sizeBytes: 100 }),
      base: { end: 0 },
    };
    const broker = {
      appliedIndex: logIndex(3),
      apply: () => {
        broker.appliedIndex = logIndex(Math.min(broker.appliedIndex + 2, 6));
      },
    };
    const applying = new Applying({
      ...{ log: log as unknown as CommitLog, broker: broker as unknown as Broker, clock: new ManualClock() },
      ...{ checkpointIntervalMs: 100, atBoundary: null, onFailure: () => {} },
    });
    expect(kept).to.deep.equal([300]);
    expect(applying.apply(logIndex(6))).to.equal(false);
    expect(kept.at(-1)).to.equal(600);
    log.base.end = 800;
    applying.restarted();
    expect(kept.at(-1), 'behind a snapshot').to.equal(800);
  });
});

describe('replica: saving what is applied', () => {
  const table: readonly [string, number, number, number[]][] = [
    ['each interval, with few queues', 100, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]],
    ['for each hundred queues an interval is waited for', 301, 10, [4, 8, 12]],
    ['ten of them at most', 50_000, 10, [10]],
    ['or until there is much to apply again', 50_000, 400_000, [3, 6, 9, 12]],
    ['not while nothing is applied', 4, 0, []],
  ];
  for (const [name, queues, recordsEach, expected] of table) {
    it(name, async () => {
      const { saved, marks } = await saving(queues, recordsEach).run(12);
      expect(saved).to.deep.equal(expected);
      expect(marks, 'the log is vouched for each time').to.equal(recordsEach === 0 ? 0 : 12);
    });
  }

  it('does so at the end, whatever is due', async () => {
    const { applying, run } = saving(50_000, 10);
    const seen = await run(2);
    await applying.stop();
    expect(seen.saved).to.deep.equal([2]);
  });
});
