// Who holds units that are not in files yet, so that a queue of many costs one write now and then and not one for each
// call. All queues of a group share the room: when it is used up, whoever has not grown for longest writes and lets go.
//
//   grown longest ago                          grown last
//   [ queue 7: 16 units ][ queue 2: 512 units ] ... [ queue 9: 64 units ]      buffers: GATHERED_BYTES_MAX together
//     writes, lets go  <--- no room left
import { assert } from '../base/assert.ts';

/** Buffers of all queues of a group together. */
export const GATHERED_BYTES_MAX = 8 * 1024 * 1024;

/** Has a buffer of units. */
export interface UnitHolder {
  /** Whether units lie in it that are in no file yet. */
  readonly holdsUnits: boolean;
  /** Writes them; the buffer stays for the next ones. */
  write(): void;
  /** Writes them and gives the buffer up. @returns its size. */
  release(): number;
}

/** See the head of the file. */
export class GatheredUnits {
  readonly #holders = new Set<UnitHolder>();
  #bytes = 0;

  /** Size of all buffers. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Those that have something to write, the one that has not grown for longest first. */
  get unwritten(): UnitHolder[] {
    return [...this.#holders].filter((holder) => holder.holdsUnits);
  }

  /** The buffer of `holder` has become larger. Others may have to write, and let go of theirs. */
  grew(holder: UnitHolder, byBytes: number): void {
    this.#holders.delete(holder);
    this.#holders.add(holder);
    this.#bytes += byBytes;
    for (const oldest of this.#holders) {
      if (this.#bytes <= GATHERED_BYTES_MAX) return;
      assert(oldest !== holder, 'one buffer is smaller than the room for all');
      // Whoever cannot write still holds units, and is still asked for them.
      this.#bytes -= oldest.release();
      this.#holders.delete(oldest);
    }
  }
}
