// Gives topics more queues, on the leader. What is committed says "at least so many", so that it means the same whatever was
// committed before it; here it is bounded.
import { TLedgerError } from '../base/errors.ts';
import type { TopicInfo } from '../broker/types.ts';
import type { LeaderPort } from './consuming/port.ts';
import { DEAD_LETTER_PREFIX } from './consuming/types.ts';
import { withDeadline } from './deadline.ts';

/** How many queues a topic is to have. */
export interface AddQueuesRequest {
  readonly topic: string;
  readonly queues: number;
}

/** A topic, and whether it has become what was asked for by being asked. */
export interface QueuesAdded {
  readonly topic: TopicInfo;
  readonly changed: boolean;
}

type Port = Pick<LeaderPort, 'broker' | 'clock' | 'isServing' | 'command'>;

/** On the leader of a group; refuses with NOT_LEADER elsewhere. */
export class TopicQueues {
  readonly #port: Port;
  /** Queues whose commands are under way. */
  #adding = 0;

  constructor(port: Port) {
    this.#port = port;
  }

  /**
   * Adds queues behind those that the topic has.
   * @throws TLedgerError TOPIC_NOT_FOUND; INVALID_ARGUMENT for fewer than it has or more than a topic may have, for lite
   * topics and dead letters; TOO_MANY_TOPICS when there are as many queues as may be; OUTCOME_UNKNOWN at the deadline; what
   * `LeaderPort.command` throws.
   */
  async add({ topic: name, queues }: AddQueuesRequest, deadlineMs: number): Promise<QueuesAdded> {
    if (!this.#port.isServing) throw new TLedgerError('NOT_LEADER');
    const topic = this.#found(name);
    const added = this.#check(topic, queues);
    if (added === 0) return { topic, changed: false };
    this.#adding += added;
    const done = this.#port.command({ type: 'add-queues', name, queues }).finally(() => {
      this.#adding -= added;
    });
    await withDeadline(this.#port.clock, done, deadlineMs);
    return { topic: this.#found(name), changed: true };
  }

  #found(name: string): TopicInfo {
    const topic = this.#port.broker.topic(name);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${JSON.stringify(name)} does not exist`);
    return topic;
  }

  /** How many are to be added. */
  #check({ name, queues: now, messageType }: TopicInfo, queues: number): number {
    const { queuesPerTopicMax, queuesTotalMax } = this.#port.broker.limits;
    if (messageType === 'lite') {
      throw new TLedgerError('INVALID_ARGUMENT', `topic ${name} gets a queue with each of its lite topics`);
    }
    if (name.startsWith(DEAD_LETTER_PREFIX)) {
      throw new TLedgerError('INVALID_ARGUMENT', `topic ${name} has one queue: dead letters lie in one row`);
    }
    if (!Number.isInteger(queues) || queues < 1 || queues > queuesPerTopicMax) {
      throw new TLedgerError('INVALID_ARGUMENT', `a topic has 1 to ${queuesPerTopicMax} queues, not ${queues}`);
    }
    if (queues < now) {
      throw new TLedgerError('INVALID_ARGUMENT', `topic ${name} has ${now} queues and never fewer, so not ${queues}`);
    }
    const total = this.#port.broker.queueCount + this.#adding + queues - now;
    if (queues > now && total > queuesTotalMax) {
      throw new TLedgerError('TOO_MANY_TOPICS', `the group may hold ${queuesTotalMax} queues, not ${total}`);
    }
    return queues - now;
  }
}
