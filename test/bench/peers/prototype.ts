// The bare prototype that marks the ceiling of a machine (three nodes without consensus, formats and checks); it is not part
// of this repository and starts its nodes itself, for every run anew.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Contender, type Measured, type Shape, systems } from './contender.ts';

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));
/**
 * What it calls the kinds that it has: its client gathers (`co`) or sends frames. Its single calls are not made by h2load, as
 * everybody's are.
 */
const modes: Readonly<Partial<Record<Shape['kind'], string>>> = { singles: 'co', frames: 'stream' };
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Where it keeps its logs: in the directory for temporary files. */
const DATA = 'tledger-prototype';

export class Prototype implements Contender {
  readonly name = systems.prototype;
  readonly flush = 'fdatasync before the answer';
  readonly pids: readonly number[] = [];
  readonly #programDirectory: string;
  #directory = '';
  #running: ChildProcess | undefined;

  /** @param programDirectory where its e2e.js lies. */
  constructor(programDirectory: string) {
    this.#programDirectory = programDirectory;
  }

  programsFor(): Readonly<Record<string, string>> {
    return {};
  }

  async start(directory: string): Promise<void> {
    this.#directory = directory;
  }

  has(shape: Shape): boolean {
    return modes[shape.kind] !== undefined;
  }

  async run({ kind, inFlight, batch, sizeBytes, warmUpMs, durationMs }: Shape): Promise<Measured> {
    const mode = modes[kind];
    const config = {
      ...{ mode, B: batch, win: inFlight, ackBatch: 1, fsync: 1, size: sizeBytes, followers: 2, clients: 1 },
      ...{ secs: durationMs / 1_000, warm: warmUpMs },
    };
    const child = spawn(process.execPath, ['-r', './patch_window.js', 'e2e.js', JSON.stringify(config)], {
      cwd: this.#programDirectory,
      env: { ...process.env, SRVWIN: String(WINDOW_BYTES), NODE_PATH: modules, TMPDIR: this.#directory },
      stdio: ['ignore', 'pipe', 'inherit'],
      // It leads a process group, with the nodes that it starts.
      detached: true,
    });
    this.#running = child;
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    const [exitCode] = (await once(child, 'exit')) as [number | null];
    this.#kill();
    if (!child.stdout.readableEnded) await once(child.stdout, 'end');
    if (exitCode !== 0) throw new Error(`the prototype ended with ${exitCode}`);
    const line = out.split('\n').find((one) => one.startsWith('{'));
    if (line === undefined) throw new Error(`the prototype said ${out}`);
    const { mps, p50, p99 } = JSON.parse(line) as { mps: number; p50: number; p99: number };
    return { messagesPerSecond: mps, p50Ms: p50, p99Ms: p99, failures: 0 };
  }

  /** It would do so when it starts again, and write into the very page cache that this frees. */
  async empty(): Promise<void> {
    rmSync(join(this.#directory, DATA), { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    this.#kill();
  }

  /** Ends what is left of the last run: its group has gone when its nodes have ended, too. */
  #kill(): void {
    const pid = this.#running?.pid;
    this.#running = undefined;
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
