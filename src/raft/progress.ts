// What a leader knows of one follower, and what it has under way to it.
//
//              ok, and match reaches next - 1
//    ┌───────┐ ─────────────────────────────────► ┌───────────┐
//    │ probe │                                    │ replicate │
//    └───────┘ ◄───────────────────────────────── └───────────┘
//     one append        rejected, or the            a window of appends;
//     at a time         connection dropped          next moves as they are sent
//      │    ▲                                             ▲
//      │    └─ the connection dropped ─┐                  │
//      │ next is not held any more  ┌──────────┐          │
//      └──────────────────────────► │ snapshot │ ─────────┘
//                                   └──────────┘ match reaches the snapshot's index
//                                    one piece at a time; heartbeats go on
//
//    1 ……… match │ match+1 ……… next-1 │ next ……… lastIndex
//      durable   │     under way      │ not sent yet
//    on follower │    (replicate)     │
import { assert } from '../base/assert.ts';
import type { Inflight } from './inflight.ts';
import { pauseRoundsMax, restartsPerRoundMax } from './limits.ts';
import { SnapshotSending } from './snapshot_sending.ts';
import { type LogIndex, logIndex, type NodeId, type ProgressStatus, type SnapshotPoint } from './types.ts';

/** One follower, seen from the leader (etcd's tracker.Progress). */
export class Progress {
  readonly peer: NodeId;
  readonly inflight: Inflight;
  /** When the follower last answered in this term, whatever it said: check-quorum and stickiness count on it. */
  lastResponseMs: number;
  /** Highest commit index that was sent to the follower. */
  commitSent: number = 0;
  #state: ProgressStatus['state'] = 'probe';
  /** Highest index the follower vouched for as durable in this term. Only acknowledgements raise it. */
  #match = logIndex(0);
  /** First index to send next; always above match. */
  #next: LogIndex;
  #connected: boolean;
  /** Probe only: records were sent and neither an answer nor a heartbeat interval has passed since. */
  #probing = false;
  /** Probe only: last index that the outstanding probe carried, 0 if none. */
  #probedTo = 0;
  /** Heartbeats until an unanswered probe goes out again; doubles, for one that is never read lies in memory here. */
  #probePauseRounds = 1;
  #probeRoundsLeft = 0;
  /** Snapshot only: how far it has come. */
  #sending: SnapshotSending | null = null;
  #roundEchoed = 0;
  /** Where the log ended at #goalMs: a follower that gets there in time keeps up (dissertation §4.2.1). */
  #goal: LogIndex;
  #goalMs: number;
  #keepsUp = false;
  /** How often the pipeline may start anew in this heartbeat round. */
  #restartsLeft = restartsPerRoundMax;

