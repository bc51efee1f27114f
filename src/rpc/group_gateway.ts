// The gateway of one group on one node: reads from this replica, has the leader do what only it can (leader_route.ts),
// looks at the members (inspection.ts).
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import type { OwnerListener } from '../broker/lite/owner_table.ts';
import type { TopicInfo, TopicWish } from '../broker/types.ts';
import type { LogIndex, NodeId } from '../raft/types.ts';
import type { RecordPage } from '../replica/record_pages.ts';
import type { Replica } from '../replica/replica.ts';
import type { ScrubStatus } from '../replica/scrub_status.ts';
import type { OtherCopy } from '../replica/scrubber.ts';
import type { Transferred } from '../replica/transfer.ts';
import type { AppendDone, PackedAppend } from '../replica/types.ts';
import { ConnectedClients } from './connected_clients.ts';
import type {
  AtLeaderOptions,
  BackupDoor,
  Gateway,
  LeaderInfo,
  LocalStatus,
  MemberDigest,
  MemberStatus,
  NodeAddresses,
  NodeFacts,
  ScrubBegun,
} from './gateway.ts';
import { Inspection } from './inspection.ts';
import {
  appendCall,
  changeMembershipCall,
  createTopicCall,
  type LeaderCall,
  readIndexCall,
  transferCall,
} from './leader_calls.ts';
import { LeaderRoute } from './leader_route.ts';
import { type GroupMembers, groupMembersOf, type MembershipOrder, membershipRoleOf } from './members.ts';
import type { PeerLink } from './peer_link.ts';
import type { GrpcPeerTransport } from './peer_transport.ts';

/** What a gateway stands on. */
export interface GroupGatewayOptions {
  readonly cluster: string;
  readonly group: string;
  /** This node as it was configured. */
  readonly self: NodeAddresses;
  readonly standing: Standing;
  readonly replica: Replica;
  readonly transport: GrpcPeerTransport;
  readonly backups: BackupDoor;
  readonly clock: Clock;
  readonly facts: () => NodeFacts;
  /** Checks what this replica stores; asked each time, since a replica may be opened anew. Null: nobody does. */
  readonly scrubber: () => LocalScrubber | null;
}

/** What a gateway needs of a scrubber. */
export interface LocalScrubber {
  scrubNow(bytesPerSecond: number | null): number;
  status(): ScrubStatus;
}

/** What a node knows of its membership beside what its log says. */
export interface Standing {
  /** Whether this node has ever been a member. */
  readonly wasMember: boolean;
  /** A member that knows a leader said that this node is out. */
  readonly isOutcast: boolean;
  /** Called when the node has turned out to be out, or to be in again, until the returned function is called. */
  onChange(listener: () => void): () => void;
}

/** The gateway of a running replica. */
export class GroupGateway implements Gateway {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly backups: BackupDoor;
  readonly clients: ConnectedClients;
  readonly #configured: NodeAddresses;
  readonly #standing: Standing;
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #facts: () => NodeFacts;
  readonly #scrubber: () => LocalScrubber | null;
  readonly #route: LeaderRoute;
  readonly #inspection: Inspection;

