// A group of one in memory: appends become stored messages at once, or when the test says so. Stands in for replica and
// consensus, so that the services are tested for what they add.
import { TLedgerError } from '../../src/base/errors.ts';
import type { Broker } from '../../src/broker/broker.ts';
import type { OwnerListener } from '../../src/broker/lite/owner_table.ts';
import { Tables } from '../../src/broker/tables.ts';
import type {
  AppendResult,
  PackedAppend,
  PullRequest,
  PullResult,
  QueueRange,
  TopicInfo,
  TopicWish,
} from '../../src/broker/types.ts';
import { queueOffset } from '../../src/format/message.ts';
import { MESSAGE_QUEUE_OFFSET_AT } from '../../src/format/message_layout.ts';
import { physicalOffset, RECORD_HEADER_BYTES, sizeAt } from '../../src/format/record.ts';
import { writeUint64 } from '../../src/format/uint64.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import type { AppendDone } from '../../src/replica/types.ts';
import { ConnectedClients } from '../../src/rpc/connected_clients.ts';
import type {
  AtLeaderOptions,
  BackupDoor,
  Gateway,
  LeaderInfo,
  MemberDigest,
  MemberStatus,
} from '../../src/rpc/gateway.ts';
import type { LeaderCall } from '../../src/rpc/leader_calls.ts';
import type { GroupMembers, MembershipOrder } from '../../src/rpc/members.ts';

/** The part of a broker that services use. */
class FakeBroker {
  readonly tables = new Tables();
  /** What all readers have before them. */
  backlogBytes = 0;
  /** Awaited by each read, between what it finds and its answer. */
  onRead: () => Promise<void> = () => Promise.resolve();
  readonly #topics = new Map<string, { info: TopicInfo; queues: Buffer[][]; listeners: Set<() => void>[] }>();
  /** Of all topics. */
  readonly #anyListeners = new Set<() => void>();
  /** Listeners of all queues, to see that none is forgotten. */
  get listenerCount(): number {
    return [...this.#topics.values()].reduce(
      (sum, topic) => sum + topic.listeners.reduce((count, set) => count + set.size, 0),
      this.#anyListeners.size,
    );
  }

  addTopic(name: string, queues: number, messageType?: TopicInfo['messageType']): TopicInfo {
    const info = { name, queues, createdAtMs: 1, messageType };
    const make = <T>(one: () => T): T[] => Array.from({ length: queues }, one);
    this.#topics.set(name, { info, queues: make(() => []), listeners: make(() => new Set()) });
    return info;
  }

  addQueues(name: string, queues: number): void {
    const topic = this.#topics.get(name)!;
    topic.info = { ...topic.info, queues };
    while (topic.queues.length < queues) {
      topic.queues.push([]);
      topic.listeners.push(new Set());
    }
  }

