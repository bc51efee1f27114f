// What admin.proto says, as TypeScript. Decoded messages have every field; see proto.ts for how absence looks.
import type { Int64 } from './int64.ts';
import type { Leader, Topic } from './ledger_messages.ts';

export interface ClusterStatusRequest {
  readonly localOnly: boolean;
}

export interface NodeStatus {
  readonly nodeId: string;
  readonly reachable: boolean;
  readonly error: string;
  readonly role: string;
  readonly term: Int64;
  readonly leaderId: string;
  readonly firstIndex: Int64;
  readonly lastIndex: Int64;
  readonly flushedIndex: Int64;
  readonly committedIndex: Int64;
  readonly appliedIndex: Int64;
  readonly flushedPosition: Int64;
  readonly endPosition: Int64;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly uptimeMs: Int64;
  readonly version: string;
  readonly pid: number;
}

export interface ClusterStatusResponse {
  readonly cluster: string;
  readonly group: string;
  readonly leaderId: string;
  readonly nodes: readonly NodeStatus[];
}

export interface CreateTopicRequest {
  readonly topic: string;
  readonly queues: number;
}

export interface CreateTopicResponse {
  readonly topic: Topic | null;
  readonly created: boolean;
}

export interface TransferLeadershipRequest {
  readonly target: string;
}

export interface TransferLeadershipResponse {
  readonly leader: Leader | null;
}

export interface VerifyLogRequest {
  readonly index: Int64;
}

export interface ReplicaDigest {
  readonly nodeId: string;
  readonly reachable: boolean;
  readonly error: string;
  readonly index: Int64;
  readonly chainCrc: number;
  readonly endPosition: Int64;
}

export interface VerifyLogResponse {
  readonly index: Int64;
  readonly identical: boolean;
  readonly replicas: readonly ReplicaDigest[];
}
