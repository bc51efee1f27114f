// Kills whoever leads, again and again, and starts it again a little later.
import type { Admin } from '../../src/client/admin.ts';
import type { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause } from '../chaos/pause.ts';

/** How it kills. */
export interface KillerOptions {
  /** From one death to the next, at least. */
  readonly everyMs: number;
  /** From a death until the node is started again. Default 2,000. */
  readonly downMs?: number;
  /** A node that is never killed: when it leads, another one is made to lead first. */
  readonly spared?: string;
  readonly onKill?: (nodeId: string) => void;
}

const DOWN_MS = 2_000;

/** Runs until it is stopped. */
export class Killer {
  readonly #cluster: LocalCluster;
  readonly #admin: Admin;
  readonly #options: KillerOptions;
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  #kills = 0;

  constructor(cluster: LocalCluster, admin: Admin, options: KillerOptions) {
    this.#cluster = cluster;
    this.#admin = admin;
    this.#options = options;
    this.#ended = this.#run();
  }

  /** Leaders killed so far. */
  get kills(): number {
    return this.#kills;
  }

  /** Resolves when all nodes run again. @throws what starting one of them threw. */
  stop(): Promise<void> {
    this.#stopping.abort();
    return this.#ended;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { everyMs } = this.#options;
    for (;;) {
      const beganMs = performance.now();
      await pause(everyMs / 2, signal);
      if (signal.aborted) return;
      await this.#killLeader();
      await pause(everyMs - (performance.now() - beganMs), signal);
      if (signal.aborted) return;
    }
  }

  async #killLeader(): Promise<void> {
    const { spared, downMs = DOWN_MS, onKill } = this.#options;
    const { nodeId } = await this.#cluster.waitForLeader();
    if (nodeId === spared) return this.#moveOn(spared);
    onKill?.(nodeId);
    await this.#cluster.kill(nodeId);
    this.#kills++;
    await pause(downMs);
    await this.#cluster.restart(nodeId);
  }

  async #moveOn(from: string): Promise<void> {
    const other = this.#cluster.members.find(({ nodeId }) => nodeId !== from)!;
    await this.#admin.transferLeadership(other.nodeId).catch(() => {
      // Then it is moved next time.
    });
    const { nodeId } = await this.#cluster.waitForLeader();
    if (nodeId !== from) await this.#killLeader();
  }
}
