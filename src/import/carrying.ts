// What becomes of one message: how it looks in the group, or why it stays behind.
import { constants, inflateSync } from 'node:zlib';
import { TLedgerError } from '../base/errors.ts';
import { isSystemTopic, messageLimits, reservedProperties, validateMessage } from '../format/limits.ts';
import {
  decodeProperties,
  encodeMessageRecord,
  importProperty,
  type OutgoingMessage,
  property,
} from '../format/message.ts';
import { MESSAGE_BORN_HOST_AT, MESSAGE_FLAG_AT, MESSAGE_SYS_FLAG_AT } from '../format/message_layout.ts';
import { RECORD_HEADER_BYTES } from '../format/record.ts';
import { compressionOf, hostText, sysFlag } from '../format/rocketmq.ts';
import type { SourceMessage } from './scanner.ts';

/** Why a message is left where it is. */
export const leftOutReasons = {
  'not-chosen': 'messages of topics that were not chosen (--topic)',
  system: "messages of RocketMQ's own topics (delayed and timer messages that are not due, revive logs, traces …)",
  transaction: 'half messages and rolled back ones, which no consumer ever sees',
  retry: 'messages that wait for another attempt (--include-retry takes them along)',
  'dead-letter': 'messages that were given up (--include-dlq takes them along)',
  'inner-batch': 'batches that are stored as one message',
  compressed: 'bodies in LZ4 or ZSTD (--compressed skip)',
  refused: 'messages that a group of TLedger does not take (--skip-refused)',
} as const;
/** A key of `leftOutReasons`. */
export type LeftOutReason = keyof typeof leftOutReasons;

/** What is to be carried over. */
export interface CarryingOptions {
  /** Only these topics; all when undefined. */
  readonly topics?: ReadonlySet<string> | undefined;
  readonly includeRetry: boolean;
  readonly includeDeadLetters: boolean;
  /** What to do with bodies that cannot be decompressed here: stop, keep them as they are with their flags, leave them. */
  readonly compressed: 'fail' | 'keep' | 'skip';
  /** Leave what a group does not take instead of stopping there. */
  readonly skipRefused: boolean;
}

/** What becomes of a message. */
export type Carrying =
  | { readonly kind: 'carry'; readonly record: Buffer }
  | { readonly kind: 'leave'; readonly reason: LeftOutReason; readonly detail: string };

/** Topics by their beginning (ROCKETMQ_GRPC.md 9). */
const RETRY_PREFIX = '%RETRY%';
const DEAD_LETTER_PREFIX = '%DLQ%';

/** Properties without a meaning beyond the moment of sending or the bytes of one record. */
const forgotten: ReadonlySet<string> = new Set(['WAIT', '__CRC32#']);

/** Why the topic of a message keeps it behind, without a look at the message itself. */
export function leaveByTopic(topic: string, options: CarryingOptions): LeftOutReason | undefined {
  if (isSystemTopic(topic)) return 'system';
  if (options.topics !== undefined) return options.topics.has(topic) ? undefined : 'not-chosen';
  if (topic.startsWith(RETRY_PREFIX) && !options.includeRetry) return 'retry';
  if (topic.startsWith(DEAD_LETTER_PREFIX) && !options.includeDeadLetters) return 'dead-letter';
  return undefined;
}

/**
 * The record of a message as the group takes it.
 * @param storeId who it comes from (`importProperty.origin`).
 * @throws TLedgerError naming the message, when it can't be carried over and nothing says that it may stay behind.
 */
export function carry(source: SourceMessage, storeId: string, options: CarryingOptions): Carrying {
  const { message } = source;
  const byTopic = leaveByTopic(message.topic, options);
  if (byTopic !== undefined) return { kind: 'leave', reason: byTopic, detail: '' };
  const transaction = message.sysFlag & sysFlag.transactionMask;
  if (transaction === sysFlag.prepared || transaction === sysFlag.rollback) {
    return { kind: 'leave', reason: 'transaction', detail: '' };
  }
  if ((message.sysFlag & (sysFlag.needsUnwrap | sysFlag.innerBatch)) !== 0) {
    return { kind: 'leave', reason: 'inner-batch', detail: '' };
  }
  const compression = compressionOf(message.sysFlag);
  if (compression !== 'none' && compression !== 'zlib' && options.compressed !== 'keep') {
    const detail = `has a body in ${compression.toUpperCase()}, which cannot be decompressed here`;
    if (options.compressed === 'skip') return { kind: 'leave', reason: 'compressed', detail };
    throw unable(
      source,
      'INVALID_ARGUMENT',
      `${detail}: --compressed keep carries it as it is, --compressed skip leaves it`,
    );
  }
  try {
    return { kind: 'carry', record: encode(source, storeId) };
  } catch (error) {
    if (!(error instanceof TLedgerError)) throw error;
    if (options.skipRefused) return { kind: 'leave', reason: 'refused', detail: error.message };
    throw unable(source, error.code, `cannot be carried over: ${error.message}. --skip-refused leaves it`, error);
  }
}

