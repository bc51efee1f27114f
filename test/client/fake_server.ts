// A group as clients see it, in one process and in memory: real gRPC servers on loopback before one shared log that
// recognises repeats by (producer id, sequence) and refuses gaps. Tests script what goes wrong.

import { Metadata, Server, ServerCredentials, type ServerWritableStream, status } from '@grpc/grpc-js';
import { type ErrorCode, TLedgerError } from '../../src/base/errors.ts';
import { encodeMessageRecord, locateParts, newParts, writeProducerStamp } from '../../src/format/message.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../../src/format/message_layout.ts';
import { RECORD_HEADER_BYTES, sizeAt } from '../../src/format/record.ts';
import { writeUint64 } from '../../src/format/uint64.ts';
import { logIndex } from '../../src/raft/types.ts';
import { freePorts } from '../../src/server/ports.ts';
import type { ChangeMembershipRequest, GroupMember, Membership, NodeStatus } from '../../src/wire/admin_messages.ts';
import { clientPortOptions } from '../../src/wire/channel_options.ts';
import type {
  AppendRequest,
  AppendResponse,
  AppendStreamResponse,
  ConsumeRequest,
  ConsumeResponse,
  Leader,
  MemberAddress,
  MetadataResponse,
} from '../../src/wire/ledger_messages.ts';
import { bindWithWideWindows } from '../../src/wire/server_windows.ts';
import {
  type AdminHandlers,
  adminService,
  type Incoming,
  type LedgerHandlers,
  ledgerService,
  wellFormed,
} from '../../src/wire/services.ts';
import { ACKNOWLEDGED_METADATA, type FailureStatus, statusOf } from '../../src/wire/status.ts';

/** What a node does with a frame. */
export type Verdict =
  /** Appends and answers. */
  | { readonly kind: 'apply'; readonly delayMs?: number }
  /** The same, but the answer gets lost before it is heard, as an error comes right behind it. */
  | { readonly kind: 'apply-unheard' }
  /** Answers with an error and ends the stream. */
  | { readonly kind: 'refuse'; readonly code: ErrorCode }
  /**
   * The same, but goes on with the frames behind it as far as the sequence lets them in: what an edge does that has
   * forwarded them already.
   */
  | { readonly kind: 'refuse-late'; readonly code: ErrorCode }
  /** Ends the stream without an answer, having appended or not. */
  | { readonly kind: 'drop'; readonly applied: boolean }
  /** Keeps the stream open and says nothing, ever. */
  | { readonly kind: 'silence' };

export interface Entry {
  readonly topic: string;
  readonly queue: number;
  readonly offset: number;
  readonly record: Buffer;
}

interface ProducerState {
  next: number;
  readonly runs: Map<number, { readonly count: number; readonly offset: number }>;
}

/** The shared state, and the script. */
export class FakeGroup {
  readonly nodes: FakeNode[] = [];
  readonly topics = new Map<string, number>();
  /** All records in log order. */
  readonly log: Entry[] = [];
  readonly producers = new Map<string, ProducerState>();
  /** What becomes of a frame; the test's script. */
  decide: (request: AppendRequest, node: FakeNode) => Verdict = () => ({ kind: 'apply' });
  /** Sends less than all in a Consume response, and may break it off: called before each response. */
  onConsume: (node: FakeNode, sent: number) => 'go on' | 'drop' | ErrorCode = () => 'go on';
  /** Where a node sends a reader that is at `offset`. */
  adviseFrom: (node: FakeNode, offset: number) => MemberAddress | null = () => null;
  /** What becomes of a single Append that arrives, before it is looked at. */
  onAppend: (node: FakeNode) => 'go on' | 'apply, then drop' | 'drop' | ErrorCode = () => 'go on';
  /** What becomes of a CreateTopic that arrives, before it is looked at. */
  onCreateTopic: (node: FakeNode) => 'go on' | 'apply, then drop' | 'drop' | ErrorCode = () => 'go on';
  /** What becomes of a change of members that arrives; by default it is done at once, an added one as a learner. */
  onChangeMembership: (request: ChangeMembershipRequest) => 'go on' | 'apply, then drop' | 'drop' | ErrorCode = () =>
    'go on';
  /** Members by name; the nodes themselves until the first change. */
  members: readonly GroupMember[] | undefined;
  membershipIndex = 0;
  isChangingOver = false;
  isMembershipCommitted = true;
  /** Why the nodes asked do not belong to the group, if so. */
  outside = '';
  /** Why members do not answer that no node of this group plays. */
  awayBecause = 'it is away';
  /** First offset that every queue still holds. */
  minOffset = 0;
  leaderAt: number | undefined = 0;
  /** Whose log VerifyLog reports to differ. */
  divergedNode: number | undefined;
  /** Who answers VerifyLog with a refusal. */
  refusingNode: number | undefined;
  /** Who does not answer VerifyLog. */
  silentNode: number | undefined;
  term = 1;
  cluster = 'fake';
  isStopped = false;
  /** Where the leader is said to be, instead of where it is. */
  leaderAddress: string | undefined;
  readonly #changed = new Set<() => void>();

