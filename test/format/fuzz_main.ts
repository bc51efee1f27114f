// npm run test:fuzz -- --budget 10m --seed 1: the decoders of src/format for as long as one likes.
import { parseArgs } from 'node:util';
import { fuzz, fuzzTargets } from './fuzz.ts';

const RUNS_AT_ONCE = 2_000;
const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

const { values } = parseArgs({
  options: {
    budget: { type: 'string', default: '1m' },
    seed: { type: 'string', default: String(Date.now() & 0x7fff_ffff) },
  },
});
const [, amount, unit] = /^(\d+)([smh])$/.exec(values.budget) ?? [];
const seed = Number(values.seed);
if (amount === undefined || !Number.isSafeInteger(seed)) {
  process.stderr.write('--budget 30s, 10m or 2h; --seed an integer\n');
  process.exit(2);
}
const endMs = performance.now() + Number(amount) * units[unit!]!;
process.stdout.write(`seed ${seed}\n`);
let rounds = 0;
for (; performance.now() < endMs; rounds++) {
  for (const target of fuzzTargets) {
    try {
      fuzz(target, (seed + rounds) | 0, RUNS_AT_ONCE);
    } catch (error) {
      process.stderr.write(
        `${target.name}, seed ${seed + rounds}: ${error instanceof Error ? error.message : error}\n`,
      );
      process.exit(1);
    }
  }
}
const tried = rounds * RUNS_AT_ONCE;
process.stdout.write(`${fuzzTargets.length} decoders, ${tried.toLocaleString('en')} inputs each: nothing found\n`);
