// The leader's lease (dissertation §6.4.1): as long as a majority promised, by answering a round, not to vote for anybody
// else, no other leader can have come into being, and reads need no round of their own.
//
//   leader     round r begins ──────────── lease: electionTimeoutMsMin, less the margin ────────────►│
//   follower           └─► heard ───────── refuses to vote: electionTimeoutMsMin ─────────────────────────►│
//
// It counts from the beginning of the round, not from the answers: the follower's promise began no earlier.
import { leaseMarginShare, leaseRoundsMax } from './limits.ts';

/** When rounds began, and until when the last one that a majority echoed keeps the lease. */
export class Lease {
  readonly #durationMs: number;
  /** Rounds that may be confirmed yet, ascending, with the times at which they began. */
  readonly #begun: { readonly round: number; readonly atMs: number }[] = [];
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #revoked = false;

  constructor(electionTimeoutMsMin: number) {
    this.#durationMs = electionTimeoutMsMin * (1 - leaseMarginShare);
  }

  /** A round begins, before any message of it leaves. */
  begin(round: number, nowMs: number): void {
    while (this.#begun.length > 0 && nowMs - this.#begun[0]!.atMs >= this.#durationMs) this.#begun.shift();
    // A round that is not noted counts as the one before it, which began earlier.
    if (this.#begun.length < leaseRoundsMax) this.#begun.push({ round, atMs: nowMs });
  }

  /** A majority echoed `round` or a later one. */
  confirm(round: number): void {
    while (this.#begun.length > 0 && this.#begun[0]!.round <= round) this.#confirmedMs = this.#begun.shift()!.atMs;
  }

  /** Whether nobody else can lead now. */
  isHeld(nowMs: number): boolean {
    return !this.#revoked && nowMs - this.#confirmedMs < this.#durationMs;
  }

  /** Other majorities count from now on: only what they echo from here on is a promise. */
  restart(): void {
    this.#begun.length = 0;
    this.#confirmedMs = Number.NEGATIVE_INFINITY;
  }

  /** Another member was asked to campaign, and its request overrules the promises, whenever it comes: for good. */
  revoke(): void {
    this.#revoked = true;
  }
}
