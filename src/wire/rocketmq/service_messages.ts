// What apache/rocketmq/v2/service.proto says, as TypeScript; see definitions.ts for how absence looks.
import type { Int64 } from '../int64.ts';
import type {
  Assignment,
  ClientType,
  Duration,
  Endpoints,
  FilterExpression,
  LiteSubscriptionAction,
  Message,
  MessageQueue,
  OffsetOption,
  QueryOffsetPolicy,
  Resource,
  Settings,
  Status,
  Timestamp,
  TransactionResolution,
  TransactionSource,
} from './definitions.ts';

/** `apache.rocketmq.v2.QueryRouteRequest`. */
export interface QueryRouteRequest {
  readonly topic: Resource | null;
  readonly endpoints: Endpoints | null;
}

/** `apache.rocketmq.v2.QueryRouteResponse`. */
export interface QueryRouteResponse {
  readonly status: Status | null;
  readonly messageQueues: readonly MessageQueue[];
}

/** `apache.rocketmq.v2.SendMessageRequest`. */
export interface SendMessageRequest {
  readonly messages: readonly Message[];
}

/** `apache.rocketmq.v2.SendResultEntry`. */
export interface SendResultEntry {
  readonly status: Status | null;
  readonly messageId: string;
  readonly transactionId: string;
  readonly offset: Int64;
  readonly recallHandle: string;
}

/** `apache.rocketmq.v2.SendMessageResponse`. */
export interface SendMessageResponse {
  readonly status: Status | null;
  readonly entries: readonly SendResultEntry[];
}

/** `apache.rocketmq.v2.QueryAssignmentRequest`. */
export interface QueryAssignmentRequest {
  readonly topic: Resource | null;
  readonly group: Resource | null;
  readonly endpoints: Endpoints | null;
}

/** `apache.rocketmq.v2.QueryAssignmentResponse`. */
export interface QueryAssignmentResponse {
  readonly status: Status | null;
  readonly assignments: readonly Assignment[];
}

/** `apache.rocketmq.v2.ReceiveMessageRequest`. */
export interface ReceiveMessageRequest {
  readonly group: Resource | null;
  readonly messageQueue: MessageQueue | null;
  readonly filterExpression: FilterExpression | null;
  readonly batchSize: number;
  readonly invisibleDuration?: Duration | undefined;
  readonly autoRenew: boolean;
  readonly longPollingTimeout?: Duration | undefined;
  readonly attemptId?: string | undefined;
}

/** First the status, then messages, then the time. */
export interface ReceiveMessageResponse {
  readonly status?: Status | undefined;
  readonly message?: Message | undefined;
  readonly deliveryTimestamp?: Timestamp | undefined;
}

/** `apache.rocketmq.v2.AckMessageEntry`. */
export interface AckMessageEntry {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly liteTopic?: string | undefined;
}

/** `apache.rocketmq.v2.AckMessageRequest`. */
export interface AckMessageRequest {
  readonly group: Resource | null;
  readonly topic: Resource | null;
  readonly entries: readonly AckMessageEntry[];
}

