// Whether what a checkpoint says of a queue still holds when a broker opens: its files are there, and its last unit leads
// to its last message. Units before it are not looked at; whoever reads through a wrong one is told so (pull.ts).
import { TLedgerError } from '../base/errors.ts';
import { MESSAGE_BODY_AT, MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import {
  isRecordWhole,
  magicAt,
  type PhysicalOffset,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
} from '../format/record.ts';
import { isParkedAt } from '../format/record_flags.ts';
import { isUint64Safe, readUint64 } from '../format/uint64.ts';
import { unitPhysicalOffset, unitSizeBytes } from '../storage/consume_queue.ts';
import type { LogTip } from '../storage/log_tip.ts';
import type { PullSource } from './pull.ts';
import type { Queue } from './topics.ts';

/** The record's header and the fixed part of the message: all that is read of the log for one queue. */
const LOOK_BYTES = RECORD_HEADER_BYTES + MESSAGE_BODY_AT;

/** The log, which begins behind its base. */
export interface CheckedLog extends Pick<PullSource, 'readLog' | 'segmentSizeBytes'> {
  readonly base: LogTip;
}

/** @throws TLedgerError DATA_CORRUPTED naming the queue when its files and the log don't fit together. */
export function checkQueue(queue: Queue, log: CheckedLog): void {
  const { min, max } = queue.units;
  if (min === max) return;
  const unit = queue.units.lastUnit();
  const place = placeOf(unit, log.segmentSizeBytes);
  if (place === null || place.start < log.base.end) throw misleading(queue);
  const bytes = log.readLog(place.start, LOOK_BYTES);
  const messageAt = RECORD_HEADER_BYTES;
  const isRight =
    isRecordWhole(bytes, 0, place.sizeBytes) &&
    magicAt(bytes, 0) === recordMagic.message &&
    !isParkedAt(bytes, 0) &&
    sizeAt(bytes, 0) === place.sizeBytes &&
    positionAt(bytes, 0) === place.start &&
    bytes.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT) === queue.queueId &&
    isUint64Safe(bytes, messageAt + MESSAGE_QUEUE_OFFSET_AT) &&
    readUint64(bytes, messageAt + MESSAGE_QUEUE_OFFSET_AT) === max - 1;
  if (!isRight) throw misleading(queue);
}

/** Where the record of a unit lies; null when no record can lie there. */
function placeOf(unit: Buffer, segmentSizeBytes: number): { start: PhysicalOffset; sizeBytes: number } | null {
  if (!isUint64Safe(unit, 0)) return null;
  const start = unitPhysicalOffset(unit, 0) - RECORD_HEADER_BYTES;
  const sizeBytes = unitSizeBytes(unit, 0) + RECORD_HEADER_BYTES;
  const isInSegment = start >= 0 && (start % segmentSizeBytes) + sizeBytes <= segmentSizeBytes;
  return isInSegment && sizeBytes >= LOOK_BYTES ? { start: physicalOffset(start), sizeBytes } : null;
}

function misleading(queue: Queue): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `the last unit of ${queue} does not lead to its last message`);
}
