// How far a pass has come, so that a restart costs no more than the last few seconds of it: the file `scrub`, in two slots.
// It goes to the page cache only. Nothing depends on it: what is lost or damaged, or does not fit the log any more, means
// that the pass begins anew.
import { readUint64, writeUint64 } from '../format/uint64.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import { decodeTip, encodeTip, type LogTip, TIP_BYTES } from './log_tip.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_5343, version: 1 } as const; // "TLSC"
const PAYLOAD_BYTES = 8 * 6 + TIP_BYTES;

/** What is remembered. Times are milliseconds since the epoch. */
export interface ScrubProgress {
  /** The pass that was begun last. */
  readonly pass: number;
  readonly startedAtMs: number;
  readonly goal: LogIndex;
  /** Verified in it, with all before it; `EMPTY_TIP` when it has come to its end. */
  readonly tip: LogTip;
  /** The last pass that came to its end, when, and at which record; 0 for none. */
  readonly lastPass: number;
  readonly lastAtMs: number;
  readonly lastIndex: LogIndex;
}

/** The file. */
export class ScrubProgressFile {
  readonly #slots: SlotFile;
  /** What it said when it was opened; null when it said nothing. */
  readonly loaded: ScrubProgress | null;

  private constructor(slots: SlotFile, loaded: ScrubProgress | null) {
    this.#slots = slots;
    this.loaded = loaded;
  }

  /** Opens or makes it. @throws TLedgerError STORAGE_FAILED */
  static open(disk: Disk, path: string): ScrubProgressFile {
    if (!disk.exists(path)) {
      return new ScrubProgressFile(SlotFile.create(disk, path, FORMAT, Buffer.alloc(PAYLOAD_BYTES)), null);
    }
    const { slots, payload } = SlotFile.open(disk, path, FORMAT);
    const isWhole = payload?.length === PAYLOAD_BYTES && readUint64(payload, 0) > 0;
    return new ScrubProgressFile(slots, isWhole ? decode(payload) : null);
  }

  /** @throws TLedgerError STORAGE_FAILED */
  save(progress: ScrubProgress): void {
    const payload = Buffer.alloc(PAYLOAD_BYTES);
    const { pass, startedAtMs, goal, lastPass, lastAtMs, lastIndex } = progress;
    [pass, startedAtMs, goal, lastPass, lastAtMs, lastIndex].forEach((value, at) => {
      writeUint64(payload, value, 8 * at);
    });
    encodeTip(payload, 8 * 6, progress.tip);
    this.#slots.write(payload);
  }

  close(): void {
    this.#slots.close();
  }
}

function decode(payload: Buffer): ScrubProgress {
  const number = (at: number): number => readUint64(payload, 8 * at);
  return {
    pass: number(0),
    startedAtMs: number(1),
    goal: logIndex(number(2)),
    lastPass: number(3),
    lastAtMs: number(4),
    lastIndex: logIndex(number(5)),
    tip: decodeTip(payload, 8 * 6),
  };
}
