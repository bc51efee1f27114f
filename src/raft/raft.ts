// The Raft core: one member of one group. Pure, synchronous and deterministic: inputs are method calls that carry the
// time, and everything to be done about them comes out of `ready()`. This file decides who leads; follower.ts and
// leadership.ts do what each role does.
import { assert, unreachable } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type Campaign, Election } from './election.ts';
import { FollowerLog } from './follower.ts';
import { Leadership } from './leadership.ts';
import { checkConfig, type RaftOptions } from './options.ts';
import { RaftState } from './state.ts';
import {
  type LogIndex,
  logIndex,
  type MembershipChange,
  type MembershipEntry,
  type NodeId,
  type RaftMessage,
  type RaftStatus,
  type Ready,
  type RecordSizer,
  type Role,
  type SnapshotPoint,
  type Term,
  type TimeoutNow,
} from './types.ts';

/** Answers, which only members give; requests may come from anybody who was, or will be, a member. */
const answers: ReadonlySet<RaftMessage['type']> = new Set(['vote-response', 'append-response', 'snapshot-response']);

/**
 * One member of a Raft group.
 *
 * The owner calls `ready()` after each input and does what it says, in its order, before the next input. Times are
 * milliseconds of one monotonic clock. A peer counts as connected until `peerDown` says otherwise.
 */
export class Raft {
  readonly #state: RaftState;
  readonly #sizer: RecordSizer;
  readonly #election: Election;
  readonly #follower: FollowerLog;
  readonly #down = new Set<NodeId>();
  /** Present exactly while this member leads. */
  #leadership: Leadership | null = null;
  #isImpaired = false;

  /** @throws InvariantError when the options contradict themselves. */
  constructor(options: RaftOptions) {
    checkConfig(options.config);
    this.#state = new RaftState(options.config, options, options.nowMs);
    this.#sizer = options.sizer;
    this.#election = new Election(this.#state, options.random);
    this.#follower = new FollowerLog(this.#state);
  }

  get id(): NodeId {
    return this.#state.id;
  }

  get role(): Role {
    return this.#state.role;
  }

  get isLeader(): boolean {
    return this.#leadership !== null;
  }

  /** Whether this leader is handing over, and so proposes nothing. */
  get isTransferring(): boolean {
    return this.#leadership !== null && this.#leadership.transferee !== null;
  }

  get term(): Term {
    return this.#state.term;
  }

  /** The leader of the current term, if known. */
  get leader(): NodeId | null {
    return this.#state.leader;
  }

  /** Last committed index. It may be ahead of what is flushed here. */
  get commit(): LogIndex {
    return this.#state.commit;
  }

  get lastIndex(): LogIndex {
    return this.#state.log.lastIndex;
  }

  /** Last index that is durable here. */
  get flushedIndex(): LogIndex {
    return this.#state.flushedIndex;
  }

  /** Counts removed suffixes; see `flushed`. */
  get truncationCount(): number {
    return this.#state.truncationCount;
  }

  /** What is in force: the last membership in the log, committed or not. */
  get membership(): MembershipEntry {
    return this.#state.membership;
  }

  /** The last membership that is committed. */
  get committedMembership(): MembershipEntry {
    return this.#state.committedMembership;
  }

  /** On a leader, the lowest index that a follower within reach still needs; else the one after the last. */
  get retainFrom(): LogIndex {
    return this.#leadership?.retainFrom ?? logIndex(this.lastIndex + 1);
  }

  /** When `tick` next has something to do. */
  get deadlineMs(): number {
    return this.#leadership === null ? this.#election.deadlineMs : this.#leadership.deadlineMs;
  }

  status(): RaftStatus {
    const { id, role, term, leader, commit, flushedIndex } = this.#state;
    const progress = this.#leadership?.status() ?? [];
    const transferee = this.#leadership?.transferee ?? null;
    return { id, role, term, leader, lastIndex: this.lastIndex, flushedIndex, commit, progress, transferee };
  }

