// Calls that found no leader, waiting in order for one to appear.
import { TLedgerError } from '../base/errors.ts';

/** A call that waits. */
export interface ParkedCall {
  readonly sizeBytes: number;
  readonly deadlineMs: number;
  /** Tries again; false when there is still nowhere to go. */
  readonly go: () => boolean;
  readonly refuse: (error: TLedgerError) => void;
}

const PARKED_COUNT_MAX = 10_000;
const PARKED_BYTES_MAX = 32 * 1024 * 1024;

/** Bounded in count and bytes. */
export class Parking {
  #calls: ParkedCall[] = [];
  #bytes = 0;

  get length(): number {
    return this.#calls.length;
  }

  /** Refuses with OVERLOADED when full. */
  park(call: ParkedCall): void {
    if (this.#calls.length >= PARKED_COUNT_MAX || this.#bytes + call.sizeBytes > PARKED_BYTES_MAX) {
      call.refuse(new TLedgerError('OVERLOADED', `${this.#calls.length} calls wait for a leader already`));
      return;
    }
    this.#calls.push(call);
    this.#bytes += call.sizeBytes;
  }

  /** Lets them try again in order, until one finds that there is still nowhere to go. */
  release(): void {
    for (let call = this.#calls[0]; call !== undefined; call = this.#calls[0]) {
      // Taken out first: going may park others, behind those that wait already.
      this.#calls.shift();
      this.#bytes -= call.sizeBytes;
      if (call.go()) continue;
      this.#calls.unshift(call);
      this.#bytes += call.sizeBytes;
      return;
    }
  }

  expire(nowMs: number): void {
    const late = this.#calls.filter((call) => call.deadlineMs <= nowMs);
    if (late.length === 0) return;
    this.#keep(this.#calls.filter((call) => call.deadlineMs > nowMs));
    for (const call of late) call.refuse(new TLedgerError('NO_LEADER', 'the group had no leader before the deadline'));
  }

  refuseAll(error: TLedgerError): void {
    const calls = this.#calls;
    this.#keep([]);
    for (const call of calls) call.refuse(error);
  }

  #keep(calls: ParkedCall[]): void {
    this.#calls = calls;
    this.#bytes = calls.reduce((sum, call) => sum + call.sizeBytes, 0);
  }
}
