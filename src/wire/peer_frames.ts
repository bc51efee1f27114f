// The frames of Peer.Replicate. Each begins with a 64-byte header, big-endian, closed by its own CRC. An append frame
// goes on with log records exactly as they lie on disk, a snapshot frame with a piece of the snapshot's file.
//
//   requests, from the leader
//   append             0 type=1 | 1 version | 8 term | 16 prevIndex | 24 prevTerm | 32 lastIndex | 40 commit | 48 round
//                      56 prevChain 4 | 60 headerCrc 4 | 64 records prevIndex+1 … lastIndex
//   snapshot           0 type=3 | 1 version | 8 term | 16 index | 24 indexTerm | 32 offset | 40 commit | 48 round
//                      56 pieceCrc 4 | 60 headerCrc 4 | 64 the file's bytes from offset on
//   answers, from the follower
//   append-response    0 type=2 | 1 version | 2 rejected | 8 term | 16 match | 24 round
//                      32 reject.prevIndex | 40 reject.hintIndex | 48 reject.hintTerm | 60 headerCrc 4
//   snapshot-response  0 type=4 | 1 version | 8 term | 16 index | 24 round | 32 offset | 60 headerCrc 4
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';
import type {
  AppendRequest,
  AppendResponse,
  LogIndex,
  NodeId,
  SnapshotRequest,
  SnapshotResponse,
  Term,
} from '../raft/types.ts';
import { Gathered } from './gathered.ts';

/** Size of a frame's header. */
export const FRAME_HEADER_BYTES = 64;

const VERSION = 1;
const TYPE_APPEND = 1;
const TYPE_APPEND_RESPONSE = 2;
const TYPE_SNAPSHOT = 3;
const TYPE_SNAPSHOT_RESPONSE = 4;
const CRC_AT = 60;
/** Positions of the 64-bit numbers, all of which must be below 2^53. */
const NUMBERS_AT = [8, 16, 24, 32, 40, 48] as const;

/** Who sent a frame to whom; told once a stream, not in every frame. */
export interface Ends {
  readonly from: NodeId;
  readonly to: NodeId;
}

/** Bytes that follow a header, as a range of a buffer. */
export interface FrameBytes {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** chainCrc of the record before the first one; 0 for a piece of a snapshot. */
  readonly prevChain: number;
}

/** A request taken apart; its bytes are those behind the header. */
export interface RequestFrame extends FrameBytes {
  readonly message: AppendRequest | SnapshotRequest;
}

/** An append with its records, which must not change any more: whoever sends the frame copies them. */
export function encodeAppendFrame(message: AppendRequest, { buffer, start, end, prevChain }: FrameBytes): Gathered {
  const { term, prevIndex, prevTerm, lastIndex, commit, round } = message;
  const header = headerOf(TYPE_APPEND, [term, prevIndex, prevTerm, lastIndex, commit, round], prevChain);
  return new Gathered([header, buffer.subarray(start, end)]);
}

/** A piece of a snapshot; for its bytes the same holds. */
export function encodeSnapshotFrame(
  message: SnapshotRequest,
  { buffer, start, end }: Pick<FrameBytes, 'buffer' | 'start' | 'end'>,
): Gathered {
  const { term, index, indexTerm, offset, commit, round } = message;
  const numbers = [term, index, indexTerm, offset, commit, round] as const;
  const header = headerOf(TYPE_SNAPSHOT, numbers, crc32(buffer, start, end));
  return new Gathered([header, buffer.subarray(start, end)]);
}

/** One answer as a frame of its own. */
export function encodeResponseFrame(message: AppendResponse | SnapshotResponse): Buffer {
  if (message.type === 'snapshot-response') {
    const { term, index, round, offset } = message;
    return headerOf(TYPE_SNAPSHOT_RESPONSE, [term, index, round, offset, 0, 0], 0);
  }
  const { term, match, round, reject } = message;
  const { prevIndex, hintIndex, hintTerm } = reject ?? { prevIndex: 0, hintIndex: 0, hintTerm: 0 };
  const numbers = [term, match, round, prevIndex, hintIndex, hintTerm] as const;
  return headerOf(TYPE_APPEND_RESPONSE, numbers, 0, reject === null ? 0 : 1);
}

