import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { readBudget, runJobInChild, SEED_MAX, sumTotals } from './campaign.ts';
import { type Profile, profiles } from './plan.ts';
import { linesOf } from './report.ts';
import { type RunReport, runSeed } from './world.ts';

/** How long fresh seeds are tried on every core: `SIM_BUDGET=20s npm test` for a shorter share. */
const BUDGET_MS = readBudget(process.env.SIM_BUDGET ?? '3m');
const MARGIN_MS = 120_000;

describe('a simulated group', () => {
  it('keeps its promises, with seeds never tried before', async function () {
    this.timeout(BUDGET_MS + MARGIN_MS);
    const first = randomInt(SEED_MAX);
    const workers = availableParallelism();
    const startMs = performance.now();
    const untilMs = Date.now() + BUDGET_MS;
    const job = { stride: workers, seeds: Number.POSITIVE_INFINITY, untilMs, profile: null, failuresMax: 3 };
    const parts = Array.from({ length: workers }, (_, at) =>
      runJobInChild({ ...job, first: first + at }, join(import.meta.dirname, 'main.ts')),
    );
    const totals = sumTotals(await Promise.all(parts));
    const report = linesOf(totals, (performance.now() - startMs) / 1_000, null).join('\n');
    console.log(`seeds from ${first}, ${workers} worker(s)\n${report}`);
    expect(totals.seeds).to.be.greaterThan(0);
    expect(totals.tallies.checks['messages committed']).to.be.greaterThan(0);
    if (totals.failures.length > 0) throw new Error(`promises were broken:\n${report}`);
  });

  for (const [seed, profile] of profiles.flatMap((profile): [number, Profile][] =>
    profile === 'long' ? [[11, profile]] : [11, 12, 13].map((seed) => [seed, profile]),
  )) {
    it(`replays seed ${seed} (${profile}) to the letter`, async function () {
      // A run that is left behind at a time limit would go on beside the next one, and disturb it.
      this.timeout(300_000);
      const once = await runSeed({ seed, profile });
      const again = await runSeed({ seed, profile, isVerbose: true });
      expect(once.failure).to.equal(null);
      expect(factsOf(again)).to.deep.equal(factsOf(once));
      expect((await runSeed({ seed: seed + 1, profile })).hash).not.to.equal(once.hash);
    });
  }
});

function factsOf({ hash, events, simulatedMs, tallies }: RunReport) {
  return { hash, events, simulatedMs, tallies };
}
