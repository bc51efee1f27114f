// What is looked at before records enter the log: a mistake here would be written on all replicas.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import {
  bodySizeAt,
  chainCrcAt,
  chainCrcOf,
  indexAt,
  magicAt,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import type { LogTip } from './log_tip.ts';
import { FILLER_BYTES, type Segments } from './segment.ts';

/** A message's own header must be there for its physical offset to be written into. */
const MESSAGE_BODY_BYTES_MIN = 88;

/** The record at `at`, which the leader is about to seal; it was checked where it came in. @throws InvariantError */
export function checkBlank(buffer: Buffer, at: number, end: number): void {
  const magic = magicAt(buffer, at);
  const size = sizeAt(buffer, at);
  const bodySize = bodySizeAt(buffer, at);
  assert(magic >= recordMagic.message && magic <= recordMagic.command, () => `unknown magic ${magic}`);
  assert(size === RECORD_HEADER_BYTES + bodySize && size <= end - at, 'an appended record is whole');
  assert(magic !== recordMagic.message || bodySize >= MESSAGE_BODY_BYTES_MIN, 'a message has a header of its own');
}

/**
 * Places of records from the leader and their link to the log's end; the rest of the chain was checked by `verifyRecords`.
 * @throws InvariantError when they don't begin right behind the end; TLedgerError DATA_CORRUPTED when they are of another
 * log, or laid out in another way.
 */
export function checkSealed(
  log: { readonly segments: Segments; readonly tip: LogTip },
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const { segments, tip } = log;
  assert(indexAt(buffer, start) === tip.index + 1, 'records are appended right behind the last one');
  assert(termAt(buffer, start) >= tip.term, 'terms rise along the log');
  const linked = chainCrcOf(buffer, start, tip.chainCrc) === chainCrcAt(buffer, start);
  let index: number = tip.index;
  // An empty log begins a segment behind its base.
  let position: number = Math.max(tip.end, segments.tail.start);
  for (let at = start; at < end; ) {
    const size = sizeAt(buffer, at);
    const segmentEnd = (Math.floor(position / segments.sizeBytes) + 1) * segments.sizeBytes;
    if (position + size + FILLER_BYTES > segmentEnd) position = segmentEnd;
    index++;
    assert(indexAt(buffer, at) === index && at + size <= end, 'sealed records are whole and without gaps');
    if (!linked || positionAt(buffer, at) !== position || size > segments.sizeBytes - FILLER_BYTES) {
      const found = `record ${index} at position ${positionAt(buffer, at)}`;
      throw new TLedgerError('DATA_CORRUPTED', `${found} does not continue this log at position ${position}`);
    }
    position += size;
    at += size;
  }
}
