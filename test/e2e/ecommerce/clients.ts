// Official clients as the shop uses them: nothing here knows that the broker is not RocketMQ.
import {
  ConsumeResult,
  type MessageView,
  Producer,
  type ProducerOptions,
  PushConsumer,
  SimpleConsumer,
} from 'rocketmq-client-nodejs';

export { ConsumeResult, type MessageView };

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** The clients of one program, which end with it. */
export class Clients {
  readonly #common: { readonly endpoints: string; readonly namespace: string; readonly logger: typeof silent };
  readonly #all: { shutdown(): Promise<void> }[] = [];

  /** @param endpoints host:port of any node. */
  constructor(endpoints: string) {
    this.#common = { endpoints, namespace: '', logger: silent };
  }

  async producer(topic: string, options: Partial<ProducerOptions> = {}): Promise<Producer> {
    const producer = new Producer({ ...this.#common, topic, ...options });
    await producer.startup();
    this.#all.push(producer);
    return producer;
  }

  /** Handles each message of a topic; what throws is tried again. */
  async handle(
    consumerGroup: string,
    topic: string,
    handle: (message: MessageView) => void | Promise<void>,
  ): Promise<void> {
    const consume = async (message: MessageView): Promise<ConsumeResult> => {
      try {
        await handle(message);
        return ConsumeResult.SUCCESS;
      } catch {
        return ConsumeResult.FAILURE;
      }
    };
    const subscriptions = new Map([[topic, '*']]);
    const consumer = new PushConsumer({
      ...this.#common,
      consumerGroup,
      subscriptions,
      messageListener: { consume },
    });
    await consumer.startup();
    this.#all.push(consumer);
  }

  /** Takes what is in a topic at the moment. */
  async take(consumerGroup: string, topic: string, count: number): Promise<MessageView[]> {
    const subscriptions = new Map([[topic, '*']]);
    const consumer = new SimpleConsumer({ ...this.#common, consumerGroup, subscriptions, awaitDuration: 2_000 });
    await consumer.startup();
    this.#all.push(consumer);
    const taken: MessageView[] = [];
    while (taken.length < count) {
      const messages = await consumer.receive(32, 15_000);
      if (messages.length === 0) break;
      for (const message of messages) await consumer.ack(message);
      taken.push(...messages);
    }
    return taken;
  }

  /** Push consumers end with their polls: within 20 s, or when something comes. */
  async close(): Promise<void> {
    await Promise.all(this.#all.splice(0).map((client) => client.shutdown()));
  }
}
