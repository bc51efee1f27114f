// What apache/rocketmq/v2/definition.proto says, as TypeScript. Decoded messages have every field, except those that are optional or belong to
// a `oneof`: they are undefined when they were not sent. Unset messages are null. See proto.ts.
import type { Int64 } from '../int64.ts';

/** `google.protobuf.Timestamp`. */
export interface Timestamp {
  readonly seconds: Int64;
  readonly nanos: number;
}

/** `google.protobuf.Duration`. */
export type Duration = Timestamp;

/** `apache.rocketmq.v2.TransactionResolution`. */
export type TransactionResolution = 'TRANSACTION_RESOLUTION_UNSPECIFIED' | 'COMMIT' | 'ROLLBACK';

/** `apache.rocketmq.v2.TransactionSource`. */
export type TransactionSource = 'SOURCE_UNSPECIFIED' | 'SOURCE_CLIENT' | 'SOURCE_SERVER_CHECK';

/** `apache.rocketmq.v2.Permission`. */
export type Permission = 'PERMISSION_UNSPECIFIED' | 'NONE' | 'READ' | 'WRITE' | 'READ_WRITE';

/** `apache.rocketmq.v2.FilterType`. */
export type FilterType = 'FILTER_TYPE_UNSPECIFIED' | 'TAG' | 'SQL';

/** `apache.rocketmq.v2.AddressScheme`. */
export type AddressScheme = 'ADDRESS_SCHEME_UNSPECIFIED' | 'IPv4' | 'IPv6' | 'DOMAIN_NAME';

/** `apache.rocketmq.v2.MessageType`. */
export type MessageType =
  | 'MESSAGE_TYPE_UNSPECIFIED'
  | 'NORMAL'
  | 'FIFO'
  | 'DELAY'
  | 'TRANSACTION'
  | 'LITE'
  | 'PRIORITY';

/** `apache.rocketmq.v2.DigestType`. */
export type DigestType = 'DIGEST_TYPE_UNSPECIFIED' | 'CRC32' | 'MD5' | 'SHA1';

/** `apache.rocketmq.v2.ClientType`. */
export type ClientType =
  | 'CLIENT_TYPE_UNSPECIFIED'
  | 'PRODUCER'
  | 'PUSH_CONSUMER'
  | 'SIMPLE_CONSUMER'
  | 'PULL_CONSUMER'
  | 'LITE_PUSH_CONSUMER'
  | 'LITE_SIMPLE_CONSUMER';

/** `apache.rocketmq.v2.Encoding`. */
export type Encoding = 'ENCODING_UNSPECIFIED' | 'IDENTITY' | 'GZIP';

/** `apache.rocketmq.v2.Code`. */
export type Code = keyof typeof codeNumbers;

