// How far the log is vouched for, as far as a restart may know: the file `checkpoint`, in two slots. It decides what
// recovery does with a bad record: at or below `flushed` it is corruption, beyond it a torn tail.
import { assert } from '../base/assert.ts';
import type { Disk } from './disk.ts';
import { decodeTip, encodeTip, type LogTip, TIP_BYTES } from './log_tip.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_434b, version: 1 } as const; // "TLCK"

/** What a checkpoint says. */
export interface Marks {
  /** The last record known to have been flushed. Written after the flush returned, never before. */
  readonly flushed: LogTip;
  /** Recovery scans from here on: at or before `flushed`, and the log index up to here was flushed, too. */
  readonly mark: LogTip;
}

/**
 * The checkpoint of a log. `note` goes to the page cache only, so it is exact after a killed process and may be older
 * (never false) after a power loss; `save` and `lower` are durable when they return.
 *
 * A missing file is made by the first `save`, never on opening: a file that says "nothing was flushed" beside a log whose
 * checkpoint was lost would let the next recovery cut what this one refused.
 */
export class Checkpoint {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #payload = Buffer.alloc(2 * TIP_BYTES);
  #slots: SlotFile | null = null;
  /** What the file said when it was opened; null when it was missing or damaged: then nothing is known. */
  readonly loaded: Marks | null;

  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
    const opened = disk.exists(path) ? SlotFile.open(disk, path, FORMAT) : null;
    this.#slots = opened?.slots ?? null;
    const payload = opened?.payload;
    this.loaded =
      payload?.length === 2 * TIP_BYTES
        ? { flushed: decodeTip(payload, 0), mark: decodeTip(payload, TIP_BYTES) }
        : null;
  }

  /** Moves on, not durably. Both slots stay true: an older one says less. */
  note(marks: Marks): void {
    this.#opened().write(this.#encode(marks));
  }

  /** Makes durable what was noted before the call, without blocking. */
  flush(): Promise<void> {
    return this.#opened().flush();
  }

  /** The first one after opening comes from recovery, when it has succeeded. */
  save(marks: Marks): void {
    if (this.#slots === null) {
      this.#slots = SlotFile.create(this.#disk, this.#path, FORMAT, this.#encode(marks));
      return;
    }
    this.note(marks);
    this.#slots.flushNow();
  }

  /**
   * Moves back, before a truncation: no slot may go on vouching for records that will be gone. Also when the log begins
   * anew, where the file may be missing.
   */
  lower(marks: Marks): void {
    if (this.#slots === null) this.save(marks);
    else this.#slots.writeBoth(this.#encode(marks));
  }

  close(): void {
    this.#slots?.close();
  }

  #opened(): SlotFile {
    assert(this.#slots !== null, 'recovery saves the checkpoint before the log is used');
    return this.#slots;
  }

  #encode(marks: Marks): Buffer {
    encodeTip(this.#payload, 0, marks.flushed);
    encodeTip(this.#payload, TIP_BYTES, marks.mark);
    return this.#payload;
  }
}
