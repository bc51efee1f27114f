// Callers whose records are in the log but not committed yet, in log order. Each remembers index and term of its last
// record: if that very record is applied, the request took effect; if another one is applied at that index, it
// certainly did not and never will; if the deadline passes first, nobody can tell.
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, Term } from '../raft/types.ts';

/** One caller. `settle` is called exactly once: with null when the records were committed and applied. */
export interface Waiter {
  readonly lastIndex: LogIndex;
  readonly term: Term;
  readonly deadlineMs: number;
  readonly settle: (error: TLedgerError | null) => void;
}

/** Callers of one replica, in log order. */
export class Waiters {
  #items: (Waiter | null)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Waiters come in the order of their indexes within one term; a later term's may begin lower. */
  push(waiter: Waiter): void {
    this.#items.push(waiter);
  }

  /**
   * Answers all whose index is applied.
   * @param termAt term of an applied record.
   */
  release(appliedIndex: LogIndex, termAt: (index: LogIndex) => Term): void {
    while (this.#head < this.#items.length) {
      const waiter = this.#items[this.#head]!;
      if (waiter !== null) {
        if (waiter.lastIndex > appliedIndex) break;
        const replaced = termAt(waiter.lastIndex) !== waiter.term;
        waiter.settle(
          replaced ? new TLedgerError('NOT_LEADER', 'leadership was lost; the request had no effect') : null,
        );
      }
      this.#items[this.#head++] = null;
    }
    if (this.#head === this.#items.length || this.#head > 4_096) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Tells those whose deadline has passed that the outcome is unknown. */
  expire(nowMs: number): void {
    for (let at = this.#head; at < this.#items.length; at++) {
      const waiter = this.#items[at];
      if (waiter == null || waiter.deadlineMs > nowMs) continue;
      this.#items[at] = null;
      waiter.settle(new TLedgerError('OUTCOME_UNKNOWN', 'no majority confirmed the request before its deadline'));
    }
  }

  failAll(error: TLedgerError): void {
    const rest = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    for (const waiter of rest) waiter?.settle(error);
  }
}
