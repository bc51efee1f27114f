// A file read in large pieces, front to back. Each piece is a buffer of its own, so that what was found in it may be kept.
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { messageOf, TLedgerError } from '../base/errors.ts';

/** Bytes of one read. */
export const PIECE_BYTES = 8 * 1_048_576;

/** One file of a source, open for reading only. */
export class FileWindow {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #handle: FileHandle;
  /** The piece at hand: `buffer` begins with the byte `base` of the file. */
  buffer: Buffer = Buffer.alloc(0);
  base = 0;

  private constructor(path: string, sizeBytes: number, handle: FileHandle) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#handle = handle;
  }

  /** @throws TLedgerError STORAGE_FAILED */
  static async open(path: string): Promise<FileWindow> {
    try {
      const handle = await open(path, 'r');
      return new FileWindow(path, (await handle.stat()).size, handle);
    } catch (error) {
      throw new TLedgerError('STORAGE_FAILED', `${path} cannot be opened: ${messageOf(error)}`, error);
    }
  }

  /** How many bytes from `at` on are at hand. */
  has(at: number): number {
    return at < this.base ? 0 : Math.max(0, this.base + this.buffer.length - at);
  }

  /**
   * Makes the piece at hand begin at `at`, and as long as a piece is or `sizeBytes` if that is more; shorter at the end of
   * the file. @throws TLedgerError STORAGE_FAILED
   */
  async load(at: number, sizeBytes = PIECE_BYTES): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(Math.max(0, Math.min(Math.max(sizeBytes, PIECE_BYTES), this.sizeBytes - at)));
    let filled = 0;
    try {
      while (filled < buffer.length) {
        const { bytesRead } = await this.#handle.read(buffer, filled, buffer.length - filled, at + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
    } catch (error) {
      throw new TLedgerError(
        'STORAGE_FAILED',
        `${this.path} cannot be read at ${at + filled}: ${messageOf(error)}`,
        error,
      );
    }
    this.buffer = filled === buffer.length ? buffer : buffer.subarray(0, filled);
    this.base = at;
  }

  /** Closes the file. */
  close(): Promise<void> {
    return this.#handle.close();
  }
}
