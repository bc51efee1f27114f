// The bare prototype that marks the ceiling of a machine (three nodes without consensus, formats and checks); it is not part
// of this repository and starts its nodes itself, for every run anew.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Contender, type Measured, type Shape, systems } from './contender.ts';

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));
/** What it calls the kinds that it has: its client gathers (`co`), sends frames, or calls. */
const modes: Readonly<Partial<Record<Shape['kind'], string>>> = { singles: 'co', frames: 'stream', unary: 'unary' };
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Where it keeps its logs. */
const DATA = join(tmpdir(), 'tledger-prototype');

export class Prototype implements Contender {
  readonly name = systems.prototype;
  readonly flush = 'fdatasync before the answer';
  readonly pids: readonly number[] = [];
  readonly #directory: string;

  /** @param directory where its e2e.js lies. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  programsFor(): Readonly<Record<string, string>> {
    return {};
  }

  async start(): Promise<void> {}

  has(shape: Shape): boolean {
    return modes[shape.kind] !== undefined && shape.halfOf === undefined;
  }

  async run({ kind, inFlight, batch, sizeBytes, warmUpMs, durationMs }: Shape): Promise<Measured> {
    const mode = modes[kind];
    const config = {
      ...{ mode, B: batch, win: inFlight, ackBatch: 1, fsync: 1, size: sizeBytes, followers: 2, clients: 1 },
      ...{ secs: durationMs / 1_000, warm: warmUpMs },
    };
    const child = spawn(process.execPath, ['-r', './patch_window.js', 'e2e.js', JSON.stringify(config)], {
      cwd: this.#directory,
      env: { ...process.env, SRVWIN: String(WINDOW_BYTES), NODE_PATH: modules },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    await new Promise((resolve) => child.once('close', resolve));
    // It would remove them when it starts again, and write into the very page cache that this frees.
    rmSync(DATA, { recursive: true, force: true });
    const line = out.split('\n').find((one) => one.startsWith('{'));
    if (line === undefined) throw new Error(`the prototype said ${out}`);
    const { mps, p50, p99 } = JSON.parse(line) as { mps: number; p50: number; p99: number };
    return { messagesPerSecond: mps, p50Ms: p50, p99Ms: p99, failures: 0 };
  }

  async stop(): Promise<void> {}
}
