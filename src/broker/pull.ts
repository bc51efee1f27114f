// Reads committed messages of one queue. Units tell where the records lie; records that lie close together are read with
// one read, and what lay between them is left out of the result.
//
//   log   ..|A|B|a|A|A|......................|A|A|..      wanted: A
//   reads   [---------]                      [---]        gaps of some KiB are read along, larger ones skipped
//   result  |A|A|A|A|A|
//
// What is near the end of the log lies in memory and is answered at once. What is older comes from its files, in pieces of at
// most 256 KiB, without anybody waiting for it but the reader (../storage/cold_reads.ts).
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { isTopic, locateParts, newParts, type QueueOffset, queueOffset } from '../format/message.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import {
  chainCrcAt,
  chainCrcOf,
  isBodyIntact,
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
import type { ColdLog } from '../storage/cold_reads.ts';
import { UNIT_BYTES, unitPhysicalOffset, unitSizeBytes } from '../storage/consume_queue.ts';
import { type Damage, DamageError, damageOf } from '../storage/damage.ts';
import type { BrokerLimits } from './limits.ts';
import { OffsetOutOfRange } from './offset_out_of_range.ts';
import type { Queue } from './topics.ts';
import type { PullRequest, PullResult } from './types.ts';

/**
 * Reads `sizeBytes` of the log at `position`; asked only for ranges of one segment's size. The result is not changed.
 * @throws TLedgerError DATA_CORRUPTED when the log ends before.
 */
export type ReadLog = (position: PhysicalOffset, sizeBytes: number) => Buffer;

/** A part of the log that is read with one read. */
interface LogRange {
  readonly position: PhysicalOffset;
  readonly sizeBytes: number;
}

/** What bounds the reads of the log. */
export interface PullBounds {
  readonly segmentSizeBytes: number;
  readonly limits: BrokerLimits;
  /** What is wrong with the record at a position of the log; null when nothing is. */
  readonly damageAt?: ((position: PhysicalOffset) => Damage | null) | undefined;
}

/** Where the records come from. */
export interface PullSource extends PullBounds {
  readonly readLog: ReadLog;
}

const parts = newParts();

/** Units looked at in one go. */
const UNITS_AT_ONCE = 512;
/** Units so close to a queue's end were written a short while ago: reading them does not wait for the disk. */
const RECENT_UNITS = 16 * 1024;
/** One answer out of old data: what is checked at a time without anybody else getting a turn, about a millisecond. */
const COLD_COUNT_MAX = 1_024;
const COLD_BYTES_MAX = 256 * 1024;

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
  checkRequest(queue, request);
  try {
    const plan = planNow(queue, request, source);
    const found = plan.reads.map(({ position, sizeBytes }) => source.readLog(position, sizeBytes));
    return answer(queue, request, plan, plan.assemble(found));
  } catch (error) {
    throw explained(error, queue, request, source);
  }
}

/**
 * The same without blocking. What the log holds in memory is answered at once; old data in smaller pieces, which its
 * readers get in turn and at the pace that the log's end allows.
 * @param queueNow the queue asked for; it may be cut, and be another one, after a while.
 * @throws TLedgerError as `pull`, and what `ColdLog.read` throws.
 */
export async function read(
  queueNow: () => Queue,
  request: PullRequest,
  bounds: PullBounds,
  log: ColdLog,
): Promise<PullResult> {
  const queue = queueNow();
  checkRequest(queue, request);
  try {
    return readHeld(queue, request, bounds, log) ?? (await readCold(queue, request, bounds, log));
  } catch (error) {
    // What was there when reading began may have been cut off meanwhile.
    checkRequest(queueNow(), request);
    throw explained(error, queue, request, bounds);
  }
}

/** The answer out of memory; null when that does not hold all of it. */
function readHeld(queue: Queue, request: PullRequest, bounds: PullBounds, log: ColdLog): PullResult | null {
  if (queue.units.max - request.offset > RECENT_UNITS) return null;
  return answerHeld(queue, request, planNow(queue, request, bounds), log);
}

function answerHeld(queue: Queue, request: PullRequest, plan: Plan, log: ColdLog): PullResult | null {
  const found: Buffer[] = [];
  for (const { position, sizeBytes } of plan.reads) {
    const held = log.held(position, sizeBytes);
    if (held === null) return null;
    found.push(held);
  }
  return answer(queue, request, plan, plan.assemble(found), log);
}

