// The terms of a whole log as runs: as many entries as there were leaders, not as many as there are records.
import { assert } from '../base/assert.ts';
import { type LogIndex, logIndex, type Term, type TermRun, term } from '../raft/types.ts';

/** Ascending runs that cover the records behind a base up to the last one. */
export class TermRuns {
  readonly #runs: TermRun[] = [];
  #baseTerm: Term;

  /** @param baseTerm term of the record before the first one; 0 when that is record 1. */
  constructor(baseTerm: Term) {
    this.#baseTerm = baseTerm;
  }

  get all(): readonly TermRun[] {
    return this.#runs.slice();
  }

  /** The next record has this term; terms don't fall. */
  extend(index: number, ofTerm: number): void {
    const last = this.#runs.length === 0 ? null : this.#runs[this.#runs.length - 1]!.term;
    if (ofTerm === last) return;
    assert(ofTerm >= (last ?? this.#baseTerm), 'terms rise along the log');
    this.#runs.push({ term: term(ofTerm), firstIndex: logIndex(index) });
  }

  /** Term of a record that is covered, or of the base. */
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
    return low < 0 ? this.#baseTerm : this.#runs[low]!.term;
  }

  truncateAfter(index: LogIndex): void {
    while (this.#runs.length > 0 && this.#runs[this.#runs.length - 1]!.firstIndex > index) this.#runs.pop();
  }

  /** Forgets the records up to `index`, which is covered: it becomes the base. */
  cutTo(index: LogIndex): void {
    this.#baseTerm = this.at(index);
    let held = this.#runs.findIndex((run) => run.firstIndex > index + 1);
    if (held < 0) held = this.#runs.length;
    const [first] = this.#runs.splice(0, held).slice(-1);
    if (first !== undefined) this.#runs.unshift({ term: first.term, firstIndex: logIndex(index + 1) });
  }

  /** Forgets everything; the next record comes behind one of `baseTerm`. */
  restart(baseTerm: Term): void {
    this.#runs.length = 0;
    this.#baseTerm = baseTerm;
  }

  /**
   * Finds the runs of the records behind `base` up to `last` by binary search, since terms don't fall along the log.
   * @param termOf null when it can't tell; then the answer is null, too.
   */
  static search(
    base: { readonly index: LogIndex; readonly term: Term },
    last: LogIndex,
    termOf: (index: LogIndex) => Term | null,
  ): TermRuns | null {
    const runs = new TermRuns(base.term);
    for (let first = base.index + 1; first <= last; ) {
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
