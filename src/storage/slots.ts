// A file that holds one small value and survives a torn write: two checksummed slots, written in turn, each in its own
// 4 KiB, so that one write never touches the other. The valid slot with the higher generation counts.
//
//    0        4          8            16           20     24
//    +--------+----------+------------+------------+------+-----------
//    | magic  | version  | generation | payloadSize| crc  | payload
//    +--------+----------+------------+------------+------+-----------
//      4        4          8            4            4      payloadSize
//
// crc covers bytes 0..19 and the payload. A slot fits into one 512-byte sector, the unit a device writes as a whole.
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../format/uint64.ts';
import type { Disk, DiskFile } from './disk.ts';

const SLOT_BYTES = 4096;
const HEADER_BYTES = 24;
const CRC_AT = 20;
/** What a slot can hold, so that header and payload lie in one sector. */
export const SLOT_PAYLOAD_BYTES_MAX = 512 - HEADER_BYTES;

/** Tells one kind of slot file from another. */
export interface SlotFormat {
  /** Four bytes that tell what kind of value this is. */
  readonly magic: number;
  /** Raised when the payload's layout changes; a higher one than ours is refused. */
  readonly version: number;
}

/** A value in two slots. Every method may throw STORAGE_FAILED. */
export class SlotFile {
  readonly #file: DiskFile;
  readonly #format: SlotFormat;
  readonly #buffer = Buffer.alloc(HEADER_BYTES + SLOT_PAYLOAD_BYTES_MAX);
  #generation = 0;

  private constructor(file: DiskFile, format: SlotFormat) {
    this.#file = file;
    this.#format = format;
  }

  /** Makes the file, durably and as a whole, with `initial` in both slots. */
  static create(disk: Disk, path: string, format: SlotFormat, initial: Buffer): SlotFile {
    const draft = `${path}.new`;
    disk.remove(draft);
    const slots = new SlotFile(disk.open(draft, { create: true }), format);
    try {
      slots.writeBoth(initial);
    } finally {
      slots.close();
    }
    disk.rename(draft, path);
    const made = new SlotFile(disk.open(path), format);
    made.#generation = slots.#generation;
    return made;
  }

  /**
   * Opens a file that is there, with its newest valid value: null when neither slot is valid.
   * @throws TLedgerError DATA_DIR_FOREIGN when a newer version of this software wrote it.
   */
  static open(disk: Disk, path: string, format: SlotFormat): { slots: SlotFile; payload: Buffer | null } {
    const slots = new SlotFile(disk.open(path), format);
    try {
      return { slots, payload: slots.#load() };
    } catch (error) {
      slots.close();
      throw error;
    }
  }

  /** Writes the next generation over the older slot; durable only after `flushNow`. */
  write(payload: Buffer): void {
    assert(payload.length <= SLOT_PAYLOAD_BYTES_MAX, 'a slot holds one sector');
    this.#generation++;
    const { magic, version } = this.#format;
    const bytes = this.#buffer;
    bytes.writeUInt32BE(magic, 0);
    bytes.writeUInt32BE(version, 4);
    writeUint64(bytes, this.#generation, 8);
    bytes.writeUInt32BE(payload.length, 16);
    payload.copy(bytes, HEADER_BYTES);
    const end = HEADER_BYTES + payload.length;
    bytes.writeUInt32BE(crcOf(bytes, end), CRC_AT);
    this.#file.write(bytes.subarray(0, end), (this.#generation % 2) * SLOT_BYTES);
  }

  /**
   * Replaces both slots, so that not even a damaged slot can bring back an older value; durable when it returns. At every
   * moment one of them is valid, also when the other is read back as damaged: that one is written first, and the second
   * when the first is durable.
   */
  writeBoth(payload: Buffer): void {
    if (this.#generation > 0 && !this.#isNewestThere()) this.#generation++;
    this.write(payload);
    this.flushNow();
    this.write(payload);
    this.flushNow();
  }

  /** Makes durable what was written before the call, without blocking. */
  flush(): Promise<void> {
    return this.#file.flush();
  }

  flushNow(): void {
    this.#file.flushNow();
  }

  close(): void {
    this.#file.close();
  }

  /** What was written last is there. A slot that cannot be read is as good as damaged; writing may heal it. */
  #isNewestThere(): boolean {
    const bytes = tryReadSlot(this.#file, this.#generation % 2);
    return bytes instanceof Buffer && isIntact(bytes) && readUint64(bytes, 8) === this.#generation;
  }

  /** @throws TLedgerError STORAGE_FAILED when one slot cannot be read and the other is not valid. */
  #load(): Buffer | null {
    let newest: Buffer | null = null;
    let failure: TLedgerError | null = null;
    for (const slot of [0, 1]) {
      const bytes = tryReadSlot(this.#file, slot);
      if (bytes instanceof TLedgerError) {
        failure = bytes;
        continue;
      }
      if (!this.#isValid(bytes)) continue;
      const generation = readUint64(bytes, 8);
      if (newest !== null && generation <= this.#generation) continue;
      this.#generation = generation;
      newest = bytes.subarray(HEADER_BYTES, HEADER_BYTES + bytes.readUInt32BE(16));
    }
    if (newest === null && failure !== null) throw failure;
    return newest;
  }

  #isValid(bytes: Buffer): boolean {
    if (bytes.readUInt32BE(0) !== this.#format.magic || !isIntact(bytes)) return false;
    const version = bytes.readUInt32BE(4);
    if (version !== this.#format.version) {
      throw new TLedgerError(
        'DATA_DIR_FOREIGN',
        `${this.#file.path} has format version ${version}; this software reads version ${this.#format.version}`,
      );
    }
    return true;
  }
}

/**
 * Whether each of the two slots of a file that is there holds a value, of whatever kind.
 * @throws TLedgerError STORAGE_FAILED
 */
export function validSlots(disk: Disk, path: string): [boolean, boolean] {
  const file = disk.open(path);
  try {
    return [isIntact(readSlot(file, 0)), isIntact(readSlot(file, 1))];
  } finally {
    file.close();
  }
}

/** The slot, or why the disk does not give it. */
function tryReadSlot(file: DiskFile, slot: number): Buffer | TLedgerError {
  try {
    return readSlot(file, slot);
  } catch (error) {
    if (error instanceof TLedgerError && error.code === 'STORAGE_FAILED') return error;
    throw error;
  }
}

function readSlot(file: DiskFile, slot: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + SLOT_PAYLOAD_BYTES_MAX);
  file.read(bytes, slot * SLOT_BYTES);
  return bytes;
}

/** A slot that was never written is not: its checksum would be that of zeros, which is not zero. */
function isIntact(bytes: Buffer): boolean {
  const payloadSize = bytes.readUInt32BE(16);
  if (payloadSize > SLOT_PAYLOAD_BYTES_MAX || !isUint64Safe(bytes, 8)) return false;
  return crcOf(bytes, HEADER_BYTES + payloadSize) === bytes.readUInt32BE(CRC_AT);
}

function crcOf(bytes: Buffer, end: number): number {
  return crc32(bytes, HEADER_BYTES, end, crc32(bytes, 0, CRC_AT));
}
