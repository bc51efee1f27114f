// The judge before hand-made histories: each broken promise must be seen, twice over, and nothing else.
import { expect } from 'chai';
import { type FinalLog, FOREIGN, History, keyOf, type Outcome } from './history.ts';
import { clean, type Faults, isFaultless, judge } from './judge.ts';
import { voidReasons } from './report.ts';

/** What happened to one message; times in milliseconds, `from` its sending, `to` its outcome. */
interface Told {
  readonly outcome: Outcome;
  readonly queue?: number;
  readonly offset?: number | null;
  readonly from?: number;
  readonly to?: number;
  readonly copiesMax?: number;
}

interface Case {
  readonly what: string;
  /** By sender, in the order of sending. */
  readonly told: readonly (readonly Told[])[];
  /** By queue: `sender:number`, or `?` for bytes nobody sent. */
  readonly log: readonly (readonly string[])[];
  /** What readers were shown: queue, offset, value. */
  readonly shown?: readonly (readonly [number, number, string])[];
  /** What a reader saw go wrong. */
  readonly sighted?: 'diverged' | 'stale' | 'unlinearizable' | 'broken';
  readonly faults?: Partial<Faults>;
}

const QUEUES = 2;
const yes = (offset: number | null, rest: Partial<Told> = {}): Told => ({ outcome: 'acknowledged', offset, ...rest });
const no: Told = { outcome: 'failed' };
const maybe: Told = { outcome: 'unknown' };

