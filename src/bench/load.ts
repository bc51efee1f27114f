// What all benchmarks are told, and what they answer.
import type { TLedgerClient } from '../client/client.ts';
import type { Load } from './drive.ts';
import type { Figures, Latencies, Meter } from './meter.ts';

/** What is measured. */
export type BenchKind = 'append' | 'unary' | 'consume' | 'end-to-end' | 'failover';

/** A run of any kind. */
export interface BenchOptions {
  readonly endpoints: readonly string[];
  readonly topic: string;
  /** Queues of the topic, as the group says. */
  readonly queues: number;
  /** Of a message's body. */
  readonly sizeBytes: number;
  /** Connections, each of a client of its own. */
  readonly connections: number;
  /** What an acknowledgement means; empty: what the group does. */
  readonly flush: '' | 'sync' | 'async';
  readonly warmUpMs: number;
  readonly durationMs: number;
  readonly signal: AbortSignal;
  readonly meter: Meter;
}

/** A run that sends. */
export interface SendOptions extends BenchOptions {
  readonly load: Load;
  /** Messages of one request. 1: single sends, which the client gathers by itself. */
  readonly batch: number;
  /** Frames of one connection that were sent and not answered. */
  readonly windowFrames: number;
}

/** The result as programs get it. */
export interface BenchReport extends Figures {
  readonly kind: BenchKind;
  /** What was asked for: loop, size, batch and so on. */
  readonly setting: Readonly<Record<string, string | number>>;
  /** Of end-to-end: from when a message was due to when a consumer had it. */
  readonly deliveryMs?: Latencies;
  /** Of failover: milliseconds without an acknowledgement around each change of leaders, or the longest one. */
  readonly gapsMs?: readonly number[];
}

/** Bytes of a body that are its own: benchmarks send the same bytes again and again otherwise. */
export const STAMP_BYTES = 16;

/** Makes the clients of a run, runs it, and closes them. */
export async function withClients<Result>(
  { endpoints, connections }: Pick<BenchOptions, 'endpoints' | 'connections'>,
  body: (clients: readonly TLedgerClient[]) => Promise<Result>,
): Promise<Result> {
  const { TLedgerClient } = await import('../client/client.ts');
  const clients = Array.from({ length: connections }, () => new TLedgerClient({ endpoints, ownConnections: true }));
  try {
    return await body(clients);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}
