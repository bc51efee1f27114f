// What a message may be that comes through RocketMQ's protocol: the limits of its proxy (ROCKETMQ §3.3), in its order.
import { TLedgerError } from '../../base/errors.ts';
import { quoted } from '../../base/quoted.ts';
import { checkBodySize, checkPropertyTotals, messageLimits, reservedProperties } from '../../format/limits.ts';
import type { Message, SystemProperties } from '../../wire/rocketmq/definitions.ts';
import { millisOf } from './times.ts';

const HOUR_MS = 3_600_000;

/** Limits of RocketMQ's protocol beside those of format/limits.ts. */
export const rocketmqLimits = {
  /** UTF-8. The proxy wants less than 64. */
  messageGroupBytesMax: 63,
  /** How far in the future a message may be due. */
  deliveryDelayMsMax: 24 * HOUR_MS,
  recoveryDurationMsMax: HOUR_MS,
  invisibleMsMin: 10_000,
  invisibleMsMax: 12 * HOUR_MS,
  /** All properties of a stored message, ours included: RocketMQ reads their size as a signed 16-bit number. */
  storedPropertyBytesMax: 32_767,
} as const;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

/** Whether a text may stand among a record's properties, whose separators are control characters. */
export const isPrintable = (text: string): boolean => !CONTROL_CHARACTER.test(text);

const isBlank = (text: string): boolean => text.trim() === '';

/**
 * Checks all of a message but its topic.
 * @param nowMs wall clock.
 * @throws TLedgerError ILLEGAL_MESSAGE_GROUP, ILLEGAL_TAG, ILLEGAL_KEY, ILLEGAL_PROPERTY, PROPERTIES_TOO_LARGE,
 * ILLEGAL_MESSAGE_ID, BODY_EMPTY, BODY_TOO_LARGE, ILLEGAL_DELIVERY_TIME, INVALID_ARGUMENT
 */
export function checkMessage(message: Message, nowMs: number): asserts message is CheckedMessage {
  const { systemProperties: system, userProperties, body } = message;
  if (system === null) throw new TLedgerError('ILLEGAL_MESSAGE_ID', 'message id cannot be empty');
  checkMessageGroup(system.messageGroup ?? '');
  checkTag(system.tag ?? '');
  for (const key of system.keys) checkKey(key);
  const entries = Object.entries(userProperties);
  let sizeBytes = Buffer.byteLength(system.tag ?? '');
  for (const key of system.keys) sizeBytes += Buffer.byteLength(key);
  // First how many they are: what is too much needs no closer look.
  checkPropertyTotals(entries.length, 0);
  for (const [name, value] of entries) {
    checkUserProperty(name, value);
    sizeBytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  checkPropertyTotals(entries.length, sizeBytes);
  if (isBlank(system.messageId)) throw new TLedgerError('ILLEGAL_MESSAGE_ID', 'message id cannot be empty');
  if (!isPrintable(system.messageId)) {
    throw new TLedgerError('ILLEGAL_MESSAGE_ID', 'message id cannot have control characters');
  }
  checkBodySize(body.length);
  checkTimes(system, nowMs);
}

/** A message that was checked. */
export interface CheckedMessage extends Message {
  readonly systemProperties: SystemProperties;
}

function checkMessageGroup(group: string): void {
  if (group === '') return;
  if (isBlank(group)) throw new TLedgerError('ILLEGAL_MESSAGE_GROUP', 'message group cannot be blank');
  const { messageGroupBytesMax } = rocketmqLimits;
  if (Buffer.byteLength(group) > messageGroupBytesMax) {
    throw new TLedgerError(
      'ILLEGAL_MESSAGE_GROUP',
      `message group exceeds the max size ${messageGroupBytesMax + 1}: it has ${Buffer.byteLength(group)} bytes`,
    );
  }
  if (!isPrintable(group)) {
    throw new TLedgerError('ILLEGAL_MESSAGE_GROUP', 'message group cannot have control characters');
  }
}

function checkTag(tag: string): void {
  if (tag === '') return;
  if (isBlank(tag) || tag.includes('|') || !isPrintable(tag)) {
    throw new TLedgerError('ILLEGAL_TAG', `the tag ${quoted(tag)} is blank or has a | or control character`);
  }
}

function checkKey(key: string): void {
  if (key === '') return;
  if (isBlank(key) || !isPrintable(key)) {
    throw new TLedgerError('ILLEGAL_KEY', `the key ${quoted(key)} is blank or has a control character`);
  }
}

function checkUserProperty(name: string, value: string): void {
  if (name === '') throw new TLedgerError('ILLEGAL_PROPERTY', 'a property has no name');
  if (reservedProperties.has(name)) {
    throw new TLedgerError('ILLEGAL_PROPERTY', `property is used by system: ${name}`);
  }
  if (!isPrintable(name) || !isPrintable(value)) {
    throw new TLedgerError('ILLEGAL_PROPERTY', `the property ${quoted(name)} has a control character`);
  }
}

function checkTimes(system: SystemProperties, nowMs: number): void {
  const { deliveryTimestamp, orphanedTransactionRecoveryDuration: recovery } = system;
  if (deliveryTimestamp !== undefined) {
    const delayMs = millisOf(deliveryTimestamp, 'delivery_timestamp') - nowMs;
    if (delayMs > rocketmqLimits.deliveryDelayMsMax) {
      throw new TLedgerError(
        'ILLEGAL_DELIVERY_TIME',
        `the max delay time of message is too large: ${delayMs} ms, at most ${rocketmqLimits.deliveryDelayMsMax}`,
      );
    }
  }
  if (recovery === undefined) return;
  const recoveryMs = millisOf(recovery, 'orphaned_transaction_recovery_duration');
  if (recoveryMs < 0 || recoveryMs > rocketmqLimits.recoveryDurationMsMax) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `the transaction recovery duration is ${recoveryMs} ms; 0 to ${rocketmqLimits.recoveryDurationMsMax} are allowed`,
    );
  }
}

/** The records of one call as one batch. @throws TLedgerError BATCH_TOO_LARGE when a batch may not hold so much. */
export function checkBatch(records: readonly Buffer[]): Buffer {
  const sizeBytes = records.reduce((sum, record) => sum + record.length, 0);
  if (records.length <= messageLimits.batchCountMax && sizeBytes <= messageLimits.batchBytesMax) {
    return records.length === 1 ? records[0]! : Buffer.concat(records, sizeBytes);
  }
  throw new TLedgerError('BATCH_TOO_LARGE', `the batch has ${records.length} messages of ${sizeBytes} bytes`);
}
