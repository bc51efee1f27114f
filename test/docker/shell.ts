// Programs run by the container test: their output when they succeed, what they said when they fail.
import { spawn, spawnSync } from 'node:child_process';

/** Options of one run. */
export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

const TAIL_CHARACTERS = 4_000;

/** Whether a program can be found. */
export function isInstalled(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;
}

/** Runs a program to its end; resolves with its stdout. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { env = process.env, cwd = process.cwd(), timeoutMs = 120_000 } = options;
    const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let all = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.stdout.on('data', (chunk) => {
      stdout += String(chunk);
      all += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      all += String(chunk);
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(stdout);
      else
        reject(
          new Error(`${program} ${args.join(' ')}: ${signal ?? `exit code ${code}`}\n${all.slice(-TAIL_CHARACTERS)}`),
        );
    });
  });
}

/** Runs a program and forgets whether it succeeded: for cleaning up. */
export async function tryRun(program: string, args: readonly string[], options: RunOptions = {}): Promise<void> {
  await run(program, args, options).catch(() => {});
}

/** Waits until `condition` holds. */
export async function until(condition: () => Promise<boolean>, what: string, timeoutMs: number): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