  constructor(options: GroupGatewayOptions) {
    const { replica, transport, clock, self } = options;
    this.cluster = options.cluster;
    this.group = options.group;
    this.nodeId = self.nodeId;
    this.backups = options.backups;
    this.#configured = self;
    this.#standing = options.standing;
    this.#replica = replica;
    this.#clock = clock;
    this.#facts = options.facts;
    this.#scrubber = options.scrubber;
    this.#route = new LeaderRoute({ replica, clock, linkTo: (peer) => transport.link(peer) });
    const linkTo = (peer: NodeId): PeerLink => {
      const link = transport.link(peer);
      if (link === undefined) throw new TLedgerError('UNKNOWN_NODE', `no link to "${peer}"`);
      return link;
    };
    this.clients = new ConnectedClients({
      nodeId: this.nodeId,
      members: () => this.members.members,
      ask: async (peer, request, timeoutMs) => linkTo(peer).listClients(request, timeoutMs),
    });
    this.#inspection = new Inspection({
      nodeId: this.nodeId,
      members: () => this.members.members,
      localStatus: () => this.localStatus(),
      localDigest: (index) => replica.digest(index),
      scrubLocally: (bytesPerSecond) => this.scrubLocally(bytesPerSecond),
      inspect: async (peer, request, timeoutMs) => linkTo(peer).inspect(request, timeoutMs),
    });
  }

  get broker(): Broker {
    return this.#replica.broker;
  }

  get members(): GroupMembers {
    return groupMembersOf(this.#replica.membership, this.#replica.status().committedIndex);
  }

  get self(): NodeAddresses {
    const address = this.#replica.membership.membership.addresses[this.nodeId];
    if (address === undefined) return this.#configured;
    return { nodeId: this.nodeId, clientAddress: address.client, peerAddress: address.peer };
  }

  leader(): LeaderInfo | null {
    const { leaderId, membership, term } = this.#replica;
    if (leaderId === null) return null;
    const clientAddress = membership.membership.addresses[leaderId]?.client;
    return clientAddress === undefined ? null : { nodeId: leaderId, clientAddress, term };
  }

  outside(): TLedgerError | null {
    const { index, membership } = this.#replica.membership;
    const { isOutcast, wasMember } = this.#standing;
    if (isOutcast) return new TLedgerError('NODE_REMOVED', `node "${this.nodeId}" was removed, as a member says`);
    if (membership.addresses[this.nodeId] !== undefined) return null;
    // Until the record is committed it may be taken back, and a leader goes on in the name of the others.
    if (index > this.#replica.status().committedIndex) return null;
    const why = wasMember ? `was removed, as record ${index} says` : 'waits to be added to the group';
    return new TLedgerError('NODE_REMOVED', `node "${this.nodeId}" ${why}`);
  }

  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void {
    const refusal = this.outside();
    if (refusal !== null) return done(refusal, null);
    this.#route.call(appendCall, request, request.records.length, deadlineMs, done);
  }

  async createTopic(wish: TopicWish, deadlineMs: number): Promise<{ topic: TopicInfo; created: boolean }> {
    const { name } = wish;
    const created = await this.atLeader(createTopicCall, wish, { sizeBytes: 0, deadlineMs });
    try {
      // Visible here, too, before the caller is answered.
      if (this.broker.topic(name) === undefined) await this.readBarrier(deadlineMs);
    } catch (error) {
      throw new TLedgerError('OUTCOME_UNKNOWN', `topic "${name}" is created, but this node could not catch up`, error);
    }
    const topic = this.broker.topic(name);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic "${name}" vanished after it was created`);
    return { topic, created };
  }

  async transferLeadership(target: NodeId | null, deadlineMs: number): Promise<LeaderInfo> {
    const { addresses } = this.#replica.membership.membership;
    if (target !== null && addresses[target] === undefined) {
      throw new TLedgerError('UNKNOWN_NODE', `group "${this.group}" has no member "${target}"`);
    }
    const before = this.leader();
    try {
      return await this.#heardOf(await this.atLeader(transferCall, target, { sizeBytes: 0, deadlineMs }), deadlineMs);
    } catch (error) {
      // The old leader's answer can be overtaken by the very change that it would tell of.
      const now = this.leader();
      const isDone = target === null ? now?.nodeId !== before?.nodeId : now?.nodeId === target;
      if (now !== null && now.term > (before?.term ?? 0) && isDone) return now;
      throw error;
    }
  }

  changeMembership(order: MembershipOrder, deadlineMs: number): Promise<LogIndex> {
    return this.atLeader(changeMembershipCall, order, { sizeBytes: 0, deadlineMs });
  }

  async readBarrier(deadlineMs: number): Promise<LogIndex> {
    const index = await this.atLeader(readIndexCall, null, { sizeBytes: 0, deadlineMs }).catch((error: unknown) => {
      // A question that was lost on its way had no effect: there is nothing unknown about it.
      const isLost = error instanceof TLedgerError && error.code === 'OUTCOME_UNKNOWN';
      throw isLost ? new TLedgerError('NO_LEADER', error.message, error) : error;
    });
    await this.#replica.whenApplied(index, deadlineMs);
    return index;
  }

  localStatus(): LocalStatus {
    const { membership } = this.#replica.membership;
    const { isOutcast, wasMember } = this.#standing;
    const membershipRole = isOutcast ? 'removed' : membershipRoleOf(membership, this.nodeId, wasMember);
    const scrub = this.#scrubber()?.status() ?? null;
    return { ...this.#replica.status(), ...this.#facts(), membershipRole, scrub };
  }

  replication(): ReadonlyMap<NodeId, string> {
    return new Map(this.#replica.progress.map(({ peer, state }) => [peer, state]));
  }

  clusterStatus(): Promise<MemberStatus[]> {
    return this.#inspection.clusterStatus();
  }

  verifyLog(index: LogIndex | null): Promise<{ index: LogIndex; digests: MemberDigest[] }> {
    return this.#inspection.verifyLog(index);
  }

  recordPage(from: LogIndex, countMax: number): RecordPage {
    return this.#replica.recordPage(from, countMax);
  }

  indexAtPosition(position: number): LogIndex {
    return this.#replica.indexAtPosition(position);
  }

  scrubLocally(bytesPerSecond: number | null): number {
    const scrubber = this.#scrubber();
    if (scrubber === null) throw new TLedgerError('SHUTTING_DOWN', 'the replica is not open at the moment');
    return scrubber.scrubNow(bytesPerSecond);
  }

  scrub(bytesPerSecond: number | null): Promise<ScrubBegun[]> {
    return this.#inspection.scrub(bytesPerSecond);
  }

  /** What the other members say of their logs and snapshots, for comparing; without those that do not answer. */
  otherCopies(index: LogIndex): Promise<OtherCopy[]> {
    return this.#inspection.otherCopies(index);
  }

  onChange(listener: () => void): () => void {
    const forgetReplica = this.#replica.onChange(listener);
    const forgetMembers = this.#replica.onMembership(listener);
    const forgetStanding = this.#standing.onChange(listener);
    const forgetTopics = this.broker.onTopics(listener);
    return () => {
      forgetMembers();
      forgetStanding();
      forgetReplica();
      forgetTopics();
    };
  }

  onOwner(listener: OwnerListener): () => void {
    return this.broker.tables.owners.onChange(listener);
  }

  /** Refuses what waits and what comes. */
  close(): void {
    this.#route.close();
  }

  atLeader<Request, Result>(
    kind: LeaderCall<Request, Result>,
    request: Request,
    { sizeBytes, deadlineMs, signal }: AtLeaderOptions,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const refusal = this.outside();
      if (refusal !== null) throw refusal;
      const done = (error: Error | null, result: Result | null): void => {
        if (error !== null) reject(error);
        else resolve(result as Result);
      };
      this.#route.call(kind, request, sizeBytes, deadlineMs, done, signal);
    });
  }

  /** Resolves when this node, too, has heard of the new leader (or of a later one). */
  #heardOf(expected: Transferred, deadlineMs: number): Promise<LeaderInfo> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const leader = this.leader();
        if (leader === null || leader.term < expected.term) return;
        stop();
        resolve(leader);
      };
      const forget = this.#replica.onChange(look);
      const timer = this.#clock.after(Math.max(0, deadlineMs - this.#clock.monotonicMs()), () => {
        stop();
        reject(new TLedgerError('NO_LEADER', `${expected.leaderId} leads, but this node has not heard of it yet`));
      });
      const stop = (): void => {
        forget();
        timer.cancel();
      };
      look();
    });
  }
}
