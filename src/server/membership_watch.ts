// What a node makes of the group's members: remembers that it became one, says who they are whenever that changes, and
// notices that it is out, by its own log or by the word of a member. Names of others that are out are free for new nodes.
import type { Clock } from '../base/clock.ts';
import type { Membership, MembershipEntry, NodeId } from '../raft/types.ts';

/** The part of a replica that is used here. */
export interface WatchedReplica {
  /** In force. */
  readonly membership: MembershipEntry;
  readonly leaderId: NodeId | null;
  status(): { readonly committedIndex: number };
  onMembership(listener: () => void): () => void;
  onChange(listener: () => void): () => void;
}

/** What a watch stands on. */
export interface MembershipWatchOptions {
  readonly nodeId: NodeId;
  readonly clock: Clock;
  /** Keeps for ever that the node was a member, and which others had something to lose. */
  readonly belonging: {
    readonly wasMember: boolean;
    noteMember(): void;
    forgetAllBut(isMember: (nodeId: NodeId) => boolean): void;
  };
  readonly info: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly warn: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** The log says that this node is out, for good unless it is added anew. */
  readonly onRemoved: () => void;
}

/** How often a node that is leaving looks whether that is final. */
const LOOK_INTERVAL_MS = 200;
const ADVICE = 'this node was removed from the group and serves nobody any more: stop it and delete its data';

/** One node's view, from the start of its replica to its end. */
export class MembershipWatch {
  readonly #options: MembershipWatchOptions;
  #replica: WatchedReplica | null = null;
  /** A member that knows a leader said that this node is out; believed until a leader turns to it. */
  #isOutcast = false;
  #wasOutside = false;
  #isLookPlanned = false;
  #said: Membership | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(options: MembershipWatchOptions) {
    this.#options = options;
  }

  /** Begins to watch; what is in force is noted at once. */
  start(replica: WatchedReplica): void {
    this.#replica = replica;
    replica.onMembership(() => this.#onMembership());
    replica.onChange(() => {
      if (replica.leaderId !== null) this.#setOutcast(false);
    });
    this.#onMembership();
  }

  get wasMember(): boolean {
    return this.#options.belonging.wasMember;
  }

  /** Whether a member said so, and nobody the contrary since. */
  get isOutcast(): boolean {
    return this.#isOutcast;
  }

  /** Called when the node has turned out to be out, or to be in again, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A member says that this node is out. */
  onOutcast(says: string): void {
    if (this.#isOutcast || this.#replica?.leaderId != null) return;
    this.#options.warn(ADVICE, { says });
    this.#setOutcast(true);
  }

  #setOutcast(isOutcast: boolean): void {
    if (isOutcast === this.#isOutcast) return;
    this.#isOutcast = isOutcast;
    for (const listener of this.#listeners) listener();
  }

  #onMembership(): void {
    const { index, membership } = this.#replica!.membership;
    const { belonging, info, nodeId } = this.#options;
    const { voters, outgoing, learners } = membership;
    if (membership.addresses[nodeId] !== undefined) belonging.noteMember();
    const more = {
      ...(outgoing.length > 0 ? { outgoing: outgoing.join(',') } : {}),
      ...(learners.length > 0 ? { learners: learners.map(({ id }) => id).join(',') } : {}),
    };
    // Listeners hear of a record when it is written, and again when it is committed.
    if (membership !== this.#said) {
      if (voters.length === 0) info('waiting to be added to a group', { node: nodeId });
      else info('members', { record: index, voters: voters.join(','), ...more });
      this.#said = membership;
      this.#setOutcast(false);
    }
    this.#look();
  }

  /** Being out is final when its record is committed, of which nobody tells. */
  #look(): void {
    const replica = this.#replica!;
    const { index, membership } = replica.membership;
    const isInside = membership.addresses[this.#options.nodeId] !== undefined;
    const isFinal = replica.status().committedIndex >= index;
    if (isFinal && membership.voters.length > 0) {
      this.#options.belonging.forgetAllBut((nodeId) => membership.addresses[nodeId] !== undefined);
    }
    if (isInside || !this.#options.belonging.wasMember) {
      this.#wasOutside = false;
    } else if (!isFinal) {
      this.#lookAgain();
    } else if (!this.#wasOutside) {
      this.#wasOutside = true;
      this.#options.warn(ADVICE, { record: index });
      this.#options.onRemoved();
      // Whoever serves clients looks again, too.
      for (const listener of this.#listeners) listener();
    }
  }

  #lookAgain(): void {
    if (this.#isLookPlanned) return;
    this.#isLookPlanned = true;
    this.#options.clock.after(LOOK_INTERVAL_MS, () => {
      this.#isLookPlanned = false;
      this.#look();
    });
  }
}
