// The vocabulary of consensus. Raft reasons about ranges of (index, term); it never sees a record's bytes.
import type { Brand } from '../base/brand.ts';

/** Position of a record in the replicated log: 1, 2, 3 …; 0 stands before the first record. */
export type LogIndex = Brand<number, 'LogIndex'>;
/** Election term: 1, 2, 3 …; 0 before the first election. */
export type Term = Brand<number, 'Term'>;
/** Name of a member, e.g. `n0`. */
export type NodeId = string;

/** Brands a number. */
export const logIndex = (value: number): LogIndex => value as LogIndex;
/** Brands a number. */
export const term = (value: number): Term => value as Term;

/** What a member currently is. */
export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

/** What must be on disk before any message that depends on it leaves (Raft paper, figure 2, "persistent state"). */
export interface HardState {
  readonly term: Term;
  /** Whom this node voted for in `term`. */
  readonly vote: NodeId | null;
}

/** Records from `firstIndex` up to the next run's `firstIndex` (or the log's end) have `term`. */
export interface TermRun {
  readonly term: Term;
  readonly firstIndex: LogIndex;
}

/** The shape of a log: where it begins, where it ends, and the term of every record in between, as runs. */
export interface LogShape {
  /** Index and term just before the first record that is still held; (0, 0) for a log never cut. */
  readonly baseIndex: LogIndex;
  readonly baseTerm: Term;
  readonly lastIndex: LogIndex;
  /** Ascending, without gaps; empty when the log is empty. */
  readonly runs: readonly TermRun[];
}

/** How to reach a member; consensus carries it and never looks inside. `host:port` each. */
export interface MemberAddress {
  readonly peer: string;
  readonly client: string;
}

/** A member that gets the log and has no vote (dissertation §4.2.1). */
export interface Learner {
  readonly id: NodeId;
  /** Becomes a voter by itself once it has caught up. */
  readonly promote: boolean;
  /** The voter it takes the place of when it is promoted. */
  readonly replaces: NodeId | null;
  /** Of one that is to be promoted: it was taken in to stay a learner, and is one again when that is taken back. */
  readonly stays?: true;
}

/**
 * Who belongs to the group (paper §6, dissertation §4): in force as soon as its record is in the log, rolled back with
 * it. Without voters it is the blank of a node that waits to be added.
 */
export interface Membership {
  /** Sorted, like the lists below. */
  readonly voters: readonly NodeId[];
  /** The other majority that must agree while the group changes over (joint consensus); empty otherwise. */
  readonly outgoing: readonly NodeId[];
  /** By id; none of them is a voter. */
  readonly learners: readonly Learner[];
  /** Every member named above, and nobody else. */
  readonly addresses: Readonly<Record<NodeId, MemberAddress>>;
}

/** A membership and the index of the record that brought it; 0 for the one that the configuration names. */
export interface MembershipEntry {
  readonly index: LogIndex;
  readonly membership: Membership;
}

/** What an operator asks for; one at a time. */
export type MembershipChange =
  | {
      readonly type: 'add';
      readonly id: NodeId;
      readonly address: MemberAddress;
      readonly promote: boolean;
      readonly replaces: NodeId | null;
    }
  /** A learner is to become a voter as soon as it has caught up. */
  | { readonly type: 'promote'; readonly id: NodeId }
  | { readonly type: 'remove'; readonly id: NodeId }
  | { readonly type: 'readdress'; readonly id: NodeId; readonly address: MemberAddress }
  /** Drops the learners that wait for their promotion, or turns a change-over around. */
  | { readonly type: 'cancel' };

interface MessageBase {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The sender's term (for a pre-vote request: the term it would campaign in). */
  readonly term: Term;
}

/** RequestVote (paper §5.2, §5.4) and PreVote (dissertation §9.6). */
export interface VoteRequest extends MessageBase {
  readonly type: 'vote-request';
  readonly preVote: boolean;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** Set after TimeoutNow: the leader itself asked for this election, so stickiness does not apply (§3.10). */
  readonly transfer: boolean;
}

