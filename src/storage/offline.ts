// The files of a group whose node is stopped, for tools: whose they are, where the log begins, how far it is vouched for,
// and every record in it, also behind damage. Nothing is changed. The caller keeps nodes away (offline_lock.ts).
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex, term } from '../raft/types.ts';
import { Checkpoint } from './checkpoint.ts';
import type { Disk, DiskFile } from './disk.ts';
import { type Identity, readIdentity } from './identity.ts';
import { LogBase } from './log_base.ts';
import type { LogTip } from './log_tip.ts';
import { LogWalk, type WalkEnd, type WalkedSegment, type WalkTip } from './log_walk.ts';
import { type Pace, unhurried } from './scrub_pace.ts';

const NAME_PATTERN = /^\d{20}$/;

/** What the small files of a group say. */
export interface OfflineGroup {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Identity;
  /** The record before the first one held; null when that is not known, because the file is damaged. */
  readonly base: LogTip | null;
  /** The last record that a restart knows to be vouched for; null when it knows of none, because the file is damaged or lost. */
  readonly flushed: LogTip | null;
  /** Up to here the log index was flushed, too. */
  readonly mark: LogTip | null;
}

/**
 * Reads what the small files say.
 * @throws TLedgerError DATA_DIR_FOREIGN when there is no data of a node, or a newer version of this software wrote it;
 * DATA_CORRUPTED when the identity is damaged; STORAGE_FAILED.
 */
export function openOffline(disk: Disk, directory: string): OfflineGroup {
  const { identity } = readIdentity(disk, directory);
  const base = baseOf(disk, directory);
  const checkpoint = new Checkpoint(disk, `${directory}/checkpoint`);
  checkpoint.close();
  const flushed = checkpoint.loaded?.flushed ?? null;
  const isAhead = base !== null && flushed !== null && base.index > flushed.index;
  return { disk, directory, identity, base, flushed: isAhead ? base : flushed, mark: checkpoint.loaded?.mark ?? null };
}

/** Where no good record is. */
export interface LogGap {
  readonly file: string;
  /** From the first byte that is no record to the next one that is; to the end of what was looked at when there is none. */
  readonly position: number;
  readonly end: number;
  /** The records that should be there; `lastIndex` is null when nothing comes behind. */
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex | null;
  readonly reason: string;
  /** Whether this replica may have vouched for something in it: then it is damage. Else a write that was not finished. */
  readonly isVouched: boolean;
}

/** How records are handed out. */
export interface OfflineWalk {
  readonly pace?: Pace;
  /** Begin at the first record that lies there or behind; at the first one held by default. Its predecessor is not known. */
  readonly from?: number;
  /**
   * Each record whose body is intact, in order; header at `at`, body behind it, in a buffer that is reused.
   * @param chain whether its checksum continues that of the record before; null right behind a gap, where that one is gone.
   */
  readonly onRecord: (buffer: Buffer, at: number, position: number, chain: true | null) => void;
  readonly onGap: (gap: LogGap) => void;
  readonly pieceDone?: () => Promise<void>;
}

/** Thrown by who has seen enough: the walk ends. */
export class WalkDone extends Error {
  override readonly name = 'WalkDone';
}

/**
 * Walks the log; behind damage it goes on with the next record that can be told to be one.
 * @returns the last good record before the first gap, and the last one of all.
 */
export async function walkLog(group: OfflineGroup, options: OfflineWalk): Promise<{ whole: WalkTip; last: WalkTip }> {
  const { disk, directory, base, identity } = group;
  const { segmentSizeBytes } = identity;
  const { from: begin = 0 } = options;
  const isAll = options.from === undefined;
  const starts = segmentStarts(disk, directory, segmentSizeBytes, base).filter(
    (start) => start + segmentSizeBytes > begin,
  );
  const gaps = new Gaps(group, starts, options.onGap);
  const walk = new LogWalk(options.pace ?? unhurried);
  let tip: WalkTip = (isAll ? base : null) ?? { ...unknownTip, end: (starts[0] ?? 0) as LogTip['end'] };
  try {
    for (const [number, start] of starts.entries()) {
      const path = `${directory}/commitlog/${String(start).padStart(20, '0')}`;
      if (!disk.exists(path)) {
        gaps.open(path, { tip, reason: 'the segment is missing', position: start });
        continue;
      }
      const isKnown = !gaps.isOpen && (number > 0 || (base !== null && isAll));
      const file: DiskFile = disk.open(path);
      const segment = { file, start, end: start + segmentSizeBytes };
      try {
        let from: WalkTip | null = isKnown ? tip : await walk.findRecord(segment, Math.max(start, begin), tip);
        while (from !== null) {
          gaps.close(from);
          const end = await walkPart(walk, segment, from, options);
          tip = end.tip;
          if (end.kind === 'filler' && number < starts.length - 1) break;
          gaps.open(path, end.kind === 'filler' ? { ...end, reason: CLOSED } : end);
          from = end.behind ?? (await walk.findRecord(segment, end.position + 1, end.tip));
          tip = from ?? tip;
        }
      } finally {
        file.close();
      }
    }
  } catch (error) {
    if (error instanceof WalkDone) return { whole: gaps.whole ?? tip, last: tip };
    throw error;
  }
  gaps.end();
  return { whole: gaps.whole ?? tip, last: tip };
}

