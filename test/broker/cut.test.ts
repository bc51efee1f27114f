// The log was cut: what lies before is gone from its queues, and nobody finds that out by accident.
import { expect } from 'chai';
import { OffsetOutOfRange } from '../../src/broker/offset_out_of_range.ts';
import { logIndex } from '../../src/raft/types.ts';
import { batch, codeOf, FakeLog, Harness, membership, PRODUCER_A, snapshotPath } from './fixture.ts';
import { stateOf } from './model.ts';

/** Index, and lengths of the three queues, where `busy` took its snapshot. */
const BOUNDARY = 9;
const LENGTHS = [4, 3, 0];

/** Messages in three queues, a snapshot at BOUNDARY, and some more of them in queues 0 and 2. */
async function busy(): Promise<Harness> {
  const harness = await Harness.start({ queues: 3, log: new FakeLog(1 << 11) });
  harness.append(batch(['a0', 'a1', 'a2', 'a3'], { producerId: PRODUCER_A }));
  harness.membership(membership('a', 'b'));
  harness.append(batch(['b0', 'b1', 'b2'], { queueId: 1 }));
  await harness.snapshot();
  harness.append(batch(['a4', 'a5'], { producerId: PRODUCER_A, sequence: 5 }));
  harness.append(batch(['c0'], { queueId: 2 }));
  return harness;
}

function expectCut(harness: Harness): void {
  expect(harness.broker.appliedIndex).to.equal(12);
  const ranges = [0, 1, 2].map((queueId) => harness.broker.range('T', queueId));
  expect(ranges.map(({ min }) => min)).to.deep.equal(LENGTHS);
  expect(ranges.map(({ max }) => max)).to.deep.equal([6, 3, 1]);
  expect([0, 1, 2].map((queueId) => harness.bodies(queueId))).to.deep.equal([['a4', 'a5'], [], ['c0']]);
  expect(harness.broker.membership).to.deep.equal({ index: 6, membership: membership('a', 'b') });
  const repeat = batch(['a0'], { producerId: PRODUCER_A });
  harness.broker.startLeading();
  expect(harness.admit(repeat).result).to.include({ queueOffset: 0, repeated: true });
}

describe('after a cut of the log', () => {
  it('a queue begins where it ended in the snapshot', async () => {
    const harness = await busy();
    expect(harness.broker.appliedIndex).to.equal(12);
    harness.cutTo(BOUNDARY);
    expectCut(harness);
  });

  it('a pull below is refused, and told where to go on; at the limit it is answered', async () => {
    const harness = await busy();
    harness.cutTo(BOUNDARY);
    const refusal = (queueId: number, offset: number): unknown => {
      try {
        return harness.pull(queueId, offset);
      } catch (error) {
        return error;
      }
    };
    const cases: [queueId: number, offset: number, next: number | null][] = [
      [0, 0, 4],
      [0, 3, 4],
      [0, 4, null],
      [0, 5, null],
      [0, 6, null],
      [0, 7, 6],
      [0, 4.5, 5],
      [0, -1, 4],
      [0, Number.NaN, 4],
      [1, 2, 3],
      [1, 3, null],
      [2, 0, null],
    ];
    for (const [queueId, offset, next] of cases) {
      const outcome = refusal(queueId, offset);
      const what = `queue ${queueId}, offset ${offset}`;
      if (next === null) {
        expect(outcome, what).to.have.property('count', harness.broker.range('T', queueId).max - offset);
        continue;
      }
      if (!(outcome instanceof OffsetOutOfRange)) throw new Error(what);
      const { min, max } = harness.broker.range('T', queueId);
      expect(outcome, what).to.include({ code: 'OFFSET_OUT_OF_RANGE', nextOffset: next, min, max });
      expect(outcome.message).to.include(`which holds ${min} to ${max}; the next valid offset is ${next}`);
      expect(refusal(queueId, next)).not.to.be.instanceOf(Error);
    }
  });

  it('nothing else changes: who waits, what comes next, what a leader assigns', async () => {
    const harness = await busy();
    let woken = 0;
    harness.broker.onAppend('T', 1, () => woken++);
    harness.admit(batch(['b3'], { queueId: 1 }));
    harness.cutTo(BOUNDARY);
    expect(woken).to.equal(0);
    harness.admit(batch(['b4'], { queueId: 1 }));
    harness.applyTo();
    expect(woken).to.equal(1);
    expect(harness.bodies(1)).to.deep.equal(['b3', 'b4']);
    expect(harness.broker.range('T', 1)).to.deep.equal({ queueId: 1, min: 3, max: 5 });
  });

  it('another one goes on from there, and one that comes late takes nothing back', async () => {
    const harness = await busy();
    await harness.snapshot();
    harness.cutTo(12);
    expect([0, 1, 2].map((queueId) => harness.broker.range('T', queueId).min)).to.deep.equal([6, 3, 1]);
    harness.cutTo(BOUNDARY);
    expect([0, 1, 2].map((queueId) => harness.broker.range('T', queueId).min)).to.deep.equal([6, 3, 1]);
  });

  it('is not believed of records that are not applied, nor of more messages than there are', async () => {
    const harness = await busy();
    const other = new Harness({ log: harness.log.replica(), disk: harness.disk });
    await other.open();
    other.applyTo(5);
    expect(() => other.cutTo(BOUNDARY)).to.throw('the log is cut at 9 where 5 is applied');
    const foreign = await Harness.start({ queues: 1 });
    for (let count = 0; count < 12; count++) foreign.noop();
    foreign.applyTo();
    const snapshot = harness.snapshots.open(logIndex(BOUNDARY));
    expect(codeOf(() => foreign.broker.cut(snapshot))).to.equal('DATA_CORRUPTED');
  });
});

