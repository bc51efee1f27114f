// What a topic name, a message and a batch may be: the limits of RocketMQ's proxy (ROCKETMQ_GRPC.md 3.3) and the checks
// that need nothing but the value. Used by whoever makes messages (clients, the edge) and by the broker, which checks
// encoded records by the same numbers.
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { NO_PRODUCER, type OutgoingMessage, PRODUCER_ID_DIGITS, property, SEQUENCE_DIGITS } from './message.ts';

const MIB = 1_048_576;

/** Limits of one message and of one batch. Bytes are bytes of UTF-8 where text is meant. */
export const messageLimits = {
  topicCharactersMax: 127,
  bodyBytesMin: 1,
  bodyBytesMax: 4 * MIB,
  /** Properties the user named, without tag and keys. */
  propertyCountMax: 128,
  /** Names and values of the user's properties, the tag and the keys (joined with a space), without separators. */
  propertyBytesMax: 16_384,
  batchCountMax: 4_096,
  /** Bodies of one batch together. */
  batchBodyBytesMax: 4 * MIB,
  /** Whole records of one batch together: the bodies, and on average 256 bytes of header and properties a record. */
  batchBytesMax: 5 * MIB,
  /** The last sequence a producer stamp has room for. */
  sequenceMax: 2 ** (4 * SEQUENCE_DIGITS) - 1,
} as const;

/** Topics that belong to RocketMQ itself and that no client may name (ROCKETMQ_GRPC.md 3.3). */
const systemTopics: ReadonlySet<string> = new Set([
  'TBW102',
  'SCHEDULE_TOPIC_XXXX',
  'BenchmarkTest',
  'RMQ_SYS_TRANS_HALF_TOPIC',
  'RMQ_SYS_TRACE_TOPIC',
  'RMQ_SYS_TRANS_OP_HALF_TOPIC',
  'TRANS_CHECK_MAX_TIME_TOPIC',
  'SELF_TEST_TOPIC',
  'OFFSET_MOVED_EVENT',
  'CHECKPOINT_TOPIC',
]);
const SYSTEM_TOPIC_PREFIX = 'rmq_sys_';

/** Whether a topic belongs to RocketMQ itself. */
export function isSystemTopic(name: string): boolean {
  return systemTopics.has(name) || name.startsWith(SYSTEM_TOPIC_PREFIX);
}

/** Property names that mean something to brokers (ROCKETMQ_GRPC.md 6.2): a user's property may not be called so. */
export const reservedProperties: ReadonlySet<string> = new Set(
  `${property.producerStamp} TRACE_ON MSG_REGION KEYS TAGS WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP
  MIN_OFFSET MAX_OFFSET BUYER_ID ORIGIN_MESSAGE_ID TRANSFER_FLAG CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME UNIQ_KEY
  MAX_RECONSUME_TIMES CONSUME_START_TIME POP_CK POP_CK_OFFSET 1ST_POP_TIME TRAN_PREPARED_QUEUE_OFFSET DUP_INFO
  EXTEND_UNIQ_INFO INSTANCE_ID CORRELATION_ID REPLY_TO_CLIENT TTL ARRIVE_TIME PUSH_REPLY_TIME CLUSTER MSG_TYPE
  INNER_MULTI_QUEUE_OFFSET TIMER_DELAY_MS TIMER_DELAY_SEC TIMER_DELIVER_MS TIMER_ENQUEUE_MS TIMER_DEQUEUE_MS
  TIMER_ROLL_TIMES TIMER_OUT_MS TIMER_DEL_UNIQKEY TIMER_DELAY_LEVEL __BORNHOST BORN_TIMESTAMP DLQ_ORIGIN_TOPIC
  DLQ_ORIGIN_MESSAGE_ID __CRC32# _SYS_MSG_PRIORITY_ __LITE_TOPIC __ENCODING __EFFECT`.split(/\s+/),
);

/** The reserved names by their first byte, so that most names are told apart by that alone. */
const reservedByFirstByte: readonly (readonly Buffer[])[] = Array.from({ length: 256 }, (_, first) =>
  [...reservedProperties].map((name) => Buffer.from(name)).filter((name) => name[0] === first),
);

/** Whether the property name in `buffer[start, end)` is reserved; for encoded properties, without making strings. */
export function isReservedProperty(buffer: Buffer, start: number, end: number): boolean {
  const length = end - start;
  for (const name of reservedByFirstByte[buffer[start]!]!) {
    if (name.length !== length) continue;
    let same = 1;
    while (same < length && buffer[start + same] === name[same]) same++;
    if (same === length) return true;
  }
  return false;
}

const TOPIC_PATTERN = /^[%|a-zA-Z0-9_-]+$/;
const PRODUCER_ID_PATTERN = /^[0-9a-f]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

