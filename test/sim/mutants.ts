// Breaks the code on purpose, one line at a time, in a copy of the tree, and sees whether the simulator notices:
// `npm run test:mutants -- [--only name,name] [--share 1/4] [--seeds 500] [--budget 120s] [--workers 2] [--profile P]`.
// A budget is for one mutant. One that the simulator cannot be expected to notice names the test that does, which is run
// instead. Exit code 1 when one survives.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { mutants } from './mutants/all.ts';
import type { Mutant } from './mutants/mutant.ts';

const root = resolve(import.meta.dirname, '../..');
/** The code as it is must pass this many seeds first, or being caught means nothing. */
const CONTROL_SEEDS = '40';
/** A mutant that does not come to an end is stopped this long after its budget. */
const HANG_MS = 30_000;

interface Result {
  readonly mutant: string;
  readonly fate: 'caught' | 'hangs' | 'by a test' | 'SURVIVED';
  readonly seeds: number;
  readonly seconds: number;
  /** The seed that caught it. */
  readonly seed: number | null;
  readonly how: string;
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seeds: { type: 'string', default: '500' },
    budget: { type: 'string', default: '120s' },
    seed: { type: 'string' },
    share: { type: 'string', default: '1/1' },
    profile: { type: 'string' },
    workers: { type: 'string', default: String(availableParallelism()) },
  },
});

process.exitCode = await main();

async function main(): Promise<number> {
  const wanted = values.only?.split(',');
  const [share, shares] = values.share.split('/').map(Number);
  const queue = mutants.filter(({ name }, at) => {
    return wanted === undefined ? at % shares! === share! - 1 : wanted.includes(name);
  });
  const startMs = performance.now();
  const results: Result[] = [];
  const copies: string[] = [];
  try {
    await Promise.all(
      Array.from({ length: Number(values.workers) }, async () => {
        const copy = copyTree();
        copies.push(copy);
        const control = await simulate(copy, CONTROL_SEEDS);
        if (control?.failures.length !== 0) throw new Error(`the unbroken code fails: ${JSON.stringify(control)}`);
        for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
          const result = await tryMutant(copy, mutant);
          process.stderr.write(`${result.fate} ${result.mutant} (${result.seeds} seeds, ${result.seconds} s)\n`);
          results.push(result);
        }
      }),
    );
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true, force: true });
  }
  process.stdout.write(`${Math.round((performance.now() - startMs) / 1_000)} s in all\n`);
  return print(results);
}

/** The sources as they are now; what is installed is shared. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'tledger-mutants-'));
  for (const part of ['src', 'test', 'proto', 'package.json', 'tsconfig.json', '.mocharc.json']) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'dir');
  return copy;
}

async function tryMutant(copy: string, mutant: Mutant): Promise<Result> {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, 'utf8');
  const parts = source.split(mutant.original);
  if (parts.length !== 2)
    throw new Error(`${mutant.name}: its line stands ${parts.length - 1} times in ${mutant.file}`);
  writeFileSync(path, parts.join(mutant.replacement));
  const startMs = performance.now();
  try {
    if (mutant.directed !== undefined) return await tryDirected(copy, mutant, mutant.directed.test);
    const output = await simulate(copy, values.seeds);
    const seconds = Math.round((performance.now() - startMs) / 1_000);
    if (output === null) return { mutant: mutant.name, fate: 'hangs', seeds: 0, seconds, seed: null, how: 'no end' };
    const { seeds, failures } = output;
    const failure = failures[0];
    const fate = failure === undefined ? 'SURVIVED' : 'caught';
    const how = (failure?.message ?? mutant.breaks).split('\n', 1).join().slice(0, 70);
    return { mutant: mutant.name, fate, seeds, seconds, seed: failure?.seed ?? null, how };
  } finally {
    writeFileSync(path, source);
  }
}

async function tryDirected(copy: string, { name, breaks }: Mutant, test: string): Promise<Result> {
  const startMs = performance.now();
  const child = spawn(process.execPath, ['node_modules/mocha/bin/mocha.js', test], { cwd: copy, stdio: 'ignore' });
  const code = await new Promise((done) => child.once('exit', done));
  const seconds = Math.round((performance.now() - startMs) / 1_000);
  const isCaught = code !== 0;
  const how = isCaught ? test : breaks;
  return { mutant: name, fate: isCaught ? 'by a test' : 'SURVIVED', seeds: 0, seconds, seed: null, how };
}

interface Output {
  readonly seeds: number;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
}

/** Null when it did not come to an end. */
function simulate(copy: string, seeds: string): Promise<Output | null> {
  const args = ['--import', 'tsx', 'test/sim/main.ts', '--workers', '1', '--failures', '1', '--format', 'json'];
  args.push('--seeds', seeds, '--budget', values.budget);
  if (values.seed !== undefined) args.push('--seed', values.seed);
  if (values.profile !== undefined) args.push('--profile', values.profile);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let hangs = false;
    const budgetMs = Number.parseInt(values.budget, 10) * (values.budget.endsWith('m') ? 60_000 : 1_000);
    const timer = setTimeout(() => {
      hangs = true;
      child.kill('SIGKILL');
    }, budgetMs + HANG_MS);
    child.stdout.on('data', (data) => {
      stdout += String(data);
    });
    child.stderr.on('data', (data) => {
      stderr += String(data);
    });
    child.once('exit', () => {
      clearTimeout(timer);
      const json = stdout.split('\n').find((line) => line.startsWith('{'));
      if (json !== undefined) resolve(JSON.parse(json) as Output);
      else if (hangs) resolve(null);
      // A process that a mutant brings down is as good as a broken promise.
      else if (stderr.includes('Error')) resolve({ seeds: 1, failures: [{ seed: -1, message: stderr.slice(-70) }] });
      else reject(new Error(`the simulator ended without a word: ${stderr}`));
    });
  });
}

function print(results: readonly Result[]): number {
  const table = new Table({ head: ['mutant', 'fate', 'seeds', 's', 'seed', 'how'], style: { head: [], border: [] } });
  const order = new Map(mutants.map(({ name }, at) => [name, at]));
  const sorted = [...results].sort((a, b) => order.get(a.mutant)! - order.get(b.mutant)!);
  for (const { mutant, fate, seeds, seconds, seed, how } of sorted) {
    table.push([mutant, fate, seeds, seconds, seed ?? '', how.padEnd(1)]);
  }
  const survivors = results.filter(({ fate }) => fate === 'SURVIVED');
  process.stdout.write(`${table.toString()}\n${results.length - survivors.length} of ${results.length} caught\n`);
  for (const { mutant } of survivors) process.stdout.write(`SURVIVED: ${mutant}\n`);
  return survivors.length === 0 ? 0 : 1;
}
