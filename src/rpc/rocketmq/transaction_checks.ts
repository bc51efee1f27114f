// Asks producers what became of transactions that they left open (ROCKETMQ §5.6). Each node asks for the topics of those who
// are connected to it; the leader hands each half to one of the nodes, and counts.
import type { Timer } from '../../base/clock.ts';
import { TLedgerError } from '../../base/errors.ts';
import type { CheckedHalf } from '../consuming_calls.ts';
import { takeChecksCall } from '../consuming_calls.ts';
import type { Edge } from './edge.ts';
import { outgoingMessage } from './outgoing_message.ts';

const INTERVAL_MS = 1_000;
const TIMEOUT_MS = 5_000;
/** Halves that one question brings. */
const COUNT_MAX = 64;

/** Runs on every node. */
export class TransactionChecks {
  readonly #edge: Edge;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#later();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #later(): void {
    if (this.#isClosed) return;
    this.#timer = this.#edge.clock.after(INTERVAL_MS, () => {
      this.#run()
        .catch((error: unknown) => this.#failed(error))
        .finally(() => this.#later());
    });
  }

  async #run(): Promise<void> {
    const { gateway, clients, clock } = this.#edge;
    const published = new Set(clients.publishedTopics());
    // This replica knows what is open, if a little late: nobody is asked when nothing is.
    const topics = new Set<string>();
    const nowMs = clock.wallMs();
    for (const half of published.size === 0 ? [] : gateway.broker.tables.parked.halves()) {
      if (half.dueMs <= nowMs && published.has(half.topic)) topics.add(half.topic);
    }
    if (topics.size === 0) return;
    const request = { topics: [...topics], countMax: COUNT_MAX };
    const deadlineMs = clock.monotonicMs() + TIMEOUT_MS;
    const halves = await gateway.atLeader(takeChecksCall, request, { sizeBytes: 64 * topics.size, deadlineMs });
    for (const half of halves) this.#ask(half);
  }

  #ask({ id, topic, record }: CheckedHalf): void {
    const { clients, gateway } = this.#edge;
    const storeHost = gateway.self.clientAddress;
    clients.tellProducerOf(topic, (named) => ({
      recoverOrphanedTransactionCommand: {
        message: outgoingMessage(record, { topic: named, storeHost, delivery: null }),
        transactionId: id,
      },
    }));
  }

  /** Whatever the leader could not say now it says next time. */
  #failed(error: unknown): void {
    if (error instanceof TLedgerError && error.code !== 'INTERNAL') return;
    this.#edge.context.report('transaction checks', error);
  }
}
