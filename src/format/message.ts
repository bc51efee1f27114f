// Messages to bytes and back, in RocketMQ's CommitLog layout (message_layout.ts draws it).
import type { Brand } from '../base/brand.ts';
import { crc32 } from '../base/crc.ts';
import {
  hostBytesExtra,
  MESSAGE_BODY_AT,
  MESSAGE_BODY_CRC_AT,
  MESSAGE_BODY_SIZE_AT,
  MESSAGE_BORN_TIMESTAMP_AT,
  MESSAGE_MAGIC,
  MESSAGE_MAGIC_AT,
  MESSAGE_PHYSICAL_OFFSET_AT,
  MESSAGE_QUEUE_ID_AT,
  MESSAGE_QUEUE_OFFSET_AT,
  MESSAGE_RECONSUME_TIMES_AT,
  MESSAGE_STORE_TIMESTAMP_AT,
  MESSAGE_TOTAL_SIZE_AT,
  PROPERTY_NAME_END,
  PROPERTY_VALUE_END,
} from './message_layout.ts';
import { type PhysicalOffset, RECORD_HEADER_BYTES, recordMagic, writeBlankHeader } from './record.ts';
import { readInt32, readUint32 } from './uint32.ts';
import { isUint64Safe, readUint64, writeUint64 } from './uint64.ts';

/** Place of a message in its queue: 0, 1, 2 … */
export type QueueOffset = Brand<number, 'QueueOffset'>;
/** Brands a number. */
export const queueOffset = (value: number): QueueOffset => value as QueueOffset;

/** Property names of RocketMQ that we read or write (ROCKETMQ: MessageConst). */
export const property = {
  tag: 'TAGS',
  keys: 'KEYS',
  /** The id a client gave the message. */
  uniqueKey: 'UNIQ_KEY',
  /** Producer id (16 hex digits) and sequence (12 hex digits): how a repeated append is recognised. Always last. */
  producerStamp: 'PSEQ',
} as const;

/** Names under which a message that was imported carries what it was elsewhere. */
export const importProperty = {
  /** Which store it comes from (16 hex digits), and its physical offset there: `<store>.<offset>`. */
  origin: 'IMPORT_ORIGIN',
  /** Its offset in its queue there. */
  queueOffset: 'IMPORT_QUEUE_OFFSET',
  /** When it was stored there, in milliseconds since the epoch. */
  storeTimestamp: 'IMPORT_STORE_TIMESTAMP',
  /** Before the names of RocketMQ's own properties, which mean something to brokers only. */
  systemPrefix: 'RMQ_',
} as const;

/** What a producer says of one message. */
export interface OutgoingMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly body: Buffer;
  readonly tag?: string | undefined;
  readonly keys?: readonly string[] | undefined;
  /** The id its client gave it; RocketMQ's clients give each message one. */
  readonly uniqueKey?: string | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since the epoch, by the producer's clock. */
  readonly bornAtMs: number;
}

/** A message as it was stored. */
export interface StoredMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: QueueOffset;
  readonly physicalOffset: PhysicalOffset;
  readonly body: Buffer;
  readonly tag: string | undefined;
  readonly keys: readonly string[];
  /** Without tag, keys and producer stamp. */
  readonly properties: ReadonlyMap<string, string>;
  readonly bornAtMs: number;
  readonly storedAtMs: number;
  readonly reconsumeTimes: number;
}

const STAMP_PREFIX = Buffer.from(`${property.producerStamp}\u0001`);
/** Hex digits of a producer id in a stamp. */
export const PRODUCER_ID_DIGITS = 16;
/** Hex digits of a sequence in a stamp. */
export const SEQUENCE_DIGITS = 12;
/** The stamp as the last property: name, separator, digits, separator. */
export const PRODUCER_STAMP_BYTES = STAMP_PREFIX.length + PRODUCER_ID_DIGITS + SEQUENCE_DIGITS + 1;
const BLANK_STAMP = Buffer.concat([
  STAMP_PREFIX,
  Buffer.alloc(PRODUCER_ID_DIGITS + SEQUENCE_DIGITS, '0'),
  Buffer.of(PROPERTY_VALUE_END),
]);

