// Reading the log: from the tail cache where it reaches, otherwise from the files. Records that are read as records are
// verified again before they leave: a bit that flipped on this disk must not spread to the group.
import { assert } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import {
  chainCrcAt,
  chainCrcOf,
  indexAt,
  isRecordWhole,
  type PhysicalOffset,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  sizeAt,
} from '../format/record.ts';
import { type LogIndex, logIndex, type Term } from '../raft/types.ts';
import { type Damage, DamageError, damageOf } from './damage.ts';
import type { LogBase } from './log_base.ts';
import type { IndexUnit, LogIndexFiles } from './log_index.ts';
import type { LogTip } from './log_tip.ts';
import { rebuildUnits } from './recovery.ts';
import type { Segments } from './segment.ts';
import type { CachedBatch, TailCache } from './tail_cache.ts';
import type { TermRuns } from './term_runs.ts';
import { offsetOfRecord, verifyRecords } from './verify.ts';

/** The rest of a cached batch is sent as it is if it has this size; smaller ones are gathered, which a copy is cheap for. */
const ZERO_COPY_BYTES_MIN = 32 * 1024;

/** Records back to back, `buffer[start, end)`, with what identifies the log before them. */
export interface RecordRange {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly prevChain: number;
}

/** Where a record lies. */
export interface RecordPlace {
  readonly position: PhysicalOffset;
  readonly sizeBytes: number;
}

/** The parts of an open log. `tip` moves; everything else stays. */
export interface LogParts {
  readonly base: LogBase;
  readonly segments: Segments;
  readonly index: LogIndexFiles;
  readonly cache: TailCache;
  readonly runs: TermRuns;
  tip: LogTip;
}

/** Answers questions about the records behind the base up to the tip. Asking for others is a broken invariant. */
export class LogReader {
  readonly #parts: LogParts;

  constructor(parts: LogParts) {
    this.#parts = parts;
  }

  termAt(index: LogIndex): Term {
    this.#checkOrBase(index);
    return this.#parts.runs.at(index);
  }

  chainAt(index: LogIndex): number {
    this.#checkOrBase(index);
    const { base, tip, cache } = this.#parts;
    if (index === tip.index) return tip.chainCrc;
    if (index === base.tip.index) return base.tip.chainCrc;
    const batch = cache.get(cache.find(index));
    if (batch !== undefined) return chainCrcAt(batch.buffer, offsetIn(batch, index));
    // A header continues the checksum of the one before it, so that the two vouch for each other. It goes out to the
    // other members, who would take a damaged one for damage of their own.
    const header = this.#header(index);
    const before = logIndex(index - 1);
    const previous = before === base.tip.index ? base.tip.chainCrc : chainCrcAt(this.#header(before), 0);
    if (chainCrcOf(header, 0, previous) !== chainCrcAt(header, 0)) {
      throw this.#corrupted(index, positionAt(header, 0), 'the chain is broken');
    }
    return chainCrcAt(header, 0);
  }

  locate(index: LogIndex): RecordPlace {
    this.#check(index);
    const { cache } = this.#parts;
    const batch = cache.get(cache.find(index));
    if (batch === undefined) return this.#unit(index);
    const at = offsetIn(batch, index);
    return { position: positionAt(batch.buffer, at), sizeBytes: sizeAt(batch.buffer, at) };
  }

  segmentOf(index: LogIndex): { readonly firstIndex: LogIndex; readonly lastIndex: LogIndex } {
    const { segments, tip } = this.#parts;
    const number = segments.numberAt(this.locate(index).position);
    const next = segments.get(number + 1);
    return {
      firstIndex: segments.get(number)!.firstIndex,
      lastIndex: next === undefined ? tip.index : logIndex(next.firstIndex - 1),
    };
  }

  /** The place of a record as a tip, i.e. with what identifies the log up to it: others build on it, so it is verified. */
  tipAt(index: LogIndex): LogTip {
    this.#checkOrBase(index);
    const { base } = this.#parts;
    if (index === base.tip.index) return base.tip;
    const { buffer, start } = this.read(index, index);
    const position = positionAt(buffer, start);
    const end = physicalOffset(position + sizeAt(buffer, start));
    return { index, term: this.termAt(index), chainCrc: chainCrcAt(buffer, start), start: position, end };
  }

  fit(firstIndex: LogIndex, bytesMax: number): { lastIndex: LogIndex; sizeBytes: number } {
    this.#check(firstIndex);
    const number = this.#parts.cache.find(firstIndex);
    return number >= 0 ? this.#fitCached(number, firstIndex, bytesMax) : this.#fitFiled(firstIndex, bytesMax);
  }

  read(firstIndex: LogIndex, lastIndex: LogIndex): RecordRange {
    this.#check(firstIndex);
    this.#checkFrom(firstIndex, lastIndex);
    const { cache } = this.#parts;
    const number = cache.find(firstIndex);
    if (number < 0) return this.#readFiled(firstIndex, lastIndex);
    const batch = cache.get(number)!;
    if (batch.firstIndex === firstIndex && batch.last.index === lastIndex) {
      const { buffer, start, end, previous } = batch;
      return { buffer, start, end, prevIndex: previous.index, prevTerm: previous.term, prevChain: previous.chainCrc };
    }
    return this.#readCached(number, firstIndex, lastIndex);
  }

  readAt(position: PhysicalOffset, sizeBytes: number): Buffer {
    const { cache, tip, segments } = this.#parts;
    if (position + sizeBytes > tip.end) throw outside(position, sizeBytes, "lie behind the log's end");
    if (position < segments.start) throw outside(position, sizeBytes, "lie before the log's beginning");
    const held = cache.bytesAt(position, sizeBytes);
    if (held !== null) return held;
    if (position + sizeBytes > segments.at(position).end) throw outside(position, sizeBytes, 'lie in two segments');
    const bytes = Buffer.allocUnsafe(sizeBytes);
    this.#readFile(bytes, position, segments.at(position).firstIndex);
    return bytes;
  }

  /** See `CommitLog.damageAt`. */
  damageAt(position: PhysicalOffset): Damage | null {
    try {
      const { base, tip } = this.#parts;
      let low = base.tip.index + 1;
      let high: number = tip.index;
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (this.locate(logIndex(middle)).position <= position) low = middle;
        else high = middle - 1;
      }
      if (low > tip.index || this.locate(logIndex(low)).position !== position) return null;
      this.#readFiled(logIndex(low), logIndex(low));
      return null;
    } catch (error) {
      const damage = damageOf(error);
      if (damage === null) throw error;
      return damage;
    }
  }

