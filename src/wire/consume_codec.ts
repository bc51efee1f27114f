// ConsumeResponse on its way out: the same protobuf bytes as ledger.proto defines. Records that lie in memory of their own
// become a frame where they are: protobuf lets fields come in any order, so they go last, and the others are put in front.
//
//   memory of the records   | headroom ...... | records |
//   frame                          | others | 1A len | records |
import { writeVarint } from './append_codec.ts';
import type { ConsumeResponse } from './ledger_messages.ts';
import { codecOf } from './proto.ts';

const RECORDS_TAG = 0x1a;
/** The tag, and a length below 2^35. */
const RECORDS_HEAD_BYTES_MAX = 6;

const generic = codecOf<ConsumeResponse>('ConsumeResponse');
const NOTHING = Buffer.alloc(0);

/** The protobuf bytes of `response`, in the memory of its records where there is room before them. */
export function encodeConsumeResponse(response: ConsumeResponse): Buffer {
  const { records, headroomBytes = 0 } = response;
  if (records.length === 0 || headroomBytes === 0) return generic.encode(response);
  const head = Buffer.allocUnsafe(RECORDS_HEAD_BYTES_MAX);
  head[0] = RECORDS_TAG;
  const headBytes = writeVarint(head, 1, records.length);
  const others = generic.encode({ ...response, records: NOTHING });
  const frontBytes = others.length + headBytes;
  if (frontBytes > headroomBytes) return generic.encode(response);
  const frame = Buffer.from(records.buffer, records.byteOffset - frontBytes, frontBytes + records.length);
  others.copy(frame);
  head.copy(frame, others.length, 0, headBytes);
  return frame;
}