/** Why the last segment of a log cannot end as it does. */
const CLOSED = 'the segment is closed, and no other follows';
/** What a walk says of the zeros behind the last record. */
const BLANK = 'no record';

function walkPart(walk: LogWalk, segment: WalkedSegment, from: WalkTip, options: OfflineWalk): Promise<WalkEnd> {
  let isFirst = from.chainCrc === null;
  return walk.walk(segment, from, {
    visit: (buffer, at, position) => {
      options.onRecord(buffer, at, position, isFirst ? null : true);
      isFirst = false;
    },
    ...(options.pieceDone === undefined ? {} : { pieceDone: options.pieceDone }),
  });
}

/** The gaps of a log: one is open until the next record is found. */
class Gaps {
  readonly #group: OfflineGroup;
  readonly #starts: readonly number[];
  readonly #onGap: (gap: LogGap) => void;
  #open: { readonly file: string; readonly position: number; readonly after: WalkTip; readonly reason: string } | null =
    null;
  /** The last good record before the first gap; null when there is none. */
  whole: WalkTip | null = null;

  constructor(group: OfflineGroup, starts: readonly number[], onGap: (gap: LogGap) => void) {
    this.#group = group;
    this.#starts = starts;
    this.#onGap = onGap;
  }

  get isOpen(): boolean {
    return this.#open !== null;
  }

  /** There is no record at `position`. */
  open(file: string, { tip, reason, position }: Pick<WalkEnd, 'tip' | 'reason' | 'position'>): void {
    this.#open ??= { file, position, after: tip, reason };
  }

  /** The record behind `from` was found. */
  close(from: WalkTip): void {
    this.#close(from.end, from.index);
  }

  /** Nothing comes behind. That is no gap where nothing was promised and nothing lies. */
  end(): void {
    if (this.#open === null) return;
    const { after, reason } = this.#open;
    const isBlank = reason === BLANK || reason === CLOSED;
    if (isBlank && !isVouchedFor(this.#group, after, null, this.#starts)) return;
    this.#close((this.#starts.at(-1) ?? 0) + this.#group.identity.segmentSizeBytes, null);
  }

  #close(end: number, lastIndex: LogIndex | null): void {
    if (this.#open === null) return;
    const { after, file, position, reason } = this.#open;
    this.#open = null;
    this.whole ??= after;
    const firstIndex = logIndex(after.index + 1);
    const isVouched = isVouchedFor(this.#group, after, lastIndex, this.#starts);
    this.#onGap({ file, position, end, firstIndex, lastIndex, reason, isVouched });
  }
}

const unknownTip: WalkTip = {
  index: logIndex(0),
  term: term(0),
  chainCrc: null,
  start: 0 as LogTip['start'],
  end: 0 as LogTip['end'],
};

/** If nobody knows what was flushed, only the last segment can have an unfinished write. */
function isVouchedFor(
  { flushed, identity }: OfflineGroup,
  after: WalkTip,
  lastIndex: LogIndex | null,
  starts: readonly number[],
): boolean {
  if (flushed !== null) return after.index < flushed.index;
  return lastIndex !== null || after.end < (starts.at(-1) ?? 0) - identity.segmentSizeBytes;
}

/** Where segments are, or should be: from the one behind the base to the last one that is there. */
function segmentStarts(disk: Disk, directory: string, sizeBytes: number, base: LogTip | null): number[] {
  const held = disk
    .list(`${directory}/commitlog`)
    .filter((name) => NAME_PATTERN.test(name))
    .map(Number);
  const first =
    base === null ? (held[0] ?? 0) : base.index === 0 ? 0 : (Math.floor(base.end / sizeBytes) + 1) * sizeBytes;
  const last = held.at(-1) ?? first;
  const starts: number[] = [];
  for (let start = first; start <= last; start += sizeBytes) starts.push(start);
  return starts;
}

function baseOf(disk: Disk, directory: string): LogTip | null {
  try {
    const base = LogBase.open(disk, `${directory}/base`);
    base.close();
    return base.tip;
  } catch (error) {
    if (error instanceof TLedgerError && error.code === 'DATA_CORRUPTED') return null;
    throw error;
  }
}
