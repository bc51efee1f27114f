import { expect } from 'chai';
import fc from 'fast-check';
import { batch, codeOf, DIRECTORY, FakeLog, Harness, messagesOf } from './fixture.ts';

const FILE = '00000000000000000000';
const names = (prefix: string, count: number) => Array.from({ length: count }, (_, number) => `${prefix}${number}`);

describe('a pull', () => {
  it('returns whole records, where to go on, and the range of the queue', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.append(batch(names('m', 10)));
    const result = harness.pull(0, 3, 4);
    expect(result).to.include({ count: 4, nextOffset: 7, min: 0, max: 10 });
    const messages = messagesOf(result);
    expect(messages.map((one) => [one.queueOffset, one.body.toString()])).to.deep.equal([
      [3, 'm3'],
      [4, 'm4'],
      [5, 'm5'],
      [6, 'm6'],
    ]);
    expect(harness.pull(0, 7, 100)).to.include({ count: 3, nextOffset: 10 });
  });

  it('at the end is empty, without reading anything', async () => {
    const harness = await Harness.start({ queues: 2 });
    harness.append(batch(['a']));
    harness.log.reads = [];
    for (const queueId of [0, 1]) {
      const end = 1 - queueId;
      const result = harness.pull(queueId, end);
      expect(result).to.include({ count: 0, nextOffset: end, max: end });
      expect(result.records.length).to.equal(0);
    }
    expect(harness.log.reads).to.deep.equal([]);
  });

  it('outside the range is refused, naming it', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.append(batch(['a', 'b']));
    for (const offset of [3, -1, 1.5, Number.NaN, 2 ** 60]) {
      expect(
        codeOf(() => harness.pull(0, offset)),
        `${offset}`,
      ).to.equal('OFFSET_OUT_OF_RANGE');
    }
    expect(() => harness.pull(0, 3)).to.throw('which holds 0 to 2');
    expect(codeOf(() => harness.pull(1, 0))).to.equal('QUEUE_OUT_OF_RANGE');
    expect(codeOf(() => harness.pull(0, 0, 1, 1, 'U'))).to.equal('TOPIC_NOT_FOUND');
    for (const bound of [0, -1, Number.NaN]) {
      expect(
        codeOf(() => harness.pull(0, 0, bound, 1)),
        `${bound}`,
      ).to.equal('INVALID_ARGUMENT');
      expect(
        codeOf(() => harness.pull(0, 0, 1, bound)),
        `${bound}`,
      ).to.equal('INVALID_ARGUMENT');
    }
  });

  it('returns at most the bytes asked for, and always one message', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.append(batch(names('m', 10)));
    const one = harness.pull(0, 0, 1).records.length;
    for (const [bytesMax, count] of [
      [1, 1],
      [one, 1],
      [2 * one - 1, 1],
      [2 * one, 2],
      [5 * one + 1, 5],
    ] as const) {
      const result = harness.pull(0, 0, 100, bytesMax);
      expect(result.count, `${bytesMax} bytes`).to.equal(count);
      expect(result.records.length).to.equal(count * one);
    }
  });

  it('returns at most what the limits allow', async () => {
    const harness = await Harness.start({ queues: 1, limits: { pullCountMax: 7, pullBytesMax: 1_000 } });
    harness.append(batch(names('m', 20)));
    const one = harness.pull(0, 0, 1).records.length;
    expect(harness.pull(0, 0, 100, 1 << 30).count).to.equal(Math.floor(1_000 / one));
    const wide = await Harness.start({ queues: 1, limits: { pullCountMax: 7 } });
    wide.append(batch(names('m', 20)));
    expect(wide.pull(0, 0, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY).count).to.equal(7);
  });

  it('reads what lies back to back with one read', async () => {
    const harness = await Harness.start({ queues: 1 });
    for (let round = 0; round < 50; round++) harness.append(batch(names('m', 20)));
    harness.log.reads = [];
    expect(harness.pull(0, 0).count).to.equal(1_000);
    expect(harness.log.reads.length).to.equal(1);
  });

  it('reads small gaps along, and leaves them out of the result', async () => {
    const harness = await Harness.start({ queues: 4 });
    for (let round = 0; round < 50; round++) {
      for (let queueId = 0; queueId < 4; queueId++) harness.append(batch([`q${queueId}-${round}`], { queueId }));
    }
    harness.log.reads = [];
    const result = harness.pull(2, 0);
    expect(harness.log.reads.length).to.equal(1);
    expect(messagesOf(result).map((one) => one.body.toString())).to.deep.equal(names('q2-', 50));
  });

  it('skips large gaps with separate reads', async () => {
    const harness = await Harness.start({ queues: 2, limits: { readGapBytesMax: 4_096 } });
    for (let round = 0; round < 5; round++) {
      harness.append(batch([`a${round}`]));
      harness.append(batch(['x'.repeat(5_000)], { queueId: 1 }));
    }
    harness.log.reads = [];
    const result = harness.pull(0, 0);
    expect(messagesOf(result).map((one) => one.body.toString())).to.deep.equal(names('a', 5));
    expect(harness.log.reads.length).to.equal(5);
    const readBytes = harness.log.reads.reduce((sum, read) => sum + read.sizeBytes, 0);
    expect(readBytes).to.equal(result.records.length);
  });

  it('never reads more at once than the limit, unless one record is larger', async () => {
    const harness = await Harness.start({ queues: 1, limits: { readBytesMax: 8_192, readGapBytesMax: 1_000 } });
    harness.append(batch(Array.from({ length: 100 }, () => 'x'.repeat(1_000))));
    harness.append(batch(['y'.repeat(20_000), 'z']));
    harness.log.reads = [];
    expect(harness.pull(0, 0).count).to.equal(102);
    const sizes = harness.log.reads.map((read) => read.sizeBytes);
    expect(sizes.filter((size) => size > 8_192)).to.have.length(1);
    expect(Math.max(...sizes)).to.be.within(20_000, 20_300);
    expect(sizes.length).to.be.lessThan(20);
  });

  it('gives every message of every queue, in order, however the log and the requests are cut', async () => {
    const step = fc.record({ queueId: fc.nat(2), count: fc.integer({ min: 1, max: 9 }), size: fc.nat(900) });
    const request = fc.record({
      countMax: fc.integer({ min: 1, max: 20 }),
      bytesMax: fc.integer({ min: 1, max: 6_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), request, async (steps, { countMax, bytesMax }) => {
        const limits = { readGapBytesMax: 700, readBytesMax: 3_000 };
        const harness = await Harness.start({ queues: 3, log: new FakeLog(12_288), limits });
        const model: string[][] = [[], [], []];
        for (const [round, { queueId, count, size }] of steps.entries()) {
          const bodies = names(`${round}-${'b'.repeat(size)}`, count);
          model[queueId]!.push(...bodies);
          harness.append(batch(bodies, { queueId }));
        }
        for (const [queueId, bodies] of model.entries()) {
          const got: string[] = [];
          for (let next = 0; next < bodies.length; ) {
            const result = harness.pull(queueId, next, countMax, bytesMax);
            const messages = messagesOf(result);
            expect(messages.length).to.equal(result.count);
            expect(result.count).to.be.within(1, countMax);
            if (result.count > 1) expect(result.records.length).to.be.at.most(bytesMax);
            for (const [number, one] of messages.entries()) expect(one.queueOffset).to.equal(next + number);
            got.push(...messages.map((one) => one.body.toString()));
            next = result.nextOffset;
          }
          expect(got).to.deep.equal(bodies);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('a pull over damaged data is refused, never answered wrongly', () => {
  const damages: [string, (harness: Harness, unit: (offset: number, bytes: Buffer) => void) => void][] = [
    ['a bit of a body', ({ log }) => log.bytes.writeUInt8(0x7a, log.starts[4]! + 48 + 88)],
    ['a record size', ({ log }) => log.bytes.writeUInt32BE(9, log.starts[4]! + 4)],
    ['a record magic', ({ log }) => log.bytes.writeInt32BE(2, log.starts[4]!)],
    ['a unit of zeros', (_, unit) => unit(2, Buffer.alloc(20))],
    ['a unit above 2^53', (_, unit) => unit(2, Buffer.alloc(8, 0xff))],
    ['a unit of another queue', ({ disk }, unit) => unit(2, disk.bytes(`${DIRECTORY}/T/1/${FILE}`).subarray(40, 60))],
    ['a unit of another offset', ({ disk }, unit) => unit(2, disk.bytes(`${DIRECTORY}/T/0/${FILE}`).subarray(20, 40))],
    ['a unit with another size', (_, unit) => unit(2.4, Buffer.from([0, 0, 0, 99]))],
    ['a unit with a huge size', (_, unit) => unit(2.4, Buffer.from([0x7f, 0, 0, 99]))],
    [
      'a unit with a size that takes the next record along',
      ({ log }, unit) => {
        const size = Buffer.alloc(4);
        size.writeUInt32BE(log.starts[6]! - log.starts[4]! - 48);
        unit(2.4, size);
      },
    ],
    ['a unit that leads behind the end of the log', (_, unit) => unit(2, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]))],
    [
      'a unit that leads over the end of a segment',
      (_, unit) => unit(2, Buffer.from([0, 0, 0, 0, 0, 0x0f, 0xff, 0xff])),
    ],
  ];
  for (const [name, damage] of damages) {
    it(name, async () => {
      const harness = await Harness.start({ queues: 2 });
      harness.append(batch(['aaa', 'bbb', 'ccc', 'ddd']));
      harness.append(batch(['AAA', 'BBB', 'CCC', 'DDD'], { queueId: 1 }));
      harness.broker.writeUnits();
      const path = `${DIRECTORY}/T/0/${FILE}`;
      damage(harness, (offset, bytes) => harness.disk.corrupt(path, offset * 20, bytes));
      for (const [offset, count] of [
        [0, 4],
        [2, 1],
      ] as const) {
        expect(
          codeOf(() => harness.pull(0, offset, count)),
          `${offset}`,
        ).to.equal('DATA_CORRUPTED');
      }
      expect(harness.pull(0, 0, 2).count, 'what lies before is still served').to.equal(2);
    });
  }
});
