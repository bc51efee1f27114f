// What a log is after a restart, whatever happened before: found by scanning from the checkpoint to the end.
//
//   base         mark           flushed                 end
//   |-- trusted --|-- verified --|-- verified or cut ---|.. zeroed ..
//
// Everything up to the base was durable before the base was: a checkpoint that says less is raised to it. The base itself
// is not held any more; the first record continues its chain.
// Up to `flushed` this replica may have vouched for the records, so a bad one there is corruption and recovery refuses.
// Beyond it a bad record is a torn tail and is cut, whatever lies behind it: the sectors of unflushed writes reach the
// device in any order. If nobody knows what was flushed, only the last segment can have a torn tail, since a segment
// is flushed before the next one is made. Recovery only repeats itself if it is interrupted.
import type { TLedgerError } from '../base/errors.ts';
import {
  chainCrcAt,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { Checkpoint, Marks } from './checkpoint.ts';
import { DamageError } from './damage.ts';
import type { LogBase } from './log_base.ts';
import type { LogIndexFiles } from './log_index.ts';
import { LogScanner, type ScanEnd } from './log_scanner.ts';
import { type LogTip, later } from './log_tip.ts';
import type { Segment, Segments } from './segment.ts';
import { TermRuns } from './term_runs.ts';

/** Units gathered before they are written to the log index. */
const STAGED_UNITS_MAX = 32 * 1024;
const REWRITE_PIECE_BYTES = 1024 * 1024;

/** What recovery did. */
export interface RecoveryReport {
  /** Records verified, the ones before the checkpoint not included. */
  readonly recordsScanned: number;
  readonly bytesScanned: number;
  /** Bytes cut off as a torn tail: from the last good record to the last byte that was not zero. */
  readonly bytesCut: number;
  readonly segments: number;
  /** Index of the record after which the scan began; the base when the whole log was scanned. */
  readonly scannedAfter: LogIndex;
  /** The log index was missing or damaged and was made anew from the log. */
  readonly indexRebuilt: boolean;
}

/** The log that recovery found, all of it durable. */
export interface RecoveredLog {
  readonly tip: LogTip;
  readonly runs: TermRuns;
  readonly report: RecoveryReport;
}

interface Parts {
  readonly base: LogBase;
  readonly segments: Segments;
  readonly index: LogIndexFiles;
  readonly checkpoint: Checkpoint;
}

/**
 * Brings base, segments, log index and checkpoint into agreement. When it returns, everything it kept is durable. Behind
 * a fresh base, segments and index were emptied before.
 * @throws TLedgerError DATA_CORRUPTED naming file, position and index when a record that was vouched for is damaged or
 * missing; STORAGE_FAILED.
 */
export function recoverLog({ base, segments, index, checkpoint }: Parts): RecoveredLog {
  // A fresh base was saved before the checkpoint was lowered to it: that may still speak of what is gone.
  const known = base.isFresh ? { flushed: base.tip, mark: base.tip } : checkpoint.loaded;
  const flushed = later(known?.flushed ?? base.tip, base.tip);
  const mark = later(known?.mark ?? base.tip, base.tip);
  for (const tip of [mark, flushed]) if (tip.index > base.tip.index) checkTip(segments, tip);
  const trusted = trustedRuns(segments, index, base.tip, mark);
  const from = trusted === null ? base.tip : mark;
  const runs = trusted ?? new TermRuns(base.tip.term);
  if (trusted === null) index.truncateAfter(base.tip.index);

  const scanner = new LogScanner();
  const tip = scanAll(segments, scanner, { from, flushed, runs, index, strict: known === null });
  const bytesCut = cut(segments, tip);
  rewrite(segments, known === null ? segments.tail.start : flushed.end, tip);
  index.truncateAfter(tip.index);
  index.flushNow();
  saveMarks({ base, checkpoint }, { flushed: tip, mark: tip });
  return {
    tip,
    runs,
    report: {
      recordsScanned: tip.index - from.index,
      bytesScanned: scanner.bytesScanned,
      bytesCut,
      segments: segments.count,
      scannedAfter: from.index,
      indexRebuilt: trusted === null && mark.index > base.tip.index,
    },
  };
}

function saveMarks({ base, checkpoint }: Pick<Parts, 'base' | 'checkpoint'>, marks: Marks): void {
  if (base.isFresh) checkpoint.lower(marks);
  else checkpoint.save(marks);
  base.settle();
}

/**
 * Writes the log index of the records in segment `number` anew, in their places. What other segments' units say is left
 * alone, and nothing is removed that a checkpoint says was flushed: good units are written as they were, and the next
 * checkpoint flushes them again.
 * @param before the last record of the segment before.
 * @param tip the last record of the log.
 * @throws TLedgerError DATA_CORRUPTED when the log itself is damaged.
 */
export function rebuildUnits(
  parts: { readonly segments: Segments; readonly index: LogIndexFiles },
  number: number,
  before: LogTip,
  tip: LogTip,
): void {
  const { segments, index } = parts;
  const segment = segments.get(number)!;
  index.unstage();
  const lastIndex = number === segments.count - 1 ? tip.index : segments.get(number + 1)!.firstIndex - 1;
  const end = new LogScanner().scan(segment, before, (at, term, position, sizeBytes) => {
    if (at > lastIndex) return;
    index.stage(at, position, sizeBytes, term);
    if (index.stagedCount >= STAGED_UNITS_MAX) index.write();
  });
  index.write();
  if (end.tip.index < lastIndex) throw damaged(segment, end);
}

/**
 * Scans the segments from `from` on; returns the last good record, or throws at the first sign of corruption: a bad
 * record up to `flushed`, and with `strict` one in any segment but the last.
 */
function scanAll(
  segments: Segments,
  scanner: LogScanner,
  options: { from: LogTip; flushed: LogTip; runs: TermRuns; index: LogIndexFiles; strict: boolean },
): LogTip {
  const { from, flushed, runs, index, strict } = options;
  let tip = from;
  const visit = (at: number, term: number, position: number, sizeBytes: number): void => {
    runs.extend(at, term);
    index.stage(at, position, sizeBytes, term);
    if (index.stagedCount >= STAGED_UNITS_MAX) index.write();
  };
  for (let number = Math.max(0, segments.numberAt(from.end)); number < segments.count; number++) {
    const segment = segments.get(number)!;
    segment.firstIndex = tip.end > segment.start ? segment.firstIndex : logIndex(tip.index + 1);
    const end = scanner.scan(segment, tip, visit);
    tip = end.tip;
    const isLast = number === segments.count - 1;
    if (end.kind === 'filler' && !isLast) continue;
    if (tip.index < flushed.index || (strict && !isLast)) throw damaged(segment, end);
    break;
  }
  index.write();
  return tip;
}

/** Removes what lies behind the last good record: segments, the filler before them, a torn tail. Returns its bytes. */
function cut(segments: Segments, tip: LogTip): number {
  let bytes = 0;
  while (segments.count > 1 && segments.tail.start >= tip.end) {
    bytes += usedBytes(segments.tail, segments.tail.start);
    segments.removeTail();
  }
  bytes += usedBytes(segments.tail, Math.max(tip.end, segments.tail.start));
  // Also when nothing seems to be there: sectors of a lost write may lie anywhere behind the end.
  segments.clearAfter(tip.end);
  segments.checkSizes();
  return bytes;
}

/**
 * Writes and flushes again what was found from `from` on. After a failed flush the page cache may show bytes that it
 * believes to be on the device though they are not; only writing them makes the next flush carry them. That may concern
 * more than the tail: a segment can be closed while the flush over it is still to fail.
 */
export function rewrite(segments: Segments, from: number, tip: LogTip): void {
  const buffer = Buffer.allocUnsafe(Math.min(REWRITE_PIECE_BYTES, segments.sizeBytes));
  for (let number = Math.max(0, segments.numberAt(from)); number < segments.count; number++) {
    const { start, end, file } = segments.get(number)!;
    const to = number === segments.count - 1 ? tip.end : end;
    for (let at = Math.max(from, start); at < to; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, to - at));
      file.read(piece, at - start);
      file.write(piece, at - start);
    }
    file.flushNow();
  }
}