  /** Starts `count` nodes on free ports. */
  static async start(count = 1, topics: Readonly<Record<string, number>> = { t: 4 }): Promise<FakeGroup> {
    const group = new FakeGroup();
    for (const [name, queues] of Object.entries(topics)) group.topics.set(name, queues);
    for (let at = 0; at < count; at++) {
      const node = new FakeNode(group, `n${at}`);
      group.nodes.push(node);
      await node.start();
    }
    return group;
  }

  get endpoints(): string[] {
    return this.nodes.map((node) => node.address);
  }

  get leader(): Leader | null {
    const node = this.leaderAt === undefined ? undefined : this.nodes[this.leaderAt];
    if (node === undefined) return null;
    return { nodeId: node.id, clientAddress: this.leaderAddress ?? node.address, term: String(this.term) };
  }

  get membership(): Membership {
    const members =
      this.members ??
      this.nodes.map(({ id, address }) => memberOf(id, { clientAddress: address, peerAddress: address }));
    return {
      index: String(this.membershipIndex),
      committed: this.isMembershipCommitted,
      changingOver: this.isChangingOver,
      members,
    };
  }

  /** Another list of members, by a new record. */
  setMembers(members: readonly GroupMember[], isChangingOver = false): void {
    this.members = members;
    this.membershipIndex++;
    this.isChangingOver = isChangingOver;
    this.changed();
  }

  changeMembership(request: ChangeMembershipRequest): void {
    const { nodeId, clientAddress, peerAddress, learnerOnly, replaces } = request;
    const { members } = this.membership;
    const known = members.find((member) => member.nodeId === nodeId);
    if (known === undefined && ['PROMOTE', 'REMOVE', 'READDRESS'].includes(request.kind)) {
      throw new TLedgerError('UNKNOWN_NODE', `no member ${nodeId}`);
    }
    switch (request.kind) {
      case 'ADD': {
        const learner = { clientAddress, peerAddress, role: 'learner', promote: !learnerOnly, replaces } as const;
        return this.setMembers([...members, memberOf(nodeId, learner)]);
      }
      case 'PROMOTE':
        return this.setMembers(members.map((one) => (one === known ? { ...one, promote: true } : one)));
      case 'REMOVE':
        return this.setMembers(members.filter((one) => one !== known));
      case 'READDRESS':
        return this.setMembers(members.map((one) => (one === known ? { ...one, clientAddress, peerAddress } : one)));
      case 'CANCEL':
        return this.setMembers(members.filter(({ role, promote }) => role !== 'learner' || !promote));
      default:
        throw new TLedgerError('INVALID_ARGUMENT', 'no kind of change');
    }
  }

  lead(at: number | undefined): void {
    this.leaderAt = at;
    this.term++;
    this.changed();
  }

  /** Bodies of a queue, in order. */
  bodies(topic: string, queue: number): string[] {
    return this.entries(topic, queue).map(({ record }) => bodyOf(record));
  }

  entries(topic: string, queue: number): Entry[] {
    return this.log.filter((entry) => entry.topic === topic && entry.queue === queue);
  }

