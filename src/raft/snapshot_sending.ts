// One snapshot on its way to one follower (paper §7): one piece is outstanding; the follower's answer says where to go
// on, which is how a transfer survives a lost connection, a restart and a change of leader.
import { assert } from '../base/assert.ts';
import { pauseRoundsMax } from './limits.ts';
import type { SnapshotPoint } from './types.ts';

/** How far a snapshot has come. */
export class SnapshotSending {
  readonly point: SnapshotPoint;
  /** Bytes the follower holds by its last answer: the next piece begins there. */
  #offset = 0;
  /** A piece was sent, and neither an answer that goes further nor the pause has passed since. */
  #outstanding = false;
  /** Heartbeats until an unanswered piece is sent again; doubles, so that a slow link is not flooded. */
  #pauseRounds = 1;
  #roundsLeft = 0;

  constructor(point: SnapshotPoint) {
    this.point = point;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Whether a piece, from `offset` on, may leave now. */
  get maySend(): boolean {
    return !this.#outstanding;
  }

  sent(): void {
    assert(!this.#outstanding, 'one piece of a snapshot is under way');
    this.#outstanding = true;
    this.#roundsLeft = this.#pauseRounds;
  }

  /**
   * The follower holds `offset` bytes. More than before: the next piece may leave at once. As many, or fewer (it had to
   * throw some away): a piece is sent again after the pause, so that late and repeated answers never multiply.
   */
  answered(offset: number): void {
    assert(Number.isSafeInteger(offset) && offset >= 0, 'an offset counts bytes');
    if (!this.#outstanding) return;
    if (offset > this.#offset) {
      this.#outstanding = false;
      this.#pauseRounds = 1;
    }
    this.#offset = offset;
  }

  /** A heartbeat interval has passed. */
  roundPassed(): void {
    if (!this.#outstanding || --this.#roundsLeft > 0) return;
    this.#outstanding = false;
    this.#pauseRounds = Math.min(this.#pauseRounds * 2, pauseRoundsMax);
  }
}