describe('a start after a cut of the log', () => {
  it('whose minima were stored has them, and needs no snapshot', async () => {
    const harness = await busy();
    harness.cutTo(BOUNDARY);
    // Nothing was applied since the last checkpoint: the cut alone is worth the next one.
    await harness.broker.checkpoint();
    harness.disk.remove(snapshotPath(BOUNDARY));
    await harness.crash(1, 0);
    expect(harness.warnings).to.deep.equal([]);
    expectCut(harness);
  });

  for (const stored of [0, BOUNDARY, 10, 12]) {
    it(`that no checkpoint knows of (the last was at ${stored}) takes them from the snapshot`, async () => {
      const harness = await busy();
      if (stored === 12) await harness.broker.checkpoint();
      if (stored !== 12) {
        harness.medium.durable.clear();
        const again = new Harness({ log: harness.log, medium: harness.medium, disk: harness.disk });
        await again.open();
        again.applyTo(stored);
        await again.broker.checkpoint();
      }
      harness.log.base = harness.log.tipAt(BOUNDARY);
      harness.log.reads = [];
      await harness.crash(3);
      expect(harness.warnings).to.deep.equal([]);
      expect(harness.log.reads.filter(({ position }) => position < harness.log.base.end)).to.deep.equal([]);
      expectCut(harness);
      harness.broker.stopLeading();
      await harness.broker.checkpoint();
      harness.disk.remove(snapshotPath(BOUNDARY));
      await harness.crash(4, 0);
      expectCut(harness);
    });
  }

  it('that no checkpoint knows of is refused without the snapshot, and nothing is given up', async () => {
    const harness = await busy();
    await harness.broker.checkpoint();
    harness.log.base = harness.log.tipAt(BOUNDARY);
    harness.disk.remove(snapshotPath(BOUNDARY));
    const before = new Map(harness.medium.durable);
    const outcome = await harness.open().catch((error: { code?: string }) => error.code);
    expect(outcome).to.equal('DATA_CORRUPTED');
    expect(harness.medium.durable).to.deep.equal(before);
  });

  const damages: [string, (harness: Harness) => void][] = [
    ['a row', ({ medium }) => void medium.durable.set('q/T/0', '[4]')],
    ['a row that ends before it begins', ({ medium }) => void medium.durable.set('q/T/0', '[4,3]')],
    ['the row of the base', ({ medium }) => void medium.durable.set('base', '-1')],
    ['the row of the membership', ({ medium }) => void medium.durable.set('m', '{"v":2}')],
    ['a queue shorter than in the snapshot', ({ medium }) => void medium.durable.set('q/T/1', '[0,2]').delete('base')],
    [
      'the files of the queues',
      ({ disk }) =>
        disk
          .files()
          .filter((file) => file.includes('consumequeue'))
          .forEach((file) => void disk.remove(file)),
    ],
    [
      'a last unit that leads before the base',
      ({ disk }) =>
        disk.corrupt(
          '/group/consumequeue/T/0/00000000000000000000',
          100,
          disk.bytes('/group/consumequeue/T/0/00000000000000000000').subarray(0, 20),
        ),
    ],
  ]; // prettier-ignore
  for (const [what, damage] of damages) {
    it(`and damage to ${what} makes the state anew from the snapshot and the log`, async () => {
      const harness = await busy();
      harness.cutTo(BOUNDARY);
      await harness.broker.checkpoint();
      const { tables } = await stateOf(harness);
      damage(harness);
      harness.log.reads = [];
      await harness.open();
      expect(harness.log.reads.filter(({ position }) => position < harness.log.base.end)).to.deep.equal([]);
      expect(harness.warnings).to.have.length(1);
      expect(harness.broker.appliedIndex).to.equal(BOUNDARY);
      harness.applyTo();
      expectCut(harness);
      harness.broker.stopLeading();
      expect((await stateOf(harness)).tables).to.deep.equal(tables);
      await harness.open();
      expect(harness.warnings).to.have.length(1);
    });
  }

  it('comes through a power loss at any step of the disk', async () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      const harness = await busy();
      const stop = harness.disk.operationCount + step;
      harness.disk.onOperation = ({ number }) => {
        if (number >= stop) throw new Error('power loss');
      };
      const work = async () => {
        const checkpoint = harness.broker.checkpoint();
        checkpoint.catch(() => {});
        harness.cutTo(BOUNDARY);
        await harness.broker.checkpoint();
      };
      const outcome = await work().then(
        () => 'done',
        (error: Error) => error.message,
      );
      isOver = outcome === 'done';
      await harness.crash(step);
      expect(harness.warnings, `step ${step}: ${outcome}`).to.deep.equal([]);
      expectCut(harness);
    }
  });
});
