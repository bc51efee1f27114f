// The follower's side of replication: compare, write, acknowledge (paper §5.3, figure 2 "AppendEntries RPC"; §7, figure
// 13 "InstallSnapshot RPC").
import { assert } from '../base/assert.ts';
import type { RaftState } from './state.ts';
import {
  type AppendReject,
  type AppendRequest,
  type LogIndex,
  logIndex,
  type SnapshotRequest,
  type Term,
  term,
} from './types.ts';

/** What this member has learned from the leader of the current term. */
export class FollowerLog {
  readonly #state: RaftState;
  /** The term that the fields below belong to; a later term starts from nothing. */
  #term: Term = term(0);
  /** Records up to here are the same as the leader's. An index above it may be a leftover of an earlier leader. */
  #verified = logIndex(0);
  /** Last index acknowledged to the leader. */
  #acknowledged = logIndex(0);
  /** Highest round heard, echoed with each answer. */
  #round = 0;

  constructor(state: RaftState) {
    this.#state = state;
  }

  /** Handles an append or heartbeat of the current term's leader. */
  step(message: AppendRequest): void {
    const { log } = this.#state;
    assert(message.term === this.#state.term, 'an append of another term was sorted out before');
    assert(message.lastIndex >= message.prevIndex, 'an append does not end before it begins');
    this.#enter(message.term);
    if (message.round > this.#round) this.#round = message.round;
    if (message.prevIndex >= log.baseIndex && !log.matches(message.prevIndex, message.prevTerm)) {
      this.#reject(message);
      return;
    }
    this.#write(message);
    if (message.lastIndex > this.#verified) this.#verified = message.lastIndex;
    const commit = Math.min(message.commit, this.#verified);
    if (commit > this.#state.commit) this.#state.advanceCommit(commit);
    // Records still to be flushed are acknowledged by `flushed`; everything else is answered at once.
    if (message.lastIndex === message.prevIndex || message.lastIndex <= this.#state.flushedIndex) this.#acknowledge();
  }

  /** Handles a piece of a snapshot: one that would bring nothing new is answered with what is held. */
  stepSnapshot(message: SnapshotRequest): void {
    const { log, commit, outbox } = this.#state;
    const { index, indexTerm, offset } = message;
    assert(message.term === this.#state.term, 'a snapshot of another term was sorted out before');
    assert(message.commit >= index, 'a snapshot holds committed records');
    this.#enter(message.term);
    if (message.round > this.#round) this.#round = message.round;
    if (commit >= index || log.matches(index, indexTerm)) {
      // What is committed is the same everywhere, and a record that is the same has the same ones before it.
      if (index > this.#verified) this.#verified = index;
      this.#acknowledge();
      return;
    }
    outbox.snapshot = { index, term: indexTerm, offset };
  }

  /** `offset` bytes of the snapshot at `index` are durable. */
  snapshotStored(index: LogIndex, offset: number): void {
    const { id, leader } = this.#state;
    if (this.#term !== this.#state.term || leader === null) return;
    const round = this.#round;
    this.#state.send({ type: 'snapshot-response', from: id, to: leader, term: this.#term, index, offset, round });
  }

  /** A snapshot that ends at `index` replaced the log. */
  restored(index: LogIndex): void {
    if (this.#term !== this.#state.term || this.#state.leader === null) return;
    // It is committed, so that the leader of any later term holds the same.
    assert(index > this.#verified, 'a snapshot is installed where the log does not reach');
    this.#verified = index;
    this.#acknowledge();
  }

  /** Records became durable: one cumulative acknowledgement, if the leader does not know yet. */
  flushed(): void {
    if (this.#term !== this.#state.term || this.#state.leader === null) return;
    if (this.#matchIndex() > this.#acknowledged) this.#acknowledge();
  }

  #enter(newTerm: Term): void {
    if (newTerm === this.#term) return;
    assert(newTerm > this.#term, 'terms only rise');
    this.#term = newTerm;
    this.#verified = logIndex(0);
    this.#acknowledged = logIndex(0);
    this.#round = 0;
  }

  /** Takes over what this log lacks; removes a suffix only where it really differs, so that old news removes nothing. */
  #write(message: AppendRequest): void {
    const { log } = this.#state;
    const first = logIndex(Math.max(message.prevIndex, log.baseIndex) + 1);
    if (message.lastIndex < first) return;
    const from = log.firstDifference(message.runs, first, message.lastIndex);
    if (from > message.lastIndex) return;
    assert(from > this.#verified, 'a leader never contradicts itself');
    this.#state.replaceFrom(message.runs, message.memberships, from, message.lastIndex);
  }

  #reject(message: AppendRequest): void {
    const { log, commit } = this.#state;
    assert(message.prevIndex > commit, 'a leader holds every committed record (§5.4, leader completeness)');
    const hintIndex = log.lastWithTermAtMost(message.prevIndex, message.prevTerm);
    const hintTerm = log.termAt(hintIndex);
    this.#respond(logIndex(0), { prevIndex: message.prevIndex, hintIndex, hintTerm });
  }

  #acknowledge(): void {
    const match = this.#matchIndex();
    if (match > this.#acknowledged) this.#acknowledged = match;
    this.#respond(match, null);
  }

  #matchIndex(): LogIndex {
    return logIndex(Math.min(this.#verified, this.#state.flushedIndex));
  }

  #respond(match: LogIndex, reject: AppendReject | null): void {
    const { id, leader } = this.#state;
    assert(leader !== null && leader !== id, 'answers go to the leader');
    assert(match <= this.#state.flushedIndex, 'only durable records are vouched for');
    const round = this.#round;
    this.#state.send({ type: 'append-response', from: id, to: leader, term: this.#term, match, round, reject });
  }
}
