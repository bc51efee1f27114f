// Runs the command line in this process, with streams in the place of a terminal.
import { PassThrough, Readable } from 'node:stream';
import type { CliContext } from '../../src/cli/context.ts';
import { runCli } from '../../src/cli/program.ts';

export interface Run {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: Buffer | string | Readable;
  readonly env?: NodeJS.ProcessEnv;
  readonly interrupted?: AbortSignal;
  readonly isStderrTerminal?: boolean;
  /** Sees each chunk of stdout as it is written. */
  readonly onStdout?: (chunk: Buffer) => void;
}

/** One command line, to its end. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Run> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  stdout.on('data', (chunk: Buffer) => {
    out.push(chunk);
    options.onStdout?.(chunk);
  });
  stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const { stdin } = options;
  const context: CliContext = {
    stdin: stdin instanceof Readable ? stdin : Readable.from(chunksOf(Buffer.from(stdin ?? ''))),
    stdout,
    stderr,
    env: options.env ?? {},
    isStderrTerminal: options.isStderrTerminal ?? false,
    interrupted: () => options.interrupted ?? new AbortController().signal,
  };
  const exitCode = await runCli(argv, context);
  await new Promise((resolve) => setImmediate(resolve));
  return { exitCode, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() };
}

/** With longer and longer `--timeout` until it ends as it should: for what is told when the time is up. */
export async function runUntil(
  isSo: (run: Run) => boolean,
  argv: readonly string[],
  options?: RunOptions,
): Promise<Run> {
  for (const timeoutMs of [200, 1_000, 5_000]) {
    const ended = await run([...argv, '--timeout', String(timeoutMs)], options);
    if (isSo(ended)) return ended;
  }
  return run([...argv, '--timeout', '20000'], options);
}

/** The same bytes in pieces of uneven size, as a pipe would give them. */
export function* chunksOf(bytes: Buffer, sizes: readonly number[] = [7, 1, 64, 3]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