/**
 * What a leader sent.
 * @throws TLedgerError INVALID_ARGUMENT when the bytes are no such frame, or a piece of a snapshot does not match its
 * checksum. Records are not looked at: they carry their own.
 */
export function decodeRequestFrame(frame: Buffer, ends: Ends): RequestFrame {
  const type = checkHeader(frame, [TYPE_APPEND, TYPE_SNAPSHOT]);
  const { from, to } = ends;
  const term = readUint64(frame, 8) as Term;
  const commit = readUint64(frame, 40) as LogIndex;
  const round = readUint64(frame, 48);
  const [start, end] = [FRAME_HEADER_BYTES, frame.length];
  if (type === TYPE_SNAPSHOT) {
    if (frame.readUInt32BE(56) !== crc32(frame, start, end)) {
      throw new TLedgerError('INVALID_ARGUMENT', 'a piece of a snapshot does not match its checksum');
    }
    const index = readUint64(frame, 16) as LogIndex;
    const indexTerm = readUint64(frame, 24) as Term;
    const offset = readUint64(frame, 32);
    const message: SnapshotRequest = { type: 'snapshot', from, to, term, commit, round, index, indexTerm, offset };
    return { message, prevChain: 0, buffer: frame, start, end };
  }
  const message: AppendRequest = {
    type: 'append',
    from,
    to,
    term,
    commit,
    prevIndex: readUint64(frame, 16) as LogIndex,
    prevTerm: readUint64(frame, 24) as Term,
    lastIndex: readUint64(frame, 32) as LogIndex,
    runs: [],
    memberships: [],
    round,
  };
  return { message, prevChain: frame.readUInt32BE(56), buffer: frame, start, end };
}

/** What a follower answered. @throws TLedgerError INVALID_ARGUMENT when the bytes are no such frame. */
export function decodeResponseFrame(frame: Buffer, { from, to }: Ends): AppendResponse | SnapshotResponse {
  const type = checkHeader(frame, [TYPE_APPEND_RESPONSE, TYPE_SNAPSHOT_RESPONSE]);
  const term = readUint64(frame, 8) as Term;
  const round = readUint64(frame, 24);
  if (frame.length > FRAME_HEADER_BYTES) {
    throw new TLedgerError('INVALID_ARGUMENT', `${frame.length - FRAME_HEADER_BYTES} bytes follow an answer`);
  }
  if (type === TYPE_SNAPSHOT_RESPONSE) {
    const index = readUint64(frame, 16) as LogIndex;
    return { type: 'snapshot-response', from, to, term, round, index, offset: readUint64(frame, 32) };
  }
  return {
    type: 'append-response',
    from,
    to,
    term,
    round,
    match: readUint64(frame, 16) as LogIndex,
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

function headerOf(type: number, numbers: readonly number[], word: number, flag = 0): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header[0] = type;
  header[1] = VERSION;
  header[2] = flag;
  header.fill(0, 3, 8);
  for (let at = 0; at < NUMBERS_AT.length; at++) writeUint64(header, numbers[at]!, NUMBERS_AT[at]!);
  header.writeUInt32BE(word, 56);
  header.writeUInt32BE(crc32(header, 0, CRC_AT), CRC_AT);
  return header;
}

/** @returns the frame's type, one of `types`. */
function checkHeader(frame: Buffer, types: readonly number[]): number {
  if (frame.length < FRAME_HEADER_BYTES) {
    throw new TLedgerError('INVALID_ARGUMENT', `a peer frame of ${frame.length} bytes is shorter than its header`);
  }
  const type = frame[0]!;
  if (!types.includes(type) || frame[1] !== VERSION) {
    throw new TLedgerError('INVALID_ARGUMENT', `a peer frame of type ${type} version ${frame[1]} is not understood`);
  }
  if (crc32(frame, 0, CRC_AT) !== frame.readUInt32BE(CRC_AT) || !NUMBERS_AT.every((at) => isUint64Safe(frame, at))) {
    throw new TLedgerError('INVALID_ARGUMENT', 'the header of a peer frame does not match its checksum');
  }
  return type;
}
