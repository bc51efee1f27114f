// Room that a full disk still has: a file that really takes its bytes, given up when nothing else is left, so that hard
// state, checkpoint, base and state can be written and segments deleted.
import type { Disk } from './disk.ts';

const NAME = 'reserve';
const PIECE_BYTES = 1024 * 1024;

/** The reserve of one group. Nothing in it means anything: it is neither read nor checked. */
export class Reserve {
  readonly sizeBytes: number;
  readonly #disk: Disk;
  readonly #path: string;

  /** @param sizeBytes 0 for none. */
  constructor(disk: Disk, directory: string, sizeBytes: number) {
    this.#disk = disk;
    this.#path = `${directory}/${NAME}`;
    this.sizeBytes = sizeBytes;
  }

  /** Whether all of it lies on the disk, as far as its size tells. */
  get isHeld(): boolean {
    if (this.sizeBytes === 0 || !this.#disk.exists(this.#path)) return false;
    const file = this.#disk.open(this.#path);
    try {
      return file.sizeBytes() === this.sizeBytes;
    } finally {
      file.close();
    }
  }

  /** Gives the room back, durably and at once, as who does so needs it; twice is harmless. */
  release(): void {
    if (this.#disk.exists(this.#path)) {
      const file = this.#disk.open(this.#path);
      try {
        file.truncate(0);
      } finally {
        file.close();
      }
    }
    this.#disk.remove(this.#path);
  }

  /**
   * Takes the room, piece by piece, without blocking; what there is of another size goes first.
   * @param goesOn asked before each piece; what was taken is given back when it says no.
   * @throws TLedgerError STORAGE_FAILED, which costs nothing but the reserve: nothing is left of it then.
   */
  async take(goesOn: () => boolean): Promise<void> {
    if (this.isHeld) return;
    this.release();
    let isWhole = false;
    const file = this.#disk.open(this.#path, { create: true });
    try {
      const zeros = Buffer.alloc(Math.min(PIECE_BYTES, this.sizeBytes));
      for (let at = 0; at < this.sizeBytes && goesOn(); at += zeros.length) {
        const piece = zeros.subarray(0, Math.min(zeros.length, this.sizeBytes - at));
        file.write(piece, at);
        await file.flush();
      }
      isWhole = file.sizeBytes() === this.sizeBytes;
    } finally {
      file.close();
      if (!isWhole && goesOn()) this.release();
    }
  }
}
