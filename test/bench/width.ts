// What more queues and more nodes cost: `npm run bench:width -- [--rounds 5] [--seconds 4] [--queues 1000] [--nodes 5]
// [--size 1024] [--retention 2GiB] [--report reports/width.json]`. A group of three nodes with a topic of 4 queues and one
// of many, and a wider group with a topic of 4; each is loaded in turn by `tledger bench append`, with frames of 64 and with
// single messages of which 1,024 are under way, both spread over all queues of the topic. Prints medians and ratios. Exit
// code 0 only if the goals are met.
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

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    queues: { type: 'string', default: '1000' },
    nodes: { type: 'string', default: '5' },
    size: { type: 'string', default: '1024' },
    retention: { type: 'string', default: '2GiB' },
    report: { type: 'string', default: 'reports/width.json' },
  },
});

/** A group and a topic of it. */
interface Place {
  readonly name: string;
  readonly cluster: LocalCluster;
  readonly queues: number;
}

const loads: Readonly<Record<string, readonly string[]>> = {
  'frames of 64': ['--batch', '64'],
  'single messages, 1,024 under way': ['--in-flight', '1024'],
};

async function rateAt({ cluster, queues }: Place, load: readonly string[]): Promise<number> {
  const topic = ['--topic', `queues-${queues}`, '--queues', String(queues)];
  const args = ['append', ...load, ...topic, '--size', values.size, '--duration', `${values.seconds}s`];
  const { messagesPerSecond, failed } = await tledgerBench(cluster.endpoints, args);
  if (Object.keys(failed).length > 0) throw new Error(`appends failed: ${JSON.stringify(failed)}`);
  return messagesPerSecond;
}

/** Rates of each load at each place, a round each. */
type Rates = ReadonlyMap<string, ReadonlyMap<string, number[]>>;

function goalsOf(rates: Rates, [few, many, wide]: readonly [Place, Place, Place]): Goal[] {
  return [...rates].flatMap(([load, places]) => {
    const of = ({ name }: Place): number[] => places.get(name) ?? [];
    const shown = [few, many, wide].map((place) => {
      return { what: `${load}: ${place.name}`, value: Math.round(median(of(place)) ?? 0), unit: 'msg/s' };
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
const clusters: LocalCluster[] = [];
const stopAll = async (): Promise<void> => {
  for (const cluster of clusters) await cluster.stop();
};
endAfter(stopAll);
try {
  for (const nodes of [3, Number(values.nodes)]) {
    clusters.push(await Cluster.start({ nodes, settings: { retentionBytes: values.retention } }));
    await clusters.at(-1)!.waitForLeader();
  }
  const [three, wider] = clusters as [LocalCluster, LocalCluster];
  const places: readonly [Place, Place, Place] = [
    { name: `3 nodes, ${QUEUES} queues`, cluster: three, queues: QUEUES },
    { name: `3 nodes, ${values.queues} queues`, cluster: three, queues: Number(values.queues) },
    { name: `${values.nodes} nodes, ${QUEUES} queues`, cluster: wider, queues: QUEUES },
  ];
  const rates: Rates = new Map(
    Object.keys(loads).map((load) => [load, new Map(places.map(({ name }) => [name, []]))] as const),
  );
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const [load, args] of Object.entries(loads)) {
      for (const place of places) {
        const rate = await rateAt(place, args);
        rates.get(load)!.get(place.name)!.push(rate);
        console.error(`round ${round} of ${values.rounds}: ${load}, ${place.name}: ${rate.toLocaleString('en')}/s`);
      }
    }
  }
  const goals = goalsOf(rates, places);
  const rounds = Object.fromEntries([...rates].map(([load, all]) => [load, Object.fromEntries(all)]));
  writeReport(values.report, { machine, options: values, goals, rounds });
  console.log(tableOf(goals));
  process.exitCode = areMet(goals) ? 0 : 1;
} finally {
  await stopAll();
}
