// Messages that push consumers work on: their invisible time is prolonged for as long as their client lives, so that only
// what is really lost comes back (ROCKETMQ §5.5). The receipt stays the same, whatever is prolonged behind it.
//
//   handed out: 60 s │ 1 min │ 3 min │ 5 min │ 10 min │ 30 min │ 1 h │ 1 h …   at most 3 h in all, each shortly before its end
import type { Clock, Timer } from '../../base/clock.ts';
import type { SettleRequest, Verdict } from '../../replica/consuming/types.ts';
import { verdictsCall } from '../consuming_calls.ts';
import type { DeliveryReceipt, GroupTopic } from './handles.ts';
import type { LeaderAsks } from './leader_asks.ts';

const MINUTE_MS = 60_000;

/** How deliveries are prolonged. */
export const renewalTerms = {
  /** At first. */
  invisibleMs: 60_000,
  scanMs: 5_000,
  /** Prolonged when less is left. */
  aheadMs: 10_000,
  stepsMs: [1, 3, 5, 10, 30, 60].map((minutes) => minutes * MINUTE_MS),
  totalMsMax: 180 * MINUTE_MS,
  failuresMax: 3,
  /** When the client is gone, its messages come back after so long. */
  backMs: 1_000,
  /** Verdicts of one call. */
  countMax: 256,
  /** Deliveries that are prolonged at a time; what is beyond comes back if it takes too long. */
  trackedMax: 200_000,
} as const;

interface Tracked extends GroupTopic {
  readonly clientId: string;
  readonly receipt: DeliveryReceipt;
  /** Monotonic. */
  readonly sinceMs: number;
  untilMs: number;
  steps: number;
  failures: number;
}

const nameOf = ({ group, topic }: GroupTopic, { queueId, offset }: DeliveryReceipt): string =>
  `${group}/${topic}/${queueId}/${offset}`;

/** The deliveries of one node that are prolonged. */
export class Renewals {
  readonly #asks: LeaderAsks;
  readonly #clock: Clock;
  readonly #isAlive: (clientId: string) => boolean;
  readonly #report: (error: unknown) => void;
  readonly #tracked = new Map<string, Tracked>();
  #timer: Timer | null = null;

  /**
   * @param isAlive whether a client is here, by now: some ask for messages before they say what they are.
   * @param report told of what went wrong.
   */
  constructor(
    asks: LeaderAsks,
    clock: Clock,
    isAlive: (clientId: string) => boolean,
    report: (error: unknown) => void,
  ) {
    this.#asks = asks;
    this.#clock = clock;
    this.#isAlive = isAlive;
    this.#report = report;
  }

  get count(): number {
    return this.#tracked.size;
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#tracked.clear();
  }

  /** A delivery was handed to a client. @param sinceMs monotonic: when it was asked for. */
  track(clientId: string, of: GroupTopic, receipt: DeliveryReceipt, sinceMs: number): void {
    const name = nameOf(of, receipt);
    if (this.#tracked.size >= renewalTerms.trackedMax && !this.#tracked.has(name)) return;
    const { group, topic } = of;
    const untilMs = sinceMs + renewalTerms.invisibleMs;
    this.#tracked.set(name, { group, topic, clientId, receipt, sinceMs, untilMs, steps: 0, failures: 0 });
    this.#arm();
  }

  /** The client has decided about it. */
  forget(of: GroupTopic, receipt: DeliveryReceipt): void {
    const name = nameOf(of, receipt);
    if (this.#tracked.get(name)?.receipt.handle === receipt.handle) this.#tracked.delete(name);
  }

  /** The client is gone: what it had comes back soon. */
  giveUp(clientId: string): void {
    const lost = [...this.#tracked.values()].filter((one) => one.clientId === clientId);
    for (const one of lost) this.#tracked.delete(nameOf(one, one.receipt));
    for (const batch of batches(lost)) {
      this.#settle(batch, () => ({ kind: 'change', invisibleMs: renewalTerms.backMs, mode: 'handle' })).catch(() => {
        // Then they come back when their invisible time is over.
      });
    }
  }

  #arm(): void {
    this.#timer ??= this.#clock.after(renewalTerms.scanMs, () => {
      this.#timer = null;
      this.#scan();
      if (this.#tracked.size > 0) this.#arm();
    });
  }

  #scan(): void {
    const nowMs = this.#clock.monotonicMs();
    const due: Tracked[] = [];
    for (const [name, one] of this.#tracked) {
      if (one.untilMs - nowMs > renewalTerms.aheadMs) continue;
      const isOver = one.untilMs >= one.sinceMs + renewalTerms.totalMsMax;
      if (isOver || !this.#isAlive(one.clientId)) this.#tracked.delete(name);
      else due.push(one);
    }
    for (const batch of batches(due)) void this.#prolong(batch, nowMs);
  }

  async #prolong(batch: readonly Tracked[], nowMs: number): Promise<void> {
    for (const one of batch) {
      const stepMs = renewalTerms.stepsMs[Math.min(one.steps, renewalTerms.stepsMs.length - 1)]!;
      one.untilMs = Math.min(nowMs + stepMs, one.sinceMs + renewalTerms.totalMsMax);
    }
    try {
      const settled = await this.#settle(batch, ({ untilMs }) => ({
        kind: 'change',
        invisibleMs: Math.floor(untilMs - nowMs),
        mode: 'keep',
      }));
      batch.forEach((one, at) => {
        one.steps++;
        one.failures = 0;
        if (settled[at]?.isDone !== true) this.forget(one, one.receipt);
      });
    } catch (error) {
      for (const one of batch) {
        one.untilMs = nowMs;
        if (++one.failures > renewalTerms.failuresMax) this.forget(one, one.receipt);
      }
      this.#report(error);
    }
  }

  /** All of one group and topic. */
  #settle(batch: readonly Tracked[], verdictOn: (one: Tracked) => Verdict) {
    const { group, topic } = batch[0]!;
    const verdicts = batch.map((one) => ({ receipt: one.receipt, verdict: verdictOn(one) }));
    const request: SettleRequest = { group, topic, verdicts };
    const deadlineMs = this.#clock.monotonicMs() + renewalTerms.scanMs;
    return this.#asks.ask(verdictsCall, () => request, { sizeBytes: 64 * batch.length, deadlineMs });
  }
}

/** Deliveries of one group and topic, not too many at a time. */
function batches(all: readonly Tracked[]): Tracked[][] {
  const open = new Map<string, Tracked[]>();
  const made: Tracked[][] = [];
  for (const one of all) {
    const name = `${one.group}/${one.topic}`;
    let batch = open.get(name);
    if (batch === undefined || batch.length >= renewalTerms.countMax) {
      batch = [];
      open.set(name, batch);
      made.push(batch);
    }
    batch.push(one);
  }
  return made;
}