/** The properties of a message as text: tag first, keys, unique key, then the user's; without the producer stamp. */
function propertiesText(message: OutgoingMessage): string {
  let text = '';
  if (message.tag) text += `${property.tag}\u0001${message.tag}\u0002`;
  if (message.keys?.length) text += `${property.keys}\u0001${message.keys.join(' ')}\u0002`;
  if (message.uniqueKey) text += `${property.uniqueKey}\u0001${message.uniqueKey}\u0002`;
  for (const name in message.properties) {
    if (Object.hasOwn(message.properties, name)) text += `${name}\u0001${message.properties[name]}\u0002`;
  }
  return text;
}

/** The topic encoded last: producers send many messages to one topic in a row. */
let lastTopic = { name: '', bytes: Buffer.alloc(0) };

function topicBytes(name: string): Buffer {
  if (lastTopic.name !== name) lastTopic = { name, bytes: Buffer.from(name) };
  return lastTopic.bytes;
}

/**
 * One unsealed message record. Queue offset, store time and producer stamp are left for the leader.
 * Limits are the caller's business (limits.ts); the layout itself holds topics up to 255 bytes and properties up to
 * 65,535 bytes.
 */
export function encodeMessageRecord(message: OutgoingMessage): Buffer {
  const { body } = message;
  const topic = topicBytes(message.topic);
  const text = propertiesText(message);
  const textBytes = text === '' ? 0 : Buffer.byteLength(text);
  const propertiesBytes = textBytes + BLANK_STAMP.length;
  const messageBytes = MESSAGE_BODY_AT + body.length + 1 + topic.length + 2 + propertiesBytes;
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + messageBytes);
  const at = RECORD_HEADER_BYTES;
  writeBlankHeader(record, 0, recordMagic.message, messageBytes);
  record.fill(0, at, at + MESSAGE_BODY_AT);
  record.writeUInt32BE(messageBytes, at + MESSAGE_TOTAL_SIZE_AT);
  record.writeInt32BE(MESSAGE_MAGIC, at + MESSAGE_MAGIC_AT);
  record.writeUInt32BE(crc32(body) & 0x7fff_ffff, at + MESSAGE_BODY_CRC_AT);
  record.writeUInt32BE(message.queueId, at + MESSAGE_QUEUE_ID_AT);
  writeUint64(record, message.bornAtMs, at + MESSAGE_BORN_TIMESTAMP_AT);
  record.writeUInt32BE(body.length, at + MESSAGE_BODY_SIZE_AT);
  let cursor = at + MESSAGE_BODY_AT + body.copy(record, at + MESSAGE_BODY_AT);
  cursor = record.writeUInt8(topic.length, cursor);
  cursor += topic.copy(record, cursor);
  cursor = record.writeUInt16BE(propertiesBytes, cursor);
  if (textBytes > 0) cursor += record.write(text, cursor);
  BLANK_STAMP.copy(record, cursor);
  return record;
}

/** Where the parts of a stored message lie, as absolute positions in its buffer. */
export interface MessageParts {
  bodyStart: number;
  bodyEnd: number;
  topicStart: number;
  topicEnd: number;
  propertiesStart: number;
  propertiesEnd: number;
}

/**
 * Finds the parts of the message at `[at, end)` into `parts` (reused by hot loops).
 * @returns false when the message does not fill exactly those bytes or its magic is foreign.
 */
export function locateParts(buffer: Buffer, at: number, end: number, parts: MessageParts): boolean {
  if (end - at < MESSAGE_BODY_AT + 3) return false;
  if (readUint32(buffer, at + MESSAGE_TOTAL_SIZE_AT) !== end - at) return false;
  if (readInt32(buffer, at + MESSAGE_MAGIC_AT) !== MESSAGE_MAGIC) return false;
  const extra = hostBytesExtra(buffer, at, true);
  if (end - at < MESSAGE_BODY_AT + extra + 3) return false;
  parts.bodyStart = at + MESSAGE_BODY_AT + extra;
  parts.bodyEnd = parts.bodyStart + readUint32(buffer, at + MESSAGE_BODY_SIZE_AT + extra);
  if (parts.bodyEnd + 3 > end) return false;
  parts.topicStart = parts.bodyEnd + 1;
  parts.topicEnd = parts.topicStart + buffer[parts.bodyEnd]!;
  if (parts.topicEnd + 2 > end) return false;
  parts.propertiesStart = parts.topicEnd + 2;
  parts.propertiesEnd = parts.propertiesStart + buffer.readUInt16BE(parts.topicEnd);
  return parts.propertiesEnd === end;
}

