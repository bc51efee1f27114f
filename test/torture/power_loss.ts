// `npm run test:power-loss -- [--rounds 50] [--flush sync|async] [--seed S] [--fs ext4|xfs]`: three real nodes under load
// lose power at one moment, again and again. With `sync` nothing acknowledged may be lost; with `async` something must be,
// which shows that this test can see it. Exit code 0 only then.
import { randomInt } from 'node:crypto';
import { Command } from 'commander';
import { type FileSystem, fileSystems, whyNoLoopDisks } from './loop_disks.ts';
import { runPowerLoss } from './power_run.ts';

const values = new Command('npm run test:power-loss --')
  .description('Three real nodes under load lose power at one moment, again and again; needs root and loop devices.')
  .option('--rounds <count>', 'how many times', '50')
  .option(
    '--flush <when>',
    'sync: nothing acknowledged may be lost; async: something must be, or the test is blind',
    'sync',
  )
  .option('--seed <number>', 'what is drawn is drawn from this; at random, and printed', String(randomInt(2 ** 31)))
  .option('--fs <name>', 'ext4 or xfs', 'ext4')
  .parse()
  .opts<{ rounds: string; flush: string; seed: string; fs: string }>();
const flush = values.flush as 'sync' | 'async';
const fileSystem = values.fs as FileSystem;
if (!['sync', 'async'].includes(flush)) throw new Error(`--flush is sync or async, not ${flush}`);
if (!fileSystems.includes(fileSystem)) throw new Error(`--fs is ext4 or xfs, not ${fileSystem}`);

const reason = whyNoLoopDisks(fileSystem);
if (reason !== null) {
  console.log(`skipped: ${reason}`);
  process.exit(0);
}
console.log(`seed ${values.seed}, flush ${flush}, ${fileSystem}`);
const onLine = (line: string): void => console.error(line);
const report = await runPowerLoss({
  rounds: Number(values.rounds),
  flush,
  seed: Number(values.seed),
  fileSystem,
  onLine,
});
const { rounds, acknowledged, unknown, lossyRounds, lost, problems } = report;
console.log(`${rounds} power losses, ${acknowledged} acknowledged, ${unknown} unknown, ${lost} acknowledged and lost`);
for (const problem of problems) console.log(`  ${problem}`);
const isAsExpected = flush === 'sync' ? problems.length === 0 : lossyRounds > 0;
console.log(flush === 'async' && !isAsExpected ? 'nothing was lost: this test could not see a loss' : '');
process.exit(isAsExpected ? 0 : 1);
