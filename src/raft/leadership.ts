// What a member does while it leads one term: replicate, count, confirm reads, hand over (paper §5.3, §5.4.2;
// dissertation §3.10, §6.2, §6.4). Made when an election is won and dropped when the term is lost.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { noopSizeBytes } from './limits.ts';
import { Inflight, Progress } from './progress.ts';
import { PendingReads } from './reads.ts';
import type { RaftState } from './state.ts';
import {
  type AppendResponse,
  type LogIndex,
  logIndex,
  type NodeId,
  type ProgressStatus,
  type RecordSizer,
  type Term,
  type TermRun,
} from './types.ts';

const noRuns: readonly TermRun[] = [];

/** A handover that is under way; writes wait until it succeeds or is given up. */
interface Transfer {
  readonly target: NodeId;
  /** Given up by itself at this time, so that writes are never blocked for long. */
  readonly deadlineMs: number;
  /** TimeoutNow was sent in this heartbeat interval. */
  asked: boolean;
}

/** One term of leadership. */
export class Leadership {
  readonly #state: RaftState;
  readonly #sizer: RecordSizer;
  /** The record with which the term begins: only from its commit on is the commit index known to be current. */
  readonly #noopIndex: LogIndex;
  readonly #followers: readonly Progress[];
  readonly #byId: ReadonlyMap<NodeId, Progress>;
  readonly #reads = new PendingReads();
  /** Counts heartbeat broadcasts. */
  #round = 0;
  /** The next `collect` begins a round. */
  #roundDue = false;
  /** The no-op has not been handed to the owner yet, so that the sizer does not know it. */
  #noopUnwritten = true;
  #heartbeatAtMs: number;
  #transfer: Transfer | null = null;

