// One round of `npm run test:power-loss` (with `--flush async` it must lose, which only the script shows): see power_loss.ts.
import { expect } from 'chai';
import { whyNoLoopDisks } from './loop_disks.ts';
import { runPowerLoss } from './power_run.ts';

describe('all nodes lose power at one moment', function () {
  this.retries(0);
  this.timeout(180_000);

  before(function () {
    const reason = whyNoLoopDisks();
    if (reason === null) return;
    console.log(`    skipped: ${reason}`);
    this.skip();
  });

  it('nothing acknowledged is lost with flush sync', async () => {
    const { acknowledged, problems } = await runPowerLoss({
      rounds: 1,
      flush: 'sync',
      seed: 3,
      fileSystem: 'ext4',
      onLine: () => {},
    });
    expect(problems).to.deep.equal([]);
    expect(acknowledged).to.be.greaterThan(0);
  });
});
