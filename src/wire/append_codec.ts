// AppendRequest on the hot streams: the same protobuf bytes as ledger.proto defines, written and read by hand, so that
// a frame of records costs one copy on its way out and none on its way in.
//
//   0A len topic | 10 queue | 1A 10 producer id | 20 sequence | 3A len flush | 32 len records ...
//
//   08 queue offset | 10 count | 18 last index | 20 repeated | 2A len leader | 32 len flush          AppendResponse
//
// Anything that does not look like that (messages instead of records, unknown fields) goes through protobufjs.
import type { AppendResult } from '../broker/types.ts';
import { logIndex } from '../raft/types.ts';
import { int64ToNumber, uint64ToNumber } from './int64.ts';
import type { AppendRequest, AppendResponse, Leader, MessageFields } from './ledger_messages.ts';
import { codecOf } from './proto.ts';

/** An AppendRequest to encode: records as one buffer or as pieces that are joined while they are written. */
export interface OutgoingAppend {
  readonly topic: string;
  readonly queue: number;
  readonly producerId: string;
  readonly sequence: number;
  readonly messages?: readonly Partial<MessageFields>[];
  readonly records?: Buffer | readonly Buffer[];
  /** `sync`, `async`, or what the group does. */
  readonly flush?: string;
}

const tag = { topic: 0x0a, queue: 0x10, producerId: 0x1a, sequence: 0x20, records: 0x32, flush: 0x3a } as const;
const answerTag = {
  queueOffset: 0x08,
  count: 0x10,
  lastIndex: 0x18,
  repeated: 0x20,
  leader: 0x2a,
  flush: 0x32,
} as const;
const leaderTag = { nodeId: 0x0a, clientAddress: 0x12, term: 0x18 } as const;
const VARINT_BYTES_MAX = 10;
/** Tags, a queue of ten bytes (negative numbers are long), a sequence, four lengths. */
const PREFIX_BYTES_MAX = 6 + 6 * VARINT_BYTES_MAX;
/** Nine tags, four numbers, a flag, four lengths, all as long as they can be. */
const ANSWER_BYTES_MAX = 9 + 9 * VARINT_BYTES_MAX;
const TWO_POW_7 = 0x80;
const INT32_MAX = 0x7fff_ffff;

interface GenericAppend {
  readonly topic: string;
  readonly queue: number;
  readonly producerId: string;
  readonly sequence: string;
  readonly messages: readonly MessageFields[];
  readonly records: Buffer;
  readonly flush: string;
}

const generic = codecOf<GenericAppend>('AppendRequest');
const genericResponse = codecOf<AppendResponse>('AppendResponse');
const NO_BYTES = Buffer.alloc(0);
const NO_MESSAGES: readonly MessageFields[] = [];

/** The protobuf bytes of `request`. Pieces of `records` are copied once, into the result. */
export function encodeAppendRequest(request: OutgoingAppend): Buffer {
  if (request.messages !== undefined && request.messages.length > 0) {
    const records = joined(request.records);
    return generic.encode({ ...request, sequence: String(request.sequence), records } as GenericAppend);
  }
  const pieces = piecesOf(request.records);
  return Buffer.concat([encodeHead(request, pieces), ...pieces]);
}

/**
 * `encodeAppendRequest` for streams of grpc-js: the pieces of `records` are copied once, behind the frame header that it
 * puts before each message. grpc-js asks a message for its length and to copy itself, and nothing else.
 */
export function gatherAppendRequest(request: OutgoingAppend): Buffer {
  if (request.messages !== undefined && request.messages.length > 0) return encodeAppendRequest(request);
  const pieces = piecesOf(request.records);
  return new Gathered([encodeHead(request, pieces), ...pieces]) as unknown as Buffer;
}

/** Bytes that are still in pieces. */
class Gathered implements Pick<Buffer, 'length' | 'copy'> {
  readonly length: number;
  readonly #pieces: readonly Buffer[];

  constructor(pieces: readonly Buffer[]) {
    this.#pieces = pieces;
    this.length = sizeOf(pieces);
  }

