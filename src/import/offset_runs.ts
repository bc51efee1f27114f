// Which offsets of a queue became which: runs of messages that are neighbours here and there.
//
//   old  100 101 102 | 110 111        [100, 0, 3] [110, 3, 2]
//   new    0   1   2 |   3   4        (offsets 103 to 109 were left behind)

/** First old offset, first new offset, number of messages. */
export type OffsetRun = readonly [old: number, next: number, count: number];

/** Where a reader goes on. */
export interface TranslatedOffset {
  readonly offset: number;
  /** Whether that is the very place: the next message it would have read, or right behind the last one. */
  readonly exact: boolean;
}

/** Runs in the order in which messages were carried over. */
export class OffsetRuns {
  readonly #runs: [number, number, number][];

  constructor(runs: readonly OffsetRun[] = []) {
    this.#runs = runs.map(([old, next, count]) => [old, next, count]);
  }

  get runs(): readonly OffsetRun[] {
    return this.#runs;
  }

  /** Adds one message behind all others; one that is known already changes nothing. */
  add(old: number, next: number): void {
    const last = this.#runs.at(-1);
    if (last === undefined) {
      this.#runs.push([old, next, 1]);
      return;
    }
    const [lastOld, lastNext, count] = last;
    if (next < lastNext + count) return;
    if (old === lastOld + count && next === lastNext + count) last[2]++;
    else this.#runs.push([old, next, 1]);
  }

  /**
   * Where a reader goes on that would have read the message `old` next: at it, or at the next one that was carried over,
   * or behind the last one. Null when nothing was carried over.
   */
  translate(old: number): TranslatedOffset | null {
    let behind: TranslatedOffset | null = null;
    for (const [first, next, count] of this.#runs) {
      if (old < first) return { offset: next, exact: false };
      if (old < first + count) return { offset: next + old - first, exact: true };
      behind = { offset: next + count, exact: old === first + count };
    }
    return behind;
  }
}
