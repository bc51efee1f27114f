// `npm run test:crash-points -- [--histories 200] [--seed S] [--torn 6] [--subsets 3] [--stride 1] [--recovery-stride 40]`:
// random histories of a replica on a simulated disk, crashed at every step in many ways (`--torn 0`: every torn length),
// and again while it recovers. Exit code 0 only if nothing acknowledged was lost, nothing was invented, nothing differs.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { runCampaign } from './crash_campaign.ts';

const { values } = parseArgs({
  options: {
    histories: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    torn: { type: 'string', default: '6' },
    subsets: { type: 'string', default: '3' },
    stride: { type: 'string', default: '1' },
    'recovery-stride': { type: 'string', default: '40' },
  },
});
console.log(`seed ${values.seed}`);
const report = await runCampaign({
  histories: Number(values.histories),
  seed: Number(values.seed),
  tornMax: Number(values.torn),
  subsetsMax: Number(values.subsets),
  pointStride: Number(values.stride),
  recoveryStride: Number(values['recovery-stride']),
});
const told = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
const { histories, crashPoints, recoveryPoints, recoveries, alike, rebuilt, seconds, failures } = report;
console.log(`${histories} histories: ${told(report.done)}`);
console.log(`${crashPoints} crash points, by file: ${told(report.byFile)}`);
console.log(
  `${recoveries} recoveries in ${seconds.toFixed(0)} s (${(recoveries / seconds).toFixed(0)}/s), by fate: ${told(report.byFate)}`,
);
console.log(`${alike} more crashes left what an earlier one of their history had left`);
console.log(`${recoveryPoints} of them after a crash during recovery; ${rebuilt} states made anew from the log`);
console.log(failures.length === 0 ? 'nothing lost, nothing invented, nothing differs' : failures.join('\n'));
process.exit(failures.length === 0 ? 0 : 1);
