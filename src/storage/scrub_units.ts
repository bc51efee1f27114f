// Compares derived files with what the log says must be in them: expected units are gathered as records go by, a run of
// neighbours at a time, and compared with what lies in the files, without blocking.
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { Pace } from './scrub_pace.ts';

/** Expected bytes gathered before they are compared. */
const GATHERED_BYTES_MAX = 256 * 1024;
/** Runs of them: each is a file to open. */
const GATHERED_RUNS_MAX = 1_024;
const RUN_UNITS_MIN = 64;

/** Units that must lie in a file, back to back. */
interface Run {
  readonly stream: UnitStream;
  readonly path: string;
  /** Number of the first unit, counted over all files. */
  readonly first: number;
  /** Where it lies in its file. */
  readonly at: number;
  count: number;
  bytes: Buffer;
}

/** A unit that is not what it must be. */
export interface Mismatch {
  readonly stream: UnitStream;
  readonly path: string;
  /** Number of the unit, counted over all files. */
  readonly number: number;
  readonly reason: string;
  /** It was written as it must be. */
  readonly isMended: boolean;
}

/** How units lie in files. */
export interface UnitLayout {
  readonly unitBytes: number;
  readonly unitsPerFile: number;
  readonly pathOf: (fileNumber: number) => string;
}

/** Expected units of one sequence (the log index, one queue), usually in ascending order. */
export class UnitStream {
  readonly #units: ExpectedUnits;
  readonly #layout: UnitLayout;
  #run: Run | null = null;
  #round = -1;

  /** @see ExpectedUnits.stream */
  constructor(units: ExpectedUnits, layout: UnitLayout) {
    this.#units = units;
    this.#layout = layout;
  }

  /**
   * Makes room for unit `number`; the caller writes it before anything else is asked.
   * @returns where to write it: in `bytes`, from this position on.
   */
  place(number: number): number {
    const { unitBytes, unitsPerFile } = this.#layout;
    let run = this.#round === this.#units.round ? this.#run : null;
    if (run === null || run.first + run.count !== number || number % unitsPerFile === 0) {
      const at = (number % unitsPerFile) * unitBytes;
      const path = this.#layout.pathOf(Math.floor(number / unitsPerFile));
      run = { stream: this, path, first: number, at, count: 0, bytes: Buffer.allocUnsafe(RUN_UNITS_MIN * unitBytes) };
      this.#run = run;
      this.#round = this.#units.round;
      this.#units.opened(run);
    }
    const used = run.count * unitBytes;
    if (used === run.bytes.length) run.bytes = Buffer.concat([run.bytes], 2 * run.bytes.length);
    run.count++;
    this.#units.grew(unitBytes);
    return used;
  }

  /** Where `place` says. */
  get bytes(): Buffer {
    return this.#run!.bytes;
  }

  get unitBytes(): number {
    return this.#layout.unitBytes;
  }
}

/** All that is gathered at the moment. */
export class ExpectedUnits {
  readonly #disk: Disk;
  readonly #pace: Pace;
  readonly #rewrites: boolean;
  #runs: Run[] = [];
  #gathered = 0;
  #round = 0;

  /** @param rewrites whether units that are wrong are written as they must be. */
  constructor(disk: Disk, pace: Pace, rewrites: boolean) {
    this.#disk = disk;
    this.#pace = pace;
    this.#rewrites = rewrites;
  }

  /** Grows with each comparison. */
  get round(): number {
    return this.#round;
  }

  /** Whether it is time to compare. */
  get isFull(): boolean {
    return this.#gathered >= GATHERED_BYTES_MAX || this.#runs.length >= GATHERED_RUNS_MAX;
  }

  /** A sequence whose units will be added. */
  stream(layout: UnitLayout): UnitStream {
    return new UnitStream(this, layout);
  }

  /** A stream began a run. */
  opened(run: Run): void {
    this.#runs.push(run);
  }

  /** A stream added a unit. */
  grew(unitBytes: number): void {
    this.#gathered += unitBytes;
  }

  /**
   * Compares what was gathered, and forgets it.
   * @returns the first difference of each run; each was looked at twice.
   */
  async compare(): Promise<Mismatch[]> {
    const runs = this.#runs;
    this.#runs = [];
    this.#gathered = 0;
    this.#round++;
    const found: Mismatch[] = [];
    for (const run of runs) {
      await this.#pace.take(run.count * run.stream.unitBytes);
      if ((await this.#differenceIn(run)) === null) continue;
      // It may have been written or replaced just then.
      const difference = await this.#differenceIn(run);
      if (difference === null) continue;
      const isMended = this.#rewrites && (await this.#rewrite(run));
      const reason = isMended ? `${difference.reason}; it was written anew` : difference.reason;
      found.push({ stream: run.stream, path: run.path, number: difference.number, reason, isMended });
    }
    return found;
  }

  /**
   * Writes the units of a run. Whoever has the file open writes the same bytes to the same places, or none. A file that is
   * missing is not made: somebody may have it open still, and would go on writing to the one that is lost.
   * @returns whether they are right now.
   */
  async #rewrite(run: Run): Promise<boolean> {
    if (!this.#disk.exists(run.path)) return false;
    let file: DiskFile | null = null;
    try {
      file = this.#disk.open(run.path);
      file.write(run.bytes.subarray(0, run.count * run.stream.unitBytes), run.at);
      await file.flush();
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'STORAGE_FAILED') throw error;
      return false;
    } finally {
      file?.close();
    }
    return (await this.#differenceIn(run)) === null;
  }

  async #differenceIn(run: Run): Promise<{ readonly number: number; readonly reason: string } | null> {
    if (!this.#disk.exists(run.path)) return { number: run.first, reason: 'the file is missing' };
    let file: DiskFile | null = null;
    try {
      file = this.#disk.open(run.path);
      const { unitBytes } = run.stream;
      const expected = run.bytes.subarray(0, run.count * unitBytes);
      const actual = Buffer.alloc(expected.length);
      const read = await file.readAsync(actual, run.at);
      if (actual.equals(expected)) return null;
      let byte = 0;
      while (byte < read && actual[byte] === expected[byte]) byte++;
      const number = run.first + Math.floor(byte / unitBytes);
      const at = run.at + Math.floor(byte / unitBytes) * unitBytes;
      return { number, reason: byte < read ? `the unit at byte ${at} contradicts the log` : `it ends at byte ${at}` };
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'STORAGE_FAILED') throw error;
      return { number: run.first, reason: messageOf(error) };
    } finally {
      file?.close();
    }
  }
}
