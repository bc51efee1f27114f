// Reads committed messages of one queue. Units tell where the records lie; records that lie close together are read with
// one read, and what lay between them is left out of the result.
//
//   log   ..|A|B|a|A|A|......................|A|A|..      wanted: A
//   reads   [---------]                      [---]        gaps of some KiB are read along, larger ones skipped
//   result  |A|A|A|A|A|
import { TLedgerError } from '../base/errors.ts';
import { locateParts, newParts, type QueueOffset, queueOffset } from '../format/message.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import {
  isBodyIntact,
  isRecordWhole,
  magicAt,
  type PhysicalOffset,
  physicalOffset,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
} from '../format/record.ts';
import { isUint64Safe, readUint64 } from '../format/uint64.ts';
import { UNIT_BYTES, unitPhysicalOffset, unitSizeBytes } from '../storage/consume_queue.ts';
import type { BrokerLimits } from './limits.ts';
import { isTopic } from './message_check.ts';
import { OffsetOutOfRange } from './offset_out_of_range.ts';
import type { Queue } from './topics.ts';
import type { PullRequest, PullResult } from './types.ts';

/**
 * Reads `sizeBytes` of the log at `position`; asked only for ranges of one segment's size. The result is not changed.
 * @throws TLedgerError DATA_CORRUPTED when the log ends before.
 */
export type ReadLog = (position: PhysicalOffset, sizeBytes: number) => Buffer;

/** Where the records come from. */
export interface PullSource {
  readonly readLog: ReadLog;
  readonly segmentSizeBytes: number;
  readonly limits: BrokerLimits;
}

const parts = newParts();

/** Units looked at in one go. */
const UNITS_AT_ONCE = 512;

/** Records that lie back to back in the log. */
interface Stretch {
  readonly start: number;
  end: number;
}

/** Stretches that are read together: inside one segment, with small gaps. */
interface Read {
  readonly start: number;
  end: number;
  readonly stretches: Stretch[];
}

/**
 * The messages of `queue` from `request.offset` on, at most as many and as large as asked for and allowed; at least one
 * if there is one. Reading at the end gives none.
 * @throws TLedgerError INVALID_ARGUMENT (bounds), OFFSET_OUT_OF_RANGE (`OffsetOutOfRange`), DATA_CORRUPTED when unit and log
 * disagree or a record does not match its checksum.
 */
export function pull(queue: Queue, request: PullRequest, source: PullSource): PullResult {
  const { min, max } = queue.units;
  const { offset } = request;
  checkBound(request.countMax, 'message');
  checkBound(request.bytesMax, 'byte');
  if (!Number.isSafeInteger(offset) || offset < min || offset > max) {
    throw new OffsetOutOfRange(queue.toString(), { offset, min, max });
  }
  const countMax = Math.floor(Math.min(request.countMax, source.limits.pullCountMax, max - offset));
  const bytesMax = Math.min(request.bytesMax, source.limits.pullBytesMax);
  const plan = new Plan(source);
  let count = 0;
  while (count < countMax) {
    const wanted = Math.min(UNITS_AT_ONCE, countMax - count);
    const taken = plan.take(queue, queueOffset(offset + count), wanted, bytesMax);
    count += taken;
    if (taken < wanted) break;
  }
  const records = plan.run();
  checkRecords(records, queue, offset, count);
  return { records, count, nextOffset: queueOffset(offset + count), min, max };
}

/** Which reads bring the wanted records. */
class Plan {
  readonly #source: PullSource;
  readonly #reads: Read[] = [];
  #wantedBytes = 0;

  constructor(source: PullSource) {
    this.#source = source;
  }

  /** Adds the records of `count` units until `bytesMax` is reached. @returns how many. */
  take(queue: Queue, offset: QueueOffset, count: number, bytesMax: number): number {
    const units = queue.units.read(offset, count);
    for (let number = 0; number < count; number++) {
      const at = number * UNIT_BYTES;
      if (!isUint64Safe(units, at)) throw foreign(queue, offset + number);
      const start = unitPhysicalOffset(units, at) - RECORD_HEADER_BYTES;
      const size = unitSizeBytes(units, at) + RECORD_HEADER_BYTES;
      const { segmentSizeBytes } = this.#source;
      if (start < 0 || (start % segmentSizeBytes) + size > segmentSizeBytes) throw foreign(queue, offset + number);
      if (this.#wantedBytes > 0 && this.#wantedBytes + size > bytesMax) return number;
      this.#wantedBytes += size;
      this.#add(start, start + size);
    }
    return count;
  }

  /** Carries out the reads. */
  run(): Buffer {
    const only = this.#reads[0];
    if (only === undefined) return Buffer.alloc(0);
    if (this.#reads.length === 1 && only.stretches.length === 1) return this.#read(only);
    const records = Buffer.allocUnsafe(this.#wantedBytes);
    let filled = 0;
    for (const read of this.#reads) {
      const bytes = this.#read(read);
      for (const stretch of read.stretches) {
        filled += bytes.copy(records, filled, stretch.start - read.start, stretch.end - read.start);
      }
    }
    return records;
  }

  #add(start: number, end: number): void {
    const { segmentSizeBytes, limits } = this.#source;
    const read = this.#reads[this.#reads.length - 1];
    const isNear =
      read !== undefined &&
      start >= read.end &&
      start - read.end <= limits.readGapBytesMax &&
      end - read.start <= limits.readBytesMax &&
      Math.floor(start / segmentSizeBytes) === Math.floor(read.start / segmentSizeBytes);
    if (!isNear) {
      this.#reads.push({ start, end, stretches: [{ start, end }] });
      return;
    }
    const stretch = read.stretches[read.stretches.length - 1]!;
    if (stretch.end === start) stretch.end = end;
    else read.stretches.push({ start, end });
    read.end = end;
  }

  #read(read: Read): Buffer {
    const size = read.end - read.start;
    const bytes = this.#source.readLog(physicalOffset(read.start), size);
    if (bytes.length === size) return bytes;
    throw new TLedgerError('DATA_CORRUPTED', `the log at ${read.start} gave ${bytes.length} bytes instead of ${size}`);
  }
}

/** Each record must be the one its unit stands for, and whole; and nothing else may be there. */
function checkRecords(records: Buffer, queue: Queue, offset: QueueOffset, count: number): void {
  let at = 0;
  for (let number = 0; number < count; number++) {
    if (!isRecordWhole(records, at, records.length)) throw foreign(queue, offset + number);
    const end = at + sizeAt(records, at);
    const messageAt = at + RECORD_HEADER_BYTES;
    const isRight =
      magicAt(records, at) === recordMagic.message &&
      isBodyIntact(records, at) &&
      locateParts(records, messageAt, end, parts) &&
      isTopic(records, parts, queue.topic.nameBytes) &&
      records.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT) === queue.queueId &&
      isUint64Safe(records, messageAt + MESSAGE_QUEUE_OFFSET_AT) &&
      readUint64(records, messageAt + MESSAGE_QUEUE_OFFSET_AT) === offset + number;
    if (!isRight) throw foreign(queue, offset + number);
    at = end;
  }
  // A unit that gives too large a size brings what lies behind its record along.
  if (at !== records.length) throw foreign(queue, offset + count - 1);
}

function foreign(queue: Queue, offset: number): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `${queue}, offset ${offset}: the log holds something else there`);
}

function checkBound(value: number, what: string): void {
  if (value >= 1) return;
  throw new TLedgerError('INVALID_ARGUMENT', `a pull asks for at least one ${what}`);
}
