// The shape of a log as consensus sees it: which term each index has, kept as runs, because a term that wrote a
// million records is still one run.
//
//   base        runs: (term 1 from 1) (term 3 from 4) (term 4 from 6)            last
//    0     | 1   2   3 | 4   5 | 6   7   8   9 |                                  9
//   term 0 |     1     |   3   |       4       |
import { assert } from '../base/assert.ts';
import { type LogIndex, type LogShape, logIndex, type Term, type TermRun, term } from './types.ts';

/** A log's terms. Holds no bytes; storage keeps those under the same indexes. */
export class TermLog {
  #baseIndex: LogIndex;
  #baseTerm: Term;
  #lastIndex: LogIndex;
  /** Terms of the runs, strictly rising; `#firsts` are their first indexes, the first of them baseIndex + 1. */
  readonly #terms: Term[] = [];
  readonly #firsts: LogIndex[] = [];

  constructor(shape: LogShape) {
    this.#baseIndex = shape.baseIndex;
    this.#baseTerm = shape.baseTerm;
    this.#lastIndex = shape.baseIndex;
    if (shape.lastIndex > shape.baseIndex) this.append(shape.runs, logIndex(shape.baseIndex + 1), shape.lastIndex);
    assert(this.#lastIndex === shape.lastIndex, 'the runs of a log reach from its base to its end');
  }

  get baseIndex(): LogIndex {
    return this.#baseIndex;
  }

  get lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  get lastTerm(): Term {
    return this.#terms.at(-1) ?? this.#baseTerm;
  }

  /** Term of the record at `index`, which must lie between the base and the end, both included. */
  termAt(index: number): Term {
    assert(index >= this.#baseIndex && index <= this.#lastIndex, () => `the log holds index ${index}`);
    return index === this.#baseIndex ? this.#baseTerm : this.#terms[this.#runAt(index)]!;
  }

  /** Whether the log holds a record of `wanted` at `index`; then it holds everything before it, too (§5.3). */
  matches(index: LogIndex, wanted: Term): boolean {
    return index >= this.#baseIndex && index <= this.#lastIndex && this.termAt(index) === wanted;
  }

  /** Adds `count` records of `newTerm` at the end. @returns the index of the first of them. */
  extend(newTerm: Term, count: number): LogIndex {
    assert(Number.isSafeInteger(count) && count > 0, 'a log grows by a whole number of records');
    assert(newTerm >= this.lastTerm, 'terms never fall along a log');
    const first = logIndex(this.#lastIndex + 1);
    this.#pushRun(newTerm, first);
    this.#lastIndex = logIndex(this.#lastIndex + count);
    return first;
  }

  /** Adds records firstIndex … lastIndex with the terms that `runs` gives them; `runs` may begin earlier. */
  append(runs: readonly TermRun[], firstIndex: LogIndex, lastIndex: LogIndex): void {
    assert(firstIndex === this.#lastIndex + 1, 'records are added right after the last one');
    assert(lastIndex >= firstIndex, 'an append holds at least one record');
    assert(runs.length > 0 && runs[0]!.firstIndex <= firstIndex, 'runs cover the records they come with');
    for (let at = 0; at < runs.length; at++) {
      const run = runs[at]!;
      const end = runEnd(runs, at, lastIndex);
      assert(run.firstIndex <= end, 'a run holds at least one record');
      if (end >= firstIndex) this.#pushRun(run.term, logIndex(Math.max(run.firstIndex, firstIndex)));
    }
    this.#lastIndex = lastIndex;
  }

  /** Removes every record after `index`. */
  truncateAfter(index: LogIndex): void {
    assert(index >= this.#baseIndex && index < this.#lastIndex, 'a truncation removes records that are held');
    while (this.#firsts.length > 0 && this.#firsts.at(-1)! > index) {
      this.#firsts.pop();
      this.#terms.pop();
    }
    this.#lastIndex = index;
  }

  /** Forgets the records up to `index`, which is held: it becomes the base. */
  cutTo(index: LogIndex): void {
    const newBaseTerm = this.termAt(index);
    if (index === this.#baseIndex) return;
    const kept = index === this.#lastIndex ? this.#firsts.length : this.#runAt(index + 1);
    this.#firsts.splice(0, kept);
    this.#terms.splice(0, kept);
    if (this.#firsts.length > 0) this.#firsts[0] = logIndex(Math.max(this.#firsts[0]!, index + 1));
    this.#baseIndex = index;
    this.#baseTerm = newBaseTerm;
  }

  /** Begins anew, empty after a record that is not held. */
  restart(baseIndex: LogIndex, baseTerm: Term): void {
    this.#firsts.length = 0;
    this.#terms.length = 0;
    this.#baseIndex = baseIndex;
    this.#baseTerm = baseTerm;
    this.#lastIndex = baseIndex;
  }

  /**
   * The first index from `firstIndex` to `lastIndex` where this log holds no record, or one of another term than
   * `runs` says; lastIndex + 1 when it holds them all (§5.3: what is held already is not written again).
   */
  firstDifference(runs: readonly TermRun[], firstIndex: LogIndex, lastIndex: LogIndex): LogIndex {
    let index: number = firstIndex;
    for (let at = 0; at < runs.length; at++) {
      const end = runEnd(runs, at, lastIndex);
      while (index <= end) {
        if (index > this.#lastIndex) return logIndex(index);
        const own = this.#runAt(index);
        if (this.#terms[own] !== runs[at]!.term) return logIndex(index);
        index = Math.min(end, this.#runEnd(own)) + 1;
      }
    }
    return logIndex(index);
  }

  /**
   * The last index at or below `index` whose term is at most `termMax`; the base if there is none. Both sides use it
   * to skip a whole term of disagreement in one round trip (§5.3, "optimized to reduce the number of rejected").
   */
  lastWithTermAtMost(index: number, termMax: Term): LogIndex {
    const from = Math.min(index, this.#lastIndex);
    if (from <= this.#baseIndex) return this.#baseIndex;
    let run = this.#runAt(from);
    if (this.#terms[run]! <= termMax) return logIndex(from);
    while (run >= 0 && this.#terms[run]! > termMax) run--;
    return run < 0 ? this.#baseIndex : logIndex(this.#runEnd(run));
  }

  /** Terms of records firstIndex … lastIndex, as an append message carries them. */
  runsBetween(firstIndex: LogIndex, lastIndex: LogIndex): TermRun[] {
    assert(firstIndex > this.#baseIndex && lastIndex <= this.#lastIndex, 'runs are asked for records that are held');
    const runs: TermRun[] = [];
    for (let run = this.#runAt(firstIndex); run < this.#firsts.length && this.#firsts[run]! <= lastIndex; run++) {
      runs.push({ term: this.#terms[run]!, firstIndex: logIndex(Math.max(firstIndex, this.#firsts[run]!)) });
    }
    return runs;
  }

  /** Whether a log that ends in (otherIndex, otherTerm) is at least as up to date as this one (§5.4.1). */
  isUpToDate(otherIndex: LogIndex, otherTerm: Term): boolean {
    if (otherTerm !== this.lastTerm) return otherTerm > this.lastTerm;
    return otherIndex >= this.#lastIndex;
  }

  /** A copy of the whole shape. */
  shape(): LogShape {
    const { baseIndex, lastIndex } = this;
    const runs = lastIndex === baseIndex ? [] : this.runsBetween(logIndex(baseIndex + 1), lastIndex);
    return { baseIndex, baseTerm: this.#baseTerm, lastIndex, runs };
  }

  #pushRun(newTerm: Term, firstIndex: LogIndex): void {
    const last = this.lastTerm;
    assert(newTerm >= last && newTerm > 0, () => `terms never fall along a log: ${newTerm} after ${last}`);
    if (newTerm === this.#terms.at(-1)) return;
    this.#terms.push(term(newTerm));
    this.#firsts.push(firstIndex);
  }

  /** Number of the run that holds `index`. Nearly always the last one, so that is tried first. */
  #runAt(index: number): number {
    let low = 0;
    let high = this.#firsts.length - 1;
    if (this.#firsts[high]! <= index) return high;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firsts[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #runEnd(run: number): number {
    return run + 1 < this.#firsts.length ? this.#firsts[run + 1]! - 1 : this.#lastIndex;
  }
}

function runEnd(runs: readonly TermRun[], at: number, lastIndex: LogIndex): number {
  return at + 1 < runs.length ? runs[at + 1]!.firstIndex - 1 : lastIndex;
}
