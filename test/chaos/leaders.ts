// Who leads, as every node says for itself: one watch on each node's own port, past the proxies, so that an isolated node
// does not hide the others' leader.
import { Endpoint } from '../../src/client/endpoint.ts';
import { serverStream } from '../../src/client/server_stream.ts';
import type { LocalMember } from '../../src/server/local_cluster.ts';
import { ledgerService } from '../../src/wire/services.ts';
import type { History } from './history.ts';
import { pause } from './pause.ts';

const RETRY_MS = 50;

/** Follows all nodes; two leaders of one term are a broken promise. */
export class Leaders {
  readonly #history: History;
  readonly #watches = new Map<string, { readonly stop: AbortController; readonly ended: Promise<void> }>();
  readonly #leaderOf = new Map<number, string>();
  readonly #onLeader: (nodeId: string, term: number) => void;
  #term = 0;

  constructor(
    members: readonly LocalMember[],
    history: History,
    onLeader: (nodeId: string, term: number) => void = () => {},
  ) {
    this.#history = history;
    this.#onLeader = onLeader;
    for (const member of members) this.watch(member);
  }

  /** Follows one more node. */
  watch({ nodeId, clientAddress }: LocalMember): void {
    const stop = new AbortController();
    this.#watches.set(nodeId, { stop, ended: this.#watch(clientAddress, stop.signal) });
  }

  /** Follows a node no more. */
  async unwatch(nodeId: string): Promise<void> {
    const watch = this.#watches.get(nodeId);
    this.#watches.delete(nodeId);
    watch?.stop.abort();
    await watch?.ended;
  }

  /** The latest leader that any node named. */
  get current(): string | undefined {
    return this.#leaderOf.get(this.#term);
  }

  /** The latest term that had a leader. */
  get term(): number {
    return this.#term;
  }

  /** Terms that had a leader, after the first. */
  get changes(): number {
    return Math.max(0, this.#leaderOf.size - 1);
  }

  /** Resolves with whether a term after `term` got a leader in time. */
  async after(term: number, timeoutMs: number): Promise<boolean> {
    const untilMs = performance.now() + timeoutMs;
    while (this.#term <= term && performance.now() < untilMs) await pause(10);
    return this.#term > term;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watches.keys()].map((nodeId) => this.unwatch(nodeId)));
  }

  async #watch(address: string, signal: AbortSignal): Promise<void> {
    const endpoint = new Endpoint(address);
    while (!signal.aborted) {
      try {
        for await (const { leader } of serverStream(endpoint, ledgerService.watchMetadata, { topics: [] }, [signal])) {
          if (leader !== null) this.#heard(leader.nodeId, Number(leader.term));
        }
      } catch {
        // The node is down or does not answer: ask it again.
      }
      await pause(RETRY_MS, signal);
    }
    endpoint.close();
  }

  #heard(nodeId: string, term: number): void {
    const known = this.#leaderOf.get(term);
    if (known !== undefined && known !== nodeId) {
      this.#history.sight('diverged', `term ${term} has two leaders: ${known} and ${nodeId}`);
    }
    if (known !== undefined) return;
    this.#leaderOf.set(term, nodeId);
    if (term <= this.#term) return;
    this.#term = term;
    this.#onLeader(nodeId, term);
  }
}
