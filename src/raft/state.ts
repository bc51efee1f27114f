// The state that every part of the core shares, with the invariants on each field, and the outbox in which an input's
// consequences gather until `ready()` hands them out.
import { assert } from '../base/assert.ts';
import { Quorum } from './quorum.ts';
import { TermLog } from './term_log.ts';
import {
  type FollowerAppend,
  type HardState,
  type LogIndex,
  type LogShape,
  logIndex,
  type NodeId,
  type RaftConfig,
  type RaftMessage,
  type ReadAborted,
  type ReadState,
  type Role,
  type Term,
  type TermRun,
} from './types.ts';

/** What has been decided since the last `ready()`. */
export interface Outbox {
  hardStateChanged: boolean;
  noop: LogIndex | null;
  append: FollowerAppend | null;
  messages: RaftMessage[];
  reads: ReadState[];
  abortedReads: ReadAborted[];
  stateChanged: boolean;
}

/** An outbox with nothing in it. */
export function emptyOutbox(): Outbox {
  return {
    hardStateChanged: false,
    noop: null,
    append: null,
    messages: [],
    reads: [],
    abortedReads: [],
    stateChanged: false,
  };
}

/** Term, vote, role, log and commit of one member. */
export class RaftState {
  readonly config: RaftConfig;
  readonly quorum: Quorum;
  /** The other voters. */
  readonly peers: readonly NodeId[];
  readonly log: TermLog;
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

  constructor(config: RaftConfig, hardState: HardState, shape: LogShape, nowMs: number, commit = shape.baseIndex) {
    this.config = config;
    this.quorum = new Quorum(config.voters);
    assert(this.quorum.isVoter(config.id), 'a node is one of the voters of its group');
    this.peers = config.voters.filter((voter) => voter !== config.id);
    this.log = new TermLog(shape);
    assert(hardState.term >= this.log.lastTerm, 'no record is of a later term than the hard state');
    this.#term = hardState.term;
    this.#vote = hardState.vote;
    assert(commit >= this.log.baseIndex && commit <= this.log.lastIndex, 'what is committed is in the log');
    this.#commit = commit;
    this.#flushedIndex = this.log.lastIndex;
    this.#nowMs = nowMs;
  }

  get id(): NodeId {
    return this.config.id;
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
  }

  /** Records up to `index` are durable. @returns whether that was news. */
  advanceFlushed(index: LogIndex): boolean {
    assert(index <= this.log.lastIndex, 'what is flushed is held');
    if (index <= this.#flushedIndex) return false;
    this.#flushedIndex = index;
    return true;
  }

  /** Replaces what lies at and after `firstIndex` by records firstIndex … lastIndex of `runs`. */
  replaceFrom(runs: readonly TermRun[], firstIndex: LogIndex, lastIndex: LogIndex): void {
    assert(this.outbox.append === null, 'each append is taken over by the owner before the next');
    const keep = logIndex(firstIndex - 1);
    const truncates = keep < this.log.lastIndex;
    if (truncates) this.#truncateAfter(keep);
    this.log.append(runs, firstIndex, lastIndex);
    assert(this.log.lastTerm <= this.#term, 'no record is of a later term than its holder');
    this.outbox.append = { truncateAfter: truncates ? keep : null, firstIndex, lastIndex };
  }

  #truncateAfter(index: LogIndex): void {
    assert(index >= this.#commit, () => `a committed record is never removed: ${index + 1} <= ${this.#commit}`);
    assert(this.#role === 'follower', 'only a follower removes records');
    this.log.truncateAfter(index);
    this.#truncationCount++;
    if (this.#flushedIndex > index) this.#flushedIndex = index;
  }
}
