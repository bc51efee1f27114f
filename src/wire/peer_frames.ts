// The two frames of Peer.Replicate. Both begin with a 64-byte header, big-endian, closed by its own CRC; an append frame
// goes on with log records exactly as they lie on disk.
//
//   append      0 type=1 | 1 version | 8 term | 16 prevIndex | 24 prevTerm | 32 lastIndex | 40 commit | 48 round
//               56 prevChain 4 | 60 headerCrc 4 | 64 records prevIndex+1 … lastIndex
//   response    0 type=2 | 1 version | 2 rejected | 8 term | 16 match | 24 round
//               32 reject.prevIndex | 40 reject.hintIndex | 48 reject.hintTerm | 60 headerCrc 4
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';
import type { AppendRequest, AppendResponse, LogIndex, NodeId, Term } from '../raft/types.ts';

/** Size of a frame's header, and so the room that record buffers keep free in front of their first record. */
export const FRAME_HEADER_BYTES = 64;

const VERSION = 1;
const TYPE_APPEND = 1;
const TYPE_RESPONSE = 2;
const CRC_AT = 60;
/** Positions of the 64-bit numbers, all of which must be below 2^53. */
const NUMBERS_AT = [8, 16, 24, 32, 40, 48] as const;

/** Who sent a frame to whom; told once a stream, not in every frame. */
export interface Ends {
  readonly from: NodeId;
  readonly to: NodeId;
}

/** An append frame taken apart; `records` are the bytes behind the header. */
export interface AppendFrame {
  readonly message: AppendRequest;
  readonly prevChain: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/**
 * Writes the header of an append frame into the 64 bytes in front of `start` and returns header and records as one
 * view. The same bytes go to every follower: nothing in them is of one follower only.
 */
export function encodeAppendFrame(
  message: AppendRequest,
  records: { readonly buffer: Buffer; readonly start: number; readonly end: number; readonly prevChain: number },
): Buffer {
  assert(records.start >= FRAME_HEADER_BYTES, 'record buffers keep room for a frame header');
  const at = records.start - FRAME_HEADER_BYTES;
  const frame = records.buffer.subarray(at, records.end);
  frame[0] = TYPE_APPEND;
  frame[1] = VERSION;
  frame.fill(0, 2, 8);
  writeUint64(frame, message.term, 8);
  writeUint64(frame, message.prevIndex, 16);
  writeUint64(frame, message.prevTerm, 24);
  writeUint64(frame, message.lastIndex, 32);
  writeUint64(frame, message.commit, 40);
  writeUint64(frame, message.round, 48);
  frame.writeUInt32BE(records.prevChain, 56);
  frame.writeUInt32BE(crc32(frame, 0, CRC_AT), CRC_AT);
  return frame;
}

/** One response as a frame of its own. */
export function encodeResponseFrame(message: AppendResponse): Buffer {
  const frame = Buffer.alloc(FRAME_HEADER_BYTES);
  frame[0] = TYPE_RESPONSE;
  frame[1] = VERSION;
  frame[2] = message.reject === null ? 0 : 1;
  writeUint64(frame, message.term, 8);
  writeUint64(frame, message.match, 16);
  writeUint64(frame, message.round, 24);
  writeUint64(frame, message.reject?.prevIndex ?? 0, 32);
  writeUint64(frame, message.reject?.hintIndex ?? 0, 40);
  writeUint64(frame, message.reject?.hintTerm ?? 0, 48);
  frame.writeUInt32BE(crc32(frame, 0, CRC_AT), CRC_AT);
  return frame;
}

/** @throws TLedgerError INVALID_ARGUMENT when the bytes are no append frame. The records are not looked at. */
export function decodeAppendFrame(frame: Buffer, ends: Ends): AppendFrame {
  checkHeader(frame, TYPE_APPEND);
  const message: AppendRequest = {
    type: 'append',
    ...ends,
    term: readUint64(frame, 8) as Term,
    prevIndex: readUint64(frame, 16) as LogIndex,
    prevTerm: readUint64(frame, 24) as Term,
    lastIndex: readUint64(frame, 32) as LogIndex,
    runs: [],
    commit: readUint64(frame, 40) as LogIndex,
    round: readUint64(frame, 48),
  };
  return { message, prevChain: frame.readUInt32BE(56), buffer: frame, start: FRAME_HEADER_BYTES, end: frame.length };
}

/** @throws TLedgerError INVALID_ARGUMENT when the bytes are no response frame. */
export function decodeResponseFrame(frame: Buffer, ends: Ends): AppendResponse {
  checkHeader(frame, TYPE_RESPONSE);
  return {
    type: 'append-response',
    ...ends,
    term: readUint64(frame, 8) as Term,
    match: readUint64(frame, 16) as LogIndex,
    round: readUint64(frame, 24),
    reject:
      frame[2] === 0
        ? null
        : {
            prevIndex: readUint64(frame, 32) as LogIndex,
            hintIndex: readUint64(frame, 40) as LogIndex,
            hintTerm: readUint64(frame, 48) as Term,
          },
  };
}

function checkHeader(frame: Buffer, type: number): void {
  if (frame.length < FRAME_HEADER_BYTES) {
    throw new TLedgerError('INVALID_ARGUMENT', `a peer frame of ${frame.length} bytes is shorter than its header`);
  }
  if (frame[0] !== type || frame[1] !== VERSION) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `a peer frame of type ${frame[0]} version ${frame[1]} is not understood`,
    );
  }
  if (crc32(frame, 0, CRC_AT) !== frame.readUInt32BE(CRC_AT) || !NUMBERS_AT.every((at) => isUint64Safe(frame, at))) {
    throw new TLedgerError('INVALID_ARGUMENT', 'the header of a peer frame does not match its checksum');
  }
}