/** Fresh `MessageParts` to hand to `locateParts`. */
export function newParts(): MessageParts {
  return { bodyStart: 0, bodyEnd: 0, topicStart: 0, topicEnd: 0, propertiesStart: 0, propertiesEnd: 0 };
}

/** Whether the topic in the message has the bytes of `name`. */
export function isTopic(buffer: Buffer, parts: MessageParts, name: Buffer): boolean {
  const { topicStart } = parts;
  if (parts.topicEnd - topicStart !== name.length) return false;
  for (let byte = 0; byte < name.length; byte++) if (buffer[topicStart + byte] !== name[byte]) return false;
  return true;
}

/** Whether the body at `parts` matches the CRC its producer gave. @param body a view of it, for who has one. */
export function isMessageBodyIntact(buffer: Buffer, at: number, parts: MessageParts, body?: Buffer): boolean {
  const crc = body === undefined ? crc32(buffer, parts.bodyStart, parts.bodyEnd) : crc32(body);
  return (crc & 0x7fff_ffff) === readUint32(buffer, at + MESSAGE_BODY_CRC_AT);
}

/** Whether the properties end with a producer stamp. */
export function hasProducerStamp(buffer: Buffer, parts: MessageParts): boolean {
  const at = parts.propertiesEnd - PRODUCER_STAMP_BYTES;
  if (at < parts.propertiesStart) return false;
  if (at > parts.propertiesStart && buffer[at - 1] !== PROPERTY_VALUE_END) return false;
  if (buffer[parts.propertiesEnd - 1] !== PROPERTY_VALUE_END) return false;
  for (let byte = 0; byte < STAMP_PREFIX.length; byte++) if (buffer[at + byte] !== STAMP_PREFIX[byte]) return false;
  return true;
}

/** Where the 16 digits of the producer id of a stamp begin, the sequence right behind; only after `hasProducerStamp`. */
export function producerIdAt(parts: MessageParts): number {
  return parts.propertiesEnd - PRODUCER_STAMP_BYTES + STAMP_PREFIX.length;
}

/** Producer ids that are stored: 16 lower-case hex digits; all zeros means "no idempotence asked for". */
export const NO_PRODUCER = '0'.repeat(PRODUCER_ID_DIGITS);
const SEQUENCE_HIGH_UNIT = 0x100_0000; // 24 bits = 6 hex digits

/** Writes the producer stamp of a message that has room for one. */
export function writeProducerStamp(buffer: Buffer, parts: MessageParts, producerId: string, sequence: number): void {
  const at = producerIdAt(parts);
  for (let digit = 0; digit < PRODUCER_ID_DIGITS; digit++) buffer[at + digit] = producerId.charCodeAt(digit);
  writeHex24(buffer, Math.floor(sequence / SEQUENCE_HIGH_UNIT), at + PRODUCER_ID_DIGITS);
  writeHex24(buffer, sequence, at + PRODUCER_ID_DIGITS + 6);
}

/** The producer id of a stamp; call only after `hasProducerStamp`. */
export function producerIdOf(buffer: Buffer, parts: MessageParts): string {
  const at = producerIdAt(parts);
  return buffer.toString('latin1', at, at + PRODUCER_ID_DIGITS);
}

/** The sequence of a stamp; call only after `hasProducerStamp`. */
export function sequenceOf(buffer: Buffer, parts: MessageParts): number {
  const at = producerIdAt(parts) + PRODUCER_ID_DIGITS;
  return readHex24(buffer, at) * SEQUENCE_HIGH_UNIT + readHex24(buffer, at + 6);
}

