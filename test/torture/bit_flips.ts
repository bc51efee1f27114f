// `npm run test:bit-flips -- [--flips 1000] [--seed S] [--every 0]`: one bit at a time of a stopped replica's files; with
// `--every N` also one in N of all bits, cuts at all bytes and lost files. Exit code 0 only if nothing damaged was served.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { DamageCampaign, linesOf } from './damage_campaign.ts';

const { values } = parseArgs({
  options: {
    flips: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    every: { type: 'string', default: '0' },
  },
});
console.log(`seed ${values.seed}`);
const campaign = await DamageCampaign.of(Number(values.seed));
await campaign.flipAnywhere(Number(values.flips));
if (values.every !== '0') await campaign.everything(Number(values.every));
const report = campaign.report();
for (const line of linesOf(report)) console.log(line);
process.exit(report.misses.length === 0 ? 0 : 1);
