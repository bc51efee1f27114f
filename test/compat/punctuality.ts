// How punctual delayed messages are: when each was in its queue (its store time), when the node that the client asked wrote
// the answer, and when the client had it. All clocks are this machine's.
import type { Message } from '../../src/wire/rocketmq/definitions.ts';
import { pause } from '../chaos/pause.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';

/** So late is in time. */
export const PUNCTUAL_MS = 100;
const SENDERS = 64;
const RECEIVERS = 8;
/** No answer is later than this behind the end: a poll waits 2 s. */
const LAST_POLL_MS = 2_500;

/** One message that came. Times are wall clock milliseconds. */
export interface Arrival {
  readonly dueMs: number;
  readonly storedMs: number;
  readonly handedOutMs: number;
  readonly receivedMs: number;
  readonly queueId: number;
  readonly queueOffset: number;
}

/** Messages with due times in one topic, and when each came. */
export class Round {
  readonly arrivals = new Map<string, Arrival>();
  readonly #topic: string;
  readonly #clients: RawClient[];
  #isOver = false;
  #sent = 0;
  #doubles = 0;

  constructor(endpoint: string, topic: string) {
    this.#topic = topic;
    this.#clients = Array.from({ length: RECEIVERS }, (_, at) => new RawClient(endpoint, `delay-${at}`));
  }

  get sent(): number {
    return this.#sent;
  }

  get doubles(): number {
    return this.#doubles;
  }

  /** Sends them all; repeated by hand, with the same id, until each is acknowledged. */
  async send(dueMs: (at: number) => number, count: number): Promise<void> {
    let next = 0;
    const work = async (client: RawClient): Promise<void> => {
      while (next < count) {
        const at = next++;
        const due = dueMs(at);
        const deliveryTimestamp = { seconds: String(Math.floor(due / 1_000)), nanos: (due % 1_000) * 1_000_000 };
        const message = messageOf(`m${at}`, { deliveryTimestamp }, { topic: { name: this.#topic } });
        for (;;) {
          const isSent = await client
            .send(message)
            .then(({ status }) => status?.code === 'OK')
            .catch(() => false);
          if (isSent) break;
          await pause(50);
        }
        this.#sent++;
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, (_, at) => work(this.#clients[at % RECEIVERS]!)));
  }

  /** Receives and acknowledges until `finish`. */
  async receive(): Promise<void> {
    await Promise.all(this.#clients.map((client) => this.#receive(client)));
  }

  async #receive(client: RawClient): Promise<void> {
    const group = { name: 'delay' };
    const topic = { name: this.#topic };
    const request = { messageQueue: { topic, id: -1 }, group, longPollingTimeout: { seconds: '2' } };
    while (!this.#isOver) {
      const elements = await client.receive({ ...request, invisibleDuration: { seconds: '30' } }).catch(() => null);
      if (elements === null) await pause(100);
      const receivedMs = Date.now();
      const messages = (elements ?? []).flatMap(({ message }) => (message === undefined ? [] : [message]));
      if (messages.length === 0) continue;
      const handedOutMs = millis(elements!.at(-1)!.deliveryTimestamp);
      for (const message of messages) this.#came(message, { handedOutMs, receivedMs });
      const entries = messages.map(({ systemProperties }) => ({
        messageId: systemProperties!.messageId,
        receiptHandle: systemProperties!.receiptHandle,
      }));
      void client.ask('ackMessage', { topic, group, entries }).catch(() => {});
    }
  }

  #came({ systemProperties }: Message, times: Pick<Arrival, 'handedOutMs' | 'receivedMs'>): void {
    const { messageId, deliveryTimestamp, storeTimestamp, queueId, queueOffset } = systemProperties!;
    if (this.arrivals.has(messageId)) this.#doubles++;
    else {
      this.arrivals.set(messageId, {
        ...times,
        dueMs: millis(deliveryTimestamp),
        storedMs: millis(storeTimestamp),
        queueId,
        queueOffset: Number(queueOffset),
      });
    }
  }

  /** Waits for the rest, and lets go of the clients. */
  async finish(withinMs: number): Promise<void> {
    const untilMs = Date.now() + withinMs;
    while (this.arrivals.size < this.#sent && Date.now() < untilMs) await pause(100);
    this.#isOver = true;
    await pause(LAST_POLL_MS);
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
  }
}

function millis(time: { readonly seconds: string; readonly nanos: number } | null | undefined): number {
  return Number(time?.seconds) * 1_000 + (time?.nanos ?? 0) / 1_000_000;
}

/** How late some were, by one of their times. */
export interface Lateness {
  readonly early: number;
  readonly halfMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Within `PUNCTUAL_MS`, of all. */
  readonly punctualShare: number;
}

/** @param time which of an arrival's times counts. */
export function lateness(arrivals: readonly Arrival[], time: 'storedMs' | 'handedOutMs' | 'receivedMs'): Lateness {
  const late = arrivals.map((arrival) => arrival[time] - arrival.dueMs).sort((a, b) => a - b);
  const at = (part: number): number => late[Math.min(late.length - 1, Math.floor(part * late.length))] ?? 0;
  const punctual = late.filter((ms) => ms <= PUNCTUAL_MS).length;
  return {
    early: late.filter((ms) => ms < 0).length,
    halfMs: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
    punctualShare: punctual / Math.max(1, late.length),
  };
}

/** How far behind a message that was due later one stands in its queue, at most; milliseconds of due time. */
export function disorderMs(arrivals: readonly Arrival[]): number {
  const latest = new Map<number, number>();
  let disorder = 0;
  for (const { queueId, dueMs } of [...arrivals].sort((a, b) => a.queueOffset - b.queueOffset)) {
    const before = latest.get(queueId) ?? dueMs;
    disorder = Math.max(disorder, before - dueMs);
    latest.set(queueId, Math.max(before, dueMs));
  }
  return disorder;
}

/** While nobody led: from the death of a leader to the first message that the next one put into its queue. */
export interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The longest time around `killedMs` in which nothing came into a queue. */
export function gapAt(killedMs: number, arrivals: readonly Arrival[]): Gap {
  const stored = arrivals.map(({ storedMs }) => storedMs).sort((a, b) => a - b);
  let gap: Gap = { fromMs: killedMs, toMs: killedMs };
  for (const [at, toMs] of stored.entries()) {
    const fromMs = stored[at - 1] ?? toMs;
    const isNear = toMs >= killedMs - PUNCTUAL_MS && fromMs <= killedMs + 2_000;
    if (isNear && toMs - fromMs > gap.toMs - gap.fromMs) gap = { fromMs, toMs };
  }
  return gap;
}
