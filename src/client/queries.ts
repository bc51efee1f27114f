// Looking for messages by key or id, and for offsets by time.
import { TLedgerError } from '../base/errors.ts';
import {
  decodeMessageRecord,
  isMessageBodyIntact,
  locateParts,
  newParts,
  type StoredMessage,
} from '../format/message.ts';
import { messageIdOf } from '../format/message_id.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { int64ToNumber, numberToInt64 } from '../wire/int64.ts';
import { QUERY_COUNT_DEFAULT, QUERY_COUNT_MAX } from '../wire/limits.ts';
import { ledgerService } from '../wire/services.ts';
import type { Cluster } from './cluster.ts';

/** What to look for: exactly one of `key`, `uniqueId` and `messageId`. */
export interface QueryOptions {
  /** May be left out with a message id only. */
  readonly topic?: string | undefined;
  /** One of the message's keys, or its unique id. */
  readonly key?: string | undefined;
  /** The id that its client gave it. */
  readonly uniqueId?: string | undefined;
  /** 32 hex digits, as `FoundMessage.messageId`. */
  readonly messageId?: string | undefined;
  /** Stored then or later, and not later than then; milliseconds since the epoch. */
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
  /** At most so many messages: 32 by default, 1 to 100,000. */
  readonly countMax?: number | undefined;
  /** Where an earlier answer to the same question stopped. */
  readonly cursor?: string | undefined;
  /** Show all that was committed when the question came, which takes a leader with a majority. */
  readonly current?: boolean | undefined;
  /** Milliseconds for all of it. */
  readonly timeoutMs?: number | undefined;
}

/** A message with the id by which any node finds it again, as long as it is kept. */
export interface FoundMessage extends StoredMessage {
  readonly messageId: string;
}

/** What was found, the newest first. */
export interface QueryResult {
  readonly messages: readonly FoundMessage[];
  /** Where to go on; null when there are no others. */
  readonly cursor: string | null;
  /** False when a part of the log was not indexed (yet) on the node that answered: messages there were not found. */
  readonly isComplete: boolean;
}

/** Most messages that one query gathers. */
const COUNT_MAX = 100_000;

/**
 * Looks for messages, as often as nodes ask to go on.
 * @throws TLedgerError INVALID_ARGUMENT, ILLEGAL_KEY, TOPIC_NOT_FOUND, KEY_INDEX_OFF, and what `Cluster.call` throws.
 */
export async function query(cluster: Cluster, options: QueryOptions): Promise<QueryResult> {
  const countMax = options.countMax ?? QUERY_COUNT_DEFAULT;
  if (!Number.isInteger(countMax) || countMax < 1 || countMax > COUNT_MAX) {
    throw new TLedgerError('INVALID_ARGUMENT', `countMax must be an integer from 1 to ${COUNT_MAX}, not ${countMax}`);
  }
  const untilMs = Date.now() + (options.timeoutMs ?? cluster.timeoutMs);
  const messages: FoundMessage[] = [];
  let cursor = options.cursor ?? '';
  let isComplete = true;
  for (;;) {
    const request = {
      topic: options.topic ?? '',
      key: options.key ?? '',
      uniqueId: options.uniqueId ?? '',
      messageId: options.messageId ?? '',
      beginTimestamp: numberToInt64(options.fromMs ?? 0, 'fromMs'),
      endTimestamp: numberToInt64(options.toMs ?? 0, 'toMs'),
      maxCount: Math.min(countMax - messages.length, QUERY_COUNT_MAX),
      maxBytes: 0,
      cursor,
      current: options.current === true,
      packed: true,
    };
    const timeoutMs = Math.max(1, untilMs - Date.now());
    const response = await cluster.call(ledgerService.query, request, { timeoutMs });
    messages.push(...foundIn(response.records));
    isComplete &&= response.complete;
    cursor = response.cursor;
    if (cursor === '' || messages.length >= countMax) return { messages, cursor: cursor || null, isComplete };
  }
}

/** Which queue, and when. */
export interface FindOffsetOptions {
  readonly topic: string;
  readonly queue: number;
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  /** As in `QueryOptions`. */
  readonly current?: boolean | undefined;
  readonly timeoutMs?: number | undefined;
}

/**
 * The first offset stored at `timeMs` or later; the queue's end when all messages are older.
 * @throws TLedgerError INVALID_ARGUMENT, TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, and what `Cluster.call` throws.
 */
export async function findOffset(cluster: Cluster, options: FindOffsetOptions): Promise<number> {
  const { topic, queue, timeMs, current = false, timeoutMs = cluster.timeoutMs } = options;
  const request = { topic, queue, timestamp: numberToInt64(timeMs, 'timeMs'), current };
  const response = await cluster.call(ledgerService.findOffset, request, { timeoutMs });
  return int64ToNumber(response.offset, 'offset');
}

/** @throws TLedgerError DATA_CORRUPTED for bytes that are no messages, or bodies that do not match their checksums. */
function foundIn(records: Buffer): FoundMessage[] {
  const messages: FoundMessage[] = [];
  const parts = newParts();
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    const bodyAt = at + RECORD_HEADER_BYTES;
    const isMessage = isRecordWhole(records, at, records.length) && magicAt(records, at) === recordMagic.message;
    const end = isMessage ? at + sizeAt(records, at) : at;
    const message = isMessage ? decodeMessageRecord(records, at, end) : undefined;
    const isSound = message !== undefined && locateParts(records, bodyAt, end, parts);
    if (!isSound || !isMessageBodyIntact(records, bodyAt, parts)) {
      throw new TLedgerError('DATA_CORRUPTED', `no message at byte ${at} of what a query found`);
    }
    messages.push({ ...message, messageId: messageIdOf(message.physicalOffset) });
  }
  return messages;
}
