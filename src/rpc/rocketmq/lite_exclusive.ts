// Exclusive subscriptions: in a group that is made so, a lite topic goes to one client, the last that subscribed to it. Who that
// is stands in the log; the node of the client that had it before takes it out of what that one wants, and tells it.
//
//   c1 ── PARTIAL_ADD x ──► n1 ── claim-lite ──► o/<group>/x = c1, n1
//   c2 ── PARTIAL_ADD x ──► n2 ── claim-lite ──► o/<group>/x = c2, n2 ──► n1 ── notify_unsubscribe_lite x ──► c1
//   c1 ── COMPLETE_ADD x ─► n1: another's; c1 is told again                        (it may know no such command)
import type { LiteSubscriptionAction } from '../../wire/rocketmq/definitions.ts';
import { claimLiteCall } from '../consuming_calls.ts';
import type { Edge } from './edge.ts';
import type { GroupTopic } from './handles.ts';

/** How long a node tries to give up what a client had that is gone. */
const RELEASE_MS = 10_000;
const REQUEST_BYTES = 1_536;
const NAME_BYTES = 68;

/** What one client asks for. */
interface Claim {
  readonly clientId: string;
  readonly of: GroupTopic;
  readonly action: LiteSubscriptionAction;
  readonly names: readonly string[];
}

/** See the head of the file. For one node. */
export class ExclusiveLite {
  readonly #edge: Edge;
  readonly #forget: () => void;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#forget = edge.gateway.onOwner((group, lite) => {
      // Not while a record is applied.
      edge.clock.defer(() => this.#ownerChanged(group, lite));
    });
  }

  close(): void {
    this.#forget();
  }

  /**
   * Makes what the client asks for its own, in the log, and gives up what it does not want any more.
   * @returns what it wants then, without what is another's.
   * @throws TLedgerError LITE_SUBSCRIPTION_QUOTA_EXCEEDED; of the way to the leader, and what catching up throws.
   */
  async claim({ clientId, of, action, names }: Claim, deadlineMs: number): Promise<ReadonlySet<string>> {
    const { gateway, clients, lite } = this.#edge;
    const before = lite.of(clientId, of);
    const wanted = lite.plan(clientId, of, action, names);
    const isOthers = (name: string): boolean => {
      const owner = this.#ownerOf(of, name);
      return owner !== undefined && owner.client !== clientId;
    };
    const isOwn = (name: string): boolean => this.#ownerOf(of, name)?.node === gateway.nodeId && !isOthers(name);
    // Only who asks for a lite topic by name takes it from another.
    const asked = action === 'PARTIAL_ADD' ? names : [...wanted].filter((name) => !isOthers(name));
    const claimed = action === 'PARTIAL_REMOVE' ? [] : [...new Set(asked)].filter((name) => !isOwn(name));
    const released = [...before].filter((name) => !wanted.has(name) && isOwn(name));
    if (claimed.length + released.length > 0) {
      await this.#ask(of, clientId, { claimed, released }, deadlineMs);
      await gateway.readBarrier(deadlineMs);
    }
    // Others may have asked meanwhile.
    const after = [...lite.plan(clientId, of, action, names)];
    for (const liteTopic of after.filter(isOthers))
      clients.tell(clientId, { notifyUnsubscribeLiteCommand: { liteTopic } });
    return new Set(after.filter((name) => !isOthers(name)));
  }

  /** The client has gone: what it had is anybody's. */
  release(clientId: string, wishes: Iterable<{ readonly of: GroupTopic; readonly names: ReadonlySet<string> }>): void {
    const { clock, gateway } = this.#edge;
    for (const { of, names } of wishes) {
      const released = [...names].filter((name) => {
        const owner = this.#ownerOf(of, name);
        return owner?.client === clientId && owner.node === gateway.nodeId;
      });
      if (released.length === 0) continue;
      this.#ask(of, clientId, { claimed: [], released }, clock.monotonicMs() + RELEASE_MS).catch(() => {
        // Then they stay its own until another client asks for them.
      });
    }
  }

  #ownerChanged(group: string, liteTopic: string): void {
    const { gateway, lite, clients } = this.#edge;
    const { owners, groups } = gateway.broker.tables;
    const owner = owners.ownerOf(group, liteTopic);
    const topic = groups.get(group)?.lite?.topic;
    if (owner === undefined || topic === undefined) return;
    const of = { group, topic };
    for (const clientId of lite.wantedBy(of, liteTopic)) {
      if (clientId === owner.client) continue;
      lite.put(clientId, of, new Set([...lite.of(clientId, of)].filter((name) => name !== liteTopic)));
      clients.tell(clientId, { notifyUnsubscribeLiteCommand: { liteTopic } });
    }
  }

  #ownerOf({ group }: GroupTopic, name: string) {
    return this.#edge.gateway.broker.tables.owners.ownerOf(group, name);
  }

  #ask(
    { group }: GroupTopic,
    client: string,
    names: { readonly claimed: readonly string[]; readonly released: readonly string[] },
    deadlineMs: number,
  ): Promise<true> {
    const request = { group, client, node: this.#edge.gateway.nodeId, ...names };
    const sizeBytes = REQUEST_BYTES + NAME_BYTES * (names.claimed.length + names.released.length);
    return this.#edge.asks.ask(claimLiteCall, () => request, { sizeBytes, deadlineMs });
  }
}
