// A group of real node processes on this machine: for `tledger up`, the demonstration, tests and benches.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { TLedgerClient } from '../client/client.ts';
import { flagOf, type SettingKey } from '../config/schema.ts';
import { type ChildExit, ChildNode } from './child_node.ts';
import { assertPortsFree, freePorts } from './ports.ts';

/** What happens in a local cluster. */
export type ClusterEvent =
  | { readonly kind: 'started'; readonly nodeId: string; readonly pid: number }
  | ({ readonly kind: 'exited'; readonly nodeId: string } & ChildExit)
  | { readonly kind: 'leader'; readonly nodeId: string; readonly term: number; readonly clientAddress: string }
  /** The leader's process has ended; a `leader` follows when another one leads. */
  | { readonly kind: 'leaderless' }
  /** A restart that was due failed; it is tried again. */
  | { readonly kind: 'restart-failed'; readonly nodeId: string; readonly reason: string };

/** Who leads. */
export interface LocalLeader {
  readonly nodeId: string;
  readonly term: number;
}

/** Ways to the nodes that lead through something else, e.g. proxies that can be cut. */
export interface ClusterRoutes {
  /** host:port under which node `from` reaches the peer port of `to`. */
  readonly peer: (from: string, to: string) => string;
  /** host:port that is named to clients for a node's client port. The cluster itself goes to the port directly. */
  readonly client: (to: string) => string;
}

/** How a local cluster is made. */
export interface LocalClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** Node data lies in n0, n1 … below it, and is kept. A temporary directory that `stop` removes by default. */
  readonly dataDir?: string;
  /** First client and peer port, the nodes' follow; free ports by default. */
  readonly ports?: { readonly client: number; readonly peer: number };
  /** Makes the ways to the nodes, before the first of them starts; all are direct by default. */
  readonly routes?: (members: readonly LocalMember[]) => Promise<ClusterRoutes>;
  /** Settings of every node beside those that tell them apart. */
  readonly settings?: Readonly<Partial<Record<SettingKey, string | number>>>;
  /** Start a node again when it died by itself or was killed from outside. Default false. */
  readonly restart?: boolean;
  readonly onEvent?: (event: ClusterEvent) => void;
  /** How long a node may take until it takes part. Default 30,000. */
  readonly startTimeoutMs?: number;
  /** How long a stopping node may take until it is killed. Default 15,000. */
  readonly stopTimeoutMs?: number;
}

const HOST = '127.0.0.1';
const NODES_MAX = 9;
const RESTART_DELAY_MS = 500;
const LEADER_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

/** A node of a local cluster and where it listens. */
export interface LocalMember {
  readonly nodeId: string;
  readonly clientAddress: string;
  readonly peerAddress: string;
  readonly dataDir: string;
}

/** A running local cluster. */
export class LocalCluster {
  /** Directory above the nodes' own. */
  readonly dataDir: string;
  readonly #options: LocalClusterOptions;
  readonly #founders: readonly LocalMember[];
  /** Nodes that were started to join later on, members by now or not. */
  readonly #joiners: LocalMember[] = [];
  readonly #routes: ClusterRoutes | undefined;
  readonly #children = new Map<string, ChildNode>();
  readonly #expectedExits = new Set<string>();
  readonly #forgotten = new Set<string>();
  readonly #watching = new AbortController();
  readonly #leaderWaiters = new Set<() => void>();
  readonly #client: TLedgerClient;
  #leader: LocalLeader | null = null;
  /** Highest term heard of, so that old news is not taken for new. */
  #term = 0;
  #stopping: Promise<void> | undefined;

  private constructor(
    options: LocalClusterOptions,
    dataDir: string,
    members: readonly LocalMember[],
    routes: ClusterRoutes | undefined,
  ) {
    this.#options = options;
    this.dataDir = dataDir;
    this.#founders = members;
    this.#routes = routes;
    this.#client = new TLedgerClient({ endpoints: this.endpoints });
  }

