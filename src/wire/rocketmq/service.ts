// apache.rocketmq.v2.MessagingService as typed definitions, for servers and clients alike; see services.ts.
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Incoming, methodOf } from '../services.ts';
import type {
  AckMessageRequest,
  AckMessageResponse,
  ChangeInvisibleDurationRequest,
  ChangeInvisibleDurationResponse,
  EndTransactionRequest,
  EndTransactionResponse,
  ForwardMessageToDeadLetterQueueRequest,
  ForwardMessageToDeadLetterQueueResponse,
  GetOffsetRequest,
  GetOffsetResponse,
  HeartbeatRequest,
  HeartbeatResponse,
  NotifyClientTerminationRequest,
  NotifyClientTerminationResponse,
  PullMessageRequest,
  PullMessageResponse,
  QueryAssignmentRequest,
  QueryAssignmentResponse,
  QueryOffsetRequest,
  QueryOffsetResponse,
  QueryRouteRequest,
  QueryRouteResponse,
  RecallMessageRequest,
  RecallMessageResponse,
  ReceiveMessageRequest,
  ReceiveMessageResponse,
  SendMessageRequest,
  SendMessageResponse,
  SyncLiteSubscriptionRequest,
  SyncLiteSubscriptionResponse,
  TelemetryCommand,
  UpdateOffsetRequest,
  UpdateOffsetResponse,
} from './service_messages.ts';

/** Full name of the service: what reflection and health checks call it, and how its paths begin. */
export const MESSAGING_SERVICE = 'apache.rocketmq.v2.MessagingService';

/** Handlers of the service. */
export interface MessagingHandlers extends UntypedServiceImplementation {
  queryRoute: handleUnaryCall<Incoming<QueryRouteRequest>, QueryRouteResponse>;
  heartbeat: handleUnaryCall<Incoming<HeartbeatRequest>, HeartbeatResponse>;
  sendMessage: handleUnaryCall<Incoming<SendMessageRequest>, SendMessageResponse>;
  queryAssignment: handleUnaryCall<Incoming<QueryAssignmentRequest>, QueryAssignmentResponse>;
  receiveMessage: handleServerStreamingCall<Incoming<ReceiveMessageRequest>, ReceiveMessageResponse>;
  ackMessage: handleUnaryCall<Incoming<AckMessageRequest>, AckMessageResponse>;
  forwardMessageToDeadLetterQueue: handleUnaryCall<
    Incoming<ForwardMessageToDeadLetterQueueRequest>,
    ForwardMessageToDeadLetterQueueResponse
  >;
  pullMessage: handleServerStreamingCall<Incoming<PullMessageRequest>, PullMessageResponse>;
  updateOffset: handleUnaryCall<Incoming<UpdateOffsetRequest>, UpdateOffsetResponse>;
  getOffset: handleUnaryCall<Incoming<GetOffsetRequest>, GetOffsetResponse>;
  queryOffset: handleUnaryCall<Incoming<QueryOffsetRequest>, QueryOffsetResponse>;
  endTransaction: handleUnaryCall<Incoming<EndTransactionRequest>, EndTransactionResponse>;
  telemetry: handleBidiStreamingCall<Incoming<TelemetryCommand>, TelemetryCommand>;
  notifyClientTermination: handleUnaryCall<Incoming<NotifyClientTerminationRequest>, NotifyClientTerminationResponse>;
  changeInvisibleDuration: handleUnaryCall<Incoming<ChangeInvisibleDurationRequest>, ChangeInvisibleDurationResponse>;
  recallMessage: handleUnaryCall<Incoming<RecallMessageRequest>, RecallMessageResponse>;
  syncLiteSubscription: handleUnaryCall<Incoming<SyncLiteSubscriptionRequest>, SyncLiteSubscriptionResponse>;
}

const method = <Request, Response>(name: string) => methodOf<Request, Response>(MESSAGING_SERVICE, name);

/** `apache.rocketmq.v2.MessagingService`. */
export const messagingService = {
  queryRoute: method<QueryRouteRequest, QueryRouteResponse>('QueryRoute'),
  heartbeat: method<HeartbeatRequest, HeartbeatResponse>('Heartbeat'),
  sendMessage: method<SendMessageRequest, SendMessageResponse>('SendMessage'),
  queryAssignment: method<QueryAssignmentRequest, QueryAssignmentResponse>('QueryAssignment'),
  receiveMessage: method<ReceiveMessageRequest, ReceiveMessageResponse>('ReceiveMessage'),
  ackMessage: method<AckMessageRequest, AckMessageResponse>('AckMessage'),
  forwardMessageToDeadLetterQueue: method<
    ForwardMessageToDeadLetterQueueRequest,
    ForwardMessageToDeadLetterQueueResponse
  >('ForwardMessageToDeadLetterQueue'),
  pullMessage: method<PullMessageRequest, PullMessageResponse>('PullMessage'),
  updateOffset: method<UpdateOffsetRequest, UpdateOffsetResponse>('UpdateOffset'),
  getOffset: method<GetOffsetRequest, GetOffsetResponse>('GetOffset'),
  queryOffset: method<QueryOffsetRequest, QueryOffsetResponse>('QueryOffset'),
  endTransaction: method<EndTransactionRequest, EndTransactionResponse>('EndTransaction'),
  telemetry: method<TelemetryCommand, TelemetryCommand>('Telemetry'),
  notifyClientTermination: method<NotifyClientTerminationRequest, NotifyClientTerminationResponse>(
    'NotifyClientTermination',
  ),
  changeInvisibleDuration: method<ChangeInvisibleDurationRequest, ChangeInvisibleDurationResponse>(
    'ChangeInvisibleDuration',
  ),
  recallMessage: method<RecallMessageRequest, RecallMessageResponse>('RecallMessage'),
  syncLiteSubscription: method<SyncLiteSubscriptionRequest, SyncLiteSubscriptionResponse>('SyncLiteSubscription'),
} as const;
