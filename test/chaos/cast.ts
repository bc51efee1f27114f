// Who plays: nodes that are started to join, are taken in, taken out and ended, one change at a time. Every change is seen
// through: it is done, it was refused, or the run has failed.
import { TLedgerError } from '../../src/base/errors.ts';
import { type MembershipWish, TLedgerClient } from '../../src/client/index.ts';
import type { LocalCluster, LocalMember } from '../../src/server/local_cluster.ts';
import type { Membership } from '../../src/wire/admin_messages.ts';
import type { History } from './history.ts';
import type { Leaders } from './leaders.ts';
import type { Addresses, Network } from './network.ts';
import { pause } from './pause.ts';

/** What a cast is made of. */
export interface CastParts {
  readonly cluster: LocalCluster;
  readonly network: Network;
  readonly leaders: Leaders;
  readonly history: History;
  /** Told of a node that has become a member. */
  readonly onEnter: (member: LocalMember) => void;
  /** Told of a node that is about to be ended for good. */
  readonly onLeave: (nodeId: string) => Promise<void>;
}

/** How a change ended. `open`: the group neither made nor refused it in time. */
export type ChangeEnd = 'done' | 'refused' | 'open';

/** Whatever else goes wrong at the same time, the group must have made a change by then. */
const CHANGED_WITHIN_MS = 60_000;
const ATTEMPT_MS = 15_000;
const RETRY_MS = 250;

/** The nodes of one run. */
export class Cast {
  readonly #parts: CastParts;
  #client: TLedgerClient;
  #isBusy = false;
  #hired = 0;

  constructor(parts: CastParts) {
    this.#parts = parts;
    this.#client = new TLedgerClient({ endpoints: parts.cluster.endpoints });
  }

  /** Reaches all nodes past the proxies, also those that came later. */
  get client(): TLedgerClient {
    return this.#client;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  /** Runs a change of members unless another one is under way. */
  async alone<T>(change: () => Promise<T>): Promise<T | undefined> {
    if (this.#isBusy) return undefined;
    this.#isBusy = true;
    try {
      return await change();
    } finally {
      this.#isBusy = false;
    }
  }

  /** Starts a node that waits to be taken in. */
  async hire(): Promise<{ readonly nodeId: string; readonly addresses: Addresses }> {
    const { cluster, network, leaders } = this.#parts;
    const member = await cluster.startJoining(`j${this.#hired++}`);
    leaders.watch(member);
    await this.#reconnect();
    return { nodeId: member.nodeId, addresses: await network.add(member) };
  }

  /** Has the group change its members, however long that takes. */
  async change(wish: MembershipWish): Promise<ChangeEnd> {
    const untilMs = performance.now() + CHANGED_WITHIN_MS;
    let last = '';
    while (performance.now() < untilMs) {
      const refusal = await this.#attempt(wish);
      if (refusal === undefined || isMet(wish, await this.#settled(untilMs))) {
        this.#enter(wish);
        return 'done';
      }
      if (refusal.code === 'NO_HEALTHY_MAJORITY') return 'refused';
      last = `${refusal.code}: ${refusal.message}`;
      await pause(RETRY_MS);
    }
    this.#parts.history.sight('broken', `${JSON.stringify(wish)} is not done after ${CHANGED_WITHIN_MS} ms: ${last}`);
    return 'open';
  }

  /** Ends a node that is no member, for good. */
  async dismiss(nodeId: string): Promise<void> {
    const { cluster, network, leaders, onLeave } = this.#parts;
    await onLeave(nodeId);
    await leaders.unwatch(nodeId);
    await cluster.forget(nodeId);
    await network.remove(nodeId);
    await this.#reconnect();
  }

  #enter(wish: MembershipWish): void {
    if (wish.kind !== 'add') return;
    const member = this.#parts.cluster.members.find(({ nodeId }) => nodeId === wish.nodeId);
    if (member !== undefined) this.#parts.onEnter(member);
  }

  /** @returns why it is not done, as far as that is known. */
  async #attempt(wish: MembershipWish): Promise<TLedgerError | undefined> {
    try {
      await this.#client.admin.changeMembers(wish, { timeoutMs: ATTEMPT_MS });
      return undefined;
    } catch (error) {
      if (error instanceof TLedgerError) return error;
      throw error;
    }
  }

  /** The members once no change is under way any more; undefined when that takes too long. */
  async #settled(untilMs: number): Promise<Membership | undefined> {
    for (;;) {
      const status = await this.#client.admin.clusterStatus().catch(() => undefined);
      const membership = status?.membership ?? undefined;
      if (membership !== undefined && isSettled(membership)) return membership;
      if (performance.now() >= untilMs) return undefined;
      await pause(RETRY_MS);
    }
  }

  async #reconnect(): Promise<void> {
    const before = this.#client;
    this.#client = new TLedgerClient({ endpoints: this.#parts.cluster.endpoints });
    await before.close();
  }
}

function isSettled({ committed, changingOver, members }: Membership): boolean {
  return committed && !changingOver && !members.some(({ role, promote }) => role === 'learner' && promote);
}

function isMet(wish: MembershipWish, membership: Membership | undefined): boolean {
  if (membership === undefined || wish.kind === 'cancel') return false;
  const member = membership.members.find(({ nodeId }) => nodeId === wish.nodeId);
  switch (wish.kind) {
    case 'add':
      return member?.role === (wish.learnerOnly === true ? 'learner' : 'voter');
    case 'promote':
      return member?.role === 'voter';
    case 'remove':
      return member === undefined;
    case 'readdress':
      return member?.peerAddress === wish.addresses.peer;
  }
}
