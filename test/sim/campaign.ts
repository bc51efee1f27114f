// Many seeds, on one core or on several, and what they were together.
import { type ChildProcess, fork } from 'node:child_process';
import { type Profile, profiles } from './plan.ts';
import { addTallies, newTallies, type Tallies, tally } from './tally.ts';
import { type RunReport, runSeed } from './world.ts';

/** Seeds are drawn below this. */
export const SEED_MAX = 2 ** 31;
const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** What to run. */
export interface Job {
  readonly first: number;
  /** Takes every n-th seed. */
  readonly stride: number;
  readonly seeds: number;
  /** Begins no run after this time of day, in milliseconds. */
  readonly untilMs: number;
  /** Null draws one for each seed. */
  readonly profile: Profile | null;
  /** Stops after so many seeds that broke a promise. */
  readonly failuresMax: number;
}

/** A seed that broke a promise. */
export interface Failure {
  readonly seed: number;
  readonly message: string;
}

/** What several runs were, together. */
export interface Totals {
  seeds: number;
  simulatedMs: number;
  events: number;
  cpuMs: number;
  readonly tallies: Tallies;
  readonly failures: Failure[];
}

/** Runs a job in this process. */
export async function runJob({ first, stride, seeds, untilMs, profile, failuresMax }: Job): Promise<Totals> {
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

/** Runs a job in a process of its own, which is started with `file`. @throws when that ends without an answer */
export function runJobInChild(job: Job, file: string): Promise<Totals> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(file, [], { execArgv: process.execArgv, serialization: 'advanced' });
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`a worker ended early with code ${code}`)));
    child.send(job);
  });
}

/** All parts of a campaign as one. */
export function sumTotals(parts: readonly Totals[]): Totals {
  const totals = newTotals();
  for (const part of parts) {
    totals.seeds += part.seeds;
    totals.simulatedMs += part.simulatedMs;
    totals.events += part.events;
    totals.cpuMs += part.cpuMs;
    addTallies(totals.tallies, part.tallies);
    totals.failures.push(...part.failures);
  }
  return totals;
}

/** The command that replays a seed. */
export function replayCommand(seed: number, profile: Profile | null): string {
  return `npm run test:sim -- --seed ${seed}${profile === null ? '' : ` --profile ${profile}`} --trace`;
}

/** @throws for a name that is none */
export function readProfile(text: string | undefined): Profile | null {
  if (text === undefined) return null;
  const profile = profiles.find((name) => name === text);
  if (profile === undefined) throw new Error(`no profile ${text}; there are ${profiles.join(', ')}`);
  return profile;
}

/** Milliseconds of a duration such as `90s`, `5m` or `1h`. @throws for anything else */
export function readBudget(text: string): number {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  if (match === null) throw new Error(`a budget is a number with ms, s, m or h, not ${text}`);
  return Number(match[1]) * units[match[2]!]!;
}

function newTotals(): Totals {
  return { seeds: 0, simulatedMs: 0, events: 0, cpuMs: 0, tallies: newTallies(), failures: [] };
}

function add(totals: Totals, report: RunReport): void {
  totals.seeds++;
  totals.simulatedMs += report.simulatedMs;
  totals.events += report.events;
  addTallies(totals.tallies, report.tallies);
  tally(totals.tallies.profiles, report.profile);
  if (report.failure !== null) totals.failures.push({ seed: report.seed, message: report.failure.message });
}