  /** Appends the term's no-op. @param isConnected what the transport has said of a peer. */
  constructor(state: RaftState, sizer: RecordSizer, isConnected: (peer: NodeId) => boolean) {
    const { config, nowMs } = state;
    const next = state.log.extend(state.term, 1);
    const limits = { countMax: config.inflightCountMax, bytesMax: config.inflightBytesMax };
    this.#state = state;
    this.#sizer = sizer;
    this.#noopIndex = next;
    this.#followers = state.peers.map(
      (peer) => new Progress({ peer, next, connected: isConnected(peer), inflight: new Inflight(limits), nowMs }),
    );
    this.#byId = new Map(this.#followers.map((progress) => [progress.peer, progress]));
    this.#heartbeatAtMs = nowMs + config.heartbeatIntervalMs;
    state.outbox.noop = next;
  }

  get deadlineMs(): number {
    return Math.min(this.#heartbeatAtMs, this.#transfer?.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  get transferee(): NodeId | null {
    return this.#transfer?.target ?? null;
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
    if (this.#transfer !== null && nowMs >= this.#transfer.deadlineMs) this.#endTransfer();
    if (nowMs < this.#heartbeatAtMs) return true;
    this.#heartbeatAtMs = nowMs + config.heartbeatIntervalMs;
    this.#roundDue = true;
    return this.heardQuorumWithin(config.electionTimeoutMsMax);
  }

  /** Takes indexes for `count` new records. @throws TLedgerError TRANSFERRING */
  propose(count: number): { readonly firstIndex: LogIndex; readonly term: Term } {
    if (this.#transfer !== null) {
      throw new TLedgerError('TRANSFERRING', `Leadership is being handed over to ${this.#transfer.target}.`);
    }
    const { log, term } = this.#state;
    return { firstIndex: log.extend(term, count), term };
  }

  /** An answer of a follower in the current term. */
  respond(message: AppendResponse): void {
    const progress = this.#byId.get(message.from);
    assert(progress !== undefined, 'answers come from followers');
    assert(message.round <= this.#round, 'only a round that was begun can be echoed');
    progress.lastResponseMs = this.#state.nowMs;
    progress.echoed(message.round);
    const { log } = this.#state;
    if (message.reject !== null) {
      const { prevIndex, hintIndex, hintTerm } = message.reject;
      progress.rejected(prevIndex, log.lastWithTermAtMost(hintIndex, hintTerm) + 1);
      return;
    }
    assert(message.match <= log.lastIndex, 'a follower verifies only what its leader holds');
    if (progress.acknowledged(message.match)) this.countCommit();
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

  /** Registers a read (§6.4). @throws TLedgerError OVERLOADED */
  readIndex(token: number): void {
    // Before the no-op is committed the commit index may lag behind what an earlier leader answered for.
    const index = logIndex(Math.max(this.#state.commit, this.#noopIndex));
    this.#reads.add(token, index, this.#round + 1);
    this.#roundDue = true;
  }

  abortReads(): void {
    this.#state.outbox.abortedReads.push(...this.#reads.abort());
  }

  /** Begins a handover. @throws TLedgerError TRANSFERRING */
  transfer(target: NodeId): void {
    if (this.#transfer !== null) {
      throw new TLedgerError('TRANSFERRING', `Leadership is being handed over to ${this.#transfer.target} already.`);
    }
    assert(this.#byId.has(target), 'leadership is handed to a follower');
    const deadlineMs = this.#state.nowMs + this.#state.config.electionTimeoutMsMax;
    this.#transfer = { target, deadlineMs, asked: false };
    this.#state.outbox.stateChanged = true;
  }

  connect(peer: NodeId): void {
    const progress = this.#byId.get(peer)!;
    progress.connect();
    this.#sendEmpty(progress);
  }

  disconnect(peer: NodeId): void {
    this.#byId.get(peer)!.disconnect();
    if (this.#transfer?.target === peer) this.#endTransfer();
  }

  /** Puts everything that may be sent or answered by now into the outbox. */
  collect(): void {
    if (this.#roundDue) this.#beginRound();
    for (const progress of this.#followers) {
      this.#sendRecords(progress);
      this.#tellCommit(progress);
    }
    this.#noopUnwritten = false;
    if (this.#reads.count > 0) this.#confirmReads();
    if (this.#transfer !== null) this.#askTarget(this.#transfer);
  }

  status(): ProgressStatus[] {
    return this.#followers.map((progress) => progress.status());
  }

  #beginRound(): void {
    this.#roundDue = false;
    this.#round++;
    if (this.#transfer !== null) this.#transfer.asked = false;
    for (const progress of this.#followers) {
      progress.allowProbe();
      if (progress.connected) this.#sendEmpty(progress);
    }
  }

  /**
   * Sends records while the window has room: lazily, so that what was proposed meanwhile travels in one message. A
   * follower that needs records which are not held any more gets heartbeats only; a snapshot will have to go out here.
   */
  #sendRecords(progress: Progress): void {
    const { log, config } = this.#state;
    while (progress.maySend && progress.next <= log.lastIndex && progress.next > log.baseIndex) {
      const { inflight, next } = progress;
      const roomBytes = inflight.count === 0 ? config.appendBytesMax : inflight.roomBytes;
      if (roomBytes === 0) return;
      const { lastIndex, sizeBytes } = this.#fit(next, Math.min(roomBytes, config.appendBytesMax));
      assert(lastIndex >= next && lastIndex <= log.lastIndex, 'a message holds records of the log, at least one');
      if (!inflight.admits(sizeBytes)) return;
      this.#send(progress, logIndex(next - 1), lastIndex, log.runsBetween(next, lastIndex));
      progress.sent(lastIndex, sizeBytes);
    }
  }

  #fit(firstIndex: LogIndex, bytesMax: number): { readonly lastIndex: LogIndex; readonly sizeBytes: number } {
    if (this.#noopUnwritten && firstIndex === this.#noopIndex)
      return { lastIndex: firstIndex, sizeBytes: noopSizeBytes };
    return this.#sizer.fit(firstIndex, bytesMax);
  }

  /** An idle follower learns a new commit index at once; a busy one with its next records. */
  #tellCommit(progress: Progress): void {
    const { commit } = this.#state;
    if (progress.commitSent >= commit || !progress.connected || !progress.isReplicating) return;
    if (progress.holds(this.#state.log.lastIndex)) this.#sendEmpty(progress);
  }

  /** Heartbeat: checks that the follower holds what was sent before, and finds out if something got lost. */
  #sendEmpty(progress: Progress): void {
    const prevIndex = logIndex(Math.max(progress.next - 1, this.#state.log.baseIndex));
    this.#send(progress, prevIndex, prevIndex, noRuns);
  }

  #send(progress: Progress, prevIndex: LogIndex, lastIndex: LogIndex, runs: readonly TermRun[]): void {
    const { id, term, log, commit } = this.#state;
    assert(progress.match <= prevIndex || prevIndex === log.baseIndex, 'what is acknowledged is not sent again');
    this.#state.send({
      type: 'append',
      from: id,
      to: progress.peer,
      term,
      prevIndex,
      prevTerm: log.termAt(prevIndex),
      lastIndex,
      runs,
      commit,
      round: this.#round,
    });
    progress.commitSent = Math.max(progress.commitSent, Math.min(commit, lastIndex));
  }

  #confirmReads(): void {
    if (this.#state.commit < this.#noopIndex) return;
    const confirmed = this.#reads.confirm(this.#state.quorum.agreed(this.#roundOf));
    if (confirmed.length > 0) this.#state.outbox.reads.push(...confirmed);
  }

  /** Asks the target to campaign once it has everything; again each heartbeat, for the request may get lost. */
  #askTarget(transfer: Transfer): void {
    const { id, term, log } = this.#state;
    if (transfer.asked || !this.#byId.get(transfer.target)!.holds(log.lastIndex)) return;
    transfer.asked = true;
    this.#state.send({ type: 'timeout-now', from: id, to: transfer.target, term });
  }

  #endTransfer(): void {
    this.#transfer = null;
    this.#state.outbox.stateChanged = true;
  }

  /** The leader vouches for a record of its own only once it is flushed, like everybody else. */
  readonly #matchOf = (voter: NodeId): number => this.#byId.get(voter)?.match ?? this.#state.flushedIndex;
  readonly #roundOf = (voter: NodeId): number => this.#byId.get(voter)?.roundEchoed ?? Number.POSITIVE_INFINITY;
  readonly #contactOf = (voter: NodeId): number => this.#byId.get(voter)?.lastResponseMs ?? this.#state.nowMs;
}
