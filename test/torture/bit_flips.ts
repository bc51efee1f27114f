// `npm run test:bit-flips -- [--flips 1000] [--seed S] [--every 0]`: one bit at a time of a stopped replica's files; with
// `--every N` also one in N of all bits, cuts at all bytes and lost files. Exit code 0 only if nothing damaged was served.
import { randomInt } from 'node:crypto';
import { Command } from 'commander';
import { DamageCampaign, linesOf } from './damage_campaign.ts';

const values = new Command('npm run test:bit-flips --')
  .description(
    'One bit at a time of the files of a stopped replica: what is damaged is noticed, or nothing that it held is missing.',
  )
  .option('--flips <count>', 'bits at random', '1000')
  .option('--seed <number>', 'what is drawn is drawn from this; at random, and printed', String(randomInt(2 ** 31)))
  .option('--every <bits>', 'also one in so many of all bits, cuts at all bytes and lost files; 0 for none', '0')
  .parse()
  .opts<{ flips: string; seed: string; every: string }>();
console.log(`seed ${values.seed}`);
const campaign = await DamageCampaign.of(Number(values.seed));
await campaign.flipAnywhere(Number(values.flips));
if (values.every !== '0') await campaign.everything(Number(values.every));
const report = campaign.report();
for (const line of linesOf(report)) console.log(line);
process.exit(report.misses.length === 0 ? 0 : 1);
