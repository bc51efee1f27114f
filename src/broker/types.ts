// What the broker and its callers say to each other.
import type { QueueOffset } from '../format/message.ts';
import type { LogIndex } from '../raft/types.ts';

export { type Damage, damageOf } from '../storage/damage.ts';

/** `sync`: on the disks of a majority; `async`: in its memory; empty: what the group does by itself. */
export type FlushWish = '' | 'sync' | 'async';

/** One batch for one queue: unsealed message records, back to back (format/message.ts). */
export interface PackedAppend {
  readonly topic: string;
  readonly queueId: number;
  /** 16 hex digits, or '' when repeats need not be recognised. */
  readonly producerId: string;
  /** Sequence of the first message, from 1; ignored without a producer id. */
  readonly sequence: number;
  /** What must be guaranteed before the answer, if the group's own policy is weaker. */
  readonly flush?: FlushWish;
  /**
   * Owned by the receiver from here on: the leader writes offsets, times and stamps into it, and the log keeps it. Once
   * offered, whatever became of it, the same bytes are offered again only as a copy.
   */
  readonly records: Buffer;
}

/** Messages of one queue made by a node itself: they may carry what a producer cannot say. */
export interface StoreRequest {
  readonly topic: string;
  readonly queueId: number;
  /** Of every record (format/record_flags.ts). Remembered messages carry a message id (`UNIQ_KEY`). */
  readonly flags: number;
  /** Unsealed message records, back to back. Owned by the receiver from here on, as those of a `PackedAppend`. */
  readonly records: Buffer;
  /** A time that the leader's wall clock has reached, though it may have been set back since: stored no earlier. */
  readonly reachedMs?: number;
}

/** What the appender learns once its batch is committed. */
export interface AppendResult {
  /** Offset of the first message, the others follow; -1 when a repeated batch's offsets are no longer remembered. */
  readonly queueOffset: number;
  readonly count: number;
  readonly lastIndex: LogIndex;
  readonly repeated: boolean;
  /** What is guaranteed; left out where nobody can tell yet. */
  readonly flush?: 'sync' | 'async';
}

/** The leader's answer to a batch before it is in the log. */
export type Admission =
  | {
      readonly kind: 'append';
      /** The part of `records` that must be appended now (all of it, or what a partly known repeat still lacks). */
      readonly start: number;
      readonly end: number;
      readonly result: AppendResult;
    }
  /** Known already: answer with `result` once `result.lastIndex` is applied. */
  | { readonly kind: 'repeated'; readonly result: AppendResult };

/** Which messages a topic takes through RocketMQ's protocol (ROCKETMQ §3.1); `mixed`: normal, fifo, delay, transaction. */
export const topicTypes = ['mixed', 'normal', 'fifo', 'delay', 'transaction', 'lite', 'priority'] as const;
/** One of `topicTypes`. */
export type TopicType = (typeof topicTypes)[number];

/** What somebody wants of a topic. */
export interface TopicWish {
  readonly name: string;
  readonly queues: number;
  readonly messageType: TopicType;
}

/** A topic: its name and how many queues it has, numbered from 0. */
export interface TopicInfo {
  readonly name: string;
  readonly queues: number;
  readonly createdAtMs: number;
  /** `mixed` when absent. */
  readonly messageType?: Exclude<TopicType, 'mixed'> | undefined;
}

/** The topic that `wish` asks for. */
export function topicOf({ name, queues, messageType }: TopicWish, createdAtMs: number): TopicInfo {
  return messageType === 'mixed' ? { name, queues, createdAtMs } : { name, queues, createdAtMs, messageType };
}

/** Offsets a queue holds: min (first kept) up to, not including, max (the next to be written). */
export interface QueueRange {
  readonly queueId: number;
  readonly min: QueueOffset;
  readonly max: QueueOffset;
}

/** What to read: at most `countMax` messages and `bytesMax` bytes of one queue, from `offset` on. */
export interface PullRequest {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: QueueOffset;
  readonly countMax: number;
  readonly bytesMax: number;
}

/** Stored records of the queue asked for, in its order; what lies between them in the log is left out. */
export interface PullResult {
  /** Whole records, back to back. */
  readonly records: Buffer;
  /** How many they are. */
  readonly count: number;
  readonly nextOffset: QueueOffset;
  readonly min: QueueOffset;
  readonly max: QueueOffset;
  /** Bytes of the log between these records and its end, whatever they are; 0 when the queue holds no more. */
  readonly backlogBytes: number;
  /** Read from the disk (or its cache), not from what the log keeps in memory of its end. */
  readonly isCold: boolean;
}

/** Asks for messages by key. */
export interface KeyQuery {
  readonly topic: string;
  /** One of the message's keys or its unique id; or the unique id only. */
  readonly by: 'key' | 'unique id';
  readonly key: string;
  /** Store times, both included. */
  readonly beginMs: number;
  readonly endMs: number;
  /** At most so many messages ... */
  readonly countMax: number;
  /** ... and bytes; one message may exceed them. */
  readonly bytesMax: number;
  /** Where an earlier answer stopped; empty: with the newest message. */
  readonly cursor: string;
}

/** Messages found by key, the newest first. */
export interface KeyQueryResult {
  /** Whole records, back to back. */
  readonly records: Buffer;
  readonly count: number;
  /** Where to go on; null when there are no others. */
  readonly cursor: string | null;
  /** False while a part of the log is not indexed (yet): messages there were not found. */
  readonly isComplete: boolean;
}

/** A topic that is there already, or the body of the command record that creates it. */
export type TopicProposal =
  | { readonly kind: 'command'; readonly body: Buffer }
  | { readonly kind: 'exists'; readonly topic: TopicInfo };
