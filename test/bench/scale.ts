// What a second group on the same machine adds: `npm run bench:scale -- [--groups 2] [--rounds 5] [--seconds 4]
// [--size 1024] [--batch 64] [--report reports/scale.json]`. As many groups of three nodes as wanted, each loaded by a
// `tledger bench append` of its own; one group alone and all of them at once, in turn. Medians, and the ratio.
import { parseArgs } from 'node:util';
import { median } from '../../src/server/demo/gap_meter.ts';
import type { LocalCluster } from '../../src/server/local_cluster.ts';
import { builtCluster } from './built.ts';
import { ratioOfMedians } from './goals.ts';
import { machineNow } from './machine.ts';
import { writeReport } from './script.ts';
import { tledgerBench } from './tledger_bench.ts';

const { values } = parseArgs({
  options: {
    groups: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    size: { type: 'string', default: '1024' },
    batch: { type: 'string', default: '64' },
    report: { type: 'string', default: 'reports/scale.json' },
  },
});

/** Messages a second of all `clusters` together, loaded at once. */
async function rateOf(clusters: readonly LocalCluster[]): Promise<number> {
  const load = ['append', '--batch', values.batch, '--size', values.size, '--duration', `${values.seconds}s`];
  const reports = await Promise.all(clusters.map(({ endpoints }) => tledgerBench(endpoints, load)));
  return reports.reduce((sum, { messagesPerSecond }) => sum + messagesPerSecond, 0);
}

const machine = machineNow();
const Cluster = await builtCluster();
const clusters: LocalCluster[] = [];
try {
  for (let at = 0; at < Number(values.groups); at++) clusters.push(await Cluster.start());
  for (const cluster of clusters) await cluster.waitForLeader();
  const [alone, together]: [number[], number[]] = [[], []];
  for (let round = 1; round <= Number(values.rounds); round++) {
    alone.push(await rateOf(clusters.slice(0, 1)));
    together.push(await rateOf(clusters));
    console.error(`round ${round}: one group ${alone.at(-1)}/s, ${clusters.length} groups ${together.at(-1)}/s`);
  }
  const [one, all] = [median(alone)!, median(together)!];
  const scaling = ratioOfMedians(together, alone);
  const shape = { sizeBytes: Number(values.size), batch: Number(values.batch) };
  const document = { machine, groups: clusters.length, ...shape, one, all, scaling, alone, together };
  writeReport(values.report, document);
  console.log(
    `one group ${one.toLocaleString('en')} messages/s, ${clusters.length} groups together ${all.toLocaleString('en')}: x ${scaling} on ${machine.cores} cores`,
  );
} finally {
  for (const cluster of clusters) await cluster.stop();
}