  copy(target: Uint8Array, targetStart = 0): number {
    let at = targetStart;
    for (const piece of this.#pieces) at += piece.copy(target, at);
    return at - targetStart;
  }
}

function sizeOf(pieces: readonly Buffer[]): number {
  let sizeBytes = 0;
  for (const piece of pieces) sizeBytes += piece.length;
  return sizeBytes;
}

/** All that comes before the bytes of `pieces`. */
function encodeHead(request: OutgoingAppend, pieces: readonly Buffer[]): Buffer {
  const { flush = '' } = request;
  const recordsBytes = sizeOf(pieces);
  const stringBytesMax = 3 * (request.topic.length + request.producerId.length + flush.length);
  const target = Buffer.allocUnsafe(PREFIX_BYTES_MAX + stringBytesMax);
  let at = 0;
  if (request.topic !== '') at = writeText(target, at, tag.topic, request.topic);
  if (request.queue !== 0) at = writeInt(target, at, tag.queue, request.queue);
  if (request.producerId !== '') at = writeText(target, at, tag.producerId, request.producerId);
  if (request.sequence !== 0) at = writeInt(target, at, tag.sequence, request.sequence);
  if (flush !== '') at = writeText(target, at, tag.flush, flush);
  if (recordsBytes > 0) at = writeInt(target, at, tag.records, recordsBytes);
  return target.subarray(0, at);
}

/**
 * The request in `bytes`; `records` is a view of them.
 * @throws TLedgerError INVALID_ARGUMENT when the sequence exceeds 2^53 - 1; Error when the bytes are not well-formed.
 */
export function decodeAppendRequest(bytes: Buffer): AppendRequest {
  return decodePacked(bytes) ?? decodeGeneric(bytes);
}

/** The protobuf bytes of an answer. @throws TLedgerError INVALID_ARGUMENT for numbers out of range. */
export function encodeAppendResponse(response: AppendResponse): Buffer {
  return encodeAnswer(
    {
      queueOffset: int64ToNumber(response.queueOffset, 'queueOffset'),
      count: response.count,
      lastIndex: uint64ToNumber(response.lastIndex, 'lastIndex'),
      repeated: response.repeated,
      flush: response.flush,
    },
    response.leader,
  );
}

/** An encoded AppendResponse of `result`, without leader: what travels back from the leader to another node. */
export function encodeAppendResult(result: AppendResult): Buffer {
  return encodeAnswer(result, null);
}

/** The other way. @throws TLedgerError INVALID_ARGUMENT for numbers out of range; Error when not well-formed. */
export function decodeAppendResult(bytes: Buffer): AppendResult {
  return decodeAnswer(bytes) ?? decodeGenericAnswer(bytes);
}

type AnswerFields = Omit<AppendResult, 'lastIndex' | 'flush'> & {
  readonly lastIndex: number;
  readonly flush?: string | undefined;
};

function encodeAnswer(
  { queueOffset, count, lastIndex, repeated, flush = '' }: AnswerFields,
  leader: Leader | null,
): Buffer {
  const leaderBytesMax = leader === null ? 0 : 3 * (leader.nodeId.length + leader.clientAddress.length);
  const target = Buffer.allocUnsafe(ANSWER_BYTES_MAX + 3 * flush.length + leaderBytesMax);
  let at = 0;
  if (queueOffset !== 0) at = writeInt(target, at, answerTag.queueOffset, queueOffset);
  if (count !== 0) at = writeInt(target, at, answerTag.count, count);
  if (lastIndex !== 0) at = writeInt(target, at, answerTag.lastIndex, lastIndex);
  if (repeated) at = writeInt(target, at, answerTag.repeated, 1);
  if (flush !== '') at = writeText(target, at, answerTag.flush, flush);
  return target.subarray(0, leader === null ? at : writeLeader(target, at, leader));
}

function writeLeader(target: Buffer, at: number, { nodeId, clientAddress, term }: Leader): number {
  const termNumber = uint64ToNumber(term, 'term');
  const texts = [nodeId, clientAddress].map((text) => Buffer.byteLength(text));
  const sizeBytes = texts.reduce((sum, bytes) => sum + 1 + varintBytes(bytes) + bytes, 1 + varintBytes(termNumber));
  target[at] = answerTag.leader;
  let cursor = writeVarint(target, at + 1, sizeBytes);
  cursor = writeText(target, cursor, leaderTag.nodeId, nodeId);
  cursor = writeText(target, cursor, leaderTag.clientAddress, clientAddress);
  return writeInt(target, cursor, leaderTag.term, termNumber);
}

/** Undefined when `bytes` are anything but well-formed fields, each a number that is not negative, or `flush`. */
function decodeAnswer(bytes: Buffer): AppendResult | undefined {
  const cursor: Cursor = { bytes, at: 0, value: 0 };
  let [queueOffset, count, last, repeated] = [0, 0, 0, false];
  let flush = '';
  while (cursor.at < bytes.length) {
    const field = bytes[cursor.at++];
    if (!readVarint(cursor)) return undefined;
    const { value, at } = cursor;
    if (field === answerTag.queueOffset) queueOffset = value;
    else if (field === answerTag.count && value <= INT32_MAX) count = value;
    else if (field === answerTag.lastIndex) last = value;
    else if (field === answerTag.repeated) repeated = value !== 0;
    else if (field === answerTag.flush && at + value <= bytes.length) {
      cursor.at = at + value;
      flush = bytes.toString('utf8', at, cursor.at);
    } else return undefined;
  }
  const lastIndex = logIndex(last);
  return flush === 'sync' || flush === 'async'
    ? { queueOffset, count, lastIndex, repeated, flush }
    : { queueOffset, count, lastIndex, repeated };
}

function decodeGenericAnswer(bytes: Buffer): AppendResult {
  const { queueOffset, count, lastIndex, repeated, flush } = genericResponse.decode(bytes);
  return {
    queueOffset: int64ToNumber(queueOffset, 'queueOffset'),
    count,
    lastIndex: logIndex(uint64ToNumber(lastIndex, 'lastIndex')),
    repeated,
    ...(flush === 'sync' || flush === 'async' ? { flush } : {}),
  };
}

function decodeGeneric(bytes: Buffer): AppendRequest {
  const request = generic.decode(bytes);
  return { ...request, sequence: uint64ToNumber(request.sequence, 'sequence') };
}

/** Undefined when `bytes` are anything but well-formed fields of the packed form. */
function decodePacked(bytes: Buffer): AppendRequest | undefined {
  const cursor: Cursor = { bytes, at: 0, value: 0 };
  let topic = '';
  let queue = 0;
  let producerId = '';
  let sequence = 0;
  let flush = '';
  let records: Buffer = NO_BYTES;
  while (cursor.at < bytes.length) {
    const field = bytes[cursor.at++];
    if (!readVarint(cursor)) return undefined;
    if (field === tag.queue) {
      if (cursor.value > INT32_MAX) return undefined;
      queue = cursor.value;
    } else if (field === tag.sequence) {
      sequence = cursor.value;
    } else {
      const start = cursor.at;
      const end = start + cursor.value;
      if (end > bytes.length) return undefined;
      if (field === tag.records) records = bytes.subarray(start, end);
      else if (field === tag.topic) topic = bytes.toString('utf8', start, end);
      else if (field === tag.producerId) producerId = bytes.toString('utf8', start, end);
      else if (field === tag.flush) flush = bytes.toString('utf8', start, end);
      else return undefined;
      cursor.at = end;
    }
  }
  return { topic, queue, producerId, sequence, messages: NO_MESSAGES, records, flush };
}

interface Cursor {
  readonly bytes: Buffer;
  at: number;
  value: number;
}

/** Reads a varint into `cursor.value`; false when it is cut off or exceeds 2^53 - 1. */
function readVarint(cursor: Cursor): boolean {
  let value = 0;
  let unit = 1;
  for (let count = 0; count < VARINT_BYTES_MAX; count++) {
    const byte = cursor.bytes[cursor.at++];
    if (byte === undefined) return false;
    value += (byte & 0x7f) * unit;
    if (byte < TWO_POW_7) {
      cursor.value = value;
      return Number.isSafeInteger(value);
    }
    unit *= TWO_POW_7;
  }
  return false;
}

/** Writes a non-negative safe integer as protobuf does. @returns where it ends. */
export function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  let cursor = at;
  while (rest >= TWO_POW_7) {
    target[cursor++] = (rest % TWO_POW_7) | TWO_POW_7;
    rest = Math.floor(rest / TWO_POW_7);
  }
  target[cursor++] = rest;
  return cursor;
}

