// The door to a group: does here what this replica can do, and forwards to the leader what only the leader can.
import type { Broker } from '../broker/broker.ts';
import type { TopicInfo } from '../broker/types.ts';
import type { LogIndex, NodeId, Term } from '../raft/types.ts';
import type { AppendDone, LogDigest, PackedAppend, ReplicaStatus } from '../replica/types.ts';

/** Who leads, since which term, and where clients reach it. */
export interface LeaderInfo {
  readonly nodeId: NodeId;
  readonly clientAddress: string;
  readonly term: Term;
}

/** A member and its two addresses, `host:port` each. */
export interface MemberInfo {
  readonly nodeId: NodeId;
  readonly clientAddress: string;
  readonly peerAddress: string;
}

/** Status of a member, or why it could not be asked. */
export type MemberStatus =
  | { readonly member: MemberInfo; readonly status: ReplicaStatus & NodeFacts; readonly error: null }
  | { readonly member: MemberInfo; readonly status: null; readonly error: string };

/** What a process says of itself. */
export interface NodeFacts {
  readonly uptimeMs: number;
  readonly version: string;
  readonly pid: number;
}

/** Digest of a member's log, or why there is none. */
export type MemberDigest =
  | { readonly member: MemberInfo; readonly isReachable: true; readonly digest: LogDigest; readonly error: null }
  | { readonly member: MemberInfo; readonly isReachable: boolean; readonly digest: null; readonly error: string };

/** What the client-facing services need of a group. All errors are `TLedgerError`s. */
export interface Gateway {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly members: readonly MemberInfo[];
  /** The applied state of this replica: topics, ranges, pull, wake-ups. Shows only what is committed. */
  readonly broker: Broker;
  leader(): LeaderInfo | null;
  /** Appends a batch, here or by forwarding it. Calls of one caller are appended in the order of the calls. */
  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void;
  createTopic(name: string, queues: number, deadlineMs: number): Promise<{ topic: TopicInfo; created: boolean }>;
  /** @param target the most caught-up follower when null. */
  transferLeadership(target: NodeId | null, deadlineMs: number): Promise<LeaderInfo>;
  /** Resolves when this replica has applied all that was committed when it was called (ReadIndex). */
  readBarrier(deadlineMs: number): Promise<LogIndex>;
  localStatus(): ReplicaStatus & NodeFacts;
  clusterStatus(): Promise<MemberStatus[]>;
  /** @param index the highest index committed on all reachable members when null. */
  verifyLog(index: LogIndex | null): Promise<{ index: LogIndex; digests: MemberDigest[] }>;
  /** Called after each change of leader, term, role or topics, until the returned function is called. */
  onChange(listener: () => void): () => void;
}
