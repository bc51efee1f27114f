// The state that every part of the core shares, with the invariants on each field, and the outbox in which an input's
// consequences gather until `ready()` hands them out.
import { assert } from '../base/assert.ts';
import { MembershipHistory } from './membership_history.ts';
import type { Quorum } from './quorum.ts';
import { TermLog } from './term_log.ts';
import {
  type FollowerAppend,
  type HardState,
  type LogIndex,
  type LogShape,
  logIndex,
  type Membership,
  type MembershipEntry,
  type NodeId,
  type OwnRecord,
  type RaftConfig,
  type RaftMessage,
  type ReadAborted,
  type ReadState,
  type Ready,
  type Role,
  type SnapshotChunk,
  type SnapshotPoint,
  type Term,
  type TermRun,
} from './types.ts';

/** What has been decided since the last `ready()`. */
export interface Outbox {
  hardStateChanged: boolean;
  own: OwnRecord | null;
  append: FollowerAppend | null;
  snapshot: SnapshotChunk | null;
  membershipChanged: boolean;
  messages: RaftMessage[];
  reads: ReadState[];
  abortedReads: ReadAborted[];
  stateChanged: boolean;
}

/** An outbox with nothing in it. */
export function emptyOutbox(): Outbox {
  return {
    hardStateChanged: false,
    own: null,
    append: null,
    snapshot: null,
    membershipChanged: false,
    messages: [],
    reads: [],
    abortedReads: [],
    stateChanged: false,
  };
}

/** What was durable when a member stopped. */
export interface Recovered {
  readonly hardState: HardState;
  readonly log: LogShape;
  readonly memberships: readonly MembershipEntry[];
  readonly commit?: LogIndex | undefined;
}

/** Term, vote, role, log, membership and commit of one member. */
export class RaftState {
  readonly config: RaftConfig;
  readonly log: TermLog;
  /** As long as the log says; changed through this class only. */
  readonly #history: MembershipHistory;
  outbox: Outbox = emptyOutbox();
  /** Never falls. */
  #term: Term;
  /** Changes only from null to a name within one term. */
  #vote: NodeId | null;
  #role: Role = 'follower';
  /** At most one in a term. */
  #leader: NodeId | null = null;
  /** Never falls; at most lastIndex. What it covers is never truncated. */
  #commit: LogIndex;
  /** Records up to here survive a power loss; at most lastIndex. */
  #flushedIndex: LogIndex;
  #truncationCount = 0;
  #nowMs: number;

  constructor(config: RaftConfig, recovered: Recovered, nowMs: number) {
    const { hardState, memberships, commit = recovered.log.baseIndex } = recovered;
    this.config = config;
    this.log = new TermLog(recovered.log);
    assert(hardState.term >= this.log.lastTerm, 'no record is of a later term than the hard state');
    this.#term = hardState.term;
    this.#vote = hardState.vote;
    assert(commit >= this.log.baseIndex && commit <= this.log.lastIndex, 'what is committed is in the log');
    this.#commit = commit;
    this.#history = new MembershipHistory(memberships, commit);
    assert(this.membership.index <= this.log.lastIndex, 'a membership is in force with its record');
    this.#flushedIndex = this.log.lastIndex;
    this.#nowMs = nowMs;
  }

  get id(): NodeId {
    return this.config.id;
  }

  /** What is in force: the last membership in the log. */
  get membership(): MembershipEntry {
    return this.#history.current;
  }

  get committedMembership(): MembershipEntry {
    return this.#history.committed;
  }

  /** Members by some membership from the committed one on. */
  get members(): ReadonlySet<NodeId> {
    return this.#history.members;
  }

  /** Counts changes of what is in force or committed. */
  get membershipVersion(): number {
    return this.#history.version;
  }

  /** Whether what is in force is committed, too. */
  get isMembershipSettled(): boolean {
    return this.#history.isSettled;
  }

  /** Who must agree, by what is in force. */
  get quorum(): Quorum {
    return this.#history.quorum;
  }

  /** Whether this member has a vote, by what is in force. */
  get isVoter(): boolean {
    return this.quorum.isVoter(this.id);
  }

  /** Whether this member may campaign: it has a vote, or its removal is not committed yet. */
  get mayLead(): boolean {
    return this.#history.mayLead(this.id);
  }

  get term(): Term {
    return this.#term;
  }

  get vote(): NodeId | null {
    return this.#vote;
  }

  get role(): Role {
    return this.#role;
  }

  get leader(): NodeId | null {
    return this.#leader;
  }

  get commit(): LogIndex {
    return this.#commit;
  }

  get flushedIndex(): LogIndex {
    return this.#flushedIndex;
  }

  /** How often a suffix of the log has been removed since the start. */
  get truncationCount(): number {
    return this.#truncationCount;
  }

  /** The latest time that any input carried. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Takes note of the time; an input that was held up may carry an older one. */
  observe(nowMs: number): void {
    assert(Number.isFinite(nowMs), 'time is a number');
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
  }

  send(message: RaftMessage): void {
    assert(message.to !== this.id && message.from === this.id, 'messages go from this member to others');
    this.outbox.messages.push(message);
  }

