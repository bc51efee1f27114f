// A short share of `npm run test:crash-points`: see crash_points.ts.
import { expect } from 'chai';
import { runCampaign } from './crash_campaign.ts';

describe('crash points of random histories', function () {
  this.retries(0);
  this.timeout(300_000);

  it('lose nothing that was acknowledged, invent nothing, and leave what the log makes', async () => {
    const report = await runCampaign({
      histories: 12,
      seed: 4,
      tornMax: 2,
      subsetsMax: 1,
      pointStride: 7,
      recoveryStride: 60,
    });
    expect(report.failures).to.deep.equal([]);
    expect(report.crashPoints).to.be.greaterThan(200);
    expect(report.recoveryPoints).to.be.greaterThan(100);
    console.log(`    ${report.crashPoints} crash points, ${report.recoveries} recoveries`);
  });
});
