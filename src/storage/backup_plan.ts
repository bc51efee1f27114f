// What a backup will consist of, decided in one synchronous moment: the files of the log are held open from then on, so
// that whatever is cut from the log while they are read is still there to be read.
//
//   earlier backup   base ==== closed ==== closed ==== closed == tail
//   the log                         base ==== closed ==== closed ==== closed ==== tail ..up to `last`
//   this one         base ==== kept ==== kept ==== kept ==== taken === taken ==== tail
import { TLedgerError } from '../base/errors.ts';
import { physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import { type BackupFile, type BackupSegment, firstStart, type Manifest, nameOf } from './backup_format.ts';
import type { CommitLog } from './commit_log.ts';
import { DamageError } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import { Snapshot } from './snapshot_reader.ts';

/** A segment of the node's log, open for reading. */
export interface HeldSegment {
  readonly path: string;
  readonly start: number;
  readonly file: DiskFile;
  /** Its last record when the one behind that is committed, too: nothing in it will ever change. Else null. */
  readonly lastIndex: LogIndex | null;
}

/** One piece of the log to be: what an earlier backup has of it, what the node has. At least one is there. */
export interface PlannedSegment {
  readonly start: number;
  readonly kept: BackupSegment | null;
  readonly held: HeldSegment | null;
}

/** What a backup will consist of. */
export interface BackupPlan {
  readonly base: LogTip;
  readonly last: LogTip;
  readonly segments: readonly PlannedSegment[];
  /** The snapshot at the base that an earlier backup has. */
  readonly keptSnapshot: BackupFile | null;
  /** The node's own, open, if it is the one that is needed; null too when the log begins with record 1. */
  readonly snapshot: Snapshot | null;
  /** Closes all files. */
  close(): void;
}

/** What the plan is made from. */
export interface PlanOptions {
  readonly disk: Disk;
  readonly log: CommitLog;
  /** The group's directory on this node. */
  readonly groupDirectory: string;
  readonly segmentSizeBytes: number;
  /** The last record to be in it; committed and flushed here. */
  readonly upTo: LogIndex;
  /** What lies in the directory already. */
  readonly earlier: Manifest | null;
  /** Lets go of what the log does not hold any more. */
  readonly prune: boolean;
}

/**
 * @throws TLedgerError DATA_DIR_FOREIGN when the earlier backup is of another log; INVALID_ARGUMENT when it goes further
 * than this node's committed records; DATA_CORRUPTED when a file of the log or its snapshot is missing.
 */
export function planBackup(options: PlanOptions): BackupPlan {
  const { log, segmentSizeBytes, upTo, prune } = options;
  const earlier = continuable(options);
  const base = earlier === null || (prune && log.base.index > earlier.base.index) ? log.base : earlier.base;
  const last = log.tipAt(upTo);
  const first = firstStart(base, segmentSizeBytes);
  const held = openSegments(options, first);
  const close = (): void => {
    for (const { file } of held) file.close();
    snapshot?.close();
  };
  let snapshot: Snapshot | null = null;
  try {
    const keptSnapshot = earlier?.base.index === base.index ? earlier.snapshot : null;
    if (base.index > 0 && base.index === log.base.index) snapshot = openSnapshot(options, keptSnapshot !== null);
    const count = last.index === base.index ? 0 : Math.floor((last.start - first) / segmentSizeBytes) + 1;
    const segments = Array.from({ length: count }, (_, number) => {
      const start = first + number * segmentSizeBytes;
      const kept = earlier?.segments.find((segment) => segment.start === start && isWanted(segment, last));
      return { start, kept: kept ?? null, held: held.find((segment) => segment.start === start) ?? null };
    });
    return { base, last, segments, keptSnapshot, snapshot, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** A closed segment stays what it is; a tail only when it ends where this backup does. */
function isWanted({ kind, last: { index } }: BackupSegment, last: LogTip): boolean {
  return kind === 'segment' || index === last.index;
}

/** The earlier backup, if this one goes on where that ends: not if the log was cut beyond its end. */
function continuable({ log, segmentSizeBytes, upTo, earlier }: PlanOptions): Manifest | null {
  if (earlier === null) return null;
  const { last, base, segments } = earlier;
  if (last.index > upTo) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `the backup there reaches record ${last.index}, this node's committed log only record ${upTo}: ask a member that has caught up`,
    );
  }
  const closedEnd = segments.findLast(({ kind }) => kind === 'segment')?.start;
  const next = closedEnd === undefined ? firstStart(base, segmentSizeBytes) : closedEnd + segmentSizeBytes;
  if (firstStart(log.base, segmentSizeBytes) > next) return null;
  const mine = log.tipAt(last.index);
  if (mine.term === last.term && mine.chainCrc === last.chainCrc && mine.end === last.end) return earlier;
  throw new TLedgerError('DATA_DIR_FOREIGN', `the backup there is of another log: record ${last.index} differs`);
}

/** The segments of the log from position `first` on, as far as they hold records up to `upTo`. */
function openSegments(
  { disk, log, groupDirectory, segmentSizeBytes, upTo }: PlanOptions,
  first: number,
): HeldSegment[] {
  const boundaries = log.sealedBoundaries;
  const held: HeldSegment[] = [];
  let firstIndex = log.firstIndex;
  try {
    for (let number = 0; firstIndex <= upTo; number++) {
      const start = firstStart(log.base, segmentSizeBytes) + number * segmentSizeBytes;
      const boundary = boundaries[number];
      if (start >= first) {
        const path = `${groupDirectory}/commitlog/${nameOf(start)}`;
        if (!disk.exists(path)) throw missing(path, start, firstIndex);
        const lastIndex = boundary !== undefined && boundary < upTo ? boundary : null;
        held.push({ path, start, file: disk.open(path), lastIndex });
      }
      if (boundary === undefined) break;
      firstIndex = logIndex(boundary + 1);
    }
    return held;
  } catch (error) {
    for (const { file } of held) file.close();
    throw error;
  }
}

/** @param isSpare the backup has it already: the node's own need not be good. */
function openSnapshot({ disk, log, groupDirectory }: PlanOptions, isSpare: boolean): Snapshot | null {
  const { index } = log.base;
  const file = `${groupDirectory}/snapshot/${nameOf(index)}`;
  try {
    const snapshot = Snapshot.open(disk, file);
    if (snapshot.meta.tip.chainCrc === log.base.chainCrc) return snapshot;
    snapshot.close();
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    if (isSpare) return null;
    throw new DamageError({ kind: 'snapshot', file, index, reason: error.message }, error);
  }
  if (isSpare) return null;
  throw new DamageError({ kind: 'snapshot', file, index, reason: 'it is of another log' });
}

function missing(file: string, start: number, index: LogIndex): DamageError {
  return new DamageError({ kind: 'log', file, position: physicalOffset(start), index, reason: 'the file is missing' });
}
