// What a fault may touch: the cluster, its network, and who leads. Keeps two faults at a time off the same node, and
// knows which processes were meant to end.
import { readFileSync } from 'node:fs';
import type { TLedgerClient } from '../../src/client/index.ts';
import { type ChildExit, describeExit } from '../../src/server/child_node.ts';
import type { LocalCluster } from '../../src/server/local_cluster.ts';
import type { Cast } from './cast.ts';
import type { History } from './history.ts';
import type { Leaders } from './leaders.ts';
import type { Network } from './network.ts';
import { pause } from './pause.ts';

/** The parts of a stage. */
export interface StageParts {
  readonly cluster: LocalCluster;
  readonly network: Network;
  readonly leaders: Leaders;
  readonly history: History;
  readonly cast: Cast;
}

/** Where faults happen. */
export class Stage {
  readonly cluster: LocalCluster;
  readonly network: Network;
  readonly leaders: Leaders;
  readonly history: History;
  readonly cast: Cast;
  readonly #taken = new Set<string>();
  readonly #doomed = new Map<string, NodeJS.Signals>();

  constructor(parts: StageParts) {
    this.cluster = parts.cluster;
    this.network = parts.network;
    this.leaders = parts.leaders;
    this.history = parts.history;
    this.cast = parts.cast;
  }

  /** Reaches the nodes past the proxies. */
  get client(): TLedgerClient {
    return this.cast.client;
  }

  get nodeIds(): readonly string[] {
    return this.cluster.members.map(({ nodeId }) => nodeId);
  }

  /** Everybody but these. */
  others(nodeIds: readonly string[]): readonly string[] {
    return this.nodeIds.filter((nodeId) => !nodeIds.includes(nodeId));
  }

  /** The leader, if it is known, runs, and no other fault has it. */
  freeLeader(): string | undefined {
    const leader = this.leaders.current;
    return leader !== undefined && this.#isFree(leader) ? leader : undefined;
  }

  /** Followers that run and that no other fault has. */
  freeFollowers(): readonly string[] {
    return this.nodeIds.filter((nodeId) => nodeId !== this.leaders.current && this.#isFree(nodeId));
  }

  /** Runs a fault on nodes that no other one may touch meanwhile. */
  async holding<T>(nodeIds: readonly string[], fault: () => Promise<T>): Promise<T> {
    for (const nodeId of nodeIds) this.#taken.add(nodeId);
    try {
      return await fault();
    } finally {
      for (const nodeId of nodeIds) this.#taken.delete(nodeId);
    }
  }

  /** Ends a node that is no member, for good, once no fault has it any more. */
  async dismiss(nodeId: string): Promise<void> {
    while (this.#taken.has(nodeId)) await pause(10);
    await this.holding([nodeId], () => this.dismissHeld(nodeId));
  }

  /** The same for a node that the calling fault has. */
  async dismissHeld(nodeId: string): Promise<void> {
    this.#doomed.set(nodeId, 'SIGTERM');
    await this.cast.dismiss(nodeId);
    this.#doomed.delete(nodeId);
  }

  /** Ends a process as a fault. */
  async end(nodeId: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#doomed.set(nodeId, signal);
    await this.cluster.kill(nodeId, signal);
    this.#doomed.delete(nodeId);
  }

  /** A process ended: by itself is a broken promise, and so is an exit code after SIGTERM. */
  exited(nodeId: string, exit: ChildExit): void {
    const signal = this.#doomed.get(nodeId);
    const isExpected = signal === 'SIGTERM' ? exit.code === 0 : signal === 'SIGKILL' && exit.signal === signal;
    if (!isExpected) this.history.sight('broken', `${nodeId} (${signal ?? 'left alone'}) ${describeExit(exit)}`);
  }

  /** Whether the process is stopped by a signal. */
  isPaused(nodeId: string): boolean {
    const status = readFileSync(`/proc/${this.cluster.pidOf(nodeId)}/stat`, 'utf8');
    return /\) T /.test(status);
  }

  #isFree(nodeId: string): boolean {
    return !this.#taken.has(nodeId) && this.cluster.isRunning(nodeId);
  }
}
