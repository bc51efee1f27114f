// `tledger bench` of the built program, as users run it, in a process of its own.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { BenchReport } from '../../src/bench/load.ts';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Runs it against a group. @throws Error with what it said when it fails. */
export async function tledgerBench(
  endpoints: readonly string[],
  args: readonly (string | number)[],
): Promise<BenchReport> {
  const common = ['--endpoints', endpoints.join(','), '--format', 'json', '--no-progress'];
  const child = spawn(process.execPath, [program, 'bench', ...args.map(String), ...common]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const exitCode = await new Promise((resolve) => child.once('close', resolve));
  if (exitCode !== 0) throw new Error(`tledger bench ${args.join(' ')} ended with ${exitCode}: ${err}`);
  return JSON.parse(out) as BenchReport;
}
