// Reads that wait for their leader to prove that it still leads (ReadIndex, dissertation §6.4).
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { pendingReadsMax } from './limits.ts';
import type { LogIndex, ReadAborted, ReadState } from './types.ts';

interface PendingRead extends ReadState {
  /** The heartbeat round, begun after the read arrived, whose echo by a majority confirms it. */
  readonly round: number;
}

/** The waiting reads of one leader in one term, in the order of their arrival and therefore of their rounds. */
export class PendingReads {
  #waiting: PendingRead[] = [];

  get count(): number {
    return this.#waiting.length;
  }

  /** @throws TLedgerError OVERLOADED when `pendingReadsMax` reads wait already. */
  add(token: number, index: LogIndex, round: number): void {
    if (this.#waiting.length >= pendingReadsMax) {
      throw new TLedgerError('OVERLOADED', `${pendingReadsMax} reads are waiting for their confirmation.`);
    }
    assert((this.#waiting.at(-1)?.round ?? 0) <= round, 'rounds rise with arrival');
    this.#waiting.push({ token, index, round });
  }

  /** Takes out the reads that a majority's echo of `round` confirms. */
  confirm(round: number): ReadState[] {
    let count = 0;
    while (count < this.#waiting.length && this.#waiting[count]!.round <= round) count++;
    if (count === 0) return [];
    return this.#waiting.splice(0, count).map(({ token, index }) => ({ token, index }));
  }

  /** Takes out all reads: leadership is lost, so that nothing can confirm them any more. */
  abort(): ReadAborted[] {
    const aborted = this.#waiting.map(({ token }) => ({ token }));
    this.#waiting = [];
    return aborted;
  }
}
