// ConsumeResponse on its way out: the same protobuf bytes as ledger.proto defines. protobuf lets fields come in any order,
// so the records go last, uncopied, and the others are put in front.
//
//   08 queue | 20 count | 28 first offset | 30 next offset | 38 max offset | 1A len records ...
//
// What holds messages in place of records, or sends its reader elsewhere, is written by protobufjs.
import { Gathered } from './gathered.ts';
import { int64ToNumber } from './int64.ts';
import type { ConsumeResponse } from './ledger_messages.ts';
import { codecOf } from './proto.ts';
import { VARINT_BYTES_MAX, writeInt } from './protobuf.ts';

const tag = {
  queue: 0x08,
  records: 0x1a,
  count: 0x20,
  firstOffset: 0x28,
  nextOffset: 0x30,
  maxOffset: 0x38,
} as const;
/** Six tags and numbers. */
const HEAD_BYTES_MAX = 6 + 6 * VARINT_BYTES_MAX;

const generic = codecOf<ConsumeResponse>('ConsumeResponse');

/**
 * The protobuf bytes of `response`, for streams of grpc-js: its records are copied once, by `Gathered`.
 * @throws TLedgerError INVALID_ARGUMENT for offsets out of range.
 */
export function gatherConsumeResponse(response: ConsumeResponse): Buffer {
  const { messages, records, readFrom } = response;
  if (messages.length > 0 || readFrom !== null) return generic.encode(response);
  return new Gathered([encodeHead(response), records]).asBuffer;
}

/** All that comes before the bytes of the records. */
function encodeHead(response: ConsumeResponse): Buffer {
  const target = Buffer.allocUnsafe(HEAD_BYTES_MAX);
  let at = writeUnlessZero(target, 0, tag.queue, response.queue);
  at = writeUnlessZero(target, at, tag.count, response.count);
  at = writeUnlessZero(target, at, tag.firstOffset, int64ToNumber(response.firstOffset, 'firstOffset'));
  at = writeUnlessZero(target, at, tag.nextOffset, int64ToNumber(response.nextOffset, 'nextOffset'));
  at = writeUnlessZero(target, at, tag.maxOffset, int64ToNumber(response.maxOffset, 'maxOffset'));
  at = writeUnlessZero(target, at, tag.records, response.records.length);
  return target.subarray(0, at);
}

function writeUnlessZero(target: Buffer, at: number, fieldTag: number, value: number): number {
  return value === 0 ? at : writeInt(target, at, fieldTag, value);
}
