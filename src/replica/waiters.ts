// Callers whose records are in the log but not committed yet. Each remembers the indexes and the term of its records: if
// those very records are applied, the request took effect; if others are applied in their place, it certainly did not and
// never will; if only its end was replaced, if an earlier request had brought it there, or the deadline passes first, the
// caller is told that nobody can tell.
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, Term } from '../raft/types.ts';

/** One caller. `settle` is called exactly once: with null when the records were committed and applied. */
export interface Caller {
  /** Of the records that it adds; of those it repeats, the last one. */
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** An earlier request brought all or a part of it into the log: whatever becomes of these records, it may have effects. */
  readonly isRepeat: boolean;
  readonly deadlineMs: number;
  readonly settle: (error: TLedgerError | null) => void;
}

interface Waiter extends Caller {
  /** Of its records. */
  readonly term: Term;
}

/** Those of one leadership, in log order; the ones before `head` are answered, null ones were answered early. */
interface Queue {
  readonly leadership: Term;
  items: (Waiter | null)[];
  head: number;
}

/** Answered callers are forgotten this many at a time. */
const COMPACT_COUNT = 4_096;

/** Callers of one replica. */
export class Waiters {
  /** By leadership, oldest first: a later one may begin at a lower index, and must not wait for the earlier ones. */
  #queues: Queue[] = [];
  #count = 0;

  get length(): number {
    return this.#count;
  }

  /**
   * @param term of its records.
   * @param leadership term in which the caller is served; its records may be older if it only repeats a request.
   */
  push({ firstIndex, lastIndex, isRepeat, deadlineMs, settle }: Caller, term: Term, leadership: Term): void {
    let queue = this.#queues.at(-1);
    if (queue === undefined || queue.leadership !== leadership) {
      queue = { leadership, items: [], head: 0 };
      this.#queues.push(queue);
    }
    queue.items.push({ firstIndex, lastIndex, isRepeat, deadlineMs, settle, term });
    this.#count++;
  }

  /**
   * Answers all whose records are applied.
   * @param termAt term of an applied record; null for one that the log does not hold any more.
   */
  release(appliedIndex: LogIndex, termAt: (index: LogIndex) => Term | null): void {
    for (const queue of this.#queues) {
      while (queue.head < queue.items.length) {
        const waiter = queue.items[queue.head]!;
        if (waiter !== null && waiter.lastIndex > appliedIndex) break;
        queue.items[queue.head++] = null;
        if (waiter !== null) this.#settle(waiter, outcomeOf(waiter, termAt));
      }
      if (queue.head > COMPACT_COUNT) {
        queue.items = queue.items.slice(queue.head);
        queue.head = 0;
      }
    }
    this.#queues = this.#queues.filter((queue) => queue.head < queue.items.length);
  }

  /** Tells those whose deadline has passed that the outcome is unknown. */
  expire(nowMs: number): void {
    // One for all, and none while nobody is late.
    let late: TLedgerError | undefined;
    this.#answer(({ deadlineMs }) => {
      if (deadlineMs > nowMs) return null;
      late ??= new TLedgerError('OUTCOME_UNKNOWN', 'no majority confirmed the request before its deadline');
      return late;
    });
  }

  /** Answers everybody with `error`. */
  failAll(error: TLedgerError): void {
    this.#answer(() => error);
    this.#queues = [];
  }

  #answer(errorFor: (waiter: Waiter) => TLedgerError | null): void {
    for (const { items, head } of this.#queues) {
      for (let at = head; at < items.length; at++) {
        const waiter = items[at];
        const error = waiter == null ? null : errorFor(waiter);
        if (waiter == null || error === null) continue;
        items[at] = null;
        this.#settle(waiter, error);
      }
    }
  }

  #settle(waiter: Waiter, error: TLedgerError | null): void {
    this.#count--;
    waiter.settle(error);
  }
}

function outcomeOf(waiter: Waiter, termAt: (index: LogIndex) => Term | null): TLedgerError | null {
  const { firstIndex, lastIndex, term, isRepeat } = waiter;
  if (termAt(lastIndex) === term) return null;
  const firstTerm = termAt(firstIndex);
  return isRepeat || firstTerm === null || firstTerm === term
    ? new TLedgerError('OUTCOME_UNKNOWN', 'leadership was lost; perhaps a part of the request took effect')
    : new TLedgerError('NOT_LEADER', 'leadership was lost; the request had no effect');
}
