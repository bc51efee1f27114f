// What peer.proto says, as TypeScript. `Replicate` is missing on purpose: its frames are bytes (peer_frames.ts).
import type { Int64 } from './int64.ts';

/** RequestVote or PreVote; the sender is named in the metadata of the call. */
export interface VoteRequest {
  readonly term: Int64;
  readonly preVote: boolean;
  readonly lastIndex: Int64;
  readonly lastTerm: Int64;
  readonly transfer: boolean;
}

/** The answer to either. */
export interface VoteResponse {
  readonly term: Int64;
  readonly preVote: boolean;
  readonly granted: boolean;
}

/** Asks a follower to campaign at once, in the name of the leader of `term`. */
export interface TimeoutNowRequest {
  readonly term: Int64;
}

/** Says that it arrived. */
export type TimeoutNowResponse = Readonly<Record<string, never>>;

/** What only the leader can do. */
export type ForwardKind =
  | 'APPEND'
  | 'CREATE_TOPIC'
  | 'TRANSFER_LEADERSHIP'
  | 'READ_INDEX'
  | 'CHANGE_MEMBERSHIP'
  | 'STORE'
  | 'POP'
  | 'SETTLE'
  | 'MOVE'
  | 'PUT_GROUP'
  | 'RECALL'
  | 'RESOLVE'
  | 'TAKE_CHECKS'
  | 'DELETE_GROUP'
  | 'ADD_LITE'
  | 'BIND_LITE'
  | 'CLAIM_LITE'
  | 'ADD_QUEUES';

/** One call on its way to the leader; `request` is an encoded message of the kind. */
export interface ForwardCall {
  readonly id: Int64;
  readonly kind: ForwardKind;
  readonly request: Buffer;
  /** How long the caller will wait. */
  readonly timeoutMs: number;
}

/** Calls that were submitted together. */
export interface ForwardRequest {
  readonly calls: readonly ForwardCall[];
  /** Ids of calls that are to be answered at once, if they still wait. */
  readonly hurried: readonly Int64[];
}

/** Answer to the call `id`: a response, or (errorCode not empty) an error of the table. */
export interface ForwardResult {
  readonly id: Int64;
  readonly response: Buffer;
  readonly errorCode: string;
  readonly errorMessage: string;
}

/** Answers, in any order. */
export interface ForwardResponse {
  readonly results: readonly ForwardResult[];
}

/** An index that was committed after the question was asked. */
export interface ReadIndexResponse {
  readonly index: Int64;
}

/** Asks for a member's state, and with an index for the digest of that record. */
export interface InspectRequest {
  readonly index: Int64;
  /** Begin a check of all that is stored, at this rate (as configured when "0"). */
  readonly scrub?: boolean;
  readonly scrubBytesPerSecond?: Int64;
}

/** An encoded NodeStatus and the digest, or why there is none. */
export interface InspectResponse {
  readonly status: Buffer;
  readonly digestIndex: Int64;
  readonly chainCrc: number;
  readonly endPosition: Int64;
  readonly digestError: string;
}

/** Asks for records of a member's log. */
export interface FetchRecordsRequest {
  readonly firstIndex: Int64;
  readonly maxBytes: number;
}

/** Records, and what is known around them. */
export interface FetchRecordsResponse {
  readonly baseIndex: Int64;
  readonly lastIndex: Int64;
  readonly committedIndex: Int64;
  readonly committedTerm: Int64;
  readonly hasPrevious: boolean;
  readonly previousTerm: Int64;
  readonly previousChainCrc: number;
  readonly records: Buffer;
}

/** Asks for a piece of a member's snapshot. */
export interface FetchSnapshotRequest {
  readonly index: Int64;
  readonly offset: Int64;
}

/** A piece of a snapshot; index 0 when there is none. */
export interface FetchSnapshotResponse {
  readonly index: Int64;
  readonly term: Int64;
  readonly sizeBytes: Int64;
  readonly piece: Buffer;
}
