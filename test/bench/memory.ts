// Memory of nodes under full load: `npm run bench:memory -- [--minutes 10] [--batch 256] [--size 1024] [--nodes 3]
// [--retention 2GiB] [--report reports/memory.json]`. A local group, loaded by `tledger bench append` all the time; what
// each process has resident is taken every second. Prints the most of it and what it rises by a minute: the slope of a line
// through the samples, those of the first fifth of the time left out, as heaps and caches fill then. Writes a report and,
// beside it, a plot (.svg). Exit code 0 only if the goals are met.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { plotOf } from '../../src/bench/plot.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, tableOf } from './goals.ts';
import { machineNow } from './machine.ts';
import { memoryOf } from './processes.ts';
import { endAfter, writeReport } from './script.ts';
import { tledgerBench } from './tledger_bench.ts';
import { type Point, riseOf, slopeOf } from './trend.ts';

const SAMPLE_MS = 1_000;
const MINUTE_MS = 60_000;
const WARM_UP_SHARE = 0.2;
const MEGABYTES_MAX = 400;
/** Of its level, over the whole time: what a line may rise by that is called flat. */
const RISE_PERCENT_MAX = 10;
const COLOURS = ['#1f77b4', '#2ca02c', '#9467bd', '#d62728', '#8c564b', '#e377c2', '#7f7f7f', '#bcbd22', '#17becf'];

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    batch: { type: 'string', default: '256' },
    size: { type: 'string', default: '1024' },
    nodes: { type: 'string', default: '3' },
    retention: { type: 'string', default: '2GiB' },
    report: { type: 'string', default: 'reports/memory.json' },
  },
});
const minutes = Number(values.minutes);

interface Line {
  readonly name: string;
  /** Minutes since the load began, and 10^6 bytes resident. */
  readonly points: Point[];
}

function goalsOf(lines: readonly Line[], failed: Readonly<Record<string, number>>): Goal[] {
  const tenths = (value: number): number => Number(value.toFixed(1));
  return [
    ...lines.flatMap(({ name, points }) => {
      const settled = points.filter(([atMinutes]) => atMinutes >= WARM_UP_SHARE * minutes);
      const most = Math.max(0, ...points.map(([, megabytes]) => megabytes));
      return [
        { what: `most memory of ${name}`, value: most, most: MEGABYTES_MAX, unit: 'MB' },
        { what: '  slope', value: tenths(slopeOf(settled)), unit: 'MB a minute' },
        { what: '  rise of the line', value: tenths(riseOf(settled)), most: RISE_PERCENT_MAX, unit: '%' },
      ];
    }),
    {
      what: 'requests that failed',
      value: Object.values(failed).reduce((sum, one) => sum + one, 0),
      most: 0,
      unit: '',
    },
  ];
}

function report(document: object, lines: readonly Line[]): void {
  writeReport(values.report, document, 1);
  const panel = {
    title: 'resident memory of each node, MB',
    level: { y: MEGABYTES_MAX, name: 'goal' },
    lines: lines.map((line, at) => ({ ...line, colour: COLOURS[at % COLOURS.length]! })),
  };
  const title = `TLedger: memory under full load, ${values.size} bytes a message, ${values.batch} a frame, flush sync`;
  const svg = plotOf({ title, xName: 'minutes', bands: [], panels: [panel] });
  writeFileSync(values.report.replace(/(\.json)?$/, '.svg'), svg);
}

const machine = machineNow();
const settings = { retentionBytes: values.retention };
const cluster = await (await builtCluster()).start({ nodes: Number(values.nodes), settings });
endAfter(() => cluster.stop());
try {
  await cluster.waitForLeader();
  const lines: Line[] = cluster.members.map(({ nodeId }) => ({ name: nodeId, points: [] }));
  const beganAtMs = performance.now();
  const timer = setInterval(() => {
    const atMinutes = (performance.now() - beganAtMs) / MINUTE_MS;
    const now = lines.map(({ name, points }) => {
      if (!cluster.isRunning(name)) return 0;
      const megabytes = memoryOf(cluster.pidOf(name), 'VmRSS');
      points.push([atMinutes, megabytes]);
      return megabytes;
    });
    process.stderr.write(`\r${atMinutes.toFixed(1)} of ${minutes} minutes, memory ${now.join(' ')} MB        `);
  }, SAMPLE_MS);
  const times = ['--warm-up', '0ms', '--duration', `${Math.round(minutes * MINUTE_MS)}ms`];
  const load = ['append', '--batch', values.batch, '--size', values.size, ...times];
  const { messagesPerSecond, failed } = await tledgerBench(cluster.endpoints, load).finally(() => clearInterval(timer));
  process.stderr.write('\n');
  const gone = lines.find(({ name }) => !cluster.isRunning(name));
  if (gone !== undefined) throw new Error(`${gone.name} has ended under load`);
  const goals = goalsOf(lines, failed);
  report({ machine, options: values, messagesPerSecond, goals, lines }, lines);
  console.log(`${values.nodes} nodes, ${minutes} minutes at ${messagesPerSecond.toLocaleString('en')} messages/s:`);
  console.log(tableOf(goals));
  process.exitCode = areMet(goals) ? 0 : 1;
} finally {
  await cluster.stop();
}
