// `npm run test:crash-points -- [--histories 200] [--seed S] [--torn 6] [--subsets 3] [--stride 1] [--recovery-stride 40]`:
// random histories of a replica on a simulated disk, crashed at every step in many ways (`--torn 0`: every torn length),
// and again while it recovers. Exit code 0 only if nothing acknowledged was lost, nothing was invented, nothing differs.
import { randomInt } from 'node:crypto';
import { Command } from 'commander';
import { runCampaign } from './crash_campaign.ts';

const values = new Command('npm run test:crash-points --')
  .description(
    'Random histories of a replica on a simulated disk, crashed at every step in many ways, and again while it recovers.',
  )
  .option('--histories <count>', 'how many histories', '200')
  .option('--seed <number>', 'what is drawn is drawn from this; at random, and printed', String(randomInt(2 ** 31)))
  .option('--torn <count>', 'torn lengths tried of each unflushed write; 0 for all', '6')
  .option('--subsets <count>', 'subsets of unflushed writes tried at each step', '3')
  .option('--stride <steps>', 'from one crash to the next', '1')
  .option('--recovery-stride <steps>', 'from one crash during recovery to the next', '40')
  .parse()
  .opts<{ histories: string; seed: string; torn: string; subsets: string; stride: string; recoveryStride: string }>();
console.log(`seed ${values.seed}`);
const report = await runCampaign({
  histories: Number(values.histories),
  seed: Number(values.seed),
  tornMax: Number(values.torn),
  subsetsMax: Number(values.subsets),
  pointStride: Number(values.stride),
  recoveryStride: Number(values.recoveryStride),
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