/** A record that the checkpoint names must be where it says; its chainCrc then stands for the whole log before it. */
function checkTip(segments: Segments, tip: LogTip): void {
  const segment = segments.at(tip.start);
  const bytes = Buffer.alloc(tip.end - tip.start);
  segment.file.read(bytes, tip.start - segment.start);
  const isIt =
    isRecordWhole(bytes, 0, bytes.length) &&
    sizeAt(bytes, 0) === bytes.length &&
    indexAt(bytes, 0) === tip.index &&
    termAt(bytes, 0) === tip.term &&
    positionAt(bytes, 0) === tip.start &&
    chainCrcAt(bytes, 0) === tip.chainCrc &&
    isBodyIntact(bytes, 0);
  if (isIt) return;
  const reason = 'it was flushed there, and is not what it was';
  throw new DamageError({ kind: 'log', file: segment.file.path, position: tip.start, index: tip.index, reason });
}

/**
 * The terms of the records behind `base` up to `mark`, taken from the log index, with each segment's first index; null when the
 * index can't be trusted, so that everything has to be scanned.
 */
function trustedRuns(segments: Segments, index: LogIndexFiles, base: LogTip, mark: LogTip): TermRuns | null {
  if (mark.index === base.index) return new TermRuns(base.term);
  const unit = index.get(mark.index);
  if (unit === null || unit.position !== mark.start || unit.term !== mark.term) return null;
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  for (let number = 0; number <= segments.numberAt(mark.start); number++) {
    const segment = segments.get(number)!;
    if (segment.file.read(header, 0) !== header.length || !isRecordWhole(header, 0, segment.end - segment.start)) {
      return null;
    }
    segment.firstIndex = indexAt(header, 0);
    if (segment.firstIndex > mark.index || index.get(segment.firstIndex)?.position !== segment.start) return null;
  }
  return TermRuns.search(base, mark.index, (at) => index.get(at)?.term ?? null);
}

/** Bytes from `from` to the last one that is not zero; only the neighbourhood is looked at: the number is for people. */
function usedBytes(segment: Segment, from: number): number {
  const piece = Buffer.allocUnsafe(Math.min(REWRITE_PIECE_BYTES, segment.end - from));
  let last = segment.file.read(piece, from - segment.start);
  while (last > 0 && piece[last - 1] === 0) last--;
  return last;
}

function damaged(segment: Segment, { tip, reason }: ScanEnd): TLedgerError {
  const position = physicalOffset(Math.max(tip.end, segment.start));
  return new DamageError({ kind: 'log', file: segment.file.path, position, index: logIndex(tip.index + 1), reason });
}
