// One node as the client sees it: an address, a connection, and whether to avoid it for a while.
import { Client, connectivityState, credentials } from '@grpc/grpc-js';
import { clientChannelOptions } from '../wire/channel_options.ts';
import type { Int64 } from '../wire/int64.ts';
import type { Member } from '../wire/ledger_messages.ts';

const WATCH_MS = 1_000;
const AVOID_MS_FIRST = 100;
const AVOID_MS_MAX = 2_000;

/** What a node says of itself. */
export interface NodeIdentity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: string;
}

/** Who belongs to the group, as of a record of its log. */
export interface MemberList {
  readonly index: Int64;
  readonly members: readonly Pick<Member, 'nodeId' | 'clientAddress' | 'role'>[];
}

/** A connection to one node; grpc-js opens it when it is first needed and opens it again when it breaks. */
export class Endpoint {
  /** host:port */
  readonly address: string;
  readonly client: Client;
  /** Who is there, once it was asked. */
  identity: NodeIdentity | undefined;
  readonly #listeners = new Set<() => void>();
  #isWatching = false;
  #isClosed = false;
  #failures = 0;
  #avoidUntilMs = 0;

  /** @param isOwn whether the connection is shared with nobody else in this process. */
  constructor(address: string, isOwn = false) {
    this.address = address;
    const options = isOwn ? { ...clientChannelOptions, 'grpc.use_local_subchannel_pool': 1 } : clientChannelOptions;
    this.client = new Client(address, credentials.createInsecure(), options);
  }

  /** Whether the connection stands; begins to connect if not. */
  isReady(): boolean {
    return !this.#isClosed && this.client.getChannel().getConnectivityState(true) === connectivityState.READY;
  }

  /** Calls `listener` once the connection stands. @returns how to stop waiting. */
  onReady(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#watch();
    return () => this.#listeners.delete(listener);
  }

  /** Milliseconds (Date.now) until which other nodes are to be preferred. */
  get avoidUntilMs(): number {
    return this.#avoidUntilMs;
  }

  /** Notes a failure: the node is avoided for 100 ms, then twice as long each time, at most 2 s. */
  avoid(): void {
    const delayMs = Math.min(AVOID_MS_MAX, AVOID_MS_FIRST * 2 ** this.#failures);
    this.#failures++;
    this.#avoidUntilMs = Date.now() + delayMs;
  }

  /** Notes that the node answered. */
  trust(): void {
    this.#failures = 0;
    this.#avoidUntilMs = 0;
  }

  /** Ends the connection and all calls on it. */
  close(): void {
    this.#isClosed = true;
    this.#listeners.clear();
    this.client.close();
  }

  #watch(): void {
    if (this.#isWatching || this.#isClosed || this.#listeners.size === 0) return;
    const channel = this.client.getChannel();
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) {
      const listeners = [...this.#listeners];
      this.#listeners.clear();
      for (const listener of listeners) listener();
      return;
    }
    this.#isWatching = true;
    channel.watchConnectivityState(state, Date.now() + WATCH_MS, () => {
      this.#isWatching = false;
      this.#watch();
    });
  }
}

/** The first of `candidates` to be connected; undefined at `untilMs` (Date.now), or when one of `signals` is aborted. */
export function firstReady(
  candidates: readonly Endpoint[],
  untilMs: number,
  signals: readonly (AbortSignal | undefined)[],
): Promise<Endpoint | undefined> {
  return new Promise((resolve) => {
    const cancels: (() => void)[] = [];
    const settle = (endpoint: Endpoint | undefined) => {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', giveUp);
      for (const cancel of cancels) cancel();
      resolve(endpoint);
    };
    const giveUp = () => settle(undefined);
    const timer = setTimeout(giveUp, Math.max(0, untilMs - Date.now()));
    for (const signal of signals) signal?.addEventListener('abort', giveUp);
    for (const endpoint of candidates) cancels.push(endpoint.onReady(() => settle(endpoint)));
  });
}
