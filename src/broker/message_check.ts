// Checks the encoded messages that a producer hands over, byte by byte and without making objects. What passes is
// appended as it is, travels to every replica and is read by every consumer; so nothing passes that a reader would
// stumble over.
import { TLedgerError } from '../base/errors.ts';
import { checkBodySize, checkPropertyTotals, isReservedProperty } from '../format/limits.ts';
import {
  hasProducerStamp,
  hasSafeNumbers,
  isMessageBodyIntact,
  isTopic,
  locateParts,
  type MessageParts,
  PRODUCER_STAMP_BYTES,
} from '../format/message.ts';
import {
  MESSAGE_QUEUE_ID_AT,
  MESSAGE_SYS_FLAG_AT,
  PROPERTY_NAME_END,
  PROPERTY_VALUE_END,
  SYS_FLAG_BORN_HOST_V6,
} from '../format/message_layout.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { readInt32, readUint32 } from '../format/uint32.ts';
import type { Queue } from './topics.ts';

/** What a producer may say in sysFlag: compressed, several tags, IPv6 born host, kind of compression (§10.2). */
const SYS_FLAGS_ALLOWED = 0x1 | 0x2 | SYS_FLAG_BORN_HOST_V6 | 0x700;

const SPACE = 0x20;
const BAR = 0x7c;

// The names that mean something here, as 32-bit numbers: three have four letters, UNIQ_KEY has eight.
const TAGS = 0x5441_4753;
const KEYS = 0x4b45_5953;
const PSEQ = 0x5053_4551;
const UNIQ = 0x554e_4951;
const _KEY = 0x5f4b_4559;

/**
 * Checks the record at `at` and finds its parts.
 * @returns where the next record begins.
 * @throws TLedgerError MESSAGE_CORRUPTED (layout, checksum), INVALID_ARGUMENT (other topic, other queue), BODY_EMPTY,
 * BODY_TOO_LARGE, ILLEGAL_TAG, ILLEGAL_PROPERTY, PROPERTIES_TOO_LARGE
 */
export function checkMessageRecord(records: Buffer, at: number, queue: Queue, parts: MessageParts): number {
  if (!isRecordWhole(records, at, records.length)) throw corrupted(at, 'is not whole');
  if (magicAt(records, at) !== recordMagic.message) throw corrupted(at, 'is not a message');
  const end = at + sizeAt(records, at);
  const messageAt = at + RECORD_HEADER_BYTES;
  if (!locateParts(records, messageAt, end, parts)) throw corrupted(at, 'does not have the layout of a message');
  if (!hasSafeNumbers(records, messageAt)) throw corrupted(at, 'has a time or offset above 2^53');
  if ((readInt32(records, messageAt + MESSAGE_SYS_FLAG_AT) & ~SYS_FLAGS_ALLOWED) !== 0) {
    throw corrupted(at, 'has system flags that a producer cannot set');
  }
  if (!isTopic(records, parts, queue.topic.nameBytes)) {
    throw new TLedgerError('INVALID_ARGUMENT', `the record at byte ${at} names another topic than the request`);
  }
  if (readUint32(records, messageAt + MESSAGE_QUEUE_ID_AT) !== queue.queueId) {
    throw new TLedgerError('INVALID_ARGUMENT', `the record at byte ${at} names another queue than the request`);
  }
  checkBodySize(parts.bodyEnd - parts.bodyStart);
  if (!isMessageBodyIntact(records, messageAt, parts)) throw corrupted(at, 'does not match the checksum of its body');
  if (!hasProducerStamp(records, parts)) throw corrupted(at, 'has no room for the producer stamp');
  checkProperties(records, parts.propertiesStart, parts.propertiesEnd - PRODUCER_STAMP_BYTES);
  return end;
}

/** Checks properties that lie in `[start, end)`, the producer stamp left out. */
function checkProperties(buffer: Buffer, start: number, end: number): void {
  let userCount = 0;
  let sizeBytes = 0;
  let seen = 0;
  for (let at = start; at < end; ) {
    const nameEnd = endOfText(buffer, at, end);
    if (nameEnd === end || buffer[nameEnd] !== PROPERTY_NAME_END) throw illegalProperty(at, 'has no clean name');
    if (nameEnd === at) throw illegalProperty(at, 'has an empty name');
    const valueAt = nameEnd + 1;
    const valueEnd = endOfText(buffer, valueAt, end);
    if (valueEnd === end || buffer[valueEnd] !== PROPERTY_VALUE_END) throw illegalProperty(at, 'has no clean value');
    const special = specialOf(buffer, at, nameEnd);
    if (special === 0) {
      if (isReservedProperty(buffer, at, nameEnd)) throw illegalProperty(at, 'has a reserved name');
      userCount++;
      sizeBytes += nameEnd - at;
    } else {
      if ((seen & special) !== 0) throw illegalProperty(at, 'is there twice');
      seen |= special;
      if (special === SPECIAL_STAMP) throw illegalProperty(at, 'is a second producer stamp');
      if (special === SPECIAL_TAG) checkTag(buffer, valueAt, valueEnd);
    }
    sizeBytes += valueEnd - valueAt;
    at = valueEnd + 1;
  }
  checkPropertyTotals(userCount, sizeBytes);
}

const SPECIAL_TAG = 1;
const SPECIAL_KEYS = 2;
const SPECIAL_STAMP = 4;
const SPECIAL_UNIQUE_KEY = 8;

function specialOf(buffer: Buffer, at: number, end: number): number {
  if (end - at === 8) {
    return readUint32(buffer, at) === UNIQ && readUint32(buffer, at + 4) === _KEY ? SPECIAL_UNIQUE_KEY : 0;
  }
  if (end - at !== 4) return 0;
  const name = readUint32(buffer, at);
  if (name === TAGS) return SPECIAL_TAG;
  if (name === KEYS) return SPECIAL_KEYS;
  return name === PSEQ ? SPECIAL_STAMP : 0;
}

function checkTag(buffer: Buffer, start: number, end: number): void {
  let isBlank = start < end;
  for (let at = start; at < end; at++) {
    if (buffer[at] === BAR) throw new TLedgerError('ILLEGAL_TAG', 'the tag has a |');
    if (buffer[at] !== SPACE) isBlank = false;
  }
  if (isBlank) throw new TLedgerError('ILLEGAL_TAG', 'the tag is blank');
}

/** The first control character (U+0000-1F, 7F-9F) at or after `at`, or `end`. */
function endOfText(buffer: Buffer, at: number, end: number): number {
  let cursor = at;
  while (cursor < end) {
    const byte = buffer[cursor]!;
    if (byte < SPACE || byte === 0x7f) break;
    // U+0080-9F are two bytes in UTF-8: C2 80-9F.
    if (byte === 0xc2 && (buffer[cursor + 1]! & 0xe0) === 0x80) break;
    cursor++;
  }
  return cursor;
}

function corrupted(at: number, how: string): TLedgerError {
  return new TLedgerError('MESSAGE_CORRUPTED', `the record at byte ${at} ${how}`);
}

function illegalProperty(at: number, how: string): TLedgerError {
  return new TLedgerError('ILLEGAL_PROPERTY', `the property at byte ${at} ${how}`);
}
