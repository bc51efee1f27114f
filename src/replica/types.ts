// What a replica offers to the services above it, and what it asks of the transport below it.
import type { AppendResult, PackedAppend, TopicInfo } from '../broker/types.ts';
import type { PhysicalOffset } from '../format/record.ts';
import type { LogIndex, Membership, NodeId, RaftMessage, Role, Term } from '../raft/types.ts';
import type { DiskStatus } from './disk_watch.ts';

/** Outcome of an append: exactly one of `error` and `result` is set. */
export type AppendDone = (error: Error | null, result: AppendResult | null) => void;

/** What a replica says of itself. */
export interface ReplicaStatus {
  readonly nodeId: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly leaderId: NodeId | null;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly flushedIndex: LogIndex;
  readonly committedIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly flushedPosition: PhysicalOffset;
  readonly endPosition: PhysicalOffset;
  /** How full the disk is; null when nobody looks. */
  readonly disk?: DiskStatus | null;
}

/** What identifies the log's bytes up to and including one record. */
export interface LogDigest {
  readonly index: LogIndex;
  readonly chainCrc: number;
  readonly endPosition: PhysicalOffset;
}

/**
 * Bytes that travel with an append message, the records prevIndex+1 … lastIndex as they lie on disk; or with a snapshot
 * message, a piece of the snapshot.
 */
export interface RecordBytes {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** chainCrc of the record before the first one; 0 for a snapshot. */
  readonly prevChain: number;
}

/**
 * The way to the other members. Messages to one peer arrive in order or not at all; after a loss the link reports
 * `onDown` before anything newer is delivered. Sending never blocks and never throws.
 */
export interface PeerTransport {
  /**
   * @param bytes present for append messages (empty range for heartbeats) and for snapshot messages. Nobody changes them
   * any more: the transport reads them when the message goes out, which may be later.
   */
  send(message: RaftMessage, bytes: RecordBytes | null): void;
  /** Who belongs to the group from now on, and where they are; this node is among them or not. */
  setMembers(membership: Membership): void;
}

/** What the transport tells the replica. */
export interface PeerEvents {
  onMessage(message: RaftMessage, records: RecordBytes | null): void;
  /** The replication stream to `peer` is usable. */
  onUp(peer: NodeId): void;
  /** The connection to or from `peer` is gone: what was under way may be lost. */
  onDown(peer: NodeId): void;
}

export type { AppendResult, PackedAppend, TopicInfo };
