// One pass over everything that a replica stores, in the order of the log: each record (header, chain, body), its unit in
// the log index, the unit of its message in its queue; then the snapshots and the small files. Nothing is trusted and
// nothing is changed; what is found is told.
//
//   base ............ here ......................... goal: what was applied and flushed when the pass began
//        verified      |  256 KiB at a time, at the given pace, without blocking
//                      +- units gathered from the records, compared a run at a time
//
// The log may be cut, or begin anew, while it is read: what is gone is nobody's damage, and the pass goes on at the base.
import { sizeAt } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { Damage } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import { LogWalk, type WalkEnd, type WalkTip } from './log_walk.ts';
import { type RecordCounts, RecordUnits } from './scrub_derived.ts';
import type { Pace } from './scrub_pace.ts';
import { damagedSlots } from './scrub_slots.ts';
import { checkSnapshot, type SnapshotDigest } from './scrub_snapshot.ts';
import type { Finding, ScrubTarget } from './scrub_types.ts';

export type { Finding, ScrubTarget } from './scrub_types.ts';

/** How a pass goes. */
export interface ScrubOptions {
  readonly pace: Pace;
  /** The last record that earlier reading has verified, with all before it; null: begin at the base. */
  readonly from: LogTip | null;
  /** The last record looked at. */
  readonly goal: LogIndex;
  readonly onFinding: (finding: Finding) => void;
  /** Called now and then with what was verified so far. */
  readonly onProgress: (tip: WalkTip) => void;
}

/** What a pass saw. */
export interface ScrubResult extends RecordCounts {
  /** The last record that was verified. */
  readonly tip: WalkTip;
  /** The good ones. */
  readonly snapshots: readonly SnapshotDigest[];
  /** False when damage in the log ended the pass there: what lies behind it was not looked at. */
  readonly isWhole: boolean;
}

/** See the head of the file. */
export class ScrubPass {
  readonly #target: ScrubTarget;
  readonly #options: ScrubOptions;
  readonly #walk: LogWalk;
  readonly #units: RecordUnits;

  constructor(target: ScrubTarget, options: ScrubOptions) {
    this.#target = target;
    this.#options = options;
    this.#walk = new LogWalk(options.pace);
    this.#units = new RecordUnits(target, options.pace, options.onFinding);
  }

  /** Checks everything once. @throws TLedgerError SHUTTING_DOWN when the pace was stopped. */
  async run(): Promise<ScrubResult> {
    const { disk, directory } = this.#target;
    const { pace, onFinding } = this.#options;
    const log = await this.#checkLog();
    const snapshots = await checkSnapshots(disk, directory, pace, onFinding);
    for (const finding of damagedSlots(disk, directory)) onFinding(finding);
    return { ...log, snapshots, ...this.#units.counts };
  }

  async #checkLog(): Promise<{ readonly tip: WalkTip; readonly isWhole: boolean }> {
    const { base, segmentSizeBytes } = this.#target;
    const { goal, from, onFinding, onProgress } = this.#options;
    let tip: WalkTip = from !== null && from.index > base().index ? from : base();
    let start = segmentStartAfter(tip, base(), segmentSizeBytes);
    while (tip.index < goal) {
      const { end, file } = await this.#checkSegment(tip, start);
      if (base().index > end.tip.index) {
        // It was cut, or began anew, behind what was looked at.
        tip = base();
        start = segmentStartAfter(tip, base(), segmentSizeBytes);
        continue;
      }
      tip = end.tip;
      onProgress(tip);
      if (end.kind === 'filler') start += segmentSizeBytes;
      else if (end.kind === 'limit') break;
      else {
        onFinding(logDamage(end, file));
        return { tip, isWhole: false };
      }
    }
    return { tip, isWhole: true };
  }

  /** Walks from `tip` to the end of the segment at `start`; where it stumbles, it looks again. */
  async #checkSegment(tip: WalkTip, start: number): Promise<{ readonly end: WalkEnd; readonly file: string }> {
    const { disk, directory, segmentSizeBytes } = this.#target;
    const { goal, onProgress, onFinding } = this.#options;
    // Its files are compared as a whole: from the segment's first record on.
    const keys = tip.end <= start ? (this.#target.keyCheck?.(start) ?? null) : null;
    const path = segmentPath(directory, start);
    const bad = (reason: string) =>
      ({ end: { tip, kind: 'bad', reason, position: start, behind: null }, file: path }) as const;
    if (!disk.exists(path)) return bad('the segment is missing');
    let file: DiskFile | null = null;
    try {
      file = disk.open(path);
      const segment = { file, start, end: start + segmentSizeBytes };
      const walk = (from: WalkTip): Promise<WalkEnd> =>
        this.#walk.walk(segment, from, {
          upTo: goal,
          visit: (buffer, at, position) => {
            this.#units.add(buffer, at, position);
            keys?.add(buffer, at, at + sizeAt(buffer, at));
          },
          pieceDone: async (reached) => {
            await this.#units.compareIfFull();
            onProgress(reached);
          },
        });
      const first = await walk(tip);
      const isGood = first.kind === 'filler' || first.kind === 'limit';
      const end = isGood ? first : await walk(first.tip);
      await this.#units.compare();
      const isEnough = end.kind === 'filler' || (end.kind === 'limit' && keys?.needsAll === false);
      const damage = isEnough ? (keys?.finish() ?? null) : null;
      if (damage !== null) onFinding(damage);
      return { end, file: path };
    } finally {
      file?.close();
    }
  }
}

/** Where the segment begins in which the record after `tip` lies: `tip` is in it, or is the base. */
export function segmentStartAfter(tip: Pick<LogTip, 'index' | 'end'>, base: LogTip, sizeBytes: number): number {
  // A base is the last record of its segment, and no record reaches the end of one.
  const number = Math.floor(tip.end / sizeBytes);
  return (tip.index > 0 && tip.index === base.index ? number + 1 : number) * sizeBytes;
}

/** The segment that begins at `start`. */
export function segmentPath(directory: string, start: number): string {
  return `${directory}/commitlog/${String(start).padStart(20, '0')}`;
}

/** What the end of a walk says, when it should have gone on. */
export function logDamage({ tip, kind, reason, position }: WalkEnd, file: string): Damage {
  const index = (tip.index + 1) as LogIndex;
  const why = kind === 'blank' ? 'zeros, where a record was' : reason;
  return { kind: 'log', file, position: position as LogTip['start'], index, reason: why };
}

/** Checks all complete snapshots. @returns the good ones. @throws TLedgerError SHUTTING_DOWN */
export async function checkSnapshots(
  disk: Disk,
  directory: string,
  pace: Pace,
  onFinding: (finding: Finding) => void,
): Promise<SnapshotDigest[]> {
  const good: SnapshotDigest[] = [];
  for (const name of disk.list(`${directory}/snapshot`).filter((one) => /^\d{20}$/.test(one))) {
    const file = `${directory}/snapshot/${name}`;
    const index = Number(name) as LogIndex;
    const verdict = await checkSnapshot(disk, file, pace);
    if (verdict === null) continue;
    if ('reason' in verdict) onFinding({ kind: 'snapshot', file, index, reason: verdict.reason });
    else if (verdict.digest.tip.index === index) good.push(verdict.digest);
    else onFinding({ kind: 'snapshot', file, index, reason: `it is the one at ${verdict.digest.tip.index}` });
  }
  return good;
}
