// A client's batch on its way in: messages become records here, once; records pass through as they are.
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import type { FlushWish, PackedAppend } from '../broker/types.ts';
import { checkProducerId, checkTopicName, messageLimits, validateMessage } from '../format/limits.ts';
import { encodeMessageRecord, type OutgoingMessage } from '../format/message.ts';
import { int64ToNumber } from '../wire/int64.ts';
import type { AppendRequest, MessageFields } from '../wire/ledger_messages.ts';

/**
 * The batch as the broker takes it.
 * @param nowMs stamps messages that carry no time of their own.
 * @throws TLedgerError for whatever can be told without knowing the topic: ILLEGAL_TOPIC, BODY_EMPTY, BODY_TOO_LARGE,
 * ILLEGAL_TAG, ILLEGAL_KEY, ILLEGAL_PROPERTY, PROPERTIES_TOO_LARGE, BATCH_TOO_LARGE, QUEUE_OUT_OF_RANGE, INVALID_ARGUMENT.
 */
export function packedAppendOf(request: AppendRequest, nowMs: number): PackedAppend {
  const { topic, queue: queueId, producerId, sequence } = request;
  checkTopicName(topic);
  if (checkProducerId(producerId) && sequence < 1) {
    throw new TLedgerError('INVALID_ARGUMENT', `sequence ${sequence}: a producer's first message has sequence 1`);
  }
  return { topic, queueId, producerId, sequence, flush: flushOf(request), records: recordsOf(request, nowMs) };
}

function flushOf({ flush = '' }: AppendRequest): FlushWish {
  if (flush === '' || flush === 'sync' || flush === 'async') return flush;
  throw new TLedgerError('INVALID_ARGUMENT', `flush ${quoted(flush)}: it is sync, async or empty`);
}

function recordsOf(request: AppendRequest, nowMs: number): Buffer {
  const { messages, records } = request;
  if (messages.length > 0 && records.length > 0) {
    throw new TLedgerError('INVALID_ARGUMENT', 'the batch is given twice: as messages and as records');
  }
  if (records.length > 0) {
    if (records.length > messageLimits.batchBytesMax)
      throw tooLarge(records.length, 'bytes', messageLimits.batchBytesMax);
    return records;
  }
  if (messages.length === 0) throw new TLedgerError('INVALID_ARGUMENT', 'the batch is empty');
  if (messages.length > messageLimits.batchCountMax) {
    throw tooLarge(messages.length, 'messages', messageLimits.batchCountMax);
  }
  const encoded = messages.map((message) => encode(request, message, nowMs));
  const sizeBytes = encoded.reduce((sum, record) => sum + record.length, 0);
  if (sizeBytes > messageLimits.batchBytesMax) throw tooLarge(sizeBytes, 'bytes', messageLimits.batchBytesMax);
  return encoded.length === 1 ? encoded[0]! : Buffer.concat(encoded, sizeBytes);
}

function encode(request: AppendRequest, fields: MessageFields, nowMs: number): Buffer {
  const bornAtMs = int64ToNumber(fields.bornTimestamp, 'born_timestamp');
  const message: OutgoingMessage = {
    topic: request.topic,
    queueId: request.queue,
    body: fields.body,
    tag: fields.tag,
    keys: fields.keys,
    properties: fields.properties,
    bornAtMs: bornAtMs === 0 ? nowMs : bornAtMs,
  };
  validateMessage(message);
  return encodeMessageRecord(message);
}

function tooLarge(value: number, unit: string, limit: number): TLedgerError {
  return new TLedgerError('BATCH_TOO_LARGE', `the batch has ${value} ${unit}; at most ${limit} are allowed`);
}
