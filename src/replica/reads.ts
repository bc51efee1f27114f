// Callers who wait for a confirmed read index (ReadIndex, dissertation §6.4) or for an index to be applied here.
import { TLedgerError } from '../base/errors.ts';
import type { LogIndex, ReadAborted, ReadState } from '../raft/types.ts';

interface AppliedWaiter {
  readonly index: LogIndex;
  readonly deadlineMs: number;
  readonly resolve: () => void;
  readonly reject: (error: TLedgerError) => void;
}

/** Most callers waiting at once, of each kind. */
const WAITERS_COUNT_MAX = 10_000;

/** Waiting reads of one replica. */
export class Reads {
  #token = 0;
  readonly #confirmations = new Map<
    number,
    { resolve: (index: LogIndex) => void; reject: (error: TLedgerError) => void }
  >();
  #applied: AppliedWaiter[] = [];

  get length(): number {
    return this.#confirmations.size + this.#applied.length;
  }

  /** @param begin starts the confirmation of the token it is given; may throw. */
  confirm(begin: (token: number) => void): Promise<LogIndex> {
    return new Promise((resolve, reject) => {
      if (this.#confirmations.size >= WAITERS_COUNT_MAX) throw new TLedgerError('OVERLOADED', 'too many reads wait');
      const token = ++this.#token;
      this.#confirmations.set(token, { resolve, reject });
      try {
        begin(token);
      } catch (error) {
        this.#confirmations.delete(token);
        throw error;
      }
    });
  }

  onReady(reads: readonly ReadState[], aborted: readonly ReadAborted[]): void {
    for (const { token, index } of reads) this.#take(token)?.resolve(index);
    for (const { token } of aborted) {
      this.#take(token)?.reject(new TLedgerError('NOT_LEADER', 'leadership was lost before the read was confirmed'));
    }
  }

  /** Resolves once `index` is applied; OVERLOADED beyond the limit, DEADLINE_EXCEEDED past the deadline. */
  whenApplied(index: LogIndex, deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#applied.length >= WAITERS_COUNT_MAX) throw new TLedgerError('OVERLOADED', 'too many reads wait');
      this.#applied.push({ index, deadlineMs, resolve, reject });
    });
  }

  onApplied(appliedIndex: LogIndex): void {
    if (this.#applied.length === 0) return;
    const due = this.#applied.filter((waiter) => waiter.index <= appliedIndex);
    if (due.length === 0) return;
    this.#applied = this.#applied.filter((waiter) => waiter.index > appliedIndex);
    for (const waiter of due) waiter.resolve();
  }

  expire(nowMs: number): void {
    const late = this.#applied.filter((waiter) => waiter.deadlineMs <= nowMs);
    if (late.length === 0) return;
    this.#applied = this.#applied.filter((waiter) => waiter.deadlineMs > nowMs);
    for (const waiter of late)
      waiter.reject(new TLedgerError('DEADLINE_EXCEEDED', 'this replica did not catch up in time'));
  }

  failAll(error: TLedgerError): void {
    for (const { reject } of this.#confirmations.values()) reject(error);
    this.#confirmations.clear();
    const applied = this.#applied;
    this.#applied = [];
    for (const waiter of applied) waiter.reject(error);
  }

  #take(token: number) {
    const waiting = this.#confirmations.get(token);
    this.#confirmations.delete(token);
    return waiting;
  }
}
