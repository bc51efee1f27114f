// A shop of services that only know each other by messages, on the official RocketMQ 5 client:
//
//   place an order ── in a transaction ──► orders ──► order-service ── delayed ──► unpaid ──► canceller
//   pay it ──────────────────────────────► payments ──► logistics, points, marketing, analytics
//   each change of an order ── in order ─► binlog ──► search-index
//   a text message ──────────────────────► texts ──► texting (a third party that fails) ──► %DLQ%texting
//   a flash sale ────────────────────────► sale ──► stock (slower than the burst)
import type { Producer } from 'rocketmq-client-nodejs';
import protocol from 'rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb.js';
import { Clients, type MessageView } from './clients.ts';

const { TransactionResolution } = protocol;

/** Topics with their message types, as they have to be made. */
export const shopTopics = {
  'shop-orders': 'transaction',
  'shop-unpaid': 'delay',
  'shop-payments': 'normal',
  'shop-binlog': 'fifo',
  'shop-texts': 'normal',
  'shop-sale': 'normal',
} as const;

/** Groups that need more than being there: order, or an end of trying. */
export const shopGroups = [
  { name: 'search-index', fifo: true, maxAttempts: 16 },
  { name: 'texting', fifo: false, maxAttempts: 4 },
] as const;

/** Who hears of each payment. */
export const paymentGroups = ['logistics', 'points', 'marketing', 'analytics'] as const;

const BUYERS = 100;

/** How an order stands in the shop's own database. */
export type OrderState = 'placed' | 'paid' | 'cancelled';

/** The shop: one database, its producers and consumers. */
export class Shop {
  /** The database: what is not in it never happened. */
  readonly orders = new Map<string, OrderState>();
  /** Orders of which each group heard that they were paid. */
  readonly paymentsSeen = new Map<string, string[]>(paymentGroups.map((group) => [group, []]));
  /** By order, what the search index was told, in its order. */
  readonly index = new Map<string, string[]>();
  /** Orders that the broker had to ask about. */
  readonly asked: string[] = [];
  /** By receiver, the attempts to send a text message. */
  readonly textAttempts = new Map<string, number[]>();
  readonly sold = new Set<string>();
  readonly #clients: Clients;
  readonly #unpaidMs: number;
  #transactions!: Producer;
  #delays!: Producer;
  #payments!: Producer;
  #binlog!: Producer;
  #texts!: Producer;
  #sale!: Producer;

  private constructor(clients: Clients, unpaidMs: number) {
    this.#clients = clients;
    this.#unpaidMs = unpaidMs;
  }

  /** @param unpaidMs after which orders that nobody paid are cancelled. */
  static async open(endpoints: string, unpaidMs: number): Promise<Shop> {
    const shop = new Shop(new Clients(endpoints), unpaidMs);
    await shop.#openProducers();
    await shop.#openConsumers();
    return shop;
  }

  async #openProducers(): Promise<void> {
    const clients = this.#clients;
    // Whoever does not hear the end of a transaction asks: the database knows.
    const check = async ({ body }: MessageView) => {
      const id = body.toString();
      this.asked.push(id);
      return this.orders.has(id) ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
    };
    this.#transactions = await clients.producer('shop-orders', { checker: { check } });
    this.#delays = await clients.producer('shop-unpaid');
    this.#payments = await clients.producer('shop-payments');
    this.#binlog = await clients.producer('shop-binlog');
    this.#texts = await clients.producer('shop-texts');
    this.#sale = await clients.producer('shop-sale');
  }

  async #openConsumers(): Promise<void> {
    const clients = this.#clients;
    await clients.handle('order-service', 'shop-orders', async ({ body }) => {
      if (!this.orders.has(body.toString())) return;
      await this.#delays.send({ topic: 'shop-unpaid', body, delay: this.#unpaidMs });
    });
    await clients.handle('canceller', 'shop-unpaid', async ({ body }) => {
      const id = body.toString();
      if (this.orders.get(id) === 'placed') await this.#write(id, 'cancelled');
    });
    for (const group of paymentGroups) {
      await clients.handle(group, 'shop-payments', async ({ body }) => {
        const seen = this.paymentsSeen.get(group)!;
        // Messages may come twice: who counts them must know which.
        if (!seen.includes(body.toString())) seen.push(body.toString());
      });
    }
    await clients.handle('search-index', 'shop-binlog', ({ body }) => {
      const [id, event] = body.toString().split(' ') as [string, string];
      this.index.set(id, [...(this.index.get(id) ?? []), event]);
    });
    await clients.handle('texting', 'shop-texts', ({ body, deliveryAttempt }) => {
      const receiver = body.toString();
      this.textAttempts.set(receiver, [...(this.textAttempts.get(receiver) ?? []), deliveryAttempt!]);
      if (receiver.startsWith('dead')) throw new Error('no such number');
      if (receiver.startsWith('busy') && deliveryAttempt! < 3) throw new Error('the third party is busy');
    });
    await clients.handle('stock', 'shop-sale', async ({ body }) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      this.sold.add(body.toString());
    });
  }

  /**
   * Places an order: the message exists if and only if the database has it.
   * @param outcome `refused` when the database refuses it; `crash` when the shop dies between its commit and the broker's.
   */
  async place(id: string, outcome: 'fine' | 'refused' | 'crash' = 'fine'): Promise<void> {
    const transaction = this.#transactions.beginTransaction();
    await this.#transactions.send({ topic: 'shop-orders', keys: [id], body: Buffer.from(id) }, transaction);
    if (outcome === 'refused') return transaction.rollback();
    await this.#write(id, 'placed');
    if (outcome === 'fine') await transaction.commit();
  }

  async pay(id: string): Promise<void> {
    await this.#write(id, 'paid');
    await this.#payments.send({ topic: 'shop-payments', tag: 'success', keys: [id], body: Buffer.from(id) });
  }

  async text(receiver: string): Promise<void> {
    await this.#texts.send({ topic: 'shop-texts', body: Buffer.from(receiver) });
  }

  /** A burst of purchases by many buyers at once, each of whom buys again as soon as it can. */
  async sell(count: number): Promise<void> {
    let next = 0;
    const buy = async (): Promise<void> => {
      while (next < count) {
        await this.#sale.send({ topic: 'shop-sale', body: Buffer.from(`purchase-${next++}`) });
      }
    };
    await Promise.all(Array.from({ length: BUYERS }, buy));
  }

  /** Text messages that nobody tries to send any more. */
  async deadTexts(count: number): Promise<string[]> {
    const letters = await this.#clients.take('texting-letters', '%DLQ%texting', count);
    return letters.map(({ body }) => body.toString());
  }

  /** Has clients leave; consumers do when their polls end. */
  close(): Promise<void> {
    return this.#clients.close();
  }

  /** Changes an order in the database, whose binlog tells everybody, in order for each order. */
  async #write(id: string, state: OrderState): Promise<void> {
    this.orders.set(id, state);
    await this.#binlog.send({ topic: 'shop-binlog', messageGroup: id, body: Buffer.from(`${id} ${state}`) });
  }
}
