// Elections: when to ask for leadership, whom to vote for, and the count of the answers (paper §5.2, §5.4.1; pre-vote:
// dissertation §9.6). What follows from the outcome is decided in raft.ts.
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import * as limits from './limits.ts';
import type { VoteOutcome } from './quorum.ts';
import type { RaftState } from './state.ts';
import { type NodeId, term, type VoteRequest, type VoteResponse } from './types.ts';

/** How a campaign begins: by asking first, for real, or for real on the leader's behalf. */
export type Campaign = 'pre-vote' | 'vote' | 'transfer';

/** Election timer, the leader's lease, and the votes of a campaign. */
export class Election {
  readonly #state: RaftState;
  readonly #random: Random;
  readonly #votes = new Map<NodeId, boolean>();
  #deadlineMs = 0;
  /** When the current leader was last heard. */
  #heardMs = 0;
  /** The transport lost the leader: its lease is void until it is heard again. */
  #suspected = false;
  /** Early attempts that remain; above 0 the timer is short. */
  #earlyCount = 0;

  constructor(state: RaftState, random: Random) {
    this.#state = state;
    this.#random = random;
    this.#heardMs = state.nowMs;
    this.arm();
  }

  /** When to campaign next. */
  get deadlineMs(): number {
    return this.#deadlineMs;
  }

  /**
   * Whether the leader was heard so recently that this member refuses to help replace it (stickiness: dissertation
   * §4.2.3). A connection that dropped voids it, because then the leader is probably gone; not so with lease reads, which
   * rest on this promise: there nothing but time ends it, and a restart begins it anew, for it was forgotten.
   */
  inLease(): boolean {
    const { leader, nowMs, config } = this.#state;
    if (config.leaseReads) return nowMs - this.#heardMs < config.electionTimeoutMsMin;
    return leader !== null && !this.#suspected && nowMs - this.#heardMs < config.electionTimeoutMsMin;
  }

  /** Draws a new election timeout. */
  arm(): void {
    const { electionTimeoutMsMin, electionTimeoutMsMax } = this.#state.config;
    this.#deadlineMs = this.#state.nowMs + this.#random.between(electionTimeoutMsMin, electionTimeoutMsMax);
  }

  /** A message of the leader arrived. */
  heardLeader(): void {
    this.#heardMs = this.#state.nowMs;
    this.#suspected = false;
    this.#earlyCount = 0;
    this.arm();
  }

  /** The connection to the leader dropped: a hint, which brings the campaign forward and changes nothing else. */
  suspectLeader(): void {
    if (this.#suspected || this.#state.config.leaseReads) return;
    this.#suspected = true;
    this.#earlyCount = limits.earlyCampaignCountMax;
    const delayMs = this.#random.between(limits.earlyCampaignDelayMsMin, limits.earlyCampaignDelayMsMax);
    this.#deadlineMs = Math.min(this.#deadlineMs, this.#state.nowMs + delayMs);
  }

  /** The timer fired: one early attempt less. */
  fired(): void {
    assert(this.#deadlineMs <= this.#state.nowMs, 'a timer fires when it is due');
    if (this.#earlyCount > 0) this.#earlyCount--;
  }

  /**
   * Becomes a (pre-)candidate and asks the others for their votes. Its own is given, and counts if it has one by the
   * membership in force (dissertation §4.2.2).
   */
  campaign(kind: Campaign): void {
    const { id, log, quorum } = this.#state;
    assert(this.#state.mayLead, 'only a voter campaigns, or one whose removal is not committed');
    const preVote = kind === 'pre-vote';
    const transfer = kind === 'transfer';
    this.#state.setLeader(null);
    if (!preVote) {
      this.#state.enterTerm(term(this.#state.term + 1));
      this.#state.voteFor(id);
    }
    this.#state.setRole(preVote ? 'pre-candidate' : 'candidate');
    this.#votes.clear();
    this.#votes.set(id, true);
    this.#armRetry();
    const askedTerm = term(this.#state.term + (preVote ? 1 : 0));
    const { lastIndex, lastTerm } = log;
    for (const to of quorum.voters) {
      if (to === id) continue;
      this.#state.send({ type: 'vote-request', from: id, to, term: askedTerm, preVote, lastIndex, lastTerm, transfer });
    }
  }

  /**
   * Answers a request for a vote or a pre-vote of the current or a later term. A vote is given once a term, to a log at
   * least as up to date as the own one. A pre-vote promises nothing, so that any number may be given.
   * @param inLease whether a leader is known to be alive; then only its own wish (`transfer`) replaces it.
   */
  answer(request: VoteRequest, inLease: boolean): void {
    const { id, vote, leader, log, term: ownTerm } = this.#state;
    const { preVote, from: candidate } = request;
    assert(preVote || request.term === ownTerm, 'the term of a real request is adopted before it is answered');
    const free = vote === candidate || (vote === null && leader === null) || (preVote && request.term > ownTerm);
    const sticky = inLease && !request.transfer;
    const granted = free && !sticky && log.isUpToDate(request.lastIndex, request.lastTerm);
    if (granted && !preVote) {
      this.#state.voteFor(candidate);
      this.#state.setRole('follower');
      this.arm();
    }
    // A granted pre-vote is about the term asked for; a refusal tells the own term, from which a laggard learns.
    const answerTerm = granted ? request.term : ownTerm;
    this.#state.send({ type: 'vote-response', from: id, to: candidate, term: answerTerm, preVote, granted });
  }

  /** Counts an answer to the current campaign; a repeated one counts once, one to an earlier campaign not at all. */
  count(response: VoteResponse): void {
    const { role, term: ownTerm } = this.#state;
    if (role !== (response.preVote ? 'pre-candidate' : 'candidate')) return;
    const askedTerm = response.preVote ? ownTerm + 1 : ownTerm;
    if (response.granted && response.term !== askedTerm) return;
    if (!this.#votes.has(response.from)) this.#votes.set(response.from, response.granted);
  }

  /** How the campaign stands; pending while there is none. */
  get outcome(): VoteOutcome {
    const { role, quorum } = this.#state;
    return role === 'pre-candidate' || role === 'candidate' ? quorum.outcome(this.#votes) : 'pending';
  }

  /** Sets the time of the next attempt, in case this one comes to nothing. */
  #armRetry(): void {
    if (this.#earlyCount === 0) {
      this.arm();
      return;
    }
    const delayMs = this.#random.between(limits.earlyRetryDelayMsMin, limits.earlyRetryDelayMsMax);
    this.#deadlineMs = this.#state.nowMs + delayMs;
  }
}