async function readCold(queue: Queue, request: PullRequest, bounds: PullBounds, log: ColdLog): Promise<PullResult> {
  const { offset } = request;
  const count = Math.min(request.countMax, COLD_COUNT_MAX, bounds.limits.pullCountMax, queue.units.max - offset);
  const plan = new Plan(bounds, Math.min(request.bytesMax, COLD_BYTES_MAX, bounds.limits.pullBytesMax));
  const units = await log.within(() => queue.units.readAsync(offset, Math.floor(count)));
  plan.take(queue, offset, units);
  // Only its place had to be looked up.
  const held = answerHeld(queue, request, plan, log);
  if (held !== null) return held;
  const [first] = plan.reads;
  assert(first !== undefined, 'who wants nothing was answered out of memory');
  await log.pace(first.position, plan.wantedBytes);
  const records = plan.room();
  let filled = 0;
  for (const { position, sizeBytes } of plan.stretches()) {
    await log.fill(position, records.subarray(filled, filled + sizeBytes));
    filled += sizeBytes;
  }
  return { ...answer(queue, request, plan, records, log), isCold: true };
}

function checkRequest(queue: Queue, { offset, countMax, bytesMax }: PullRequest): void {
  const { min, max } = queue.units;
  checkBound(countMax, 'message');
  checkBound(bytesMax, 'byte');
  if (!Number.isSafeInteger(offset) || offset < min || offset > max) {
    throw new OffsetOutOfRange(queue.toString(), { offset, min, max });
  }
}

/** A plan out of units that are read at once. */
function planNow(queue: Queue, request: PullRequest, bounds: PullBounds): Plan {
  const { offset } = request;
  const countMax = Math.floor(Math.min(request.countMax, bounds.limits.pullCountMax, queue.units.max - offset));
  const plan = new Plan(bounds, Math.min(request.bytesMax, bounds.limits.pullBytesMax));
  while (plan.count < countMax && !plan.isFull) {
    const next = queueOffset(offset + plan.count);
    plan.take(queue, next, queue.units.read(next, Math.min(UNITS_AT_ONCE, countMax - plan.count)));
  }
  return plan;
}

function answer(queue: Queue, { offset }: PullRequest, plan: Plan, records: Buffer, log?: ColdLog): PullResult {
  checkRecords(records, queue, offset, plan.starts);
  const { count } = plan;
  const { min, max } = queue.units;
  const nextOffset = queueOffset(offset + count);
  const backlogBytes = log === undefined || nextOffset === max ? 0 : Math.max(0, log.endPosition - plan.end);
  return { records, count, nextOffset, min, max, backlogBytes, isCold: false };
}

/** Which reads bring the wanted records, up to so many bytes of them; the first one in any case. */
class Plan {
  readonly #bounds: PullBounds;
  readonly #bytesMax: number;
  readonly #reads: Read[] = [];
  readonly #starts: number[] = [];
  #wantedBytes = 0;
  #isFull = false;

  constructor(bounds: PullBounds, bytesMax: number) {
    this.#bounds = bounds;
    this.#bytesMax = bytesMax;
  }

  /** How many records are wanted. */
  get count(): number {
    return this.#starts.length;
  }

  /** Where each of them begins in the log. */
  get starts(): readonly number[] {
    return this.#starts;
  }

  get wantedBytes(): number {
    return this.#wantedBytes;
  }

  /** Whether a record was left out because of its size. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Where the last wanted record ends; 0 without one. */
  get end(): number {
    return this.#reads[this.#reads.length - 1]?.end ?? 0;
  }

  get reads(): readonly LogRange[] {
    return this.#reads.map(({ start, end }) => ({ position: physicalOffset(start), sizeBytes: end - start }));
  }

  /** What is wanted and nothing else. */
  *stretches(): Generator<LogRange, void, void> {
    for (const { stretches } of this.#reads) {
      for (const { start, end } of stretches) yield { position: physicalOffset(start), sizeBytes: end - start };
    }
  }

