// The official RocketMQ 5 client for Node.js, unchanged, against a local group.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import {
  ConsumeResult,
  FilterExpression,
  type LitePushConsumer,
  LitePushConsumerBuilder,
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
import type { ConsumerGroup } from '../../src/wire/group_messages.ts';
import { until as holds, pause } from '../chaos/pause.ts';
import { Killer } from './killer.ts';

const { FilterType, TransactionResolution } = protocol;

export { ConsumeResult, FilterExpression, FilterType, type MessageView, TransactionResolution };

/** A logger that says nothing. */
export const silent = { debug: ignore, info: ignore, warn: ignore, error: ignore, close: ignore };
function ignore(): void {}

// Parts of the client make loggers of their own, whichever it is given: each writes files into the home directory, and has
// a timer that keeps the process alive for ever.
createRequire(import.meta.url)('egg-logger').EggLogger = class {
  debug = ignore;
  info = ignore;
  warn = ignore;
  error = ignore;
  close = ignore;
};

/** A client opens a stream that broke again after a second. */
const REOPEN_MS = 1_200;
/** A push consumer's poll waits 20 s, and its last answer may take a request's time. */
const LEAVE_MS_MAX = 30_000;
const HAND_OVER_MS_MAX = 30_000;

/** What all clients of the official package have. */
export interface OfficialClient {
  startup(): Promise<void>;
  shutdown(): Promise<void>;
}

/** How a stage is made, beside what makes a cluster. */
export interface StageOptions {
  readonly cluster?: Parameters<typeof LocalCluster.start>[0];
  /** Kills leaders all the time; the node that clients dial when they name none is spared. */
  readonly killEveryMs?: number | null;
}

/** A group of three processes, and official clients of it that end with it. */
export class Stage {
  readonly cluster: LocalCluster;
  readonly admin: TLedgerClient;
  /** Clients, and the topics that they poll all the time. */
  readonly #running = new Map<OfficialClient, readonly string[]>();
  readonly #killer: Killer | null;

  private constructor(cluster: LocalCluster, killEveryMs: number | null) {
    this.cluster = cluster;
    this.admin = new TLedgerClient({ endpoints: cluster.endpoints });
    const [spared] = cluster.members;
    this.#killer =
      killEveryMs === null
        ? null
        : new Killer(cluster, this.admin.admin, { everyMs: killEveryMs, spared: spared!.nodeId });
  }

  static async start({ cluster = {}, killEveryMs = null }: StageOptions = {}): Promise<Stage> {
    const started = await LocalCluster.start({ settings: { segmentSizeBytes: '16MiB' }, ...cluster });
    await started.waitForLeader();
    return new Stage(started, killEveryMs);
  }

  /** Leaders are killed all the time; only one node is spared. */
  get isKilling(): boolean {
    return this.#killer !== null;
  }

  /** Leaders killed so far. */
  get kills(): number {
    return this.#killer?.kills ?? 0;
  }

