// The broker of one group on one node: what the committed log means for topics, queues and producers. Deterministic and
// without a clock: every replica that applied the same records is in the same state. README.md draws the whole.
import { assert, InvariantError } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { indexAt, isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { type LogIndex, logIndex, type MembershipEntry } from '../raft/types.ts';
import { ConsumeQueues } from '../storage/consume_queue.ts';
import type { Disk } from '../storage/disk.ts';
import type { LogTip } from '../storage/log_tip.ts';
import type { Snapshot, SnapshotStore } from '../storage/snapshot_store.ts';
import type { StateStore } from '../storage/state_store.ts';
import { Admissions, type AppendPlace } from './admission.ts';
import { decodeCommand, encodeCommand, planTopic } from './commands.ts';
import { DirtyRows } from './dirty_rows.ts';
import { type BrokerLimits, brokerLimits } from './limits.ts';
import { ProducerTable } from './producers.ts';
import { Projection } from './projection.ts';
import { pull, type ReadLog } from './pull.ts';
import { checkQueue } from './queue_check.ts';
import { joinProducers, readTables } from './state_tables.ts';
import { type Queue, Topic, TopicTable } from './topics.ts';
import type { Admission, PackedAppend, PullRequest, PullResult, QueueRange, TopicInfo } from './types.ts';

/** Magic and size. */
const FILLER_HEADER_BYTES = 8;

/** What a broker stands on. */
export interface BrokerOptions {
  readonly disk: Disk;
  /** The group's `consumequeue` directory; made when the first message arrives. */
  readonly directory: string;
  /** The group's state tables; the broker closes it. */
  readonly store: StateStore;
  /** Holds the snapshot at `base`, and takes new ones. The owner closes it after the broker, or before to end a write. */
  readonly snapshots: SnapshotStore;
  /** The record just before the first one that the log holds; `EMPTY_TIP` for a log that was never cut. */
  readonly base: LogTip;
  /** Reads the log where it holds committed records; asked only for ranges inside one segment. */
  readonly readLog: ReadLog;
  readonly segmentSizeBytes: number;
  /**
   * Makes the log durable up to an applied index. A follower may apply what the others made durable before it did so
   * itself; the checkpoint waits for this, so that after a power failure the state is never ahead of the log.
   */
  readonly flushLog?: (upTo: LogIndex) => Promise<void>;
  readonly limits?: Partial<BrokerLimits>;
  /** Where the log ends: a state that is ahead of it means a log that lost records, which no rebuilding may cover up. */
  readonly lastIndex?: LogIndex;
  /** Told when stored state was given up and is made anew from the log. */
  readonly onWarning?: (message: string) => void;
}

/** A topic that is there already, or the body of the command record that creates it. */
export type TopicProposal =
  | { readonly kind: 'command'; readonly body: Buffer }
  | { readonly kind: 'exists'; readonly topic: TopicInfo };

/** See the head of the file. After an InvariantError or a failed checkpoint it must not be used any more. */
export class Broker {
  readonly #options: BrokerOptions;
  readonly #limits: BrokerLimits;
  readonly #files: ConsumeQueues;
  readonly #topics = new TopicTable();
  readonly #producers: ProducerTable;
  readonly #admissions: Admissions;
  readonly #projection: Projection;
  readonly #dirty = new DirtyRows();
  readonly #topicListeners = new Set<() => void>();
  #applied = logIndex(0);
  /** What the store's tables are the result of. */
  #stored = logIndex(0);
  #isLeading = false;
  /** Set for good once something went wrong half-way: the state in memory is not to be trusted or stored. */
  #hasFailed = false;
  #checkpoint: Promise<LogIndex> | null = null;
  #nextCheckpoint: Promise<LogIndex> | null = null;

  private constructor(options: BrokerOptions) {
    this.#options = options;
    this.#limits = brokerLimits(options.limits);
    const { disk, directory } = options;
    this.#files = new ConsumeQueues({ disk, directory, openFilesMax: this.#limits.openQueueFilesMax });
    this.#producers = new ProducerTable(this.#limits);
    this.#admissions = new Admissions(this.#topics, this.#producers);
    this.#projection = new Projection(this.#topics, this.#producers, {
      producerChanged: (id, index) => {
        this.#dirty.producer(id);
        this.#admissions.producerApplied(id, index);
      },
      producerForgotten: (id) => this.#dirty.producer(id),
    });
  }

  /**
   * Opens with the tables of the last checkpoint; what the log holds after `appliedIndex` must then be applied again. All
   * of the state is derived from the log: when tables or consume queues are damaged or lost, the store is emptied and the
   * whole log is to be applied, which writes every queue from its first unit on.
   * @throws TLedgerError STORAGE_FAILED, and what a store throws that stays damaged. @throws InvariantError when the state
   * is ahead of the log.
   */
  static async open(options: BrokerOptions): Promise<Broker> {
    const broker = new Broker(options);
    try {
      await broker.#restore();
      return broker;
    } catch (error) {
      broker.#files.close();
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      const aside = await options.store.reset();
      const where = aside === null ? '' : `; the old state is kept in ${aside}`;
      options.onWarning?.(`the state is damaged and is made anew from the log: ${error.message}${where}`);
    }
    const empty = new Broker(options);
    await empty.#restore();
    return empty;
  }

  /** Index of the last applied record; everything that can be read here is the result of the log up to it. */
  get appliedIndex(): LogIndex {
    return this.#applied;
  }

  /** The last membership record applied; null if the log had none so far. */
  get membership(): MembershipEntry | null {
    return null;
  }

  get limits(): BrokerLimits {
    return this.#limits;
  }

  /** Begins to admit batches. Called when all that the log holds is applied: the assignment view starts from that. */
  startLeading(): void {
    this.#isLeading = true;
    this.#admissions.start(this.#applied);
  }

  /** Leadership is lost: what was admitted and is not applied may never be. */
  stopLeading(): void {
    this.#isLeading = false;
    this.#admissions.clear();
  }

  /**
   * Checks a batch, and writes queue offsets, store time, producer stamps and zeros for a broker's fields into its records. The part the result names
   * must be appended at once at `place.firstIndex` (or `startLeading` be called anew): later batches count on it.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, INVALID_ARGUMENT, BATCH_TOO_LARGE, MESSAGE_CORRUPTED,
   * BODY_EMPTY, BODY_TOO_LARGE, ILLEGAL_TAG, ILLEGAL_PROPERTY, PROPERTIES_TOO_LARGE, UNKNOWN_PRODUCER,
   * OUT_OF_ORDER_SEQUENCE; nothing is assigned then.
   */
  admit(request: PackedAppend, place: AppendPlace): Admission {
    assert(this.#isLeading && !this.#hasFailed, 'only a leader admits');
    assert(place.firstIndex > this.#applied, 'records are admitted behind what is applied');
    return this.#admissions.admit(request, place);
  }

  /**
   * Plans a topic. A command must be appended at once (or `startLeading` be called anew): until it is applied, the same
   * name is answered with `exists`, whatever the number of queues, but batches are not admitted.
   * @throws TLedgerError ILLEGAL_TOPIC, INVALID_ARGUMENT (queues), TOPIC_EXISTS (with another number of queues),
   * TOO_MANY_TOPICS
   */
  proposeTopic(name: string, queues: number, nowMs: number): TopicProposal {
    assert(this.#isLeading && !this.#hasFailed, 'only a leader proposes');
    const pending = this.#admissions.pendingTopics;
    const wish = { name, queues, createdAtMs: nowMs };
    const planned = planTopic(wish, { topics: this.#topics, pending, limits: this.#limits });
    if (!('type' in planned)) return { kind: 'exists', topic: planned };
    this.#admissions.addTopic(planned.topic);
    return { kind: 'command', body: encodeCommand(planned) };
  }

  /**
   * Applies the committed records in `[start, end)`: whole, in the order of the log, the first one with the index after
   * `appliedIndex`; fillers between them are skipped. Synchronous; reaches the page cache. Then wakes who waits.
   * @throws InvariantError when the records contradict the state; this replica must stop.
   */
  apply(buffer: Buffer, start: number, end: number): void {
    assert(!this.#hasFailed, 'a broker that failed is not used any more');
    const topicCount = this.#topics.count;
    let touched: readonly Queue[];
    try {
      this.#applyRecords(buffer, start, end);
      touched = this.#projection.finish();
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    for (const queue of touched) this.#dirty.queue(queue);
    this.#wake(touched, this.#topics.count !== topicCount);
  }

  /**
   * Makes the applied state durable: the consume queues first, then one atomic batch of the tables that names the index
   * they are the result of. Applying may go on meanwhile. Only one runs at a time; calls during another share the next.
   * @returns that index, at least what was applied at the time of the call. @throws whatever disk or store throw; final.
   */
  checkpoint(): Promise<LogIndex> {
    if (this.#checkpoint === null) {
      this.#checkpoint = this.#runCheckpoint().finally(() => {
        this.#checkpoint = null;
      });
      return this.#checkpoint;
    }
    this.#nextCheckpoint ??= this.#checkpoint
      .catch(() => {})
      .then(() => {
        this.#nextCheckpoint = null;
        return this.checkpoint();
      });
    return this.#nextCheckpoint;
  }

  /**
   * The applied state as of now becomes durable and is then written as the snapshot at `tip`, whose index is the applied
   * one. The rows are taken before this returns; later checkpoints wait, so that the store never passes an index whose
   * snapshot is being written. Resolves when the snapshot is durable.
   */
  async takeSnapshot(tip: LogTip): Promise<void> {
    assert(tip.index === this.#applied, 'a snapshot is taken of what is applied');
  }

  /** In place: everything becomes what the snapshot says. Not while leading. */
  async install(snapshot: Snapshot): Promise<void> {
    assert(!this.#isLeading, 'a leader has what a snapshot could bring');
    assert(snapshot.meta.tip.index > this.#applied, 'a snapshot brings something new');
  }

  /** The log was cut to the snapshot's tip: each queue's minimum becomes its length there. */
  cut(snapshot: Snapshot): void {
    assert(snapshot.meta.tip.index <= this.#applied, 'the log is cut where it is applied');
  }

  /** Sorted by name. */
  topics(): readonly TopicInfo[] {
    return this.#topics.list();
  }

  topic(name: string): TopicInfo | undefined {
    return this.#topics.get(name)?.info;
  }

  /** @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE */
  range(topic: string, queueId: number): QueueRange {
    return this.#topics.queue(topic, queueId).range;
  }

  /**
   * Committed messages of one queue; see `pull.ts`.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, INVALID_ARGUMENT, DATA_CORRUPTED
   */
  pull(request: PullRequest): PullResult {
    const queue = this.#topics.queue(request.topic, request.queueId);
    const { readLog, segmentSizeBytes } = this.#options;
    return pull(queue, request, { readLog, segmentSizeBytes, limits: this.#limits });
  }

  /**
   * Calls `listener` once after each `apply` that made new messages of the queue visible, until the returned function is
   * called. The listener may pull, subscribe and unsubscribe, but not apply.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE
   */
  onAppend(topic: string, queueId: number, listener: () => void): () => void {
    const queue = this.#topics.queue(topic, queueId);
    // Wrapped, so that the same function may be registered twice.
    const entry = () => listener();
    queue.listeners ??= new Set();
    queue.listeners.add(entry);
    return () => {
      queue.listeners?.delete(entry);
    };
  }

  /** Calls `listener` after each `apply` that changed the topics, until the returned function is called. */
  onTopics(listener: () => void): () => void {
    const entry = () => listener();
    this.#topicListeners.add(entry);
    return () => {
      this.#topicListeners.delete(entry);
    };
  }

  /** Waits for checkpoints under way, then closes files and store. Makes none itself: the log has everything. */
  async close(): Promise<void> {
    this.stopLeading();
    await (this.#nextCheckpoint ?? this.#checkpoint)?.catch(() => {});
    this.#files.close();
    await this.#options.store.close();
  }

  /** @throws TLedgerError DATA_CORRUPTED when tables, queues and log don't fit together. */
  async #restore(): Promise<void> {
    const { store, lastIndex } = this.#options;
    const tables = readTables(await store.load());
    assert(
      lastIndex === undefined || tables.applied <= lastIndex,
      () => `the state is the result of ${tables.applied} records, but the log has only ${lastIndex}: it lost some`,
    );
    for (const info of tables.topics) {
      this.#topics.add(new Topic(info, this.#files, tables.ranges.get(info.name)));
    }
    this.#producers.restore(joinProducers(tables, this.#topics));
    for (const topic of this.#topics.values()) {
      for (const queue of topic.queues) checkQueue(queue, this.#options);
    }
    this.#applied = tables.applied;
    this.#stored = tables.applied;
  }

  #applyRecords(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      if (end - at >= FILLER_HEADER_BYTES && magicAt(buffer, at) === recordMagic.filler) {
        const size = sizeAt(buffer, at);
        assert(size >= FILLER_HEADER_BYTES && size <= end - at, 'a filler is applied whole');
        at += size;
        continue;
      }
      assert(isRecordWhole(buffer, at, end), 'whole records are applied');
      const index = indexAt(buffer, at);
      assert(index === this.#applied + 1, () => `record ${index} is applied after ${this.#applied}`);
      const next = at + sizeAt(buffer, at);
      const magic = magicAt(buffer, at);
      if (magic === recordMagic.message) this.#projection.apply(buffer, at, next, index);
      else if (magic === recordMagic.command) this.#applyCommand(buffer.subarray(at + RECORD_HEADER_BYTES, next));
      this.#applied = index;
      at = next;
    }
  }

  #applyCommand(body: Buffer): void {
    const { topic } = decodeCommand(body);
    this.#topics.add(new Topic(topic, this.#files));
    this.#dirty.topic(topic);
    this.#admissions.topicApplied(topic.name);
  }

  async #runCheckpoint(): Promise<LogIndex> {
    if (this.#hasFailed) throw new InvariantError('a broker that failed stores nothing any more');
    const index = this.#applied;
    if (index === this.#stored) return index;
    const changes = this.#dirty.take(index, this.#producers);
    try {
      await this.#files.flush();
      await this.#options.flushLog?.(index);
      await this.#options.store.write(changes, { sync: true });
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    this.#stored = index;
    return index;
  }

  /** Every listener is called; the first that throws is heard of afterwards. */
  #wake(touched: readonly Queue[], topicsChanged: boolean): void {
    const failures: unknown[] = [];
    const call = (listener: () => void): void => {
      try {
        listener();
      } catch (error) {
        failures.push(error);
      }
    };
    if (topicsChanged) [...this.#topicListeners].forEach(call);
    for (const queue of touched) {
      if (queue.listeners !== null && queue.listeners.size > 0) [...queue.listeners].forEach(call);
    }
    if (failures.length > 0) throw failures[0];
  }
}
