// Appending to the log: records are sealed, written to the tail segment and to the log index, and kept in the tail's
// cache; a full segment is closed and the next one made.
import { assert } from '../base/assert.ts';
import {
  chainCrcAt,
  flagsAt,
  type PhysicalOffset,
  physicalOffset,
  sealRecord,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';
import { checkBlank } from './append_check.ts';
import type { LogFlusher } from './log_flusher.ts';
import type { LogParts } from './log_reader.ts';
import { FILLER_BYTES, writeFiller } from './segment.ts';

/** Owned by CommitLog. */
export class LogAppender {
  readonly #parts: LogParts;
  readonly #flusher: LogFlusher;
  /** Ascending; what has been flushed or cut off since is forgotten when it is looked at. */
  readonly #flushFirst: LogIndex[] = [];
  /** Reused for every record, so that sealing allocates nothing. */
  readonly #place = { index: logIndex(0), term: term(0), position: physicalOffset(0), prevChain: 0 };

  constructor(parts: LogParts, flusher: LogFlusher) {
    this.#parts = parts;
    this.#flusher = flusher;
  }

  /** The first record not flushed yet that must be before anybody hears of it; null if there is none. */
  get firstToFlush(): LogIndex | null {
    const all = this.#flushFirst;
    if (all.length === 0) return null;
    const flushed = this.#flusher.flushed.index;
    const last = this.#parts.tip.index;
    const open = all.findIndex((index) => index > flushed);
    all.splice(0, open < 0 ? all.length : open);
    while (all.length > 0 && all.at(-1)! > last) all.pop();
    return all[0] ?? null;
  }

  /** Those at or behind it were cut off. */
  #noteFlushFirst(index: LogIndex): void {
    const all = this.#flushFirst;
    while (all.length > 0 && all.at(-1)! >= index) all.pop();
    all.push(index);
  }

  /** Writes the records in `buffer[start, end)`, sealing them when `ofTerm` is given; a failure is final for the log. */
  append(buffer: Buffer, start: number, end: number, ofTerm: Term | null): void {
    this.#flusher.guard(() => {
      for (let from = start; ; ) {
        from = this.#appendPart(buffer, from, end, ofTerm);
        if (from === end) return;
        this.#roll();
      }
    });
  }

  /** Writes the records that fit into the tail segment; returns where the first one begins that does not. */
  #appendPart(buffer: Buffer, start: number, end: number, ofTerm: Term | null): number {
    const { segments, index: files, cache, runs, tip: previous } = this.#parts;
    const segment = segments.tail;
    const base = Math.max(previous.end, segment.start);
    const place = this.#place;
    let index: number = previous.index;
    let chain = previous.chainCrc;
    let lastTerm: number = previous.term;
    let at = start;
    let lastAt = start;
    while (at < end) {
      const size = sizeAt(buffer, at);
      const position = base + at - start;
      if (position + size + FILLER_BYTES > segment.end) break;
      index++;
      if (ofTerm !== null) {
        checkBlank(buffer, at, end);
        place.index = index as LogIndex;
        place.term = ofTerm;
        place.position = position as PhysicalOffset;
        place.prevChain = chain;
        chain = sealRecord(buffer, at, place);
        lastTerm = ofTerm;
      } else {
        chain = chainCrcAt(buffer, at);
        lastTerm = termAt(buffer, at);
      }
      if ((flagsAt(buffer, at) & recordFlag.flushFirst) !== 0) this.#noteFlushFirst(index as LogIndex);
      runs.extend(index, lastTerm);
      files.stage(index, position, size, lastTerm);
      lastAt = at;
      at += size;
    }
    if (at === start) return at;
    segment.file.write(buffer.subarray(start, at), base - segment.start);
    files.write();
    this.#parts.tip = {
      index: index as LogIndex,
      term: lastTerm as Term,
      chainCrc: chain,
      start: (base + lastAt - start) as PhysicalOffset,
      end: (base + at - start) as PhysicalOffset,
    };
    cache.push({
      buffer,
      start,
      end: at,
      firstIndex: (previous.index + 1) as LogIndex,
      position: base as PhysicalOffset,
      previous,
      last: this.#parts.tip,
    });
    return at;
  }

  /** Closes the tail segment: all of it is durable before the next one is made. */
  #roll(): void {
    const { segments, tip } = this.#parts;
    assert(tip.end > segments.tail.start, () => `a record exceeds ${segments.sizeBytes - FILLER_BYTES} bytes`);
    writeFiller(segments.tail, tip.end);
    this.#flusher.flushTailNow();
    segments.add(logIndex(tip.index + 1));
  }
}
