// What a leader sends to its followers: records while their windows have room, heartbeats, pieces of snapshots
// (paper §5.3, §7). One Progress a member, voters and learners alike, and those who are about to leave.
import { assert } from '../base/assert.ts';
import { Inflight } from './inflight.ts';
import { membershipSizeBytes, noopSizeBytes } from './limits.ts';
import { Progress } from './progress.ts';
import type { RaftState } from './state.ts';
import {
  type AppendResponse,
  type LogIndex,
  logIndex,
  type MembershipEntry,
  type NodeId,
  type ProgressStatus,
  type RecordSizer,
  type TermRun,
} from './types.ts';

const noRuns: readonly TermRun[] = [];
const noMemberships: readonly MembershipEntry[] = [];

/** What replication is made of. */
export interface ReplicationOptions {
  readonly state: RaftState;
  readonly sizer: RecordSizer;
  /** What the transport has said of a peer. */
  readonly isConnected: (peer: NodeId) => boolean;
}

/** The followers of one term's leader. */
export class Replication {
  readonly #options: ReplicationOptions;
  readonly #state: RaftState;
  readonly #byId = new Map<NodeId, Progress>();
  /** Where the leader's own record of this input stands, which the sizer does not know yet; 0 for none. */
  #unwritten = 0;
  #round = 0;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** Number of the last round that began. */
  get round(): number {
    return this.#round;
  }

  /** Everybody who is sent something. */
  get followers(): Iterable<Progress> {
    return this.#byId.values();
  }

  get(peer: NodeId): Progress | undefined {
    return this.#byId.get(peer);
  }