/** The answer to a vote request. */
export interface VoteResponse extends MessageBase {
  readonly type: 'vote-response';
  readonly preVote: boolean;
  readonly granted: boolean;
}

/**
 * AppendEntries (§5.3): records prevIndex+1 … lastIndex, whose bytes the replica attaches. With lastIndex = prevIndex
 * it is a heartbeat, which checks the same things.
 */
export interface AppendRequest extends MessageBase {
  readonly type: 'append';
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly lastIndex: LogIndex;
  /** Terms of records prevIndex+1 … lastIndex; the first run starts at prevIndex+1. Empty for a heartbeat. */
  readonly runs: readonly TermRun[];
  /**
   * The membership records among them, ascending. Not on the wire: whoever receives the bytes finds them there before
   * the message is stepped. Empty in a message that leaves.
   */
  readonly memberships: readonly MembershipEntry[];
  readonly commit: LogIndex;
  /** Counts the leader's heartbeat rounds; echoed, so that a quorum of echoes confirms leadership (§6.4). */
  readonly round: number;
}

/** The answer to an append; also sent by itself when a follower has flushed. */
export interface AppendResponse extends MessageBase {
  readonly type: 'append-response';
  /** Last index that this follower holds durably and has verified against this leader; 0 with `reject`. */
  readonly match: LogIndex;
  readonly round: number;
  /** Set when (prevIndex, prevTerm) was not found: how far the leader should back up (fast back-up by term, §5.3). */
  readonly reject: AppendReject | null;
}

/** Why an append was refused, and where to try next. */
export interface AppendReject {
  /** The refused prevIndex, so that the leader tells stale answers apart. */
  readonly prevIndex: LogIndex;
  /** The follower's best guess: the last index at or below prevIndex whose term is at most the leader's prevTerm. */
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
}

/** TimeoutNow (§3.10): campaign at once. */
export interface TimeoutNow extends MessageBase {
  readonly type: 'timeout-now';
}

/**
 * InstallSnapshot (§7): a piece, whose bytes the owner attaches, of the snapshot at (index, indexTerm), from byte `offset`
 * on. The snapshot's own header says how long it is.
 */
export interface SnapshotRequest extends MessageBase {
  readonly type: 'snapshot';
  readonly index: LogIndex;
  readonly indexTerm: Term;
  readonly offset: number;
  readonly round: number;
  readonly commit: LogIndex;
}

/** The answer to a piece of a snapshot that is not complete yet. */
export interface SnapshotResponse extends MessageBase {
  readonly type: 'snapshot-response';
  readonly index: LogIndex;
  /** How many of its bytes, from the first one on, the follower holds durably: where to go on. */
  readonly offset: number;
  readonly round: number;
}

/** What members say to each other. */
export type RaftMessage =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | SnapshotRequest
  | SnapshotResponse
  | TimeoutNow;

/** Records of the append just stepped that must now be written; what lies after `truncateAfter` is removed first. */
export interface FollowerAppend {
  /** Last index to keep before writing; null when nothing is removed. */
  readonly truncateAfter: LogIndex | null;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
}

/** A record of the leader's own, of its current term, to be written at `index`. */
export type OwnRecord =
  | { readonly kind: 'noop'; readonly index: LogIndex }
  | { readonly kind: 'membership'; readonly index: LogIndex; readonly membership: Membership };

/** A snapshot's place in the log: its last record, and that record's term. */
export interface SnapshotPoint {
  readonly index: LogIndex;
  readonly term: Term;
}

/** Bytes of the snapshot message just stepped that are to be stored; `snapshotStored` or `restore` tells the outcome. */
export interface SnapshotChunk extends SnapshotPoint {
  readonly offset: number;
}

/** A read that may be answered once `applied >= index` (ReadIndex, §6.4). */
export interface ReadState {
  readonly token: number;
  readonly index: LogIndex;
}

