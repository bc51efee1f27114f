// The broker of one group on one node: what the committed log means for topics, queues and producers. Deterministic and
// without a clock: every replica that applied the same records is in the same state. README.md draws the whole.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { encodeMembershipEntry } from '../format/membership.ts';
import type { QueueOffset } from '../format/message.ts';
import {
  indexAt,
  isRecordWhole,
  magicAt,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  skipFillers,
} from '../format/record.ts';
import { type LogIndex, logIndex, type MembershipEntry } from '../raft/types.ts';
import { type ConsumeQueue, ConsumeQueues, UNITS_PER_FILE } from '../storage/consume_queue.ts';
import type { LogTip } from '../storage/log_tip.ts';
import type { Snapshot } from '../storage/snapshot_store.ts';
import type { StateEntry } from '../storage/state_store.ts';
import { Admissions, type AppendPlace } from './admission.ts';
import { type Changes, Checkpoints } from './checkpoints.ts';
import { type AddQueues, decodeCommand, decodeCommittedMembership, encodeCommand, planTopic } from './commands.ts';
import { DirtyRows } from './dirty_rows.ts';
import { wake } from './listeners.ts';
import type { AddLite } from './lite/lite_table.ts';
import { MessageKeys } from './message_keys.ts';
import type { BrokerOptions } from './options.ts';
import { ProducerTable } from './producers.ts';
import { Projection } from './projection.ts';
import { checkQueue } from './queue_check.ts';
import { BrokerReads } from './reads.ts';
import { readStored, restoreStored } from './restoring.ts';
import { queueCuts, readSnapshot, withSnapshotAt } from './snapshot_rows.ts';
import { joinProducers, type StoredTables } from './state_tables.ts';
import { Tables } from './tables.ts';
import { type Queue, Topic, TopicTable } from './topics.ts';
import {
  type Admission,
  type PackedAppend,
  type StoreRequest,
  type TopicProposal,
  type TopicType,
  topicOf,
} from './types.ts';

export type { BrokerOptions } from './options.ts';

/** See the head of the file. After an InvariantError or a failed checkpoint it must not be used any more. */
export class Broker extends BrokerReads {
  /** Finds messages by key or id, among those applied. */
  readonly keys: MessageKeys;
  readonly #files: ConsumeQueues;
  readonly #tables = new Tables();
  readonly #producers: ProducerTable;
  readonly #admissions: Admissions;
  readonly #projection: Projection;
  readonly #dirty = new DirtyRows();
  readonly #checkpoints: Checkpoints;
  #applied = logIndex(0);
  #membership: MembershipEntry | null = null;
  #isLeading = false;
  /** Whether the apply call under way has made topics, or queues that are chosen from. */
  #topicsChanged = false;
  /** Queues that were cut beyond a file since the last checkpoint took its rows. */
  #cut: ConsumeQueue[] = [];

