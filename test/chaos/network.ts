// The network of a local cluster: every node is told by one address for members and one for clients, both of proxies, and
// every pair of nodes has a way of its own over them. Faults speak of packets ("nothing from n0 reaches n1"); a connection
// carries packets both ways, whoever dialled. Nodes may come and go.
import { dirname } from 'node:path';
import type { ClusterRoutes, LocalMember } from '../../src/server/local_cluster.ts';
import { Diallers } from './diallers.ts';
import { type Direction, TcpProxy, Way } from './tcp_proxy.ts';

/** Ends a fault of the network. */
export type Heal = () => void;

/** Stands for all clients in place of a node's id. */
export const CLIENTS = 'clients';

/** Where a node is said to be, `host:port` each. */
export interface Addresses {
  readonly client: string;
  readonly peer: string;
}

const portOf = (address: string): number => Number(address.split(':').at(-1));

/** The network of one cluster. */
export class Network {
  #diallers: Diallers | undefined;
  /** By who dials and who is dialled. */
  readonly #ways = new Map<string, Way>();
  readonly #proxies = new Map<string, readonly TcpProxy[]>();
  /** Of all nodes that ever were: founders go on naming each other. */
  readonly #addresses = new Map<string, Addresses>();

  /** Makes ways to the nodes that found the group; hand it to `LocalClusterOptions.routes`. */
  async open(members: readonly LocalMember[]): Promise<ClusterRoutes> {
    // Nodes are told from other processes by the data they hold.
    this.#diallers = new Diallers(dirname(members[0]!.dataDir));
    for (const member of members) await this.add(member);
    return { peer: (_from, to) => this.addressesOf(to).peer, client: (to) => this.addressesOf(to).client };
  }

  /** Makes ways to one more node. @returns what the group is to be told. */
  async add({ nodeId, clientAddress, peerAddress }: LocalMember): Promise<Addresses> {
    const client = await TcpProxy.open(portOf(clientAddress), () => this.#way(CLIENTS, nodeId));
    const peer = await TcpProxy.open(portOf(peerAddress), (port) => {
      const dialler = this.#diallers?.nodeAt(port);
      return dialler === undefined ? undefined : this.#way(dialler, nodeId);
    });
    const addresses = { client: client.address, peer: peer.address };
    this.#proxies.set(nodeId, [client, peer]);
    this.#addresses.set(nodeId, addresses);
    return addresses;
  }

  /** Ends the ways to a node for good. */
  async remove(nodeId: string): Promise<void> {
    const proxies = this.#proxies.get(nodeId) ?? [];
    this.#proxies.delete(nodeId);
    for (const [key, way] of this.#ways) if (key.endsWith(`>${nodeId}`)) way.close();
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }

  /** Where a node is said to be, or was. */
  addressesOf(nodeId: string): Addresses {
    const addresses = this.#addresses.get(nodeId);
    if (addresses === undefined) throw new Error(`there is no way to ${nodeId}`);
    return addresses;
  }

  /** Nothing that any of `from` sends reaches any of `to`. */
  cutOneWay(from: readonly string[], to: readonly string[]): Heal {
    const heals: Heal[] = [];
    const cut = (dialler: string, target: string, direction: Direction): void => {
      heals.push(this.#way(dialler, target).cut(direction));
    };
    for (const sender of from) {
      for (const receiver of to) {
        cut(sender, receiver, 'forward');
        cut(receiver, sender, 'backward');
      }
    }
    return () => {
      for (const heal of heals) heal();
    };
  }

  /** Nothing passes between `one` and `other`. */
  cut(one: readonly string[], other: readonly string[]): Heal {
    const heals = [this.cutOneWay(one, other), this.cutOneWay(other, one)];
    return () => {
      for (const heal of heals) heal();
    };
  }

  /** Resets every connection between `one` and `other`. */
  reset(one: readonly string[], other: readonly string[]): void {
    for (const way of this.#between(one, other)) way.reset();
  }

  /** Everything between `one` and `other` takes so much longer, each way. */
  delay(one: readonly string[], other: readonly string[], delayMs: number): Heal {
    const ways = this.#between(one, other);
    for (const way of ways) way.delayMs += delayMs;
    return () => {
      for (const way of ways) way.delayMs -= delayMs;
    };
  }

  /** How much the faults have done so far: held and delayed pieces, reset connections. */
  get traces(): number {
    let sum = 0;
    for (const { trace } of this.#ways.values()) sum += trace.held + trace.delayed + trace.resets;
    return sum;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#proxies.keys()].map((nodeId) => this.remove(nodeId)));
  }

  #between(one: readonly string[], other: readonly string[]): Way[] {
    const pairs = one.flatMap((a) => other.flatMap((b) => (a === b ? [] : [this.#way(a, b), this.#way(b, a)])));
    return [...new Set(pairs)];
  }

  #way(from: string, to: string): Way {
    const key = wayOf(from, to);
    const known = this.#ways.get(key);
    if (known !== undefined) return known;
    const way = new Way();
    this.#ways.set(key, way);
    return way;
  }
}

const wayOf = (from: string, to: string): string => `${from}>${to}`;