  /** Moves to a later term, in which this member has neither voted nor heard of a leader. */
  enterTerm(newTerm: Term): void {
    assert(newTerm > this.#term, () => `terms only rise: ${newTerm} after ${this.#term}`);
    this.#term = newTerm;
    this.#vote = null;
    this.#leader = null;
    this.outbox.hardStateChanged = true;
    this.outbox.stateChanged = true;
  }

  voteFor(candidate: NodeId): void {
    assert(this.#vote === null || this.#vote === candidate, 'a member votes once in a term');
    if (this.#vote === candidate) return;
    this.#vote = candidate;
    this.outbox.hardStateChanged = true;
  }

  setRole(role: Role): void {
    if (role === this.#role) return;
    assert(role !== 'leader' || this.#vote === this.id, 'a leader voted for itself');
    this.#role = role;
    this.outbox.stateChanged = true;
  }

  setLeader(leader: NodeId | null): void {
    if (leader === this.#leader) return;
    this.#leader = leader;
    this.outbox.stateChanged = true;
  }

  advanceCommit(index: number): void {
    assert(index > this.#commit, 'the commit index only rises');
    assert(index <= this.log.lastIndex, 'what is committed is held');
    this.#commit = logIndex(index);
    this.#history.commit(this.#commit);
  }

  /** A leader takes the next index for a record of its own, which the owner writes before the messages leave. */
  appendOwn(membership: Membership | null): LogIndex {
    assert(this.outbox.own === null, 'each record of the leader itself is taken over before the next');
    const index = this.log.extend(this.#term, 1);
    if (membership === null) {
      this.outbox.own = { kind: 'noop', index };
    } else {
      this.outbox.own = { kind: 'membership', index, membership };
      this.#enterMembership({ index, membership });
    }
    return index;
  }

  /** Records up to `index` are durable. @returns whether that was news. */
  advanceFlushed(index: LogIndex): boolean {
    assert(index <= this.log.lastIndex, 'what is flushed is held');
    if (index <= this.#flushedIndex) return false;
    this.#flushedIndex = index;
    return true;
  }

  /**
   * Replaces what lies at and after `firstIndex` by records firstIndex … lastIndex of `runs`.
   * @param memberships the membership records of the message; those before `firstIndex` are in the log already.
   */
  replaceFrom(
    runs: readonly TermRun[],
    memberships: readonly MembershipEntry[],
    firstIndex: LogIndex,
    lastIndex: LogIndex,
  ): void {
    assert(this.outbox.append === null, 'each append is taken over by the owner before the next');
    const keep = logIndex(firstIndex - 1);
    const truncates = keep < this.log.lastIndex;
    if (truncates) this.#truncateAfter(keep);
    this.log.append(runs, firstIndex, lastIndex);
    assert(this.log.lastTerm <= this.#term, 'no record is of a later term than its holder');
    for (const entry of memberships) if (entry.index >= firstIndex) this.#enterMembership(entry);
    this.outbox.append = { truncateAfter: truncates ? keep : null, firstIndex, lastIndex };
  }

  /** The owner dropped the records up to `index`, which are committed. */
  cut(index: LogIndex, indexTerm: Term): void {
    assert(index <= this.#commit && index <= this.#flushedIndex, 'only what is committed and durable is cut off');
    assert(this.log.matches(index, indexTerm), 'a log is cut at a record that it holds');
    this.log.cutTo(index);
  }

  /**
   * Empties the outbox into what the owner is to do, field by field: what is left of a spread object costs more than the rest
   * of a turn.
   */
  handOut(isCommitUntold: boolean): Ready {
    const { hardStateChanged, own, append, snapshot, membershipChanged, messages } = this.outbox;
    const { reads, abortedReads, stateChanged } = this.outbox;
    this.outbox = emptyOutbox();
    const hardState = hardStateChanged ? { term: this.#term, vote: this.#vote } : null;
    const membership = membershipChanged ? this.membership : null;
    const commit = this.#commit;
    return {
      hardState,
      own,
      append,
      snapshot,
      membership,
      messages,
      commit,
      isCommitUntold,
      reads,
      abortedReads,
      stateChanged,
    };
  }

  /** The owner installed a snapshot: the log is empty after `point`, and everything up to it is committed. */
  restore(point: SnapshotPoint, membership: MembershipEntry): void {
    assert(this.#role !== 'leader', 'a leader holds every committed record');
    assert(point.index > this.#commit, 'a snapshot never replaces what is committed here');
    assert(!this.log.matches(point.index, point.term), 'a snapshot never replaces a log that reaches as far');
    assert(point.term <= this.#term, 'no record is of a later term than its holder');
    assert(membership.index <= point.index, 'a snapshot holds the membership in force at its end');
    this.log.restart(point.index, point.term);
    this.#truncationCount++;
    this.#commit = point.index;
    this.#flushedIndex = point.index;
    if (membership.index !== this.membership.index) this.outbox.membershipChanged = true;
    this.#history.restore(membership);
  }

  #truncateAfter(index: LogIndex): void {
    assert(index >= this.#commit, () => `a committed record is never removed: ${index + 1} <= ${this.#commit}`);
    assert(this.#role === 'follower', 'only a follower removes records');
    this.log.truncateAfter(index);
    this.#truncationCount++;
    if (this.#flushedIndex > index) this.#flushedIndex = index;
    if (this.#history.truncateAfter(index)) this.outbox.membershipChanged = true;
  }

  #enterMembership(entry: MembershipEntry): void {
    assert(entry.index <= this.log.lastIndex, 'a membership is in force with its record');
    this.#history.append(entry);
    this.outbox.membershipChanged = true;
  }
}
