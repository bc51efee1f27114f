// What was handed out and reached nobody, on its way back: it can be had again at once, and the delivery does not count.
import type { Clock } from '../../base/clock.ts';
import type { Receipt } from '../../replica/consuming/types.ts';
import { verdictsCall } from '../consuming_calls.ts';
import type { GroupTopic } from './handles.ts';
import type { LeaderAsks } from './leader_asks.ts';

/** How long giving back is tried; then messages come back when their invisible time is over. */
const GIVE_BACK_MS = 10_000;
/** How long a node that stops waits for it. */
const SETTLE_MS = 1_000;
const RECEIPT_BYTES = 96;

/** Gives back, for one node. */
export class Returns {
  readonly #asks: LeaderAsks;
  readonly #clock: Clock;
  readonly #open = new Set<Promise<unknown>>();

  constructor(asks: LeaderAsks, clock: Clock) {
    this.#asks = asks;
    this.#clock = clock;
  }

  /** All of one group and topic. */
  giveBack(messages: readonly Receipt[], of: GroupTopic): void {
    const verdict = { kind: 'change', invisibleMs: 0, mode: 'uncounted' } as const;
    const verdicts = messages.map(({ queueId, offset, handle }) => ({ receipt: { queueId, offset, handle }, verdict }));
    const deadlineMs = this.#clock.monotonicMs() + GIVE_BACK_MS;
    const options = { sizeBytes: RECEIPT_BYTES * verdicts.length, deadlineMs };
    const returned: Promise<unknown> = this.#asks
      .ask(verdictsCall, () => ({ ...of, verdicts }), options)
      .catch(() => {})
      .finally(() => this.#open.delete(returned));
    this.#open.add(returned);
  }

  /** Resolves when nothing is on its way, or after a moment. */
  async settled(): Promise<void> {
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(SETTLE_MS, resolve);
      void Promise.all(this.#open).then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}
