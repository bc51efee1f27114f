// The leader's door: checks a batch, tells a repeat from something new, and gives each message its place in its queue
// before it enters the log. What was let in but is not applied yet forms the assignment view, on top of the applied state.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { checkProducerId, messageLimits } from '../format/limits.ts';
import { type MessageParts, NO_PRODUCER, newParts, type QueueOffset, writeProducerStamp } from '../format/message.ts';
import {
  hostBytesExtra,
  MESSAGE_BODY_SIZE_AT,
  MESSAGE_QUEUE_OFFSET_AT,
  MESSAGE_STORE_HOST_AT,
  MESSAGE_STORE_TIMESTAMP_AT,
} from '../format/message_layout.ts';
import { RECORD_HEADER_BYTES, sizeAt, writeFlags } from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import { writeUint64 } from '../format/uint64.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import { checkMessageRecord } from './message_check.ts';
import type { ParkedTable } from './parked/parked.ts';
import { knownCount, PendingProducers, type ProducerTable, recall, viewOf } from './producers.ts';
import { PendingSent } from './sent/pending_sent.ts';
import { checkStored } from './stored_check.ts';
import type { Tables } from './tables.ts';
import type { Queue, TopicTable } from './topics.ts';
import type { Admission, PackedAppend, StoreRequest, TopicInfo } from './types.ts';

/** Where an admitted batch will stand, and when it came. */
export interface AppendPlace {
  /** Index that the first appended record will get. */
  readonly firstIndex: LogIndex;
  /** The leader's wall clock: becomes the messages' store time, unless an earlier message was stored later than that. */
  readonly nowMs: number;
}

/** The assignment view and the checks in front of it. Only a leader has one that means anything. */
export class Admissions {
  readonly #topics: TopicTable;
  readonly #producers: ProducerTable;
  readonly #pendingProducers = new PendingProducers();
  readonly #pendingSent: PendingSent;
  readonly #parked: ParkedTable;
  readonly #parkedMax: number;
  readonly #pendingTopics = new Map<string, TopicInfo>();
  readonly #parts: MessageParts = newParts();
  #lastIndex = logIndex(0);
  /** The latest store time given so far: clocks are set back, and leaders change, but time does not go back in the log. */
  #storedAtMs = 0;
  // What `#readBatch` found.
  #count = 0;
  #start = 0;

  constructor(topics: TopicTable, producers: ProducerTable, { sent, parked }: Tables, parkedMax: number) {
    this.#topics = topics;
    this.#producers = producers;
    this.#pendingSent = new PendingSent(sent);
    this.#parked = parked;
    this.#parkedMax = parkedMax;
  }

  get pendingTopics(): ReadonlyMap<string, TopicInfo> {
    return this.#pendingTopics;
  }

  /**
   * Makes the assignment view equal to the applied state, which holds all that the log holds.
   * @param storedAtMs the latest store time in it.
   */
  start(applied: LogIndex, storedAtMs: number): void {
    this.clear();
    this.#lastIndex = applied;
    this.#storedAtMs = storedAtMs;
    for (const topic of this.#topics.values()) {
      for (const queue of topic.queues) queue.assigned = queue.units.max;
    }
  }

  clear(): void {
    this.#pendingProducers.clear();
    this.#pendingTopics.clear();
    this.#pendingSent.clear();
  }

  addTopic(topic: TopicInfo): void {
    this.#pendingTopics.set(topic.name, topic);
  }

  topicApplied(name: string): void {
    this.#pendingTopics.delete(name);
  }

  /** All records up to `index` are applied. */
  settle(index: LogIndex): void {
    this.#pendingSent.settle(index);
  }

