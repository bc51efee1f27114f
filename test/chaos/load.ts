// A load with a memory: numbered messages from several senders, each remembered with its outcome. Idempotent producers
// may not double anything; senders without a producer id send again what they lost sight of, so theirs may be doubled.
import { setMaxListeners } from 'node:events';
import { TLedgerError } from '../../src/base/errors.ts';
import { Cluster } from '../../src/client/cluster.ts';
import { type ProducerOptions, TLedgerClient } from '../../src/client/index.ts';
import { int64ToNumber } from '../../src/wire/int64.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { bodyOf, type History, type Operation } from './history.ts';
import { pause } from './pause.ts';

/** How much is sent, and where. */
export interface LoadOptions {
  readonly endpoints: readonly string[];
  readonly topic: string;
  readonly history: History;
  /** Told of each acknowledgement, with the time (performance.now). */
  readonly onAcknowledged?: (nowMs: number) => void;
  /** Messages a second of one sender; as fast as they are taken by default. */
  readonly ratePerSender?: number;
}

/** How one producer sends. */
export interface SenderOptions extends ProducerOptions {
  /** Messages under way. */
  readonly window: number;
}

/** Sendings of one message without a producer id. */
const UNARY_ATTEMPTS_MAX = 3;
const UNARY_TIMEOUT_MS = 2_000;
/** A sender that was refused at once takes a breath. */
const REFUSED_PAUSE_MS = 20;

/** Sends until told to stop. */
export class Load {
  readonly #options: LoadOptions;
  readonly #clients: TLedgerClient[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #stop = new AbortController();
  /** How often senders were told each code. */
  readonly codes = new Map<string, number>();
  #senders = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    // Every lane listens while it waits.
    setMaxListeners(0, this.#stop.signal);
  }

  /** Starts an idempotent producer with a client of its own. */
  startProducer({ window, ...options }: SenderOptions): void {
    const client = new TLedgerClient({ endpoints: this.#endpointsInTurn() });
    this.#clients.push(client);
    const producer = client.producer(options);
    const sender = this.#senders++;
    const lanes = Array.from({ length: window }, () =>
      this.#lane(sender, window, async (operation) => {
        const { queue } = operation;
        const receipt = await producer.send({ topic: this.#options.topic, queue, body: bodyOf(operation) });
        return receipt.queueOffset;
      }),
    );
    this.#running.push(Promise.all(lanes).then(() => client.close()));
  }

  /** Starts a sender of single calls without a producer id, one at a time: side by side they would have no order. */
  startUnarySender(): void {
    const cluster = new Cluster({ endpoints: this.#endpointsInTurn() });
    const lane = this.#lane(this.#senders++, 1, (operation) => this.#append(cluster, operation));
    this.#running.push(lane.then(() => cluster.close()));
  }

  /** Resolves when every message has its outcome. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #lane(sender: number, window: number, send: (operation: Operation) => Promise<number | null>): Promise<void> {
    const { history, ratePerSender, onAcknowledged } = this.#options;
    const { signal } = this.#stop;
    const stepMs = ratePerSender === undefined ? 0 : (1_000 * window) / ratePerSender;
    if (stepMs > 0) await pause(Math.random() * stepMs, signal);
    while (!signal.aborted) {
      const begunMs = performance.now();
      const operation = history.begin(sender, Math.floor(Math.random() * history.queues), begunMs);
      try {
        const offset = await send(operation);
        const nowMs = performance.now();
        history.settle(operation, 'acknowledged', offset, nowMs);
        onAcknowledged?.(nowMs);
      } catch (error) {
        const { code } = error as TLedgerError;
        history.settle(operation, code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed', null, performance.now());
        this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
        await pause(REFUSED_PAUSE_MS, signal);
      }
      const waitMs = stepMs - (performance.now() - begunMs);
      if (waitMs > 1) await pause(waitMs, signal);
    }
  }

  /** Sends one message, again when the answer was lost: then there may be copies. */
  async #append(cluster: Cluster, operation: Operation): Promise<number> {
    const { topic } = this.#options;
    const messages = [{ body: bodyOf(operation) }];
    const request = { topic, queue: operation.queue, producerId: '', sequence: 0, messages };
    for (;;) {
      try {
        const call = { effects: 'once', timeoutMs: UNARY_TIMEOUT_MS } as const;
        const { queueOffset } = await cluster.call(ledgerService.append, request, call);
        return int64ToNumber(queueOffset, 'queueOffset');
      } catch (error) {
        const mayBeThere = (error as TLedgerError).code === 'OUTCOME_UNKNOWN' || operation.copiesMax > 1;
        if (!mayBeThere) throw error;
        if (operation.copiesMax >= UNARY_ATTEMPTS_MAX || this.#stop.signal.aborted) {
          throw new TLedgerError('OUTCOME_UNKNOWN', 'an earlier sending may have been taken', error);
        }
        operation.copiesMax++;
      }
    }
  }

  /** Each sender begins at another node. */
  #endpointsInTurn(): string[] {
    const { endpoints } = this.#options;
    const first = this.#senders % endpoints.length;
    return [...endpoints.slice(first), ...endpoints.slice(0, first)];
  }
}
