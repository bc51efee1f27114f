// What peer.proto says, as TypeScript. `Replicate` is missing on purpose: its frames are bytes (peer_frames.ts).
import type { Int64 } from './int64.ts';

export interface VoteRequest {
  readonly term: Int64;
  readonly preVote: boolean;
  readonly lastIndex: Int64;
  readonly lastTerm: Int64;
  readonly transfer: boolean;
}

export interface VoteResponse {
  readonly term: Int64;
  readonly preVote: boolean;
  readonly granted: boolean;
}

export interface TimeoutNowRequest {
  readonly term: Int64;
}

export type TimeoutNowResponse = Readonly<Record<string, never>>;

/** One call on its way to the leader; exactly one of the members of `call` is set. */
export interface ForwardCall {
  readonly id: Int64;
  /** Name of the member that is set; filled in by the decoder, not needed by the encoder. */
  readonly call?: 'append' | 'createTopic' | 'transferLeadership' | 'readIndex';
  readonly append?: Buffer;
  readonly createTopic?: Buffer;
  readonly transferLeadership?: Buffer;
  readonly readIndex?: boolean;
}

export interface ForwardRequest {
  readonly calls: readonly ForwardCall[];
}

export interface ForwardResult {
  readonly id: Int64;
  readonly response: Buffer;
  readonly readIndex: Int64;
  readonly errorCode: string;
  readonly errorMessage: string;
}

export interface ForwardResponse {
  readonly results: readonly ForwardResult[];
}

export interface InspectRequest {
  readonly index: Int64;
}

export interface InspectResponse {
  readonly status: Buffer;
  readonly digestIndex: Int64;
  readonly chainCrc: number;
  readonly endPosition: Int64;
  readonly digestError: string;
}
