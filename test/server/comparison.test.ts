// The demonstration's judge, before hand-made histories: each fault must be seen, and counted once.
import { expect } from 'chai';
import { makeBody, readBody } from '../../src/server/demo/body.ts';
import { Comparison, isFaultless, type Outcome, type Verdict } from '../../src/server/demo/comparison.ts';
import { GapMeter, median } from '../../src/server/demo/gap_meter.ts';

interface History {
  /** producer, number, what it was told. */
  readonly sent: readonly [number, number, Outcome][];
  /** queue, producer, number, in the order of reading. */
  readonly read: readonly [number, number, number][];
}

/** Two producers of six messages each, two queues: even numbers belong to queue 0. */
function judge({ sent, read }: History): Verdict {
  const comparison = new Comparison({ producers: 2, messagesEach: 6, queues: 2 });
  for (const [producer, number, outcome] of sent) comparison.settled(producer, number, outcome);
  for (const [queue, producer, number] of read) comparison.read(queue, producer, number);
  return comparison.verdict();
}

const acknowledged = (...numbers: number[]): [number, number, Outcome][] =>
  numbers.map((number) => [0, number, 'acknowledged']);

const cases: readonly [string, History, Partial<Verdict>, boolean][] = [
  [
    'everything read once, in order',
    {
      sent: acknowledged(0, 1, 2, 3),
      read: [
        [0, 0, 0],
        [1, 0, 1],
        [0, 0, 2],
        [1, 0, 3],
      ],
    },
    { acknowledged: 4, read: 4 },
    true,
  ],
  [
    'queues read one after the other',
    {
      sent: acknowledged(0, 1, 2, 3),
      read: [
        [1, 0, 1],
        [1, 0, 3],
        [0, 0, 0],
        [0, 0, 2],
      ],
    },
    { read: 4 },
    true,
  ],
  [
    'two producers mixed in one queue',
    {
      sent: [...acknowledged(0, 2), [1, 0, 'acknowledged'], [1, 2, 'acknowledged']],
      read: [
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 2],
        [0, 1, 2],
      ],
    },
    { read: 4 },
    true,
  ],
  [
    'an unknown one that is there',
    { sent: [[0, 0, 'unknown']], read: [[0, 0, 0]] },
    { unknown: 1, acknowledged: 0 },
    true,
  ],
  ['an unknown one that is not there', { sent: [[0, 0, 'unknown']], read: [] }, { unknown: 1, lost: 0 }, true],
  ['a failed one that is not there', { sent: [[0, 0, 'failed']], read: [] }, { failed: 1 }, true],
  [
    'a lost one',
    {
      sent: acknowledged(0, 1, 2),
      read: [
        [0, 0, 0],
        [0, 0, 2],
      ],
    },
    { lost: 1 },
    false,
  ],
  [
    'the last one lost',
    {
      sent: acknowledged(0, 2, 4),
      read: [
        [0, 0, 0],
        [0, 0, 2],
      ],
    },
    { lost: 1 },
    false,
  ],
  ['everything lost', { sent: acknowledged(0, 1, 2), read: [] }, { lost: 3 }, false],
  [
    'one read twice in a row',
    {
      sent: acknowledged(0, 2),
      read: [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 2],
      ],
    },
    { duplicated: 1, outOfOrder: 0 },
    false,
  ],
  [
    'one read again later',
    {
      sent: acknowledged(0, 2),
      read: [
        [0, 0, 0],
        [0, 0, 2],
        [0, 0, 0],
      ],
    },
    { duplicated: 1, outOfOrder: 0 },
    false,
  ],
  [
    'one read three times',
    {
      sent: acknowledged(0),
      read: [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
      ],
    },
    { duplicated: 2 },
    false,
  ],
  [
    'two that changed places',
    {
      sent: acknowledged(0, 2),
      read: [
        [0, 0, 2],
        [0, 0, 0],
      ],
    },
    { outOfOrder: 1 },
    false,
  ],
  [
    'an early one that came last',
    {
      sent: acknowledged(0, 2, 4),
      read: [
        [0, 0, 2],
        [0, 0, 4],
        [0, 0, 0],
      ],
    },
    { outOfOrder: 1 },
    false,
  ],
  ['one in another queue', { sent: acknowledged(0), read: [[1, 0, 0]] }, { foreign: 1, lost: 1 }, false],
  ['one of a producer that does not exist', { sent: [], read: [[0, 7, 0]] }, { foreign: 1 }, false],
  ['one with a number that does not exist', { sent: [], read: [[0, 0, 6]] }, { foreign: 1 }, false],
  ['one that was never sent', { sent: [], read: [[0, 0, 4]] }, { foreign: 1 }, false],
  ['one that failed and is there', { sent: [[0, 0, 'failed']], read: [[0, 0, 0]] }, { contradicted: 1 }, false],
];

describe('comparison', () => {
  for (const [what, history, expected, good] of cases) {
    it(`${good ? 'accepts' : 'sees'} ${what}`, () => {
      const verdict = judge(history);
      expect(verdict).to.include(expected);
      expect(isFaultless(verdict)).to.equal(good);
      const faults = { lost: 0, duplicated: 0, outOfOrder: 0, foreign: 0, contradicted: 0, ...expected };
      for (const [name, value] of Object.entries(faults)) expect(verdict[name as keyof Verdict], name).to.equal(value);
    });
  }

  it('sees bytes that nobody sent', () => {
    const comparison = new Comparison({ producers: 1, messagesEach: 1, queues: 1 });
    comparison.readForeign();
    expect(isFaultless(comparison.verdict())).to.equal(false);
  });
});

describe('numbered bodies', () => {
  it('are read as what they were made', () => {
    for (const sizeBytes of [8, 9, 1024]) {
      const body = makeBody({ producer: 3, number: 70_000 }, sizeBytes);
      expect(readBody(body, sizeBytes)).to.deep.equal({ producer: 3, number: 70_000 });
    }
  });

  it('are not recognised with any byte changed, cut or added', () => {
    const body = makeBody({ producer: 1, number: 2 }, 32);
    for (let at = 0; at < body.length; at++) {
      const changed = Buffer.from(body);
      changed[at]! ^= 1;
      const read = readBody(changed, 32);
      expect(read === undefined || read.producer !== 1 || read.number !== 2, `byte ${at}`).to.equal(true);
    }
    expect(readBody(body.subarray(1), 32)).to.equal(undefined);
    expect(readBody(Buffer.concat([body, Buffer.of(0)]), 32)).to.equal(undefined);
  });
});

describe('gap meter', () => {
  it('measures the longest silence around a fault, from the last acknowledgement before it', () => {
    const meter = new GapMeter();
    for (const nowMs of [0, 10, 20]) meter.acknowledged(nowMs);
    meter.open();
    for (const nowMs of [22, 522, 530]) meter.acknowledged(nowMs);
    expect(meter.acknowledgedInWindow).to.equal(3);
    expect(meter.close()).to.equal(500);
  });

  it('counts a silence that began before the window, and none outside of it', () => {
    const meter = new GapMeter();
    meter.acknowledged(0);
    meter.acknowledged(5000);
    meter.open();
    meter.acknowledged(5100);
    expect(meter.close()).to.equal(100);
    meter.acknowledged(9999);
    meter.open();
    expect(meter.close()).to.equal(0);
  });

  it('knows the middle', () => {
    expect(median([])).to.equal(null);
    expect(median([9])).to.equal(9);
    expect(median([5, 1, 9])).to.equal(5);
    expect(median([4, 1, 2, 9])).to.equal(3);
  });
});
