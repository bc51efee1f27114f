// Ledger.Query and Ledger.FindOffset: messages by key or id, and queues by time, from this replica's committed prefix.
import { TLedgerError } from '../base/errors.ts';
import { offsetByTime } from '../broker/offset_by_time.ts';
import type { KeyQuery, KeyQueryResult } from '../broker/types.ts';
import { messageLimits } from '../format/limits.ts';
import { decodeMessageRecord } from '../format/message.ts';
import { messageIdOf } from '../format/message_id.ts';
import { sizeAt } from '../format/record.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type {
  FindOffsetRequest,
  FindOffsetResponse,
  FoundMessageFields,
  QueryRequest,
  QueryResponse,
} from '../wire/ledger_messages.ts';
import { QUERY_COUNT_DEFAULT, QUERY_COUNT_MAX } from '../wire/limits.ts';
import type { OpenCall } from './calls.ts';
import type { Gateway } from './gateway.ts';
import { boundOf, findQueue, findTopic, rangeOf } from './reading.ts';
import { toStoredMessage } from './replies.ts';

const NOTHING = Buffer.alloc(0);
/** Longest cursor that is looked at; ours have a few dozen characters. */
const CURSOR_CHARACTERS_MAX = 64;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

/**
 * Finds messages by key or id.
 * @throws TLedgerError INVALID_ARGUMENT, ILLEGAL_KEY, TOPIC_NOT_FOUND, KEY_INDEX_OFF, DATA_CORRUPTED, NO_LEADER and its
 * kin when catching up was asked for, or needed, and impossible.
 */
export async function query(gateway: Gateway, request: QueryRequest, open: OpenCall): Promise<QueryResponse> {
  const find = finderOf(gateway, request);
  if (request.current) await gateway.readBarrier(open.stepDeadlineMs);
  if (request.topic !== '') await findTopic(gateway, request.topic, open.stepDeadlineMs);
  let found = find();
  // That there is no such message is believed only after catching up; behind a cursor there was one to go on from.
  if (found.count === 0 && found.cursor === null && request.cursor === '' && !request.current) {
    await gateway.readBarrier(open.stepDeadlineMs);
    found = find();
  }
  return {
    messages: request.packed ? [] : toFoundMessages(found.records),
    records: request.packed ? found.records : NOTHING,
    count: found.count,
    cursor: found.cursor ?? '',
    complete: found.isComplete,
  };
}

/** Where a queue was at a time. @throws TLedgerError INVALID_ARGUMENT, TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, NO_LEADER and its kin. */
export async function findOffset(
  gateway: Gateway,
  request: FindOffsetRequest,
  open: OpenCall,
): Promise<FindOffsetResponse> {
  const { topic, queue, current } = request;
  const timeMs = uint64ToNumber(request.timestamp, 'timestamp');
  if (current) await gateway.readBarrier(open.stepDeadlineMs);
  await findQueue(gateway, topic, queue, open.stepDeadlineMs);
  let offset = await offsetByTime(gateway.broker, topic, queue, timeMs);
  if (offset >= rangeOf(gateway, topic, queue).max && !current) {
    await gateway.readBarrier(open.stepDeadlineMs);
    offset = await offsetByTime(gateway.broker, topic, queue, timeMs);
  }
  const { min, max } = rangeOf(gateway, topic, queue);
  return { offset: String(offset), minOffset: String(min), maxOffset: String(max) };
}

/** What has to be asked of the broker. @throws TLedgerError INVALID_ARGUMENT, ILLEGAL_KEY */
function finderOf(gateway: Gateway, request: QueryRequest): () => KeyQueryResult {
  const { topic, key, uniqueId, messageId, cursor } = request;
  const given = [key, uniqueId, messageId].filter((one) => one !== '');
  if (given.length !== 1) {
    throw new TLedgerError('INVALID_ARGUMENT', 'exactly one of key, unique_id and message_id has to be given');
  }
  const bounds = boundsOf(request);
  if (messageId !== '') {
    return () => {
      const records = gateway.broker.keys.byId(topic, messageId);
      return { records, count: records.length === 0 ? 0 : 1, cursor: null, isComplete: true };
    };
  }
  if (topic === '') throw new TLedgerError('INVALID_ARGUMENT', 'topic: keys are looked for within a topic');
  checkKey(given[0]!, key !== '');
  if (cursor.length > CURSOR_CHARACTERS_MAX) throw new TLedgerError('INVALID_ARGUMENT', 'cursor: it is none of ours');
  const asked: KeyQuery = { topic, by: key === '' ? 'unique id' : 'key', key: given[0]!, cursor, ...bounds };
  return () => gateway.broker.keys.query(asked);
}

function boundsOf(request: QueryRequest): Pick<KeyQuery, 'beginMs' | 'endMs' | 'countMax' | 'bytesMax'> {
  const { maxCount } = request;
  const beginMs = uint64ToNumber(request.beginTimestamp, 'begin_timestamp');
  const endMs = uint64ToNumber(request.endTimestamp, 'end_timestamp') || Number.MAX_SAFE_INTEGER;
  if (beginMs > endMs) throw new TLedgerError('INVALID_ARGUMENT', 'begin_timestamp is after end_timestamp');
  if (maxCount < 0 || maxCount > QUERY_COUNT_MAX) {
    throw new TLedgerError('INVALID_ARGUMENT', `max_count: ${maxCount} is not between 0 and ${QUERY_COUNT_MAX}`);
  }
  const bytesMax = Math.min(boundOf(request.maxBytes, 'max_bytes'), messageLimits.bodyBytesMax);
  return { beginMs, endMs, countMax: maxCount || QUERY_COUNT_DEFAULT, bytesMax };
}

/** Refuses what no message can have, which says more than finding nothing. */
function checkKey(key: string, isKey: boolean): void {
  if (Buffer.byteLength(key) > messageLimits.propertyBytesMax) {
    throw new TLedgerError('ILLEGAL_KEY', `a key has at most ${messageLimits.propertyBytesMax} bytes`);
  }
  if (CONTROL_CHARACTER.test(key)) throw new TLedgerError('ILLEGAL_KEY', 'a key has no control characters');
  if (isKey && key.includes(' ')) {
    throw new TLedgerError('ILLEGAL_KEY', 'a key has no spaces: words that a space divides are stored as several keys');
  }
}

function toFoundMessages(records: Buffer): FoundMessageFields[] {
  const messages: FoundMessageFields[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    const message = decodeMessageRecord(records, at, at + sizeAt(records, at));
    if (message === undefined) throw new TLedgerError('DATA_CORRUPTED', `no message at byte ${at} of what was found`);
    const { topic, physicalOffset } = message;
    messages.push({ message: toStoredMessage(message), topic, messageId: messageIdOf(physicalOffset) });
  }
  return messages;
}
