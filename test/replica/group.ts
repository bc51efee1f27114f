// A whole group in memory: real replicas on simulated disks, network and time. Everything happens when `run` moves the
// clock; nothing depends on the machine.

import { ManualClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { AppendResult, PackedAppend } from '../../src/broker/types.ts';
import { decodeMessageRecord, encodeMessageRecord, queueOffset } from '../../src/format/message.ts';
import { sizeAt } from '../../src/format/record.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import type { MemberAddress, Membership, NodeId, RaftMessage } from '../../src/raft/types.ts';
import type { DiskLimits } from '../../src/replica/disk_watch.ts';
import type { FlushPolicy } from '../../src/replica/flusher.ts';
import { type OpenGroup, openGroup } from '../../src/replica/open_group.ts';
import { Replica } from '../../src/replica/replica.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import type { KeyIndexLayout } from '../../src/storage/key_index_file.ts';
import { type CrashMode, type DiskOperation, MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { LINK_DELAY_MS, Network } from './network.ts';
import { NodeClock } from './node_clock.ts';
import { ProcessDisk, ProcessGone } from './process_disk.ts';

export const SEGMENT_SIZE_BYTES = 64 * 1024;
export const DIRECTORY = '/data/g0';

export const limits = {
  countMax: 1_000,
  bytesMax: 4 * 1024 * 1024,
  batchBytesMax: 16 * 1024,
  unflushedBytesMax: 1024 * 1024,
  unappliedBytesMax: 4 * 1024 * 1024,
};

interface Member {
  /** One of those that the group was founded with. */
  readonly isFounder: boolean;
  disk: MemoryDisk;
  medium: MemoryStateMedium;
  replica: Replica | null;
  log: CommitLog | null;
  /** What is open while it lives. */
  open: OpenGroup | null;
  failure: Error | null;
  warnings: string[];
  /** What went as it should and is rare: snapshots, cuts. */
  readonly events: string[];
  /** The memberships that its transport was told, in this life. */
  told: Membership[];
  readonly clock: NodeClock;
  /** Counts lives, so that messages to an earlier one are lost. */
  life: number;
}

export interface GroupOptions {
  readonly nodes?: number;
  readonly seed?: number;
  readonly flush?: FlushPolicy;
  readonly limits?: Partial<typeof limits>;
  /** Nodes beside the founders, n3 and so on, which wait to be added. */
  readonly spares?: number;
  readonly checkpointIntervalMs?: number;
  readonly retentionBytes?: number | ((id: NodeId) => number);
  readonly retentionMs?: number;
  readonly flushIntervalMs?: number;
  /** Limits of how full disks may be; nobody looks without. */
  readonly space?: DiskLimits;
  readonly snapshotChunkBytes?: number;
  readonly diskStallMs?: number;
  readonly keyIndex?: KeyIndexLayout;
  readonly preferredLeaders?: readonly NodeId[];
  readonly leaseReads?: boolean;
}

/** Where a simulated node would be. */
export const addressOf = (id: NodeId): MemberAddress => ({ peer: `${id}:40911`, client: `${id}:8081` });

export class Group {
  readonly clock = new ManualClock();
  readonly ids: readonly NodeId[];
  readonly members = new Map<NodeId, Member>();
  readonly network: Network;
  readonly #random: SeededRandom;
  readonly #options: GroupOptions;

  constructor(options: GroupOptions = {}) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed ?? 1);
    this.network = new Network(this.clock, this.#random);
    const founders = options.nodes ?? 3;
    this.ids = Array.from({ length: founders + (options.spares ?? 0) }, (_, at) => `n${at}`);
    for (const [number, id] of this.ids.entries()) {
      const medium = new MemoryStateMedium();
      this.members.set(id, {
        isFounder: number < founders,
        disk: new MemoryDisk(),
        medium,
        replica: null,
        log: null,
        open: null,
        failure: null,
        warnings: [],
        events: [],
        told: [],
        clock: new NodeClock(this.clock),
        life: 0,
      });
    }
  }

  static async started(options: GroupOptions = {}): Promise<Group> {
    const group = new Group(options);
    for (const id of group.ids) await group.start(id);
    return group;
  }

  /** `from>to` pairs whose messages are lost. */
  get cut(): Set<string> {
    return this.network.cut;
  }

  async start(id: NodeId): Promise<void> {
    const member = this.member(id);
    const { disk, medium, clock } = member;
    const onWarning = (message: string): void => {
      if (member.life === life) member.warnings.push(message);
    };
    const life = ++member.life;
    const open = await openGroup({
      disk: new ProcessDisk(disk, () => member.life === life),
      directory: DIRECTORY,
      store: new MemoryStateStore(medium),
      segmentSizeBytes: SEGMENT_SIZE_BYTES,
      ...(this.#options.keyIndex === undefined ? {} : { keyIndex: this.#options.keyIndex }),
      onWarning,
    });
    member.failure = null;
    member.told = [];
    member.open = open;
    member.log = open.log;
    const { retentionBytes = 0, snapshotChunkBytes, diskStallMs = 3_000 } = this.#options;
    const { preferredLeaders = [], leaseReads = false } = this.#options;
    const founders = this.ids.filter((known) => this.member(known).isFounder);
    const addresses = Object.fromEntries(founders.map((founder) => [founder, addressOf(founder)]));
    member.replica = new Replica({
      ...open,
      membership: bootstrap(member.isFounder ? addresses : {}),
      retentionBytes: typeof retentionBytes === 'number' ? retentionBytes : retentionBytes(id),
      diskStallMs,
      retentionMs: this.#options.retentionMs ?? 0,
      ...(this.#options.space === undefined
        ? {}
        : {
            space: {
              ...this.#options.space,
              disk: new ProcessDisk(disk, () => member.life === life),
              directory: DIRECTORY,
            },
          }),
      ...(snapshotChunkBytes === undefined ? {} : { snapshotChunkBytes }),
      raft: {
        id,
        preferredLeaders,
        leaseReads,
        heartbeatIntervalMs: 100,
        idleHeartbeatIntervalMs: 100,
        electionTimeoutMsMin: 500,
        electionTimeoutMsMax: 1_000,
        appendBytesMax: 8 * 1024,
        inflightCountMax: 16,
        inflightBytesMax: 128 * 1024,
      },
      limits: { ...limits, ...this.#options.limits },
      flush: this.#options.flush ?? 'sync',
      ...(this.#options.flushIntervalMs === undefined ? {} : { flushIntervalMs: this.#options.flushIntervalMs }),
      checkpointIntervalMs: this.#options.checkpointIntervalMs ?? 200,
      clock,
      random: this.#random,
      transport: {
        send: (message, records) => this.#send(life, message, records),
        setMembers: (membership) => {
          if (member.life === life) member.told.push(membership);
        },
      },
      onWarning,
      onEvent: (message) => {
        if (member.life === life) member.events.push(message);
      },
      onFailure: (error) => {
        if (member.life === life) member.failure = error;
      },
    });
    member.replica.start();
    this.#tellPeers(id, 'onUp');
  }

  /** The process is gone; with a mode, so is the power. */
  crash(id: NodeId, mode: CrashMode | 'kill'): void {
    const member = this.member(id);
    if (mode === 'kill') {
      member.disk.kill();
      member.medium.crash(Number.POSITIVE_INFINITY);
    } else {
      member.disk.crash({ mode, random: this.#random });
      member.medium.crash();
    }
    member.replica = null;
    member.log = null;
    member.open = null;
    member.life++;
    this.#tellPeers(id, 'onDown');
  }

  /** The process is gone when its disk is about to take a step that `fits`. */
  crashAt(id: NodeId, mode: CrashMode | 'kill', fits: (step: DiskOperation) => boolean): void {
    this.member(id).disk.onOperation = (step) => {
      if (!fits(step)) return;
      this.crash(id, mode);
      throw new ProcessGone(`${step.kind} ${step.path}`);
    };
  }

  /** The process is gone, and so is all that it had stored. */
  replaceDisk(id: NodeId): void {
    this.crash(id, 'kill');
    this.member(id).disk = new MemoryDisk();
    this.member(id).medium = new MemoryStateMedium();
  }

  member(id: NodeId): Member {
    return this.members.get(id)!;
  }

  replica(id: NodeId): Replica {
    return this.member(id).replica!;
  }

  living(): NodeId[] {
    return this.ids.filter((id) => this.member(id).replica !== null && this.member(id).failure === null);
  }

  leader(): NodeId | null {
    const leaders = this.living().filter((id) => this.replica(id).isLeader);
    const newest = leaders.sort((a, b) => this.replica(b).term - this.replica(a).term)[0];
    return newest ?? null;
  }

  /** Lets `ms` of simulated time pass. */
  async run(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed++) {
      this.clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Runs until `condition` holds; fails after `maxMs` of simulated time. */
  async until(what: string, condition: () => boolean, maxMs = 10_000): Promise<void> {
    for (let passed = 0; passed < maxMs; passed++) {
      if (condition()) return;
      await this.run(1);
    }
    throw new Error(`not within ${maxMs} ms: ${what}`);
  }

  async elect(): Promise<NodeId> {
    await this.until('a leader', () => this.leader() !== null);
    return this.leader()!;
  }

  async createTopic(name: string, queues = 1): Promise<void> {
    const leader = await this.elect();
    let settled = false;
    const created = this.replica(leader).createTopic(name, queues, this.clock.monotonicMs() + 5_000);
    void created.finally(() => {
      settled = true;
    });
    await this.until(`topic ${name}`, () => settled);
    await created;
  }

  append(id: NodeId, request: PackedAppend, timeoutMs = 5_000): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      this.replica(id).append(request, this.clock.monotonicMs() + timeoutMs, (error, result) => {
        if (result === null) reject(error);
        else resolve(result);
      });
    });
  }

  /** Bodies of a queue as one replica shows them. */
  bodies(id: NodeId, topic: string, queueId = 0): string[] {
    const { broker } = this.replica(id);
    const bodies: string[] = [];
    for (let offset = broker.range(topic, queueId).min; ; ) {
      const page = broker.pull({ topic, queueId, offset, countMax: 1_000, bytesMax: 1024 * 1024 });
      if (page.count === 0) return bodies;
      for (let at = 0; at < page.records.length; at += sizeAt(page.records, at)) {
        const message = decodeMessageRecord(page.records, at, at + sizeAt(page.records, at));
        if (message?.topic === topic && message.queueId === queueId) bodies.push(message.body.toString());
      }
      offset = queueOffset(page.nextOffset);
    }
  }

  /** Separates `id` from everybody, or only one direction of it. */
  isolate(id: NodeId, direction: 'both' | 'in' | 'out' = 'both'): void {
    for (const other of this.ids) {
      if (other === id) continue;
      if (direction !== 'in') this.cut.add(`${id}>${other}`);
      if (direction !== 'out') this.cut.add(`${other}>${id}`);
    }
  }

  /** The connection between two nodes drops, and with it what was under way; both hear of it. */
  disconnect(one: NodeId, other: NodeId): void {
    this.cut.add(`${one}>${other}`).add(`${other}>${one}`);
    this.#tell(one, 'onDown', other);
    this.#tell(other, 'onDown', one);
  }

  reconnect(one: NodeId, other: NodeId): void {
    this.cut.delete(`${one}>${other}`);
    this.cut.delete(`${other}>${one}`);
    this.#tell(one, 'onUp', other);
    this.#tell(other, 'onUp', one);
  }

  #tell(id: NodeId, event: 'onUp' | 'onDown', about: NodeId): void {
    const member = this.member(id);
    member.clock.arrive(() => member.replica?.[event](about));
  }

  #send(fromLife: number, message: RaftMessage, records: RecordBytes | null): void {
    const { from, to } = message;
    const member = this.member(to);
    const toLife = member.life;
    this.network.send(message, records, (copy) => {
      if (member.life !== toLife || this.member(from).life !== fromLife) return;
      member.clock.arrive(() => {
        if (member.life === toLife) member.replica?.onMessage(message, copy);
        // Records belong to the log from then on; pieces of snapshots stay the transport's, which uses the buffer again.
        if (message.type === 'snapshot') copy?.buffer.fill(0xff);
      });
    });
  }

  #tellPeers(about: NodeId, event: 'onUp' | 'onDown'): void {
    this.clock.after(LINK_DELAY_MS, () => {
      for (const other of this.ids) if (other !== about) this.#tell(other, event, about);
    });
  }
}

/** A batch of messages with the given bodies. */
export function batchOf(
  topic: string,
  bodies: readonly string[],
  producerId = '',
  sequence = 0,
  queueId = 0,
): PackedAppend {
  const records = Buffer.concat(
    bodies.map((body) => encodeMessageRecord({ topic, queueId, body: Buffer.from(body), bornAtMs: 1 })),
  );
  return { topic, queueId, producerId, sequence, records };
}
