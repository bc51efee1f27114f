// Finds a record by where it lies: for derived files that name positions, which may be wrong, and for callers that do.
import { TLedgerError } from '../base/errors.ts';
import { indexAt, isRecordWhole, type PhysicalOffset, positionAt, RECORD_HEADER_BYTES } from '../format/record.ts';
import type { CommitLog, RecordRange } from './commit_log.ts';

/**
 * The record that begins at a position, verified. Bytes inside of a message that look like one are none: the log's own
 * index has to know a record there.
 * @returns null when no record begins there. @throws TLedgerError DATA_CORRUPTED when the one that does is damaged.
 */
export function recordAt(log: CommitLog, position: PhysicalOffset): RecordRange | null {
  if (position < log.base.end || position + RECORD_HEADER_BYTES > log.endPosition) return null;
  const header = headerAt(log, position);
  if (header === null || !isRecordWhole(header, 0, Number.MAX_SAFE_INTEGER)) return null;
  const index = indexAt(header, 0);
  if (positionAt(header, 0) !== position || index < log.firstIndex || index > log.lastIndex) return null;
  return log.locate(index).position === position ? log.read(index, index) : null;
}

function headerAt(log: CommitLog, position: PhysicalOffset): Buffer | null {
  try {
    return log.readAt(position, RECORD_HEADER_BYTES);
  } catch (error) {
    // It would lie in two segments.
    if (error instanceof TLedgerError && error.code === 'DATA_CORRUPTED') return null;
    throw error;
  }
}
