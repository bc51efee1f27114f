// Records in the log's own layout, for programs that keep a producer's identity and sequence themselves because they must
// be able to go on after their own end: importers, bridges.
import { TLedgerError } from '../base/errors.ts';
import { isMessageBodyIntact, locateParts, newParts } from '../format/message.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { int64ToNumber, numberToInt64 } from '../wire/int64.ts';
import { ledgerService } from '../wire/services.ts';
import type { Cluster } from './cluster.ts';

/** A batch for one queue. */
export interface RecordsToAppend {
  readonly topic: string;
  readonly queue: number;
  /** 16 lower-case hex digits; whoever goes on for a producer goes on with its id. */
  readonly producerId: string;
  /** Of the first record: 1 for a producer's first one, then without gaps over all its batches. */
  readonly sequence: number;
  /** Whole records (`encodeMessageRecord`), back to back; at most 4,096 and 5 MiB. */
  readonly records: Buffer;
  /** How long to try. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** The batch is committed. */
export interface RecordsAppended {
  /** Of the first record; null when the group no longer remembers where it put them. */
  readonly queueOffset: number | null;
  readonly count: number;
  /** Some or all of them were there before. */
  readonly repeated: boolean;
}

/** A part of a queue as it lies in the log. */
export interface RecordsRead {
  /** Positions of the records in `buffer`, each with its end; each is whole, and its body matches its checksum. */
  readonly records: readonly { readonly start: number; readonly end: number }[];
  readonly buffer: Buffer;
  readonly nextOffset: number;
  readonly minOffset: number;
  readonly maxOffset: number;
}

/** A frame of a MiB is flushed by three nodes; a try that takes longer has lost its way. */
const APPEND_ATTEMPT_MS = 5_000;
const READ_BYTES_MAX = 4 * 1_048_576;
const READ_COUNT_MAX = 4_096;

/**
 * Appends once, however often it takes: a repeat is recognised by producer and sequence.
 * @throws TLedgerError UNKNOWN_PRODUCER, OUT_OF_ORDER_SEQUENCE and other refusals; OUTCOME_UNKNOWN when nobody could say
 * in time: the same call may be made again.
 */
export async function appendRecords(cluster: Cluster, batch: RecordsToAppend): Promise<RecordsAppended> {
  const { topic, queue, producerId, sequence, records, timeoutMs, signal } = batch;
  const call = { timeoutMs, signal, attemptTimeoutMs: APPEND_ATTEMPT_MS, effects: 'repeatable' } as const;
  const request = { topic, queue, producerId, sequence, messages: [], records };
  const response = await cluster.call(ledgerService.append, request, call);
  cluster.noteLeader(response.leader);
  const offset = int64ToNumber(response.queueOffset, 'queueOffset');
  return { queueOffset: offset < 0 ? null : offset, count: response.count, repeated: response.repeated };
}

/**
 * Reads a part of a queue once, verified.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, DATA_CORRUPTED.
 */
export async function pullRecords(
  cluster: Cluster,
  { topic, queue, offset }: { readonly topic: string; readonly queue: number; readonly offset: number },
): Promise<RecordsRead> {
  const from = numberToInt64(offset, 'offset');
  const limits = { maxCount: READ_COUNT_MAX, maxBytes: READ_BYTES_MAX, waitMs: 0, packed: true };
  const response = await cluster.call(ledgerService.pull, { topic, queue, offset: from, ...limits });
  return {
    records: recordsIn(response.records, `topic "${topic}", queue ${queue}`),
    buffer: response.records,
    nextOffset: int64ToNumber(response.nextOffset, 'nextOffset'),
    minOffset: int64ToNumber(response.minOffset, 'minOffset'),
    maxOffset: int64ToNumber(response.maxOffset, 'maxOffset'),
  };
}

function recordsIn(buffer: Buffer, where: string): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  const parts = newParts();
  for (let start = 0; start < buffer.length; ) {
    if (!isRecordWhole(buffer, start, buffer.length)) throw corrupted(where, `no record begins at byte ${start}`);
    const end = start + sizeAt(buffer, start);
    const messageAt = start + RECORD_HEADER_BYTES;
    if (magicAt(buffer, start) === recordMagic.message && locateParts(buffer, messageAt, end, parts)) {
      if (!isMessageBodyIntact(buffer, messageAt, parts)) throw corrupted(where, 'a body does not match its checksum');
      found.push({ start, end });
    }
    start = end;
  }
  return found;
}

function corrupted(where: string, what: string): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `${where}: ${what}`);
}