/** `apache.rocketmq.v2.AckMessageResultEntry`. */
export interface AckMessageResultEntry {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.AckMessageResponse`. */
export interface AckMessageResponse {
  readonly status: Status | null;
  readonly entries: readonly AckMessageResultEntry[];
}

/** `apache.rocketmq.v2.ForwardMessageToDeadLetterQueueRequest`. */
export interface ForwardMessageToDeadLetterQueueRequest {
  readonly group: Resource | null;
  readonly topic: Resource | null;
  readonly receiptHandle: string;
  readonly messageId: string;
  readonly deliveryAttempt: number;
  readonly maxDeliveryAttempts: number;
  readonly liteTopic?: string | undefined;
}

/** `apache.rocketmq.v2.ForwardMessageToDeadLetterQueueResponse`. */
export interface ForwardMessageToDeadLetterQueueResponse {
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.HeartbeatRequest`. */
export interface HeartbeatRequest {
  readonly group?: Resource | undefined;
  readonly clientType: ClientType;
}

/** `apache.rocketmq.v2.HeartbeatResponse`. */
export interface HeartbeatResponse {
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.EndTransactionRequest`. */
export interface EndTransactionRequest {
  readonly topic: Resource | null;
  readonly messageId: string;
  readonly transactionId: string;
  readonly resolution: TransactionResolution;
  readonly source: TransactionSource;
  readonly traceContext: string;
}

/** `apache.rocketmq.v2.EndTransactionResponse`. */
export interface EndTransactionResponse {
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.PrintThreadStackTraceCommand`. */
export interface PrintThreadStackTraceCommand {
  readonly nonce: string;
}

/** `apache.rocketmq.v2.ReconnectEndpointsCommand`. */
export interface ReconnectEndpointsCommand {
  readonly nonce: string;
}

/** `apache.rocketmq.v2.ThreadStackTrace`. */
export interface ThreadStackTrace {
  readonly nonce: string;
  readonly threadStackTrace?: string | undefined;
}

/** `apache.rocketmq.v2.VerifyMessageCommand`. */
export interface VerifyMessageCommand {
  readonly nonce: string;
  readonly message: Message | null;
}

/** `apache.rocketmq.v2.VerifyMessageResult`. */
export interface VerifyMessageResult {
  readonly nonce: string;
}

/** `apache.rocketmq.v2.RecoverOrphanedTransactionCommand`. */
export interface RecoverOrphanedTransactionCommand {
  readonly message: Message | null;
  readonly transactionId: string;
}

/** `apache.rocketmq.v2.NotifyUnsubscribeLiteCommand`. */
export interface NotifyUnsubscribeLiteCommand {
  readonly liteTopic: string;
}

/** `apache.rocketmq.v2.TelemetryCommand`. */
export interface TelemetryCommand {
  readonly status?: Status | undefined;
  readonly settings?: Settings | undefined;
  readonly threadStackTrace?: ThreadStackTrace | undefined;
  readonly verifyMessageResult?: VerifyMessageResult | undefined;
  readonly recoverOrphanedTransactionCommand?: RecoverOrphanedTransactionCommand | undefined;
  readonly printThreadStackTraceCommand?: PrintThreadStackTraceCommand | undefined;
  readonly verifyMessageCommand?: VerifyMessageCommand | undefined;
  readonly reconnectEndpointsCommand?: ReconnectEndpointsCommand | undefined;
  readonly notifyUnsubscribeLiteCommand?: NotifyUnsubscribeLiteCommand | undefined;
}

/** `apache.rocketmq.v2.NotifyClientTerminationRequest`. */
export interface NotifyClientTerminationRequest {
  readonly group?: Resource | undefined;
}

/** `apache.rocketmq.v2.NotifyClientTerminationResponse`. */
export interface NotifyClientTerminationResponse {
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.ChangeInvisibleDurationRequest`. */
export interface ChangeInvisibleDurationRequest {
  readonly group: Resource | null;
  readonly topic: Resource | null;
  readonly receiptHandle: string;
  readonly invisibleDuration: Duration | null;
  readonly messageId: string;
  readonly liteTopic?: string | undefined;
  readonly suspend?: boolean | undefined;
}

/** `apache.rocketmq.v2.ChangeInvisibleDurationResponse`. */
export interface ChangeInvisibleDurationResponse {
  readonly status: Status | null;
  readonly receiptHandle: string;
}

/** `apache.rocketmq.v2.PullMessageRequest`. */
export interface PullMessageRequest {
  readonly group: Resource | null;
  readonly messageQueue: MessageQueue | null;
  readonly offset: Int64;
  readonly batchSize: number;
  readonly filterExpression: FilterExpression | null;
  readonly longPollingTimeout: Duration | null;
}

/** First the status, then messages, then where to go on. */
export interface PullMessageResponse {
  readonly status?: Status | undefined;
  readonly message?: Message | undefined;
  readonly nextOffset?: Int64 | undefined;
}

/** `apache.rocketmq.v2.UpdateOffsetRequest`. */
export interface UpdateOffsetRequest {
  readonly group: Resource | null;
  readonly messageQueue: MessageQueue | null;
  readonly offset: Int64;
}

/** `apache.rocketmq.v2.UpdateOffsetResponse`. */
export interface UpdateOffsetResponse {
  readonly status: Status | null;
}

/** `apache.rocketmq.v2.GetOffsetRequest`. */
export interface GetOffsetRequest {
  readonly group: Resource | null;
  readonly messageQueue: MessageQueue | null;
}

/** `apache.rocketmq.v2.GetOffsetResponse`. */
export interface GetOffsetResponse {
  readonly status: Status | null;
  readonly offset: Int64;
}

/** `apache.rocketmq.v2.QueryOffsetRequest`. */
export interface QueryOffsetRequest {
  readonly messageQueue: MessageQueue | null;
  readonly queryOffsetPolicy: QueryOffsetPolicy;
  readonly timestamp?: Timestamp | undefined;
}

/** `apache.rocketmq.v2.QueryOffsetResponse`. */
export interface QueryOffsetResponse {
  readonly status: Status | null;
  readonly offset: Int64;
}

/** `apache.rocketmq.v2.RecallMessageRequest`. */
export interface RecallMessageRequest {
  readonly topic: Resource | null;
  readonly recallHandle: string;
}

/** `apache.rocketmq.v2.RecallMessageResponse`. */
export interface RecallMessageResponse {
  readonly status: Status | null;
  readonly messageId: string;
}

/** `apache.rocketmq.v2.SyncLiteSubscriptionRequest`. */
export interface SyncLiteSubscriptionRequest {
  readonly action: LiteSubscriptionAction;
  readonly topic: Resource | null;
  readonly group: Resource | null;
  readonly liteTopicSet: readonly string[];
  readonly version?: Int64 | undefined;
  readonly offsetOption?: OffsetOption | undefined;
}

/** `apache.rocketmq.v2.SyncLiteSubscriptionResponse`. */
export interface SyncLiteSubscriptionResponse {
  readonly status: Status | null;
}
