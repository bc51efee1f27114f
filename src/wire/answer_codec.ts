// Answers to appends: the same protobuf bytes as ledger.proto defines, written and read by hand, numbers as numbers.
//
//   08 queue offset | 10 count | 18 last index | 20 repeated | 32 len flush | 2A len leader          AppendResponse
//   0A len answer | 0A len answer ... | 12 len leader                                          AppendStreamResponse
//
// What does not look like that, or tells of a leader, is read by protobufjs.
import type { AppendResult } from '../broker/types.ts';
import { logIndex } from '../raft/types.ts';
import { int64ToNumber, uint64ToNumber } from './int64.ts';
import type { AppendResponse, AppendStreamResponse, Leader } from './ledger_messages.ts';
import { codecOf } from './proto.ts';
import {
  type Cursor,
  cursorOf,
  readVarint,
  VARINT_BYTES_MAX,
  varintBytes,
  writeInt,
  writeText,
  writeVarint,
} from './protobuf.ts';

const tag = { queueOffset: 0x08, count: 0x10, lastIndex: 0x18, repeated: 0x20, leader: 0x2a, flush: 0x32 } as const;
const streamTag = { acknowledged: 0x0a, leader: 0x12 } as const;
const leaderTag = { nodeId: 0x0a, clientAddress: 0x12, term: 0x18 } as const;
/** Five tags, three numbers, a flag and a length, all as long as they can be, without the text of `flush`. */
const RESULT_BYTES_MAX = 5 + 5 * VARINT_BYTES_MAX;
/** A tag, a number and three lengths, without the texts. */
const LEADER_BYTES_MAX = 4 + 4 * VARINT_BYTES_MAX;
/** Of a result that says `async`: its length fits into one byte. */
const FLUSH_BYTES_MAX = 5;

type GenericStreamResponse = Pick<AppendStreamResponse, 'leader'> & {
  readonly acknowledged: readonly AppendResponse[];
};

const generic = codecOf<AppendResponse>('AppendResponse');
const genericStream = codecOf<GenericStreamResponse>('AppendStreamResponse');

type ResultFields = Omit<AppendResult, 'lastIndex' | 'flush'> & {
  readonly lastIndex: number;
  readonly flush?: string | undefined;
};

/** The protobuf bytes of an AppendResponse. @throws TLedgerError INVALID_ARGUMENT for numbers out of range. */
export function encodeAppendResponse(response: AppendResponse): Buffer {
  const { count, repeated, flush, leader } = response;
  const queueOffset = int64ToNumber(response.queueOffset, 'queueOffset');
  const lastIndex = uint64ToNumber(response.lastIndex, 'lastIndex');
  const target = Buffer.allocUnsafe(RESULT_BYTES_MAX + 3 * flush.length + leaderBytesMax(leader));
  const at = writeResult(target, 0, { queueOffset, count, lastIndex, repeated, flush });
  return target.subarray(0, leader === null ? at : writeLeader(target, at, tag.leader, leader));
}

/** An encoded AppendResponse of `result`, without leader: what travels back from the leader to another node. */
export function encodeAppendResult(result: AppendResult): Buffer {
  const target = Buffer.allocUnsafe(RESULT_BYTES_MAX + FLUSH_BYTES_MAX);
  return target.subarray(0, writeResult(target, 0, result));
}

/** The other way. @throws TLedgerError INVALID_ARGUMENT for numbers out of range; Error when not well-formed. */
export function decodeAppendResult(bytes: Buffer): AppendResult {
  return readResult(cursorOf(bytes), bytes.length) ?? toResult(generic.decode(bytes));
}

/** The protobuf bytes of an AppendStreamResponse. @throws TLedgerError INVALID_ARGUMENT for a term out of range. */
export function encodeAppendStreamResponse({ acknowledged, leader }: AppendStreamResponse): Buffer {
  const answersBytesMax = acknowledged.length * (2 + RESULT_BYTES_MAX + FLUSH_BYTES_MAX);
  const target = Buffer.allocUnsafe(answersBytesMax + leaderBytesMax(leader));
  let at = 0;
  for (const result of acknowledged) {
    const end = writeResult(target, at + 2, result);
    target[at] = streamTag.acknowledged;
    target[at + 1] = end - (at + 2);
    at = end;
  }
  return target.subarray(0, leader === null ? at : writeLeader(target, at, streamTag.leader, leader));
}

