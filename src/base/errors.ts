// The one table of errors. Every refusal a caller can see has a code here, with its gRPC status, the code RocketMQ's
// API uses for it, and whether trying again may help. An error is recognised by its `code`, never by its text.

/** gRPC status codes, as numbers, so that this folder needs no gRPC (https://grpc.io/docs/guides/status-codes/). */
const grpc = {
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
} as const;

interface ErrorKind {
  /** What it means, as a sentence for the documentation and the default message. */
  readonly meaning: string;
  readonly grpcStatus: number;
  /** `apache.rocketmq.v2.Code`. */
  readonly rocketmqCode: number;
  /** True when the same request may succeed later or elsewhere and certainly had no effect yet. */
  readonly retryable: boolean;
}

/** All codes; README.md shows the same table. */
export const errorTable = {
  // The caller's request is wrong.
  INVALID_ARGUMENT: kind('The request is malformed.', grpc.invalidArgument, 40000, false),
  ILLEGAL_TOPIC: kind('The topic name is not legal.', grpc.invalidArgument, 40002, false),
  ILLEGAL_TAG: kind('The message tag is not legal.', grpc.invalidArgument, 40004, false),
  ILLEGAL_KEY: kind('A message key is not legal.', grpc.invalidArgument, 40005, false),
  ILLEGAL_PROPERTY: kind('A message property is not legal.', grpc.invalidArgument, 40007, false),
  MESSAGE_CORRUPTED: kind('A message does not match its checksum or layout.', grpc.invalidArgument, 40016, false),
  BODY_EMPTY: kind('The message body is empty.', grpc.invalidArgument, 41302, false),
  BODY_TOO_LARGE: kind('The message body is larger than the limit.', grpc.invalidArgument, 41301, false),
  PROPERTIES_TOO_LARGE: kind('The message properties are larger than the limit.', grpc.invalidArgument, 43101, false),
  BATCH_TOO_LARGE: kind('The batch holds more messages or bytes than the limit.', grpc.invalidArgument, 41301, false),
  ILLEGAL_GROUP: kind('The name of the consumer group is not legal.', grpc.invalidArgument, 40003, false),
  ILLEGAL_DELIVERY_TIME: kind('The delivery time is not legal, or over.', grpc.invalidArgument, 40012, false),
  TRANSACTION_NOT_FOUND: kind('There is no such open transaction.', grpc.notFound, 40400, false),
  ILLEGAL_FILTER: kind('The filter expression is not legal.', grpc.invalidArgument, 40010, false),
  QUEUE_OUT_OF_RANGE: kind('The topic has no queue of that number.', grpc.invalidArgument, 40000, false),
  OFFSET_OUT_OF_RANGE: kind('The queue holds no such offset.', grpc.outOfRange, 40019, false),
  TOPIC_NOT_FOUND: kind('The topic does not exist.', grpc.notFound, 40402, false),
  TOPIC_EXISTS: kind('The topic exists already with other settings.', grpc.alreadyExists, 40000, false),
  KEY_INDEX_OFF: kind('The node keeps no index of messages by key.', grpc.failedPrecondition, 40000, false),
  TOO_MANY_TOPICS: kind('The group holds as many topics or queues as it may.', grpc.resourceExhausted, 42900, false),
  GROUP_NOT_FOUND: kind('The consumer group does not exist.', grpc.notFound, 40403, false),
  TOO_MANY_GROUPS: kind('The group holds as many consumer groups as it may.', grpc.resourceExhausted, 42900, false),
  OUT_OF_ORDER_SEQUENCE: kind(
    'The producer sequence leaves a gap: an earlier message of this producer is missing.',
    grpc.failedPrecondition,
    40000,
    false,
  ),
  UNKNOWN_PRODUCER: kind(
    'The producer is not known (any more), so a repeated message could not be recognised.',
    grpc.failedPrecondition,
    40000,
    false,
  ),
  // The same, where only RocketMQ's protocol knows the thing.
  ILLEGAL_MESSAGE_GROUP: kind('The message group is not legal.', grpc.invalidArgument, 40006, false),
  ILLEGAL_ACCESS_POINT: kind('The address by which the client came is none.', grpc.invalidArgument, 40001, false),
  ILLEGAL_MESSAGE_ID: kind('The message id is not legal.', grpc.invalidArgument, 40009, false),
  INVALID_TRANSACTION_ID: kind('The transaction id is not legal.', grpc.invalidArgument, 40008, false),
  ILLEGAL_INVISIBLE_TIME: kind('The invisible time is not legal.', grpc.invalidArgument, 40011, false),
  ILLEGAL_POLLING_TIME: kind('The call ends before its long poll could.', grpc.invalidArgument, 40018, false),
  INVALID_RECEIPT_HANDLE: kind('The receipt handle is not valid (any more).', grpc.invalidArgument, 40013, false),
  ILLEGAL_LITE_TOPIC: kind('The name of the lite topic is not legal.', grpc.invalidArgument, 40020, false),
  LITE_TOPIC_QUOTA_EXCEEDED: kind(
    'There are as many lite topics as there may be.',
    grpc.resourceExhausted,
    42901,
    false,
  ),
  LITE_SUBSCRIPTION_QUOTA_EXCEEDED: kind(
    'The client has subscribed to as many lite topics as it may.',
    grpc.resourceExhausted,
    42902,
    false,
  ),
  OFFSET_NOT_FOUND: kind('The consumer group has no position in that queue.', grpc.notFound, 40404, false),
  MESSAGE_TYPE_MISMATCH: kind('The topic does not take messages of that type.', grpc.invalidArgument, 40014, false),
  UNRECOGNIZED_CLIENT: kind('The client has not told what it is.', grpc.failedPrecondition, 40015, false),
  CLIENT_ID_REQUIRED: kind('The client does not say its id.', grpc.invalidArgument, 40017, false),
  NOT_IMPLEMENTED: kind('The node does not know how to do that.', grpc.unimplemented, 50100, false),
  // Who may speak to whom.
  NOT_A_MEMBER: kind('The caller is not a member of this group.', grpc.permissionDenied, 40300, false),
  WRONG_CLUSTER: kind(
    'The caller belongs to another cluster or has other settings.',
    grpc.failedPrecondition,
    40300,
    false,
  ),
  DATA_LOST: kind(
    'The node has promised what it does not remember: its data is gone.',
    grpc.failedPrecondition,
    40300,
    false,
  ),
  UNKNOWN_GROUP: kind('This node hosts no replica of that group.', grpc.notFound, 40400, false),
  UNKNOWN_NODE: kind('The group has no member of that name.', grpc.notFound, 40400, false),
  NO_HEALTHY_MAJORITY: kind(
    'The change would leave the group without a majority that answers.',
    grpc.failedPrecondition,
    40000,
    false,
  ),
  MEMBERSHIP_CANCELLED: kind('The change of members was taken back before it was done.', grpc.aborted, 40000, false),
  // The group cannot do it now; nothing happened.
  NOT_LEADER: kind('This node does not lead the group.', grpc.unavailable, 50001, true),
  NO_LEADER: kind('The group has no leader at the moment.', grpc.unavailable, 50002, true),
  TRANSFERRING: kind('Leadership is being handed over.', grpc.unavailable, 50001, true),
  MEMBERSHIP_CHANGING: kind('An earlier change of the membership is still under way.', grpc.aborted, 50001, true),
  TRANSFER_FAILED: kind('Leadership could not be handed over; the leader stays.', grpc.aborted, 50001, true),
  OVERLOADED: kind('The node has as much waiting work as it may hold.', grpc.resourceExhausted, 42900, true),
  DISK_FULL: kind("The leader's disk is too full to take on more.", grpc.resourceExhausted, 50001, true),
  SHUTTING_DOWN: kind('The node is shutting down.', grpc.unavailable, 50001, true),
  NODE_REMOVED: kind('This node does not belong to the group (any more); others do.', grpc.unavailable, 50001, true),
  REPAIRING: kind(
    'This node repairs damaged data with the help of the others, and serves nobody meanwhile.',
    grpc.unavailable,
    50001,
    true,
  ),
  UNREACHABLE: kind('The node cannot be reached.', grpc.unavailable, 50002, true),
  // Nobody can tell yet.
  DEADLINE_EXCEEDED: kind(
    'The deadline passed before the answer; nothing was sent.',
    grpc.deadlineExceeded,
    50400,
    true,
  ),
  OUTCOME_UNKNOWN: kind(
    'The request was sent, but its outcome is unknown: it may or may not take effect.',
    grpc.unknown,
    50400,
    false,
  ),
  // The node itself.
  DATA_DIR_LOCKED: kind('Another process uses the data directory.', grpc.failedPrecondition, 50001, false),
  DATA_DIR_FOREIGN: kind('The data directory belongs to something else.', grpc.failedPrecondition, 50001, false),
  DATA_CORRUPTED: kind('Stored bytes do not match their checksum.', grpc.dataLoss, 50001, false),
  STORAGE_FAILED: kind('The disk failed.', grpc.internal, 50001, false),
  PORT_IN_USE: kind('The port is taken.', grpc.failedPrecondition, 50001, false),
  INVALID_CONFIG: kind('The configuration is not valid.', grpc.invalidArgument, 40000, false),
  INTERNAL: kind('Something unexpected happened inside the node.', grpc.internal, 50001, false),
} as const satisfies Record<string, ErrorKind>;

/** A code of the table. */
export type ErrorCode = keyof typeof errorTable;

/** An expected failure, with a code of the table and a message that names what was wrong. */
export class TLedgerError extends Error {
  override readonly name = 'TLedgerError';
  readonly code: ErrorCode;

  /** @param message what was wrong, naming the value; the table's sentence if left out. */
  constructor(code: ErrorCode, message?: string, cause?: unknown) {
    super(message ?? errorTable[code].meaning, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/** Whether `value` is a code of the table (for codes that arrive as text). */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorTable, value);
}

/** What any thrown value says, as one line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function kind(meaning: string, grpcStatus: number, rocketmqCode: number, retryable: boolean): ErrorKind {
  return { meaning, grpcStatus, rocketmqCode, retryable };
}
