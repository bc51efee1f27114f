// The door to a group: does here what this replica can do, and forwards to the leader what only the leader can.
import type { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import type { OwnerListener } from '../broker/lite/owner_table.ts';
import type { TopicInfo, TopicWish } from '../broker/types.ts';
import type { LogIndex, NodeId, Role, Term } from '../raft/types.ts';
import type { RecordPage } from '../replica/record_pages.ts';
import type { ScrubStatus } from '../replica/scrub_status.ts';
import type { AppendDone, LogDigest, PackedAppend, ReplicaStatus } from '../replica/types.ts';
import type { MembershipRole } from '../wire/admin_messages.ts';
import type { ConnectedClients } from './connected_clients.ts';
import type { LeaderCall } from './leader_calls.ts';
import type { GroupMembers, MemberInfo, MembershipOrder } from './members.ts';

/** Who leads, since which term, and where clients reach it. */
export interface LeaderInfo {
  readonly nodeId: NodeId;
  readonly clientAddress: string;
  readonly term: Term;
}

/** A node and its two addresses, `host:port` each. */
export type NodeAddresses = Pick<MemberInfo, 'nodeId' | 'clientAddress' | 'peerAddress'>;

/** What a node knows of itself. */
export interface LocalStatus extends Omit<ReplicaStatus, 'role'>, NodeFacts {
  /** `repairing`: its replica does not run, as its data are damaged; it neither votes nor leads nor serves. */
  readonly role: Role | 'repairing';
  /** What is damaged, and why it is not repaired yet; nothing when nothing is. */
  readonly repair?: string | null;
  readonly membershipRole: MembershipRole;
  /** The checks of what it stores; null when nobody checks. */
  readonly scrub?: ScrubStatus | null;
}

/** The check of all that is stored that a member has begun; `pass` is null when it has not. */
export interface ScrubBegun {
  readonly nodeId: NodeId;
  readonly pass: number | null;
  readonly error: string;
}

/** Status of a member, or why it could not be asked. */
export type MemberStatus =
  | { readonly member: NodeAddresses; readonly status: LocalStatus; readonly error: null }
  | { readonly member: NodeAddresses; readonly status: null; readonly error: string };

/** What a process says of itself. */
export interface NodeFacts {
  readonly uptimeMs: number;
  readonly version: string;
  readonly pid: number;
}

/** Digest of a member's log, or why there is none. */
export type MemberDigest =
  | { readonly member: NodeAddresses; readonly isReachable: true; readonly digest: LogDigest; readonly error: null }
  | { readonly member: NodeAddresses; readonly isReachable: boolean; readonly digest: null; readonly error: string };

/** A backup as it is asked for. */
export interface BackupOrder {
  /** On this node's machine. */
  readonly directory: string;
  /** 0 for no limit. */
  readonly bytesPerSecond: number;
  readonly prune: boolean;
}

/** How far a backup is; bytes are those of whole files. */
export interface BackupSteps {
  /** The last record that will be in it. */
  readonly lastIndex: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  /** Of an earlier backup, and still good. */
  readonly bytesKept: number;
  /** Shared with the node's own files. */
  readonly bytesLinked: number;
  readonly bytesCopied: number;
}

/** A backup that is complete. */
export interface BackupMade extends BackupSteps {
  readonly firstIndex: number;
  readonly lastTerm: number;
  readonly chainCrc: number;
  /** Tells one backup from another. */
  readonly checksum: string;
  /** The last record of the earlier one that it continues; 0 for a new one. */
  readonly continuedFrom: number;
}

/** Makes backups of this replica. */
export interface BackupDoor {
  /**
   * Backs up what is committed, applied and flushed here by now.
   * @param signal ends it; nothing half is left behind then.
   * @throws TLedgerError INVALID_ARGUMENT for a directory that is not absolute, is the node's own, or holds anything but a
   * backup of what is committed here; DATA_DIR_FOREIGN when that is of another group; DATA_CORRUPTED naming the file;
   * OVERLOADED while another one is under way; STORAGE_FAILED; SHUTTING_DOWN.
   */
  run(order: BackupOrder, onProgress: (steps: BackupSteps) => void, signal: AbortSignal): Promise<BackupMade>;
}

/** How the leader is asked for something. */
export interface AtLeaderOptions {
  /** Of the request, about. */
  readonly sizeBytes: number;
  /** Monotonic. */
  readonly deadlineMs: number;
  /** Once it is aborted a call that waits there is answered at once, with what there is. */
  readonly signal?: AbortSignal | undefined;
}

/** What the client-facing services need of a group. All errors are `TLedgerError`s. */
export interface Gateway {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** This node as the group knows it; as it was configured while it is no member. */
  readonly self: NodeAddresses;
  /** Who belongs to the group, as far as this node knows. */
  readonly members: GroupMembers;
  /** The applied state of this replica: topics, ranges, pull, wake-ups. Shows only what is committed. */
  readonly broker: Broker;
  leader(): LeaderInfo | null;
  /**
   * NODE_REMOVED when this node does not belong to the group (yet, or any more), REPAIRING while its data are damaged:
   * then it must not serve. Null if it may.
   */
  outside(): TLedgerError | null;
  /** Appends a batch, here or by forwarding it. Calls of one caller are appended in the order of the calls. */
  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void;
  /**
   * Has the leader do something, here or by forwarding it.
   * @throws TLedgerError what the call says; NO_LEADER, UNREACHABLE, OUTCOME_UNKNOWN … of the way there.
   */
  atLeader<Request, Result>(
    call: LeaderCall<Request, Result>,
    request: Request,
    options: AtLeaderOptions,
  ): Promise<Result>;
  createTopic(wish: TopicWish, deadlineMs: number): Promise<{ topic: TopicInfo; created: boolean }>;
  /** @param target the most caught-up follower when null. */
  transferLeadership(target: NodeId | null, deadlineMs: number): Promise<LeaderInfo>;
  /**
   * Begins a change of members; resolves with the index of its first record once that is committed. It goes on by itself.
   */
  changeMembership(order: MembershipOrder, deadlineMs: number): Promise<LogIndex>;
  /** Resolves when this replica has applied all that was committed when it was called (ReadIndex). */
  readBarrier(deadlineMs: number): Promise<LogIndex>;
  localStatus(): LocalStatus;
  clusterStatus(): Promise<MemberStatus[]>;
  /** How this node, if it leads, brings the others up to date: `probe`, `replicate`, `snapshot`. */
  replication(): ReadonlyMap<NodeId, string>;
  /** @param index the highest index committed on all reachable members when null. */
  verifyLog(index: LogIndex | null): Promise<{ index: LogIndex; digests: MemberDigest[] }>;
  /** Committed records of this replica from `from` on; see replica/record_pages.ts. */
  recordPage(from: LogIndex, countMax: number): RecordPage;
  /** The record of this replica at or behind a position of the log. */
  indexAtPosition(position: number): LogIndex;
  /**
   * Has this node check all that it stores, from now on and from the beginning.
   * @param bytesPerSecond as configured when null. @returns the number of the pass.
   */
  scrubLocally(bytesPerSecond: number | null): number;
  /** The same on every member that can be reached. */
  scrub(bytesPerSecond: number | null): Promise<ScrubBegun[]>;
  readonly backups: BackupDoor;
  /** Clients of RocketMQ's protocol, here and on the other members. */
  readonly clients: ConnectedClients;
  /** Called after each change of leader, term, role, members or topics, until the returned function is called. */
  onChange(listener: () => void): () => void;
  /** Called with each lite topic of an exclusive group that gets another owner, until the returned function is called. */
  onOwner(listener: OwnerListener): () => void;
}
