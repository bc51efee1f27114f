// How full the disk is, and what follows from it.
//
//   0 % ........ warn ........ clean ........ refuse ................ full: less free than half of the reserve
//        ok       told once     oldest         a leader refuses        the reserve is given up; a follower takes no
//                               segments go    appends                 records, but goes on to vote and to answer
//
// A level is left when the use has fallen a little below it, so that nothing flickers.
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Disk } from '../storage/disk.ts';
import { Reserve } from '../storage/reserve.ts';

/** How full; each level includes what follows from those before it. */
export type DiskLevel = 'ok' | 'warn' | 'clean' | 'refuse' | 'full';

/** Use in percent of the file system; 0 turns a level off. */
export interface DiskLimits {
  readonly warnPercent: number;
  readonly cleanPercent: number;
  readonly refusePercent: number;
  /** Size of the reserve; without one no disk is `full` before a write fails. */
  readonly reserveBytes: number;
}

/** Which disk, and its limits. */
export interface DiskPlace extends DiskLimits {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
}

/** What is told of the disk. */
export interface DiskStatus {
  readonly level: DiskLevel;
  readonly usedPercent: number;
  readonly freeBytes: number;
}

interface DiskWatchOptions extends DiskPlace {
  readonly clock: Clock;
  readonly onWarning: (message: string) => void;
  readonly onEvent?: ((message: string) => void) | undefined;
  /** Looked anew: the time to delete, if the level says so. */
  readonly onLook: (level: DiskLevel) => void;
  readonly onFailure: (error: unknown) => void;
}

/** How often the disk is looked at: one system call of a few microseconds. */
const LOOK_INTERVAL_MS = 1_000;
/** How far below a limit, in points of percent, its level is left. */
const HYSTERESIS_PERCENT = 2;
/** The reserve is taken anew when so many times its size are free. */
const RETAKE_FACTOR = 3;
/** Looks that a disk must have room for before the reserve is taken: starting nodes have better things to do. */
const LOOKS_BEFORE_RESERVE = 10;

/** From the lowest to the highest. */
export const diskLevels: readonly DiskLevel[] = ['ok', 'warn', 'clean', 'refuse', 'full'];

/** See the head of the file. */
export class DiskWatch {
  readonly #options: DiskWatchOptions;
  readonly #reserve: Reserve;
  #status: DiskStatus;
  #isReserveHeld: boolean;
  #looks = 0;
  #timer: Timer | null = null;
  #isStopped = false;
  #taking: Promise<void> | null = null;
  #hasComplained = false;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    this.#reserve = new Reserve(options.disk, options.directory, options.reserveBytes);
    this.#status = { level: 'ok', usedPercent: 0, freeBytes: 0 };
    this.#isReserveHeld = this.#reserve.isHeld;
  }

  get status(): DiskStatus {
    return this.#status;
  }

  /** Whether the disk is at least so full. */
  isAt(level: DiskLevel): boolean {
    return diskLevels.indexOf(this.#status.level) >= diskLevels.indexOf(level);
  }

  /** Looks now, and from time to time. */
  start(): void {
    if (this.#isStopped) return;
    this.#look();
    this.#timer = this.#options.clock.after(LOOK_INTERVAL_MS, () => this.start());
  }

  /** Resolves when the reserve is not being written any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#taking;
  }

  /** Looks no more: the replica failed. */
  abandon(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #look(): void {
    const { disk, directory, onLook, onFailure, onWarning } = this.#options;
    try {
      const { totalBytes, freeBytes, pendingBytes } = disk.space(directory);
      // Nothing is deleted for room that is on its way; but a disk is full until it is there.
      const used = totalBytes === 0 ? 1 : 1 - (freeBytes + pendingBytes) / totalBytes;
      const usedPercent = 100 * Math.max(0, used);
      const before = this.#status.level;
      const level = levelOf({ usedPercent, freeBytes }, before, this.#options);
      this.#looks++;
      this.#status = { level, usedPercent, freeBytes };
      if (level === 'full' && this.#isReserveHeld) {
        this.#reserve.release();
        this.#isReserveHeld = false;
      }
      if (level !== before) this.#tell(before);
      this.#retake();
      onLook(level);
    } catch (error) {
      if (!(error instanceof TLedgerError)) return onFailure(error);
      if (!this.#hasComplained) onWarning(`nobody knows how full the disk is: ${messageOf(error)}`);
      this.#hasComplained = true;
    }
  }

  #tell(before: DiskLevel): void {
    const { onWarning, onEvent } = this.#options;
    const { level, usedPercent, freeBytes } = this.#status;
    const text = `the disk is ${usedPercent.toFixed(1)} % full (${freeBytes} bytes free): ${says[level]}`;
    if (diskLevels.indexOf(level) > diskLevels.indexOf(before)) onWarning(text);
    else onEvent?.(text);
  }

  #retake(): void {
    const { sizeBytes } = this.#reserve;
    const { freeBytes, level } = this.#status;
    if (this.#taking !== null || this.#isReserveHeld || sizeBytes === 0 || this.#isStopped) return;
    if (level === 'full' || freeBytes < RETAKE_FACTOR * sizeBytes || this.#looks < LOOKS_BEFORE_RESERVE) return;
    this.#taking = this.#take().finally(() => {
      this.#taking = null;
    });
  }

  async #take(): Promise<void> {
    const { onWarning, onFailure } = this.#options;
    try {
      await this.#reserve.take(() => !this.#isStopped);
      if (!this.#isStopped) this.#isReserveHeld = true;
    } catch (error) {
      if (!(error instanceof TLedgerError)) return onFailure(error);
      if (!this.#hasComplained) onWarning(`there is no reserve for a full disk: ${messageOf(error)}`);
      this.#hasComplained = true;
    }
  }
}

const says: Readonly<Record<DiskLevel, string>> = {
  ok: 'that is well',
  warn: 'more disk, or shorter retention, is needed soon',
  clean: 'the oldest segments are deleted before their time',
  refuse: 'this node takes no appends while it leads',
  full: 'the reserve is given up, and this node takes no records',
};

/** The level of a disk that was at level `before`. */
export function levelOf(
  { usedPercent, freeBytes }: { readonly usedPercent: number; readonly freeBytes: number },
  before: DiskLevel,
  limits: DiskLimits,
): DiskLevel {
  assert(usedPercent >= 0 && usedPercent <= 100, () => `a disk is full to ${usedPercent} %`);
  const { warnPercent, cleanPercent, refusePercent, reserveBytes } = limits;
  const wasFull = before === 'full';
  if (reserveBytes > 0 && freeBytes < reserveBytes * (wasFull ? 2 : 0.5)) return 'full';
  const isAbove = (level: DiskLevel, percent: number): boolean => {
    if (percent === 0) return false;
    const wasAbove = diskLevels.indexOf(before) >= diskLevels.indexOf(level);
    return usedPercent >= percent - (wasAbove ? HYSTERESIS_PERCENT : 0);
  };
  if (isAbove('refuse', refusePercent)) return 'refuse';
  if (isAbove('clean', cleanPercent)) return 'clean';
  return isAbove('warn', warnPercent) ? 'warn' : 'ok';
}

/**
 * Makes room for a start on a disk that is full: whatever opens the group must be able to write.
 * Call before the group is opened, when its directory is there.
 */
export function makeRoom({ disk, directory, reserveBytes }: DiskPlace): void {
  const reserve = new Reserve(disk, directory, reserveBytes);
  if (disk.space(directory).freeBytes < reserveBytes / 2 || reserveBytes === 0) reserve.release();
}
