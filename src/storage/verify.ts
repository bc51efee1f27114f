// The checks that tell whether bytes are the continuation of a given log: used when records arrive from a peer, when
// they are read back, and (record by record) at recovery.
import { TLedgerError } from '../base/errors.ts';
import {
  chainCrcAt,
  chainCrcOf,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  magicAt,
  positionAt,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import type { LogIndex, Term, TermRun } from '../raft/types.ts';

/** The record before the ones to check: the base of the log they are from, or (0, 0, 0), before the first one. */
export interface Predecessor {
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly prevChain: number;
}

/** What `verifyRecords` found; with no records, the predecessor's own values. */
export interface VerifiedRecords {
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  readonly lastChain: number;
  /** Terms of the records; the first run starts at prevIndex + 1. */
  readonly runs: TermRun[];
  readonly count: number;
  /** Whether there is a membership among the records. */
  readonly hasMembership: boolean;
}

/**
 * What is wrong with the header at `at` as the successor of the given record, or null. `end` bounds the record, not
 * the buffer: only the header is read.
 */
export function headerFault(
  buffer: Buffer,
  at: number,
  end: number,
  prevIndex: number,
  prevTerm: number,
  prevChain: number,
): string | null {
  if (!isRecordWhole(buffer, at, end)) return 'no whole record';
  if (indexAt(buffer, at) !== prevIndex + 1) return 'wrong index';
  if (termAt(buffer, at) < prevTerm) return 'the term falls';
  if (chainCrcAt(buffer, at) !== chainCrcOf(buffer, at, prevChain)) return 'the chain is broken';
  return null;
}

/**
 * Checks that `buffer[start, end)` holds whole records that continue the log after `previous`: known magics, contiguous
 * indexes, terms that don't fall, rising positions, chain and body checksums.
 * @throws TLedgerError MESSAGE_CORRUPTED naming the index and the reason; never anything else, whatever the bytes.
 */
export function verifyRecords(buffer: Buffer, start: number, end: number, previous: Predecessor): VerifiedRecords {
  const runs: TermRun[] = [];
  let index: number = previous.prevIndex;
  let term: number = previous.prevTerm;
  let chain = previous.prevChain;
  let runTerm = -1;
  let positionMin = 0;
  let hasMembership = false;
  for (let at = start; at < end; ) {
    const fault = headerFault(buffer, at, end, index, term, chain);
    if (fault !== null) throw corrupted(index + 1, fault);
    const position = positionAt(buffer, at);
    if (position < positionMin) throw corrupted(index + 1, 'the position falls');
    if (!isBodyIntact(buffer, at)) throw corrupted(index + 1, 'the body does not match its checksum');
    index++;
    term = termAt(buffer, at);
    chain = chainCrcAt(buffer, at);
    if (term !== runTerm) {
      runTerm = term;
      runs.push({ term: term as Term, firstIndex: index as LogIndex });
    }
    if (magicAt(buffer, at) === recordMagic.membership) hasMembership = true;
    const size = sizeAt(buffer, at);
    positionMin = position + size;
    at += size;
  }
  return {
    lastIndex: index as LogIndex,
    lastTerm: term as Term,
    lastChain: chain,
    runs,
    count: index - previous.prevIndex,
    hasMembership,
  };
}

/**
 * Where the record `index` begins within verified records back to back; `end` for the index after the last one.
 * @throws TLedgerError INTERNAL when the range does not hold it.
 */
export function offsetOfRecord(buffer: Buffer, start: number, end: number, index: LogIndex): number {
  let at = start;
  let left = at < end ? index - indexAt(buffer, at) : 0;
  for (; left > 0 && at < end; left--) at += sizeAt(buffer, at);
  if (left !== 0) throw new TLedgerError('INTERNAL', `record ${index} is not among the given bytes`);
  return at;
}

function corrupted(index: number, reason: string): TLedgerError {
  return new TLedgerError('MESSAGE_CORRUPTED', `record ${index}: ${reason}`);
}