/** Checks the name of a topic that a client creates or writes to. @throws TLedgerError ILLEGAL_TOPIC */
export function checkTopicName(name: string): void {
  if (name.length === 0) throw new TLedgerError('ILLEGAL_TOPIC', 'the topic name is empty');
  if (name.length > messageLimits.topicCharactersMax) {
    throw new TLedgerError(
      'ILLEGAL_TOPIC',
      `the topic name has ${name.length} characters; at most ${messageLimits.topicCharactersMax} are allowed`,
    );
  }
  if (!TOPIC_PATTERN.test(name)) {
    throw new TLedgerError('ILLEGAL_TOPIC', `the topic name ${quoted(name)} has characters beside %|a-zA-Z0-9_-`);
  }
  if (isSystemTopic(name)) {
    throw new TLedgerError('ILLEGAL_TOPIC', `${name} is a system topic`);
  }
}

/** Checks the size of one body. @throws TLedgerError BODY_EMPTY, BODY_TOO_LARGE */
export function checkBodySize(sizeBytes: number): void {
  if (sizeBytes < messageLimits.bodyBytesMin) throw new TLedgerError('BODY_EMPTY');
  if (sizeBytes > messageLimits.bodyBytesMax) {
    throw new TLedgerError(
      'BODY_TOO_LARGE',
      `the body has ${sizeBytes} bytes; at most ${messageLimits.bodyBytesMax} are allowed`,
    );
  }
}

/** Checks how many properties a message has and how long they are together. @throws TLedgerError PROPERTIES_TOO_LARGE */
export function checkPropertyTotals(count: number, sizeBytes: number): void {
  if (count > messageLimits.propertyCountMax) {
    throw new TLedgerError(
      'PROPERTIES_TOO_LARGE',
      `the message has ${count} properties; at most ${messageLimits.propertyCountMax} are allowed`,
    );
  }
  if (sizeBytes > messageLimits.propertyBytesMax) {
    throw new TLedgerError(
      'PROPERTIES_TOO_LARGE',
      `the properties have ${sizeBytes} bytes; at most ${messageLimits.propertyBytesMax} are allowed`,
    );
  }
}

/**
 * Checks a producer id as a request carries it.
 * @returns whether repeats are to be recognised: false for '' and for all zeros.
 * @throws TLedgerError INVALID_ARGUMENT when it is neither empty nor 16 lower-case hex digits.
 */
export function checkProducerId(producerId: string): boolean {
  if (producerId === '' || producerId === NO_PRODUCER) return false;
  if (producerId.length !== PRODUCER_ID_DIGITS || !PRODUCER_ID_PATTERN.test(producerId)) {
    throw new TLedgerError('INVALID_ARGUMENT', 'the producer id must be 16 lower-case hex digits or empty');
  }
  return true;
}

/**
 * Checks everything about one message that can be told without knowing the broker. A message that passes is one whose
 * record the broker accepts, provided the topic has the queue.
 * @throws TLedgerError ILLEGAL_TOPIC, QUEUE_OUT_OF_RANGE, BODY_EMPTY, BODY_TOO_LARGE, ILLEGAL_TAG, ILLEGAL_KEY,
 * ILLEGAL_PROPERTY, PROPERTIES_TOO_LARGE, INVALID_ARGUMENT (time)
 */
export function validateMessage(message: OutgoingMessage): void {
  checkTopicName(message.topic);
  if (!Number.isInteger(message.queueId) || message.queueId < 0) {
    throw new TLedgerError('QUEUE_OUT_OF_RANGE', `${message.queueId} is not a queue number`);
  }
  checkBodySize(message.body.length);
  if (!Number.isSafeInteger(message.bornAtMs) || message.bornAtMs < 0) {
    throw new TLedgerError('INVALID_ARGUMENT', `the born time ${message.bornAtMs} is not a time in milliseconds`);
  }
  const tag = message.tag ?? '';
  if (tag !== '' && (tag.trim() === '' || tag.includes('|') || CONTROL_CHARACTER.test(tag))) {
    throw new TLedgerError('ILLEGAL_TAG', `the tag ${quoted(tag)} is blank or has a | or control character`);
  }
  const keys = message.keys ?? [];
  for (const key of keys) {
    if (key === '' || (key.trim() !== '' && !CONTROL_CHARACTER.test(key))) continue;
    throw new TLedgerError('ILLEGAL_KEY', `the key ${quoted(key)} is blank or has a control character`);
  }
  const uniqueKey = message.uniqueKey ?? '';
  if (uniqueKey !== '' && (uniqueKey.trim() === '' || CONTROL_CHARACTER.test(uniqueKey))) {
    throw new TLedgerError('ILLEGAL_KEY', `the id ${quoted(uniqueKey)} is blank or has a control character`);
  }
  const properties = Object.entries(message.properties ?? {});
  let sizeBytes = Buffer.byteLength(tag) + Buffer.byteLength(keys.join(' ')) + Buffer.byteLength(uniqueKey);
  for (const [name, value] of properties) {
    checkProperty(name, value);
    sizeBytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  checkPropertyTotals(properties.length, sizeBytes);
}

function checkProperty(name: string, value: string): void {
  if (name === '') throw new TLedgerError('ILLEGAL_PROPERTY', 'a property has no name');
  if (reservedProperties.has(name)) throw new TLedgerError('ILLEGAL_PROPERTY', `the property name ${name} is reserved`);
  if (CONTROL_CHARACTER.test(name) || CONTROL_CHARACTER.test(value)) {
    throw new TLedgerError('ILLEGAL_PROPERTY', `the property ${quoted(name)} has a control character`);
  }
}