  /** Puts a message straight into the log. */
  put(topic: string, queue: number, body: string, tag?: string): void {
    this.#store(
      topic,
      queue,
      encodeMessageRecord({ topic, queueId: queue, body: Buffer.from(body), bornAtMs: 1, tag }),
    );
    this.changed();
  }

  /** Appends with recognition of repeats, as the broker does. @throws TLedgerError */
  apply(request: AppendRequest): AppendResponse {
    const queues = this.topics.get(request.topic);
    if (queues === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `no topic ${request.topic}`);
    const records = split(request.records);
    // Without an id nothing is recognised.
    if (request.producerId === '') return this.#append(request, records);
    const producer = this.producers.get(request.producerId) ?? { next: 1, runs: new Map() };
    if (!this.producers.has(request.producerId) && request.sequence !== 1) throw new TLedgerError('UNKNOWN_PRODUCER');
    if (request.sequence > producer.next) throw new TLedgerError('OUT_OF_ORDER_SEQUENCE');
    if (request.sequence < producer.next) {
      const run = producer.runs.get(request.sequence);
      if (run === undefined || run.count !== records.length) {
        throw new TLedgerError('INTERNAL', 'a repeated batch has other bounds than the first time');
      }
      return this.#answer(run.offset, run.count, true);
    }
    const answer = this.#append(request, records);
    producer.runs.set(producer.next, { count: records.length, offset: Number(answer.queueOffset) });
    producer.next += records.length;
    this.producers.set(request.producerId, producer);
    return answer;
  }

  /** The stretch of the log that holds offsets [from, to) of a queue, with whatever lies between. */
  packed(topic: string, queue: number, from: number, to: number): Buffer {
    const mine = this.entries(topic, queue).slice(from, to);
    if (mine.length === 0) return Buffer.alloc(0);
    const first = this.log.indexOf(mine[0]!);
    const last = this.log.indexOf(mine[mine.length - 1]!);
    return Buffer.concat(this.log.slice(first, last + 1).map(({ record }) => record));
  }

  onChange(listener: () => void): () => void {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  changed(): void {
    for (const listener of [...this.#changed]) listener();
  }

  /** Ends all nodes for good: one that a test was about to start again stays down. */
  async stop(): Promise<void> {
    this.isStopped = true;
    for (const node of this.nodes) node.kill();
  }

  #append({ topic, queue, producerId, sequence }: AppendRequest, records: readonly Buffer[]): AppendResponse {
    const offset = this.entries(topic, queue).length;
    const parts = newParts();
    records.forEach((source, at) => {
      const record = Buffer.from(source);
      if (producerId !== '' && locateParts(record, RECORD_HEADER_BYTES, record.length, parts)) {
        writeProducerStamp(record, parts, producerId, sequence + at);
      }
      this.#store(topic, queue, record);
    });
    this.changed();
    return this.#answer(offset, records.length, false);
  }

  #store(topic: string, queue: number, source: Buffer): void {
    const record = Buffer.from(source);
    const offset = this.entries(topic, queue).length;
    writeUint64(record, offset, RECORD_HEADER_BYTES + MESSAGE_QUEUE_OFFSET_AT);
    record.writeUInt32BE(queue, RECORD_HEADER_BYTES + MESSAGE_QUEUE_ID_AT);
    this.log.push({ topic, queue, offset, record });
  }

  #answer(offset: number, count: number, repeated: boolean): AppendResponse {
    return {
      queueOffset: String(offset),
      count,
      lastIndex: String(this.log.length),
      repeated,
      leader: this.leader,
      flush: 'sync',
    };
  }
}

/** One node of it. */
export class FakeNode {
  readonly id: string;
  readonly group: FakeGroup;
  /** Requests in the order in which they came, over all streams. */
  readonly seen: AppendRequest[] = [];
  /** Append streams opened so far. */
  streams = 0;
  /** Readers that have come so far, and from then on get whatever is put. */
  readers = 0;
  unaryCalls: string[] = [];
  /** Refuses all unary calls with this. */
  refuseAll: ErrorCode | undefined;
  /** Does not know topics and messages that came later than so many records; undefined: lags behind nothing. */
  lagsAt: number | undefined;
  /** How the leader is said to bring it up to date. */
  replication = '';
  port = 0;
  #server: Server | undefined;