const cases: readonly Case[] = [
  { what: 'nothing at all', told: [], log: [[]] },
  { what: 'everything where it was said to be', told: [[yes(0), yes(1)]], log: [['0:0', '0:1']] },
  { what: 'an unknown one that is there', told: [[maybe]], log: [['0:0']] },
  { what: 'an unknown one that is not there', told: [[maybe]], log: [[]] },
  { what: 'an unknown one that arrived late', told: [[maybe, yes(0)]], log: [['0:1', '0:0']] },
  { what: 'a failed one that is not there', told: [[no]], log: [[]] },
  { what: 'an acknowledged one whose place nobody remembers', told: [[yes(null), yes(1)]], log: [['0:0', '0:1']] },
  { what: 'two senders mixed', told: [[yes(1), yes(2)], [yes(0)]], log: [['1:0', '0:0', '0:1']] },
  {
    what: 'two queues',
    told: [[yes(0, { queue: 1 }), yes(0), yes(1, { queue: 1 })]],
    log: [['0:1'], ['0:0', '0:2']],
  },
  { what: 'a repeat that was allowed', told: [[yes(1, { copiesMax: 2 })]], log: [['0:0', '0:0']] },
  {
    what: 'an allowed repeat behind a later message',
    told: [[yes(0, { copiesMax: 2, to: 5 }), yes(1, { from: 6, to: 9 })]],
    log: [['0:0', '0:1', '0:0']],
  },
  {
    what: 'one that overtook another while both were under way',
    told: [[yes(1, { from: 0, to: 10 })], [yes(0, { from: 5, to: 8 })]],
    log: [['1:0', '0:0']],
  },
  { what: 'readers shown what is there', told: [[yes(0)]], log: [['0:0']], shown: [[0, 0, '0:0']] },

  { what: 'a lost one', told: [[yes(0), yes(1)]], log: [['0:0']], faults: { lost: 1, phantom: 1 } },
  { what: 'a lost one, its place unknown', told: [[yes(null)]], log: [[]], faults: { lost: 1 } },
  { what: 'everything lost', told: [[yes(null), yes(null)]], log: [[]], faults: { lost: 2 } },
  { what: 'one elsewhere', told: [[yes(1), maybe]], log: [['0:0', '0:1']], faults: { misplaced: 1, phantom: 1 } },
  {
    what: 'two that changed places',
    told: [[yes(1)], [yes(0)]],
    log: [['0:0', '1:0']],
    faults: { misplaced: 2, phantom: 2 },
  },
  { what: 'a double', told: [[yes(0)]], log: [['0:0', '0:0']], faults: { doubled: 1 } },
  { what: 'an unknown one twice', told: [[maybe]], log: [['0:0', '0:0']], faults: { doubled: 1 } },
  {
    what: 'a repeat too many',
    told: [[yes(0, { copiesMax: 2 })]],
    log: [['0:0', '0:0', '0:0']],
    faults: { doubled: 1 },
  },
  { what: 'bytes nobody sent', told: [[]], log: [['?']], faults: { invented: 1 } },
  { what: 'a number nobody sent', told: [[yes(0)]], log: [['0:0', '0:7']], faults: { invented: 1 } },
  { what: 'a sender nobody knows', told: [[]], log: [['4:0']], faults: { invented: 1 } },
  { what: 'one in the wrong queue', told: [[maybe]], log: [[], ['0:0']], faults: { invented: 1 } },
  { what: 'a failed one that is there', told: [[no]], log: [['0:0']], faults: { wronglyFailed: 1 } },
  { what: 'two failed ones that are there', told: [[no], [no]], log: [['1:0', '0:0']], faults: { wronglyFailed: 2 } },
  {
    what: 'one behind its sender’s next',
    told: [[yes(1), yes(0)]],
    log: [['0:1', '0:0']],
    faults: { reordered: 1 },
  },
  {
    what: 'one behind its sender’s next, their places unknown',
    told: [[yes(null), yes(null)]],
    log: [['0:1', '0:0']],
    faults: { reordered: 1 },
  },
  {
    what: 'one behind another’s that was sent after it had been acknowledged',
    told: [[yes(1, { from: 0, to: 5 })], [yes(0, { from: 6, to: 9 })]],
    log: [['1:0', '0:0']],
    faults: { reordered: 1 },
  },
  {
    what: 'one behind an unknown one that was sent after it had been acknowledged',
    told: [[yes(1, { from: 0, to: 5 })], [{ outcome: 'unknown', from: 6 }]],
    log: [['1:0', '0:0']],
    faults: { reordered: 1 },
  },
  {
    what: 'two readers who saw different values',
    told: [[maybe, maybe]],
    log: [['0:0']],
    shown: [
      [0, 0, '0:0'],
      [0, 0, '0:1'],
    ],
    faults: { diverged: 1 },
  },
  {
    what: 'a reader who saw another value than was acknowledged',
    told: [[yes(0), maybe]],
    log: [['0:0']],
    shown: [[0, 0, '0:1']],
    faults: { diverged: 1 },
  },
  {
    what: 'a reader who was shown bytes nobody sent',
    told: [[yes(0)]],
    log: [['0:0']],
    shown: [[0, 0, '?']],
    faults: { diverged: 1 },
  },
  {
    what: 'a reader who saw what was taken back',
    told: [[maybe]],
    log: [[]],
    shown: [[0, 0, '0:0']],
    faults: { phantom: 1 },
  },
  {
    what: 'a reader who saw what another message replaced',
    told: [[maybe, yes(null)]],
    log: [['0:1']],
    shown: [[0, 0, '0:0']],
    faults: { phantom: 1 },
  },
  { what: 'a read that missed something', told: [], log: [[]], sighted: 'stale', faults: { stale: 1 } },
  {
    what: 'bytes that were damaged, and a lost one',
    told: [[yes(null)]],
    log: [[]],
    sighted: 'broken',
    faults: { broken: 1, lost: 1 },
  },
  {
    what: 'a read that missed a lost one',
    told: [[yes(null)]],
    log: [[]],
    sighted: 'stale',
    faults: { stale: 1, lost: 1 },
  },
  {
    what: 'two places wrong in two queues',
    told: [[yes(1), yes(1, { queue: 1 }), maybe]],
    log: [['0:0', '0:2'], ['0:1']],
    faults: { misplaced: 2, phantom: 2 },
  },
  { what: 'bytes that were damaged', told: [], log: [[]], sighted: 'broken', faults: { broken: 1 } },
  {
    what: 'a history without an order',
    told: [],
    log: [[]],
    sighted: 'unlinearizable',
    faults: { unlinearizable: 1 },
  },
  {
    what: 'a history without an order, beside good ones',
    told: [[yes(0)]],
    log: [['0:0']],
    sighted: 'unlinearizable',
    faults: { unlinearizable: 1 },
  },
  { what: 'two leaders of one term', told: [], log: [[]], sighted: 'diverged', faults: { diverged: 1 } },
];

function keyOfText(text: string): number {
  if (text === '?') return FOREIGN;
  const [sender, number] = text.split(':').map(Number);
  return keyOf({ sender: sender!, number: number! });
}

/** Good messages that stand in each queue before those of the case, from a sender of their own. */
const BACKGROUND_SENDER = 9;

