// What takes part in a comparison: three nodes on loopback with data in a directory, and how to load them. And how
// programs of other systems are found, started and ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { drive } from '../../../src/bench/drive.ts';
import { type Figures, Meter } from '../../../src/bench/meter.ts';
import { pause } from '../../chaos/pause.ts';

/** Names of all that can take part. */
export const systems = {
  tledger: 'TLedger',
  nats: 'NATS JetStream R3',
  etcd: 'etcd',
  rabbitmq: 'RabbitMQ quorum queue',
  prototype: 'bare prototype',
  bareServer: 'bare gRPC server',
} as const;

/** One way of loading a system. */
export interface Shape {
  readonly name: string;
  /**
   * singles: one message a request, which the system's client may gather; frames: many; unary: single gRPC calls of h2load
   * to the leader; spread: the same, one h2load for each node at once; consume: reading what was just stored; end-to-end:
   * from a sender to a consumer, whose latency counts.
   */
  readonly kind: 'singles' | 'frames' | 'unary' | 'spread' | 'consume' | 'end-to-end';
  /** Requests under way, where no rate is given. */
  readonly inFlight: number;
  /** An open loop: messages a second. */
  readonly ratePerSecond?: number;
  /** An open loop at half of the rate that TLedger reached in the shape of that name. */
  readonly halfOf?: string;
  /** Only TLedger has it, and it runs after all others were ended: its figures stand for themselves. */
  readonly isAlone?: true;
  /** Messages of a request. */
  readonly batch: number;
  readonly sizeBytes: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
}

/** Of one run. Latencies are 0 where there are none. */
export interface Measured {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Requests that failed. */
  readonly failures: number;
}

/** A system with three nodes, or a mark of what the machine can do. */
export interface Contender {
  readonly name: string;
  /** When an acknowledged message is on the disk. */
  readonly flush: string;
  /** Programs that it needs for these shapes, with the Debian package of each. */
  programsFor(shapes: readonly Shape[]): Readonly<Record<string, string>>;
  /** Its processes that run between measurements, too; none once it was stopped. */
  readonly pids: readonly number[];
  /** Starts all nodes; resolves when they can be written to. */
  start(directory: string): Promise<void>;
  /** Whether it can be loaded in this way; see `takesPart` for who is. */
  has(shape: Shape): boolean;
  /** Loads it in a way that it has. */
  run(shape: Shape): Promise<Measured>;
  /** Has it throw away what was stored, as far as it can while it runs, so that nobody pays for another's data. */
  empty(): Promise<void>;
  /** Ends all that it started; may be called again, by others meanwhile, too. */
  stop(): Promise<void>;
}

export const NODES = 3;
/** How long a system is asked to throw its data away before that counts as refused. */
export const EMPTY_MS = 30_000;
const STOP_MS = 5_000;
const TRY_MS = 200;

/** Debian keeps servers out of the path of users, and RabbitMQ's behind programs that ask for users of its own. */
const folders = () => ['/usr/lib/rabbitmq/bin', ...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];

/** Where a program lies; undefined when it is not installed. */
export function pathOf(program: string): string | undefined {
  return folders()
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** A line for each program that is not there, with the Debian package that has it. */
export function missingPrograms(
  contenders: readonly Contender[],
  shapes: readonly Shape[],
  isInstalled = (program: string): boolean => pathOf(program) !== undefined,
): string[] {
  const needed = new Map(contenders.flatMap((contender) => Object.entries(contender.programsFor(shapes))));
  return [...needed]
    .filter(([program]) => !isInstalled(program))
    .map(([program, name]) => `${program} is missing: Debian's package ${name} has it`);
}

/** Processes of one system; their output lies in its directory. */
export class Processes {
  readonly #children: ChildProcess[] = [];

  /** @throws Error when the program is not installed. */
  start(
    program: string,
    args: readonly string[],
    directory: string,
    name: string,
    env: Readonly<Record<string, string>> = {},
  ): void {
    const path = pathOf(program);
    if (path === undefined) throw new Error(`${program} is not installed`);
    mkdirSync(join(directory, name), { recursive: true });
    const log = openSync(join(directory, `${name}.log`), 'w');
    const child = spawn(path, args, {
      stdio: ['ignore', log, log],
      cwd: directory,
      env: { ...process.env, ...env },
    });
    closeSync(log);
    this.#children.push(child);
  }

  get pids(): readonly number[] {
    return this.#children.flatMap(({ pid }) => pid ?? []);
  }

  /** Ends each by its pid; there are none from then on. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
        await ended;
        clearTimeout(timer);
      }),
    );
    this.#children.length = 0;
  }

  /** @throws Error when one has ended. */
  assertRunning(): void {
    const gone = this.#children.find(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null);
    if (gone !== undefined)
      throw new Error(`${gone.spawnargs.join(' ')} ended with ${gone.exitCode ?? gone.signalCode}`);
  }
}

/** Whether a system has a row of that shape. */
export function takesPart(contender: Contender, shape: Shape): boolean {
  return shape.isAlone ? contender.name === systems.tledger : contender.has(shape);
}

/**
 * Loads a system in the given way by requests of one message each.
 * @param request sends one, and says later whether it was stored.
 */
export async function driveSingles(
  { inFlight, sizeBytes, warmUpMs, durationMs }: Shape,
  request: (answered: (error: unknown) => void) => void,
): Promise<Figures> {
  const meter = new Meter();
  await drive({
    ...{ load: { kind: 'closed', inFlight }, meter, sizeBytes, warmUpMs, durationMs },
    signal: new AbortController().signal,
    request: (answered) => request((error) => answered(error, 1)),
  });
  return meter.figures();
}

/** What counts of the figures. */
export function measuredOf({ messagesPerSecond, latencyMs, failed }: Figures): Measured {
  return { messagesPerSecond, p50Ms: latencyMs.p50, p99Ms: latencyMs.p99, failures: failuresIn(failed) };
}

/** Requests that failed, of all kinds. */
function failuresIn(failed: Readonly<Record<string, number>>): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0);
}

/** Tries until it works. @throws the last failure when it never did in `timeoutMs`. */
export async function tryUntil<T>(timeoutMs: number, attempt: () => Promise<T>): Promise<T> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > untilMs) throw error;
      await pause(TRY_MS);
    }
  }
}
