// What ledger.proto says, as TypeScript. Decoded messages have every field; see proto.ts for how absence looks.
import type { AppendResult } from '../broker/types.ts';
import type { Int64 } from './int64.ts';

/** `tledger.v1.Message`. */
export interface MessageFields {
  readonly body: Buffer;
  readonly tag: string;
  readonly keys: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  readonly bornTimestamp: Int64;
}

/** `tledger.v1.AppendRequest`, as append_codec.ts decodes it. */
export interface AppendRequest {
  readonly topic: string;
  readonly queue: number;
  readonly producerId: string;
  /** A safe integer: larger ones do not get past the codec. */
  readonly sequence: number;
  readonly messages: readonly MessageFields[];
  readonly records: Buffer;
  /** '' for what the group does. */
  readonly flush?: string;
}

/** Who leads the group; `clientAddress` is host:port of its client endpoint. */
export interface Leader {
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly term: Int64;
}

/** A batch is committed; `queueOffset` is that of its first message, "-1" when no longer remembered. */
export interface AppendResponse {
  readonly queueOffset: Int64;
  readonly count: number;
  readonly lastIndex: Int64;
  readonly repeated: boolean;
  readonly leader: Leader | null;
  readonly flush: string;
}

/** As answer_codec.ts decodes it: acknowledgements in the order of the requests, and who leads, if that is news. */
export interface AppendStreamResponse {
  readonly acknowledged: readonly AppendResult[];
  readonly leader: Leader | null;
}

/** Reads one queue from `offset` on; 0 in a limit stands for its default. */
export interface PullRequest {
  readonly topic: string;
  readonly queue: number;
  readonly offset: Int64;
  readonly maxCount: number;
  readonly maxBytes: number;
  readonly waitMs: number;
  readonly packed: boolean;
}

/** `tledger.v1.StoredMessage`: a message outside of its record. */
export interface StoredMessageFields extends MessageFields {
  readonly queueOffset: Int64;
  readonly storeTimestamp: Int64;
  readonly queue: number;
}

/** Messages of one queue, or `records` that may hold others between them; go on at `nextOffset`. */
export interface PullResponse {
  readonly messages: readonly StoredMessageFields[];
  readonly records: Buffer;
  readonly count: number;
  readonly nextOffset: Int64;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
  /** Where to go on reading; null: here. */
  readonly readFrom: MemberAddress | null;
}

/** A member and where clients reach it, `host:port`. */
export interface MemberAddress {
  readonly nodeId: string;
  readonly clientAddress: string;
}

/** The first offset to read of one queue. */
export interface QueuePosition {
  readonly queue: number;
  readonly offset: Int64;
}

/** Streams the queues of `positions`, or all of the topic from `start` when there are none. */
export interface ConsumeRequest {
  readonly topic: string;
  readonly positions: readonly QueuePosition[];
  readonly start: 'EARLIEST' | 'LATEST';
  readonly maxBytes: number;
  readonly packed: boolean;
  /** Also queues that are not named, and those to come, each from its first message. */
  readonly newQueues?: boolean;
}

/** Messages of one queue, in order; `records` may hold others between them. */
export interface ConsumeResponse {
  readonly queue: number;
  readonly messages: readonly StoredMessageFields[];
  readonly records: Buffer;
  readonly count: number;
  readonly firstOffset: Int64;
  readonly nextOffset: Int64;
  readonly maxOffset: Int64;
  /** Where to go on reading; null: here. */
  readonly readFrom: MemberAddress | null;
}

/** Asks for messages by exactly one of key, unique id and message id; 0 in a time or limit stands for none or its default. */
export interface QueryRequest {
  readonly topic: string;
  readonly key: string;
  readonly uniqueId: string;
  readonly messageId: string;
  readonly beginTimestamp: Int64;
  readonly endTimestamp: Int64;
  readonly maxCount: number;
  readonly maxBytes: number;
  readonly cursor: string;
  readonly current: boolean;
  readonly packed: boolean;
}

/** A message that was found, with what says where it is. */
export interface FoundMessageFields {
  readonly message: StoredMessageFields;
  readonly topic: string;
  readonly messageId: string;
}

/** The newest first; go on at `cursor` unless it is empty. */
export interface QueryResponse {
  readonly messages: readonly FoundMessageFields[];
  readonly records: Buffer;
  readonly count: number;
  readonly cursor: string;
  readonly complete: boolean;
}

/** Asks where a queue was at a time. */
export interface FindOffsetRequest {
  readonly topic: string;
  readonly queue: number;
  readonly timestamp: Int64;
  readonly current: boolean;
}

/** The first offset stored then or later, or where the queue ends. */
export interface FindOffsetResponse {
  readonly offset: Int64;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
}

/** Asks for members, leader and topics (all when `topics` is empty). */
export interface MetadataRequest {
  readonly topics: readonly string[];
  /** Show all that was committed when the request came, or fail. */
  readonly current?: boolean;
}

/** A member of the group and its addresses, each host:port. */
export interface Member {
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly role: MemberRole;
}

/** What a member is: a voter, one without a vote, or a voter whose removal is under way. */
export type MemberRole = 'voter' | 'learner' | 'leaving';

/** Offsets a queue holds: from min up to, not including, max. */
export interface QueueRange {
  readonly queue: number;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
}

/** A topic, its number of queues and what they hold. */
export interface Topic {
  readonly name: string;
  readonly queues: number;
  readonly createdTimestamp: Int64;
  readonly ranges: readonly QueueRange[];
  /** What RocketMQ's protocol lets in: `mixed`, `normal`, `fifo` … */
  readonly messageType?: string;
}

/** The group as `nodeId` sees it; `leader` is null while there is none. */
export interface MetadataResponse {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: string;
  readonly leader: Leader | null;
  readonly members: readonly Member[];
  readonly topics: readonly Topic[];
  /** Log index of the record that names the members: of two answers the higher one is newer. */
  readonly membershipIndex: Int64;
}
