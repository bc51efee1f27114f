// Makes lite topics on the leader: which queue each gets is decided when its command is applied, so that two that come to
// be at once never meet. Here they are bounded.
import { TLedgerError } from '../../base/errors.ts';
import { checkLiteName } from '../../broker/lite/lite_table.ts';
import { withDeadline } from '../deadline.ts';
import type { LeaderPort } from './port.ts';

/** A lite topic of a parent topic. */
export interface AddLiteRequest {
  readonly topic: string;
  readonly lite: string;
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

  async #begin(topic: string, lite: string): Promise<number> {
    await this.#port.command({ type: 'add-lite', name: topic, lite });
    const queueId = this.#port.broker.tables.lite.queueOf(topic, lite);
    if (queueId === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${topic} went meanwhile`);
    return queueId;
  }

  #checkRoom(topic: string): void {
    const { broker } = this.#port;
    const parent = broker.topic(topic);
    if (parent === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${topic} does not exist`);
    if (parent.messageType !== 'lite') {
      throw new TLedgerError('MESSAGE_TYPE_MISMATCH', `topic ${topic} takes no lite topics`);
    }
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