  /** Begins with those who have become members. */
  admit(): void {
    const { state, isConnected } = this.#options;
    const { config, nowMs } = state;
    const limits = { countMax: config.inflightCountMax, bytesMax: config.inflightBytesMax };
    for (const peer of state.members) {
      if (peer === state.id || this.#byId.has(peer)) continue;
      const next = state.log.lastIndex;
      const inflight = new Inflight(limits);
      this.#byId.set(peer, new Progress({ peer, next, connected: isConnected(peer), inflight, nowMs }));
    }
  }

  /** Tells those who are no members any more that it is committed, so that they stop asking for votes; forgets them. */
  dismiss(): void {
    const { members } = this.#state;
    for (const progress of this.#byId.values()) {
      if (members.has(progress.peer)) continue;
      if (progress.connected && progress.isReplicating) this.#sendEmpty(progress);
      this.#byId.delete(progress.peer);
    }
  }

  /** @returns whether the follower vouches for more than before. */
  acknowledged(progress: Progress, message: AppendResponse): boolean {
    const { log, nowMs, config } = this.#state;
    if (message.reject !== null) {
      const { prevIndex, hintIndex, hintTerm } = message.reject;
      progress.rejected(prevIndex, log.lastWithTermAtMost(hintIndex, hintTerm) + 1);
      return false;
    }
    assert(message.match <= log.lastIndex, 'a follower verifies only what its leader holds');
    const rose = progress.acknowledged(message.match);
    progress.measure(log.lastIndex, nowMs, config.electionTimeoutMsMin);
    return rose;
  }

  connect(peer: NodeId): void {
    const progress = this.#byId.get(peer);
    if (progress === undefined) return;
    progress.connect();
    this.#sendEmpty(progress);
  }

  /** Begins a round. @param isHeartbeat an interval has passed, so that what went unanswered is sent again. */
  beginRound(isHeartbeat: boolean): void {
    this.#round++;
    for (const progress of this.#byId.values()) {
      if (isHeartbeat) progress.roundPassed();
      if (progress.connected) this.#sendEmpty(progress);
    }
  }

  /**
   * Puts everything that may be sent by now into the outbox.
   * @param mayTellCommit whether followers that hold everything hear of the commit index by a message of its own.
   * @returns whether one of them has not heard of it.
   */
  collect(mayTellCommit: boolean): boolean {
    const { own } = this.#state.outbox;
    this.#unwritten = own?.index ?? 0;
    let isUntold = false;
    for (const progress of this.#byId.values()) {
      if (progress.next <= this.#state.log.baseIndex) this.#sendSnapshot(progress);
      else this.#sendRecords(progress);
      if (!this.#lacksCommit(progress)) continue;
      if (mayTellCommit) this.#sendEmpty(progress);
      else isUntold = true;
    }
    return isUntold;
  }

  /** Whether the member keeps up with the log, was heard lately, and is no snapshot behind. */
  isCaughtUp(peer: NodeId): boolean {
    const { nowMs, config } = this.#state;
    return this.#byId.get(peer)?.isCaughtUp(nowMs, config.electionTimeoutMsMin) ?? false;
  }

  /** Whether nothing is under way: every connected follower holds and knows everything, and echoed the last round. */
  get isAtRest(): boolean {
    const { log, commit, flushedIndex } = this.#state;
    if (commit < log.lastIndex || flushedIndex < log.lastIndex) return false;
    for (const progress of this.#byId.values()) {
      const isDone =
        progress.holds(log.lastIndex) && progress.commitSent >= commit && progress.roundEchoed === this.#round;
      if (progress.connected && !(progress.isReplicating && isDone)) return false;
    }
    return true;
  }

  /** The lowest index that must stay, so that nobody who follows today needs a snapshot tomorrow. */
  get retainFrom(): LogIndex {
    const { nowMs, config, log } = this.#state;
    let lowest = log.lastIndex + 1;
    for (const { connected, lastResponseMs, isReplicating, match, next, sending } of this.#byId.values()) {
      if (!connected || nowMs - lastResponseMs >= config.electionTimeoutMsMax) continue;
      if (sending !== null) lowest = Math.min(lowest, sending.point.index + 1);
      else lowest = Math.min(lowest, isReplicating ? match + 1 : next);
    }
    return logIndex(lowest);
  }

  status(): ProgressStatus[] {
    return [...this.#byId.values()].map((progress) => progress.status(this.isCaughtUp(progress.peer)));
  }

  /** Sends records while the window has room: lazily, so that what was proposed meanwhile travels in one message. */
  #sendRecords(progress: Progress): void {
    const { log, config } = this.#state;
    while (progress.maySend && progress.next <= log.lastIndex) {
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
    if (firstIndex !== this.#unwritten) return this.#options.sizer.fit(firstIndex, bytesMax);
    const isNoop = this.#state.outbox.own?.kind === 'noop';
    return { lastIndex: firstIndex, sizeBytes: isNoop ? noopSizeBytes : membershipSizeBytes };
  }

  /**
   * What the follower needs is not held any more: it gets the snapshot at the log's base, piece by piece. When the base
   * has moved on meanwhile, an older snapshot would lead nowhere, so that the newer one goes out instead.
   */
  #sendSnapshot(progress: Progress): void {
    const { id, term, log, commit } = this.#state;
    const { baseIndex: index, lastIndex } = log;
    assert(index <= commit && index <= lastIndex, 'a snapshot holds committed records');
    if (!progress.connected) return;
    if (progress.sending?.point.index !== index) progress.sendSnapshot({ index, term: log.termAt(index) });
    const sending = progress.sending!;
    if (!sending.maySend) return;
    const { point, offset } = sending;
    const head = { type: 'snapshot', from: id, to: progress.peer, term } as const;
    this.#state.send({ ...head, index, indexTerm: point.term, offset, round: this.#round, commit });
    sending.sent();
  }

  /** Whether an idle follower has not heard of the commit index; a busy one learns it with its next records. */
  #lacksCommit(progress: Progress): boolean {
    const { commit, log } = this.#state;
    if (progress.commitSent >= commit || !progress.connected || !progress.isReplicating) return false;
    return progress.holds(log.lastIndex);
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
      memberships: noMemberships,
      commit,
      round: this.#round,
    });
    progress.commitSent = Math.max(progress.commitSent, Math.min(commit, lastIndex));
  }
}