  async stop(): Promise<void> {
    await this.#killer?.stop();
    // A client that leaves within the second after which it would open a broken stream again does so for ever.
    await pause(REOPEN_MS);
    const left = Promise.all([...this.#running.keys()].map((client) => this.shutdown(client)));
    const giveUp = new AbortController();
    const late = pause(LEAVE_MS_MAX, giveUp.signal).then(() => giveUp.signal.aborted);
    const isInTime = await Promise.race([left.then(() => true), late]);
    giveUp.abort();
    await this.admin.close();
    await this.cluster.stop();
    if (!isInTime) throw new Error('clients do not come to their end');
  }

  /** Has another node lead. A transfer is given up when the other one does not lead in time, and is asked for again. */
  async handOver(): Promise<void> {
    const isDone = () =>
      this.admin.admin.transferLeadership().then(
        () => true,
        () => false,
      );
    if (!(await holds(isDone, HAND_OVER_MS_MAX))) throw new Error('leadership is not handed over');
  }

  /** Has a client leave; resolves when it has. */
  async shutdown(client: OfficialClient): Promise<void> {
    const topics = this.#running.get(client) ?? [];
    this.#running.delete(client);
    const leaving = client.shutdown().catch(() => closeChannels(client));
    await this.endPolls(leaving, topics);
  }

  /** A push consumer waits for the end of its polls, up to 20 s: what comes ends them. @param left when it has left. */
  async endPolls(left: Promise<void>, topics: readonly string[]): Promise<void> {
    let hasLeft = topics.length === 0;
    const leaving = left.finally(() => {
      hasLeft = true;
    });
    const producer = this.admin.producer();
    while (!hasLeft) {
      for (const topic of topics) await producer.send({ topic, body: Buffer.from('farewell') }).catch(ignore);
      await Promise.race([leaving, pause(200)]);
    }
    await Promise.all([leaving, producer.close()]);
  }

  /** A topic of its own, so that tests do not see each other. */
  async topic(messageType = 'mixed', queues = 4): Promise<string> {
    const name = `t-${randomUUID()}`;
    await this.admin.admin.createTopic(name, { queues, messageType });
    return name;
  }

  /** A consumer group of its own. */
  async group(some: Partial<ConsumerGroup> = {}): Promise<string> {
    const name = `g-${randomUUID()}`;
    const defaults = { name, fifo: false, maxAttempts: 0, retryMs: [], createdTimestamp: '0' };
    await this.admin.admin.putGroup({ ...defaults, ...some });
    return name;
  }

  /** Where clients dial: a node that stays, while others are killed. */
  endpoint(node = 0): string {
    return this.cluster.endpoints[this.#killer === null ? node : 0]!;
  }

  producer(options: Partial<ConstructorParameters<typeof Producer>[0]> = {}): Promise<Producer> {
    return this.#begin(new Producer({ ...this.#common, ...options }));
  }

  simple(
    topic: string,
    some: Partial<ConstructorParameters<typeof SimpleConsumer>[0]> & {
      readonly filter?: FilterExpression | string;
    } = {},
  ): Promise<SimpleConsumer> {
    const { filter = '*', ...options } = some;
    const subscriptions = new Map([[topic, filter]]);
    const own = { consumerGroup: `g-${randomUUID()}`, awaitDuration: 3_000, subscriptions };
    return this.#begin(new SimpleConsumer({ ...this.#common, ...own, ...options }));
  }

  push(
    topic: string,
    consume: (message: MessageView) => Promise<ConsumeResult>,
    some: Partial<ConstructorParameters<typeof PushConsumer>[0]> & {
      readonly filter?: FilterExpression | string;
    } = {},
  ): Promise<PushConsumer> {
    const { filter = '*', ...options } = some;
    const subscriptions = new Map([[topic, filter]]);
    const own = { consumerGroup: `g-${randomUUID()}`, messageListener: { consume }, subscriptions };
    return this.#begin(new PushConsumer({ ...this.#common, ...own, ...options }), [topic]);
  }

  /** A push consumer of lite topics of a parent; it has subscribed to none yet. Before it leaves, its poll has to end. */
  async lite(
    topic: string,
    consume: (message: MessageView) => Promise<ConsumeResult>,
    consumerGroup: string,
  ): Promise<LitePushConsumer & OfficialClient> {
    const builder = new LitePushConsumerBuilder()
      .setClientConfiguration(this.#common)
      .setConsumerGroup(consumerGroup)
      .bindTopic(topic)
      .setMessageListener({ consume });
    const consumer = (await builder.build()) as LitePushConsumer & OfficialClient;
    this.#running.set(consumer, []);
    return consumer;
  }

  get #common() {
    return { endpoints: this.endpoint(), namespace: '', logger: silent };
  }

  async #begin<Client extends OfficialClient>(client: Client, polls: readonly string[] = []): Promise<Client> {
    try {
      await client.startup();
    } catch (error) {
      closeChannels(client);
      throw error;
    }
    this.#running.set(client, polls);
    return client;
  }
}

/** A client that could not begin, or not say goodbye, leaves its channels and their timers behind. */
function closeChannels(client: OfficialClient): void {
  (client as unknown as { rpcClientManager: { close(): void } }).rpcClientManager.close();
}

/** Messages of some calls, each acknowledged; until there are `count`, or nothing comes any more. */
export async function drain(consumer: SimpleConsumer, count: number, withinMs = 40_000): Promise<MessageView[]> {
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
export async function until(what: string, isSo: () => boolean, withinMs = 40_000): Promise<void> {
  const untilMs = Date.now() + withinMs;
  while (!isSo()) {
    if (Date.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await pause(10);
  }
}

export const texts = (messages: readonly MessageView[]): string[] => messages.map(({ body }) => body.toString());
export type { Message, MessageOptions };
