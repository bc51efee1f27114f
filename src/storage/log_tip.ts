// One place in the log: a record together with what identifies everything up to it.
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';

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
