// The two faces of a node whose data are being repaired: it tells that, and why, and does nothing else. It does not vote,
// acknowledge, lead, answer reads or give its records to anybody.
import type { UntypedHandleCall } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { physicalOffset } from '../format/record.ts';
import { logIndex, type NodeId, type Term } from '../raft/types.ts';
import { codecs, type PeerHandlers } from '../wire/services.ts';
import { statusOf } from '../wire/status.ts';
import { ConnectedClients } from './connected_clients.ts';
import type { Gateway, LocalStatus, MemberStatus, NodeAddresses, NodeFacts } from './gateway.ts';
import { Inspection } from './inspection.ts';
import type { GroupMembers } from './members.ts';
import { toNodeStatus } from './node_status.ts';
import type { PeerIdentity } from './peer_identity.ts';
import type { PeerLink } from './peer_link.ts';
import { identifyStream, unary } from './peer_service.ts';

/** What a repairing node knows. */
export interface RepairGatewayOptions {
  readonly cluster: string;
  readonly group: string;
  readonly self: NodeAddresses;
  /** The members as far as they are known. */
  readonly members: GroupMembers;
  readonly term: Term;
  readonly facts: () => NodeFacts;
  /** What is damaged, and why it is not repaired yet. */
  readonly says: () => string;
  readonly linkTo: (peer: NodeId) => PeerLink;
}

/** The gateway of a node whose replica does not run: it shows the members, and refuses everything else. */
export class RepairGateway implements Gateway {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  readonly self: NodeAddresses;
  readonly members: GroupMembers;
  readonly clients: ConnectedClients;
  readonly #options: RepairGatewayOptions;
  readonly #inspection: Inspection;

  constructor(options: RepairGatewayOptions) {
    const { cluster, group, self, members, linkTo } = options;
    this.cluster = cluster;
    this.group = group;
    this.nodeId = self.nodeId;
    this.self = self;
    this.members = members;
    this.#options = options;
    this.clients = new ConnectedClients({
      nodeId: self.nodeId,
      members: () => members.members,
      ask: (peer, request, timeoutMs) => linkTo(peer).listClients(request, timeoutMs),
    });
    this.#inspection = new Inspection({
      nodeId: self.nodeId,
      members: () => members.members,
      localStatus: () => this.localStatus(),
      localDigest: () => {
        throw this.outside();
      },
      scrubLocally: () => this.scrubLocally(),
      inspect: (peer, request, timeoutMs) => linkTo(peer).inspect(request, timeoutMs),
    });
  }

  get backups(): Gateway['backups'] {
    return { run: () => Promise.reject(this.outside()) };
  }

  /** @throws TLedgerError REPAIRING, always. */
  get broker(): never {
    throw this.outside();
  }

  leader(): null {
    return null;
  }

  outside(): TLedgerError {
    return repairingError(this.nodeId, this.#options.says());
  }

  append(_request: unknown, _deadlineMs: number, done: (error: Error, result: null) => void): void {
    done(this.outside(), null);
  }

  atLeader(): Promise<never> {
    return Promise.reject(this.outside());
  }

  createTopic(): Promise<never> {
    return Promise.reject(this.outside());
  }

  transferLeadership(): Promise<never> {
    return Promise.reject(this.outside());
  }

  changeMembership(): Promise<never> {
    return Promise.reject(this.outside());
  }

  readBarrier(): Promise<never> {
    return Promise.reject(this.outside());
  }

  localStatus(): LocalStatus {
    const { term, facts, says } = this.#options;
    const none = logIndex(0);
    return {
      nodeId: this.nodeId,
      role: 'repairing',
      repair: says(),
      term,
      leaderId: null,
      firstIndex: none,
      lastIndex: none,
      flushedIndex: none,
      committedIndex: none,
      appliedIndex: none,
      flushedPosition: physicalOffset(0),
      endPosition: physicalOffset(0),
      membershipRole: 'voter',
      ...facts(),
    };
  }

  clusterStatus(): Promise<MemberStatus[]> {
    return this.#inspection.clusterStatus();
  }

  replication(): ReadonlyMap<NodeId, string> {
    return new Map();
  }

  verifyLog(index: Parameters<Gateway['verifyLog']>[0]): ReturnType<Gateway['verifyLog']> {
    return this.#inspection.verifyLog(index);
  }

  recordPage(): never {
    throw this.outside();
  }

  indexAtPosition(): never {
    throw this.outside();
  }

  scrubLocally(): never {
    throw this.outside();
  }

  scrub(bytesPerSecond: Parameters<Gateway['scrub']>[0]): ReturnType<Gateway['scrub']> {
    return this.#inspection.scrub(bytesPerSecond);
  }

  onChange(): () => void {
    return () => {};
  }

  onOwner(): () => void {
    return () => {};
  }
}

/** Handlers for `peerService` on such a node: other members learn its state; everything else is refused. */
export function repairPeerHandlers(options: {
  readonly identity: PeerIdentity;
  readonly gateway: RepairGateway;
  readonly report: (where: string, error: unknown) => void;
}): PeerHandlers & Record<string, UntypedHandleCall> {
  const { identity, gateway } = options;
  const refuse = (): never => {
    throw gateway.outside();
  };
  const refuseStream = (stream: Parameters<typeof identifyStream>[1]): void => {
    if (identifyStream(identity, stream) !== null) stream.emit('error', statusOf(gateway.outside()));
  };
  return {
    vote: unary(options, 'Vote', refuse),
    timeoutNow: unary(options, 'TimeoutNow', refuse),
    listClients: unary(options, 'ListClients', refuse),
    fetchRecords: unary(options, 'FetchRecords', refuse),
    fetchSnapshot: unary(options, 'FetchSnapshot', refuse),
    inspect: unary(options, 'Inspect', (request: { index: string }) => ({
      status: codecs.nodeStatus.encode(
        toNodeStatus({ member: gateway.self, status: gateway.localStatus(), error: null }),
      ),
      digestIndex: '0',
      chainCrc: 0,
      endPosition: '0',
      digestError: request.index === '0' ? '' : gateway.outside().message,
    })),
    replicate: refuseStream,
    forward: refuseStream,
  };
}

function repairingError(nodeId: NodeId, says: string): TLedgerError {
  return new TLedgerError('REPAIRING', `node "${nodeId}" repairs its data: ${says}`);
}
