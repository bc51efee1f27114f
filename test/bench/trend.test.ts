// Lines through samples.
import { expect } from 'chai';
import { type Point, riseOf, slopeOf } from './trend.ts';

describe('bench: trend', () => {
  const line = (from: number, slope: number, noise = 0): Point[] => {
    return Array.from({ length: 100 }, (_, at) => [
      at / 10,
      from + (slope * at) / 10 + (at % 2 === 0 ? noise : -noise),
    ]);
  };

  it('finds a slope, falling ones too, and that of a level is 0', () => {
    for (const slope of [2.5, 0, -1]) expect(slopeOf(line(300, slope))).to.be.closeTo(slope, 1e-9);
  });

  it('sees through noise', () => {
    expect(slopeOf(line(300, 2, 20))).to.be.closeTo(2, 0.3);
    expect(slopeOf(line(300, 0, 20))).to.be.closeTo(0, 0.3);
  });

  it('tells the rise over the whole time in percent of the level', () => {
    expect(riseOf(line(95.05, 1))).to.be.closeTo(9.9, 1e-9);
    expect(riseOf(line(300, 0))).to.equal(0);
  });

  it('of no samples, of one, and of samples at one moment is 0', () => {
    for (const points of [
      [],
      [[1, 5]],
      [
        [1, 5],
        [1, 9],
      ],
    ] as Point[][]) {
      expect([slopeOf(points), riseOf(points)]).to.deep.equal([0, 0]);
    }
  });
});
