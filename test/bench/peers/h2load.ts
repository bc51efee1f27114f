// Unary gRPC calls by h2load (nghttp2), a thin client in C that is the same for all servers: it repeats one request.
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { percentile } from '../goals.ts';
import { type Measured, pathOf, type Shape } from './contender.ts';

/** Streams of one connection; more in flight takes more connections. */
const STREAMS_MAX = 128;
const FRAME_HEADER_BYTES = 5;

/** What a run of it found. */
export interface Loaded extends Measured {
  /** Calls answered with HTTP 200; gRPC's own status is not seen: whoever asks counts what was stored. */
  readonly succeeded: number;
}

/** A gRPC message as it travels: not compressed, its length, its bytes. */
export function grpcFrame(message: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/**
 * Calls `path` at each of `addresses` again and again, all at once, with the calls under way shared out among them.
 * @throws Error when it cannot, or any call failed.
 */
export async function h2load(
  addresses: readonly string[],
  path: string,
  message: Buffer,
  shape: Shape,
  directory: string,
): Promise<Loaded> {
  const body = join(directory, 'request.bin');
  writeFileSync(body, grpcFrame(message));
  const runs = await Promise.all(
    sharesOf(shape.inFlight, addresses.length).map((inFlight, at) => {
      const log = join(directory, `h2load-${at}.log`);
      return loadOne(`http://${addresses[at]}${path}`, body, { ...shape, inFlight }, log);
    }),
  );
  const ms = runs.flatMap((run) => run.latenciesMs);
  return {
    messagesPerSecond: runs.reduce((sum, run) => sum + run.messagesPerSecond, 0),
    succeeded: runs.reduce((sum, run) => sum + run.succeeded, 0),
    ...{ failures: 0, p50Ms: percentile(ms, 0.5), p99Ms: percentile(ms, 0.99) },
  };
}

/** `total` in so many parts that differ by one at most. */
export function sharesOf(total: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => Math.floor(total / count) + (at < total % count ? 1 : 0));
}

async function loadOne(url: string, body: string, shape: Shape, log: string) {
  rmSync(log, { force: true });
  const clients = Math.ceil(shape.inFlight / STREAMS_MAX);
  const args = [
    ...['-c', String(clients), '-m', String(Math.ceil(shape.inFlight / clients))],
    ...['-D', `${shape.durationMs}ms`, '--warm-up-time', `${shape.warmUpMs}ms`],
    ...['-H', 'content-type: application/grpc', '-H', 'te: trailers', '-d', body, '--log-file', log, url],
  ];
  const child = spawn(pathOf('h2load')!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const exitCode = await new Promise((resolve) => child.once('close', resolve));
  if (exitCode !== 0) throw new Error(`h2load ended with ${exitCode}: ${said.slice(-500)}`);
  return { ...parseH2load(said), latenciesMs: latenciesIn(readFileSync(log, 'latin1')) };
}

/** Reads what it prints. @throws Error for calls that failed, and for text of another kind. */
export function parseH2load(text: string): { messagesPerSecond: number; succeeded: number } {
  const perSecond = /finished in [^,]+, ([0-9.]+) req\/s/.exec(text)?.[1];
  const counts = /(\d+) succeeded, (\d+) failed, (\d+) errored/.exec(text);
  const ok = /status codes: (\d+) 2xx/.exec(text)?.[1];
  if (perSecond === undefined || counts === null || ok === undefined)
    throw new Error(`not of h2load: ${text.slice(-500)}`);
  if (Number(counts[2]) > 0 || Number(ok) === 0) throw new Error(`calls failed: ${counts[0]}, ${ok} with status 200`);
  return { messagesPerSecond: Math.round(Number(perSecond)), succeeded: Number(counts[1]) };
}

/** Milliseconds, from its log: start in µs, status, duration in µs, a line a call. */
export function latenciesIn(log: string): number[] {
  return log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Number(line.split('\t')[2]) / 1_000);
}
