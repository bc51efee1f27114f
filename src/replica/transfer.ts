// A caller who asked for leadership to be handed over, waiting for how it ends. Consensus runs the transfer and aborts it
// by itself; this only tells the caller.
import { TLedgerError } from '../base/errors.ts';
import type { Raft } from '../raft/raft.ts';
import type { NodeId, Term } from '../raft/types.ts';

interface TransferringRaft {
  readonly isLeader: boolean;
  readonly isTransferring: boolean;
  readonly leader: NodeId | null;
  readonly term: Term;
  status(): { readonly progress: readonly { readonly peer: NodeId; readonly connected: boolean }[] };
}

/** How a transfer that succeeded ended. */
export interface Transferred {
  readonly leaderId: NodeId;
  readonly term: Term;
}

interface Caller {
  readonly target: NodeId;
  readonly deadlineMs: number;
  readonly resolve: (outcome: Transferred) => void;
  readonly reject: (error: TLedgerError) => void;
}

/** At most one transfer at a time. */
export class Transfer {
  #caller: Caller | null = null;

  get isActive(): boolean {
    return this.#caller !== null;
  }

  /** @param start asks consensus; may throw. @throws TLedgerError TRANSFERRING while another transfer is under way. */
  begin(target: NodeId, deadlineMs: number, start: () => void): Promise<Transferred> {
    return new Promise((resolve, reject) => {
      if (this.#caller !== null) throw new TLedgerError('TRANSFERRING');
      this.#caller = { target, deadlineMs, resolve, reject };
      try {
        start();
      } catch (error) {
        this.#caller = null;
        throw error;
      }
    });
  }

  /** Another node leads now, or consensus gave the transfer up. */
  onStateChanged(raft: TransferringRaft): void {
    if (this.#caller === null) return;
    if (raft.isLeader) {
      if (!raft.isTransferring) this.fail(new TLedgerError('TRANSFER_FAILED', whyNot(raft, this.#caller.target)));
    } else if (raft.leader === this.#caller.target) {
      this.#caller.resolve({ leaderId: raft.leader, term: raft.term });
      this.#caller = null;
    } else if (raft.leader !== null) {
      this.fail(new TLedgerError('TRANSFER_FAILED', `${raft.leader} was elected instead of ${this.#caller.target}`));
    }
  }

  expire(nowMs: number): void {
    if (this.#caller === null || this.#caller.deadlineMs > nowMs) return;
    this.fail(new TLedgerError('OUTCOME_UNKNOWN', 'the transfer had not ended before the deadline'));
  }

  fail(error: TLedgerError): void {
    this.#caller?.reject(error);
    this.#caller = null;
  }
}

/** Why `target` did not take over from a leader that goes on. */
function whyNot(raft: TransferringRaft, target: NodeId): string {
  const isConnected = raft.status().progress.some(({ peer, connected }) => peer === target && connected);
  const why = isConnected ? 'it did not catch up or win its election in time' : 'it is not connected to the leader';
  return `${target} did not take over: ${why}; ${raft.leader} goes on leading`;
}

/** The voters that could take over from this leader now, the most caught-up one first. */
export function heirsOf(raft: Raft): NodeId[] {
  const { voters } = raft.membership.membership;
  return raft
    .status()
    .progress.filter(({ connected, peer }) => connected && voters.includes(peer))
    .sort((a, b) => b.match - a.match)
    .map(({ peer }) => peer);
}
