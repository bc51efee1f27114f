// Ledger.Pull: reads one queue once, waiting for the first message if the caller likes.
import type { Clock, Timer } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { PullRequest as BrokerPull, PullResult } from '../broker/types.ts';
import type { MemberAddress, PullRequest, PullResponse } from '../wire/ledger_messages.ts';
import { PULL_WAIT_MS_MAX } from '../wire/limits.ts';
import type { OpenCall } from './calls.ts';
import type { Gateway } from './gateway.ts';
import type { ReadAdvice } from './read_from.ts';
import { boundOf, checkOffset, findQueue, offsetOf, pullSome, rangeOf } from './reading.ts';
import { toStoredMessages } from './replies.ts';

/** Pulls that may wait on one node at a time. */
export const WAITING_PULLS_MAX = 10_000;
/** A waiting pull is answered this long before its caller's deadline, or with a quarter of the time left: a busy node is late. */
const DEADLINE_MARGIN_MS = 150;
const NOTHING = Buffer.alloc(0);

/** Serves pulls; bounds how many wait. */
export class Puller {
  readonly #gateway: Gateway;
  readonly #clock: Clock;
  readonly #waitingMax: number;
  readonly #advice: ReadAdvice;
  #waiting = 0;

  constructor(gateway: Gateway, clock: Clock, advice: ReadAdvice, waitingMax = WAITING_PULLS_MAX) {
    this.#gateway = gateway;
    this.#advice = advice;
    this.#clock = clock;
    this.#waitingMax = waitingMax;
  }

  /** Pulls that wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Answers a pull. Empty only if there was nothing when the answer was made.
   * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, INVALID_ARGUMENT, OVERLOADED, NO_LEADER
   */
  async pull(request: PullRequest, open: OpenCall): Promise<PullResponse> {
    const { waitMs } = request;
    if (waitMs < 0 || waitMs > PULL_WAIT_MS_MAX) {
      throw new TLedgerError('INVALID_ARGUMENT', `wait_ms: ${waitMs} is not between 0 and ${PULL_WAIT_MS_MAX}`);
    }
    const pull: BrokerPull = {
      topic: request.topic,
      queueId: request.queue,
      offset: offsetOf(request.offset),
      countMax: boundOf(request.maxCount, 'max_count'),
      bytesMax: boundOf(request.maxBytes, 'max_bytes'),
    };
    await findQueue(this.#gateway, pull.topic, pull.queueId, open.stepDeadlineMs);
    await checkOffset(this.#gateway, pull, open.stepDeadlineMs);
    const result = (await pullSome(this.#gateway, pull)) ?? (await this.#await(pull, waitMs, open));
    if (result === null) return this.#nothing(pull);
    return toResponse(pull, result, request.packed, this.#advice.once(result.backlogBytes));
  }

  /** Absence counts only after catching up, unless the caller is willing to wait for presence. */
  async #await(pull: BrokerPull, waitMs: number, open: OpenCall): Promise<PullResult | null> {
    if (waitMs === 0) {
      await this.#gateway.readBarrier(open.stepDeadlineMs);
      return pullSome(this.#gateway, pull);
    }
    const nowMs = this.#clock.monotonicMs();
    const leftMs = open.deadlineMs - nowMs;
    const delayMs = Math.min(waitMs, leftMs - Math.min(DEADLINE_MARGIN_MS, leftMs / 4));
    if (delayMs > 0) await this.#sleepUntilAppend(pull, delayMs, open);
    return pullSome(this.#gateway, pull);
  }

  /** Resolves at the next message of the queue, after `delayMs`, or when nobody waits any more. */
  async #sleepUntilAppend(pull: BrokerPull, delayMs: number, open: OpenCall): Promise<void> {
    if (this.#waiting >= this.#waitingMax) throw new TLedgerError('OVERLOADED', `${this.#waiting} pulls wait already`);
    this.#waiting++;
    let timer: Timer | undefined;
    let forget: (() => void) | undefined;
    try {
      await new Promise<void>((resolve) => {
        timer = this.#clock.after(delayMs, resolve);
        forget = this.#gateway.broker.onAppend(pull.topic, pull.queueId, resolve);
        open.whenOver(resolve);
        open.onDrain(resolve);
      });
    } finally {
      this.#waiting--;
      timer?.cancel();
      forget?.();
    }
  }

  #nothing(pull: BrokerPull): PullResponse {
    const { min, max } = rangeOf(this.#gateway, pull.topic, pull.queueId);
    const common = { minOffset: String(min), maxOffset: String(max), nextOffset: String(pull.offset) };
    return { ...common, messages: [], records: NOTHING, count: 0, readFrom: null };
  }
}

function toResponse(
  { topic, queueId, offset }: BrokerPull,
  result: PullResult,
  packed: boolean,
  readFrom: MemberAddress | null,
): PullResponse {
  return {
    messages: packed ? [] : toStoredMessages(result.records, topic, queueId, offset),
    records: packed ? result.records : NOTHING,
    count: result.count,
    nextOffset: String(result.nextOffset),
    minOffset: String(result.min),
    maxOffset: String(result.max),
    readFrom,
  };
}
