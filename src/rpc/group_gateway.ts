// The gateway of one group on one node: what this replica can do is done here, what only the leader can is forwarded to
// it, and while nobody leads, calls wait in order for a while.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import type { TopicInfo } from '../broker/types.ts';
import { physicalOffset } from '../format/record.ts';
import type { LogIndex, NodeId } from '../raft/types.ts';
import type { Replica } from '../replica/replica.ts';
import type { AppendDone, AppendResult, LogDigest, PackedAppend, ReplicaStatus } from '../replica/types.ts';
import { encodeAppendRequest } from '../wire/append_codec.ts';
import { int64ToNumber, uint64ToNumber } from '../wire/int64.ts';
import type { ForwardResult } from '../wire/peer_messages.ts';
import { codecs } from '../wire/services.ts';
import { errorOf } from '../wire/status.ts';
import { Forwarder } from './forwarder.ts';
import type { Gateway, LeaderInfo, MemberDigest, MemberInfo, MemberStatus, NodeFacts } from './gateway.ts';
import { fromNodeStatus } from './node_status.ts';
import { Parking } from './parking.ts';
import type { GrpcPeerTransport } from './peer_transport.ts';

/** What a gateway stands on. */
export interface GroupGatewayOptions {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly members: readonly MemberInfo[];
  readonly replica: Replica;
  readonly transport: GrpcPeerTransport;
  readonly clock: Clock;
  readonly facts: () => NodeFacts;
}

/**
 * How long after a leader was lost calls wait for the next one, as a failover takes less. Past it they are refused at
 * once: whoever is told so knows that nothing was done, which nobody knows of a call that is still waiting.
 */
const PARK_MS_MAX = 1_000;
const PARK_RETRY_MS = 20;
/** How long another member may take to tell its state. */
const INSPECT_TIMEOUT_MS = 1_000;

/** The gateway of a running replica. */
export class GroupGateway implements Gateway {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly members: readonly MemberInfo[];
  readonly #options: GroupGatewayOptions;
  readonly #replica: Replica;
  readonly #forwarders = new Map<NodeId, Forwarder>();
  readonly #parking = new Parking();
  /** Since when calls find nowhere to go; null while they do. */
  #stuckSinceMs: number | null = null;
  #parkTimerSet = false;
  #isClosed = false;

  constructor(options: GroupGatewayOptions) {
    this.#options = options;
    this.cluster = options.cluster;
    this.group = options.group;
    this.nodeId = options.nodeId;
    this.members = options.members;
    this.#replica = options.replica;
    options.replica.onChange(() => {
      if (this.#replica.leaderId !== null) this.#stuckSinceMs = null;
      this.#retryParked();
    });
  }

  get broker(): Broker {
    return this.#replica.broker;
  }

  leader(): LeaderInfo | null {
    const leaderId = this.#replica.leaderId;
    const member = this.members.find(({ nodeId }) => nodeId === leaderId);
    if (member === undefined) return null;
    return { nodeId: member.nodeId, clientAddress: member.clientAddress, term: this.#replica.term };
  }

  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void {
    this.#route(request.records.length, deadlineMs, {
      here: () => this.#replica.append(request, deadlineMs, done),
      there: (forwarder) => {
        const append = encodeAppendRequest({ ...request, queue: request.queueId });
        const call = { append, timeoutMs: this.#remainingMs(deadlineMs) };
        forwarder.submit(call, append.length, deadlineMs, (error, result) => {
          if (error !== null) done(error, null);
          else done(null, appendResultOf(result));
        });
      },
      refuse: (error) => done(error, null),
    });
  }

  createTopic(name: string, queues: number, deadlineMs: number): Promise<{ topic: TopicInfo; created: boolean }> {
    return new Promise((resolve, reject) => {
      this.#route(name.length, deadlineMs, {
        here: () => this.#replica.createTopic(name, queues, deadlineMs).then(resolve, reject),
        there: (forwarder) => {
          const createTopic = codecs.createTopicRequest.encode({ topic: name, queues });
          const call = { createTopic, timeoutMs: this.#remainingMs(deadlineMs) };
          forwarder.submit(call, name.length, deadlineMs, (error, result) => {
            if (error !== null) return reject(error);
            const { created } = codecs.createTopicResponse.decode(responseOf(result));
            this.#createdTopic(name, created, deadlineMs).then(resolve, reject);
          });
        },
        refuse: reject,
      });
    });
  }

