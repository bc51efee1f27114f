// What ledger.proto says, as TypeScript. Decoded messages have every field; see proto.ts for how absence looks.
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
}

export interface Leader {
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly term: Int64;
}

export interface AppendResponse {
  readonly queueOffset: Int64;
  readonly count: number;
  readonly lastIndex: Int64;
  readonly repeated: boolean;
  readonly leader: Leader | null;
  readonly flush: string;
}

export interface AppendStreamResponse {
  readonly acknowledged: readonly AppendResponse[];
  readonly leader: Leader | null;
}

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

export interface PullResponse {
  readonly messages: readonly StoredMessageFields[];
  readonly records: Buffer;
  readonly count: number;
  readonly nextOffset: Int64;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
}

export interface QueuePosition {
  readonly queue: number;
  readonly offset: Int64;
}

export interface ConsumeRequest {
  readonly topic: string;
  readonly positions: readonly QueuePosition[];
  readonly start: 'EARLIEST' | 'LATEST';
  readonly maxBytes: number;
  readonly packed: boolean;
}

export interface ConsumeResponse {
  readonly queue: number;
  readonly messages: readonly StoredMessageFields[];
  readonly records: Buffer;
  readonly count: number;
  readonly firstOffset: Int64;
  readonly nextOffset: Int64;
  readonly maxOffset: Int64;
}

export interface MetadataRequest {
  readonly topics: readonly string[];
}

export interface Member {
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly peerAddress: string;
}

export interface QueueRange {
  readonly queue: number;
  readonly minOffset: Int64;
  readonly maxOffset: Int64;
}

export interface Topic {
  readonly name: string;
  readonly queues: number;
  readonly createdTimestamp: Int64;
  readonly ranges: readonly QueueRange[];
}

export interface MetadataResponse {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: string;
  readonly leader: Leader | null;
  readonly members: readonly Member[];
  readonly topics: readonly Topic[];
}