  /**
   * Starts all nodes; resolves when all take part (there may be no leader yet, see `waitForLeader`).
   * @throws TLedgerError PORT_IN_USE, DATA_DIR_LOCKED and the like, naming what is taken; all nodes are ended then.
   */
  static async start(options: LocalClusterOptions = {}): Promise<LocalCluster> {
    const count = options.nodes ?? 3;
    if (!Number.isInteger(count) || count < 1 || count > NODES_MAX) {
      throw new TLedgerError('INVALID_CONFIG', `a local cluster has 1 to ${NODES_MAX} nodes, not ${count}`);
    }
    const { client, peer } = await choosePorts(count, options.ports);
    const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'tledger-'));
    const members = Array.from({ length: count }, (_, at) => ({
      nodeId: `n${at}`,
      clientAddress: `${HOST}:${client[at]}`,
      peerAddress: `${HOST}:${peer[at]}`,
      dataDir: join(dataDir, `n${at}`),
    }));
    const cluster = new LocalCluster(options, dataDir, members, await options.routes?.(members));
    const started = await Promise.allSettled(members.map((member) => cluster.#startNode(member)));
    const failed = started.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      await cluster.stop();
      throw failed.reason;
    }
    void cluster.#watchLeader();
    return cluster;
  }

  /** All nodes but those that were forgotten, dead or alive, in the order in which they came. */
  get members(): readonly LocalMember[] {
    return [...this.#founders.filter(({ nodeId }) => !this.#forgotten.has(nodeId)), ...this.#joiners];
  }

  /** Client addresses of all nodes, dead or alive. */
  get endpoints(): string[] {
    return this.members.map((member) => member.clientAddress);
  }

  /** Who leads, as far as is known; null from the death of a leader to the next. */
  get leader(): LocalLeader | null {
    return this.#leader;
  }

  /** Whether the node's process runs. */
  isRunning(nodeId: string): boolean {
    return this.#children.get(nodeId)?.isRunning ?? false;
  }

  /** The node's process. @throws TLedgerError UNKNOWN_NODE when it does not run. */
  pidOf(nodeId: string): number {
    return this.#child(nodeId).pid;
  }

  /** Resolves with the leader once there is one. @throws TLedgerError NO_LEADER after `timeoutMs`. */
  async waitForLeader(timeoutMs = LEADER_TIMEOUT_MS): Promise<LocalLeader> {
    const deadlineMs = performance.now() + timeoutMs;
    while (this.#leader === null) {
      const remainingMs = deadlineMs - performance.now();
      if (remainingMs <= 0 || this.#stopping !== undefined) {
        throw new TLedgerError('NO_LEADER', `no leader after ${timeoutMs} ms`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, remainingMs);
        this.#leaderWaiters.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.#leader;
  }

  /** Signals a node's process; SIGKILL and SIGTERM are waited for, and nobody restarts it then but `restart`. */
  async kill(nodeId: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child(nodeId);
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.#expectedExits.add(nodeId);
    await child.kill(signal);
  }

  /** Starts a node that is not running, on the same ports and data. */
  async restart(nodeId: string): Promise<void> {
    const member = this.#memberOf(nodeId);
    if (this.isRunning(nodeId)) throw new TLedgerError('INVALID_ARGUMENT', `${nodeId} is running`);
    await this.#startNode(member);
  }

  /**
   * Starts one more node, on free ports and with no data, that waits to be added to the group.
   * @returns where it listens: what the group has to be told.
   * @throws TLedgerError INVALID_ARGUMENT when the name is taken, and what a node cannot start for.
   */
  async startJoining(nodeId: string): Promise<LocalMember> {
    const isTaken = this.members.some((one) => one.nodeId === nodeId);
    if (isTaken) throw new TLedgerError('INVALID_ARGUMENT', `the cluster has a node ${nodeId}`);
    const [client, peer] = await freePorts(2);
    const member: LocalMember = {
      nodeId,
      clientAddress: `${HOST}:${client}`,
      peerAddress: `${HOST}:${peer}`,
      dataDir: join(this.dataDir, nodeId),
    };
    this.#joiners.push(member);
    await this.#startNode(member);
    return member;
  }

  /** Ends a node for good and removes its data: one that was removed from the group, or never became a member. */
  async forget(nodeId: string): Promise<void> {
    const member = this.#memberOf(nodeId);
    this.#expectedExits.add(nodeId);
    await this.#children.get(nodeId)?.stop(this.#options.stopTimeoutMs ?? STOP_TIMEOUT_MS);
    this.#forgotten.add(nodeId);
    if (this.#joiners.includes(member)) this.#joiners.splice(this.#joiners.indexOf(member), 1);
    rmSync(member.dataDir, { recursive: true, force: true });
  }

  /** Ends all nodes (SIGTERM, after a while SIGKILL) and removes a temporary data directory. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#watching.abort();
    this.#wakeWaiters();
    await this.#client.close();
    await Promise.all(
      [...this.#children.values()].map((child) => child.stop(this.#options.stopTimeoutMs ?? STOP_TIMEOUT_MS)),
    );
    if (this.#options.dataDir === undefined) rmSync(this.dataDir, { recursive: true, force: true });
  }

  async #startNode(member: LocalMember): Promise<void> {
    const child = await ChildNode.start({
      nodeId: member.nodeId,
      flags: this.#flagsOf(member),
      logFile: join(member.dataDir, 'node.log'),
      startTimeoutMs: this.#options.startTimeoutMs ?? 30_000,
      onExit: (exit) => this.#exited(member, exit),
    });
    this.#expectedExits.delete(member.nodeId);
    this.#children.set(member.nodeId, child);
    if (this.#stopping !== undefined) await child.stop(0);
    else this.#emit({ kind: 'started', nodeId: member.nodeId, pid: child.pid });
  }

  #flagsOf(member: LocalMember): string[] {
    const { nodeId } = member;
    // A node names itself as the others do: what it says may become what all of them go by.
    const peerOf = (one: LocalMember): string => this.#routes?.peer(nodeId, one.nodeId) ?? one.peerAddress;
    const clientOf = (one: LocalMember): string => this.#routes?.client(one.nodeId) ?? one.clientAddress;
    const own: Partial<Record<SettingKey, string | number>> = {
      nodeId,
      ...(this.#founders.includes(member)
        ? {
            peers: this.#founders.map((one) => `${one.nodeId}=${peerOf(one)}`).join(','),
            clientAddresses: this.#founders.map((one) => `${one.nodeId}=${clientOf(one)}`).join(','),
          }
        : { join: 'true' }),
      clientListen: member.clientAddress,
      peerListen: member.peerAddress,
      dataDir: member.dataDir,
    };
    const settings = { ...this.#options.settings, ...own };
    return Object.entries(settings).flatMap(([key, value]) => [flagOf(key as SettingKey), String(value)]);
  }

  #exited(member: LocalMember, exit: ChildExit): void {
    if (this.#stopping !== undefined || !this.#children.has(member.nodeId)) return;
    this.#children.delete(member.nodeId);
    this.#emit({ kind: 'exited', nodeId: member.nodeId, ...exit });
    if (this.#leader?.nodeId === member.nodeId) {
      this.#leader = null;
      this.#emit({ kind: 'leaderless' });
    }
    if (this.#options.restart === true && !this.#expectedExits.has(member.nodeId)) this.#restartLater(member);
  }

  #restartLater(member: LocalMember): void {
    setTimeout(() => {
      if (this.#stopping !== undefined || this.isRunning(member.nodeId)) return;
      this.#startNode(member).catch((error: Error) => {
        this.#emit({ kind: 'restart-failed', nodeId: member.nodeId, reason: error.message });
        this.#restartLater(member);
      });
    }, RESTART_DELAY_MS);
  }

  /** Follows who leads through whichever node can be reached. */
  async #watchLeader(): Promise<void> {
    const { signal } = this.#watching;
    while (!signal.aborted) {
      try {
        for await (const { leader } of this.#client.admin.watch({ signal })) {
          if (leader !== null) this.#heard(leader.nodeId, Number(leader.term), leader.clientAddress);
        }
      } catch {
        // Nobody could be reached for a while: ask on.
      }
    }
  }

  #heard(nodeId: string, term: number, clientAddress: string): void {
    if (this.#stopping !== undefined || term <= this.#term) return;
    this.#term = term;
    // News of a leader that died meanwhile: the next one will have a higher term.
    if (!this.isRunning(nodeId)) return;
    this.#leader = { nodeId, term };
    this.#emit({ kind: 'leader', nodeId, term, clientAddress });
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    for (const wake of this.#leaderWaiters) wake();
    this.#leaderWaiters.clear();
  }

  #emit(event: ClusterEvent): void {
    this.#options.onEvent?.(event);
  }

  #memberOf(nodeId: string): LocalMember {
    const member = this.members.find((one) => one.nodeId === nodeId);
    if (member === undefined) throw new TLedgerError('UNKNOWN_NODE', `the cluster has no node ${nodeId}`);
    return member;
  }

  #child(nodeId: string): ChildNode {
    const child = this.#children.get(nodeId);
    if (child === undefined) throw new TLedgerError('UNKNOWN_NODE', `${nodeId} is not running`);
    return child;
  }
}

async function choosePorts(count: number, ports: LocalClusterOptions['ports']) {
  if (ports === undefined) {
    const free = await freePorts(2 * count);
    return { client: free.slice(0, count), peer: free.slice(count) };
  }
  const rowFrom = (first: number): number[] => Array.from({ length: count }, (_, at) => first + at);
  const chosen = { client: rowFrom(ports.client), peer: rowFrom(ports.peer) };
  await assertPortsFree(HOST, [...chosen.client, ...chosen.peer]);
  return chosen;
}
