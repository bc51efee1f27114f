// One node as a child process of this one. The channel between the two tells when the node is ready or why it is not,
// and its end tells the node to stop: children never outlive their parent, however that one dies.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isErrorCode, TLedgerError } from '../base/errors.ts';

/** What a supervised node tells its parent. */
export type ChildMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** How a process ended. */
export interface ChildExit {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What a child is started with. */
export interface ChildNodeOptions {
  readonly nodeId: string;
  /** Arguments behind `tledger node start`. */
  readonly flags: readonly string[];
  /** Where its stderr goes; added to. */
  readonly logFile: string;
  readonly startTimeoutMs: number;
  /** Called once, when the process has ended. */
  readonly onExit: (exit: ChildExit) => void;
}

const LOG_BYTES_MAX = 16 * 1024 * 1024;
const LOG_TAIL_LINES = 5;

/** A running node process. */
export class ChildNode {
  readonly nodeId: string;
  readonly #process: ChildProcess;
  readonly #logFile: string;
  readonly #exited: Promise<ChildExit>;
  #exit: ChildExit | undefined;
  #failure: TLedgerError | undefined;

  private constructor(options: ChildNodeOptions) {
    this.nodeId = options.nodeId;
    this.#logFile = options.logFile;
    mkdirSync(dirname(options.logFile), { recursive: true });
    const log = openLog(options.logFile);
    // Its own process group: a Ctrl-C in the terminal reaches the parent alone, which then ends its children in order.
    this.#process = spawn(
      process.execPath,
      [...programArguments(), 'node', 'start', '--supervised', ...options.flags],
      {
        stdio: ['ignore', 'ignore', log, 'ipc'],
        detached: true,
      },
    );
    closeSync(log);
    this.#exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (this.#exit !== undefined) return;
        this.#exit = { pid: this.pid, code, signal };
        resolve(this.#exit);
        options.onExit(this.#exit);
      };
      this.#process.once('exit', end);
      this.#process.once('error', () => end(null, null));
    });
  }

  /** Starts a node; resolves when it takes part in its group. @throws TLedgerError naming the node and what kept it. */
  static async start(options: ChildNodeOptions): Promise<ChildNode> {
    const child = new ChildNode(options);
    try {
      await child.#ready(options.startTimeoutMs);
      return child;
    } catch (error) {
      await child.stop(0);
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** Sends a signal; SIGKILL and SIGTERM are waited for. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#process.kill(signal);
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await this.#exited;
  }

  /** SIGTERM, then SIGKILL if it takes longer than `timeoutMs`. */
  async stop(timeoutMs: number): Promise<ChildExit> {
    if (this.#exit !== undefined) return this.#exit;
    this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), timeoutMs);
    const exit = await this.#exited;
    clearTimeout(timer);
    return exit;
  }

  #ready(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (code: TLedgerError['code'], text: string): void => {
        clearTimeout(timer);
        reject(this.#failure ?? new TLedgerError(code, `${this.nodeId} could not start: ${text}`));
      };
      const timer = setTimeout(() => fail('DEADLINE_EXCEEDED', `not ready after ${timeoutMs} ms`), timeoutMs);
      this.#process.on('message', (message: ChildMessage) => {
        if (message.kind === 'ready') {
          clearTimeout(timer);
          resolve();
        } else {
          const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
          this.#failure = new TLedgerError(code, `${this.nodeId} could not start: ${message.message}`);
        }
      });
      // The channel is read to its end before the exit is believed: what it says is better than an exit code.
      void this.#exited.then((exit) => setImmediate(() => fail('INTERNAL', `${describeExit(exit)}${this.#logTail()}`)));
    });
  }

  #logTail(): string {
    try {
      const lines = readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES);
      return `; its log (${this.#logFile}) ends with:\n  ${lines.join('\n  ')}`;
    } catch {
      return '';
    }
  }
}

/** `was killed (SIGKILL)` or `exited with code 1`. */
export function describeExit(exit: Pick<ChildExit, 'code' | 'signal'>): string {
  return exit.signal === null ? `exited with code ${exit.code}` : `was killed (${exit.signal})`;
}

/** How to run this very program again: the built one, or the sources through tsx in development. */
export function programArguments(): string[] {
  const isSource = import.meta.url.endsWith('.ts');
  const main = fileURLToPath(new URL(isSource ? '../cli/main.ts' : '../cli/main.js', import.meta.url));
  return isSource ? ['--import', createRequire(import.meta.url).resolve('tsx'), main] : [main];
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  } catch {
    // No log yet.
  }
  return openSync(path, 'a');
}
