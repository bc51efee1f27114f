// Runs seeds: `npm run test:sim -- [--seeds N] [--budget 5m] [--seed S] [--profile P] [--trace] [--workers N] [--failures N]
// [--format text|json]`.
// Without a seed it begins at a random one and prints it. A seed that breaks a promise prints the command that replays
// it; the exit code is then 1.
import { type ChildProcess, fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type Profile, profiles } from './plan.ts';
import { type RunReport, runSeed } from './world.ts';

const SEED_MAX = 2 ** 31;
/** A worker pays for itself from here on. */
const WORKERS_BUDGET_MS_MIN = 20_000;
const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** What several runs were, together. */
interface Totals {
  seeds: number;
  simulatedMs: number;
  events: number;
  cpuMs: number;
  readonly counts: Record<string, number>;
  readonly byProfile: Record<string, number>;
  readonly failures: { readonly seed: number; readonly message: string }[];
}

interface Job {
  readonly first: number;
  /** The worker takes every n-th seed. */
  readonly stride: number;
  readonly seeds: number;
  readonly untilMs: number;
  readonly profile: Profile | null;
  /** Stops after so many seeds that broke a promise. */
  readonly failuresMax: number;
}

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
  process.stdout.write(`seeds from ${first}, ${workers} worker(s)\n`);
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
  const parts = workers === 1 ? [await runJob(jobs[0]!)] : await Promise.all(jobs.map(runInChild));
  const totals = sum(parts);
  print(totals, (performance.now() - startMs) / 1_000, profile);
  return totals.failures.length === 0 ? 0 : 1;
}

/** One seed, and all that can be told of it. */
async function replay(seed: number, profile: Profile | null): Promise<number> {
  const report = await runSeed({ seed, profile, isVerbose: values.trace });
  if (values.trace) process.stdout.write(`${report.lines.join('\n')}\n`);
  process.stdout.write(`seed ${seed}, profile ${report.profile}, hash ${report.hash}\n`);
  process.stdout.write(`${JSON.stringify(report.counts, null, 2)}\n`);
  if (report.failure === null) return 0;
  process.stdout.write(`${values.trace ? report.failure.stack : report.failure.message}\n`);
  if (!values.trace) process.stdout.write(`for all that happened: ${commandFor(seed, profile)} --trace\n`);
  return 1;
}

async function work(job: Job): Promise<void> {
  const totals = await runJob(job);
  process.send!(totals, () => process.disconnect());
}

async function runJob({ first, stride, seeds, untilMs, profile, failuresMax }: Job): Promise<Totals> {
  const totals = newTotals();
  const cpu = process.cpuUsage();
  for (let at = 0; at < seeds && Date.now() < untilMs; at++) {
    add(totals, await runSeed({ seed: (first + at * stride) % SEED_MAX, profile }));
    if (totals.failures.length >= failuresMax) break;
  }
  const used = process.cpuUsage(cpu);
  totals.cpuMs = (used.user + used.system) / 1_000;
  return totals;
}

function runInChild(job: Job): Promise<Totals> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(import.meta.filename, [], {
      execArgv: process.execArgv,
      serialization: 'advanced',
    });
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`a worker ended early with code ${code}`)));
    child.send(job);
  });
}

function newTotals(): Totals {
  return { seeds: 0, simulatedMs: 0, events: 0, cpuMs: 0, counts: {}, byProfile: {}, failures: [] };
}

function add(totals: Totals, report: RunReport): void {
  totals.seeds++;
  totals.simulatedMs += report.simulatedMs;
  totals.events += report.events;
  addCounts(totals.byProfile, { [report.profile]: 1 });
  addCounts(totals.counts, report.counts);
  if (report.failure !== null) totals.failures.push({ seed: report.seed, message: report.failure.message });
}

function sum(parts: readonly Totals[]): Totals {
  const totals = newTotals();
  for (const part of parts) {
    totals.seeds += part.seeds;
    totals.simulatedMs += part.simulatedMs;
    totals.events += part.events;
    totals.cpuMs += part.cpuMs;
    addCounts(totals.counts, part.counts);
    addCounts(totals.byProfile, part.byProfile);
    totals.failures.push(...part.failures);
  }
  return totals;
}

function addCounts(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(from)) to[name] = (to[name] ?? 0) + count;
}

function print(totals: Totals, seconds: number, profile: Profile | null): void {
  const { seeds, simulatedMs, events, cpuMs, counts, byProfile, failures } = totals;
  const hours = simulatedMs / 3_600_000;
  if (values.format === 'json') {
    process.stdout.write(`${JSON.stringify({ ...totals, seconds, simulatedHours: hours })}\n`);
    return;
  }
  const lines = [
    `${seeds} seeds, ${hours.toFixed(2)} simulated hours, ${events} events in ${seconds.toFixed(0)} s`,
    `${((seeds * 60) / seconds).toFixed(0)} seeds and ${((hours * 60) / seconds).toFixed(2)} simulated hours a minute, ` +
      `${(simulatedMs / cpuMs).toFixed(0)} times real time per core`,
    `profiles: ${wordsOf(byProfile)}`,
    `counted: ${wordsOf(counts)}`,
    `${failures.length} seeds broke a promise`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  for (const { seed, message } of failures) {
    process.stdout.write(`\nseed ${seed}: ${message.slice(0, 1_000)}\n  ${commandFor(seed, profile)} --trace\n`);
  }
}

function wordsOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${Math.round(count)}`)
    .join(', ');
}

function commandFor(seed: number, profile: Profile | null): string {
  return `npm run test:sim -- --seed ${seed}${profile === null ? '' : ` --profile ${profile}`}`;
}

function readProfile(text: string | undefined): Profile | null {
  if (text === undefined) return null;
  const profile = profiles.find((name) => name === text);
  if (profile === undefined) throw new Error(`no profile ${text}; there are ${profiles.join(', ')}`);
  return profile;
}

function readBudget(text: string): number {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  if (match === null) throw new Error(`a budget is a number with ms, s, m or h, not ${text}`);
  return Number(match[1]) * units[match[2]!]!;
}