/** A read that cannot be confirmed any more (leadership was lost). */
export interface ReadAborted {
  readonly token: number;
}

/**
 * What the owner must do after an input, in this order: persist `hardState` (flushed), write `own` or `append` or store
 * `snapshot`, take note of `membership`, send `messages`, apply up to `commit`, answer `reads`.
 */
export interface Ready {
  /** Changed term or vote: must be durable before any message below is sent. Null when unchanged. */
  readonly hardState: HardState | null;
  /** A record that this leader must write, in the current term: it just won, or the group's membership goes on. */
  readonly own: OwnRecord | null;
  /** Records of the message just stepped that must be written. */
  readonly append: FollowerAppend | null;
  /** Bytes of the message just stepped that must be stored. */
  readonly snapshot: SnapshotChunk | null;
  /** What is in force from now on, when it changed; a truncation brings back an earlier one. */
  readonly membership: MembershipEntry | null;
  readonly messages: readonly RaftMessage[];
  /** The commit index; never moves back. */
  readonly commit: LogIndex;
  /** Followers that hold everything lack the commit index: they learn it with the next records, or when they may be told. */
  readonly isCommitUntold: boolean;
  readonly reads: readonly ReadState[];
  readonly abortedReads: readonly ReadAborted[];
  /** Role, term or known leader changed since the last Ready. */
  readonly stateChanged: boolean;
}

/** A leader's view of one follower (etcd's tracker.Progress). */
export interface ProgressStatus {
  readonly peer: NodeId;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly connected: boolean;
  /** Keeps up with the log as it grows; a learner is promoted from here on. */
  readonly caughtUp: boolean;
  /** Bytes of a snapshot that it holds, while it is sent one. */
  readonly snapshotOffset: number | null;
}

/** A member's view of itself and, if it leads, of the others. */
export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | null;
  readonly lastIndex: LogIndex;
  readonly flushedIndex: LogIndex;
  readonly commit: LogIndex;
  /** Empty unless leader. */
  readonly progress: readonly ProgressStatus[];
  readonly transferee: NodeId | null;
}

/** Sizes of stored records, which only storage knows; pure and deterministic for a given log. */
export interface RecordSizer {
  /**
   * The last index of the largest run of records that starts at `firstIndex`, holds at least one record and at most
   * `bytesMax` bytes (one record may exceed it), with its size in bytes. `firstIndex` is at most the log's last index.
   */
  fit(firstIndex: LogIndex, bytesMax: number): { readonly lastIndex: LogIndex; readonly sizeBytes: number };
}

/** Fixed for the life of a member; times in milliseconds, sizes in bytes. */
export interface RaftConfig {
  readonly id: NodeId;
  readonly heartbeatIntervalMs: number;
  /**
   * The interval while nothing is under way and every connected follower holds everything: at least heartbeatIntervalMs,
   * below electionTimeoutMsMin. The same as heartbeatIntervalMs turns the difference off.
   */
  readonly idleHeartbeatIntervalMs: number;
  /** Election timeouts are drawn uniformly from [min, max]; min is also the leader's lease for stickiness. */
  readonly electionTimeoutMsMin: number;
  readonly electionTimeoutMsMax: number;
  /**
   * Best first. A leader that sees a better one connected and caught up hands over to it, at most once in a few election
   * timeouts. Empty: nobody is preferred.
   */
  readonly preferredLeaders: readonly NodeId[];
  /**
   * Reads are confirmed from the leader's lease while it has one, without a round (§6.4.1). All members must agree on
   * this: each then refuses to vote for electionTimeoutMsMin after it heard a leader or started. Safe only while the
   * clocks of two members run at rates that differ by less than a tenth.
   */
  readonly leaseReads: boolean;
  /** Largest append message. */
  readonly appendBytesMax: number;
  /** Most append messages, and most bytes, under way to one follower. */
  readonly inflightCountMax: number;
  readonly inflightBytesMax: number;
}
