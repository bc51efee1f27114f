// The server side of tledger.v1.Peer: what other members ask of this node. Every call is checked for who makes it.
import type { Metadata, ServerDuplexStream, ServerUnaryCall, sendUnaryData, UntypedHandleCall } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex, type NodeId, term } from '../raft/types.ts';
import type { Replica } from '../replica/replica.ts';
import type { ListClientsRequest } from '../wire/client_messages.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import { decodeRequestFrame } from '../wire/peer_frames.ts';
import type {
  FetchRecordsRequest,
  FetchSnapshotRequest,
  InspectRequest,
  InspectResponse,
  VoteRequest,
  VoteResponse,
} from '../wire/peer_messages.ts';
import { codecs, type Incoming, type PeerHandlers, wellFormed } from '../wire/services.ts';
import { statusOf } from '../wire/status.ts';
import type { ForwardService } from './forward_service.ts';
import type { Gateway } from './gateway.ts';
import { toNodeStatus } from './node_status.ts';
import { identify, introduceBack, type PeerIdentity } from './peer_identity.ts';
import type { GrpcPeerTransport } from './peer_transport.ts';
import { toRecordsResponse, toSnapshotResponse } from './repair_calls.ts';

/** What the service stands on. */
export interface PeerServiceOptions {
  readonly identity: PeerIdentity;
  readonly replica: Replica;
  readonly gateway: Gateway;
  readonly transport: GrpcPeerTransport;
  readonly forward: ForwardService;
  /** Told of what should not have happened; the caller only learns INTERNAL. */
  readonly report: (where: string, error: unknown) => void;
}

/** Handlers for `peerService`. */
export function peerHandlers(options: PeerServiceOptions): PeerHandlers & Record<string, UntypedHandleCall> {
  const { identity, replica, transport, forward } = options;
  return {
    vote: unary(options, 'Vote', (request: VoteRequest, from) => vote(options, request, from)),
    timeoutNow: unary(options, 'TimeoutNow', (request: { term: string }, from) => {
      const message = { from, to: identity.nodeId, term: term(uint64ToNumber(request.term, 'term')) };
      transport.receive({ type: 'timeout-now', ...message }, null);
      return {};
    }),
    inspect: unary(options, 'Inspect', (request: InspectRequest) => {
      const rate = uint64ToNumber(request.scrubBytesPerSecond ?? '0', 'scrub_bytes_per_second');
      if (request.scrub === true) options.gateway.scrubLocally(rate === 0 ? null : rate);
      return inspect(options, logIndex(uint64ToNumber(request.index, 'index')));
    }),
    listClients: unary(options, 'ListClients', (request: ListClientsRequest) =>
      options.gateway.clients.localPage(request),
    ),
    fetchRecords: unary(options, 'FetchRecords', (request: FetchRecordsRequest) =>
      toRecordsResponse(
        replica.fetchRecords(logIndex(uint64ToNumber(request.firstIndex, 'first_index')), request.maxBytes),
      ),
    ),
    fetchSnapshot: unary(options, 'FetchSnapshot', (request: FetchSnapshotRequest) => {
      const index = uint64ToNumber(request.index, 'index');
      const offset = uint64ToNumber(request.offset, 'offset');
      return toSnapshotResponse(replica.fetchSnapshot(index === 0 ? null : logIndex(index), offset));
    }),
    replicate: (stream: ServerDuplexStream<Buffer, Buffer>) => {
      const from = identifyStream(identity, stream);
      if (from !== null) replicate(options, stream, from);
    },
    forward: (stream) => {
      if (identifyStream(identity, stream) !== null) forward.serve(stream);
    },
  };
}

/**
 * @throws TLedgerError when there is no answer; NOT_A_MEMBER when the candidate gets no vote and is no member, as far as is
 * known where a leader is known, too: it was removed while it was away.
 */
function vote({ identity, transport, gateway }: PeerServiceOptions, request: VoteRequest, from: NodeId): VoteResponse {
  const response = transport.receiveVoteRequest({
    type: 'vote-request',
    from,
    to: identity.nodeId,
    term: term(uint64ToNumber(request.term, 'term')),
    preVote: request.preVote,
    lastIndex: logIndex(uint64ToNumber(request.lastIndex, 'last_index')),
    lastTerm: term(uint64ToNumber(request.lastTerm, 'last_term')),
    transfer: request.transfer,
  });
  if (response?.granted !== true && gateway.leader() !== null) {
    const { members, index, isCommitted } = gateway.members;
    if (isCommitted && members.every(({ nodeId }) => nodeId !== from)) {
      throw new TLedgerError('NOT_A_MEMBER', `node "${from}" is no member of the group, as of record ${index}`);
    }
  }
  if (response === null) throw new TLedgerError('NOT_LEADER', 'no vote: a living leader is known');
  return { term: String(response.term), preVote: response.preVote, granted: response.granted };
}

function inspect({ replica, gateway }: PeerServiceOptions, index: LogIndex): InspectResponse {
  const { self } = gateway;
  const status = codecs.nodeStatus.encode(toNodeStatus({ member: self, status: gateway.localStatus(), error: null }));
  const none = { status, digestIndex: '0', chainCrc: 0, endPosition: '0', digestError: '' };
  if (index === 0) return none;
  try {
    const digest = replica.digest(index);
    return {
      ...none,
      digestIndex: String(digest.index),
      chainCrc: digest.chainCrc,
      endPosition: String(digest.endPosition),
    };
  } catch (error) {
    if (!(error instanceof TLedgerError)) throw error;
    return { ...none, digestError: error.message };
  }
}

function replicate(
  { identity, transport, report }: PeerServiceOptions,
  stream: ServerDuplexStream<Buffer, Buffer>,
  from: NodeId,
): void {
  const ends = { from, to: identity.nodeId };
  stream.on('data', (bytes: Buffer) => {
    try {
      const frame = decodeRequestFrame(bytes, ends);
      transport.receive(frame.message, frame);
    } catch (error) {
      if (!(error instanceof TLedgerError)) report('Peer.Replicate', error);
      transport.detach(from, stream);
      stream.emit('error', statusOf(error));
    }
  });
  const leave = (): void => transport.detach(from, stream);
  stream.on('end', () => {
    leave();
    stream.end();
  });
  stream.on('error', leave);
  stream.on('cancelled', leave);
  transport.attach(from, stream);
  stream.sendMetadata(introduceBack(identity));
}

/** The calling member, or null after the stream was refused. */
export function identifyStream(
  identity: PeerIdentity,
  stream: { metadata: Metadata; emit(event: 'error', error: unknown): unknown },
): NodeId | null {
  try {
    return identify(identity, stream.metadata);
  } catch (error) {
    stream.emit('error', statusOf(error));
    return null;
  }
}

/** A handler of calls by other members: who calls is checked first. */
export function unary<Request, Response>(
  { identity, report }: Pick<PeerServiceOptions, 'identity' | 'report'>,
  name: string,
  handle: (request: Request, from: NodeId) => Response,
) {
  return (call: ServerUnaryCall<Incoming<Request>, Response>, callback: sendUnaryData<Response>): void => {
    try {
      const from = identify(identity, call.metadata);
      callback(null, handle(wellFormed(call.request), from));
    } catch (error) {
      if (!(error instanceof TLedgerError)) report(`Peer.${name}`, error);
      callback(statusOf(error));
    }
  };
}