  async transferLeadership(target: NodeId | null, deadlineMs: number): Promise<LeaderInfo> {
    if (target !== null && !this.members.some(({ nodeId }) => nodeId === target)) {
      throw new TLedgerError('UNKNOWN_NODE', `group "${this.group}" has no member "${target}"`);
    }
    await new Promise<void>((resolve, reject) => {
      this.#route(0, deadlineMs, {
        here: () => this.#replica.transferLeadership(target, deadlineMs).then(resolve, reject),
        there: (forwarder) => {
          const transferLeadership = codecs.transferLeadershipRequest.encode({ target: target ?? '' });
          const call = { transferLeadership, timeoutMs: this.#remainingMs(deadlineMs) };
          forwarder.submit(call, 0, deadlineMs, (error) => (error === null ? resolve() : reject(error)));
        },
        refuse: reject,
      });
    });
    return this.#awaitLeader(target, deadlineMs);
  }

  async readBarrier(deadlineMs: number): Promise<LogIndex> {
    const index = await new Promise<LogIndex>((resolve, reject) => {
      this.#route(0, deadlineMs, {
        here: () => this.#replica.readIndex().then(resolve, reject),
        there: (forwarder) => {
          const call = { readIndex: true, timeoutMs: this.#remainingMs(deadlineMs) };
          forwarder.submit(call, 0, deadlineMs, (error, result) => {
            // A read that was lost on its way had no effect: there is nothing unknown about it.
            if (error?.code === 'OUTCOME_UNKNOWN') reject(new TLedgerError('NO_LEADER', error.message));
            else if (error !== null) reject(error);
            else resolve(uint64ToNumber(result?.readIndex ?? '0', 'read_index') as LogIndex);
          });
        },
        refuse: reject,
      });
    });
    await this.#replica.whenApplied(index, deadlineMs);
    return index;
  }

  localStatus(): ReplicaStatus & NodeFacts {
    return { ...this.#replica.status(), ...this.#options.facts() };
  }

  clusterStatus(): Promise<MemberStatus[]> {
    return Promise.all(
      this.members.map(async (member): Promise<MemberStatus> => {
        if (member.nodeId === this.nodeId) return { member, status: this.localStatus(), error: null };
        try {
          const { status } = await this.#inspect(member.nodeId, 0);
          return { member, status: fromNodeStatus(codecs.nodeStatus.decode(status)), error: null };
        } catch (error) {
          return { member, status: null, error: errorOf(error).message };
        }
      }),
    );
  }

  async verifyLog(index: LogIndex | null): Promise<{ index: LogIndex; digests: MemberDigest[] }> {
    const at = index ?? (await this.#highestCommonIndex());
    const digests = await Promise.all(
      this.members.map(async (member): Promise<MemberDigest> => {
        try {
          return { member, digest: await this.#digest(member.nodeId, at), error: null };
        } catch (error) {
          return { member, digest: null, error: errorOf(error).message };
        }
      }),
    );
    return { index: at, digests };
  }

  onChange(listener: () => void): () => void {
    const forgetReplica = this.#replica.onChange(listener);
    const forgetTopics = this.broker.onTopics(listener);
    return () => {
      forgetReplica();
      forgetTopics();
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#parking.refuseAll(new TLedgerError('SHUTTING_DOWN'));
    for (const forwarder of this.#forwarders.values()) forwarder.close();
  }

  /** Sends a call where it can be done; parks it, in order, while that is nowhere. */
  #route(
    sizeBytes: number,
    deadlineMs: number,
    call: { here: () => void; there: (forwarder: Forwarder) => void; refuse: (error: TLedgerError) => void },
  ): void {
    if (this.#isClosed) return call.refuse(new TLedgerError('SHUTTING_DOWN'));
    if (this.#parking.length === 0 && this.#deliver(call)) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#stuckSinceMs ??= nowMs;
    const untilMs = Math.min(deadlineMs, this.#stuckSinceMs + PARK_MS_MAX);
    if (untilMs <= nowMs) return call.refuse(new TLedgerError('NO_LEADER'));
    this.#parking.park({ sizeBytes, deadlineMs: untilMs, go: () => this.#deliver(call), refuse: call.refuse });
    this.#armParkTimer();
  }

  /** @returns false when there is nowhere to deliver to at the moment. */
  #deliver(call: { here: () => void; there: (forwarder: Forwarder) => void }): boolean {
    const isHere = this.#replica.isLeader;
    const forwarder = isHere ? null : this.#forwarderTo(this.#replica.leaderId);
    if (!isHere && forwarder === null) return false;
    this.#stuckSinceMs = null;
    if (forwarder === null) call.here();
    else call.there(forwarder);
    return true;
  }

  #forwarderTo(leaderId: NodeId | null): Forwarder | null {
    const link = leaderId === null ? undefined : this.#options.transport.link(leaderId);
    if (leaderId === null || link === undefined || !link.isUp) return null;
    let forwarder = this.#forwarders.get(leaderId);
    if (forwarder === undefined) {
      forwarder = new Forwarder(link, this.#options.clock);
      this.#forwarders.set(leaderId, forwarder);
    }
    return forwarder;
  }

  #retryParked(): void {
    if (this.#parking.length > 0) this.#parking.release();
  }

  #armParkTimer(): void {
    if (this.#parkTimerSet || this.#isClosed) return;
    this.#parkTimerSet = true;
    this.#options.clock.after(PARK_RETRY_MS, () => {
      this.#parkTimerSet = false;
      this.#parking.expire(this.#options.clock.monotonicMs());
      this.#retryParked();
      if (this.#parking.length > 0) this.#armParkTimer();
    });
  }

  #remainingMs(deadlineMs: number): number {
    return Math.max(1, Math.floor(deadlineMs - this.#options.clock.monotonicMs()));
  }

  /** Makes a topic that was created elsewhere visible here before the caller is answered. */
  async #createdTopic(
    name: string,
    created: boolean,
    deadlineMs: number,
  ): Promise<{ topic: TopicInfo; created: boolean }> {
    if (this.broker.topic(name) === undefined) await this.readBarrier(deadlineMs);
    const topic = this.broker.topic(name);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic "${name}" vanished after it was created`);
    return { topic, created };
  }

  /** Waits until this node, too, has heard who leads now. */
  #awaitLeader(expected: NodeId | null, deadlineMs: number): Promise<LeaderInfo> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const leader = this.leader();
        if (leader !== null && (expected === null || leader.nodeId === expected)) return resolve(leader);
        if (this.#options.clock.monotonicMs() >= deadlineMs) return reject(new TLedgerError('NO_LEADER'));
        this.#options.clock.after(5, look);
      };
      look();
    });
  }

  async #highestCommonIndex(): Promise<LogIndex> {
    const statuses = await this.clusterStatus();
    const applied = statuses.flatMap(({ status }) => (status === null ? [] : [status.appliedIndex]));
    return Math.min(...applied) as LogIndex;
  }

  async #digest(nodeId: NodeId, index: LogIndex): Promise<LogDigest> {
    if (nodeId === this.nodeId) return this.#replica.digest(index);
    const answer = await this.#inspect(nodeId, index);
    if (answer.digestError !== '') throw new TLedgerError('OFFSET_OUT_OF_RANGE', answer.digestError);
    const endPosition = physicalOffset(uint64ToNumber(answer.endPosition, 'end_position'));
    return { index, chainCrc: answer.chainCrc, endPosition };
  }

  #inspect(nodeId: NodeId, index: number) {
    const link = this.#options.transport.link(nodeId);
    if (link === undefined) throw new TLedgerError('UNKNOWN_NODE', `no link to "${nodeId}"`);
    return link.inspect({ index: String(index) }, INSPECT_TIMEOUT_MS);
  }
}

function responseOf(result: ForwardResult | null): Buffer {
  return result?.response ?? Buffer.alloc(0);
}

function appendResultOf(result: ForwardResult | null): AppendResult {
  const { queueOffset, count, lastIndex, repeated } = codecs.appendResponse.decode(responseOf(result));
  return {
    queueOffset: int64ToNumber(queueOffset, 'queue_offset'),
    count,
    lastIndex: uint64ToNumber(lastIndex, 'last_index') as LogIndex,
    repeated,
  };
}
