// A message of RocketMQ's protocol on its way in: what is stored of it (format/message_properties.ts names the properties).
import { TLedgerError } from '../../base/errors.ts';
import { checkLiteName } from '../../broker/lite/lite_table.ts';
import { encodeMessageRecord, type OutgoingMessage } from '../../format/message.ts';
import { brokerProperty } from '../../format/message_properties.ts';
import { recordFlag } from '../../format/record_flags.ts';
import { type CheckedMessage, isPrintable, rocketmqLimits } from './message_check.ts';
import { type KnownMessageType, messageTypeOf } from './message_type.ts';
import { millisOf } from './times.ts';

/** A message that was checked, and what becomes of it. */
export interface IncomingMessage {
  readonly type: KnownMessageType;
  readonly id: string;
  /** '' for none: any queue will do. */
  readonly messageGroup: string;
  /** Of a message of type PRIORITY: the higher, the sooner. */
  readonly priority: number;
  /** Of a message of type LITE. */
  readonly liteTopic: string;
  /** When it is due; null unless it is a delayed one. */
  readonly dueMs: number | null;
  /** Of its record (format/record_flags.ts). */
  readonly flags: number;
  readonly content: Omit<OutgoingMessage, 'topic' | 'queueId'>;
}

/** Where a message comes from, for messages that do not say. */
export interface Origin {
  /** Wall clock. */
  readonly nowMs: number;
  readonly peer: string;
}

/** @throws TLedgerError MESSAGE_TYPE_MISMATCH for a transaction that is delayed or in order; PROPERTIES_TOO_LARGE */
export function incomingMessage(message: CheckedMessage, { nowMs, peer }: Origin): IncomingMessage {
  const { systemProperties: system, userProperties, body } = message;
  const type = messageTypeOf(system);
  const messageGroup = system.messageGroup ?? '';
  const dueMs = type === 'DELAY' ? Math.max(0, millisOf(system.deliveryTimestamp!, 'delivery_timestamp')) : null;
  if (type === 'TRANSACTION' && (messageGroup !== '' || system.deliveryTimestamp !== undefined)) {
    throw new TLedgerError('MESSAGE_TYPE_MISMATCH', 'a transactional message has neither message group nor delay');
  }
  const { priority = 0, liteTopic = '' } = system;
  if (type === 'PRIORITY' && priority < 0) {
    throw new TLedgerError('INVALID_ARGUMENT', `the priority ${priority} is negative`);
  }
  if (type === 'LITE') checkLiteName(liteTopic);
  const isParked = type === 'TRANSACTION' || (dueMs !== null && dueMs > nowMs);
  const content = {
    body,
    tag: system.tag,
    keys: system.keys.filter((key) => key !== ''),
    uniqueKey: system.messageId,
    properties: {
      ...usersProperties(userProperties),
      ...ownProperties(message, type, dueMs, peer),
    },
    bornAtMs: system.bornTimestamp === null ? nowMs : Math.max(0, millisOf(system.bornTimestamp, 'born_timestamp')),
  };
  checkSize(content.properties, message);
  const flags = recordFlag.remembered | (isParked ? recordFlag.parked : 0);
  return { type, id: system.messageId, messageGroup, priority, liteTopic, dueMs, flags, content };
}

/** The record of a message for a queue. A fresh one each time: whoever stores it writes into it. */
export function recordOf({ content }: IncomingMessage, topic: string, queueId: number): Buffer {
  return encodeMessageRecord({ ...content, topic, queueId });
}

/** Without what only this node may say: brokers go by it, and a user's word could not be read. */
function usersProperties(properties: Readonly<Record<string, string>>): Record<string, string> {
  const { [brokerProperty.recoverySeconds]: _, [brokerProperty.transactionId]: __, ...users } = properties;
  return users;
}

function ownProperties(
  { systemProperties: system }: CheckedMessage,
  type: KnownMessageType,
  dueMs: number | null,
  peer: string,
): Record<string, string> {
  const own: Record<string, string> = {};
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== '' && isPrintable(value)) own[name] = value;
  };
  set(brokerProperty.messageGroup, system.messageGroup);
  set(brokerProperty.deliverAtMs, dueMs === null ? undefined : String(dueMs));
  if (type === 'TRANSACTION') {
    set(brokerProperty.transaction, 'true');
    set(brokerProperty.recoverySeconds, recoverySeconds(system.orphanedTransactionRecoveryDuration));
  }
  if (type === 'PRIORITY') set(brokerProperty.priority, String(system.priority));
  if (type === 'LITE') set(brokerProperty.liteTopic, system.liteTopic);
  set(brokerProperty.traceContext, system.traceContext);
  set(brokerProperty.bornHost, system.bornHost || peer);
  set(brokerProperty.bodyEncoding, system.bodyEncoding === 'GZIP' ? 'GZIP' : undefined);
  return own;
}

/** Whole seconds; undefined for the broker's own choice. */
function recoverySeconds(duration: CheckedMessage['systemProperties']['orphanedTransactionRecoveryDuration']) {
  if (duration === undefined) return undefined;
  const seconds = Math.ceil(millisOf(duration, 'orphaned_transaction_recovery_duration') / 1_000);
  return seconds === 0 ? undefined : String(seconds);
}

/** What a user may set is bounded by itself; this bounds what comes with it. */
function checkSize(properties: Readonly<Record<string, string>>, { systemProperties: system }: CheckedMessage): void {
  let sizeBytes = Buffer.byteLength([system.messageId, system.tag, ...system.keys].join('  '));
  for (const [name, value] of Object.entries(properties)) {
    sizeBytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
  }
  if (sizeBytes + OTHERS_BYTES <= rocketmqLimits.storedPropertyBytesMax) return;
  throw new TLedgerError('PROPERTIES_TOO_LARGE', `all properties together have ${sizeBytes} bytes`);
}

/** Names of tag, keys and id, the producer stamp, and what a release or a dead letter adds. */
const OTHERS_BYTES = 1_024;
