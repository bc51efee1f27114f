import { randomInt } from 'node:crypto';
import { expect } from 'chai';
import { type Profile, profiles } from './plan.ts';
import { type RunReport, runSeed } from './world.ts';

/** A few seconds in all: the long runs are `npm run test:sim`. */
const BUDGET_MS: Readonly<Record<Profile, number>> = {
  calm: 500,
  network: 1_500,
  crash: 2_000,
  hostile: 3_000,
  swarm: 2_500,
  long: 0,
};

describe('a simulated group', () => {
  for (const profile of profiles) {
    it(`keeps its promises (${profile}), with seeds never tried before`, async function () {
      this.timeout(60_000);
      const first = randomInt(2 ** 31);
      const startMs = performance.now();
      let seed = first;
      let committed = 0;
      do {
        const report = await runSeed({ seed, profile });
        if (report.failure !== null) {
          const replay = `npm run test:sim -- --seed ${seed} --profile ${profile} --trace`;
          throw new Error(`${report.failure.message}\n  ${replay}`, { cause: report.failure });
        }
        committed += report.counts['messages committed']!;
        seed++;
      } while (performance.now() - startMs < BUDGET_MS[profile]);
      this.test!.title += `: ${first} to ${seed - 1}`;
      console.log(`    simulated seeds ${first} to ${seed - 1} (${profile}): ${committed} messages committed`);
      expect(committed).to.be.greaterThan(0);
    });
  }

  for (const [seed, profile] of [
    [1, 'hostile'],
    [2, 'swarm'],
    [3, 'network'],
  ] as const) {
    it(`replays seed ${seed} (${profile}) to the letter`, async function () {
      this.timeout(60_000);
      const once = await runSeed({ seed, profile });
      const again = await runSeed({ seed, profile, isVerbose: true });
      expect(factsOf(again)).to.deep.equal(factsOf(once));
      expect((await runSeed({ seed: seed + 1, profile })).hash).not.to.equal(once.hash);
    });
  }
});

function factsOf({ hash, events, simulatedMs, counts }: RunReport) {
  return { hash, events, simulatedMs, counts };
}
