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

/** What members say to each other. */
export type RaftMessage = VoteRequest | VoteResponse | AppendRequest | AppendResponse | TimeoutNow;

/** Records of the append just stepped that must now be written; what lies after `truncateAfter` is removed first. */
export interface FollowerAppend {
  /** Last index to keep before writing; null when nothing is removed. */
  readonly truncateAfter: LogIndex | null;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
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
 * What the owner must do after an input, in this order: persist `hardState` (flushed), write `noop` or `append`,
 * send `messages`, apply up to `commit`, answer `reads`.
 */
export interface Ready {
  /** Changed term or vote: must be durable before any message below is sent. Null when unchanged. */
  readonly hardState: HardState | null;
  /** This node just became leader: write a no-op record with this index in the current term. */
  readonly noop: LogIndex | null;
  /** Records of the message just stepped that must be written. */
  readonly append: FollowerAppend | null;
  readonly messages: readonly RaftMessage[];
  /** The commit index; never moves back. */
  readonly commit: LogIndex;
  readonly reads: readonly ReadState[];
  readonly abortedReads: readonly ReadAborted[];
  /** Role, term or known leader changed since the last Ready. */
  readonly stateChanged: boolean;
}

/** A leader's view of one follower (etcd's tracker.Progress). */
export interface ProgressStatus {
  readonly peer: NodeId;
  readonly state: 'probe' | 'replicate';
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly connected: boolean;
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
  /** All voters, this node included. */
  readonly voters: readonly NodeId[];
  readonly heartbeatIntervalMs: number;
  /** Election timeouts are drawn uniformly from [min, max]; min is also the leader's lease for stickiness. */
  readonly electionTimeoutMsMin: number;
  readonly electionTimeoutMsMax: number;
  /** Largest append message. */
  readonly appendBytesMax: number;
  /** Most append messages, and most bytes, under way to one follower. */
  readonly inflightCountMax: number;
  readonly inflightBytesMax: number;
}
