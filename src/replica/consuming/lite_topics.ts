// Makes lite topics on the leader, and binds groups to their parent: which queue a lite topic gets, which parent a group, is
// decided when the command is applied, so that two that come to be at once never meet. Here they are bounded.
import { TLedgerError } from '../../base/errors.ts';
import type { Broker } from '../../broker/broker.ts';
import { checkGroupName, type LiteBinding } from '../../broker/consuming/groups.ts';
import { checkLiteName } from '../../broker/lite/lite_table.ts';
import type { LiteOwner } from '../../broker/lite/owner_table.ts';
import type { TopicInfo } from '../../broker/types.ts';
import { withDeadline } from '../deadline.ts';
import type { LeaderPort } from './port.ts';
import { consumingLimits } from './types.ts';

/** A lite topic of a parent topic. */
export interface AddLiteRequest {
  readonly topic: string;
  readonly lite: string;
}

/** A group that subscribes to lite topics of a parent topic. */
export interface BindLiteRequest {
  readonly group: string;
  readonly topic: string;
}

/** Lite topics that one client of an exclusive group gets from now on, and that it gives up. */
export interface ClaimLiteRequest extends LiteOwner {
  readonly group: string;
  readonly claimed: readonly string[];
  readonly released: readonly string[];
}

/** On the leader of a group; refuses with NOT_LEADER elsewhere. */
export class LiteTopics {
  readonly #port: Pick<LeaderPort, 'broker' | 'clock' | 'isServing' | 'command'>;
  readonly #beginning = new Map<string, Promise<number>>();

  constructor(port: Pick<LeaderPort, 'broker' | 'clock' | 'isServing' | 'command'>) {
    this.#port = port;
  }

  /**
   * The queue of a lite topic, which comes to be if there is none of that name.
   * @throws TLedgerError ILLEGAL_LITE_TOPIC, TOPIC_NOT_FOUND, MESSAGE_TYPE_MISMATCH, LITE_TOPIC_QUOTA_EXCEEDED;
   * OUTCOME_UNKNOWN at the deadline; what `LeaderPort.command` throws.
   */
  async add({ topic, lite }: AddLiteRequest, deadlineMs: number): Promise<number> {
    checkLiteName(lite);
    if (!this.#port.isServing) throw new TLedgerError('NOT_LEADER');
    const known = this.#port.broker.tables.lite.queueOf(topic, lite);
    if (known !== undefined) return known;
    const name = `${topic}/${lite}`;
    let begun = this.#beginning.get(name);
    if (begun === undefined) {
      this.#checkRoom(topic);
      begun = this.#begin(topic, lite).finally(() => this.#beginning.delete(name));
      this.#beginning.set(name, begun);
    }
    return withDeadline(this.#port.clock, begun, deadlineMs);
  }

  /**
   * What the group is bound to: that parent topic if to none so far. Makes the group if it is not there.
   * @throws TLedgerError ILLEGAL_GROUP, TOPIC_NOT_FOUND, MESSAGE_TYPE_MISMATCH, TOO_MANY_GROUPS; GROUP_NOT_FOUND when it was
   * deleted meanwhile; OUTCOME_UNKNOWN at the deadline; what `LeaderPort.command` throws.
   */
  async bind({ group: name, topic }: BindLiteRequest, deadlineMs: number): Promise<LiteBinding> {
    checkGroupName(name);
    if (!this.#port.isServing) throw new TLedgerError('NOT_LEADER');
    const { clock, broker } = this.#port;
    const { groups } = broker.tables;
    const known = groups.get(name);
    if (known?.lite !== undefined) return known.lite;
    parentOf(broker, topic);
    if (known === undefined && groups.count >= consumingLimits.groupsMax) {
      throw new TLedgerError('TOO_MANY_GROUPS', `there are ${groups.count} consumer groups, as many as there may be`);
    }
    const bound = this.#port.command({ type: 'bind-lite', name, topic, createdAtMs: clock.wallMs() });
    await withDeadline(clock, bound, deadlineMs);
    const { lite } = groups.get(name) ?? {};
    if (lite === undefined) throw new TLedgerError('GROUP_NOT_FOUND', `group ${name} went meanwhile`);
    return lite;
  }

  /**
   * Makes lite topics the client's own. No effect if the group shares them.
   * @throws TLedgerError ILLEGAL_LITE_TOPIC, LITE_SUBSCRIPTION_QUOTA_EXCEEDED; OUTCOME_UNKNOWN at the deadline; what
   * `LeaderPort.command` throws.
   */
  async claim({ group: name, client, node, claimed, released }: ClaimLiteRequest, deadlineMs: number): Promise<true> {
    for (const lite of [...claimed, ...released]) checkLiteName(lite);
    if (!this.#port.isServing) throw new TLedgerError('NOT_LEADER');
    const { clock, broker } = this.#port;
    const { owners } = broker.tables;
    const count = owners.count(name) + claimed.filter((lite) => owners.ownerOf(name, lite) === undefined).length;
    if (claimed.length > 0 && count > broker.limits.liteTopicsMax) {
      throw new TLedgerError(
        'LITE_SUBSCRIPTION_QUOTA_EXCEEDED',
        `the clients of group ${name} want ${count} lite topics; at most ${broker.limits.liteTopicsMax} are allowed`,
      );
    }
    const done = this.#port.command({ type: 'claim-lite', name, client, node, claimed, released });
    await withDeadline(clock, done, deadlineMs);
    return true;
  }

  async #begin(topic: string, lite: string): Promise<number> {
    await this.#port.command({ type: 'add-lite', name: topic, lite });
    const queueId = this.#port.broker.tables.lite.queueOf(topic, lite);
    if (queueId === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${topic} went meanwhile`);
    return queueId;
  }

  #checkRoom(topic: string): void {
    const { broker } = this.#port;
    const parent = parentOf(broker, topic);
    const { liteTopicsMax, queuesTotalMax } = broker.limits;
    const count = broker.tables.lite.count(topic) + this.#beginning.size;
    if (count >= liteTopicsMax) {
      throw new TLedgerError(
        'LITE_TOPIC_QUOTA_EXCEEDED',
        `topic ${topic} has ${liteTopicsMax} lite topics, as many as it may`,
      );
    }
    if (count >= parent.queues && broker.queueCount + this.#beginning.size >= queuesTotalMax) {
      throw new TLedgerError(
        'LITE_TOPIC_QUOTA_EXCEEDED',
        `there are ${queuesTotalMax} queues, as many as there may be`,
      );
    }
  }
}

/** @throws TLedgerError TOPIC_NOT_FOUND, MESSAGE_TYPE_MISMATCH */
export function parentOf(broker: Broker, topic: string): TopicInfo {
  const parent = broker.topic(topic);
  if (parent === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${topic} does not exist`);
  if (parent.messageType === 'lite') return parent;
  throw new TLedgerError('MESSAGE_TYPE_MISMATCH', `topic ${topic} takes no lite topics`);
}