  private constructor(options: BrokerOptions) {
    super(options);
    const { disk, directory } = options;
    this.#files = new ConsumeQueues({ disk, directory, openFilesMax: this.limits.openQueueFilesMax });
    this.#producers = new ProducerTable(this.limits);
    this.#admissions = new Admissions(this.topicTable, this.#producers, this.#tables, this.limits.parkedMax);
    const applied = (): LogIndex => this.#applied;
    this.keys = new MessageKeys(options, applied, (error) => this.told(error));
    this.#projection = new Projection({
      topics: this.topicTable,
      producers: this.#producers,
      tables: this.#tables,
      keys: this.keys.index,
      listener: {
        producerChanged: (id, index) => {
          this.#dirty.producer(id);
          this.#admissions.producerApplied(id, index);
        },
        producerForgotten: (id) => this.#dirty.producer(id),
      },
    });
    this.#checkpoints = new Checkpoints({
      store: options.store,
      snapshots: options.snapshots,
      flushQueues: async () => {
        await Promise.all([this.#files.flush(), this.keys.index?.flush()]);
      },
      flushLog: options.flushLog,
      take: () => this.#takeChanges(),
    });
  }

  /**
   * Opens with the tables of the last checkpoint; what the log holds after `appliedIndex` must then be applied again. All
   * of the state is derived from the snapshot at the log's base and the records behind it: when tables or consume queues
   * are damaged, lost, or behind the base (a log that was begun anew there), that snapshot takes their place, or nothing
   * if the log has no base, and all that the log holds is to be applied.
   * @throws TLedgerError STORAGE_FAILED; DATA_CORRUPTED when the snapshot is needed and damaged: then nothing was given
   * up; what a store throws that stays damaged. @throws InvariantError when the state is ahead of the log.
   */
  static async open(options: BrokerOptions): Promise<Broker> {
    const broker = new Broker(options);
    let damage: TLedgerError | null = null;
    try {
      const stored = await readStored(options);
      if (stored !== null && options.distrust === undefined) {
        broker.#resume(stored);
        return broker;
      }
      broker.#closeFiles();
    } catch (error) {
      broker.#closeFiles();
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      damage = error;
    }
    const restored = new Broker(options);
    await restoreStored(options, damage, (tables) => restored.#become(tables));
    restored.keys.index?.restart(options.base.end);
    restored.#checkpoints.opened(restored.#applied);
    return restored;
  }

  /** Index of the last applied record; everything that can be read here is the result of the log up to it. */
  get appliedIndex(): LogIndex {
    return this.#applied;
  }

  /** The last membership record applied; null if the log had none so far. */
  get membership(): MembershipEntry | null {
    return this.#membership;
  }

  /** Queues that have changed since the last checkpoint took what it stores: how many files the next one flushes, about. */
  get changedQueues(): number {
    return this.#dirty.queueCount;
  }

  /** Begins to admit batches. Called when all that the log holds is applied: the assignment view starts from that. */
  startLeading(): void {
    this.#isLeading = true;
    this.#admissions.start(this.#applied, this.#projection.storedAtMs);
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
    assert(this.#isLeading && !this.#checkpoints.hasFailed, 'only a leader admits');
    assert(place.firstIndex > this.#applied, 'records are admitted behind what is applied');
    return this.#admissions.admit(request, place);
  }

  /**
   * Numbers messages that a node made, and knows those that were remembered. What the result names must be appended at
   * once, as with `admit`. Of the messages only that is checked which every replica must understand: whoever made them did
   * the rest. @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, MESSAGE_CORRUPTED, INVALID_ARGUMENT, OVERLOADED;
   * nothing is assigned then.
   */
  admitStored(request: StoreRequest, place: AppendPlace): Admission {
    assert(this.#isLeading && !this.#checkpoints.hasFailed, 'only a leader admits');
    return this.#admissions.admitStored(request, place);
  }

  /**
   * Plans a topic. A command must be appended at once (or `startLeading` be called anew): until it is applied, the same
   * name is answered with `exists`, whatever the number of queues, but batches are not admitted.
   * @throws TLedgerError ILLEGAL_TOPIC, INVALID_ARGUMENT (queues), TOPIC_EXISTS (with another number of queues),
   * TOO_MANY_TOPICS
   */
  proposeTopic(name: string, queues: number, nowMs: number, messageType: TopicType = 'mixed'): TopicProposal {
    assert(this.#isLeading && !this.#checkpoints.hasFailed, 'only a leader proposes');
    const pending = this.#admissions.pendingTopics;
    const wish = topicOf({ name, queues, messageType }, nowMs);
    const planned = planTopic(wish, { topics: this.topicTable, pending, limits: this.limits });
    if (!('type' in planned)) return { kind: 'exists', topic: planned };
    this.#admissions.addTopic(planned.topic);
    return { kind: 'command', body: encodeCommand(planned) };
  }

  /**
   * Applies the committed records in `[start, end)`: whole, in the order of the log, the first one with the index after
   * `appliedIndex`; fillers between them are skipped. Synchronous; in memory, and the page cache. Then wakes who waits.
   * @throws InvariantError when the records contradict the state; this replica must stop.
   */
  apply(buffer: Buffer, start: number, end: number): void {
    assert(!this.#checkpoints.hasFailed, 'a broker that failed is not used any more');
    this.#topicsChanged = false;
    let touched: readonly Queue[];
    try {
      this.#applyRecords(buffer, start, end);
      touched = this.#projection.finish();
    } catch (error) {
      this.#checkpoints.fail(error);
      throw error;
    }
    for (const queue of touched) this.#dirty.queue(queue);
    this.#admissions.settle(this.#applied);
    wake(touched, this.#topicsChanged ? this.topicListeners : null);
  }

  /**
   * Writes the units of all that is applied to the page cache, for whoever looks at the files of the consume queues.
   * @throws what the disk throws; what could not be written is read from memory, and written by the next checkpoint.
   */
  writeUnits(): void {
    this.#files.write();
  }

  /**
   * Makes the applied state durable: the consume queues first, then one atomic batch of the tables that names the index
   * they are the result of. Applying may go on meanwhile. Only one runs at a time; calls during another share the next.
   * @returns that index, at least what was applied at the time of the call. @throws whatever disk or store throw; final.
   */
  checkpoint(): Promise<LogIndex> {
    return this.#checkpoints.checkpoint();
  }

  /**
   * The applied state as of now becomes durable and is then written as the snapshot at `tip`, whose index is the applied
   * one. The rows are taken before this returns; later checkpoints wait, so that the store never passes an index whose
   * snapshot is being written. Resolves when the snapshot is durable. The same bytes on every replica.
   * @throws TLedgerError STORAGE_FAILED, SHUTTING_DOWN when only the snapshot could not be written: there is none then,
   * and the broker goes on. @throws whatever disk and store throw; final.
   */
  async takeSnapshot(tip: LogTip): Promise<void> {
    assert(!this.#checkpoints.hasFailed, 'a broker that failed is not used any more');
    assert(tip.index === this.#applied, () => `a snapshot at ${tip.index} is taken when ${this.#applied} is applied`);
    const membership = this.#membership === null ? Buffer.alloc(0) : encodeMembershipEntry(this.#membership);
    await this.#checkpoints.snapshot({ tip, membership });
  }

  /**
   * In place: everything becomes what the snapshot says, which lies ahead of what is applied. What can be read changes
   * before this returns; who waits is woken, and the promise resolves, when it is durable. Not while leading.
   * @param restartLog has the log begin behind the snapshot's tip (`CommitLog.restart`): after the snapshot was found to
   * make sense, for the log is lost then, and before the state changes, so that no crash leaves it ahead of its log.
   * @param entries the snapshot's rows, where they have been read already: reading them takes a while.
   * @throws TLedgerError DATA_CORRUPTED when the snapshot makes no sense: then nothing has changed, nor the log.
   * @throws whatever the store throws; final.
   */
  async install(snapshot: Snapshot, restartLog: () => void, entries = snapshot.rows()): Promise<void> {
    assert(!this.#isLeading && !this.#checkpoints.hasFailed, 'a leader has what a snapshot could bring');
    const { index } = snapshot.meta.tip;
    assert(index > this.#applied, () => `a snapshot at ${index} is installed where ${this.#applied} is applied`);
    const { tables, rows } = readSnapshot(snapshot, entries);
    // Those that are gathered belong to queues that are replaced, and to rows that may be stored before the new ones.
    this.writeUnits();
    this.#become(tables, restartLog);
    this.keys.index?.restart(snapshot.meta.tip.end);
    await this.#checkpoints.replace(index, rows, this.#takeCut());
    wake(this.topicTable.queues(), this.topicListeners);
  }

  /**
   * The log is cut to the snapshot's tip (`CommitLog.cutTo`) before anything else happens: each queue's minimum becomes
   * its length there. Pulls below it are refused from now on; files of units below go with the next checkpoint.
   * @param entries the snapshot's rows, where they have been read already: reading them takes a while.
   * @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED when the snapshot cannot be read; nothing has changed then.
   */
  cut(snapshot: Snapshot, entries: Iterable<StateEntry> = snapshot.rows()): void {
    const { index } = snapshot.meta.tip;
    assert(index <= this.#applied, () => `the log is cut at ${index} where ${this.#applied} is applied`);
    for (const { queue, length } of queueCuts(snapshot, entries, this.topicTable)) this.#cutQueue(queue, length);
    this.keys.index?.cutTo(snapshot.meta.tip.end);
    this.#dirty.base(index);
  }

  /** Consumer groups, their progress, what is held back, and which message ids were seen lately: by the applied records. */
  get tables(): Tables {
    return this.#tables;
  }

  /** Waits for checkpoints and snapshots asked for, then closes files and store. Makes none itself: the log has everything. */
  async close(): Promise<void> {
    this.stopLeading();
    await this.#checkpoints.settled();
    this.#closeFiles();
    await this.options.store.close();
  }

  /** Goes on from what the store holds. @throws TLedgerError DATA_CORRUPTED when tables, queues and log don't fit together. */
  #resume(stored: StoredTables): void {
    const { base, snapshots } = this.options;
    this.#become(stored);
    const keys = this.keys.resume(stored);
    if (keys !== null) this.#dirty.keyIndex(keys);
    // A crash came between the cut of the log and the next checkpoint.
    if (stored.base < base.index) withSnapshotAt(snapshots, base, (snapshot) => this.cut(snapshot));
    for (const queue of this.topicTable.queues()) checkQueue(queue, this.options);
    this.#checkpoints.opened(stored.applied);
  }

  /**
   * Becomes what the tables say, which the store holds or will. Nothing has changed when this throws.
   * @param before done once the tables are found to make sense, and before anything changes.
   */
  #become(tables: StoredTables, before = (): void => {}): void {
    const topics = new TopicTable();
    for (const info of tables.topics) topics.add(new Topic(info, this.#files, tables.ranges.get(info.name)));
    const producers = joinProducers(tables, topics);
    // Read twice: what makes no sense is found before anything changes.
    new Tables().restore(tables.others);
    before();
    this.#tables.restore(tables.others);
    this.topicTable.become(topics);
    this.#producers.restore(producers);
    this.#projection.restart(tables.storedAtMs);
    this.#membership = tables.membership;
    this.#applied = tables.applied;
    this.#dirty.clear();
    this.#cut = topics
      .queues()
      .map((queue) => queue.units)
      .filter((units) => units.min >= UNITS_PER_FILE);
  }

  #closeFiles(): void {
    this.#files.close();
    this.keys.index?.close();
  }

  #takeChanges(): Changes {
    const { index } = this.keys;
    const place = this.keys.takePlace();
    if (place !== null) this.#dirty.keyIndex(place);
    const cut = this.#takeCut();
    const applied = { index: this.#applied, storedAtMs: this.#projection.storedAtMs };
    const rows = this.#dirty.take(applied, this.#producers);
    this.#tables.takeChanges(rows);
    return { index: applied.index, rows, cut: index?.hasUnread === true ? [...cut, index] : cut };
  }

  #takeCut(): readonly ConsumeQueue[] {
    const cut = this.#cut;
    this.#cut = [];
    return cut;
  }

  #cutQueue(queue: Queue, min: QueueOffset): void {
    const filesBefore = Math.floor(queue.units.min / UNITS_PER_FILE);
    queue.units.cut(min);
    this.#dirty.queue(queue);
    if (Math.floor(min / UNITS_PER_FILE) > filesBefore) this.#cut.push(queue.units);
  }

  #applyRecords(buffer: Buffer, start: number, end: number): void {
    let lastAt = -1;
    for (let at = skipFillers(buffer, start, end); at < end; ) {
      assert(isRecordWhole(buffer, at, end), 'whole records are applied');
      const index = indexAt(buffer, at);
      assert(index === this.#applied + 1, () => `record ${index} is applied after ${this.#applied}`);
      const next = at + sizeAt(buffer, at);
      const magic = magicAt(buffer, at);
      if (magic === recordMagic.message) this.#projection.apply(buffer, at, next, index);
      else if (magic === recordMagic.command)
        this.#applyCommand(buffer.subarray(at + RECORD_HEADER_BYTES, next), index);
      else if (magic === recordMagic.membership) {
        this.#applyMembership(buffer.subarray(at + RECORD_HEADER_BYTES, next), index);
      }
      this.#applied = index;
      lastAt = at;
      at = skipFillers(buffer, next, end);
    }
    if (lastAt >= 0) this.keys.applied(positionAt(buffer, lastAt));
  }

  #applyMembership(body: Buffer, index: LogIndex): void {
    this.#membership = { index, membership: decodeCommittedMembership(body) };
    this.#dirty.membership(this.#membership);
  }

  #applyCommand(body: Buffer, index: LogIndex): void {
    const command = decodeCommand(body);
    if (command.type === 'add-lite') return this.#addLite(command);
    if (command.type === 'add-queues') return this.#addQueues(command);
    if (command.type !== 'create-topic') return this.#tables.apply(command, index);
    const { topic } = command;
    this.topicTable.add(new Topic(topic, this.#files));
    this.#dirty.topic(topic);
    this.#topicsChanged = true;
    this.#admissions.topicApplied(topic.name);
  }

  #addQueues({ name, queues }: AddQueues): void {
    const grown = this.topicTable.growTo(name, queues, this.#files);
    if (grown === null) return;
    this.#dirty.topic(grown.info);
    this.#topicsChanged = true;
  }

  /** No effect when the parent went meanwhile. Bounded by the leader, before the command is in the log. */
  #addLite({ name, lite }: AddLite): void {
    const parent = this.topicTable.get(name);
    if (parent?.info.messageType !== 'lite') return;
    if (this.#tables.lite.add(name, lite) < parent.queues.length) return;
    this.topicTable.grow(parent, this.#files);
    this.#dirty.topic(parent.info);
  }
}