function encode(source: SourceMessage, storeId: string): Buffer {
  const { message, buffer } = source;
  const isZlib = compressionOf(message.sysFlag) === 'zlib';
  const stored = buffer.subarray(message.bodyStart, message.bodyEnd);
  const outgoing = outgoingOf(source, isZlib ? inflated(stored) : stored, storeId);
  validateMessage(outgoing);
  const record = encodeMessageRecord(outgoing);
  const at = RECORD_HEADER_BYTES;
  record.writeInt32BE(message.flag, at + MESSAGE_FLAG_AT);
  const compressed = isZlib ? 0 : message.sysFlag & (sysFlag.compressed | sysFlag.compressionMask);
  record.writeInt32BE(compressed | (message.sysFlag & sysFlag.multiTags), at + MESSAGE_SYS_FLAG_AT);
  if ((message.sysFlag & sysFlag.bornHostV6) === 0) {
    buffer.copy(record, at + MESSAGE_BORN_HOST_AT, message.bornHostAt, message.bornHostAt + 8);
  }
  return record;
}

function outgoingOf({ message, buffer }: SourceMessage, body: Buffer, storeId: string): OutgoingMessage {
  const properties: Record<string, string> = Object.create(null) as Record<string, string>;
  let [tag, keys, uniqueKey]: (string | undefined)[] = [];
  for (const [name, value] of decodeProperties(buffer, message.propertiesStart, message.propertiesEnd)) {
    if (name === property.tag) tag = value;
    else if (name === property.keys) keys = value;
    else if (name === property.uniqueKey) uniqueKey = value;
    else if (reservedProperties.has(name)) {
      if (!forgotten.has(name)) properties[`${importProperty.systemPrefix}${name}`] = value;
    } else properties[name] = value;
  }
  if ((message.sysFlag & sysFlag.bornHostV6) !== 0) {
    properties[`${importProperty.systemPrefix}BORN_HOST`] = hostText(buffer, message.bornHostAt, true);
  }
  if (message.reconsumeTimes > 0) {
    properties[`${importProperty.systemPrefix}RECONSUME_TIMES`] = String(message.reconsumeTimes);
  }
  properties[importProperty.origin] = originOf(storeId, message.physicalOffset);
  properties[importProperty.queueOffset] = String(message.queueOffset);
  properties[importProperty.storeTimestamp] = String(message.storedAtMs);
  const { topic, queueId, bornAtMs } = message;
  return { topic, queueId, body, bornAtMs, tag, keys: keys?.trim() ? [keys] : [], uniqueKey, properties };
}

/** The value of `importProperty.origin`. */
export function originOf(storeId: string, physicalOffset: number): string {
  return `${storeId}.${physicalOffset}`;
}

/** Takes `originOf` apart; undefined for anything else. */
export function parseOrigin(text: string): { readonly storeId: string; readonly physicalOffset: number } | undefined {
  const found = /^([0-9a-f]{16})\.(\d{1,16})$/.exec(text);
  return found === null ? undefined : { storeId: found[1]!, physicalOffset: Number(found[2]) };
}

/** Never makes more than a message may hold, whatever the bytes claim. */
function inflated(body: Buffer): Buffer {
  try {
    const options = { maxOutputLength: messageLimits.bodyBytesMax, finishFlush: constants.Z_FINISH };
    return inflateSync(body, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new TLedgerError(
        'BODY_TOO_LARGE',
        `the body has more than ${messageLimits.bodyBytesMax} bytes when decompressed`,
      );
    }
    throw new TLedgerError('MESSAGE_CORRUPTED', 'the body is said to be in zlib format and is not', error);
  }
}

function unable({ message }: SourceMessage, code: TLedgerError['code'], what: string, cause?: unknown): TLedgerError {
  const { topic, queueId, queueOffset, physicalOffset } = message;
  const name = `the message at position ${physicalOffset} (${topic}, queue ${queueId}, offset ${queueOffset})`;
  return new TLedgerError(code, `${name} ${what}`, cause);
}
