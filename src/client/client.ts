// The way in: one client per group, from which producers, readers and the admin come.
import type { StoredMessage } from '../format/message.ts';
import { Admin } from './admin.ts';
import { Cluster } from './cluster.ts';
import { consume, consumeBatches, type MessageBatch, type PullOptions, type PullResult, pull } from './consumer.ts';
import type { ClientOptions, ConsumeOptions, ProducerOptions } from './options.ts';
import { Producer } from './producer.ts';
import { type FindOffsetOptions, findOffset, type QueryOptions, type QueryResult, query } from './queries.ts';
import { appendRecords, pullRecords, type RecordsAppended, type RecordsRead, type RecordsToAppend } from './records.ts';

/**
 * A client of one group. Connections open when they are first needed; `close` ends them.
 *
 * ```ts
 * const client = new TLedgerClient({ endpoints: ['127.0.0.1:8081', '127.0.0.1:8082', '127.0.0.1:8083'] });
 * await client.admin.createTopic('orders');
 * const producer = client.producer();
 * const { queue, queueOffset } = await producer.send({ topic: 'orders', body: Buffer.from('one') });
 * for await (const message of client.consume({ topic: 'orders', untilEnd: true })) console.log(String(message.body));
 * await client.close();
 * ```
 */
export class TLedgerClient {
  readonly admin: Admin;
  readonly #cluster: Cluster;
  readonly #producers = new Set<Producer>();

  /** @throws TLedgerError INVALID_ARGUMENT for endpoints that are not host:port. */
  constructor(options: ClientOptions) {
    this.#cluster = new Cluster(options);
    this.admin = new Admin(this.#cluster);
  }

  /** A new producer with an identity and an order of its own. One for a program is usually enough. */
  producer(options: ProducerOptions = {}): Producer {
    const producer: Producer = new Producer(this.#cluster, options, () => this.#producers.delete(producer));
    this.#producers.add(producer);
    return producer;
  }

  /** Producers that were made and not closed. */
  get openProducers(): number {
    return this.#producers.size;
  }

  /** Committed messages one by one; see `ConsumeOptions`. Leave the loop, or abort the signal, to stop. */
  consume(options: ConsumeOptions): AsyncGenerator<StoredMessage, void, void> {
    return consume(this.#cluster, options);
  }

  /** The same in the batches in which they arrive, which is faster. */
  consumeBatches(options: ConsumeOptions): AsyncGenerator<MessageBatch, void, void> {
    return consumeBatches(this.#cluster, options);
  }

  /** Reads once from one queue. */
  pull(options: PullOptions): Promise<PullResult> {
    return pull(this.#cluster, options);
  }

  /** Appends under a producer's identity that the caller keeps; see `RecordsToAppend`. */
  appendRecords(batch: RecordsToAppend): Promise<RecordsAppended> {
    return appendRecords(this.#cluster, batch);
  }

  /** Reads once from one queue, in the log's own layout. */
  pullRecords(from: { readonly topic: string; readonly queue: number; readonly offset: number }): Promise<RecordsRead> {
    return pullRecords(this.#cluster, from);
  }

  /** Finds messages by key or id, the newest first; see `QueryOptions`. */
  query(options: QueryOptions): Promise<QueryResult> {
    return query(this.#cluster, options);
  }

  /** The first offset of a queue whose message was stored at a time or later; the queue's end when there is none. */
  findOffset(options: FindOffsetOptions): Promise<number> {
    return findOffset(this.#cluster, options);
  }

  /** Waits for what producers have under way, then closes all connections. */
  async close(): Promise<void> {
    await Promise.all([...this.#producers].map((producer) => producer.close()));
    this.#cluster.close();
  }

  /**
   * Closes all connections at once. Whatever waits fails: with OUTCOME_UNKNOWN if it was sent and may have had effects,
   * with SHUTTING_DOWN otherwise.
   */
  abort(): void {
    for (const producer of [...this.#producers]) producer.abort();
    this.#cluster.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
