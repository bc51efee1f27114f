// All ways of a local cluster through proxies: one for each member to each other member, and one from clients to each
// node. Faults speak of packets ("nothing from n0 reaches n1"); a connection carries packets both ways, whoever dialled.
import type { ClusterRoutes, LocalMember } from '../../src/server/local_cluster.ts';
import { type Direction, TcpProxy } from './tcp_proxy.ts';

/** Ends a fault of the network. */
export type Heal = () => void;

/** Stands for all clients in place of a node's id. */
export const CLIENTS = 'clients';

const portOf = (address: string): number => Number(address.split(':').at(-1));

/** The network of one cluster. */
export class Network {
  /** By who dials and who is dialled. */
  readonly #ways = new Map<string, TcpProxy>();

  /** Opens all ways; hand it to `LocalClusterOptions.routes`. */
  async open(members: readonly LocalMember[]): Promise<ClusterRoutes> {
    for (const to of members) {
      this.#ways.set(wayOf(CLIENTS, to.nodeId), await TcpProxy.open(portOf(to.clientAddress)));
      for (const from of members) {
        if (from === to) continue;
        this.#ways.set(wayOf(from.nodeId, to.nodeId), await TcpProxy.open(portOf(to.peerAddress)));
      }
    }
    return { peer: (from, to) => this.#way(from, to).address, client: (to) => this.clientAddress(to) };
  }

  /** host:port at which clients find a node. */
  clientAddress(nodeId: string): string {
    return this.#way(CLIENTS, nodeId).address;
  }

  /** Nothing that any of `from` sends reaches any of `to`. */
  cutOneWay(from: readonly string[], to: readonly string[]): Heal {
    const heals: Heal[] = [];
    const cut = (dialler: string, target: string, direction: Direction): void => {
      const heal = this.#ways.get(wayOf(dialler, target))?.cut(direction);
      if (heal !== undefined) heals.push(heal);
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
    await Promise.all([...this.#ways.values()].map((way) => way.close()));
  }

  #between(one: readonly string[], other: readonly string[]): TcpProxy[] {
    const pairs = one.flatMap((a) => other.flatMap((b) => [wayOf(a, b), wayOf(b, a)]));
    return [...new Set(pairs)].flatMap((pair) => this.#ways.get(pair) ?? []);
  }

  #way(from: string, to: string): TcpProxy {
    const way = this.#ways.get(wayOf(from, to));
    if (way === undefined) throw new Error(`there is no way from ${from} to ${to}`);
    return way;
  }
}

const wayOf = (from: string, to: string): string => `${from}>${to}`;
