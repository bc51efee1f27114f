// What was found in a store and what became of it: counted by topic and queue, and by the reason why something stays
// behind.
import type { RocketMqMessage } from '../format/rocketmq.ts';
import { type LeftOutReason, leftOutReasons } from './carrying.ts';
import type { SourceDamage, SourceEnd } from './scanner.ts';

/** Damaged ranges that are named one by one; more are counted. */
const DAMAGES_NAMED_MAX = 1_000;

/** One queue. Offsets are the store's. */
export interface QueueTally {
  /** Messages that are to be carried over, those that are in the group already among them. */
  messages: number;
  bodyBytes: number;
  readonly firstOffset: number;
  lastOffset: number;
  /** Messages whose offset does not follow the one before. */
  gaps: number;
  readonly firstStoreTimestamp: number;
  lastStoreTimestamp: number;
}

/** Messages that stay behind for one reason. */
export interface LeftOut {
  count: number;
  readonly meaning: string;
  readonly topics: Record<string, number>;
  /** The first one. */
  readonly first: { readonly position: number; readonly detail: string };
}

/** Everything that is counted. */
export class Tally {
  readonly topics = new Map<string, Map<number, QueueTally>>();
  readonly leftOut = new Map<LeftOutReason, LeftOut>();
  readonly damages: SourceDamage[] = [];
  damageCount = 0;
  damagedBytes = 0;
  readonly torn: SourceEnd[] = [];
  /** To be carried over. */
  messages = 0;
  bodyBytes = 0;

  carry(message: RocketMqMessage): void {
    const { topic, queueId, queueOffset, storedAtMs, bodyStart, bodyEnd } = message;
    this.messages++;
    this.bodyBytes += bodyEnd - bodyStart;
    let queues = this.topics.get(topic);
    if (queues === undefined) {
      queues = new Map();
      this.topics.set(topic, queues);
    }
    const queue = queues.get(queueId);
    if (queue === undefined) {
      const [firstOffset, firstStoreTimestamp] = [queueOffset, storedAtMs];
      const last = { lastOffset: queueOffset, lastStoreTimestamp: storedAtMs };
      queues.set(queueId, {
        messages: 1,
        bodyBytes: bodyEnd - bodyStart,
        gaps: 0,
        firstOffset,
        firstStoreTimestamp,
        ...last,
      });
      return;
    }
    queue.messages++;
    queue.bodyBytes += bodyEnd - bodyStart;
    if (queueOffset !== queue.lastOffset + 1) queue.gaps++;
    queue.lastOffset = queueOffset;
    queue.lastStoreTimestamp = storedAtMs;
  }

  leave(reason: LeftOutReason, { topic, physicalOffset }: RocketMqMessage, detail: string): void {
    let left = this.leftOut.get(reason);
    if (left === undefined) {
      const topics = Object.create(null) as Record<string, number>;
      left = { count: 0, meaning: leftOutReasons[reason], topics, first: { position: physicalOffset, detail } };
      this.leftOut.set(reason, left);
    }
    left.count++;
    left.topics[topic] = (left.topics[topic] ?? 0) + 1;
  }

  damage(damage: SourceDamage): void {
    this.damageCount++;
    this.damagedBytes += damage.endPosition - damage.position;
    if (this.damages.length < DAMAGES_NAMED_MAX) this.damages.push(damage);
  }

  /** As it is told to programs. */
  document() {
    return {
      messages: this.messages,
      bodyBytes: this.bodyBytes,
      topics: Object.fromEntries([...this.topics].map(([topic, queues]) => [topic, Object.fromEntries(queues)])),
      leftOut: Object.fromEntries(this.leftOut),
      damaged: { count: this.damageCount, bytes: this.damagedBytes, ranges: this.damages },
      torn: this.torn.map(({ file, position, leftoverBytes, reason }) => ({ file, position, leftoverBytes, reason })),
    };
  }
}
