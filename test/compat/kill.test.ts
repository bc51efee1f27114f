// A short share of `npm run test:compat:kill`.
import { expect } from 'chai';
import { runUnderKills } from './kill_run.ts';

describe('the official client while a leader dies', function () {
  this.retries(0);
  this.timeout(300_000);

  it('gets everything once it was acknowledged, in order, and nothing that it acknowledged', async () => {
    const seed = 1;
    const report = await runUnderKills({ seconds: 10, killEveryMs: 4_000, paceMs: 20, spared: 'n0', seed });
    expect(report.broken).to.deep.equal([]);
    expect(report.kills).to.be.at.least(1);
    expect(report.acknowledged).to.be.greaterThan(200);
    // Its own node lives: what happens behind it is nothing that a producer hears of.
    expect(report.unknown).to.equal(0);
  });
});