  /** Adds the records of the units from `offset` on, until they are too many bytes. */
  take(queue: Queue, offset: QueueOffset, units: Buffer): void {
    for (let at = 0; at < units.length; at += UNIT_BYTES) {
      const number = at / UNIT_BYTES;
      if (!isUint64Safe(units, at)) throw foreign(queue, offset + number);
      const start = unitPhysicalOffset(units, at) - RECORD_HEADER_BYTES;
      const size = unitSizeBytes(units, at) + RECORD_HEADER_BYTES;
      const { segmentSizeBytes } = this.#bounds;
      if (start < 0 || (start % segmentSizeBytes) + size > segmentSizeBytes) throw foreign(queue, offset + number);
      this.#isFull = this.#wantedBytes > 0 && this.#wantedBytes + size > this.#bytesMax;
      if (this.#isFull) return;
      this.#wantedBytes += size;
      this.#starts.push(start);
      this.#add(start, start + size);
    }
  }

  /** Memory for the wanted records. */
  room(): Buffer {
    return Buffer.allocUnsafeSlow(this.#wantedBytes);
  }

  /** The wanted records, out of what the reads brought. */
  assemble(found: readonly Buffer[]): Buffer {
    this.#reads.forEach(({ start, end }, number) => {
      const { length } = found[number]!;
      if (length === end - start) return;
      throw new TLedgerError('DATA_CORRUPTED', `the log at ${start} gave ${length} bytes instead of ${end - start}`);
    });
    if (this.#reads.length === 0) return Buffer.alloc(0);
    if (this.#reads.length === 1 && this.#reads[0]!.stretches.length === 1) return found[0]!;
    const records = Buffer.allocUnsafe(this.#wantedBytes);
    let filled = 0;
    this.#reads.forEach(({ start, stretches }, number) => {
      for (const stretch of stretches) {
        filled += found[number]!.copy(records, filled, stretch.start - start, stretch.end - start);
      }
    });
    return records;
  }

  #add(start: number, end: number): void {
    const { segmentSizeBytes, limits } = this.#bounds;
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
}

/** Each record must be the one its unit stands for, and whole; and nothing else may be there. */
function checkRecords(records: Buffer, queue: Queue, offset: QueueOffset, starts: readonly number[]): void {
  let at = 0;
  let before = -1;
  for (let number = 0; number < starts.length; number++) {
    const start = starts[number]!;
    if (!isRecordWhole(records, at, records.length)) throw foreign(queue, offset + number, start);
    const end = at + sizeAt(records, at);
    const messageAt = at + RECORD_HEADER_BYTES;
    const isRight =
      magicAt(records, at) === recordMagic.message &&
      !isParkedAt(records, at) &&
      isBodyIntact(records, at) &&
      positionAt(records, at) === start &&
      // Records that are neighbours in the log, too, must continue each other.
      (before < 0 || before + start - starts[number - 1]! !== at || continues(records, before, at)) &&
      locateParts(records, messageAt, end, parts) &&
      isTopic(records, parts, queue.topic.nameBytes) &&
      records.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT) === queue.queueId &&
      isUint64Safe(records, messageAt + MESSAGE_QUEUE_OFFSET_AT) &&
      readUint64(records, messageAt + MESSAGE_QUEUE_OFFSET_AT) === offset + number;
    if (!isRight) throw foreign(queue, offset + number, start);
    before = at;
    at = end;
  }
  // A unit that gives too large a size brings what lies behind its record along.
  if (at !== records.length) throw foreign(queue, offset + starts.length - 1, starts[starts.length - 1]);
}

/** Whether the record at `at` carries on the chain of the one at `before`. */
function continues(records: Buffer, before: number, at: number): boolean {
  return chainCrcOf(records, at, chainCrcAt(records, before)) === chainCrcAt(records, at);
}

/** An error that says what is damaged. A file of units that is missing, or a unit that leads out of the log: the queue. */
function explained(error: unknown, queue: Queue, { offset }: PullRequest, bounds: PullBounds): unknown {
  if (error instanceof Foreign) return error.explained(bounds);
  if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') return error;
  if (damageOf(error) !== null || bounds.damageAt === undefined) return error;
  const file = queue.units.fileOf(queueOffset(offset));
  return new DamageError({ kind: 'derived', file, what: 'consume queue', reason: error.message }, error);
}

/** A unit leads to something that is not its message: one of the two is damaged. */
class Foreign extends TLedgerError {
  readonly #queue: Queue;
  readonly #offset: number;
  readonly #start: number;

  /** @param start where the record should begin; -1: nowhere. */
  constructor(queue: Queue, offset: number, start: number) {
    super('DATA_CORRUPTED', `${queue}, offset ${offset}: the log holds something else there`);
    this.#queue = queue;
    this.#offset = offset;
    this.#start = start;
  }

  /** The same with what is damaged: the record, if it is; the unit, if not. */
  explained({ damageAt }: PullBounds): TLedgerError {
    if (damageAt === undefined) return this;
    const file = this.#queue.units.fileOf(queueOffset(this.#offset));
    const unit: Damage = { kind: 'derived', file, what: 'consume queue', reason: this.message };
    return new DamageError((this.#start < 0 ? null : damageAt(physicalOffset(this.#start))) ?? unit, this);
  }
}

function foreign(queue: Queue, offset: number, start = -1): Foreign {
  return new Foreign(queue, offset, start);
}

function checkBound(value: number, what: string): void {
  if (value >= 1) return;
  throw new TLedgerError('INVALID_ARGUMENT', `a pull asks for at least one ${what}`);
}
