// What a member does while it leads one term: count what followers hold, confirm reads, carry changes of the membership
// on, hand over (paper §5.3, §5.4.2, §6; dissertation §3.10, §4, §6.2, §6.4). Made when an election is won and dropped
// when the term is lost. What is sent to whom: replication.ts.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { Handover } from './handover.ts';
import { Lease } from './lease.ts';
import { checkTransition, isJoint, isUnfinished, nextStep, planChange } from './membership.ts';
import { PendingReads } from './reads.ts';
import { Replication, type ReplicationOptions } from './replication.ts';
import type { RaftState } from './state.ts';
import {
  type AppendResponse,
  type LogIndex,
  logIndex,
  type Membership,
  type MembershipChange,
  type NodeId,
  type ProgressStatus,
  type SnapshotResponse,
  type Term,
} from './types.ts';

/** One term of leadership. */
export class Leadership {
  readonly #state: RaftState;
  readonly #replication: Replication;
  readonly #handover: Handover;
  readonly #lease: Lease;
  readonly #reads = new PendingReads();
  /** The record with which the term begins: only from its commit on is the commit index known to be current. */
  readonly #noopIndex: LogIndex;
  /** The next `collect` begins a round. */
  #roundDue = false;
  /** That round is a heartbeat: an interval has passed. */
  #heartbeatDue = false;
  #heartbeatAtMs: number;
  /** The membership that the rest goes by, as `state.membershipVersion`. */
  #membershipSeen: number;
  /** What is in force goes on by itself once it may. */
  #isUnfinished: boolean;

  /** Appends the term's no-op. */
  constructor(options: ReplicationOptions) {
    const { state } = options;
    this.#state = state;
    this.#noopIndex = state.appendOwn(null);
    this.#replication = new Replication(options);
    this.#replication.admit();
    this.#handover = new Handover(state, this.#replication);
    this.#lease = new Lease(state.config.electionTimeoutMsMin);
    this.#heartbeatAtMs = state.nowMs + state.config.heartbeatIntervalMs;
    this.#membershipSeen = state.membershipVersion;
    this.#isUnfinished = isUnfinished(state.membership.membership);
  }

