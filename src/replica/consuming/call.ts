// Somebody who waits for an answer: gets exactly one, and not after the deadline.
import { TLedgerError } from '../../base/errors.ts';

/** Exactly one of the two is set. */
export type Done<T> = (error: Error | null, result: T | null) => void;

/** One call of a consumer. */
export class Call<T> {
  /** Monotonic. */
  readonly deadlineMs: number;
  #done: Done<T> | null;

  constructor(deadlineMs: number, done: Done<T>) {
    this.deadlineMs = deadlineMs;
    this.#done = done;
  }

  answer(result: T): void {
    this.#end(null, result);
  }

  refuse(error: Error): void {
    this.#end(error, null);
  }

  /** What was decided for it is on its way through the log: past the deadline it is told that nobody can tell yet. */
  expire(nowMs: number): void {
    if (this.deadlineMs > nowMs) return;
    this.refuse(new TLedgerError('OUTCOME_UNKNOWN', 'no majority confirmed the request before its deadline'));
  }

  #end(error: Error | null, result: T | null): void {
    const done = this.#done;
    this.#done = null;
    done?.(error, result);
  }
}
