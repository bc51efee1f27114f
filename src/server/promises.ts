// What this node knows of promises, its own and those of the others: votes given, records acknowledged. Who promised
// something and comes back with an empty directory has forgotten it, and must not be counted in any majority.
import { TLedgerError } from '../base/errors.ts';
import type { Membership, NodeId } from '../raft/types.ts';
import type { PromiseMemory } from '../rpc/peer_identity.ts';
import type { Founders } from '../storage/identity.ts';

/** What the memory stands on. */
export interface PromisesOptions {
  /** Where it is kept; every change is on disk before the call returns. */
  readonly claimed: {
    readonly founders: Founders;
    readonly promised: readonly NodeId[];
    notePromised(nodeId: NodeId): void;
  };
  readonly hardState: { readonly state: { readonly term: number } };
  readonly log: { readonly lastIndex: number };
  /** In force. */
  readonly members: () => Pick<Membership, 'addresses'>;
  readonly onWarning: (message: string) => void;
  /** A founder without its data must hear and say nothing from now on, and end. Called once. */
  readonly onLost: (error: TLedgerError) => void;
}

/** One node's memory. */
export class Promises implements PromiseMemory {
  readonly #options: PromisesOptions;
  #lost: TLedgerError | null = null;

  constructor(options: PromisesOptions) {
    this.#options = options;
  }

  /** Term 0 and a log without records, none cut off either: a base has an index, too. */
  get isBlank(): boolean {
    const { hardState, log } = this.#options;
    return hardState.state.term === 0 && log.lastIndex === 0;
  }

  hasPromised(peer: NodeId): boolean {
    return this.#options.claimed.promised.includes(peer);
  }

  /** A former member that still runs is not noted: its name may be given to a new node. */
  notePromised(peer: NodeId): void {
    const { claimed, members } = this.#options;
    if (!this.hasPromised(peer) && members().addresses[peer] !== undefined) claimed.notePromised(peer);
  }

  /** A node that waits to be taken in goes on waiting, for it counts nowhere until its old self was removed. */
  onDataLost(says: string): void {
    const { claimed, onWarning, onLost } = this.#options;
    if (this.#lost !== null) return;
    if (Object.keys(claimed.founders).length === 0) return onWarning(says);
    this.#lost = new TLedgerError('DATA_LOST', says);
    onLost(this.#lost);
  }

  /** @throws TLedgerError DATA_LOST when this node turned out to have lost its data. */
  check(): void {
    if (this.#lost !== null) throw this.#lost;
  }
}