  constructor(options: { peer: NodeId; next: LogIndex; connected: boolean; inflight: Inflight; nowMs: number }) {
    this.peer = options.peer;
    this.inflight = options.inflight;
    this.lastResponseMs = options.nowMs;
    this.#next = options.next;
    this.#connected = options.connected;
    this.#goal = options.next;
    this.#goalMs = options.nowMs;
    assert(this.#next >= 1, 'the first record has index 1');
  }

  get match(): LogIndex {
    return this.#match;
  }

  get next(): LogIndex {
    return this.#next;
  }

  get connected(): boolean {
    return this.#connected;
  }

  get isReplicating(): boolean {
    return this.#state === 'replicate';
  }

  /** The snapshot on its way to the follower, if any. */
  get sending(): SnapshotSending | null {
    return this.#sending;
  }

  /** Highest round the follower has echoed in this term. */
  get roundEchoed(): number {
    return this.#roundEchoed;
  }

  /** Whether records may be sent now, window aside. */
  get maySend(): boolean {
    return this.#connected && (this.#state === 'replicate' || (this.#state === 'probe' && !this.#probing));
  }

  /** The follower has everything up to `lastIndex`, durably. */
  holds(lastIndex: LogIndex): boolean {
    return this.#match === lastIndex;
  }

  /** Records next … lastIndex have just left. */
  sent(lastIndex: LogIndex, sizeBytes: number): void {
    assert(this.maySend && lastIndex >= this.#next, 'records are sent in order, when they may be');
    this.inflight.add(lastIndex, sizeBytes);
    if (this.#state === 'replicate') {
      this.#next = logIndex(lastIndex + 1);
      return;
    }
    this.#probing = true;
    this.#probedTo = lastIndex;
    this.#probeRoundsLeft = this.#probePauseRounds;
  }

  /** An answer has come, whatever it says. */
  answered(round: number, nowMs: number): void {
    this.lastResponseMs = nowMs;
    this.#probePauseRounds = 1;
    this.#probeRoundsLeft = Math.min(this.#probeRoundsLeft, 1);
    if (round > this.#roundEchoed) this.#roundEchoed = round;
  }

  /**
   * The follower vouches for everything up to `match`. Late and repeated answers change nothing.
   * @returns whether match rose.
   */
  acknowledged(match: LogIndex): boolean {
    const rose = match > this.#match;
    if (rose) {
      this.#match = match;
      this.inflight.freeUpTo(match);
    }
    const reached = this.#sending === null ? this.#next - 1 : this.#sending.point.index;
    if (this.#state !== 'replicate' && match >= reached && this.#restartsLeft > 0) this.#becomeReplicate();
    else if (this.#next <= this.#match) this.#next = logIndex(this.#match + 1);
    assert(this.#match < this.#next, 'what is sent next lies above what is acknowledged');
    return rose;
  }

  /**
   * The follower refused (prevIndex, …): send from `next` instead, one message at a time. Match stays untouched: a
   * hint is a guess, never an acknowledgement.
   * @returns false for an answer that no longer concerns anything under way.
   */
  rejected(prevIndex: LogIndex, next: number): boolean {
    // While a snapshot is sent, heartbeats are refused as a matter of course.
    if (this.#state === 'snapshot' || prevIndex <= this.#match) return false;
    if (this.#state === 'probe' && prevIndex !== this.#next - 1) return false;
    if (this.#state === 'replicate') this.#restartsLeft--;
    this.#becomeProbe(Math.min(prevIndex, next));
    if (this.#restartsLeft <= 0) this.#pauseProbe();
    return true;
  }

  /** A heartbeat interval has passed: what was not answered for long enough may go out again. */
  roundPassed(): void {
    this.#restartsLeft = restartsPerRoundMax;
    if (this.#state === 'probe' && this.#probing && --this.#probeRoundsLeft <= 0) {
      this.#probePauseRounds = Math.min(this.#probePauseRounds * 2, pauseRoundsMax);
      this.#becomeProbe(this.#next);
    }
    this.#sending?.roundPassed();
  }

  /** The follower needs records that are not held any more: a snapshot goes out, from its beginning. */
  sendSnapshot(point: SnapshotPoint): void {
    assert(this.#next <= point.index, 'a snapshot covers what is to be sent next');
    this.#becomeProbe(this.#next);
    this.#state = 'snapshot';
    this.#sending = new SnapshotSending(point);
  }

  /** An answer arrived: measures whether the follower reaches an end of the log before `windowMs` have passed. */
  measure(lastIndex: LogIndex, nowMs: number, windowMs: number): void {
    if (this.#match < this.#goal) return;
    this.#keepsUp = nowMs - this.#goalMs <= windowMs;
    this.#goal = lastIndex;
    this.#goalMs = nowMs;
  }

  /** Whether the follower keeps up with a log that grows, by what it did within the last `windowMs`. */
  isCaughtUp(nowMs: number, windowMs: number): boolean {
    return this.#connected && this.isReplicating && this.#keepsUp && nowMs - this.#goalMs <= windowMs;
  }

  /** The connection is gone, and what was under way with it. */
  disconnect(): void {
    this.#connected = false;
    this.#keepsUp = false;
    // While probing, `next` is the best guess so far; match + 1 would start over from the log's beginning.
    this.#becomeProbe(this.#state === 'replicate' ? this.#match + 1 : this.#next);
  }

  /**
   * The connection is back. Whoever is at its other end vouches anew: it may be a process that came back with less than
   * it had (flush async, another disk), and its rejections must not be taken for late ones.
   */
  connect(): void {
    const next = this.#state === 'replicate' ? this.#match + 1 : this.#next;
    this.#connected = true;
    this.#probePauseRounds = 1;
    this.#match = logIndex(0);
    this.#becomeProbe(next);
  }

  status(caughtUp: boolean): ProgressStatus {
    const snapshotOffset = this.#sending?.offset ?? null;
    return {
      peer: this.peer,
      state: this.#state,
      match: this.#match,
      next: this.#next,
      connected: this.#connected,
      caughtUp,
      snapshotOffset,
    };
  }

  /** Nothing goes out before the next round. */
  #pauseProbe(): void {
    this.#probing = true;
    this.#probeRoundsLeft = 1;
  }

  #becomeReplicate(): void {
    this.#state = 'replicate';
    // An outstanding probe counts as the first message of the pipeline instead of being sent again.
    this.#next = logIndex(Math.max(this.#match, this.#probedTo) + 1);
    this.#probing = false;
    this.#probedTo = 0;
    this.#sending = null;
  }

  #becomeProbe(next: number): void {
    this.#state = 'probe';
    this.#next = logIndex(Math.max(next, this.#match + 1));
    this.#probing = false;
    this.#probedTo = 0;
    this.#sending = null;
    this.inflight.clear();
  }
}
