// `npm run test:compat:kill -- [--minutes 2] [--kill-every 10s] [--seed S]`: the leader is killed every 10 s under official
// producers and push consumers, whose own nodes die, too. Exit code 0 only if no promise was broken.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { runUnderKills } from './kill_run.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    'kill-every': { type: 'string', default: '10s' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    pace: { type: 'string', default: '20' },
  },
});
console.log(`seed ${values.seed}`);
const { kills, acknowledged, unknown, consumed, redelivered, waitedMsMax, broken } = await runUnderKills({
  seconds: Number(values.minutes) * 60,
  killEveryMs: Number.parseInt(values['kill-every'], 10) * 1_000,
  paceMs: Number(values.pace),
  seed: Number(values.seed),
  onLine: (line) => console.error(line),
});
console.log(`${kills} leaders killed; ${acknowledged} messages acknowledged, ${unknown} with unknown outcome,`);
console.log(`${consumed} consumed, ${redelivered} deliveries again`);
console.log(`longest wait for a consumer: standard ${waitedMsMax.standard} ms, ordered ${waitedMsMax.ordered} ms`);
for (const one of broken) console.log(`PROMISE BROKEN: ${one}`);
console.log(
  broken.length === 0 ? 'none lost, doubled, out of order or acknowledged in vain' : `${broken.length} broken`,
);
process.exit(broken.length === 0 && kills > 0 ? 0 : 1);
