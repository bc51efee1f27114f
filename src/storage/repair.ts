// Makes a damaged log whole again, from records and snapshots that peers gave; its replica does not run meanwhile. The
// repair mark is durable before any of this is called, and whatever is interrupted here is found, and done again, by the
// next `mapDamage`: a damaged range stays one until all of it is written; a log that lacks what was vouched for stays one
// that must not be used.
//
//   overwrite     after |xxxxxxxx| upTo ==========   the same bytes as before: nothing is taken away
//   replaceTail   tip |.............................   what peers know to be committed takes the place of what lay there
//   beginBehind   snapshot |........................   the same, behind a snapshot
//   cutBehind     snapshot | ======================   the damage lies below a snapshot of this replica's own
import { assert } from '../base/assert.ts';
import { positionAt, RECORD_HEADER_BYTES, sizeAt } from '../format/record.ts';
import { type LogIndex, logIndex, type Term } from '../raft/types.ts';
import { Checkpoint } from './checkpoint.ts';
import { CommitLog } from './commit_log.ts';
import { DamageError, damageOf } from './damage.ts';
import type { DamagedRange, DamageMap, LogPlace } from './damage_map.ts';
import { HardStateFile } from './hard_state.ts';
import { LogBase } from './log_base.ts';
import { LogScanner } from './log_scanner.ts';
import type { LogTip } from './log_tip.ts';
import { rewrite } from './recovery.ts';
import type { RepairDraft } from './repair_draft.ts';
import { Segments, writeFiller } from './segment.ts';
import { SnapshotStore } from './snapshot_store.ts';
import { headerFault } from './verify.ts';

/**
 * Writes the records of a draft in the place of a damaged range, flushes them and reads them back.
 * @throws DamageError when the disk does not give back what was written; TLedgerError STORAGE_FAILED.
 */
export function overwrite(place: LogPlace, base: LogTip, { after, upTo }: DamagedRange, draft: RepairDraft): void {
  assert(upTo !== null && isSame(draft.tip, upTo), 'what is written ends with the checksum that is known to be right');
  const { disk, directory, segmentSizeBytes } = place;
  const segments = Segments.open(disk, `${directory}/commitlog`, segmentSizeBytes, base);
  try {
    let end: number = after.end;
    const touched = new Set<number>();
    const put = (buffer: Buffer, from: number, to: number): void => {
      const position = positionAt(buffer, from);
      // A record that begins a segment has a filler before it, which may be what was damaged.
      const before = segments.get(segments.numberAt(end));
      if (position !== end && before !== undefined && end > before.start) {
        writeFiller(before, end as typeof after.end);
        touched.add(segments.numberAt(end));
      }
      const number = segments.numberAt(position);
      segments.get(number)!.file.write(buffer.subarray(from, to), position - segments.get(number)!.start);
      touched.add(number);
      end = position + (to - from);
    };
    for (const piece of draft.pieces(after)) for (const [from, to] of runsOf(piece)) put(piece, from, to);
    for (const number of touched) segments.get(number)!.file.flushNow();
    readBack(segments, after, upTo);
  } finally {
    segments.close();
  }
}

/**
 * Cuts the log behind `tip`, which a peer's log holds, too, and appends the records of a draft, which are committed. All
 * of it is durable when this returns, and the term at least that of the last record.
 * @throws TLedgerError STORAGE_FAILED.
 */
export function replaceTail(place: LogPlace, tip: LogTip, draft: RepairDraft): void {
  draft.flushNow();
  // Behind the damage nothing is vouched for any more, so that the log can be opened as any other, torn one.
  const checkpoint = new Checkpoint(place.disk, `${place.directory}/checkpoint`);
  try {
    checkpoint.lower({ flushed: tip, mark: tip });
  } finally {
    checkpoint.close();
  }
  appendDraft(place, tip, draft);
}

/**
 * Begins the log anew behind a snapshot that is complete here, and appends the records of a draft, which are committed.
 * @throws TLedgerError STORAGE_FAILED.
 */
export function beginBehind(place: LogPlace, snapshot: LogTip, draft: RepairDraft): void {
  draft.flushNow();
  const path = `${place.directory}/base`;
  const base = openBase(place);
  // A base that is lost, or lies ahead though its log is of no use, is no obstacle.
  if (base === null || base.tip.index > snapshot.index) LogBase.replace(place.disk, path, snapshot);
  base?.close();
  const again = LogBase.open(place.disk, path);
  again.save(snapshot, { isFresh: true });
  again.close();
  appendDraft(place, snapshot, draft);
}

/** Moves the base to a snapshot of this replica's own, behind everything that is damaged. @throws STORAGE_FAILED */
export function cutBehind(place: LogPlace, snapshot: LogTip): void {
  const base = LogBase.open(place.disk, `${place.directory}/base`);
  base.save(snapshot, { isFresh: false });
  base.close();
}

/**
 * A complete and undamaged snapshot of this replica that the log can be cut to, below which all damage lies; null when
 * there is none. It stands at the end of a segment, and the first record of the next one continues it.
 * @param isUnwanted told the key of each row; a snapshot with such a row does not count.
 */