  topics(): readonly TopicInfo[] {
    return [...this.#topics.values()].map((topic) => topic.info);
  }

  topic(name: string): TopicInfo | undefined {
    return this.#topics.get(name)?.info;
  }

  range(topic: string, queueId: number): QueueRange {
    return { queueId, min: queueOffset(0), max: queueOffset(this.#queue(topic, queueId).length) };
  }

  pull({ topic, queueId, offset, countMax, bytesMax }: PullRequest): PullResult {
    const queue = this.#queue(topic, queueId);
    const records: Buffer[] = [];
    let bytes = 0;
    for (let at: number = offset; at < queue.length && records.length < countMax; at++) {
      const record = queue[at]!;
      if (records.length > 0 && bytes + record.length > bytesMax) break;
      bytes += record.length;
      records.push(record);
    }
    const { min, max } = this.range(topic, queueId);
    const nextOffset = queueOffset(offset + records.length);
    return {
      records: Buffer.concat(records),
      count: records.length,
      nextOffset,
      min,
      max,
      backlogBytes: this.backlogBytes,
      isCold: false,
    };
  }

  async read(request: PullRequest): Promise<PullResult> {
    const result = this.pull(request);
    await this.onRead();
    return result;
  }

  onAppend(topic: string, queueId: number, listener: () => void): () => void {
    const listeners = this.#topics.get(topic)!.listeners[queueId]!;
    const entry = () => listener();
    listeners.add(entry);
    return () => listeners.delete(entry);
  }

  onAppendToAny(_topic: string, listener: () => void): () => void {
    const entry = () => listener();
    this.#anyListeners.add(entry);
    return () => this.#anyListeners.delete(entry);
  }

  store(request: PackedAppend): { first: number; count: number } {
    const queue = this.#queue(request.topic, request.queueId);
    const first = queue.length;
    for (let at = 0; at < request.records.length; ) {
      const record = Buffer.from(request.records.subarray(at, at + sizeAt(request.records, at)));
      writeUint64(record, queue.length, RECORD_HEADER_BYTES + MESSAGE_QUEUE_OFFSET_AT);
      queue.push(record);
      at += record.length;
    }
    const own = this.#topics.get(request.topic)!.listeners[request.queueId]!;
    for (const listener of [...own, ...this.#anyListeners]) listener();
    return { first, count: queue.length - first };
  }

  #queue(name: string, queueId: number): Buffer[] {
    const topic = this.#topics.get(name);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic "${name}" does not exist`);
    const queue = topic.queues[queueId];
    if (queue === undefined) throw new TLedgerError('QUEUE_OUT_OF_RANGE', `topic ${name} has no queue ${queueId}`);
    return queue;
  }
}

/** May return a promise. */
export type LeaderAnswer = (request: unknown, options: AtLeaderOptions) => unknown;

export class FakeGateway implements Gateway {
  readonly cluster = 'tledger';
  readonly group = 'g0';
  readonly nodeId = 'n0';
  members: GroupMembers = {
    index: logIndex(0),
    isCommitted: true,
    isChangingOver: false,
    members: ['n0', 'n1', 'n2'].map((nodeId, at) => ({
      nodeId,
      clientAddress: `127.0.0.1:${8081 + at}`,
      peerAddress: `127.0.0.1:${40911 + at}`,
      role: 'voter',
      promote: false,
      replaces: null,
    })),
  };
  readonly self = { nodeId: 'n0', clientAddress: '127.0.0.1:8081', peerAddress: '127.0.0.1:40911' };
  /** Changes of members that were asked for. */
  readonly orders: MembershipOrder[] = [];
  readonly fake = new FakeBroker();
  readonly listeners = new Set<() => void>();
  /** Batches that were handed over, in order. */
  readonly appended: PackedAppend[] = [];
  /** Called instead of appending at once. */
  hold: ((request: PackedAppend, done: AppendDone, commit: () => void) => void) | undefined;
  /** Runs when somebody catches up: what "the leader" had and this replica had not. */
  onBarrier: () => void = () => {};
  barriers = 0;
  digests: MemberDigest[] = [];
  /** What becomes of a backup; replaced by tests. */
  backups: BackupDoor = { run: () => Promise.reject(new TLedgerError('INTERNAL', 'no backup is expected')) };
  #leader: LeaderInfo | null = { nodeId: 'n1', clientAddress: '127.0.0.1:8082', term: term(3) };
  #index = 0;

  get broker(): Broker {
    return this.fake as unknown as Broker;
  }

  /** The others do not answer, unless a test says otherwise. */
  clients = new ConnectedClients({
    nodeId: this.nodeId,
    members: () => this.members.members,
    ask: () => Promise.reject(new TLedgerError('UNREACHABLE', 'gone')),
  });

  /** Whether this node belongs to the group. */
  isOutside = false;
  /** What the leader says of an append; null: nothing. */
  guarantee: 'sync' | 'async' | null = 'sync';

  outside(): TLedgerError | null {
    return this.isOutside ? new TLedgerError('NODE_REMOVED') : null;
  }

  leader(): LeaderInfo | null {
    return this.#leader;
  }

  setLeader(leader: LeaderInfo | null): void {
    this.#leader = leader;
    this.changed();
  }

  changed(): void {
    for (const listener of [...this.listeners]) listener();
  }

  append(request: PackedAppend, _deadlineMs: number, done: AppendDone): void {
    this.appended.push(request);
    const commit = (): void => {
      try {
        done(null, this.#commit(request));
      } catch (error) {
        done(error as Error, null);
      }
    };
    if (this.hold === undefined) setImmediate(commit);
    else this.hold(request, done, commit);
  }

  #commit(request: PackedAppend): AppendResult {
    const { first, count } = this.fake.store(request);
    this.#index += count;
    const result = { queueOffset: first, count, lastIndex: logIndex(this.#index), repeated: false };
    return this.guarantee === null ? result : { ...result, flush: this.guarantee };
  }

  /** What the leader would answer, by kind of call. */
  readonly leaderAnswers = new Map<string, LeaderAnswer>();

  async atLeader<Request, Result>(
    call: LeaderCall<Request, Result>,
    request: Request,
    options: AtLeaderOptions,
  ): Promise<Result> {
    const answer = this.leaderAnswers.get(call.kind);
    if (answer === undefined) throw new TLedgerError('NO_LEADER');
    return answer(request, options) as Result;
  }

  async createTopic({ name, queues }: TopicWish): Promise<{ topic: TopicInfo; created: boolean }> {
    const known = this.fake.topic(name);
    if (known !== undefined && known.queues !== queues) {
      throw new TLedgerError('TOPIC_EXISTS', `topic ${name} exists with ${known.queues} queues`);
    }
    return { topic: known ?? this.fake.addTopic(name, queues), created: known === undefined };
  }

  async transferLeadership(target: string | null): Promise<LeaderInfo> {
    const member = this.members.members.find(({ nodeId }) => nodeId === (target ?? 'n2'));
    if (member === undefined) throw new TLedgerError('UNKNOWN_NODE', `no member ${target}`);
    return { nodeId: member.nodeId, clientAddress: member.clientAddress, term: term(4) };
  }

  async readBarrier() {
    this.barriers++;
    if (this.#leader === null) throw new TLedgerError('NO_LEADER');
    this.onBarrier();
    return logIndex(this.#index);
  }

  localStatus() {
    return {
      nodeId: 'n0',
      role: 'follower' as const,
      term: term(3),
      leaderId: this.#leader?.nodeId ?? null,
      firstIndex: logIndex(1),
      lastIndex: logIndex(this.#index),
      flushedIndex: logIndex(this.#index),
      committedIndex: logIndex(this.#index),
      appliedIndex: logIndex(this.#index),
      flushedPosition: physicalOffset(0),
      endPosition: physicalOffset(0),
      uptimeMs: 5,
      version: '0.0.0',
      pid: 1,
      membershipRole: 'voter' as const,
    };
  }

  async changeMembership(order: MembershipOrder) {
    this.orders.push(order);
    return logIndex(42);
  }

  replication() {
    return new Map([['n1', 'snapshot']]);
  }

  async clusterStatus(): Promise<MemberStatus[]> {
    return this.members.members.map((member) =>
      member.nodeId === 'n2'
        ? { member, status: null, error: 'gone' }
        : { member, status: { ...this.localStatus(), nodeId: member.nodeId }, error: null },
    );
  }

  recordPage() {
    return { records: [], nextIndex: logIndex(1), firstIndex: logIndex(1), appliedIndex: logIndex(0) };
  }

  indexAtPosition() {
    return logIndex(1);
  }

  scrubLocally(): number {
    return 1;
  }

  async scrub() {
    return [{ nodeId: this.nodeId, pass: 1, error: '' }];
  }

  async verifyLog() {
    return { index: logIndex(7), digests: this.digests };
  }

  onOwner(listener: OwnerListener): () => void {
    return this.broker.tables.owners.onChange(listener);
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
