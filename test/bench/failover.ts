// How long nobody is served when the leader goes: `npm run bench:failover -- [--trials 50] [--kind kill,partition,transfer]
// [--nodes 3] [--rate 400] [--report reports/failover.json]`. Each trial goes to stderr, a table with the goals to stdout,
// all figures to a file. Exit code 0 only if every goal is met and no promise was broken.
import { parseArgs } from 'node:util';
import { type FailoverKind, failoverKinds, runTrials, type Trials } from './failover_trials.ts';
import { areMet, type Goal, percentile, tableOf } from './goals.ts';
import { writeReport } from './script.ts';

const { values } = parseArgs({
  options: {
    trials: { type: 'string', default: '50' },
    kind: { type: 'string', default: Object.keys(failoverKinds).join(',') },
    nodes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '400' },
    report: { type: 'string', default: 'reports/failover.json' },
  },
});

/** Milliseconds without service that are good enough. */
const limits: Readonly<Record<FailoverKind, { readonly median: number; readonly p99?: number }>> = {
  kill: { median: 300, p99: 1_000 },
  partition: { median: 1_500 },
  transfer: { median: 100 },
};

const kinds = values.kind.split(',') as FailoverKind[];
const stranger = kinds.find((kind) => !Object.hasOwn(failoverKinds, kind));
if (stranger !== undefined) throw new Error(`--kind ${stranger}: there are ${Object.keys(failoverKinds).join(', ')}`);

function goalsOf({ kind, gapsMs }: Trials): Goal[] {
  const what = failoverKinds[kind];
  const { median, p99 } = limits[kind];
  const p99Goal = { what: `${what}: 99 %`, value: percentile(gapsMs, 0.99), unit: 'ms' };
  return [
    { what: `${what}: median of ${gapsMs.length}`, value: percentile(gapsMs, 0.5), most: median, unit: 'ms' },
    { what: `${what}: 90 %`, value: percentile(gapsMs, 0.9), unit: 'ms' },
    p99 === undefined ? p99Goal : { ...p99Goal, most: p99 },
    { what: `${what}: longest`, value: percentile(gapsMs, 1), unit: 'ms' },
  ];
}

const results: Trials[] = [];
for (const kind of kinds) {
  const trials = Number(values.trials);
  console.error(`${failoverKinds[kind]}:`);
  results.push(
    await runTrials({
      ...{ kind, trials, nodes: Number(values.nodes), rate: Number(values.rate) },
      onTrial: (number, gapMs) => console.error(`  trial ${String(number).padStart(3)} of ${trials}: ${gapMs} ms`),
    }),
  );
}
const goals = results.flatMap(goalsOf);
const broken = results.flatMap((result) => result.broken);
const acknowledged = results.reduce((sum, result) => sum + result.acknowledged, 0);
writeReport(values.report, { nodes: Number(values.nodes), goals, results });
console.log(`without service, ${values.nodes} nodes, ${values.rate} messages a second:`);
console.log(tableOf(goals));
console.log(
  `${acknowledged} messages acknowledged, ${broken.length === 0 ? 'none lost, doubled or out of order' : ''}`,
);
for (const one of broken) console.log(`PROMISE BROKEN: ${one}`);
process.exit(areMet(goals) && broken.length === 0 ? 0 : 1);