/**
 * A whole stored message from the record at `at` (header included).
 * @returns undefined for bytes that are no message; never throws because of them.
 */
export function decodeMessageRecord(buffer: Buffer, at: number, end: number): StoredMessage | undefined {
  const parts = newParts();
  const messageAt = at + RECORD_HEADER_BYTES;
  if (!locateParts(buffer, messageAt, end, parts) || !hasSafeNumbers(buffer, messageAt)) return undefined;
  const properties = decodeProperties(buffer, parts.propertiesStart, parts.propertiesEnd);
  const tag = properties.get(property.tag);
  const keys = properties.get(property.keys);
  for (const name of [property.tag, property.keys, property.producerStamp]) properties.delete(name);
  const bornExtra = hostBytesExtra(buffer, messageAt, false);
  const extra = hostBytesExtra(buffer, messageAt, true);
  return {
    topic: buffer.toString('utf8', parts.topicStart, parts.topicEnd),
    queueId: buffer.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT),
    queueOffset: queueOffset(readUint64(buffer, messageAt + MESSAGE_QUEUE_OFFSET_AT)),
    physicalOffset: readUint64(buffer, messageAt + MESSAGE_PHYSICAL_OFFSET_AT) as PhysicalOffset,
    body: buffer.subarray(parts.bodyStart, parts.bodyEnd),
    tag,
    keys: keys === undefined ? [] : keys.split(' '),
    properties,
    bornAtMs: readUint64(buffer, messageAt + MESSAGE_BORN_TIMESTAMP_AT),
    storedAtMs: readUint64(buffer, messageAt + MESSAGE_STORE_TIMESTAMP_AT + bornExtra),
    reconsumeTimes: buffer.readInt32BE(messageAt + MESSAGE_RECONSUME_TIMES_AT + extra),
  };
}

/** Whether all 64-bit fields of the message at `at` that `decodeMessageRecord` reads are below 2^53. */
export function hasSafeNumbers(buffer: Buffer, at: number): boolean {
  return (
    isUint64Safe(buffer, at + MESSAGE_QUEUE_OFFSET_AT) &&
    isUint64Safe(buffer, at + MESSAGE_PHYSICAL_OFFSET_AT) &&
    isUint64Safe(buffer, at + MESSAGE_BORN_TIMESTAMP_AT) &&
    isUint64Safe(buffer, at + MESSAGE_STORE_TIMESTAMP_AT + hostBytesExtra(buffer, at, false))
  );
}

/** Properties in the order in which they were written. */
export function decodeProperties(buffer: Buffer, start: number, end: number): Map<string, string> {
  const properties = new Map<string, string>();
  for (let at = start; at < end; ) {
    const nameEnd = buffer.indexOf(PROPERTY_NAME_END, at);
    if (nameEnd < 0 || nameEnd >= end) break;
    let valueEnd = buffer.indexOf(PROPERTY_VALUE_END, nameEnd + 1);
    if (valueEnd < 0 || valueEnd > end) valueEnd = end;
    properties.set(buffer.toString('utf8', at, nameEnd), buffer.toString('utf8', nameEnd + 1, valueEnd));
    at = valueEnd + 1;
  }
  return properties;
}

/** RocketMQ's tag code: Java's string hash, sign-extended to 64 bits by whoever stores it; 0 without a tag. */
export function tagHash(tag: string): number {
  let hash = 0;
  for (let at = 0; at < tag.length; at++) hash = (Math.imul(31, hash) + tag.charCodeAt(at)) | 0;
  return hash;
}

/** Writes the lowest 24 bits of a safe integer as six digits. */
function writeHex24(buffer: Buffer, value: number, at: number): void {
  for (let digit = 5, rest = value; digit >= 0; digit--, rest >>>= 4) {
    const nibble = rest & 0xf;
    buffer[at + digit] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble;
  }
}

function readHex24(buffer: Buffer, at: number): number {
  let value = 0;
  for (let digit = 0; digit < 6; digit++) {
    const code = buffer[at + digit]!;
    value = (value << 4) | (code < 0x40 ? code - 0x30 : code - 0x57);
  }
  return value;
}
