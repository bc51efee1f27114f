// What can be read of a broker: topics, queues, messages; and who is told when there is more of them.
import { TLedgerError } from '../base/errors.ts';
import { indexAt, isBodyIntact, isRecordWhole, type PhysicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import { type Damage, DamageError, damageOf } from '../storage/damage.ts';
import { type BrokerLimits, brokerLimits } from './limits.ts';
import { subscribe } from './listeners.ts';
import type { BrokerOptions } from './options.ts';
import { pull, read } from './pull.ts';
import { type Queue, TopicTable } from './topics.ts';
import type { PullRequest, PullResult, QueueRange, TopicInfo } from './types.ts';

/** The reading side of a broker (broker.ts). */
export abstract class BrokerReads {
  readonly limits: BrokerLimits;
  protected readonly options: BrokerOptions;
  protected readonly topicTable = new TopicTable();
  protected readonly topicListeners = new Set<() => void>();
  #onDamage: (damage: Damage) => void = () => {};

  protected constructor(options: BrokerOptions) {
    this.options = options;
    this.limits = brokerLimits(options.limits);
  }

  /** `listener` is told of what any read finds damaged, before its caller is. */
  onDamage(listener: (damage: Damage) => void): void {
    this.#onDamage = listener;
  }

  /** Sorted by name. */
  topics(): readonly TopicInfo[] {
    return this.topicTable.list();
  }

  /** Queues of all topics together. */
  get queueCount(): number {
    return this.topicTable.queueCount;
  }

  topic(name: string): TopicInfo | undefined {
    return this.topicTable.get(name)?.info;
  }

  /** @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE */
  range(topic: string, queueId: number): QueueRange {
    return this.topicTable.queue(topic, queueId).range;
  }

  /**
   * Committed messages of one queue; see `pull.ts`.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, INVALID_ARGUMENT, DATA_CORRUPTED
   */
  pull(request: PullRequest): PullResult {
    const queue = this.topicTable.queue(request.topic, request.queueId);
    const { readLog, segmentSizeBytes, damageAt } = this.options;
    try {
      return pull(queue, request, { readLog, segmentSizeBytes, limits: this.limits, damageAt });
    } catch (error) {
      throw this.told(error);
    }
  }

  /**
   * The same for readers that may be far behind: never blocks, and old data comes in smaller pieces.
   * @throws TLedgerError as `pull`; STORAGE_FAILED, OVERLOADED, SHUTTING_DOWN.
   */
  async read(request: PullRequest): Promise<PullResult> {
    const { coldLog, segmentSizeBytes, damageAt } = this.options;
    if (coldLog === undefined) return this.pull(request);
    const queueNow = (): Queue => this.topicTable.queue(request.topic, request.queueId);
    try {
      return await read(queueNow, request, { segmentSizeBytes, limits: this.limits, damageAt }, coldLog);
    } catch (error) {
      throw this.told(error);
    }
  }

  /**
   * One record that is still needed, by where the state says it lies; verified.
   * @throws TLedgerError DATA_CORRUPTED; what reading the log throws.
   */
  async recordAt(index: LogIndex, position: PhysicalOffset, sizeBytes: number): Promise<Buffer> {
    const { coldLog, readLog, damageAt } = this.options;
    try {
      let record = Buffer.alloc(coldLog === undefined ? 0 : sizeBytes);
      if (coldLog === undefined) record = readLog(position, sizeBytes) as Buffer<ArrayBuffer>;
      else await coldLog.fill(position, record);
      const isIt = isRecordWhole(record, 0, record.length) && indexAt(record, 0) === index && isBodyIntact(record, 0);
      if (isIt) return record;
      const damage = damageAt?.(position) ?? null;
      if (damage !== null) throw new DamageError(damage);
      throw new TLedgerError('DATA_CORRUPTED', `position ${position} does not hold record ${index}`);
    } catch (error) {
      throw this.told(error);
    }
  }

  /** Tells of the damage that an error is about. @returns the error. */
  protected told(error: unknown): unknown {
    const damage = damageOf(error);
    if (damage !== null) this.#onDamage(damage);
    return error;
  }

  /**
   * Calls `listener` once after each `apply` that made new messages of the queue visible, until the returned function is
   * called. The listener may pull, subscribe and unsubscribe, but not apply.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE
   */
  onAppend(topic: string, queueId: number, listener: () => void): () => void {
    const queue = this.topicTable.queue(topic, queueId);
    queue.listeners ??= new Set();
    return subscribe(queue.listeners, listener);
  }

  /** The same for all queues of a topic, those to come included. @throws TLedgerError TOPIC_NOT_FOUND */
  onAppendToAny(topic: string, listener: () => void): () => void {
    const found = this.topicTable.queue(topic, 0).topic;
    found.listeners ??= new Set();
    return subscribe(found.listeners, listener);
  }

  /** Calls `listener` after each `apply` that changed the topics, until the returned function is called. */
  onTopics(listener: () => void): () => void {
    return subscribe(this.topicListeners, listener);
  }
}
