// A short run of chaos with every test run: three processes, the faults that hurt most, everything judged.
import { expect } from 'chai';
import { type FaultKind, faultKinds } from './faults.ts';
import { clean } from './judge.ts';
import { planOf } from './plan.ts';
import { textOf } from './report.ts';
import { runChaos } from './run.ts';

const SEED = 31;
const FAULTS_MS = 60_000;
const kinds: readonly FaultKind[] = ['kill-leader', 'isolate-leader', 'pause-leader', 'kill-all'];

describe('chaos on three real processes', function () {
  this.timeout(120_000);

  it('breaks no promise under kill -9, partition and pause', async () => {
    const lines: string[] = [];
    const onLine = (line: string) => lines.push(line);
    const stepsMax = kinds.length;
    const report = await runChaos({ nodes: 3, seed: SEED, faultsMs: FAULTS_MS, stepsMax, kinds, rate: 600, onLine });
    const why = [...lines, textOf(report)].join('\n');
    expect(report.verdict.faults, why).to.deep.equal(clean);
    expect(report.voids, why).to.deep.equal([]);
    expect(Object.keys(report.faultsByKind)).to.have.members([...kinds]);
    // A short pause need not cost the leader its place; the other faults do, if they find one.
    expect(report.leaderChanges).to.be.at.least(2);
    expect(report.histories.judged).to.be.at.least(10);
    expect(report.dataDir).to.equal(null);
  });
});

describe('the plan of a chaos run', () => {
  const first = (seed: number, count: number) => {
    const plan = planOf(seed, faultKinds);
    return Array.from({ length: count }, () => plan.next().value);
  };

  it('repeats itself from its seed, and differs for another', () => {
    expect(first(5, 100)).to.deep.equal(first(5, 100));
    expect(first(5, 100)).to.not.deep.equal(first(6, 100));
  });

  it('brings every fault once before any comes again, pairs aside', () => {
    const mains = first(3, faultKinds.length).map((step) => step.faults[0]!.kind);
    expect(mains).to.have.members([...faultKinds]);
    expect(first(3, 200).some((step) => step.faults.length === 2)).to.equal(true);
  });
});
