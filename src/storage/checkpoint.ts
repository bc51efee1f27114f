// How far the log is vouched for, as far as a restart may know: the file `checkpoint`, in two slots. It decides what
// recovery does with a bad record: at or below `flushed` it is corruption, beyond it a torn tail.
import { physicalOffset } from '../format/record.ts';
import { readUint64, writeUint64 } from '../format/uint64.ts';
import { logIndex, term } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import { EMPTY_TIP, type LogTip } from './log_tip.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_434b, version: 1 } as const; // "TLCK"
const TIP_BYTES = 36;

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
 */
export class Checkpoint {
  readonly #slots: SlotFile;
  readonly #payload = Buffer.alloc(2 * TIP_BYTES);
  /** What the file said when it was opened; null when it was missing or damaged: then nothing is known. */
  readonly loaded: Marks | null;

  constructor(disk: Disk, path: string) {
    const exists = disk.exists(path);
    this.#slots = SlotFile.open(disk, path, FORMAT, this.#encode({ flushed: EMPTY_TIP, mark: EMPTY_TIP }));
    const payload = exists ? this.#slots.load() : null;
    this.loaded =
      payload?.length === 2 * TIP_BYTES
        ? { flushed: decodeTip(payload, 0), mark: decodeTip(payload, TIP_BYTES) }
        : null;
  }

  /** Moves on, not durably. Both slots stay true: an older one says less. */
  note(marks: Marks): void {
    this.#slots.write(this.#encode(marks));
  }

  /** Makes durable what was noted before the call, without blocking. */
  flush(): Promise<void> {
    return this.#slots.flush();
  }

  save(marks: Marks): void {
    this.note(marks);
    this.#slots.flushNow();
  }

  /** Moves back, before a truncation: no slot may go on vouching for records that will be gone. */
  lower(marks: Marks): void {
    this.#slots.writeBoth(this.#encode(marks));
  }

  close(): void {
    this.#slots.close();
  }

  #encode(marks: Marks): Buffer {
    encodeTip(this.#payload, 0, marks.flushed);
    encodeTip(this.#payload, TIP_BYTES, marks.mark);
    return this.#payload;
  }
}

function encodeTip(target: Buffer, at: number, tip: LogTip): void {
  writeUint64(target, tip.index, at);
  writeUint64(target, tip.term, at + 8);
  writeUint64(target, tip.start, at + 16);
  writeUint64(target, tip.end, at + 24);
  target.writeUInt32BE(tip.chainCrc, at + 32);
}

function decodeTip(source: Buffer, at: number): LogTip {
  return {
    index: logIndex(readUint64(source, at)),
    term: term(readUint64(source, at + 8)),
    start: physicalOffset(readUint64(source, at + 16)),
    end: physicalOffset(readUint64(source, at + 24)),
    chainCrc: source.readUInt32BE(at + 32),
  };
}