  /** All that fits, batch by batch; or what is left of the first one when that is enough to be sent without copying. */
  #fitCached(number: number, firstIndex: LogIndex, bytesMax: number): { lastIndex: LogIndex; sizeBytes: number } {
    const { cache } = this.#parts;
    let batch = cache.get(number)!;
    let at = offsetIn(batch, firstIndex);
    let sizeBytes = batch.end - at;
    if (sizeBytes >= ZERO_COPY_BYTES_MIN && sizeBytes <= bytesMax) {
      return { lastIndex: batch.last.index, sizeBytes };
    }
    let lastIndex: number = batch.last.index;
    for (let next = number + 1; sizeBytes <= bytesMax; next++) {
      const following = cache.get(next);
      if (following === undefined) return { lastIndex: logIndex(lastIndex), sizeBytes };
      batch = following;
      at = batch.start;
      lastIndex = batch.last.index;
      sizeBytes += batch.end - at;
    }
    // The last batch is too much: take its records one by one.
    sizeBytes -= batch.end - at;
    let index = batch.firstIndex > firstIndex ? batch.firstIndex : firstIndex;
    while (at < batch.end && (index === firstIndex || sizeBytes + sizeAt(batch.buffer, at) <= bytesMax)) {
      sizeBytes += sizeAt(batch.buffer, at);
      at += sizeAt(batch.buffer, at);
      index = logIndex(index + 1);
    }
    return { lastIndex: logIndex(index - 1), sizeBytes };
  }

  #fitFiled(firstIndex: LogIndex, bytesMax: number): { lastIndex: LogIndex; sizeBytes: number } {
    const { segments, tip } = this.#parts;
    let sizeBytes = 0;
    let first: number = firstIndex;
    for (;;) {
      const { position } = this.locate(logIndex(first));
      const following = segments.get(segments.numberAt(position) + 1);
      const lastInSegment = following === undefined ? tip.index : following.firstIndex - 1;
      // Largest `inside` with all of first … inside within the bytes; the very first record is taken in any case.
      let inside = first === firstIndex ? first : first - 1;
      let outside = lastInSegment + 1;
      while (outside - inside > 1) {
        const middle = Math.floor((inside + outside) / 2);
        if (sizeBytes + this.#endOf(middle) - position <= bytesMax) inside = middle;
        else outside = middle;
      }
      if (inside >= first) sizeBytes += this.#endOf(inside) - position;
      if (inside < lastInSegment || following === undefined || inside === tip.index) {
        return { lastIndex: logIndex(inside), sizeBytes };
      }
      first = inside + 1;
    }
  }

  #endOf(index: number): number {
    const { position, sizeBytes } = this.locate(logIndex(index));
    return position + sizeBytes;
  }

  #readCached(number: number, firstIndex: LogIndex, lastIndex: LogIndex): RecordRange {
    const { cache } = this.#parts;
    const pieces: Buffer[] = [];
    for (let next = number; ; next++) {
      const batch = cache.get(next)!;
      const from = firstIndex > batch.firstIndex ? offsetIn(batch, firstIndex) : batch.start;
      const isLast = lastIndex <= batch.last.index;
      const to = isLast ? offsetOfRecord(batch.buffer, batch.start, batch.end, logIndex(lastIndex + 1)) : batch.end;
      pieces.push(batch.buffer.subarray(from, to));
      if (isLast) break;
    }
    return this.#range(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), firstIndex);
  }

  #readFiled(firstIndex: LogIndex, lastIndex: LogIndex): RecordRange {
    const { segments } = this.#parts;
    const from = this.locate(firstIndex).position;
    const to = this.#endOf(lastIndex);
    const extents: { position: number; sizeBytes: number }[] = [];
    for (let number = segments.numberAt(from); number <= segments.numberAt(to - 1); number++) {
      const segment = segments.get(number)!;
      const following = segments.get(number + 1);
      const isLast = to <= segment.end;
      const end = isLast ? to : this.#endOf(following!.firstIndex - 1);
      const position = Math.max(from, segment.start);
      extents.push({ position, sizeBytes: end - position });
    }
    const sizeBytes = extents.reduce((sum, extent) => sum + extent.sizeBytes, 0);
    const buffer = Buffer.allocUnsafeSlow(sizeBytes);
    let at = 0;
    for (const extent of extents) {
      this.#readFile(buffer.subarray(at, at + extent.sizeBytes), physicalOffset(extent.position), firstIndex);
      at += extent.sizeBytes;
    }
    const range = this.#range(buffer, firstIndex);
    this.#verify(range, from, lastIndex);
    return range;
  }

  #range(buffer: Buffer, firstIndex: LogIndex): RecordRange {
    const prevIndex = logIndex(firstIndex - 1);
    const prevTerm = this.termAt(prevIndex);
    const prevChain = this.chainAt(prevIndex);
    return { buffer, start: 0, end: buffer.length, prevIndex, prevTerm, prevChain };
  }

  #verify(range: RecordRange, position: PhysicalOffset, lastIndex: LogIndex): void {
    let reason = 'wrong records';
    try {
      const { buffer, start, end } = range;
      if (verifyRecords(buffer, start, end, range).lastIndex === lastIndex) return;
    } catch (error) {
      if (!(error instanceof TLedgerError)) throw error;
      reason = messageOf(error);
    }
    throw this.#corrupted(logIndex(range.prevIndex + 1), position, reason);
  }

  #unit(index: LogIndex): IndexUnit {
    const files = this.#parts.index;
    const unit = files.get(index);
    if (unit !== null) return unit;
    this.#rebuildUnits(index);
    const rebuilt = files.get(index);
    assert(rebuilt !== null, 'a rebuilt log index holds every record');
    return rebuilt;
  }

  /**
   * Makes the units of the segment with record `index` anew. That takes the record before the segment, whose unit may be
   * bad, too: then it begins a segment earlier.
   */
  #rebuildUnits(index: LogIndex): void {
    const { segments, index: files, tip } = this.#parts;
    let last = segments.count - 1;
    while (segments.get(last)!.firstIndex > index) last--;
    let first = last;
    while (first > 0 && files.get(logIndex(segments.get(first)!.firstIndex - 1)) === null) first--;
    for (let number = first; number <= last; number++) {
      const { firstIndex } = segments.get(number)!;
      rebuildUnits(this.#parts, number, this.tipAt(logIndex(firstIndex - 1)), tip);
    }
  }

  #header(index: LogIndex): Buffer {
    const { position, sizeBytes } = this.locate(index);
    const header = Buffer.allocUnsafe(RECORD_HEADER_BYTES);
    this.#readFile(header, position, index);
    const isIt =
      isRecordWhole(header, 0, sizeBytes) && indexAt(header, 0) === index && positionAt(header, 0) === position;
    if (!isIt) throw this.#corrupted(index, position, 'no such record');
    return header;
  }

  /** @param near the first record that may be missing where the file is too short. */
  #readFile(target: Buffer, position: PhysicalOffset, near: LogIndex): void {
    const segment = this.#parts.segments.at(position);
    const count = segment.file.read(target, position - segment.start);
    if (count !== target.length) throw this.#corrupted(near, position, 'the file is too short');
  }

  /** At `index` or after. */
  #corrupted(index: LogIndex, position: PhysicalOffset, reason: string): TLedgerError {
    const { path } = this.#parts.segments.at(position).file;
    return new DamageError({ kind: 'log', file: path, position, index, reason });
  }

  #check(index: LogIndex): void {
    this.#checkFrom(this.#parts.base.tip.index + 1, index);
  }

  #checkOrBase(index: LogIndex): void {
    this.#checkFrom(this.#parts.base.tip.index, index);
  }

  #checkFrom(min: number, index: LogIndex): void {
    const max = this.#parts.tip.index;
    assert(index >= min && index <= max, () => `record ${index} is outside the log ${min}..${max}`);
  }
}

function outside(position: number, sizeBytes: number, how: string): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `${sizeBytes} bytes at position ${position} ${how}`);
}

function offsetIn(batch: CachedBatch, index: LogIndex): number {
  return index === batch.firstIndex ? batch.start : offsetOfRecord(batch.buffer, batch.start, batch.end, index);
}
