// Where the log begins: the file `base`, in two slots, next to the log. A log that was never cut has none.
//
//   cut:      base := B   then remove what lies below it          |  found at open: whatever lies below is removed
//   restart:  base := B, fresh   then discard everything,         |  found at open: everything is discarded (again),
//             begin anew behind B, then base := B                 |  nothing was appended behind B yet
//
// Both slots say the same before anything is removed, and before anything is appended behind a fresh base: whichever of
// them is lost later, the other one neither misses what was removed nor discards what was written since.
import { assert } from '../base/assert.ts';
import { physicalOffset } from '../format/record.ts';
import { logIndex } from '../raft/types.ts';
import { DamageError } from './damage.ts';
import type { Disk } from './disk.ts';
import { decodeTip, EMPTY_TIP, encodeTip, type LogTip, TIP_BYTES } from './log_tip.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_4253, version: 1 } as const; // "TLBS"
const FRESH_AT = TIP_BYTES;
const PAYLOAD_BYTES = TIP_BYTES + 1;

/** The record just before the first one held. */
export class LogBase {
  readonly #disk: Disk;
  readonly #path: string;
  #slots: SlotFile | null;
  #tip: LogTip;
  #isFresh: boolean;

  private constructor(disk: Disk, path: string, slots: SlotFile | null, tip: LogTip, isFresh: boolean) {
    this.#disk = disk;
    this.#path = path;
    this.#slots = slots;
    this.#tip = tip;
    this.#isFresh = isFresh;
  }

  /** @throws TLedgerError DATA_CORRUPTED when the file is there and neither slot is valid; STORAGE_FAILED. */
  static open(disk: Disk, path: string): LogBase {
    if (!disk.exists(path)) return new LogBase(disk, path, null, EMPTY_TIP, false);
    const { slots, payload } = SlotFile.open(disk, path, FORMAT);
    if (payload?.length === PAYLOAD_BYTES) {
      return new LogBase(disk, path, slots, decodeTip(payload, 0), payload[FRESH_AT] !== 0);
    }
    slots.close();
    const reason = 'neither slot says where the log begins';
    throw new DamageError({ kind: 'log', file: path, position: physicalOffset(0), index: logIndex(1), reason });
  }

  /** Says anew where a log begins whose base was lost, durably and as a whole. */
  static replace(disk: Disk, path: string, tip: LogTip): void {
    SlotFile.create(disk, path, FORMAT, payloadOf(tip, false)).close();
  }

  /** `EMPTY_TIP` when the log begins with record 1. */
  get tip(): LogTip {
    return this.#tip;
  }

  /** Everything that lies here is to be discarded: the log is empty behind the base. */
  get isFresh(): boolean {
    return this.#isFresh;
  }

  /** Moves the base; in both slots, durably. It never moves back. */
  save(tip: LogTip, options: { readonly isFresh: boolean }): void {
    assert(
      tip.index > 0 && tip.index >= this.#tip.index,
      () => `the base moved from ${this.#tip.index} to ${tip.index}`,
    );
    const payload = payloadOf(tip, options.isFresh);
    if (this.#slots === null) this.#slots = SlotFile.create(this.#disk, this.#path, FORMAT, payload);
    else this.#slots.writeBoth(payload);
    this.#tip = tip;
    this.#isFresh = options.isFresh;
  }

  /**
   * Begins an opening: what was found may be in the page cache only, when a process was killed before its flush, and
   * what lies below it is removed next. Only what is written again is carried by the next flush.
   */
  confirm(): void {
    if (this.#slots !== null) this.save(this.#tip, { isFresh: this.#isFresh });
  }

  /**
   * Ends an opening: what was fresh has been discarded, and both slots agree again, also when a crash came between them
   * or left them in the page cache only.
   */
  settle(): void {
    if (this.#slots !== null) this.save(this.#tip, { isFresh: false });
  }

  close(): void {
    this.#slots?.close();
  }
}

function payloadOf(tip: LogTip, isFresh: boolean): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES);
  encodeTip(payload, 0, tip);
  payload[FRESH_AT] = isFresh ? 1 : 0;
  return payload;
}
