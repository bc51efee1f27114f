// Random faults against the checker: elections are safe, logs match, leaders are complete, commits stay, reads are
// current, and a group that is left in peace comes to rest. SEEDS and SEED widen or repeat a run.
import { env } from 'node:process';
import { expect } from 'chai';
import { Chaos, type Profile } from './harness/chaos.ts';

const calm: Profile = {
  name: 'a healthy network',
  size: 3,
  loss: 0,
  duplicate: 0,
  delayMsMax: 2,
  flushMsMax: 4,
  crash: 0,
  downMsMax: 0,
  partition: 0,
  targetLeader: 0,
  proposalsMax: 4,
  spare: 0,
  change: 0,
  compact: 0,
  impair: 0,
};

const profiles: readonly Profile[] = [
  calm,
  { ...calm, name: 'lossy', loss: 0.1, duplicate: 0.2, delayMsMax: 15 },
  { ...calm, name: 'crashing', crash: 0.01, downMsMax: 60, flushMsMax: 25 },
  {
    ...calm,
    name: 'crashing all the time',
    crash: 0.03,
    downMsMax: 15,
    flushMsMax: 60,
    delayMsMax: 20,
    proposalsMax: 2,
  },
  { ...calm, name: 'partitioned', partition: 0.5, targetLeader: 0.5, delayMsMax: 8 },
  {
    ...calm,
    name: 'hostile',
    loss: 0.05,
    duplicate: 0.1,
    delayMsMax: 30,
    flushMsMax: 40,
    crash: 0.015,
    downMsMax: 50,
    partition: 0.4,
    targetLeader: 0.5,
    proposalsMax: 2,
  },
  { ...calm, name: 'changing its members', spare: 2, change: 0.7, delayMsMax: 5 },
  { ...calm, name: 'cutting its logs', compact: 0.7, partition: 0.5, crash: 0.005, downMsMax: 200, delayMsMax: 5 },
  {
    ...calm,
    name: 'all of it',
    loss: 0.02,
    duplicate: 0.1,
    delayMsMax: 8,
    flushMsMax: 8,
    crash: 0.004,
    downMsMax: 80,
    partition: 0.2,
    targetLeader: 0.5,
    proposalsMax: 2,
    spare: 2,
    change: 0.7,
    compact: 0.7,
    impair: 0.1,
  },
];

const seedCount = Number(env.SEEDS ?? 6);
const firstSeed = Number(env.SEED ?? 1);

describe('raft safety under random faults', () => {
  for (const profile of profiles) {
    // Groups that change their members may begin as small as they like.
    for (const size of profile.change > 0 ? [1, 2, 3, 5] : [3, 5]) {
      it(`${size} members, ${profile.name}, seeds ${firstSeed} to ${firstSeed + seedCount - 1}`, function () {
        this.timeout(180_000 + seedCount * 2_000);
        let committed = 0;
        let crashes = 0;
        let leaders = 0;
        let changes = 0;
        let restores = 0;
        for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
          try {
            const report = new Chaos({ ...profile, size }, seed).run(3000);
            committed += report.committed;
            crashes += report.crashes;
            leaders += report.leaders;
            changes += report.changes;
            restores += report.restores;
          } catch (error) {
            throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
          }
        }
        // A run in which nothing happens proves nothing.
        expect(committed).to.be.above(10 * seedCount);
        if (profile.crash > 0) expect(crashes).to.be.above(5 * seedCount);
        if (profile.change > 0) expect(changes).to.be.above(seedCount);
        if (profile.compact > 0) expect(restores).to.be.at.least(seedCount / 3);
        if (profile.partition > 0 || profile.crash > 0.01) expect(leaders).to.be.above(2 * seedCount);
      });
    }
  }

  it('the same seed gives the same run', () => {
    const everything = { ...profiles.at(-1)!, size: 3 };
    const [first, second] = [1, 2].map(() => {
      const chaos = new Chaos(everything, 42);
      return { report: chaos.run(1500), values: chaos.group.checker.committedValues };
    });
    expect(first).to.deep.equal(second);
  });
});