  constructor(group: FakeGroup, id: string) {
    this.group = group;
    this.id = id;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    if (this.#server !== undefined || this.group.isStopped) return;
    const server = new Server(clientPortOptions);
    server.addService(ledgerService, this.#ledger());
    server.addService(adminService, this.#admin());
    this.#server = server;
    // Below the ports of outgoing connections, one of which could take it while this node is down.
    if (this.port === 0) [this.port] = (await freePorts(1)) as [number];
    const address = `127.0.0.1:${this.port}`;
    await bindWithWideWindows(server, address, ServerCredentials.createInsecure(), () => {});
    if (this.group.isStopped) this.kill();
  }

  get isUp(): boolean {
    return this.#server !== undefined;
  }

  /** Breaks all connections and takes no new ones. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  #ledger(): LedgerHandlers {
    const { group } = this;
    return {
      query: (_call, callback) => callback(statusOf(new TLedgerError('KEY_INDEX_OFF'))),
      findOffset: (_call, callback) => callback(statusOf(new TLedgerError('INTERNAL'))),
      append: (call, callback) => {
        this.unaryCalls.push('append');
        const verdict = group.onAppend(this);
        if (verdict === 'drop') return callback(lostConnection());
        if (verdict !== 'go on' && verdict !== 'apply, then drop') return callback(statusOf(new TLedgerError(verdict)));
        try {
          const answer = group.apply(wellFormed(call.request));
          callback(verdict === 'go on' ? null : lostConnection(), answer);
        } catch (error) {
          callback(statusOf(error));
        }
      },
      appendStream: (call) => {
        this.streams++;
        let isOver = false;
        let isLate = false;
        let producerId: string | undefined;
        let acknowledged = 0;
        let chain = Promise.resolve();
        const end = (failure: FailureStatus) => {
          isOver = true;
          failure.metadata.set(ACKNOWLEDGED_METADATA, String(acknowledged));
          call.emit('error', failure);
        };
        const handle = async (incoming: Incoming<AppendRequest>) => {
          if (isOver && !isLate) return;
          const request = wellFormed(incoming);
          producerId ??= request.producerId;
          if (request.producerId !== producerId)
            throw new TLedgerError('INVALID_ARGUMENT', 'two producers, one stream');
          this.seen.push(request);
          if (isLate) return void quietly(() => group.apply(request));
          const verdict = group.decide(request, this);
          switch (verdict.kind) {
            case 'apply':
              if (verdict.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, verdict.delayMs));
              call.write(toStreamResponse(group.apply(request)));
              acknowledged++;
              return;
            case 'apply-unheard':
              group.apply(request);
              acknowledged++;
              return;
            case 'refuse-late':
              isLate = true;
              return end(statusOf(new TLedgerError(verdict.code)));
            case 'refuse':
              return end(statusOf(new TLedgerError(verdict.code)));
            case 'drop':
              if (verdict.applied) quietly(() => group.apply(request));
              return end(lostConnection());
            case 'silence':
              isOver = true;
          }
        };
        call.on('data', (incoming) => {
          chain = chain.then(() => handle(incoming)).catch((error) => end(statusOf(error)));
        });
        call.on('end', () => {
          void chain.then(() => {
            if (!isOver) call.end();
          });
        });
        call.on('error', () => {});
      },
      pull: (call, callback) => {
        this.unaryCalls.push('pull');
        const { topic, queue, offset } = wellFormed(call.request);
        const at = Number(offset);
        const max = group.entries(topic, queue).length;
        if (at > max) return callback(statusOf(new TLedgerError('OFFSET_OUT_OF_RANGE')));
        callback(null, {
          messages: [],
          records: group.packed(topic, queue, at, max),
          count: max - at,
          nextOffset: String(max),
          minOffset: '0',
          maxOffset: String(max),
          readFrom: group.adviseFrom(this, at),
        });
      },
      consume: (call) => void this.#consume(call),
      metadata: (call, callback) => {
        this.unaryCalls.push('metadata');
        if (this.refuseAll !== undefined) return callback(statusOf(new TLedgerError(this.refuseAll)));
        const { topics, current } = wellFormed(call.request);
        if (current === true && group.leader === null) return callback(statusOf(new TLedgerError('NO_LEADER')));
        callback(null, this.metadata(topics, current === true));
      },
      watchMetadata: (call) => {
        const { topics } = wellFormed(call.request);
        const send = () => call.write(this.metadata(topics));
        send();
        const off = group.onChange(send);
        call.on('cancelled', off);
        call.on('error', off);
      },
    };
  }

  /** @param current as of now, even if this node lags. */
  metadata(topics: readonly string[], current = false): MetadataResponse {
    const { group } = this;
    const lag = current ? undefined : this.lagsAt;
    const isKnown = (name: string) => group.topics.has(name) && (lag === undefined || lag > 0);
    const known = [...(topics.length === 0 ? group.topics.keys() : topics)].filter(isKnown);
    const log = group.log.slice(0, lag);
    const heldBy = (name: string, at: number) =>
      log.filter(({ topic, queue }) => topic === name && queue === at).length;
    return {
      cluster: group.cluster,
      group: 'g0',
      nodeId: this.id,
      leader: group.leader,
      members: group.membership.members,
      membershipIndex: group.membership.index,
      topics: known.map((name) => {
        const queues = group.topics.get(name)!;
        const ranges = Array.from({ length: queues }, (_, queue) => {
          return { queue, minOffset: String(group.minOffset), maxOffset: String(heldBy(name, queue)) };
        });
        return { name, queues, createdTimestamp: '1700000000000', ranges };
      }),
    };
  }

  async #consume(call: ServerWritableStream<Incoming<ConsumeRequest>, ConsumeResponse>): Promise<void> {
    const { topic, positions } = wellFormed(call.request);
    const { group } = this;
    const next = new Map(positions.map(({ queue, offset }) => [queue, Number(offset)]));
    let sent = 0;
    const pump = (): void => {
      for (const [queue, from] of next) {
        const max = group.entries(topic, queue).length;
        if (from > max || from < group.minOffset) {
          off();
          return void call.emit('error', statusOf(new TLedgerError('OFFSET_OUT_OF_RANGE')));
        }
        for (let at = from; at < max; at = next.get(queue)!) {
          const verdict = group.onConsume(this, sent);
          if (verdict !== 'go on') {
            off();
            call.emit('error', verdict === 'drop' ? lostConnection() : statusOf(new TLedgerError(verdict)));
            return;
          }
          const to = Math.min(max, at + 3);
          call.write({
            queue,
            messages: [],
            records: group.packed(topic, queue, at, to),
            count: to - at,
            firstOffset: String(at),
            nextOffset: String(to),
            maxOffset: String(max),
            readFrom: group.adviseFrom(this, at),
          });
          next.set(queue, to);
          sent++;
        }
      }
    };
    const off = group.onChange(pump);
    call.on('cancelled', off);
    call.on('error', off);
    this.readers++;
    pump();
  }

  #admin(): AdminHandlers {
    const { group } = this;
    const leaderId = () => group.leader?.nodeId ?? '';
    return {
      clusterStatus: (call, callback) => {
        const { localOnly } = wellFormed(call.request);
        // A client asks each node once who it is; what follows is what the test is about.
        if (!localOnly) this.unaryCalls.push('clusterStatus');
        const { membership, outside } = group;
        const asked = localOnly ? [this.id] : membership.members.map(({ nodeId }) => nodeId);
        const nodes = asked.map((id) => {
          const node = group.nodes.find((one) => one.id === id);
          return node?.isUp === true ? statusOfNode(node, leaderId()) : silentNode(id, membership, group.awayBecause);
        });
        callback(null, { cluster: group.cluster, group: 'g0', leaderId: leaderId(), nodes, membership, outside });
      },
      updateTopic: (_call, callback) => callback(null, { topic: null, changed: false }),
      listClients: (_call, callback) => callback(null, { clients: [], nodes: [], complete: true }),
      describeGroups: (_call, callback) => callback(null, { groups: [] }),
      putGroup: (call, callback) => callback(null, { group: wellFormed(call.request).group, created: true }),
      deleteGroup: (_call, callback) => callback(null, { existed: false }),
      resetGroup: (call, callback) => callback(null, { positions: wellFormed(call.request).positions }),
      resendDeadLetters: (_call, callback) => callback(null, { count: 0, complete: true }),
      backup: (call) => {
        call.emit('error', statusOf(new TLedgerError('INTERNAL', 'nothing is backed up here')));
      },
      createTopic: (call, callback) => {
        this.unaryCalls.push('createTopic');
        if (this.refuseAll !== undefined) return callback(statusOf(new TLedgerError(this.refuseAll)));
        const { topic, queues } = wellFormed(call.request);
        if (topic === '') return callback(statusOf(new TLedgerError('ILLEGAL_TOPIC', 'the topic name is empty')));
        const verdict = group.onCreateTopic(this);
        if (verdict === 'drop') return callback(lostConnection());
        if (verdict !== 'go on' && verdict !== 'apply, then drop') return callback(statusOf(new TLedgerError(verdict)));
        const created = !group.topics.has(topic);
        if (created) group.topics.set(topic, queues === 0 ? 4 : queues);
        group.changed();
        if (verdict === 'apply, then drop') return callback(lostConnection());
        callback(null, { topic: this.metadata([topic]).topics[0]!, created });
      },
      transferLeadership: (call, callback) => {
        this.unaryCalls.push('transferLeadership');
        const { target } = wellFormed(call.request);
        const at = target === '' ? 1 : group.nodes.findIndex(({ id }) => id === target);
        if (at < 0) return callback(statusOf(new TLedgerError('UNKNOWN_NODE', `no member ${target}`)));
        group.lead(at);
        callback(null, { leader: group.leader });
      },
      changeMembership: (call, callback) => {
        this.unaryCalls.push('changeMembership');
        const request = wellFormed(call.request);
        const verdict = group.onChangeMembership(request);
        if (verdict === 'drop') return callback(lostConnection());
        if (verdict !== 'go on' && verdict !== 'apply, then drop') return callback(statusOf(new TLedgerError(verdict)));
        try {
          group.changeMembership(request);
        } catch (error) {
          return callback(statusOf(error));
        }
        if (verdict === 'apply, then drop') return callback(lostConnection());
        callback(null, { index: String(group.membershipIndex) });
      },
      scrub: (_call, callback) => callback(null, { members: [] }),
      readLog: (_call, callback) => callback({ code: 12, details: 'not here' }),
      verifyLog: (call, callback) => {
        const index = String(group.log.length);
        wellFormed(call.request);
        const replicas = group.nodes.map(({ id }, at) => {
          const chainCrc = group.divergedNode === at ? 2 : 1;
          const isSilent = group.silentNode === at;
          const error = isSilent ? 'it is away' : group.refusingNode === at ? 'it is behind' : '';
          return { nodeId: id, reachable: !isSilent, error, index, chainCrc, endPosition: '4096' };
        });
        callback(null, {
          index,
          identical: [group.divergedNode, group.silentNode, group.refusingNode].every((at) => at === undefined),
          replicas,
        });
      },
    };
  }
}

function statusOfNode(node: FakeNode, leaderId: string): NodeStatus {
  const isLeader = node.id === leaderId;
  const end = String(node.group.log.slice(0, node.lagsAt).length);
  return {
    nodeId: node.id,
    reachable: true,
    error: '',
    role: isLeader ? 'leader' : 'follower',
    term: String(node.group.term),
    leaderId,
    firstIndex: '1',
    lastIndex: end,
    flushedIndex: end,
    committedIndex: end,
    appliedIndex: end,
    flushedPosition: '4096',
    endPosition: '4096',
    clientAddress: node.address,
    peerAddress: node.address,
    uptimeMs: '61000',
    version: '0.1.0',
    pid: process.pid,
    membershipRole: node.group.membership.members.find(({ nodeId }) => nodeId === node.id)?.role ?? 'removed',
    replication: node.replication,
  };
}

function toStreamResponse({ leader, ...answer }: AppendResponse): AppendStreamResponse {
  const { queueOffset, count, lastIndex, repeated } = answer;
  const result = { queueOffset: Number(queueOffset), count, lastIndex: logIndex(Number(lastIndex)), repeated };
  return { acknowledged: [result], leader };
}

/** What is said of a member that does not answer. */
function silentNode(nodeId: string, { members }: Membership, error: string): NodeStatus {
  const { clientAddress, peerAddress } = members.find((member) => member.nodeId === nodeId)!;
  const texts = { role: '', leaderId: '', version: '', membershipRole: '', replication: '' } as const;
  const numbers = { term: '0', firstIndex: '0', lastIndex: '0', flushedIndex: '0', committedIndex: '0' };
  const more = { appliedIndex: '0', flushedPosition: '0', endPosition: '0', uptimeMs: '0', pid: 0 };
  return { nodeId, reachable: false, error, clientAddress, peerAddress, ...texts, ...numbers, ...more };
}

/** A member as the group tells of it: a voter unless `more` says otherwise. */
export function memberOf(nodeId: string, more: Partial<GroupMember> = {}): GroupMember {
  const addresses = { clientAddress: '127.0.0.1:1', peerAddress: '127.0.0.1:2' };
  return { nodeId, role: 'voter', ...addresses, promote: false, replaces: '', ...more };
}

export function bodyOf(record: Buffer): string {
  const at = RECORD_HEADER_BYTES + 84;
  return record.toString('utf8', at + 4, at + 4 + record.readUInt32BE(at));
}

function split(records: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    found.push(records.subarray(at, at + sizeAt(records, at)));
  }
  return found;
}

function lostConnection() {
  return { code: status.UNAVAILABLE, details: 'connection lost (scripted)', metadata: new Metadata() };
}

function quietly(action: () => unknown): void {
  try {
    action();
  } catch {
    // The point of it: nobody hears of this.
  }
}
