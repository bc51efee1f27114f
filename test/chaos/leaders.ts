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
  readonly #stop = new AbortController();
  readonly #endpoints: readonly Endpoint[];
  readonly #watching: readonly Promise<void>[];
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
    this.#endpoints = members.map((member) => new Endpoint(member.clientAddress));
    this.#watching = this.#endpoints.map((endpoint) => this.#watch(endpoint));
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
    this.#stop.abort();
    for (const endpoint of this.#endpoints) endpoint.close();
    await Promise.all(this.#watching);
  }

  async #watch(endpoint: Endpoint): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const { leader } of serverStream(endpoint, ledgerService.watchMetadata, { topics: [] }, [signal])) {
          if (leader !== null) this.#heard(leader.nodeId, Number(leader.term));
        }
      } catch {
        // The node is down or does not answer: ask it again.
      }
      await pause(RETRY_MS);
    }
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
