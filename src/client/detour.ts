// A reader's way over the members: a node may advise to read on at another one, and the reader goes there if it can. One
// that fails is not taken at anybody's word again for a while.
import type { MemberAddress } from '../wire/ledger_messages.ts';
import type { Cluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';

/** How long advice to go to a member that failed is not followed. */
const DISTRUST_MS = 10_000;

/** Where one reader goes next. */
export class Detour {
  readonly #cluster: Cluster;
  readonly #distrustUntilMs = new Map<string, number>();
  #next: Endpoint | undefined;
  /** Where advice has led. */
  #at: Endpoint | undefined;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** The node to read from: the one advised, or any that can. @throws what `Cluster.pick` throws. */
  async endpoint(deadlineMs: number, signal: AbortSignal | undefined): Promise<Endpoint> {
    const advised = this.#next;
    this.#next = undefined;
    this.#at = advised;
    return advised ?? this.#cluster.pick(deadlineMs, signal);
  }

  /** Whether `endpoint` was advised: then its failure says nothing of the others. */
  isAt(endpoint: Endpoint | undefined): boolean {
    return endpoint !== undefined && endpoint === this.#at;
  }

  /** Takes advice. @returns whether to leave `current` now: the advised node stands ready. */
  take(advice: MemberAddress | null, current: Endpoint): boolean {
    if (advice === null) return false;
    if ((this.#distrustUntilMs.get(advice.clientAddress) ?? 0) > Date.now()) return false;
    const endpoint = this.#cluster.memberEndpoint(advice);
    if (endpoint === undefined || endpoint === current) return false;
    this.#next = endpoint;
    return true;
  }

  /** Reading at `endpoint` has ended without advice. */
  failed(endpoint: Endpoint | undefined): void {
    if (endpoint === undefined) return;
    endpoint.avoid();
    if (this.isAt(endpoint)) this.#distrustUntilMs.set(endpoint.address, Date.now() + DISTRUST_MS);
  }
}
