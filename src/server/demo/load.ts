// The load of the demonstration: several producers that send numbered messages as fast as they are taken, up to a quota
// that is raised from phase to phase.
import type { TLedgerError } from '../../base/errors.ts';
import type { TLedgerClient } from '../../client/client.ts';
import type { Producer } from '../../client/producer.ts';
import { makeBody } from './body.ts';
import type { Comparison } from './comparison.ts';
import type { GapMeter } from './gap_meter.ts';

/** What is sent. */
export interface LoadOptions {
  readonly topic: string;
  readonly producers: number;
  readonly messagesEach: number;
  readonly sizeBytes: number;
}

/** Messages a producer hands over before it lets others have a turn. */
const BURST = 64;

/** Runs the producers; everything they are told goes to the comparison and the gap meter. */
export class Load {
  readonly #client: TLedgerClient;
  readonly #options: LoadOptions;
  readonly #comparison: Comparison;
  readonly #meter: GapMeter;
  readonly #waiters = new Set<() => void>();
  /** Messages each producer may have sent by now. */
  #quotaEach = 0;
  #isStopped = false;
  #settled = 0;
  #acknowledged = 0;
  #firstFailure: TLedgerError | undefined;

  constructor(client: TLedgerClient, options: LoadOptions, comparison: Comparison, meter: GapMeter) {
    this.#client = client;
    this.#options = options;
    this.#comparison = comparison;
    this.#meter = meter;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Messages whose outcome is known. */
  get settled(): number {
    return this.#settled;
  }

  /** The first message that could not be sent, or whose outcome nobody knows. */
  get firstFailure(): TLedgerError | undefined {
    return this.#firstFailure;
  }

  /** Sends no more and wakes all that wait here; what is under way is settled by the client. */
  stop(): void {
    this.#isStopped = true;
    this.#wake();
  }

  /** Lets each producer send up to its `quotaEach`-th message. */
  raiseQuota(quotaEach: number): void {
    this.#quotaEach = quotaEach;
    this.#wake();
  }

  /** Resolves when all messages are settled. */
  async run(): Promise<void> {
    const { producers } = this.#options;
    await Promise.all(Array.from({ length: producers }, (_, producer) => this.#produce(producer)));
  }

  /** Resolves when so many messages, of all producers together, are settled, one way or the other; or when stopped. */
  async whenSettled(count: number): Promise<void> {
    while (this.#settled < count && !this.#isStopped) await this.#change();
  }

  async #produce(number: number): Promise<void> {
    const producer = this.#client.producer();
    const { messagesEach } = this.#options;
    for (let sent = 0; sent < messagesEach && !this.#isStopped; ) {
      const until = Math.min(this.#quotaEach, sent + BURST);
      for (; sent < until; sent++) this.#send(producer, number, sent);
      if (sent >= this.#quotaEach && sent < messagesEach) await this.#change();
      else await producer.ready();
    }
    await producer.close();
  }

  #send(producer: Producer, from: number, number: number): void {
    const { topic, sizeBytes } = this.#options;
    const body = makeBody({ producer: from, number }, sizeBytes);
    producer.append({ topic, queue: this.#comparison.queueOf(number), body }, (error) => {
      this.#settled++;
      if (error === null) {
        this.#acknowledged++;
        this.#meter.acknowledged(performance.now());
        this.#comparison.settled(from, number, 'acknowledged');
      } else {
        this.#firstFailure ??= error;
        this.#comparison.settled(from, number, error.code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed');
      }
      this.#wake();
    });
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.add(resolve));
  }

  #wake(): void {
    if (this.#waiters.size === 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}
