// Everybody who waits for something of this replica: for appended records, confirmed reads, a handover, another membership.
// Their deadlines are looked at now and then, and only while somebody waits.
import type { Clock } from '../base/clock.ts';
import type { TLedgerError } from '../base/errors.ts';
import type { Leading } from './leading.ts';
import { MembershipChanges } from './membership_changes.ts';
import { Reads } from './reads.ts';
import { Transfer } from './transfer.ts';

/** How often deadlines are looked at. */
const SWEEP_INTERVAL_MS = 50;

/** The callers of one replica. */
export class Callers {
  readonly leading: Leading;
  readonly reads = new Reads();
  readonly transfer = new Transfer();
  readonly changes = new MembershipChanges();
  readonly #clock: Clock;
  #isSweepScheduled = false;
  #isClosed = false;

  constructor(clock: Clock, leading: Leading) {
    this.#clock = clock;
    this.leading = leading;
  }

  /** Somebody waits from now on. */
  arm(): void {
    if (this.#isSweepScheduled || this.#isClosed) return;
    this.#isSweepScheduled = true;
    this.#clock.after(SWEEP_INTERVAL_MS, () => {
      this.#isSweepScheduled = false;
      if (!this.#isClosed) this.#sweep();
    });
  }

  /** The replica ends: nobody is answered any more after this. */
  close(error: TLedgerError): void {
    this.#isClosed = true;
    this.leading.failAll(error);
    this.reads.failAll(error);
    this.transfer.fail(error);
    this.changes.failAll(error);
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const part of [this.leading, this.reads, this.transfer, this.changes]) part.expire(nowMs);
    this.leading.scheduleDrain();
    const waiting = this.leading.waitingCount + this.reads.length + this.changes.length;
    if (waiting > 0 || this.transfer.isActive) this.arm();
  }
}
