// What more queues and more nodes cost: `npm run bench:width -- [--rounds 5] [--seconds 10] [--queues 1000] [--nodes 5]
// [--size 1024] [--retention 2GiB] [--report reports/width.json]`. A group of three nodes with a topic of 4 queues or one of
// many, and a wider group with a topic of 4, are loaded in turn by `tledger bench append`, with frames of 64 and with single
// messages of which 1,024 are under way, both spread over all queues of the topic. Each measurement has a group of its own:
// what a group puts off, such as saving what has changed, would fall into the time of the next one. Prints medians and
// ratios. Exit code 0 only if the goals are met.
import { parseArgs } from 'node:util';
import { median } from '../../src/server/demo/gap_meter.ts';
import type { LocalCluster } from '../../src/server/local_cluster.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, ratioOfMedians, tableOf } from './goals.ts';
import { machineNow } from './machine.ts';
import { endAfter, writeReport } from './script.ts';
import { tledgerBench } from './tledger_bench.ts';

const QUEUES = 4;
const QUEUES_RATIO_MIN = 0.8;
const NODES_RATIO_MIN = 0.6;
/** Code that has just been started runs at half of its speed for some seconds. */
const WARM_UP = '10s';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    queues: { type: 'string', default: '1000' },
    nodes: { type: 'string', default: '5' },
    size: { type: 'string', default: '1024' },
    retention: { type: 'string', default: '2GiB' },
    report: { type: 'string', default: 'reports/width.json' },
  },
});

/** How wide a group and its topic are. */
interface Width {
  readonly name: string;
  readonly nodes: number;
  readonly queues: number;
}

const loads: Readonly<Record<string, readonly string[]>> = {
  'frames of 64': ['--batch', '64'],
  'single messages, 1,024 under way': ['--in-flight', '1024'],
};

/** Messages a second in a new group, after a while of the same load. */
async function rateAt({ nodes, queues }: Width, load: readonly string[]): Promise<number> {
  const cluster = await Cluster.start({ nodes, settings: { retentionBytes: values.retention } });
  running.add(cluster);
  try {
    await cluster.waitForLeader();
    const topic = ['--topic', `queues-${queues}`, '--queues', String(queues)];
    const times = ['--warm-up', WARM_UP, '--duration', `${values.seconds}s`];
    const args = ['append', ...load, ...topic, ...times, '--size', values.size];
    const { messagesPerSecond, failed } = await tledgerBench(cluster.endpoints, args);
    if (Object.keys(failed).length > 0) throw new Error(`appends failed: ${JSON.stringify(failed)}`);
    return messagesPerSecond;
  } finally {
    await cluster.stop();
    running.delete(cluster);
  }
}

/** Rates of each load at each width, a round each. */
type Rates = ReadonlyMap<string, ReadonlyMap<string, number[]>>;

function goalsOf(rates: Rates, [few, many, wide]: readonly [Width, Width, Width]): Goal[] {
  return [...rates].flatMap(([load, widths]) => {
    const of = ({ name }: Width): number[] => widths.get(name) ?? [];
    const shown = [few, many, wide].map((width) => {
      return { what: `${load}: ${width.name}`, value: Math.round(median(of(width)) ?? 0), unit: 'msg/s' };
    });
    const times = { unit: 'x' };
    return [
      ...shown,
      { what: '  many queues to few', value: ratioOfMedians(of(many), of(few)), least: QUEUES_RATIO_MIN, ...times },
      { what: '  more nodes to three', value: ratioOfMedians(of(wide), of(few)), least: NODES_RATIO_MIN, ...times },
    ];
  });
}

const machine = machineNow();
const Cluster = await builtCluster();
const running = new Set<LocalCluster>();
endAfter(() => Promise.all([...running].map((cluster) => cluster.stop())));
const few: Width = { name: `3 nodes, ${QUEUES} queues`, nodes: 3, queues: QUEUES };
const many: Width = { ...few, name: `3 nodes, ${values.queues} queues`, queues: Number(values.queues) };
const wide: Width = { ...few, name: `${values.nodes} nodes, ${QUEUES} queues`, nodes: Number(values.nodes) };
const widths = [few, many, wide] as const;
const rates: Rates = new Map(
  Object.keys(loads).map((load) => [load, new Map(widths.map(({ name }) => [name, []]))] as const),
);
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const [load, args] of Object.entries(loads)) {
    for (const width of widths) {
      const rate = await rateAt(width, args);
      rates.get(load)!.get(width.name)!.push(rate);
      console.error(`round ${round} of ${values.rounds}: ${load}, ${width.name}: ${rate.toLocaleString('en')}/s`);
    }
  }
}
const goals = goalsOf(rates, widths);
const rounds = Object.fromEntries([...rates].map(([load, all]) => [load, Object.fromEntries(all)]));
writeReport(values.report, { machine, options: values, goals, rounds });
console.log(tableOf(goals));
process.exitCode = areMet(goals) ? 0 : 1;
