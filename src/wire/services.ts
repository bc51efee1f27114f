// The services of tledger.v1 as typed definitions, for servers (`addService`) and clients (`Client.makeUnaryRequest`
// and its kin) alike.
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  MethodDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { assert } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type {
  BackupProgress,
  BackupRequest,
  ChangeMembershipRequest,
  ChangeMembershipResponse,
  ClusterStatusRequest,
  ClusterStatusResponse,
  CreateTopicRequest,
  CreateTopicResponse,
  NodeStatus,
  ReadLogRequest,
  ReadLogResponse,
  ScrubRequest,
  ScrubResponse,
  TransferLeadershipRequest,
  TransferLeadershipResponse,
  UpdateTopicRequest,
  UpdateTopicResponse,
  VerifyLogRequest,
  VerifyLogResponse,
} from './admin_messages.ts';
import { decodeAppendStreamResponse, encodeAppendResponse, encodeAppendStreamResponse } from './answer_codec.ts';
import { decodeAppendRequest, encodeAppendRequest, type OutgoingAppend } from './append_codec.ts';
import type { ListClientsRequest, ListClientsResponse } from './client_messages.ts';
import { gatherConsumeResponse } from './consume_codec.ts';
import { fieldBound } from './field_count.ts';
import type {
  DeleteGroupRequest,
  DeleteGroupResponse,
  DescribeGroupsRequest,
  DescribeGroupsResponse,
  PutGroupRequest,
  PutGroupResponse,
  ResendDeadLettersRequest,
  ResendDeadLettersResponse,
  ResetGroupRequest,
  ResetGroupResponse,
} from './group_messages.ts';
import type {
  AppendRequest,
  AppendResponse,
  AppendStreamResponse,
  ConsumeRequest,
  ConsumeResponse,
  FindOffsetRequest,
  FindOffsetResponse,
  MetadataRequest,
  MetadataResponse,
  PullRequest,
  PullResponse,
  QueryRequest,
  QueryResponse,
} from './ledger_messages.ts';
import type {
  FetchRecordsRequest,
  FetchRecordsResponse,
  FetchSnapshotRequest,
  FetchSnapshotResponse,
  ForwardRequest,
  ForwardResponse,
  InspectRequest,
  InspectResponse,
  ReadIndexResponse,
  TimeoutNowRequest,
  TimeoutNowResponse,
  VoteRequest,
  VoteResponse,
} from './peer_messages.ts';
import { codecOf, serviceOf } from './proto.ts';

const PACKAGE = 'tledger.v1.';

/** Stands in the place of a request whose bytes could not be decoded, so that the service can say so precisely. */
export class Malformed {
  readonly error: TLedgerError;

  constructor(cause: unknown) {
    this.error =
      cause instanceof TLedgerError
        ? cause
        : new TLedgerError('INVALID_ARGUMENT', `the request is not well-formed: ${messageOf(cause)}`, cause);
  }
}

/** What a handler receives. */
export type Incoming<T> = T | Malformed;

/** The request, if it could be decoded. @throws TLedgerError INVALID_ARGUMENT otherwise. */
export function wellFormed<T>(request: Incoming<T>): T {
  if (request instanceof Malformed) throw request.error;
  return request;
}

