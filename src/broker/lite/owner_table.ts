// Who alone gets a lite topic, in groups where subscriptions are exclusive (ROCKETMQ §5.9): whoever subscribed to it last. The
// node that the client is connected to speaks for it: only that one gives up what the client had when it is gone.
import { assert } from '../../base/assert.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readArray } from '../state_tables.ts';

const PREFIX = 'o/';

/** A client, and the node that it is connected to. */
export interface LiteOwner {
  readonly client: string;
  readonly node: string;
}

/** `{"v":1,"type":"claim-lite","name":…,"client":…,"node":…,"claimed":[…],"released":[…]}` */
export interface ClaimLite extends LiteOwner {
  readonly type: 'claim-lite';
  /** The group. */
  readonly name: string;
  /** Lite topics that are the client's now, whoever had them. */
  readonly claimed: readonly string[];
  /** Lite topics that it gives up, if they are still its own by way of this node. */
  readonly released: readonly string[];
}

/** Told of a lite topic that somebody else may own now. */
export type OwnerListener = (group: string, lite: string) => void;

/** All owners: rows `o/<group>/<lite>` = [client, node]. */
export class LiteOwners implements StateTable {
  readonly prefix = PREFIX;
  readonly #groups = new Map<string, Map<string, LiteOwner>>();
  readonly #changed = new ChangedRows();
  readonly #listeners = new Set<OwnerListener>();

  /** Who alone gets the lite topic; undefined while nobody does. */
  ownerOf(group: string, lite: string): LiteOwner | undefined {
    return this.#groups.get(group)?.get(lite);
  }

  /** Lite topics of a group that have an owner. */
  count(group: string): number {
    return this.#groups.get(group)?.size ?? 0;
  }

  apply({ name: group, client, node, claimed, released }: ClaimLite): void {
    for (const lite of released) {
      const owner = this.ownerOf(group, lite);
      if (owner?.client === client && owner.node === node) this.#put(group, lite, null);
    }
    for (const lite of claimed) this.#put(group, lite, { client, node });
  }

  /** The group goes. */
  forget(group: string): void {
    for (const lite of [...(this.#groups.get(group)?.keys() ?? [])]) this.#put(group, lite, null);
  }

  /** Calls `listener` after each change, until the returned function is called. It must not throw. */
  onChange(listener: OwnerListener): () => void {
    const entry: OwnerListener = (group, lite) => listener(group, lite);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  takeChanges(into: RowChanges): void {
    this.#changed.take(into, (key) => {
      const owner = this.ownerOf(...partsOf(key));
      return owner === undefined ? null : JSON.stringify([owner.client, owner.node]);
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read: [group: string, lite: string, owner: LiteOwner][] = [];
    readRows(rows, (key, value) => {
      const [client, node] = readArray(value);
      assert(typeof client === 'string' && typeof node === 'string', 'an owner is a client of a node');
      read.push([...partsOf(key), { client, node }]);
    });
    this.#groups.clear();
    for (const one of read) this.#put(...one);
    this.#changed.clear();
  }

  #put(group: string, lite: string, owner: LiteOwner | null): void {
    const ofGroup = this.#groups.get(group) ?? new Map<string, LiteOwner>();
    if (owner === null) ofGroup.delete(lite);
    else ofGroup.set(lite, owner);
    if (ofGroup.size === 0) this.#groups.delete(group);
    else this.#groups.set(group, ofGroup);
    this.#changed.mark(`${PREFIX}${group}/${lite}`);
    for (const listener of this.#listeners) listener(group, lite);
  }
}

function partsOf(key: string): [group: string, lite: string] {
  const [, group, lite, ...rest] = key.split('/');
  assert(group !== undefined && lite !== undefined && rest.length === 0, 'a lite topic is owned within a group');
  return [group, lite];
}
