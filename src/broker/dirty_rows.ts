// Which rows of the state tables differ from what the store holds. A checkpoint takes them all at once, so that what is
// applied while it runs belongs to the next one.
import type { LogIndex, MembershipEntry } from '../raft/types.ts';
import type { KeyIndexPlace } from '../storage/key_index.ts';
import type { ProducerTable } from './producers.ts';
import {
  APPLIED_KEY,
  appliedValue,
  BASE_KEY,
  baseValue,
  KEY_INDEX_KEY,
  keyIndexValue,
  MEMBERSHIP_KEY,
  membershipValue,
  producerKey,
  producerValue,
  queueKey,
  queueValue,
  topicKey,
  topicValue,
} from './state_tables.ts';
import type { Queue } from './topics.ts';
import type { TopicInfo } from './types.ts';

/** Rows changed since the last `take`. */
export class DirtyRows {
  #base: LogIndex | null = null;
  #keyIndex: KeyIndexPlace | 'none' | null = null;
  #membership: MembershipEntry | null = null;
  #topics: TopicInfo[] = [];
  #queues = new Set<Queue>();
  #producers = new Set<string>();

  /** Queues with rows that have changed. */
  get queueCount(): number {
    return this.#queues.size;
  }

  /** The queues' minima know of a cut there. */
  base(index: LogIndex): void {
    this.#base = index;
  }

  /** How far the key index has come; `none` when there is none any more. */
  keyIndex(place: KeyIndexPlace | 'none'): void {
    this.#keyIndex = place;
  }

  membership(entry: MembershipEntry): void {
    this.#membership = entry;
  }

  topic(topic: TopicInfo): void {
    this.#topics.push(topic);
  }

  queue(queue: Queue): void {
    this.#queues.add(queue);
  }

  /** A producer that changed or was forgotten. */
  producer(id: string): void {
    this.#producers.add(id);
  }

  /** The changed rows as they are now, with the index they are the result of; from here on nothing is changed. */
  take(
    applied: { readonly index: LogIndex; readonly storedAtMs: number },
    producers: ProducerTable,
  ): Map<string, string | null> {
    const changes = new Map<string, string | null>([[APPLIED_KEY, appliedValue(applied.index, applied.storedAtMs)]]);
    if (this.#base !== null) changes.set(BASE_KEY, baseValue(this.#base));
    if (this.#keyIndex !== null) {
      changes.set(KEY_INDEX_KEY, this.#keyIndex === 'none' ? null : keyIndexValue(this.#keyIndex));
    }
    if (this.#membership !== null) changes.set(MEMBERSHIP_KEY, membershipValue(this.#membership));
    for (const topic of this.#topics) changes.set(topicKey(topic.name), topicValue(topic));
    for (const queue of this.#queues) changes.set(queueKey(queue), queueValue(queue));
    for (const id of this.#producers) {
      const producer = producers.get(id);
      changes.set(producerKey(id), producer === undefined ? null : producerValue(producer));
    }
    this.clear();
    return changes;
  }

  /** Nothing is changed any more: everything was replaced. */
  clear(): void {
    this.#base = null;
    this.#keyIndex = null;
    this.#membership = null;
    this.#topics = [];
    this.#queues = new Set();
    this.#producers = new Set();
  }
}