/** The other way. @throws TLedgerError INVALID_ARGUMENT for numbers out of range; Error when not well-formed. */
export function decodeAppendStreamResponse(bytes: Buffer): AppendStreamResponse {
  const acknowledged = readResults(bytes);
  if (acknowledged !== undefined) return { acknowledged, leader: null };
  const response = genericStream.decode(bytes);
  // Each answer may name the leader, too.
  const leader = response.leader ?? response.acknowledged.at(-1)?.leader ?? null;
  return { acknowledged: response.acknowledged.map(toResult), leader };
}

function writeResult(target: Buffer, start: number, result: ResultFields): number {
  const { queueOffset, count, lastIndex, repeated, flush = '' } = result;
  let at = start;
  if (queueOffset !== 0) at = writeInt(target, at, tag.queueOffset, queueOffset);
  if (count !== 0) at = writeInt(target, at, tag.count, count);
  if (lastIndex !== 0) at = writeInt(target, at, tag.lastIndex, lastIndex);
  if (repeated) at = writeInt(target, at, tag.repeated, 1);
  return flush === '' ? at : writeText(target, at, tag.flush, flush);
}

function leaderBytesMax(leader: Leader | null): number {
  return leader === null ? 0 : LEADER_BYTES_MAX + 3 * (leader.nodeId.length + leader.clientAddress.length);
}

function writeLeader(target: Buffer, at: number, fieldTag: number, { nodeId, clientAddress, term }: Leader): number {
  const termNumber = uint64ToNumber(term, 'term');
  const texts = [nodeId, clientAddress].map((text) => Buffer.byteLength(text));
  const sizeBytes = texts.reduce((sum, bytes) => sum + 1 + varintBytes(bytes) + bytes, 1 + varintBytes(termNumber));
  target[at] = fieldTag;
  let cursor = writeVarint(target, at + 1, sizeBytes);
  cursor = writeText(target, cursor, leaderTag.nodeId, nodeId);
  cursor = writeText(target, cursor, leaderTag.clientAddress, clientAddress);
  return writeInt(target, cursor, leaderTag.term, termNumber);
}

/** Undefined when `bytes` are anything but answers that `readResult` reads. */
function readResults(bytes: Buffer): AppendResult[] | undefined {
  const results: AppendResult[] = [];
  const cursor = cursorOf(bytes);
  while (cursor.at < bytes.length) {
    if (bytes[cursor.at++] !== streamTag.acknowledged || !readVarint(cursor) || !cursor.isInt32) return undefined;
    const result = readResult(cursor, cursor.at + cursor.value);
    if (result === undefined) return undefined;
    results.push(result);
  }
  return results;
}

/** Undefined when what lies up to `end` is anything but well-formed fields, each a number that is not negative, or `flush`. */
function readResult(cursor: Cursor, end: number): AppendResult | undefined {
  const { bytes } = cursor;
  if (end > bytes.length) return undefined;
  let [queueOffset, count, last, repeated] = [0, 0, 0, false];
  let flush = '';
  while (cursor.at < end) {
    const field = bytes[cursor.at++];
    if (!readVarint(cursor)) return undefined;
    const { value, at } = cursor;
    if (field === tag.queueOffset) queueOffset = value;
    else if (field === tag.lastIndex) last = value;
    else if (!cursor.isInt32) return undefined;
    else if (field === tag.count) count = value;
    else if (field === tag.repeated) repeated = value !== 0;
    else if (field === tag.flush && at + value <= end) {
      cursor.at = at + value;
      flush = bytes.toString('utf8', at, cursor.at);
    } else return undefined;
  }
  return cursor.at === end ? resultOf(queueOffset, count, last, repeated, flush) : undefined;
}

function toResult({ queueOffset, count, lastIndex, repeated, flush }: AppendResponse): AppendResult {
  const [offset, last] = [int64ToNumber(queueOffset, 'queueOffset'), uint64ToNumber(lastIndex, 'lastIndex')];
  return resultOf(offset, count, last, repeated, flush);
}

/** Any other `flush` than `sync` and `async` is left out. */
function resultOf(queueOffset: number, count: number, last: number, repeated: boolean, flush: string): AppendResult {
  const lastIndex = logIndex(last);
  return flush === 'sync' || flush === 'async'
    ? { queueOffset, count, lastIndex, repeated, flush }
    : { queueOffset, count, lastIndex, repeated };
}
