// Applies committed message records: their units go to the consume queues, their stamps to the producer table. The same
// on every replica, however the log is cut into calls. Nothing is allocated per record.
import { assert } from '../base/assert.ts';
import {
  hasProducerStamp,
  isTopic,
  locateParts,
  type MessageParts,
  NO_PRODUCER,
  newParts,
  PRODUCER_ID_DIGITS,
  PRODUCER_STAMP_BYTES,
  producerIdAt,
  producerIdOf,
  sequenceOf,
} from '../format/message.ts';
import { isFindable, locateFindable, newFindableParts, tagHashIn } from '../format/message_keys.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import { flagsAt, type PhysicalOffset, positionAt, RECORD_HEADER_BYTES } from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import { readUint32 } from '../format/uint32.ts';
import { readUint64 } from '../format/uint64.ts';
import type { LogIndex } from '../raft/types.ts';
import type { KeyIndex } from '../storage/key_index.ts';
import { storedAtOf } from '../storage/key_index_records.ts';
import { applyFlags } from './effects.ts';
import type { Producer, ProducerTable } from './producers.ts';
import type { Tables } from './tables.ts';
import type { Queue, Topic, TopicTable } from './topics.ts';

/** Flags that ask for more than a place in a queue. */
const SPECIAL_FLAGS = recordFlag.parked | recordFlag.effect | recordFlag.remembered;
const NO_PRODUCER_BYTES = Buffer.from(NO_PRODUCER);

/** Told of producers whose state changed. */
export interface ProjectionListener {
  /** All records of `id` up to `index` are applied, as far as this call has come. */
  producerChanged(id: string, index: LogIndex): void;
  producerForgotten(id: string): void;
}

/** The path of a committed message into queues and tables. */
export class Projection {
  readonly #topics: TopicTable;
  readonly #producers: ProducerTable;
  readonly #tables: Tables;
  readonly #listener: ProjectionListener;
  readonly #keys: KeyIndex | null;
  readonly #parts: MessageParts = newParts();
  readonly #found = newFindableParts();
  #storedAtMs = 0;
  /** Queues that got messages since `finish`. */
  #touched: Queue[] = [];
  // Memory of the record before: most records follow one of the same topic and producer.
  #topic: Topic | null = null;
  #producer: Producer | null = null;

  /** @param parts.keys where messages are made findable by key; null: they are not. */
  constructor(parts: {
    readonly topics: TopicTable;
    readonly producers: ProducerTable;
    readonly tables: Tables;
    readonly keys: KeyIndex | null;
    readonly listener: ProjectionListener;
  }) {
    this.#topics = parts.topics;
    this.#producers = parts.producers;
    this.#tables = parts.tables;
    this.#keys = parts.keys;
    this.#listener = parts.listener;
  }

  /**
   * Applies the message record at `[at, end)`.
   * @throws InvariantError when the log contradicts the state: then this replica must stop.
   */
  apply(buffer: Buffer, at: number, end: number, index: LogIndex): void {
    const messageAt = at + RECORD_HEADER_BYTES;
    const parts = this.#parts;
    assert(locateParts(buffer, messageAt, end, parts), () => `record ${index} is not a message`);
    const queue = this.#queueOf(buffer, messageAt, index);
    const offset = readUint64(buffer, messageAt + MESSAGE_QUEUE_OFFSET_AT);
    const storedAtMs = storedAtOf(buffer, at);
    if (storedAtMs > this.#storedAtMs) this.#storedAtMs = storedAtMs;
    const flags = flagsAt(buffer, at) & SPECIAL_FLAGS;
    if (flags !== 0) {
      applyFlags({ buffer, at, end, parts, index, flags }, offset, this.#tables);
      if ((flags & recordFlag.parked) !== 0) return;
    }
    assert(
      offset === queue.units.max,
      () => `record ${index} has offset ${offset} in ${queue}, which continues with ${queue.units.max}`,
    );
    const hasStamp = hasProducerStamp(buffer, parts);
    const propertiesEnd = hasStamp ? parts.propertiesEnd - PRODUCER_STAMP_BYTES : parts.propertiesEnd;
    const found = this.#found;
    locateFindable(buffer, parts.propertiesStart, propertiesEnd, found);
    const position = positionAt(buffer, at);
    queue.units.append((position + RECORD_HEADER_BYTES) as PhysicalOffset, end - messageAt, tagHashIn(buffer, found));
    if (this.#keys !== null && isFindable(found)) {
      this.#keys.add({ buffer, at, found, seed: queue.topic.keyHashSeed }, position);
    }
    if (!queue.touched) {
      queue.touched = true;
      this.#touched.push(queue);
    }
    if (hasStamp && !isProducer(buffer, producerIdAt(parts), NO_PRODUCER_BYTES)) {
      this.#producers.record(this.#producerOf(buffer, parts), sequenceOf(buffer, parts), queue, offset, index);
    }
  }

  /** The latest store time of a message that was applied; 0 before the first. */
  get storedAtMs(): number {
    return this.#storedAtMs;
  }

  /** Ends one call. @returns the queues that got messages. */
  finish(): readonly Queue[] {
    const touched = this.#touched;
    for (const queue of touched) queue.touched = false;
    this.#leaveProducer();
    this.#touched = [];
    return touched;
  }

  /**
   * Topics and producers were replaced: those remembered are not theirs any more. Comes between calls.
   * @param storedAtMs the latest store time of what is applied now.
   */
  restart(storedAtMs: number): void {
    assert(this.#touched.length === 0 && this.#producer === null, 'no call is under way');
    this.#topic = null;
    this.#storedAtMs = storedAtMs;
  }

  #queueOf(buffer: Buffer, messageAt: number, index: LogIndex): Queue {
    const parts = this.#parts;
    let topic = this.#topic;
    if (topic === null || !isTopic(buffer, parts, topic.nameBytes)) {
      const name = buffer.toString('utf8', parts.topicStart, parts.topicEnd);
      const found = this.#topics.get(name);
      assert(found !== undefined, () => `record ${index} is for topic ${JSON.stringify(name)}, which does not exist`);
      this.#topic = found;
      topic = found;
    }
    const queueId = readUint32(buffer, messageAt + MESSAGE_QUEUE_ID_AT);
    const queue = topic.queues[queueId];
    assert(queue !== undefined, () => `record ${index} is for a queue that its topic does not have`);
    return queue;
  }

  #producerOf(buffer: Buffer, parts: MessageParts): Producer {
    if (this.#producer !== null) {
      if (isProducer(buffer, producerIdAt(parts), this.#producer.idBytes)) return this.#producer;
      this.#leaveProducer();
    }
    this.#producer = this.#producers.enter(producerIdOf(buffer, parts), (id) => this.#listener.producerForgotten(id));
    return this.#producer;
  }

  #leaveProducer(): void {
    if (this.#producer === null) return;
    this.#listener.producerChanged(this.#producer.id, this.#producer.lastIndex);
    this.#producer = null;
  }
}

function isProducer(buffer: Buffer, at: number, id: Buffer): boolean {
  for (let digit = 0; digit < PRODUCER_ID_DIGITS; digit++) if (buffer[at + digit] !== id[digit]) return false;
  return true;
}
