// AppendRequest on the hot streams: the same protobuf bytes as ledger.proto defines, written and read by hand, so that
// a frame of records costs one copy on its way out and none on its way in.
//
//   0A len topic | 10 queue | 1A 10 producer id | 20 sequence | 3A len flush | 32 len records ...
//
// Anything that does not look like that (messages instead of records, unknown fields) goes through protobufjs.
import { Gathered, sizeOf } from './gathered.ts';
import { uint64ToNumber } from './int64.ts';
import type { AppendRequest, MessageFields } from './ledger_messages.ts';
import { codecOf } from './proto.ts';
import { cursorOf, readVarint, VARINT_BYTES_MAX, writeInt, writeText } from './protobuf.ts';

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
/** Tags, a queue of ten bytes (negative numbers are long), a sequence, four lengths. */
const PREFIX_BYTES_MAX = 6 + 6 * VARINT_BYTES_MAX;

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

/** `encodeAppendRequest` for streams of grpc-js: the pieces of `records` are copied once, by `Gathered`. */
export function gatherAppendRequest(request: OutgoingAppend): Buffer {
  if (request.messages !== undefined && request.messages.length > 0) return encodeAppendRequest(request);
  const pieces = piecesOf(request.records);
  return new Gathered([encodeHead(request, pieces), ...pieces]).asBuffer;
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

function decodeGeneric(bytes: Buffer): AppendRequest {
  const request = generic.decode(bytes);
  return { ...request, sequence: uint64ToNumber(request.sequence, 'sequence') };
}

/** Undefined when `bytes` are anything but well-formed fields of the packed form. */
function decodePacked(bytes: Buffer): AppendRequest | undefined {
  const cursor = cursorOf(bytes);
  let topic = '';
  let queue = 0;
  let producerId = '';
  let sequence = 0;
  let flush = '';
  let records: Buffer = NO_BYTES;
  while (cursor.at < bytes.length) {
    const field = bytes[cursor.at++];
    if (!readVarint(cursor)) return undefined;
    if (field === tag.sequence) {
      sequence = cursor.value;
    } else if (!cursor.isInt32) {
      return undefined;
    } else if (field === tag.queue) {
      queue = cursor.value;
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

function piecesOf(records: Buffer | readonly Buffer[] | undefined): readonly Buffer[] {
  if (records === undefined) return [];
  return Buffer.isBuffer(records) ? [records] : (records as readonly Buffer[]);
}

function joined(records: Buffer | readonly Buffer[] | undefined): Buffer {
  return Buffer.isBuffer(records) ? records : Buffer.concat(piecesOf(records));
}
