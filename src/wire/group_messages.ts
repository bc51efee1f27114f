// What admin.proto says of consumer groups, as TypeScript.
import type { Int64 } from './int64.ts';
import type { QueuePosition } from './ledger_messages.ts';

/** A consumer group; 0 and an empty list stand for the defaults. */
export interface ConsumerGroup {
  readonly name: string;
  readonly fifo: boolean;
  readonly maxAttempts: number;
  readonly retryMs: readonly Int64[];
  readonly createdTimestamp: Int64;
  /** The parent of the lite topics that it subscribes to; '' for none. */
  readonly liteTopic?: string;
  /** Each of them goes to the client that subscribed last. */
  readonly liteExclusive?: boolean;
}

/** Groups by name; all when none is named. */
export interface DescribeGroupsRequest {
  readonly names: readonly string[];
}

/** What a group has consumed of one queue. */
export interface QueueProgress {
  readonly queue: number;
  readonly committedOffset: Int64;
  readonly nextOffset: Int64;
  readonly inFlight: Int64;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
  readonly lag: Int64;
}

/** What a group has consumed of one topic. */
export interface TopicProgress {
  readonly topic: string;
  readonly queues: readonly QueueProgress[];
  readonly lag: Int64;
}

/** A group with its progress. */
export interface GroupDescription {
  readonly group: ConsumerGroup | null;
  readonly topics: readonly TopicProgress[];
  readonly deadLetters: Int64;
}

/** `tledger.v1.DescribeGroupsResponse`. */
export interface DescribeGroupsResponse {
  readonly groups: readonly GroupDescription[];
}

/** `tledger.v1.PutGroupRequest`. */
export interface PutGroupRequest {
  readonly group: ConsumerGroup | null;
}

/** The group as it is now. */
export interface PutGroupResponse {
  readonly group: ConsumerGroup | null;
  readonly created: boolean;
}

/** `tledger.v1.DeleteGroupRequest`. */
export interface DeleteGroupRequest {
  readonly name: string;
}

/** `tledger.v1.DeleteGroupResponse`. */
export interface DeleteGroupResponse {
  readonly existed: boolean;
}

/** Either a time for all queues, or offsets. */
export interface ResetGroupRequest {
  readonly group: string;
  readonly topic: string;
  readonly timestamp: Int64;
  readonly positions: readonly QueuePosition[];
}

/** Where the group goes on. */
export interface ResetGroupResponse {
  readonly positions: readonly QueuePosition[];
}

/** `tledger.v1.ResendDeadLettersRequest`. */
export interface ResendDeadLettersRequest {
  readonly group: string;
  readonly maxCount: number;
}

/** How many were sent; `complete` when there are no more. */
export interface ResendDeadLettersResponse {
  readonly count: number;
  readonly complete: boolean;
}
