// Reads a segment record by record, as recovery must: every claim a record makes is checked, nothing is allocated per
// record, and the file is read in large pieces.
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import {
  bodyCrcAt,
  chainCrcAt,
  isBodyIntact,
  magicAt,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { logIndex, term } from '../raft/types.ts';
import type { LogTip } from './log_tip.ts';
import { FILLER_BYTES, type Segment } from './segment.ts';
import { headerFault } from './verify.ts';

/** Read in one call; restart time is bound by this and the checksums. */
const WINDOW_BYTES = 1024 * 1024;

/** Learns of each good record, in order. */
export type RecordVisitor = (index: number, term: number, position: number, sizeBytes: number) => void;

/** Why a scan ended. */
export interface ScanEnd {
  /** The last good record. */
  readonly tip: LogTip;
  /**
   * `filler`: the segment is closed; `blank`: zeros follow; `bad`: bytes that are no record of this log; `reached`: the
   * last record asked for.
   */
  readonly kind: 'filler' | 'blank' | 'bad' | 'reached';
  readonly reason: string;
}

/** A reusable window onto segment files. */
export class LogScanner {
  /** Made by the first scan: no larger than a segment. */
  #window = Buffer.alloc(0);
  #windowAt = 0;
  #windowEnd = 0;
  /** Record bytes checked so far. */
  bytesScanned = 0;

  /**
   * Scans from the end of `from`, which lies in `segment` (or just before it), to the end of the good records, or to
   * record `upTo`.
   */
  scan(segment: Segment, from: LogTip, visit: RecordVisitor, upTo = Number.POSITIVE_INFINITY): ScanEnd {
    this.#windowEnd = this.#windowAt = segment.start;
    const windowBytes = Math.min(WINDOW_BYTES, segment.end - segment.start);
    if (this.#window.length < windowBytes) this.#window = Buffer.allocUnsafeSlow(windowBytes);
    let index: number = from.index;
    let lastTerm: number = from.term;
    let chain = from.chainCrc;
    let start: number = from.start;
    let end: number = from.end;
    let at = Math.max(end, segment.start);
    const stop = (kind: ScanEnd['kind'], reason: string): ScanEnd => {
      const tip = {
        index: logIndex(index),
        term: term(lastTerm),
        chainCrc: chain,
        start: physicalOffset(start),
        end: physicalOffset(end),
      };
      return { tip, kind, reason };
    };
    for (;;) {
      if (index >= upTo) return stop('reached', 'no more was asked for');
      const room = segment.end - at;
      const offset = this.#load(segment, at, Math.min(RECORD_HEADER_BYTES, room));
      const window = this.#window;
      const magic = magicAt(window, offset);
      const size = sizeAt(window, offset);
      if (magic === recordMagic.filler && size === room) {
        return stop('filler', 'the segment is closed');
      }
      if (magic === 0 && size === 0) return stop('blank', 'no record');
      const fault = headerFault(window, offset, offset + room - FILLER_BYTES, index, lastTerm, chain);
      if (fault !== null) return stop('bad', fault);
      if (positionAt(window, offset) !== at) return stop('bad', 'wrong position');
      if (!this.#isBodyIntact(segment, at, size)) return stop('bad', 'the body does not match its checksum');
      const header = this.#load(segment, at, RECORD_HEADER_BYTES);
      index++;
      lastTerm = termAt(this.#window, header);
      chain = chainCrcAt(this.#window, header);
      start = at;
      at += size;
      end = at;
      this.bytesScanned += size;
      visit(index, lastTerm, start, size);
    }
  }

  #isBodyIntact(segment: Segment, at: number, size: number): boolean {
    if (size <= this.#window.length) return isBodyIntact(this.#window, this.#load(segment, at, size));
    const expected = bodyCrcAt(this.#window, this.#load(segment, at, RECORD_HEADER_BYTES));
    let crc = 0;
    for (let done = RECORD_HEADER_BYTES; done < size; ) {
      const piece = Math.min(this.#window.length, size - done);
      const offset = this.#load(segment, at + done, piece);
      crc = crc32(this.#window, offset, offset + piece, crc);
      done += piece;
    }
    return crc === expected;
  }

  /** Sees to it that `[at, at + count)` lies in the window; returns where in the window. */
  #load(segment: Segment, at: number, count: number): number {
    assert(count <= this.#window.length && at + count <= segment.end, 'a window lies within its segment');
    if (at < this.#windowAt || at + count > this.#windowEnd) {
      const length = Math.min(this.#window.length, segment.end - at);
      const read = segment.file.read(this.#window.subarray(0, length), at - segment.start);
      // A file caught before it grew to its full size reads as zeros where it has nothing.
      this.#window.fill(0, read, length);
      this.#windowAt = at;
      this.#windowEnd = at + length;
    }
    return at - this.#windowAt;
  }
}
