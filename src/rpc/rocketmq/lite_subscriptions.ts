// Which lite topics each client of this node wants (ROCKETMQ §5.9). They go with the client; a client that comes to another
// node says anew what it wants, within half a minute.
import { TLedgerError } from '../../base/errors.ts';
import type { LiteSubscriptionAction } from '../../wire/rocketmq/definitions.ts';
import type { GroupTopic } from './handles.ts';

/** Lite topics that one client may want. */
export const LITE_SUBSCRIPTIONS_MAX = 2_000;

/** What a client wants of one parent topic. */
export interface Wishes {
  readonly of: GroupTopic;
  names: ReadonlySet<string>;
}

/** See the head of the file. */
export class LiteSubscriptions {
  /** By client, then by group and topic. */
  readonly #clients = new Map<string, Map<string, Wishes>>();
  /** Who wants a lite topic: a group may have very many clients. */
  readonly #wanting = new Map<string, Set<string>>();
  readonly #listeners = new Map<string, Set<() => void>>();

  /** What the client wants of a parent topic. */
  of(clientId: string, of: GroupTopic): ReadonlySet<string> {
    return this.#clients.get(clientId)?.get(keyOf(of))?.names ?? new Set();
  }

  /** Whether another client of the group on this node wants the lite topic. */
  isWantedByOthers(clientId: string, of: GroupTopic, name: string): boolean {
    const wanting = this.#wanting.get(nameOf(of, name));
    return wanting !== undefined && wanting.size > (wanting.has(clientId) ? 1 : 0);
  }

  /** Clients of the group on this node that want the lite topic. */
  wantedBy(of: GroupTopic, name: string): string[] {
    return [...(this.#wanting.get(nameOf(of, name)) ?? [])];
  }

  /** What the client would want after an action. @throws TLedgerError LITE_SUBSCRIPTION_QUOTA_EXCEEDED */
  plan(
    clientId: string,
    of: GroupTopic,
    action: LiteSubscriptionAction,
    names: readonly string[],
  ): ReadonlySet<string> {
    const before = this.of(clientId, of);
    const after = new Set(action === 'COMPLETE_ADD' || action === 'COMPLETE_REMOVE' ? [] : before);
    if (action === 'PARTIAL_ADD' || action === 'COMPLETE_ADD') for (const name of names) after.add(name);
    if (action === 'PARTIAL_REMOVE') for (const name of names) after.delete(name);
    let count = after.size - before.size;
    for (const wishes of this.#clients.get(clientId)?.values() ?? []) count += wishes.names.size;
    if (count <= LITE_SUBSCRIPTIONS_MAX || after.size <= before.size) return after;
    throw new TLedgerError(
      'LITE_SUBSCRIPTION_QUOTA_EXCEEDED',
      `the client wants ${count} lite topics; at most ${LITE_SUBSCRIPTIONS_MAX} are allowed`,
    );
  }

  /** It wants these now. */
  put(clientId: string, of: GroupTopic, names: ReadonlySet<string>): void {
    const wishes = this.#clients.get(clientId) ?? new Map<string, Wishes>();
    const before = this.of(clientId, of);
    wishes.set(keyOf(of), { of, names });
    this.#clients.set(clientId, wishes);
    for (const name of before) if (!names.has(name)) this.#unwant(clientId, of, name);
    for (const name of names) this.#want(clientId, of, name);
    const isSame = before.size === names.size && [...names].every((name) => before.has(name));
    if (isSame) return;
    for (const listener of [...(this.#listeners.get(clientId) ?? [])]) listener();
  }

  /** The client has gone. @returns what it wanted. */
  forget(clientId: string): Wishes[] {
    const wishes = [...(this.#clients.get(clientId)?.values() ?? [])];
    this.#clients.delete(clientId);
    for (const { of, names } of wishes) for (const name of names) this.#unwant(clientId, of, name);
    return wishes;
  }

  /** Calls `listener` whenever the client wants something else, until the returned function is called. */
  onChange(clientId: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(clientId) ?? new Set();
    this.#listeners.set(clientId, listeners);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(clientId) === listeners) this.#listeners.delete(clientId);
    };
  }

  #want(clientId: string, of: GroupTopic, name: string): void {
    const key = nameOf(of, name);
    const wanting = this.#wanting.get(key) ?? new Set<string>();
    wanting.add(clientId);
    this.#wanting.set(key, wanting);
  }

  #unwant(clientId: string, of: GroupTopic, name: string): void {
    const key = nameOf(of, name);
    const wanting = this.#wanting.get(key);
    wanting?.delete(clientId);
    if (wanting?.size === 0) this.#wanting.delete(key);
  }
}

const keyOf = ({ group, topic }: GroupTopic): string => `${group}/${topic}`;
const nameOf = (of: GroupTopic, name: string): string => `${keyOf(of)}/${name}`;
