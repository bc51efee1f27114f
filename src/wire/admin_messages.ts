// What admin.proto says, as TypeScript. Decoded messages have every field; see proto.ts for how absence looks.
import type { Int64 } from './int64.ts';
import type { Leader, MemberRole, Topic } from './ledger_messages.ts';

/** Asks for the state of the group, or (localOnly) of the node asked. */
export interface ClusterStatusRequest {
  readonly localOnly: boolean;
}

/** State of one member as the node asked sees it; `error` says why when it is not reachable. */
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
  /** What it is by its own log; empty when it was not reached. */
  readonly membershipRole: MembershipRole | '';
  /** How the leader brings it up to date: `probe`, `replicate`, `snapshot`; empty unless the node asked leads. */
  readonly replication: string;
  /** The checks of what it stores; null when it was not reached, or does not know of any. */
  readonly scrub?: ScrubStatus | null;
  readonly diskLevel?: string;
  readonly diskUsedPercent?: number;
  readonly diskFreeBytes?: Int64;
}

/** Something stored that is not as it must be; `kind` is `log`, `snapshot`, `derived`, `file` or `divergence`. */
export interface ScrubFault {
  readonly kind: string;
  readonly file: string;
  readonly index: Int64;
  readonly reason: string;
  readonly atMs: Int64;
}

/** A snapshot that was found to be good. */
export interface KnownSnapshot {
  readonly index: Int64;
  readonly dataCrc: number;
  readonly sizeBytes: Int64;
}

/** The pass under way over all that a member stores, and the last complete one; see admin.proto. */
export interface ScrubStatus {
  readonly running: boolean;
  readonly pass: Int64;
  readonly startedAtMs: Int64;
  readonly bytesPerSecond: Int64;
  readonly index: Int64;
  readonly goal: Int64;
  readonly checkedBytes: Int64;
  readonly totalBytes: Int64;
  readonly nextAtMs: Int64;
  readonly lastPass: Int64;
  readonly lastAtMs: Int64;
  readonly lastIndex: Int64;
  readonly faults: readonly ScrubFault[];
  readonly snapshots: readonly KnownSnapshot[];
}

/** Asks for records: from an index, a position, or a message (topic not empty) on. */
export interface ReadLogRequest {
  readonly fromIndex: Int64;
  readonly byPosition: boolean;
  readonly position: Int64;
  readonly topic: string;
  readonly queueId: number;
  readonly offset: Int64;
  readonly countMax: number;
}

/** A record, or what is damaged of it. */
export interface ReadLogRecord {
  readonly index: Int64;
  readonly record: Buffer;
  readonly damage: string;
}

/** Records of the node that was asked. */
export interface ReadLogResponse {
  readonly nodeId: string;
  readonly records: readonly ReadLogRecord[];
  readonly nextIndex: Int64;
  readonly firstIndex: Int64;
  readonly appliedIndex: Int64;
}

/** Has every member check all that it stores. */
export interface ScrubRequest {
  readonly bytesPerSecond: Int64;
}

/** The pass that a member has begun, or why it has not. */
export interface ScrubBegun {
  readonly nodeId: string;
  readonly pass: Int64;
  readonly error: string;
}

/** What each member has begun. */
export interface ScrubResponse {
  readonly members: readonly ScrubBegun[];
}

/** `joining` is not a member yet, `removed` not any more. */
export type MembershipRole = MemberRole | 'joining' | 'removed';

/** A member; `promote` and `replaces` (empty for nobody) are of a learner. */
export interface GroupMember {
  readonly nodeId: string;
  readonly role: MemberRole;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly promote: boolean;
  readonly replaces: string;
}

/** Who belongs to the group, as the record at `index` says. */
export interface Membership {
  readonly index: Int64;
  readonly committed: boolean;
  /** Two majorities must agree: joint consensus. */
  readonly changingOver: boolean;
  readonly members: readonly GroupMember[];
}

/** State of all members; `leaderId` is empty while there is none. */
export interface ClusterStatusResponse {
  readonly cluster: string;
  readonly group: string;
  readonly leaderId: string;
  readonly nodes: readonly NodeStatus[];
  readonly membership: Membership | null;
  /** Why the node asked does not know any better; empty when it belongs to the group. */
  readonly outside: string;
}

/** What is to change; see admin.proto. */
export type MembershipChangeKind = 'UNSPECIFIED' | 'ADD' | 'PROMOTE' | 'REMOVE' | 'READDRESS' | 'CANCEL';

/** A change of who belongs to the group; what a kind does not use is left empty. */
export interface ChangeMembershipRequest {
  readonly kind: MembershipChangeKind;
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly learnerOnly: boolean;
  readonly replaces: string;
  readonly force: boolean;
}

/** The change is under way; `index` is the record that began it. */
export interface ChangeMembershipResponse {
  readonly index: Int64;
}

/** Creates a topic; 0 queues stand for the default of four. */
export interface CreateTopicRequest {
  readonly topic: string;
  readonly queues: number;
  /** `mixed` when empty. */
  readonly messageType?: string;
}

/** The topic; `created` is false when it existed with the same settings. */
export interface CreateTopicResponse {
  readonly topic: Topic | null;
  readonly created: boolean;
}

/** Gives a topic more queues. */
export interface UpdateTopicRequest {
  readonly topic: string;
  readonly queues: number;
}

/** The topic; `changed` is false when it had them already. */
export interface UpdateTopicResponse {
  readonly topic: Topic | null;
  readonly changed: boolean;
}

/** Hands leadership over; an empty target leaves the choice to the leader. */
export interface TransferLeadershipRequest {
  readonly target: string;
}

/** Who leads now. */
export interface TransferLeadershipResponse {
  readonly leader: Leader | null;
}

/** Asks for digests at a committed index; "0" for the highest that all reachable replicas share. */
export interface VerifyLogRequest {
  readonly index: Int64;
}

/** What one replica holds at that index: `chainCrc` vouches for every byte up to `endPosition`. */
export interface ReplicaDigest {
  readonly nodeId: string;
  readonly reachable: boolean;
  readonly error: string;
  readonly index: Int64;
  readonly chainCrc: number;
  readonly endPosition: Int64;
}

/** Digests of all members; `identical` when every one answered and all are equal. */
export interface VerifyLogResponse {
  readonly index: Int64;
  readonly identical: boolean;
  readonly replicas: readonly ReplicaDigest[];
}

/** Asks a node for a backup into a directory of its machine; see admin.proto. */
export interface BackupRequest {
  readonly nodeId: string;
  readonly directory: string;
  /** "0" for no limit. */
  readonly bytesPerSecond: Int64;
  readonly prune: boolean;
  readonly stale: boolean;
}

/** How far a backup is; `done` comes with the last one. */
export interface BackupProgress {
  readonly lastIndex: Int64;
  readonly bytesTotal: Int64;
  readonly bytesRead: Int64;
  readonly bytesKept: Int64;
  readonly bytesLinked: Int64;
  readonly bytesCopied: Int64;
  readonly done: BackupDone | null;
}

/** A backup that is complete: records `firstIndex` … `lastIndex`. `continuedFrom` is "0" for a new one. */
export interface BackupDone {
  readonly nodeId: string;
  readonly directory: string;
  readonly firstIndex: Int64;
  readonly lastIndex: Int64;
  readonly lastTerm: Int64;
  readonly chainCrc: number;
  readonly checksum: string;
  readonly continuedFrom: Int64;
}