export function snapshotBehind(
  place: LogPlace,
  { ranges }: DamageMap,
  isUnwanted: (key: string) => boolean,
): LogTip | null {
  const last = ranges.at(-1)?.upTo;
  if (last == null) return null;
  const { disk, directory, segmentSizeBytes } = place;
  const snapshots = SnapshotStore.open({ disk, directory });
  try {
    for (const index of snapshots.list()) {
      if (index < last.index) continue;
      const tip = wholeSnapshot(snapshots, index, isUnwanted);
      if (tip === null) continue;
      const start = Segments.startBehind(tip, segmentSizeBytes);
      const path = `${directory}/commitlog/${Segments.nameOf(start)}`;
      if (disk.exists(path) && isContinuedBy(place, tip, start)) return tip;
    }
    return null;
  } finally {
    snapshots.close();
  }
}

/**
 * Makes durable a log that was found whole though an earlier repair of it was interrupted: what that one wrote may lie in the
 * page cache only, and a flush that failed since may have taken it for written. @throws TLedgerError STORAGE_FAILED.
 */
export function confirmWhole({ disk, directory, segmentSizeBytes }: LogPlace, base: LogTip, tip: LogTip): void {
  const logBase = LogBase.open(disk, `${directory}/base`);
  logBase.confirm();
  logBase.close();
  const segments = Segments.open(disk, `${directory}/commitlog`, segmentSizeBytes, base);
  try {
    rewrite(segments, base.end, tip);
  } finally {
    segments.close();
  }
}

/** This replica takes part in no earlier term: it holds records of this one. */
export function raiseTerm({ disk, directory }: LogPlace, atLeast: Term): void {
  const hardState = HardStateFile.open({ disk, directory });
  try {
    if (hardState.state.term < atLeast) hardState.save({ term: atLeast, vote: null });
  } finally {
    hardState.close();
  }
}

/** The tip of a snapshot all of whose bytes are good, without a row that is unwanted; null for any other. */
export function wholeSnapshot(
  snapshots: SnapshotStore,
  index: LogIndex,
  isUnwanted = (_key: string): boolean => false,
): LogTip | null {
  try {
    const snapshot = snapshots.open(index);
    try {
      for (const [key] of snapshot.rows()) if (isUnwanted(key)) return null;
      return snapshot.meta.tip;
    } finally {
      snapshot.close();
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'DATA_CORRUPTED') return null;
    throw error;
  }
}

/** The good record `index` at or behind `base`, found by going through all before it. */
export function tipAt(place: LogPlace, base: LogTip, index: LogIndex): LogTip {
  const { disk, directory, segmentSizeBytes } = place;
  const segments = Segments.open(disk, `${directory}/commitlog`, segmentSizeBytes, base);
  try {
    return scanTo(segments, base, index);
  } finally {
    segments.close();
  }
}

/** Goes through the good records behind `from` up to `index`, or as far as they go. */
function scanTo(segments: Segments, from: LogTip, index: LogIndex): LogTip {
  const scanner = new LogScanner();
  let tip = from;
  for (let number = Math.max(0, segments.numberAt(from.end)); number < segments.count; number++) {
    const end = scanner.scan(segments.get(number)!, tip, () => {}, index);
    tip = end.tip;
    if (end.kind !== 'filler') break;
  }
  return tip;
}

function readBack(segments: Segments, after: LogTip, upTo: LogTip): void {
  const tip = scanTo(segments, after, upTo.index);
  if (isSame(tip, upTo)) return;
  const { path: file } = segments.at(tip.end).file;
  const reason = 'the disk does not give back what was written there';
  throw new DamageError({ kind: 'log', file, position: tip.end, index: logIndex(tip.index + 1), reason });
}

/** Cuts the log behind `tip`, if it goes on there, and appends what was gathered. */
function appendDraft(place: LogPlace, tip: LogTip, draft: RepairDraft): void {
  raiseTerm(place, draft.tip.term);
  const log = CommitLog.open({ ...place, isForRepair: true });
  try {
    assert(log.lastIndex >= tip.index && log.chainAt(tip.index) === tip.chainCrc, 'what is known to be good is there');
    log.truncateAfter(tip.index);
    for (const piece of draft.pieces(tip)) log.appendSealed(piece, 0, piece.length);
  } finally {
    log.close();
  }
}

function openBase({ disk, directory }: LogPlace): LogBase | null {
  try {
    return LogBase.open(disk, `${directory}/base`);
  } catch (error) {
    if (damageOf(error) === null) throw error;
    return null;
  }
}

function isContinuedBy({ disk, directory, segmentSizeBytes }: LogPlace, tip: LogTip, start: number): boolean {
  const file = disk.open(`${directory}/commitlog/${Segments.nameOf(start)}`);
  try {
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    file.read(header, 0);
    return headerFault(header, 0, segmentSizeBytes, tip.index, tip.term, tip.chainCrc) === null;
  } finally {
    file.close();
  }
}

/** Records of a piece that lie back to back in the log. */
function* runsOf(piece: Buffer): Generator<[number, number]> {
  let from = 0;
  for (let at = 0; at < piece.length; ) {
    const next = at + sizeAt(piece, at);
    if (next >= piece.length || positionAt(piece, next) !== positionAt(piece, from) + (next - from)) {
      yield [from, next];
      from = next;
    }
    at = next;
  }
}

function isSame(a: LogTip, b: LogTip): boolean {
  return a.index === b.index && a.term === b.term && a.chainCrc === b.chainCrc && a.start === b.start;
}