/** An integer; a negative one is sign-extended to ten bytes, as protobuf wants it. */
function writeInt(target: Buffer, at: number, fieldTag: number, value: number): number {
  target[at] = fieldTag;
  if (value >= 0) return writeVarint(target, at + 1, value);
  let rest = BigInt.asUintN(64, BigInt(value));
  let cursor = at + 1;
  for (; rest >= 0x80n; rest >>= 7n) target[cursor++] = Number(rest & 0x7fn) | TWO_POW_7;
  target[cursor++] = Number(rest);
  return cursor;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= TWO_POW_7; rest = Math.floor(rest / TWO_POW_7)) bytes++;
  return bytes;
}

function writeText(target: Buffer, at: number, fieldTag: number, text: string): number {
  target[at] = fieldTag;
  const start = writeVarint(target, at + 1, Buffer.byteLength(text));
  return start + target.write(text, start);
}

function piecesOf(records: Buffer | readonly Buffer[] | undefined): readonly Buffer[] {
  if (records === undefined) return [];
  return Buffer.isBuffer(records) ? [records] : (records as readonly Buffer[]);
}

function joined(records: Buffer | readonly Buffer[] | undefined): Buffer {
  return Buffer.isBuffer(records) ? records : Buffer.concat(piecesOf(records));
}