  /** Fires the timers that are due. */
  tick(nowMs: number): void {
    this.#begin(nowMs);
    if (this.#leadership !== null) {
      if (!this.#leadership.tick()) this.#becomeFollower(this.#state.term, null);
      return;
    }
    if (nowMs < this.#election.deadlineMs) return;
    this.#election.fired();
    if (this.#mayCampaign) this.#campaign('pre-vote');
    else this.#election.arm();
  }

  /**
   * Takes in a message of another node. A late or repeated one does no harm. A stranger's request is handled like a
   * member's, for it may be a member by a record that this node does not have yet; a stranger's answer is ignored.
   */
  step(message: RaftMessage, nowMs: number): void {
    this.#begin(nowMs);
    const { id, members } = this.#state;
    if (message.to !== id || message.from === id) return;
    if (answers.has(message.type) && !members.has(message.from)) return;
    if (message.term > this.#state.term && !this.#meetHigherTerm(message)) return;
    if (message.term < this.#state.term) {
      this.#answerLowerTerm(message);
      return;
    }
    switch (message.type) {
      case 'vote-request':
        this.#election.answer(message, this.#inLease());
        break;
      case 'vote-response':
        this.#election.count(message);
        this.#concludeVote();
        break;
      case 'append':
      case 'snapshot':
        assert(this.#leadership === null, 'a term has at most one leader (§5.2, election safety)');
        this.#becomeFollower(message.term, message.from);
        this.#election.heardLeader();
        if (message.type === 'append') this.#follower.step(message);
        else this.#follower.stepSnapshot(message);
        break;
      case 'append-response':
      case 'snapshot-response':
        this.#leadership?.respond(message);
        break;
      case 'timeout-now':
        this.#onTimeoutNow(message);
        break;
      default:
        unreachable(message);
    }
  }

  /**
   * Takes indexes for `count` new records of this leader. The owner writes them, then calls `ready()`.
   * @throws TLedgerError NOT_LEADER, TRANSFERRING
   */
  propose(count: number): { readonly firstIndex: LogIndex; readonly term: Term } {
    assert(this.#state.outbox.own === null, 'a record of the leader itself is written before any other');
    return this.#mustLead().propose(count);
  }

  /**
   * Records up to `index`, the last of which has term `recordTerm`, are durable here. A completion that comes late, for
   * records that have been replaced meanwhile, is recognised by its term and ignored.
   * @param truncationCount the value of `truncationCount` when this flush began. It catches the one case that the term
   *   does not: a record was removed and came back with the same index and term while its first flush was under way.
   */
  flushed(index: LogIndex, recordTerm: Term, truncationCount = this.truncationCount): void {
    const { log } = this.#state;
    if (truncationCount !== this.#state.truncationCount || !log.matches(index, recordTerm)) return;
    if (!this.#state.advanceFlushed(index)) return;
    if (this.#leadership !== null) this.#leadership.countCommit();
    else if (this.#state.role === 'follower') this.#follower.flushed();
  }

  /**
   * Hands leadership to `target`: no proposals until it has taken over, or until one electionTimeoutMsMax has passed or
   * its connection drops; `ready().stateChanged` reports both (dissertation §3.10).
   * @throws TLedgerError NOT_LEADER, UNKNOWN_NODE, INVALID_ARGUMENT (target leads already), TRANSFERRING
   */
  transferLeadership(target: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    const leadership = this.#mustLead();
    const { voters } = this.#state.membership.membership;
    if (!voters.includes(target)) throw new TLedgerError('UNKNOWN_NODE', `No voter is called ${target}.`);
    if (target === this.#state.id) throw new TLedgerError('INVALID_ARGUMENT', `${target} leads already.`);
    leadership.transfer(target);
  }

  /**
   * Asks for an index that covers everything committed before this call; it comes back in `ready().reads` once a
   * majority has confirmed the leadership, or in `ready().abortedReads` (dissertation §6.4).
   * @param token chosen by the caller to recognise the answer.
   * @throws TLedgerError NOT_LEADER, OVERLOADED
   */
  readIndex(token: number, nowMs: number): void {
    this.#begin(nowMs);
    this.#mustLead().readIndex(token);
  }

  /**
   * Begins a change of the membership, as a record of this leader; the steps that follow from it come out of `ready()`
   * by themselves. `committedMembership` tells when it is finished.
   * @returns index of the record.
   * @throws TLedgerError NOT_LEADER, TRANSFERRING, MEMBERSHIP_CHANGING (try again), INVALID_ARGUMENT, UNKNOWN_NODE,
   *   UNREACHABLE (a majority of the new voters was not heard lately: the group would stand still)
   */
  changeMembership(change: MembershipChange, nowMs: number): LogIndex {
    this.#begin(nowMs);
    return this.#mustLead().changeMembership(change);
  }

  /**
   * This node cannot do its part at the moment (its disk hangs, its event loop stalls), or can again. Meanwhile it does
   * not campaign, and a leader steps down in favour of the voter that holds the most, unless it is the only one.
   */
  setImpaired(isImpaired: boolean, nowMs: number): void {
    this.#begin(nowMs);
    this.#isImpaired = isImpaired;
    const { role, term, quorum, id } = this.#state;
    if (!isImpaired || role === 'follower' || quorum.voters.every((voter) => voter === id)) return;
    this.#leadership?.abdicate();
    this.#becomeFollower(term, null);
  }

  /**
   * The piece of a snapshot that `ready().snapshot` asked for is dealt with.
   * @param offset how many bytes of the snapshot at `index`, from its first one on, are durable here.
   */
  snapshotStored(index: LogIndex, offset: number, nowMs: number): void {
    this.#begin(nowMs);
    if (this.#state.role === 'follower') this.#follower.snapshotStored(index, offset);
  }

  /** Whether a snapshot at `point` tells this node anything: to be asked right before it is installed. */
  needsSnapshot({ index, term }: SnapshotPoint): boolean {
    return index > this.#state.commit && !this.#state.log.matches(index, term);
  }

  /**
   * A snapshot is installed, and the log is empty after it. The owner lets no other input pass while it installs.
   * @param snapshot its last record, and the membership in force there.
   */
  restore(snapshot: SnapshotPoint & { readonly membership: MembershipEntry }, nowMs: number): void {
    this.#begin(nowMs);
    if (this.#state.role !== 'follower') this.#becomeFollower(this.#state.term, null);
    this.#state.restore(snapshot, snapshot.membership);
    this.#follower.restored(snapshot.index);
  }

  /** Records up to (index, term), which are committed and applied, are gone here: a snapshot stands for them. */
  logCut(index: LogIndex, term: Term, nowMs: number): void {
    this.#begin(nowMs);
    this.#state.cut(index, term);
  }

  /** The transport can reach `peer`: a leader probes it at once. */
  peerUp(peer: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    this.#down.delete(peer);
    this.#leadership?.connect(peer);
  }

  /**
   * The transport lost `peer`, and with it what was under way. A leader sends it nothing until `peerUp`; a follower
   * that lost its leader asks for a pre-vote soon. A hint only: timeouts do the same, later.
   */
  peerDown(peer: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    this.#down.add(peer);
    this.#leadership?.disconnect(peer);
    if (peer === this.#state.leader) this.#election.suspectLeader();
  }

  /**
   * What the inputs since the last call ask for, each thing once. A leader's appends are put together here.
   * @param mayTellCommit whether it may tell idle followers what is committed; else see `isCommitUntold`.
   */
  ready(mayTellCommit = true): Ready {
    const isCommitUntold = this.#leadership?.collect(mayTellCommit) ?? false;
    if (this.#leadership?.isOver === true) {
      this.#leadership.abdicate();
      this.#becomeFollower(this.#state.term, null);
    }
    return this.#state.handOut(isCommitUntold);
  }

  #begin(nowMs: number): void {
    const { own, append, snapshot } = this.#state.outbox;
    const isTaken = own === null && append === null && snapshot === null;
    assert(isTaken, 'what one input brings is taken over (ready) before the next input');
    this.#state.observe(nowMs);
  }

  #mustLead(): Leadership {
    if (this.#leadership !== null) return this.#leadership;
    const { leader } = this.#state;
    throw new TLedgerError('NOT_LEADER', leader === null ? 'The group has no known leader.' : `${leader} leads.`);
  }

  /**
   * A message of a later term. Adopts the term, unless the message only asks what would happen in it (pre-vote) or
   * disturbs a leader that is alive.
   * @returns whether the message is to be handled.
   */
  #meetHigherTerm(message: RaftMessage): boolean {
    if (message.type === 'vote-request' && message.preVote) return true;
    if (message.type === 'vote-response' && message.preVote && message.granted) return true;
    if (message.type === 'vote-request' && !message.transfer && this.#inLease()) return false;
    this.#becomeFollower(message.term, null);
    return true;
  }

  /**
   * A message of an earlier term. Its sender learns the current one: else a leader would never hear of a member whose
   * term ran ahead, and that member, refusing to vote for anybody behind it, would never come back.
   */
  #answerLowerTerm(message: RaftMessage): void {
    const { id, term: ownTerm } = this.#state;
    const head = { from: id, to: message.from, term: ownTerm } as const;
    if (message.type === 'append' || message.type === 'snapshot') {
      this.#state.send({ ...head, type: 'append-response', match: logIndex(0), round: 0, reject: null });
    } else if (message.type === 'vote-request') {
      this.#state.send({ ...head, type: 'vote-response', preVote: message.preVote, granted: false });
    }
  }

  #onTimeoutNow(message: TimeoutNow): void {
    const { leader, role } = this.#state;
    if (role === 'leader' || role === 'candidate' || (leader !== null && leader !== message.from)) return;
    if (!this.#mayCampaign) return;
    this.#campaign('transfer');
  }

  get #mayCampaign(): boolean {
    return this.#state.mayLead && !this.#isImpaired;
  }

  #campaign(kind: Campaign): void {
    assert(this.#leadership === null, 'a leader does not campaign');
    this.#election.campaign(kind);
    this.#concludeVote();
  }

  #concludeVote(): void {
    const outcome = this.#election.outcome;
    if (outcome === 'lost') this.#becomeFollower(this.#state.term, null);
    if (outcome !== 'won') return;
    if (this.#state.role === 'pre-candidate') this.#campaign('vote');
    else this.#becomeLeader();
  }

  #becomeLeader(): void {
    assert(this.#state.role === 'candidate', 'only a candidate wins an election');
    this.#state.setRole('leader');
    this.#state.setLeader(this.#state.id);
    const isConnected = (peer: NodeId): boolean => !this.#down.has(peer);
    this.#leadership = new Leadership({ state: this.#state, sizer: this.#sizer, isConnected });
  }

  #becomeFollower(newTerm: Term, leader: NodeId | null): void {
    if (this.#leadership !== null) {
      this.#leadership.abortReads();
      this.#leadership = null;
      this.#election.arm();
    }
    if (newTerm > this.#state.term) this.#state.enterTerm(newTerm);
    assert(newTerm === this.#state.term, 'terms only rise');
    const known = this.#state.leader;
    assert(leader === null || known === null || known === leader, 'a term has at most one leader (§5.2)');
    this.#state.setRole('follower');
    this.#state.setLeader(leader);
  }

  /** Stickiness: whether this member knows of a leader that is alive, itself included. */
  #inLease(): boolean {
    if (this.#leadership === null) return this.#election.inLease();
    return this.#leadership.heardQuorumWithin(this.#state.config.electionTimeoutMsMin);
  }
}