  get deadlineMs(): number {
    return Math.min(this.#heartbeatAtMs, this.#handover.deadlineMs);
  }

  get transferee(): NodeId | null {
    return this.#handover.target;
  }

  get retainFrom(): LogIndex {
    return this.#replication.retainFrom;
  }

  /** This member has no vote any more, and the record that says so is committed: somebody else must lead. */
  get isOver(): boolean {
    return !this.#state.isVoter && this.#state.isMembershipSettled;
  }

  /** Whether a majority was heard within `windowMs` before now; this member counts as heard. */
  heardQuorumWithin(windowMs: number): boolean {
    return this.#state.nowMs - this.#state.quorum.agreed(this.#contactOf) < windowMs;
  }

  /**
   * Fires due timers.
   * @returns false when a majority has been silent for too long: this member must step down (check-quorum, §6.2).
   */
  tick(): boolean {
    const { nowMs, config } = this.#state;
    this.#handover.tick();
    if (nowMs < this.#heartbeatAtMs) return true;
    const isIdle = this.#reads.count === 0 && this.transferee === null && this.#replication.isAtRest;
    this.#heartbeatAtMs = nowMs + (isIdle ? config.idleHeartbeatIntervalMs : config.heartbeatIntervalMs);
    this.#roundDue = true;
    this.#heartbeatDue = true;
    if (this.#state.isMembershipSettled && this.#state.commit >= this.#noopIndex) this.#handover.considerPreferred();
    return this.heardQuorumWithin(config.electionTimeoutMsMax);
  }

  /** Takes indexes for `count` new records. @throws TLedgerError TRANSFERRING */
  propose(count: number): { readonly firstIndex: LogIndex; readonly term: Term } {
    this.#handover.assertIdle();
    const { log, term } = this.#state;
    this.#wake();
    return { firstIndex: log.extend(term, count), term };
  }

  /**
   * Begins a change of the membership. The one before it must be committed, and a record of the own term: else two
   * leaders could each have made a change to the same membership, and their majorities might not meet. To turn joint
   * consensus around is possible before it is committed, for the majorities stay the same.
   * @returns index of the record.
   * @throws TLedgerError TRANSFERRING, MEMBERSHIP_CHANGING, INVALID_ARGUMENT, UNKNOWN_NODE, UNREACHABLE (too few of
   * those who would have to agree were heard lately)
   */
  changeMembership(change: MembershipChange): LogIndex {
    this.#handover.assertIdle();
    const { membership, isMembershipSettled, commit } = this.#state;
    const isTurn = change.type === 'cancel' && isJoint(membership.membership);
    if (commit < this.#noopIndex || !(isMembershipSettled || isTurn)) throw new TLedgerError('MEMBERSHIP_CHANGING');
    const planned = planChange(membership.membership, change);
    if (!this.#isLive(planned)) {
      throw new TLedgerError('UNREACHABLE', 'Too few of the voters who would have to agree can be reached.');
    }
    return this.#enter(planned);
  }

  /** An answer of a follower in the current term. */
  respond(message: AppendResponse | SnapshotResponse): void {
    const progress = this.#replication.get(message.from);
    assert(progress !== undefined, 'answers come from members');
    assert(message.round <= this.#replication.round, 'only a round that was begun can be echoed');
    progress.answered(message.round, this.#state.nowMs);
    if (message.type === 'append-response') {
      if (this.#replication.acknowledged(progress, message)) this.countCommit();
    } else if (progress.sending?.point.index === message.index) {
      progress.sending.answered(message.offset);
    }
  }

  /**
   * Commits what a majority holds durably, if it is of the own term; older records go with it (§5.4.2). Records of
   * older terms are never committed by counting copies: figure 8 shows how they can still be replaced.
   */
  countCommit(): void {
    const { quorum, commit, log, term } = this.#state;
    const agreed = quorum.agreed(this.#matchOf);
    if (agreed <= commit || log.termAt(agreed) !== term) return;
    this.#state.advanceCommit(agreed);
  }

  /** Registers a read (§6.4); one that the lease covers is confirmed at once. @throws TLedgerError OVERLOADED */
  readIndex(token: number): void {
    const { commit, config, nowMs, quorum, outbox } = this.#state;
    if (config.leaseReads && commit >= this.#noopIndex) {
      this.#lease.confirm(quorum.agreed(this.#roundOf));
      if (this.#lease.isHeld(nowMs)) {
        outbox.reads.push({ token, index: commit });
        return;
      }
    }
    // Before the no-op is committed the commit index may lag behind what an earlier leader answered for.
    const index = logIndex(Math.max(this.#state.commit, this.#noopIndex));
    this.#reads.add(token, index, this.#replication.round + 1);
    this.#roundDue = true;
  }

  abortReads(): void {
    this.#state.outbox.abortedReads.push(...this.#reads.abort());
  }

  /** Begins a handover. @throws TLedgerError TRANSFERRING */
  transfer(target: NodeId): void {
    this.#handover.assertIdle();
    assert(this.#replication.get(target) !== undefined, 'leadership is handed to a follower');
    this.#handover.begin(target, this.#state.config.electionTimeoutMsMax);
    this.#wake();
  }

  /** Asks the voter that holds the most to campaign at once; this member is about to step down. */
  abdicate(): void {
    const { heir } = this.#handover;
    if (heir !== null) this.#askToCampaign(heir);
  }

  connect(peer: NodeId): void {
    this.#replication.connect(peer);
    this.#wake();
  }

  disconnect(peer: NodeId): void {
    this.#replication.get(peer)?.disconnect();
    this.#handover.lost(peer);
  }

  /** Puts everything that may be sent or answered by now into the outbox. As `Replication.collect`. */
  collect(mayTellCommit: boolean): boolean {
    this.#goOn();
    this.#followMembership();
    if (this.#roundDue) this.#beginRound();
    const isUntold = this.#replication.collect(mayTellCommit);
    if (this.#reads.count > 0) this.#confirmReads();
    const asked = this.#handover.takeAsked();
    if (asked !== null) this.#askToCampaign(asked);
    return isUntold;
  }

  status(): ProgressStatus[] {
    return this.#replication.status();
  }

  /** Takes the step that follows by itself: joint consensus is left, a learner that caught up is promoted (§4.2, §4.3). */
  #goOn(): void {
    const { isMembershipSettled, commit, membership, outbox } = this.#state;
    if (!this.#isUnfinished || !isMembershipSettled || commit < this.#noopIndex || outbox.own !== null) return;
    if (this.transferee !== null) return;
    const next = nextStep(membership.membership, (learner) => this.#replication.isCaughtUp(learner));
    if (next !== null) this.#enter(next);
  }

  #enter(membership: Membership): LogIndex {
    checkTransition(this.#state.membership.membership, membership);
    const index = this.#state.appendOwn(membership);
    this.#wake();
    this.#followMembership();
    return index;
  }

  /** Others are members, or other majorities count, than before. */
  #followMembership(): void {
    const { membershipVersion, membership } = this.#state;
    if (membershipVersion === this.#membershipSeen) return;
    this.#membershipSeen = membershipVersion;
    this.#isUnfinished = isUnfinished(membership.membership);
    this.#lease.restart();
    this.#replication.admit();
    this.#replication.dismiss();
    if (this.transferee !== null && !membership.membership.voters.includes(this.transferee)) this.#handover.end();
  }

  /**
   * Whether a majority of each side was heard lately. A promotion needs no such question: it puts one who is heard in
   * the place of at most one other.
   */
  #isLive({ voters, outgoing }: Membership): boolean {
    if (outgoing.length === 0) return true;
    const { nowMs, config } = this.#state;
    const isHeard = (voter: NodeId): boolean => {
      const progress = this.#replication.get(voter);
      if (progress === undefined) return voter === this.#state.id;
      return progress.connected && nowMs - progress.lastResponseMs < config.electionTimeoutMsMax;
    };
    return [voters, outgoing].every((side) => side.filter(isHeard).length * 2 > side.length);
  }

  #beginRound(): void {
    this.#roundDue = false;
    this.#replication.beginRound(this.#heartbeatDue);
    if (this.#heartbeatDue) this.#handover.allowAsking();
    this.#heartbeatDue = false;
    if (this.#state.config.leaseReads) this.#lease.begin(this.#replication.round, this.#state.nowMs);
  }

  /** Something is under way: the next heartbeat comes no later than the normal interval. */
  #wake(): void {
    const { nowMs, config } = this.#state;
    this.#heartbeatAtMs = Math.min(this.#heartbeatAtMs, nowMs + config.heartbeatIntervalMs);
  }

  #confirmReads(): void {
    if (this.#state.commit < this.#noopIndex) return;
    const confirmed = this.#reads.confirm(this.#state.quorum.agreed(this.#roundOf));
    if (confirmed.length > 0) this.#state.outbox.reads.push(...confirmed);
  }

  #askToCampaign(target: NodeId): void {
    const { id, term } = this.#state;
    // Its campaign overrules everybody's promise not to vote, now or whenever the request arrives.
    this.#lease.revoke();
    this.#state.send({ type: 'timeout-now', from: id, to: target, term });
  }

  /** The leader vouches for a record of its own only once it is flushed, like everybody else. */
  readonly #matchOf = (voter: NodeId): number => this.#replication.get(voter)?.match ?? this.#state.flushedIndex;
  readonly #roundOf = (voter: NodeId): number => this.#replication.get(voter)?.roundEchoed ?? Number.POSITIVE_INFINITY;
  readonly #contactOf = (voter: NodeId): number => this.#replication.get(voter)?.lastResponseMs ?? this.#state.nowMs;
}
