// A short share of `npm run test:bit-flips`: see bit_flips.ts.
import { expect } from 'chai';
import { DamageCampaign } from './damage_campaign.ts';

describe('a stopped replica that is damaged', function () {
  this.retries(0);
  this.timeout(300_000);

  it('is noticed, or serves what it held: bits, cuts and lost files of every kind', async () => {
    const campaign = await DamageCampaign.of(11, 2);
    await campaign.flipAnywhere(150);
    await campaign.everything(97);
    const { misses, unnoticed, found } = campaign.report();
    expect(misses).to.deep.equal([]);
    expect(unnoticed).to.deep.equal([]);
    expect([...found.keys()]).to.include.members(['commitlog', 'index', 'hardstate', 'checkpoint', 'identity']);
  });
});
