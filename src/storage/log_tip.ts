// One place in the log: a record together with what identifies everything up to it. Where it is stored:
//
//   0       8      16      24     32         36
//   +-------+------+-------+------+----------+
//   | index | term | start | end  | chainCrc |
//   +-------+------+-------+------+----------+
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { readUint64, writeUint64 } from '../format/uint64.ts';
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';

/** Size of a stored tip. */
export const TIP_BYTES = 36;

/** A record's place and the checksum of the log up to and including it. */
export interface LogTip {
  readonly index: LogIndex;
  readonly term: Term;
  readonly chainCrc: number;
  /** Where the record begins. */
  readonly start: PhysicalOffset;
  /** The byte after the record. A filler that closes its segment is not counted: it depends on the record to come. */
  readonly end: PhysicalOffset;
}

/** Before the first record. */
export const EMPTY_TIP: LogTip = {
  index: logIndex(0),
  term: term(0),
  chainCrc: 0,
  start: physicalOffset(0),
  end: physicalOffset(0),
};

/** The one that lies earlier in the log. */
export function earlier(a: LogTip, b: LogTip): LogTip {
  return a.index <= b.index ? a : b;
}

/** The one that lies later in the log; the second one of the same index. */
export function later(a: LogTip, b: LogTip): LogTip {
  return a.index > b.index ? a : b;
}

/** Writes a tip. */
export function encodeTip(target: Buffer, at: number, tip: LogTip): void {
  writeUint64(target, tip.index, at);
  writeUint64(target, tip.term, at + 8);
  writeUint64(target, tip.start, at + 16);
  writeUint64(target, tip.end, at + 24);
  target.writeUInt32BE(tip.chainCrc, at + 32);
}

/** Reads a tip whose bytes a checksum has vouched for. */
export function decodeTip(source: Buffer, at: number): LogTip {
  return {
    index: logIndex(readUint64(source, at)),
    term: term(readUint64(source, at + 8)),
    start: physicalOffset(readUint64(source, at + 16)),
    end: physicalOffset(readUint64(source, at + 24)),
    chainCrc: source.readUInt32BE(at + 32),
  };
}
