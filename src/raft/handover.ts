// Handing leadership over (dissertation §3.10): to whom, for how long writes wait, and, for preferred leaders, how often.
import { TLedgerError } from '../base/errors.ts';
import { preferredPauseTimeouts, preferredPauseTimeoutsMax } from './limits.ts';
import type { Replication } from './replication.ts';
import type { RaftState } from './state.ts';
import type { NodeId } from './types.ts';

/** A handover that is under way; writes wait until it succeeds or is given up. */
interface Transfer {
  readonly target: NodeId;
  /** Given up by itself at this time, so that writes are never blocked for long. */
  readonly deadlineMs: number;
  /** TimeoutNow was sent in this heartbeat interval. */
  asked: boolean;
}

/** Transfers of one term's leader. */
export class Handover {
  readonly #state: RaftState;
  readonly #replication: Replication;
  #transfer: Transfer | null = null;
  #pauseTimeouts = preferredPauseTimeouts;
  /** No handover to a preferred leader before this time. */
  #preferredAtMs: number;

  constructor(state: RaftState, replication: Replication) {
    this.#state = state;
    this.#replication = replication;
    this.#preferredAtMs = state.nowMs + this.#pauseMs;
  }

  get target(): NodeId | null {
    return this.#transfer?.target ?? null;
  }

  get deadlineMs(): number {
    return this.#transfer?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** @throws TLedgerError TRANSFERRING when a handover is under way. */
  assertIdle(): void {
    if (this.#transfer === null) return;
    throw new TLedgerError('TRANSFERRING', `Leadership is being handed over to ${this.#transfer.target}.`);
  }

  /** Begins a handover, which is given up after `patienceMs`. */
  begin(target: NodeId, patienceMs: number): void {
    this.#transfer = { target, deadlineMs: this.#state.nowMs + patienceMs, asked: false };
    this.#state.outbox.stateChanged = true;
  }

  /** Gives up what took too long. */
  tick(): void {
    if (this.#transfer !== null && this.#state.nowMs >= this.#transfer.deadlineMs) this.end();
  }

  /** A heartbeat goes out: the target may be asked again. */
  allowAsking(): void {
    if (this.#transfer !== null) this.#transfer.asked = false;
  }

  /** The target is out of reach, or not a voter any more. */
  lost(peer: NodeId): void {
    if (this.#transfer?.target === peer) this.end();
  }

  end(): void {
    this.#transfer = null;
    this.#state.outbox.stateChanged = true;
  }

  /** The member to ask to campaign now; again each heartbeat, for the request may get lost. Null for nobody. */
  takeAsked(): NodeId | null {
    const transfer = this.#transfer;
    if (transfer === null || transfer.asked) return null;
    if (!this.#replication.get(transfer.target)!.holds(this.#state.log.lastIndex)) return null;
    transfer.asked = true;
    return transfer.target;
  }

  /** Hands over to a better leader that keeps up, if there is one and the last attempt lies back far enough. */
  considerPreferred(): void {
    const { config, membership, nowMs, id } = this.#state;
    const { preferredLeaders } = config;
    if (preferredLeaders.length === 0 || this.#transfer !== null || nowMs < this.#preferredAtMs) return;
    const { voters } = membership.membership;
    const own = preferredLeaders.indexOf(id);
    const better = own < 0 ? preferredLeaders : preferredLeaders.slice(0, own);
    const target = better.find((peer) => voters.includes(peer) && this.#replication.isCaughtUp(peer));
    if (target === undefined) return;
    this.#pauseTimeouts = Math.min(this.#pauseTimeouts * 2, preferredPauseTimeoutsMax);
    this.#preferredAtMs = nowMs + this.#pauseMs;
    // It keeps up, so that it needs no more; what does not work soon will not work.
    this.begin(target, config.electionTimeoutMsMin);
  }

  /** The voter, other than this member, that holds the most and can be reached. */
  get heir(): NodeId | null {
    const { id, membership } = this.#state;
    let best: NodeId | null = null;
    let most = -1;
    for (const voter of membership.membership.voters) {
      const progress = this.#replication.get(voter);
      if (voter === id || progress === undefined || !progress.connected || progress.match <= most) continue;
      best = voter;
      most = progress.match;
    }
    return best;
  }

  get #pauseMs(): number {
    return this.#pauseTimeouts * this.#state.config.electionTimeoutMsMax;
  }
}
