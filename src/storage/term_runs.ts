// The terms of a whole log as runs: as many entries as there were leaders, not as many as there are records.
import { assert } from '../base/assert.ts';
import { type LogIndex, logIndex, type Term, type TermRun, term } from '../raft/types.ts';

/** Ascending runs that cover records 1 … last. */
export class TermRuns {
  readonly #runs: TermRun[] = [];

  get all(): readonly TermRun[] {
    return this.#runs.slice();
  }

  /** The next record has this term; terms don't fall. */
  extend(index: number, ofTerm: number): void {
    const last = this.#runs.length === 0 ? 0 : this.#runs[this.#runs.length - 1]!.term;
    if (ofTerm === last) return;
    assert(ofTerm > last, 'terms rise along the log');
    this.#runs.push({ term: term(ofTerm), firstIndex: logIndex(index) });
  }

  /** Term of a record that is covered; 0 for index 0. */
  at(index: LogIndex): Term {
    let low = -1;
    // Nearly every question is about the last run.
    let high = this.#runs.length;
    if (high > 0 && this.#runs[high - 1]!.firstIndex <= index) low = high - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]!.firstIndex <= index) low = middle;
      else high = middle;
    }
    return low < 0 ? term(0) : this.#runs[low]!.term;
  }

  truncateAfter(index: LogIndex): void {
    while (this.#runs.length > 0 && this.#runs[this.#runs.length - 1]!.firstIndex > index) this.#runs.pop();
  }

  /**
   * Finds the runs of records 1 … `last` by binary search, since terms don't fall along the log.
   * @param termOf null when it can't tell; then the answer is null, too.
   */
  static search(last: LogIndex, termOf: (index: LogIndex) => Term | null): TermRuns | null {
    const runs = new TermRuns();
    for (let first = 1; first <= last; ) {
      const runTerm = termOf(logIndex(first));
      if (runTerm === null || runTerm < runs.at(last)) return null;
      runs.extend(first, runTerm);
      let inside = first;
      let outside = last + 1;
      while (outside - inside > 1) {
        const middle = Math.floor((inside + outside) / 2);
        const found = termOf(logIndex(middle));
        if (found === null || found < runTerm) return null;
        if (found === runTerm) inside = middle;
        else outside = middle;
      }
      first = outside;
    }
    return runs;
  }
}
