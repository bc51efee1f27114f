// What a leader knows of one follower, and what it has under way to it.
//
//              ok, and match reaches next - 1
//    ┌───────┐ ─────────────────────────────────► ┌───────────┐
//    │ probe │                                    │ replicate │
//    └───────┘ ◄───────────────────────────────── └───────────┘
//     one append        rejected, or the            a window of appends;
//     at a time         connection dropped          next moves as they are sent
//
//    1 ……… match │ match+1 ……… next-1 │ next ……… lastIndex
//      durable   │     under way      │ not sent yet
//    on follower │    (replicate)     │
import { assert } from '../base/assert.ts';
import { type LogIndex, logIndex, type NodeId, type ProgressStatus } from './types.ts';

/** Append messages under way, oldest first, bounded in count and in bytes (etcd's Inflights). */
export class Inflight {
  readonly #countMax: number;
  readonly #bytesMax: number;
  readonly #lastIndexes: Float64Array;
  readonly #sizes: Float64Array;
  #head = 0;
  #count = 0;
  /** Sum of the sizes under way. */
  #bytes = 0;

  constructor({ countMax, bytesMax }: { countMax: number; bytesMax: number }) {
    assert(countMax >= 1 && bytesMax >= 1, 'a window lets at least one message through');
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
    this.#lastIndexes = new Float64Array(countMax);
    this.#sizes = new Float64Array(countMax);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that may still be sent: 0 when the window is full. */
  get roomBytes(): number {
    return this.#count === this.#countMax ? 0 : Math.max(0, this.#bytesMax - this.#bytes);
  }

  /** Whether a message of `sizeBytes` may leave now. An empty window lets any size through, else it might never go. */
  admits(sizeBytes: number): boolean {
    return this.#count === 0 || sizeBytes <= this.roomBytes;
  }

  add(lastIndex: LogIndex, sizeBytes: number): void {
    assert(this.admits(sizeBytes) && this.#count < this.#countMax, 'the window is never overrun');
    assert(this.#count === 0 || lastIndex > this.#newest, 'messages under way rise in index');
    const at = (this.#head + this.#count) % this.#countMax;
    this.#lastIndexes[at] = lastIndex;
    this.#sizes[at] = sizeBytes;
    this.#count++;
    this.#bytes += sizeBytes;
  }

  /** Forgets every message whose last record is at or below `index`: it has been acknowledged. */
  freeUpTo(index: LogIndex): void {
    while (this.#count > 0 && this.#lastIndexes[this.#head]! <= index) {
      this.#bytes -= this.#sizes[this.#head]!;
      this.#head = (this.#head + 1) % this.#countMax;
      this.#count--;
    }
    assert(this.#count > 0 || this.#bytes === 0, 'an empty window holds no bytes');
  }

  clear(): void {
    this.#count = 0;
    this.#bytes = 0;
  }

  get #newest(): number {
    return this.#lastIndexes[(this.#head + this.#count - 1) % this.#countMax]!;
  }
}

/** One follower, seen from the leader (etcd's tracker.Progress). */
export class Progress {
  readonly peer: NodeId;
  readonly inflight: Inflight;
  /** When the follower last answered in this term, whatever it said: check-quorum and stickiness count on it. */
  lastResponseMs: number;
  /** Highest commit index that was sent to the follower. */
  commitSent: number = 0;
  #state: 'probe' | 'replicate' = 'probe';
  /** Highest index the follower vouched for as durable in this term. Only acknowledgements raise it. */
  #match = logIndex(0);
  /** First index to send next; always above match. */
  #next: LogIndex;
  #connected: boolean;
  /** Probe only: records were sent and neither an answer nor a heartbeat interval has passed since. */
  #probing = false;
  /** Probe only: last index that the outstanding probe carried, 0 if none. */
  #probedTo = 0;
  #roundEchoed = 0;

  constructor(options: { peer: NodeId; next: LogIndex; connected: boolean; inflight: Inflight; nowMs: number }) {
    this.peer = options.peer;
    this.inflight = options.inflight;
    this.lastResponseMs = options.nowMs;
    this.#next = options.next;
    this.#connected = options.connected;
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

  /** Highest round the follower has echoed in this term. */
  get roundEchoed(): number {
    return this.#roundEchoed;
  }

  /** Whether records may be sent now, window aside. */
  get maySend(): boolean {
    return this.#connected && (this.#state === 'replicate' || !this.#probing);
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
  }

  echoed(round: number): void {
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
    if (this.#state === 'probe' && match >= this.#next - 1) this.#becomeReplicate();
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
    if (prevIndex <= this.#match) return false;
    if (this.#state === 'probe' && prevIndex !== this.#next - 1) return false;
    this.#becomeProbe(Math.min(prevIndex, next));
    return true;
  }

  /** A heartbeat interval has passed: an unanswered probe may go out again. */
  allowProbe(): void {
    if (this.#state === 'replicate' || !this.#probing) return;
    this.#becomeProbe(this.#next);
  }

  /** The connection is gone, and what was under way with it. */
  disconnect(): void {
    this.#connected = false;
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
    this.#match = logIndex(0);
    this.#becomeProbe(next);
  }

  status(): ProgressStatus {
    return { peer: this.peer, state: this.#state, match: this.#match, next: this.#next, connected: this.#connected };
  }

  #becomeReplicate(): void {
    this.#state = 'replicate';
    // An outstanding probe counts as the first message of the pipeline instead of being sent again.
    this.#next = logIndex(Math.max(this.#match, this.#probedTo) + 1);
    this.#probing = false;
    this.#probedTo = 0;
  }

  #becomeProbe(next: number): void {
    this.#state = 'probe';
    this.#next = logIndex(Math.max(next, this.#match + 1));
    this.#probing = false;
    this.#probedTo = 0;
    this.inflight.clear();
  }
}
