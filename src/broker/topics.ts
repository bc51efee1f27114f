// Topics and their queues, as the committed records have made them.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type QueueOffset, queueOffset } from '../format/message.ts';
import { keyHashSeed } from '../format/message_keys.ts';
import type { ConsumeQueue, ConsumeQueues } from '../storage/consume_queue.ts';
import type { QueueRange, TopicInfo } from './types.ts';

/** One queue of a topic. */
export class Queue {
  readonly topic: Topic;
  readonly queueId: number;
  /** Where its committed messages lie; `units.max` is the offset of the next one to be applied. */
  readonly units: ConsumeQueue;
  /** Leader only: offset of the next message to be admitted; never below `units.max`. */
  assigned: QueueOffset;
  /** Whether the apply call under way has added messages. */
  touched = false;
  /** Who waits for new messages; null when nobody ever did. */
  listeners: Set<() => void> | null = null;

  constructor(topic: Topic, queueId: number, units: ConsumeQueue) {
    this.topic = topic;
    this.queueId = queueId;
    this.units = units;
    this.assigned = units.max;
  }

  get range(): QueueRange {
    return { queueId: this.queueId, min: this.units.min, max: this.units.max };
  }

  toString(): string {
    return `queue ${this.queueId} of topic ${this.topic.info.name}`;
  }
}

/** A topic with its queues. */
export class Topic {
  #info: TopicInfo;
  /** The name as it stands in messages, so that hot loops compare bytes. */
  readonly nameBytes: Buffer;
  /** What the hashes of its messages' keys begin with. */
  readonly keyHashSeed: number;
  readonly #queues: Queue[];
  /** Who waits for new messages of any queue; null when nobody ever did. */
  listeners: Set<() => void> | null = null;

  /** @param ranges what the queues hold already, by queue number; empty queues when missing. */
  constructor(info: TopicInfo, files: ConsumeQueues, ranges?: ReadonlyMap<number, Omit<QueueRange, 'queueId'>>) {
    this.#info = info;
    this.nameBytes = Buffer.from(info.name);
    this.keyHashSeed = keyHashSeed(info.name);
    const empty = { min: queueOffset(0), max: queueOffset(0) };
    this.#queues = Array.from(
      { length: info.queues },
      (_, queueId) => new Queue(this, queueId, files.queue(info.name, queueId, ranges?.get(queueId) ?? empty)),
    );
  }

  get info(): TopicInfo {
    return this.#info;
  }

  get queues(): readonly Queue[] {
    return this.#queues;
  }

  /** One more queue, empty. Through `TopicTable.grow`. */
  grow(files: ConsumeQueues): void {
    const queueId = this.#queues.length;
    const empty = { min: queueOffset(0), max: queueOffset(0) };
    this.#queues.push(new Queue(this, queueId, files.queue(this.#info.name, queueId, empty)));
    this.#info = { ...this.#info, queues: this.#queues.length };
  }
}

/** All topics by name. */
export class TopicTable {
  readonly #topics = new Map<string, Topic>();
  #queueCount = 0;
  #sorted: readonly TopicInfo[] | null = null;

  get count(): number {
    return this.#topics.size;
  }

  /** Queues of all topics together. */
  get queueCount(): number {
    return this.#queueCount;
  }

  /** Adds a topic whose name is new. */
  add(topic: Topic): void {
    assert(!this.#topics.has(topic.info.name), () => `topic ${topic.info.name} is created once`);
    this.#topics.set(topic.info.name, topic);
    this.#queueCount += topic.queues.length;
    this.#sorted = null;
  }

  /** Gives a topic one more queue. */
  grow(topic: Topic, files: ConsumeQueues): void {
    topic.grow(files);
    this.#queueCount++;
    this.#sorted = null;
  }

  /** Gives a topic at least so many queues. @returns null when it has them, is not there, or its queues stand for lite topics. */
  growTo(name: string, queues: number, files: ConsumeQueues): Topic | null {
    const topic = this.#topics.get(name);
    if (topic === undefined || topic.info.messageType === 'lite' || topic.queues.length >= queues) return null;
    while (topic.queues.length < queues) this.grow(topic, files);
    return topic;
  }

  /** Becomes what `other` is. Who waits for messages of a queue goes on waiting for the queue of that name and number. */
  become(other: TopicTable): void {
    for (const topic of this.#topics.values()) {
      const named = other.get(topic.info.name);
      if (named !== undefined) named.listeners = topic.listeners;
      for (const { queueId, listeners } of topic.queues) {
        const successor = other.get(topic.info.name)?.queues[queueId];
        if (successor !== undefined) successor.listeners = listeners;
      }
    }
    this.#topics.clear();
    this.#queueCount = 0;
    for (const topic of other.values()) this.add(topic);
    this.#sorted = null;
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name);
  }

  /** @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE */
  queue(name: string, queueId: number): Queue {
    const topic = this.#topics.get(name);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${JSON.stringify(name)} does not exist`);
    const queue = topic.queues[queueId];
    if (queue === undefined) {
      throw new TLedgerError(
        'QUEUE_OUT_OF_RANGE',
        `topic ${name} has the queues 0 to ${topic.queues.length - 1}, not ${queueId}`,
      );
    }
    return queue;
  }

  /** Sorted by name. */
  list(): readonly TopicInfo[] {
    this.#sorted ??= this.values()
      .map((topic) => topic.info)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  /** The queues of all topics. */
  queues(): Queue[] {
    return this.values().flatMap((topic) => topic.queues);
  }

  values(): Topic[] {
    return [...this.#topics.values()];
  }
}