/** Numbers of `Code`. */
export const codeNumbers = {
  CODE_UNSPECIFIED: 0,
  OK: 20_000,
  MULTIPLE_RESULTS: 30_000,
  BAD_REQUEST: 40_000,
  ILLEGAL_ACCESS_POINT: 40_001,
  ILLEGAL_TOPIC: 40_002,
  ILLEGAL_CONSUMER_GROUP: 40_003,
  ILLEGAL_MESSAGE_TAG: 40_004,
  ILLEGAL_MESSAGE_KEY: 40_005,
  ILLEGAL_MESSAGE_GROUP: 40_006,
  ILLEGAL_MESSAGE_PROPERTY_KEY: 40_007,
  INVALID_TRANSACTION_ID: 40_008,
  ILLEGAL_MESSAGE_ID: 40_009,
  ILLEGAL_FILTER_EXPRESSION: 40_010,
  ILLEGAL_INVISIBLE_TIME: 40_011,
  ILLEGAL_DELIVERY_TIME: 40_012,
  INVALID_RECEIPT_HANDLE: 40_013,
  MESSAGE_PROPERTY_CONFLICT_WITH_TYPE: 40_014,
  UNRECOGNIZED_CLIENT_TYPE: 40_015,
  MESSAGE_CORRUPTED: 40_016,
  CLIENT_ID_REQUIRED: 40_017,
  ILLEGAL_POLLING_TIME: 40_018,
  ILLEGAL_OFFSET: 40_019,
  ILLEGAL_LITE_TOPIC: 40_020,
  INVALID_CLIENT_PROPERTIES: 40_021,
  UNAUTHORIZED: 40_100,
  PAYMENT_REQUIRED: 40_200,
  FORBIDDEN: 40_300,
  NOT_FOUND: 40_400,
  MESSAGE_NOT_FOUND: 40_401,
  TOPIC_NOT_FOUND: 40_402,
  CONSUMER_GROUP_NOT_FOUND: 40_403,
  OFFSET_NOT_FOUND: 40_404,
  REQUEST_TIMEOUT: 40_800,
  PAYLOAD_TOO_LARGE: 41_300,
  MESSAGE_BODY_TOO_LARGE: 41_301,
  MESSAGE_BODY_EMPTY: 41_302,
  PRECONDITION_FAILED: 42_800,
  TOO_MANY_REQUESTS: 42_900,
  LITE_TOPIC_QUOTA_EXCEEDED: 42_901,
  LITE_SUBSCRIPTION_QUOTA_EXCEEDED: 42_902,
  REQUEST_HEADER_FIELDS_TOO_LARGE: 43_100,
  MESSAGE_PROPERTIES_TOO_LARGE: 43_101,
  INTERNAL_ERROR: 50_000,
  INTERNAL_SERVER_ERROR: 50_001,
  HA_NOT_AVAILABLE: 50_002,
  NOT_IMPLEMENTED: 50_100,
  PROXY_TIMEOUT: 50_400,
  MASTER_PERSISTENCE_TIMEOUT: 50_401,
  SLAVE_PERSISTENCE_TIMEOUT: 50_402,
  UNSUPPORTED: 50_500,
  VERSION_UNSUPPORTED: 50_501,
  VERIFY_FIFO_MESSAGE_UNSUPPORTED: 50_502,
  FAILED_TO_CONSUME_MESSAGE: 60_000,
} as const;

/** `apache.rocketmq.v2.Language`. */
export type Language =
  | 'LANGUAGE_UNSPECIFIED'
  | 'JAVA'
  | 'CPP'
  | 'DOT_NET'
  | 'GOLANG'
  | 'RUST'
  | 'PYTHON'
  | 'PHP'
  | 'NODE_JS'
  | 'RUBY'
  | 'OBJECTIVE_C'
  | 'DART'
  | 'KOTLIN';

/** `apache.rocketmq.v2.QueryOffsetPolicy`. */
export type QueryOffsetPolicy = 'BEGINNING' | 'END' | 'TIMESTAMP';

/** `apache.rocketmq.v2.OffsetPolicy`. */
export type OffsetPolicy = 'LAST' | 'MIN' | 'MAX';

/** `apache.rocketmq.v2.LiteSubscriptionAction`. */
export type LiteSubscriptionAction = 'PARTIAL_ADD' | 'PARTIAL_REMOVE' | 'COMPLETE_ADD' | 'COMPLETE_REMOVE';

/** `apache.rocketmq.v2.FilterExpression`. */
export interface FilterExpression {
  readonly type: FilterType;
  readonly expression: string;
}

/** How long a message that was not consumed waits before it is delivered again. */
export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly exponentialBackoff?: ExponentialBackoff | undefined;
  readonly customizedBackoff?: CustomizedBackoff | undefined;
}

/** min(initial * multiplier^(attempt - 1), max) */
export interface ExponentialBackoff {
  readonly initial: Duration | null;
  readonly max: Duration | null;
  readonly multiplier: number;
}

/** One step an attempt; the last one goes on for ever. */
export interface CustomizedBackoff {
  readonly next: readonly Duration[];
}

/** `apache.rocketmq.v2.Resource`. */
export interface Resource {
  readonly resourceNamespace: string;
  readonly name: string;
}

/** `apache.rocketmq.v2.SubscriptionEntry`. */
export interface SubscriptionEntry {
  readonly topic: Resource | null;
  readonly expression: FilterExpression | null;
}

/** `apache.rocketmq.v2.Address`. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `apache.rocketmq.v2.Endpoints`. */
export interface Endpoints {
  readonly scheme: AddressScheme;
  readonly addresses: readonly Address[];
}