/** A method whose client sends `Out`, whose server sees `In`. */
export interface Method<Out, In, Response> {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (request: Out) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => In;
  readonly responseSerialize: (response: Response) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** Handlers of `tledger.v1.Ledger`. */
export interface LedgerHandlers extends UntypedServiceImplementation {
  append: handleUnaryCall<Incoming<AppendRequest>, AppendResponse>;
  appendStream: handleBidiStreamingCall<Incoming<AppendRequest>, AppendStreamResponse>;
  pull: handleUnaryCall<Incoming<PullRequest>, PullResponse>;
  consume: handleServerStreamingCall<Incoming<ConsumeRequest>, ConsumeResponse>;
  query: handleUnaryCall<Incoming<QueryRequest>, QueryResponse>;
  findOffset: handleUnaryCall<Incoming<FindOffsetRequest>, FindOffsetResponse>;
  metadata: handleUnaryCall<Incoming<MetadataRequest>, MetadataResponse>;
  watchMetadata: handleServerStreamingCall<Incoming<MetadataRequest>, MetadataResponse>;
}

/** `tledger.v1.Ledger`. */
export const ledgerService = {
  append: { ...appendMethod<AppendResponse>('Append'), responseSerialize: encodeAppendResponse },
  appendStream: {
    ...appendMethod<AppendStreamResponse>('AppendStream'),
    responseSerialize: encodeAppendStreamResponse,
    responseDeserialize: decodeAppendStreamResponse,
  },
  pull: method<PullRequest, PullResponse>('Ledger', 'Pull'),
  consume: {
    ...method<ConsumeRequest, ConsumeResponse>('Ledger', 'Consume'),
    responseSerialize: gatherConsumeResponse,
  },
  query: method<QueryRequest, QueryResponse>('Ledger', 'Query'),
  findOffset: method<FindOffsetRequest, FindOffsetResponse>('Ledger', 'FindOffset'),
  metadata: method<MetadataRequest, MetadataResponse>('Ledger', 'Metadata'),
  watchMetadata: method<MetadataRequest, MetadataResponse>('Ledger', 'WatchMetadata'),
} as const;

/** Handlers of `tledger.v1.Admin`. */
export interface AdminHandlers extends UntypedServiceImplementation {
  listClients: handleUnaryCall<Incoming<ListClientsRequest>, ListClientsResponse>;
  clusterStatus: handleUnaryCall<Incoming<ClusterStatusRequest>, ClusterStatusResponse>;
  createTopic: handleUnaryCall<Incoming<CreateTopicRequest>, CreateTopicResponse>;
  updateTopic: handleUnaryCall<Incoming<UpdateTopicRequest>, UpdateTopicResponse>;
  transferLeadership: handleUnaryCall<Incoming<TransferLeadershipRequest>, TransferLeadershipResponse>;
  changeMembership: handleUnaryCall<Incoming<ChangeMembershipRequest>, ChangeMembershipResponse>;
  verifyLog: handleUnaryCall<Incoming<VerifyLogRequest>, VerifyLogResponse>;
  scrub: handleUnaryCall<Incoming<ScrubRequest>, ScrubResponse>;
  readLog: handleUnaryCall<Incoming<ReadLogRequest>, ReadLogResponse>;
  backup: handleServerStreamingCall<Incoming<BackupRequest>, BackupProgress>;
  describeGroups: handleUnaryCall<Incoming<DescribeGroupsRequest>, DescribeGroupsResponse>;
  putGroup: handleUnaryCall<Incoming<PutGroupRequest>, PutGroupResponse>;
  deleteGroup: handleUnaryCall<Incoming<DeleteGroupRequest>, DeleteGroupResponse>;
  resetGroup: handleUnaryCall<Incoming<ResetGroupRequest>, ResetGroupResponse>;
  resendDeadLetters: handleUnaryCall<Incoming<ResendDeadLettersRequest>, ResendDeadLettersResponse>;
}

/** `tledger.v1.Admin`. */
export const adminService = {
  listClients: method<ListClientsRequest, ListClientsResponse>('Admin', 'ListClients'),
  clusterStatus: method<ClusterStatusRequest, ClusterStatusResponse>('Admin', 'ClusterStatus'),
  createTopic: method<CreateTopicRequest, CreateTopicResponse>('Admin', 'CreateTopic'),
  updateTopic: method<UpdateTopicRequest, UpdateTopicResponse>('Admin', 'UpdateTopic'),
  transferLeadership: method<TransferLeadershipRequest, TransferLeadershipResponse>('Admin', 'TransferLeadership'),
  changeMembership: method<ChangeMembershipRequest, ChangeMembershipResponse>('Admin', 'ChangeMembership'),
  verifyLog: method<VerifyLogRequest, VerifyLogResponse>('Admin', 'VerifyLog'),
  scrub: method<ScrubRequest, ScrubResponse>('Admin', 'Scrub'),
  readLog: method<ReadLogRequest, ReadLogResponse>('Admin', 'ReadLog'),
  backup: method<BackupRequest, BackupProgress>('Admin', 'Backup'),
  describeGroups: method<DescribeGroupsRequest, DescribeGroupsResponse>('Admin', 'DescribeGroups'),
  putGroup: method<PutGroupRequest, PutGroupResponse>('Admin', 'PutGroup'),
  deleteGroup: method<DeleteGroupRequest, DeleteGroupResponse>('Admin', 'DeleteGroup'),
  resetGroup: method<ResetGroupRequest, ResetGroupResponse>('Admin', 'ResetGroup'),
  resendDeadLetters: method<ResendDeadLettersRequest, ResendDeadLettersResponse>('Admin', 'ResendDeadLetters'),
} as const;

/** Handlers of `tledger.v1.Peer`. Frames of `replicate` arrive as bytes, and leave as such or in pieces (`Gathered`). */
export interface PeerHandlers extends UntypedServiceImplementation {
  vote: handleUnaryCall<Incoming<VoteRequest>, VoteResponse>;
  replicate: handleBidiStreamingCall<Buffer, Buffer>;
  timeoutNow: handleUnaryCall<Incoming<TimeoutNowRequest>, TimeoutNowResponse>;
  forward: handleBidiStreamingCall<Incoming<ForwardRequest>, ForwardResponse>;
  inspect: handleUnaryCall<Incoming<InspectRequest>, InspectResponse>;
  listClients: handleUnaryCall<Incoming<ListClientsRequest>, ListClientsResponse>;
  fetchRecords: handleUnaryCall<Incoming<FetchRecordsRequest>, FetchRecordsResponse>;
  fetchSnapshot: handleUnaryCall<Incoming<FetchSnapshotRequest>, FetchSnapshotResponse>;
}

const identity = (bytes: Buffer): Buffer => bytes;

/** `tledger.v1.Peer`. */
export const peerService = {
  vote: method<VoteRequest, VoteResponse>('Peer', 'Vote'),
  replicate: {
    ...pathOf(`${PACKAGE}Peer`, 'Replicate'),
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  } satisfies Method<Buffer, Buffer, Buffer>,
  timeoutNow: method<TimeoutNowRequest, TimeoutNowResponse>('Peer', 'TimeoutNow'),
  forward: method<ForwardRequest, ForwardResponse>('Peer', 'Forward'),
  inspect: method<InspectRequest, InspectResponse>('Peer', 'Inspect'),
  listClients: method<ListClientsRequest, ListClientsResponse>('Peer', 'ListClients'),
  fetchRecords: method<FetchRecordsRequest, FetchRecordsResponse>('Peer', 'FetchRecords'),
  fetchSnapshot: method<FetchSnapshotRequest, FetchSnapshotResponse>('Peer', 'FetchSnapshot'),
} as const;

/** Codecs of what travels inside `ForwardCall`, `ForwardResult` and `InspectResponse`. */
export const codecs = {
  createTopicRequest: codecOf<CreateTopicRequest>('CreateTopicRequest'),
  createTopicResponse: codecOf<CreateTopicResponse>('CreateTopicResponse'),
  changeMembershipRequest: codecOf<ChangeMembershipRequest>('ChangeMembershipRequest'),
  changeMembershipResponse: codecOf<ChangeMembershipResponse>('ChangeMembershipResponse'),
  transferLeadershipRequest: codecOf<TransferLeadershipRequest>('TransferLeadershipRequest'),
  readIndexResponse: codecOf<ReadIndexResponse>('ReadIndexResponse'),
  transferLeadershipResponse: codecOf<TransferLeadershipResponse>('TransferLeadershipResponse'),
  nodeStatus: codecOf<NodeStatus>('NodeStatus'),
} as const;

function method<Request, Response>(service: string, name: string): Method<Request, Incoming<Request>, Response> {
  return methodOf(PACKAGE + service, name);
}

/** A method of a service, by the service's full name. What cannot be decoded arrives as `Malformed`. */
export function methodOf<Request, Response>(
  service: string,
  name: string,
): Method<Request, Incoming<Request>, Response> {
  const definition = definitionOf(service, name);
  return {
    ...pathOf(service, name),
    requestSerialize: definition.requestSerialize,
    requestDeserialize: guarded(definition, definition.requestDeserialize),
    responseSerialize: definition.responseSerialize,
    responseDeserialize: definition.responseDeserialize,
  };
}

function appendMethod<Response>(name: string): Method<OutgoingAppend, Incoming<AppendRequest>, Response> {
  const definition = definitionOf(`${PACKAGE}Ledger`, name);
  return {
    ...pathOf(`${PACKAGE}Ledger`, name),
    requestSerialize: encodeAppendRequest,
    requestDeserialize: guarded(definition, decodeAppendRequest),
    responseSerialize: definition.responseSerialize,
    responseDeserialize: definition.responseDeserialize,
  };
}

function guarded<T>(
  { path, requestType }: Pick<LoadedMethod, 'path' | 'requestType'>,
  decode: (bytes: Buffer) => T,
): (bytes: Buffer) => Incoming<T> {
  const checkFields = fieldBound(requestType, path.slice(1, path.lastIndexOf('.') + 1));
  return (bytes) => {
    try {
      checkFields(bytes);
      return decode(bytes);
    } catch (error) {
      return new Malformed(error);
    }
  };
}

// biome-ignore lint/suspicious/noExplicitAny: proto-loader's definitions are untyped; the types stand in `Method`.
type UntypedMethod = MethodDefinition<any, any> & Pick<LoadedMethod, 'requestType'>;
type LoadedMethod = ReturnType<typeof serviceOf>[string];

function definitionOf(service: string, name: string): UntypedMethod {
  const definition = serviceOf(service)[name];
  assert(definition !== undefined, () => `proto has no method ${service}.${name}`);
  return definition;
}

function pathOf(service: string, name: string) {
  const { path, requestStream, responseStream } = definitionOf(service, name);
  return { path, requestStream, responseStream };
}