  producerApplied(id: string, applied: number): void {
    if (this.#pendingProducers.count > 0) this.#pendingProducers.settle(id, applied);
  }

  /**
   * Checks and numbers one batch; see `Broker.admit`.
   * @throws TLedgerError; then the assignment view is as it was (bytes of the batch may have been stamped already, which
   * is harmless: none of them went anywhere).
   */
  admit(request: PackedAppend, place: AppendPlace): Admission {
    const { records, sequence } = request;
    assert(place.firstIndex > this.#lastIndex, 'records are admitted in the order of the log');
    const queue = this.#topics.queue(request.topic, request.queueId);
    const id = checkProducerId(request.producerId) ? request.producerId : NO_PRODUCER;
    if (records.length === 0) throw new TLedgerError('INVALID_ARGUMENT', 'the batch holds no message');
    if (records.length > messageLimits.batchBytesMax) {
      throw batchTooLarge(`${records.length} bytes; at most ${messageLimits.batchBytesMax} are allowed`);
    }
    if (id === NO_PRODUCER) {
      this.#readBatch(request, place, { queue, id, known: 0 });
      return this.#append(queue, place, { start: 0, end: records.length, count: this.#count, known: 0, first: null });
    }
    checkSequence(sequence);
    const view = viewOf(id, this.#producers.get(id), this.#pendingProducers.runs(id));
    const knownMax = knownCount(view, sequence);
    this.#readBatch(request, place, { queue, id, known: knownMax });
    const count = this.#count;
    const known = Math.min(knownMax, count);
    const before = known === 0 ? null : recall(view, sequence, known, queue);
    if (before !== null && known === count) {
      const { queueOffset, lastIndex } = before;
      return { kind: 'repeated', result: { queueOffset, count, lastIndex, repeated: true } };
    }
    this.#pendingProducers.add(id, {
      firstSequence: sequence + known,
      count: count - known,
      queue,
      firstOffset: queue.assigned,
      firstIndex: place.firstIndex,
    });
    const first = before?.queueOffset ?? null;
    return this.#append(queue, place, { start: this.#start, end: records.length, count, known, first });
  }

  /**
   * Numbers what a node made; see `Broker.admitStored`. What is held back gets no place in its queue.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, MESSAGE_CORRUPTED, INVALID_ARGUMENT, OVERLOADED (as many
   * messages are held back as may be)
   */
  admitStored(request: StoreRequest, place: AppendPlace): Admission {
    const { records, flags, topic } = request;
    assert(place.firstIndex > this.#lastIndex, 'records are admitted in the order of the log');
    const queue = this.#topics.queue(topic, request.queueId);
    const ids = checkStored(request);
    const isRemembered = ids.length > 0;
    const before = isRemembered ? this.#pendingSent.find(topic, ids[0]!) : undefined;
    if (before !== undefined) {
      return {
        kind: 'repeated',
        result: { queueOffset: before.offset, count: ids.length, lastIndex: before.lastIndex, repeated: true },
      };
    }
    const isParked = (flags & recordFlag.parked) !== 0;
    if (isParked && this.#parked.count >= this.#parkedMax) {
      throw new TLedgerError('OVERLOADED', `${this.#parked.count} messages are held back, as many as may be`);
    }
    const storedAtMs = Math.max(place.nowMs, this.#storedAtMs, request.reachedMs ?? 0);
    this.#storedAtMs = storedAtMs;
    let count = 0;
    for (let at = 0; at < records.length; count++) {
      stampPlace(records, at + RECORD_HEADER_BYTES, isParked ? 0 : queue.assigned + count, storedAtMs);
      writeFlags(records, at, flags);
      at += sizeAt(records, at);
    }
    const queueOffset = isParked ? 0 : queue.assigned;
    if (!isParked) queue.assigned = (queue.assigned + count) as QueueOffset;
    this.#lastIndex = logIndex(place.firstIndex + count - 1);
    const result = { queueOffset, count, lastIndex: this.#lastIndex, repeated: false };
    if (isRemembered) this.#pendingSent.add(topic, ids, { offset: queueOffset, lastIndex: this.#lastIndex });
    return { kind: 'append', start: 0, end: records.length, result };
  }

  /** Advances the view by a batch of which `known` messages are in the log already, the first one at offset `first`. */
  #append(
    queue: Queue,
    place: AppendPlace,
    batch: { start: number; end: number; count: number; known: number; first: number | null },
  ): Admission {
    const { start, end, count, known, first } = batch;
    const next = queue.assigned;
    const added = count - known;
    queue.assigned = (next + added) as QueueOffset;
    if (place.nowMs > this.#storedAtMs) this.#storedAtMs = place.nowMs;
    this.#lastIndex = logIndex(place.firstIndex + added - 1);
    // The caller derives the other offsets from the first one, so it is named only if the two parts join.
    const queueOffset = first === null ? next : first + known === next ? first : -1;
    const result = { queueOffset, count, lastIndex: this.#lastIndex, repeated: known > 0 };
    return { kind: 'append', start, end, result };
  }

  /** Checks every record and numbers those after the first `known`. Sets #count and #start (of the first unknown one). */
  #readBatch(request: PackedAppend, place: AppendPlace, batch: { queue: Queue; id: string; known: number }): void {
    const { records, sequence } = request;
    const { queue, id, known } = batch;
    const parts = this.#parts;
    const storedAtMs = Math.max(place.nowMs, this.#storedAtMs);
    let count = 0;
    let bodyBytes = 0;
    let start = 0;
    let last = 0;
    for (let at = 0; at < records.length; count++) {
      const end = checkMessageRecord(records, at, queue, parts);
      bodyBytes += parts.bodyEnd - parts.bodyStart;
      if (count === known) start = at;
      if (count >= known) {
        stampPlace(records, at + RECORD_HEADER_BYTES, queue.assigned + count - known, storedAtMs);
        writeProducerStamp(records, parts, id, id === NO_PRODUCER ? 0 : sequence + count);
        writeFlags(records, at, 0);
      }
      last = at;
      at = end;
    }
    // The disk that holds the last one holds those before it.
    if (request.flush === 'sync' && count > known) writeFlags(records, last, recordFlag.flushFirst);
    if (count > messageLimits.batchCountMax) {
      throw batchTooLarge(`${count} messages; at most ${messageLimits.batchCountMax} are allowed`);
    }
    if (bodyBytes > messageLimits.batchBodyBytesMax) {
      throw batchTooLarge(`${bodyBytes} bytes of bodies; at most ${messageLimits.batchBodyBytesMax} are allowed`);
    }
    this.#count = count;
    this.#start = start;
  }
}

function stampPlace(records: Buffer, at: number, queueOffset: number, storedAtMs: number): void {
  const extra = hostBytesExtra(records, at, false);
  writeUint64(records, queueOffset, at + MESSAGE_QUEUE_OFFSET_AT);
  writeUint64(records, storedAtMs, at + MESSAGE_STORE_TIMESTAMP_AT + extra);
  // The three fields side by side that belong to brokers: store host (8 bytes), how often consumed (4) and the offset of
  // a prepared message (8). Zeros, whatever the producer wrote; a store host of IPv6 was refused by the flags.
  const end = at + MESSAGE_BODY_SIZE_AT + extra;
  for (let byte = at + MESSAGE_STORE_HOST_AT + extra; byte < end; byte++) records[byte] = 0;
}

function checkSequence(sequence: number): void {
  const sequenceMax = messageLimits.sequenceMax - messageLimits.batchCountMax;
  if (Number.isSafeInteger(sequence) && sequence >= 1 && sequence <= sequenceMax) return;
  throw new TLedgerError('INVALID_ARGUMENT', `the sequence ${sequence} is not an integer from 1 to ${sequenceMax}`);
}

function batchTooLarge(what: string): TLedgerError {
  return new TLedgerError('BATCH_TOO_LARGE', `the batch has ${what}`);
}