/** `apache.rocketmq.v2.Broker`. */
export interface Broker {
  readonly name: string;
  readonly id: number;
  readonly endpoints: Endpoints | null;
}

/** `apache.rocketmq.v2.MessageQueue`. */
export interface MessageQueue {
  readonly topic: Resource | null;
  readonly id: number;
  readonly permission: Permission;
  readonly broker: Broker | null;
  readonly acceptMessageTypes: readonly MessageType[];
}

/** Of the body as it is transmitted. Hexadecimal digits in upper case. */
export interface Digest {
  readonly type: DigestType;
  readonly checksum: string;
}

/** Where a dead letter comes from. */
export interface DeadLetterQueue {
  readonly topic: string;
  readonly messageId: string;
}

/** `apache.rocketmq.v2.SystemProperties`. */
export interface SystemProperties {
  readonly tag?: string | undefined;
  readonly keys: readonly string[];
  readonly messageId: string;
  readonly bodyDigest: Digest | null;
  readonly bodyEncoding: Encoding;
  readonly messageType: MessageType;
  readonly bornTimestamp: Timestamp | null;
  readonly bornHost: string;
  readonly storeTimestamp?: Timestamp | undefined;
  readonly storeHost: string;
  readonly deliveryTimestamp?: Timestamp | undefined;
  readonly receiptHandle?: string | undefined;
  readonly queueId: number;
  readonly queueOffset?: Int64 | undefined;
  readonly invisibleDuration?: Duration | undefined;
  readonly deliveryAttempt?: number | undefined;
  readonly messageGroup?: string | undefined;
  readonly traceContext?: string | undefined;
  readonly orphanedTransactionRecoveryDuration?: Duration | undefined;
  readonly deadLetterQueue?: DeadLetterQueue | undefined;
  readonly liteTopic?: string | undefined;
  readonly priority?: number | undefined;
}

/** `apache.rocketmq.v2.Message`. */
export interface Message {
  readonly topic: Resource | null;
  readonly userProperties: Readonly<Record<string, string>>;
  readonly systemProperties: SystemProperties | null;
  readonly body: Buffer;
}

/** `apache.rocketmq.v2.Assignment`. */
export interface Assignment {
  readonly messageQueue: MessageQueue | null;
}

/** How a call ended. The gRPC call itself ends with OK. */
export interface Status {
  readonly code: Code;
  readonly message: string;
}

/** The program on the other side. */
export interface UA {
  readonly language: Language;
  readonly version: string;
  readonly platform: string;
  readonly hostname: string;
}

/** Both sides of the Telemetry handshake: what a client asks for, and what it then goes by. */
export interface Settings {
  readonly clientType?: ClientType | undefined;
  readonly accessPoint?: Endpoints | undefined;
  readonly backoffPolicy?: RetryPolicy | undefined;
  readonly requestTimeout?: Duration | undefined;
  readonly publishing?: Publishing | undefined;
  readonly subscription?: Subscription | undefined;
  readonly userAgent: UA | null;
  readonly metric: Metric | null;
  readonly clientProperties: Readonly<Record<string, string>>;
}

/** `apache.rocketmq.v2.Publishing`. */
export interface Publishing {
  readonly topics: readonly Resource[];
  readonly maxBodySize: number;
  readonly validateMessageType: boolean;
}

/** `apache.rocketmq.v2.Subscription`. */
export interface Subscription {
  readonly group?: Resource | undefined;
  readonly subscriptions: readonly SubscriptionEntry[];
  readonly fifo?: boolean | undefined;
  readonly receiveBatchSize?: number | undefined;
  readonly longPollingTimeout?: Duration | undefined;
  readonly liteSubscriptionQuota?: number | undefined;
  readonly maxLiteTopicSize?: number | undefined;
}

/** `apache.rocketmq.v2.Metric`. */
export interface Metric {
  readonly on: boolean;
  readonly endpoints?: Endpoints | undefined;
}

/** Where the first subscription of a lite topic begins. */
export interface OffsetOption {
  readonly policy?: OffsetPolicy | undefined;
  readonly offset?: Int64 | undefined;
  readonly tailN?: Int64 | undefined;
  readonly timestamp?: Int64 | undefined;
}
