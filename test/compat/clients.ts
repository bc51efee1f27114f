// The official RocketMQ 5 client for Node.js, unchanged, against a local group.
import { randomUUID } from 'node:crypto';
import {
  ConsumeResult,
  FilterExpression,
  type Message,
  type MessageOptions,
  type MessageView,
  Producer,
  PushConsumer,
  SimpleConsumer,
} from 'rocketmq-client-nodejs';
import protocol from 'rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb.js';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause } from '../chaos/pause.ts';

const { FilterType, TransactionResolution } = protocol;

export { ConsumeResult, FilterExpression, FilterType, type MessageView, TransactionResolution };

/** Says nothing: the client's own logger writes files into the home directory. */
const silent = { debug: ignore, info: ignore, warn: ignore, error: ignore, close: ignore };
function ignore(): void {}

/** A group of three processes, and official clients of it that end with it. */
export class Stage {
  readonly cluster: LocalCluster;
  readonly admin: TLedgerClient;
  readonly #running: { shutdown(): Promise<void> }[] = [];

  private constructor(cluster: LocalCluster) {
    this.cluster = cluster;
    this.admin = new TLedgerClient({ endpoints: cluster.endpoints });
  }

  static async start(options: Parameters<typeof LocalCluster.start>[0] = {}): Promise<Stage> {
    const stage = new Stage(await LocalCluster.start(options));
    await stage.cluster.waitForLeader();
    return stage;
  }

  async stop(): Promise<void> {
    await this.stopClients();
    await this.admin.close();
    await this.cluster.stop();
  }

  async stopClients(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((one) => one.shutdown()));
  }

  /** Forgets a client that was shut down by hand. */
  async shutdown(client: { shutdown(): Promise<void> }): Promise<void> {
    this.#running.splice(this.#running.indexOf(client), 1);
    await client.shutdown();
  }

  /** A topic of its own, so that tests do not see each other. */
  async topic(messageType = 'mixed', queues = 4): Promise<string> {
    const name = `t-${randomUUID()}`;
    await this.admin.admin.createTopic(name, { queues, messageType });
    return name;
  }

  /** The node that clients of this index begin with. */
  endpoint(node = 0): string {
    return this.cluster.endpoints[node]!;
  }

  async producer(options: Partial<ConstructorParameters<typeof Producer>[0]> = {}): Promise<Producer> {
    return this.#begin(new Producer({ endpoints: this.endpoint(), namespace: '', logger: silent, ...options }));
  }

  async simple(
    topic: string,
    some: Partial<ConstructorParameters<typeof SimpleConsumer>[0]> & {
      readonly filter?: FilterExpression | string;
    } = {},
  ): Promise<SimpleConsumer> {
    const { filter = '*', ...options } = some;
    const subscriptions = new Map([[topic, filter]]);
    const group = { consumerGroup: `g-${randomUUID()}`, awaitDuration: 3_000 };
    return this.#begin(
      new SimpleConsumer({
        endpoints: this.endpoint(),
        namespace: '',
        logger: silent,
        subscriptions,
        ...group,
        ...options,
      }),
    );
  }

  async push(
    topic: string,
    consume: (message: MessageView) => Promise<ConsumeResult>,
    some: Partial<ConstructorParameters<typeof PushConsumer>[0]> = {},
  ): Promise<PushConsumer> {
    const subscriptions = new Map([[topic, '*']]);
    const messageListener = { consume };
    const group = { consumerGroup: `g-${randomUUID()}` };
    return this.#begin(
      new PushConsumer({
        endpoints: this.endpoint(),
        namespace: '',
        logger: silent,
        subscriptions,
        messageListener,
        ...group,
        ...some,
      }),
    );
  }

  async #begin<T extends { startup(): Promise<void>; shutdown(): Promise<void> }>(client: T): Promise<T> {
    await client.startup();
    this.#running.push(client);
    return client;
  }
}

/** Messages of some calls, each acknowledged; until there are `count`, or nothing comes any more. */
export async function drain(consumer: SimpleConsumer, count: number, withinMs = 20_000): Promise<MessageView[]> {
  const all: MessageView[] = [];
  const untilMs = Date.now() + withinMs;
  while (all.length < count && Date.now() < untilMs) {
    const messages = await consumer.receive(20, 15_000);
    for (const message of messages) await consumer.ack(message);
    all.push(...messages);
  }
  return all;
}

/** Waits until `isSo`. */
export async function until(what: string, isSo: () => boolean, withinMs = 20_000): Promise<void> {
  const untilMs = Date.now() + withinMs;
  while (!isSo()) {
    if (Date.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await pause(10);
  }
}

export const texts = (messages: readonly MessageView[]): string[] => messages.map(({ body }) => body.toString());
export type { Message, MessageOptions };
