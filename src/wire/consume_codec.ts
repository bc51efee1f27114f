// ConsumeResponse on its way out: the same protobuf bytes as ledger.proto defines. Records that lie in memory of their own
// become a frame where they are: protobuf lets fields come in any order, so they go last, and the others are put in front.
//
//   memory of the records   | headroom ...... | records |
//   frame                          | others | 1A len | records |
//
// What has no records, sends its reader elsewhere or finds no room is written by protobufjs.
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

/** The protobuf bytes of `response`, in the memory of its records where there is room before them. */
export function encodeConsumeResponse(response: ConsumeResponse): Buffer {
  const { records, headroomBytes = 0, readFrom } = response;
  if (records.length === 0 || readFrom !== null) return generic.encode(response);
  const head = Buffer.allocUnsafe(HEAD_BYTES_MAX);
  const headBytes = writeHead(head, response);
  if (headBytes > headroomBytes) return generic.encode(response);
  const frame = Buffer.from(records.buffer, records.byteOffset - headBytes, headBytes + records.length);
  head.copy(frame, 0, 0, headBytes);
  return frame;
}

/** All that is not zero, up to the bytes of the records. */
function writeHead(target: Buffer, response: ConsumeResponse): number {
  const { queue, count, records } = response;
  let at = 0;
  if (queue !== 0) at = writeInt(target, at, tag.queue, queue);
  if (count !== 0) at = writeInt(target, at, tag.count, count);
  at = writeOffset(target, at, tag.firstOffset, int64ToNumber(response.firstOffset, 'firstOffset'));
  at = writeOffset(target, at, tag.nextOffset, int64ToNumber(response.nextOffset, 'nextOffset'));
  at = writeOffset(target, at, tag.maxOffset, int64ToNumber(response.maxOffset, 'maxOffset'));
  return writeInt(target, at, tag.records, records.length);
}

function writeOffset(target: Buffer, at: number, fieldTag: number, value: number): number {
  return value === 0 ? at : writeInt(target, at, fieldTag, value);
}
