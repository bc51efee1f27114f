// Finds everything that is damaged in a log whose replica does not run: scanned from its base to its end, through gaps.
//
//   base      good       after        damaged        upTo      good             end
//    |===================|xxxxxxxxxxxxxxxxxxxxxxxxxxxxx|========================|
//                         └ to be fetched; what comes must continue `after` and end with the very checksum of `upTo`
//
// `upTo` is the first record behind the damage whose checksum somebody confirms: the record after it, which continues it,
// or the checkpoint. Where a good record lies is asked of the log index and of the segments' beginnings; both only hint.
import {
  chainCrcAt,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { type LogIndex, logIndex, type Term } from '../raft/types.ts';
import { Checkpoint } from './checkpoint.ts';
import { damageOf } from './damage.ts';
import type { Disk } from './disk.ts';
import { LogBase } from './log_base.ts';
import { LogIndexFiles } from './log_index.ts';
import { LogScanner } from './log_scanner.ts';
import { EMPTY_TIP, type LogTip, later } from './log_tip.ts';
import { anythingUpTo, isBehind, loadRepairMark, type Vouched } from './repair_mark.ts';
import { FILLER_BYTES, type Segment, Segments } from './segment.ts';
import { SnapshotStore } from './snapshot_store.ts';
import { TermRuns } from './term_runs.ts';
import { headerFault } from './verify.ts';

/** Units of the log index that may be missing one after the other before it is asked no more. */
const MISSING_UNITS_MAX = 10_000;

/** Where a group's log lies. */
export interface LogPlace {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  readonly segmentSizeBytes: number;
  /** Units in one file of the log index; only tests set it. */
  readonly indexUnitsPerFile?: number;
}

/** Records that are not what was vouched for: those behind `after`, up to `upTo`. */
export interface DamagedRange {
  /** The last good record before; or the base. */
  readonly after: LogTip;
  /** The first record behind whose checksum is known; null when nobody knows any. */
  readonly upTo: LogTip | null;
}

/** What is left of a log. */
export interface DamageMap {
  /** Where it begins; null when nobody knows: then nothing of it is of any use. */
  readonly base: LogTip | null;
  /** Ascending. */
  readonly ranges: readonly DamagedRange[];
  /** The terms of the records before the first range. */
  readonly runs: TermRuns;
  /** The last good record before the first range. */
  readonly goodTip: LogTip;
  /** The last record behind all of them. */
  readonly tip: LogTip;
  /** The last record that this replica may have vouched for, by an earlier repair's word, too. */
  readonly vouched: Vouched;
  /** Nothing is damaged, and nothing is missing of what was vouched for. */
  readonly isWhole: boolean;
}

/**
 * Looks at all of a log, in steps between which others get their turn. Files of segments that are missing are made, and
 * those of another size get theirs: what they hold counts as damaged. Nothing else is changed.
 * @param hardTerm the term of the hard state: this replica vouched for nothing of a later one.
 * @throws TLedgerError STORAGE_FAILED, DATA_DIR_FOREIGN.
 */
export async function mapDamage(place: LogPlace, hardTerm: Term, pause: () => Promise<void>): Promise<DamageMap> {
  const marked = markedBefore(place, hardTerm);
  const known = baseOf(place);
  if (known === null) {
    const vouched = anythingUpTo(hardTerm);
    const runs = new TermRuns(EMPTY_TIP.term);
    return { base: null, ranges: [], runs, goodTip: EMPTY_TIP, tip: EMPTY_TIP, vouched, isWhole: false };
  }
  const { tip: base, isFresh } = known;
  const flushed = isFresh ? base : flushedOf(place, base);
  if (!isFresh) restoreFiles(place, base, flushed);
  const found = isFresh ? nothingBehind(base) : await scan(place, base, flushed, pause);
  const { ranges, tip } = found;
  const isOpen = ranges.some(({ upTo }) => upTo === null);
  const own = isOpen ? anythingUpTo(hardTerm) : { index: tip.index, term: tip.term };
  const vouched = marked !== null && isBehind(own, marked) ? marked : own;
  return { base, ...found, vouched, isWhole: ranges.length === 0 && !isBehind(tip, vouched) };
}

function nothingBehind(base: LogTip): Pick<DamageMap, 'ranges' | 'runs' | 'goodTip' | 'tip'> {
  return { ranges: [], runs: new TermRuns(base.term), goodTip: base, tip: base };
}

function markedBefore({ disk, directory }: LogPlace, hardTerm: Term): Vouched | null {
  try {
    return loadRepairMark(disk, directory);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return anythingUpTo(hardTerm);
  }
}

/** Where the log begins. A base that is lost is the tip of the snapshot that the first segment continues. */
function baseOf({ disk, directory, segmentSizeBytes }: LogPlace): { tip: LogTip; isFresh: boolean } | null {
  const path = `${directory}/base`;
  const starts = Segments.startsIn(disk, `${directory}/commitlog`);
  try {
    const base = LogBase.open(disk, path);
    base.close();
    const { tip, isFresh } = base;
    if (tip.index > 0 || starts.length === 0 || starts[0] === 0) return { tip, isFresh };
  } catch (error) {
    if (damageOf(error) === null) throw error;
  }
  const tip = starts[0] === 0 ? EMPTY_TIP : baseBefore({ disk, directory, segmentSizeBytes }, starts[0]);
  if (tip === null) return disk.exists(path) ? null : { tip: EMPTY_TIP, isFresh: false };
  if (tip.index > 0) LogBase.replace(disk, path, tip);
  else disk.remove(path);
  return { tip, isFresh: false };
}

function baseBefore({ disk, directory, segmentSizeBytes }: LogPlace, start: number | undefined): LogTip | null {
  if (start === undefined) return null;
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  const file = disk.open(`${directory}/commitlog/${Segments.nameOf(start)}`);
  try {
    file.read(header, 0);
  } finally {
    file.close();
  }
  const snapshots = SnapshotStore.open({ disk, directory });
  try {
    for (const index of snapshots.list()) {
      const tip = tipOf(snapshots, index);
      if (tip === null || Segments.startBehind(tip, segmentSizeBytes) !== start) continue;
      if (headerFault(header, 0, segmentSizeBytes, tip.index, tip.term, tip.chainCrc) === null) return tip;
    }
    return null;
  } finally {
    snapshots.close();
  }
}

function tipOf(snapshots: SnapshotStore, index: LogIndex): LogTip | null {
  try {
    const snapshot = snapshots.open(index);
    snapshot.close();
    return snapshot.meta.tip;
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

/** What a checkpoint vouches for; null when it is lost and nobody knows. */
function flushedOf({ disk, directory }: LogPlace, base: LogTip): LogTip | null {
  const checkpoint = new Checkpoint(disk, `${directory}/checkpoint`);
  checkpoint.close();
  return checkpoint.loaded === null ? null : later(checkpoint.loaded.flushed, base);
}

/** All segments from the first to the last one known are there, and have their size. */
function restoreFiles({ disk, directory, segmentSizeBytes }: LogPlace, base: LogTip, flushed: LogTip | null): void {
  const commitlog = `${directory}/commitlog`;
  disk.makeDirectory(commitlog);
  const first = Segments.startBehind(base, segmentSizeBytes);
  const starts = Segments.startsIn(disk, commitlog).filter((start) => start >= first);
  const last = Math.max(
    first,
    starts.at(-1) ?? 0,
    flushed === null || flushed.index === base.index ? 0 : flushed.start,
  );
  for (let start: number = first; start <= last; start += segmentSizeBytes) {
    const path = `${commitlog}/${Segments.nameOf(start)}`;
    const file = disk.open(path, { create: true });
    try {
      if (file.sizeBytes() !== segmentSizeBytes) file.truncate(segmentSizeBytes);
    } finally {
      file.close();
    }
  }
}

async function scan(
  place: LogPlace,
  base: LogTip,
  flushed: LogTip | null,
  pause: () => Promise<void>,
): Promise<Pick<DamageMap, 'ranges' | 'runs' | 'goodTip' | 'tip'>> {
  const { disk, directory, segmentSizeBytes, indexUnitsPerFile } = place;
  const segments = Segments.open(disk, `${directory}/commitlog`, segmentSizeBytes, base);
  const index = LogIndexFiles.open(disk, `${directory}/index`, base.index, indexUnitsPerFile);
  try {
    const log = { segments, index, flushed };
    const scanner = new LogScanner();
    const ranges: DamagedRange[] = [];
    const runs = new TermRuns(base.term);
    let goodTip = base;
    let tip = base;
    for (let number = 0; number < segments.count; ) {
      const isGoodSoFar = ranges.length === 0;
      const end = scanner.scan(segments.get(number)!, tip, (at, term) => {
        if (isGoodSoFar) runs.extend(at, term);
      });
      tip = end.tip;
      if (isGoodSoFar) goodTip = tip;
      await pause();
      const isLast = number === segments.count - 1;
      if (end.kind === 'filler' && !isLast) {
        number++;
        continue;
      }
      if (flushed === null ? isLast : tip.index >= flushed.index) break;
      const upTo = goodRecordBehind(log, tip);
      ranges.push({ after: tip, upTo });
      if (upTo === null) break;
      tip = upTo;
      number = segments.numberAt(upTo.start);
    }
    return { ranges, runs, goodTip, tip };
  } finally {
    segments.close();
    index.close();
  }
}

interface ScannedLog {
  readonly segments: Segments;
  readonly index: LogIndexFiles;
  readonly flushed: LogTip | null;
}

/** The first record behind `after` that is good and whose checksum the record after it, or the checkpoint, confirms. */
function goodRecordBehind({ segments, index, flushed }: ScannedLog, after: LogTip): LogTip | null {
  let missing = 0;
  for (let at = after.index + 1; at < (flushed?.index ?? Number.POSITIVE_INFINITY); at++) {
    const unit = index.get(logIndex(at));
    if (unit === null) {
      if (++missing >= MISSING_UNITS_MAX) break;
      continue;
    }
    missing = 0;
    const segment = segments.get(segments.numberAt(unit.position));
    const tip = segment === undefined ? null : recordAt(segment, unit.position);
    if (tip?.index === at && isContinued(segments, tip)) return tip;
  }
  for (let number = Math.max(0, segments.numberAt(after.end)) + 1; number < segments.count; number++) {
    const segment = segments.get(number)!;
    const tip = recordAt(segment, segment.start);
    if (tip === null || tip.index <= after.index || tip.index > (flushed?.index ?? tip.index)) continue;
    if (isContinued(segments, tip)) return tip;
  }
  return flushed;
}

/** The record that claims to lie there, by its own word and that of its body's checksum. */
function recordAt(segment: Segment, position: number): LogTip | null {
  const room = segment.end - position - FILLER_BYTES;
  if (position < segment.start || room < RECORD_HEADER_BYTES) return null;
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  segment.file.read(header, position - segment.start);
  if (!isRecordWhole(header, 0, room) || positionAt(header, 0) !== position) return null;
  const bytes = Buffer.alloc(sizeAt(header, 0));
  segment.file.read(bytes, position - segment.start);
  if (!isBodyIntact(bytes, 0)) return null;
  return {
    index: indexAt(header, 0),
    term: termAt(header, 0),
    chainCrc: chainCrcAt(header, 0),
    start: physicalOffset(position),
    end: physicalOffset(position + bytes.length),
  };
}

/** Whether the next record is there and continues the checksum. */
function isContinued(segments: Segments, tip: LogTip): boolean {
  const number = segments.numberAt(tip.start);
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  const follows = (segment: Segment, position: number): boolean => {
    header.fill(0);
    segment.file.read(header, position - segment.start);
    const end = segment.end - FILLER_BYTES - position;
    const fault = headerFault(header, 0, end, tip.index, tip.term, tip.chainCrc);
    return fault === null && positionAt(header, 0) === position;
  };
  const own = segments.get(number)!;
  if (own.end - tip.end >= RECORD_HEADER_BYTES && follows(own, tip.end)) return true;
  const isFiller = own.end - tip.end >= FILLER_BYTES && header.readInt32BE(0) === recordMagic.filler;
  const next = segments.get(number + 1);
  const isClosed = isFiller || own.end - tip.end < RECORD_HEADER_BYTES;
  return isClosed && next !== undefined && follows(next, next.start);
}

function isDamage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'DATA_CORRUPTED';
}
