// Reads a segment of the log record by record as log_scanner.ts does, but without blocking, at somebody's pace, and with
// every record handed out: for the scrubber, and for tools that look at the files of a stopped node. Where a record is
// damaged the walk ends; `findRecord` looks for the next one behind it.
import { messageOf, TLedgerError } from '../base/errors.ts';
import {
  chainCrcAt,
  chainCrcOf,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  magicAt,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import { type Pace, SCRUB_PIECE_BYTES } from './scrub_pace.ts';
import { FILLER_BYTES } from './segment.ts';

const ZEROS = Buffer.alloc(SCRUB_PIECE_BYTES);

/** The record before the next one. Behind damage its checksum is not known: `chainCrc` is null. */
export interface WalkTip extends Omit<LogTip, 'chainCrc'> {
  readonly chainCrc: number | null;
}

/** What is walked through. */
export interface WalkedSegment {
  readonly file: DiskFile;
  /** First position, and the one behind the last. */
  readonly start: number;
  readonly end: number;
}

/** Gets each good record: header at `at`, body behind it, all in `buffer`, which is reused. Positions grow. */
export type WalkVisitor = (buffer: Buffer, at: number, position: number) => void;

/** Where a walk ended. */
export interface WalkEnd {
  /** The last good record. */
  readonly tip: WalkTip;
  /** `filler`: the segment is closed; `limit`: the last index asked for; `blank`: zeros; `bad`: no record of this log. */
  readonly kind: 'filler' | 'limit' | 'blank' | 'bad';
  readonly reason: string;
  /** Where the next record should be. */
  readonly position: number;
  /** The bad record itself when only its body is damaged, so that the next walk can go on behind it; else null. */
  readonly behind: WalkTip | null;
}

/** How a walk goes. */
export interface WalkOptions {
  readonly pace: Pace;
  /** The last record looked at; without limit when undefined. */
  readonly upTo?: LogIndex;
  readonly visit: WalkVisitor;
  /** Called, and waited for, whenever a piece of at most `SCRUB_PIECE_BYTES` (or one larger record) has been visited. */
  readonly pieceDone?: (reached: WalkTip) => Promise<void>;
}

/** A reusable window onto one segment at a time. */
export class LogWalk {
  #window: Buffer = Buffer.allocUnsafeSlow(SCRUB_PIECE_BYTES);
  #windowAt = 0;
  #windowEnd = 0;
  readonly #pace: Pace;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /** Walks from the end of `from`, which lies in the segment or before it. @throws TLedgerError SHUTTING_DOWN */
  async walk(segment: WalkedSegment, from: WalkTip, options: Omit<WalkOptions, 'pace'>): Promise<WalkEnd> {
    this.#windowAt = this.#windowEnd = segment.start;
    let tip = from;
    let at = Math.max(from.end, segment.start);
    const stop = (kind: WalkEnd['kind'], reason: string, behind: WalkTip | null = null): WalkEnd => {
      return { tip, kind, reason, position: at, behind };
    };
    try {
      for (;;) {
        if (options.upTo !== undefined && tip.index >= options.upTo) return stop('limit', 'that is all');
        const room = segment.end - at;
        if (!this.#holds(at, Math.min(RECORD_HEADER_BYTES, room))) {
          await options.pieceDone?.(tip);
          await this.#load(segment, at, Math.min(RECORD_HEADER_BYTES, room));
        }
        const header = at - this.#windowAt;
        const kind = kindOf(this.#window, header, room);
        if (kind !== 'record') return stop(kind, kind === 'filler' ? 'the segment is closed' : 'no record');
        const fault = faultOf(this.#window, header, room, at, tip);
        if (fault !== null) return stop('bad', fault);
        const size = sizeAt(this.#window, header);
        if (!this.#holds(at, size)) {
          await options.pieceDone?.(tip);
          await this.#load(segment, at, size);
        }
        const start = at - this.#windowAt;
        const next = tipOf(this.#window, start, at);
        if (!isBodyIntact(this.#window, start)) return stop('bad', 'the body does not match its checksum', next);
        options.visit(this.#window, start, at);
        tip = next;
        at += size;
      }
    } catch (error) {
      // What the device cannot read is as bad as what it reads wrongly.
      if (!(error instanceof TLedgerError) || error.code !== 'STORAGE_FAILED') throw error;
      return stop('bad', messageOf(error));
    } finally {
      await options.pieceDone?.(tip);
    }
  }

  /**
   * Looks from `position` on, byte by byte, for a record behind damage: it must say that it lies where it lies, come
   * after `after`, and have an intact body. What lies between is not known, so neither is the chain before it.
   * @returns the record before it, as the start of the next walk; null when the segment has no more.
   */
  async findRecord(segment: WalkedSegment, position: number, after: WalkTip): Promise<WalkTip | null> {
    this.#windowAt = this.#windowEnd = segment.start;
    for (let at = position; at + RECORD_HEADER_BYTES + FILLER_BYTES <= segment.end; at++) {
      if (!this.#holds(at, RECORD_HEADER_BYTES)) {
        if (!(await this.#tryLoad(segment, at, RECORD_HEADER_BYTES))) {
          at = Math.min(segment.end, at + SCRUB_PIECE_BYTES) - 1;
          continue;
        }
      }
      const header = at - this.#windowAt;
      const window = this.#window;
      const rest = window.subarray(header, this.#windowEnd - this.#windowAt);
      if (header === 0 && rest.length <= ZEROS.length && rest.equals(ZEROS.subarray(0, rest.length))) {
        // What was never written is most of a last segment.
        at = Math.max(at, this.#windowEnd - RECORD_HEADER_BYTES);
        continue;
      }
      if (window[header] !== 0 || window[header + 1] !== 0 || window[header + 2] !== 0) continue;
      if (!isRecordWhole(window, header, header + segment.end - at - FILLER_BYTES)) continue;
      if (positionAt(window, header) !== at || indexAt(window, header) <= after.index) continue;
      if (termAt(window, header) < after.term) continue;
      const size = sizeAt(window, header);
      if (!this.#holds(at, size) && !(await this.#tryLoad(segment, at, size))) continue;
      const start = at - this.#windowAt;
      if (!isBodyIntact(this.#window, start)) continue;
      const index = logIndex(indexAt(this.#window, start) - 1);
      return { index, term: after.term, chainCrc: null, start: after.start, end: at as LogTip['end'] };
    }
    return null;
  }

  #holds(at: number, count: number): boolean {
    return at >= this.#windowAt && at + count <= this.#windowEnd;
  }

  async #tryLoad(segment: WalkedSegment, at: number, count: number): Promise<boolean> {
    try {
      await this.#load(segment, at, count);
      return true;
    } catch (error) {
      if (error instanceof TLedgerError && error.code === 'STORAGE_FAILED') return false;
      throw error;
    }
  }

  /** Sees to it that `[at, at + count)` lies in the window, which begins at `at` then; what it holds of it is kept. */
  async #load(segment: WalkedSegment, at: number, count: number): Promise<void> {
    const wanted = Math.max(count, Math.min(SCRUB_PIECE_BYTES, segment.end - at));
    const isNear = at >= this.#windowAt && at <= this.#windowEnd;
    const old = this.#window.subarray(isNear ? at - this.#windowAt : 0, isNear ? this.#windowEnd - this.#windowAt : 0);
    const isFitting =
      wanted <= this.#window.length && (this.#window.length === SCRUB_PIECE_BYTES || wanted > SCRUB_PIECE_BYTES);
    const window = isFitting ? this.#window : Buffer.allocUnsafeSlow(Math.max(wanted, SCRUB_PIECE_BYTES));
    const held = old.copy(window, 0, 0, wanted);
    this.#window = window;
    // Only what was read counts: a failure in between leaves nothing behind.
    this.#windowAt = this.#windowEnd = at;
    await this.#pace.take(wanted - held);
    this.#windowEnd = at + held + (await readMost(segment, window.subarray(held, wanted), at + held, count - held));
  }
}

/**
 * Fills `target`; what lies behind the end of the file (caught before it grew to its full size) counts as zeros. If the
 * device cannot read all of it, the first `count` bytes, so that what lies before the bad place is not blamed for it.
 */
async function readMost({ file, start }: WalkedSegment, target: Buffer, at: number, count: number): Promise<number> {
  try {
    target.fill(0, await file.readAsync(target, at - start));
    return target.length;
  } catch (error) {
    if (count >= target.length) throw error;
    const needed = target.subarray(0, count);
    needed.fill(0, await file.readAsync(needed, at - start));
    return count;
  }
}

function kindOf(window: Buffer, at: number, room: number): 'filler' | 'blank' | 'record' {
  const magic = magicAt(window, at);
  const size = sizeAt(window, at);
  if (magic === recordMagic.filler && size === room) return 'filler';
  return magic === 0 && size === 0 ? 'blank' : 'record';
}

/** What is wrong with the header as the successor of `tip`, or null. */
function faultOf(window: Buffer, at: number, room: number, position: number, tip: WalkTip): string | null {
  if (room < RECORD_HEADER_BYTES + FILLER_BYTES || !isRecordWhole(window, at, at + room - FILLER_BYTES)) {
    return 'no whole record';
  }
  if (indexAt(window, at) !== tip.index + 1) return 'wrong index';
  if (termAt(window, at) < tip.term) return 'the term falls';
  if (tip.chainCrc !== null && chainCrcAt(window, at) !== chainCrcOf(window, at, tip.chainCrc)) {
    return 'the chain is broken';
  }
  return positionAt(window, at) === position ? null : 'wrong position';
}

function tipOf(window: Buffer, at: number, position: number): WalkTip {
  return {
    index: indexAt(window, at),
    term: termAt(window, at),
    chainCrc: chainCrcAt(window, at),
    start: position as LogTip['start'],
    end: (position + sizeAt(window, at)) as LogTip['end'],
  };
}
