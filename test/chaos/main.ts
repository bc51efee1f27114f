// `npm run test:chaos -- [--minutes 10] [--nodes 3,5] [--seed S] [--rate 1200] [--kinds kill-leader,halves]
// [--set retentionBytes=16MiB] [--report reports/chaos.json]`: real processes, faults from a seed, everything judged; half
// of the time with three nodes and the defaults, half with five that cut their log and read by lease, unless told
// otherwise. What happens goes to stderr, the report to stdout as text and to a file as JSON. Exit code 0 only if every run
// is valid and broke no promise.
import { randomInt } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import type { SettingKey } from '../../src/config/schema.ts';
import { type FaultKind, faultKinds } from './faults.ts';
import { type ChaosReport, textOf } from './report.ts';
import { runChaos } from './run.ts';

type Settings = Partial<Record<SettingKey, string>>;

const MINUTE_MS = 60_000;
/** What a group of so many nodes is set to when nothing else is said. */
const settingsOf: Readonly<Record<number, Settings>> = { 5: { retentionBytes: '16MiB', reads: 'lease' } };

const values = new Command('npm run test:chaos --')
  .description('Real processes, faults from a seed, everything judged.')
  .option('--minutes <count>', 'how long faults are made, over all sizes together', '10')
  .option('--nodes <counts>', 'sizes of the group, one run each', '3,5')
  .option('--seed <number>', 'what is drawn is drawn from this; at random, and printed', String(randomInt(2 ** 31)))
  .option('--rate <count>', 'messages a second of all senders together', '1200')
  .option('--kinds <names>', 'which faults, with commas', faultKinds.join(','))
  .option('--set <key=value...>', 'settings of all nodes')
  .option('--report <file>', 'where the report goes as JSON', 'reports/chaos.json')
  .parse()
  .opts<{
    minutes: string;
    nodes: string;
    seed: string;
    rate: string;
    kinds: string;
    set?: string[];
    report: string;
  }>();

const kinds = values.kinds.split(',') as FaultKind[];
const strangers = kinds.filter((kind) => !faultKinds.includes(kind));
if (strangers.length > 0)
  throw new Error(`no such faults: ${strangers.join(', ')}; there are ${faultKinds.join(', ')}`);
const given = values.set?.map((one) => one.split('='));
const settings = given === undefined ? undefined : (Object.fromEntries(given) as Settings);
const sizes = values.nodes.split(',').map(Number);

const reports: ChaosReport[] = [];
for (const nodes of sizes) {
  const report = await runChaos({
    nodes,
    seed: Number(values.seed),
    faultsMs: (Number(values.minutes) * MINUTE_MS) / sizes.length,
    kinds,
    settings: settings ?? settingsOf[nodes] ?? {},
    rate: Number(values.rate),
    onLine: (line) => console.error(line),
  });
  reports.push(report);
  console.log(textOf(report));
  mkdirSync(dirname(values.report), { recursive: true });
  writeFileSync(values.report, `${JSON.stringify(reports, null, 2)}\n`);
}
console.error(`the same as JSON: ${values.report}`);
process.exit(reports.every(({ ok }) => ok) ? 0 : 1);
