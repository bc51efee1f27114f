// Runs seeds: `npm run test:sim -- [--seeds N] [--budget 5m] [--seed S] [--profile P] [--trace] [--workers N] [--failures N]
// [--format text|json]`.
// Without a seed it begins at a random one and prints it. A seed that breaks a promise prints the command that replays
// it; the exit code is then 1.
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import {
  type Job,
  readBudget,
  readProfile,
  replayCommand,
  runJob,
  runJobInChild,
  SEED_MAX,
  sumTotals,
} from './campaign.ts';
import type { Profile } from './plan.ts';
import { linesOf } from './report.ts';
import { runSeed } from './world.ts';

/** A worker pays for itself from here on. */
const WORKERS_BUDGET_MS_MIN = 20_000;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    budget: { type: 'string' },
    seed: { type: 'string' },
    profile: { type: 'string' },
    trace: { type: 'boolean', default: false },
    workers: { type: 'string' },
    failures: { type: 'string', default: '5' },
    format: { type: 'string', default: 'text' },
  },
});

if (process.send !== undefined) process.once('message', (job: Job) => void work(job));
else process.exitCode = await main();

async function main(): Promise<number> {
  const profile = readProfile(values.profile);
  if (values.seed !== undefined && values.seeds === undefined && values.budget === undefined) {
    return await replay(Number(values.seed), profile);
  }
  const budgetMs = readBudget(values.budget ?? (values.seeds === undefined ? '1m' : '24h'));
  const seeds = values.seeds === undefined ? Number.POSITIVE_INFINITY : Number(values.seeds);
  const first = values.seed === undefined ? randomInt(SEED_MAX) : Number(values.seed);
  const isLarge = budgetMs >= WORKERS_BUDGET_MS_MIN && seeds > 50;
  const workers = Number(values.workers ?? (isLarge ? availableParallelism() : 1));
  if (values.format === 'text') process.stdout.write(`seeds from ${first}, ${workers} worker(s)\n`);
  const startMs = performance.now();
  const untilMs = Date.now() + budgetMs;
  const failuresMax = Number(values.failures);
  const jobs = Array.from({ length: workers }, (_, at): Job => {
    return {
      first: first + at,
      stride: workers,
      seeds: Math.ceil((seeds - at) / workers),
      untilMs,
      profile,
      failuresMax,
    };
  });
  const file = import.meta.filename;
  const parts =
    workers === 1 ? [await runJob(jobs[0]!)] : await Promise.all(jobs.map((job) => runJobInChild(job, file)));
  const totals = sumTotals(parts);
  const seconds = (performance.now() - startMs) / 1_000;
  if (values.format === 'json') process.stdout.write(`${JSON.stringify({ ...totals, seconds })}\n`);
  else process.stdout.write(`${linesOf(totals, seconds, profile).join('\n')}\n`);
  return totals.failures.length === 0 ? 0 : 1;
}

/** One seed, and all that can be told of it. */
async function replay(seed: number, profile: Profile | null): Promise<number> {
  const report = await runSeed({ seed, profile, isVerbose: values.trace });
  if (values.trace) process.stdout.write(`${report.lines.join('\n')}\n`);
  process.stdout.write(`seed ${seed}, profile ${report.profile}, hash ${report.hash}\n`);
  process.stdout.write(`${JSON.stringify(report.tallies, null, 2)}\n`);
  if (report.failure === null) return 0;
  process.stdout.write(`${values.trace ? report.failure.stack : report.failure.message}\n`);
  if (!values.trace) process.stdout.write(`for all that happened: ${replayCommand(seed, profile)}\n`);
  return 1;
}

async function work(job: Job): Promise<void> {
  const totals = await runJob(job);
  process.send!(totals, () => process.disconnect());
}