function historyOf({ told, shown, sighted }: Case, background: number): History {
  const history = new History(QUEUES);
  for (let number = 0; number < background * QUEUES; number++) {
    const queue = number % QUEUES;
    const operation = history.begin(BACKGROUND_SENDER, queue, -2_000);
    history.settle(operation, 'acknowledged', Math.floor(number / QUEUES), -1_000);
  }
  told.forEach((mine, sender) => {
    // By default all are under way at once, so that time says nothing of their order.
    for (const { outcome, queue = 0, offset = null, from = 0, to = 1_000, copiesMax = 1 } of mine) {
      const operation = history.begin(sender, queue, from);
      operation.copiesMax = copiesMax;
      history.settle(operation, outcome, offset === null ? null : offset + background, to);
    }
  });
  for (const [queue, offset, text] of shown ?? []) {
    history.observe('n1', queue, offset + background, keyOfText(text));
  }
  if (sighted !== undefined) history.sight(sighted, 'seen');
  return history;
}

function logOf({ log }: Case, background: number): FinalLog {
  return Array.from({ length: QUEUES }, (_, queue) => [
    ...Array.from({ length: background }, (_, at) => keyOf({ sender: BACKGROUND_SENDER, number: at * QUEUES + queue })),
    ...(log[queue] ?? []).map(keyOfText),
  ]);
}

describe('the judge of chaos', () => {
  for (const background of [0, 200]) {
    const where = background === 0 ? '' : `, among ${background * QUEUES} good ones`;
    for (const one of cases) {
      it(`${one.faults === undefined ? 'accepts' : 'catches'} ${one.what}${where}`, () => {
        const verdict = judge(historyOf(one, background), logOf(one, background));
        expect(verdict.faults).to.deep.equal({ ...clean, ...one.faults });
        expect(isFaultless(verdict)).to.equal(one.faults === undefined);
        expect(verdict.examples.length > 0).to.equal(one.faults !== undefined);
      });
    }
  }

  it('judges what was seen on the way when nothing could be read back', () => {
    const history = historyOf({ what: '', told: [[yes(0), no]], log: [], sighted: 'broken' }, 0);
    const { faults, acknowledged, read } = judge(history, undefined);
    expect({ faults, acknowledged, read }).to.deep.equal({ faults: { ...clean, broken: 1 }, acknowledged: 1, read: 0 });
  });

  it('has two cases for every promise', () => {
    const caught = cases.flatMap(({ faults }) => Object.keys(faults ?? {}));
    const once = Object.keys(clean).filter((kind) => caught.indexOf(kind) === caught.lastIndexOf(kind));
    expect(once).to.deep.equal([]);
  });
});

describe('the validity of a run', () => {
  const kind = { count: 1, leftTrace: 1, medianGapMs: null, longestGapMs: null };
  const histories = { judged: 100, operations: 2_000, undecided: 1 };
  const good = {
    acknowledgedPerSecondBefore: 500,
    acknowledgedPerSecondAfter: 400,
    faultsByKind: { transfer: kind },
    histories,
    ...{ isCut: false, cut: 0 },
    ...{ acknowledged: 1_000, failed: 10, unknown: 10 },
  };
  const runs = [
    { what: 'a good one', change: {}, reasons: 0 },
    { what: 'little service before', change: { acknowledgedPerSecondBefore: 99 }, reasons: 1 },
    { what: 'little service after', change: { acknowledgedPerSecondAfter: 0 }, reasons: 1 },
    { what: 'many failures', change: { failed: 500 }, reasons: 1 },
    { what: 'many unknown outcomes', change: { unknown: 500 }, reasons: 1 },
    { what: 'many histories without a verdict', change: { histories: { ...histories, undecided: 6 } }, reasons: 1 },
    { what: 'no histories', change: { histories: { judged: 0, operations: 0, undecided: 0 } }, reasons: 1 },
    { what: 'nothing deleted though it should be', change: { isCut: true }, reasons: 1 },
    { what: 'much deleted as it should be', change: { isCut: true, cut: 1_000 }, reasons: 0 },
    { what: 'no faults', change: { faultsByKind: {} }, reasons: 1 },
    {
      what: 'a fault without a trace',
      change: { faultsByKind: { a: kind, b: { ...kind, leftTrace: 0 } } },
      reasons: 1,
    },
  ];
  for (const { what, change, reasons } of runs) {
    it(`${reasons === 0 ? 'counts' : 'voids'} ${what}`, () => {
      const run = { ...good, ...change };
      expect(voidReasons(run, run)).to.have.length(reasons);
    });
  }
});
