// `npm run test:chaos -- [--minutes 10] [--nodes 3|5] [--seed S] [--rate 1200] [--kinds kill-leader,halves]
// [--format text|json]`: real processes, faults from a seed, everything judged. What happens goes to stderr, the report to
// stdout. Exit code 0 only for a valid run without a broken promise.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type FaultKind, faultKinds } from './faults.ts';
import { textOf } from './report.ts';
import { runChaos } from './run.ts';

const MINUTE_MS = 60_000;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    nodes: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    rate: { type: 'string', default: '1200' },
    kinds: { type: 'string', default: faultKinds.join(',') },
    format: { type: 'string', default: 'text' },
  },
});

const kinds = values.kinds.split(',') as FaultKind[];
const strangers = kinds.filter((kind) => !faultKinds.includes(kind));
if (strangers.length > 0)
  throw new Error(`no such faults: ${strangers.join(', ')}; there are ${faultKinds.join(', ')}`);

const report = await runChaos({
  nodes: Number(values.nodes),
  seed: Number(values.seed),
  faultsMs: Number(values.minutes) * MINUTE_MS,
  kinds,
  rate: Number(values.rate),
  onLine: (line) => console.error(line),
});
console.log(values.format === 'json' ? JSON.stringify(report, null, 2) : textOf(report));
process.exit(report.ok ? 0 : 1);
