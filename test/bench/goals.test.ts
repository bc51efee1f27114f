// The verdicts that benches end with.
import { expect } from 'chai';
import { areMet, percentile, ratioOfMedians, tableOf } from './goals.ts';

describe('goals of a bench', () => {
  const values = Array.from({ length: 100 }, (_, at) => 100 - at);
  for (const [share, expected] of [
    [0.5, 50],
    [0.99, 99],
    [1, 100],
    [0, 1],
  ] as const) {
    it(`find that ${share * 100} % of 1 … 100 are at most ${expected}`, () => {
      expect(percentile(values, share)).to.equal(expected);
    });
  }

  it('are met up to the limit, and where there is none', () => {
    const goals = [
      { what: 'pause', value: 100, most: 100, unit: 'ms' },
      { what: 'trials', value: 50, unit: '' },
    ];
    expect(areMet(goals)).to.equal(true);
    expect(areMet([...goals, { what: 'longest', value: 101, most: 100, unit: 'ms' }])).to.equal(false);
  });

  it('say which one is missed', () => {
    const text = tableOf([
      { what: 'pause', value: 99, most: 100, unit: 'ms' },
      { what: 'longest', value: 101, most: 100, unit: 'ms' },
    ]);
    expect(text).to.match(/pause\s+│ 99 ms\s+│ <= 100 ms\s+│ met/);
    expect(text).to.match(/longest\s+│ 101 ms\s+│ <= 100 ms\s+│ MISSED/);
  });

  it('are met down to the limit where the figure must not fall short', () => {
    const ratio = { what: 'ratio', least: 1.3, unit: 'x' };
    expect(areMet([{ ...ratio, value: 1.3 }])).to.equal(true);
    expect(areMet([{ ...ratio, value: 1.29 }])).to.equal(false);
    expect(tableOf([{ ...ratio, value: 1.29 }])).to.match(/ratio │ 1.29 x\s+│ >= 1.3 x │ MISSED/);
    expect(tableOf([{ what: 'rate', value: 123_456, least: 150_000, unit: 'msg/s' }])).to.match(
      /rate │ 123,456 msg\/s │ >= 150,000 msg\/s │ MISSED/,
    );
  });

  it('compare medians of rounds, and nothing with nothing', () => {
    expect(ratioOfMedians([80, 5, 900], [100, 1, 400])).to.equal(0.8);
    expect(ratioOfMedians([1], [3])).to.equal(0.33);
    for (const [first, second] of [
      [[], [1]],
      [[1], []],
      [[1], [0]],
    ] as const) {
      expect(ratioOfMedians(first, second)).to.equal(0);
    }
  });

  it('of no values at all are zero', () => expect(percentile([], 0.5)).to.equal(0));
});
