// When followers hear of a new commit index by a message of its own. While records flow the next ones bring it, so the
// leader waits for them a moment: a message more to each follower, and its answer, would come between a record and the
// answer to its sender.
import type { Clock, Timer } from '../base/clock.ts';
import { logIndex, type Ready } from '../raft/types.ts';

/** How long nothing more was committed: longer than one append takes, too short for who reads from a follower to notice. */
export const COMMIT_NOTICE_MS = 1;

/** The leader's part; idle on followers. */
export class CommitNotice {
  readonly #clock: Clock;
  readonly #onTime: () => void;
  #timer: Timer | null = null;
  #commit = logIndex(0);
  /** What was committed when the timer was set. */
  #commitBefore = logIndex(0);
  #isDue = false;

  /** @param onTime consensus is to be asked what to do, with `isDue`. */
  constructor(clock: Clock, onTime: () => void) {
    this.#clock = clock;
    this.#onTime = onTime;
  }

  /** Whether followers may be told. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** Takes note of what consensus says. */
  onReady({ isCommitUntold, commit }: Pick<Ready, 'isCommitUntold' | 'commit'>): void {
    this.#isDue = false;
    this.#commit = commit;
    if (!isCommitUntold || this.#timer !== null) return;
    this.#commitBefore = commit;
    this.#timer = this.#clock.after(COMMIT_NOTICE_MS, () => {
      this.#timer = null;
      this.#isDue = this.#commit === this.#commitBefore;
      this.#onTime();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
