// What was sent against what is read. Every promise that TLedger makes is one count here, and it must be zero.

/** What the producer was told of a message. */
export type Outcome = 'acknowledged' | 'unknown' | 'failed';

/** The verdict: counts of messages. */
export interface Verdict {
  readonly acknowledged: number;
  /** Sent, but nobody could tell what became of them: they may be read or not. */
  readonly unknown: number;
  /** Certainly not stored, said the producer. */
  readonly failed: number;
  /** Messages that came back, repeats included. */
  readonly read: number;
  /** Acknowledged and not read. */
  readonly lost: number;
  /** Read again after having been read before. */
  readonly duplicated: number;
  /** Read after a later one of the same producer in the same queue. */
  readonly outOfOrder: number;
  /** Read with other bytes than sent, or in another queue, or never sent at all. */
  readonly foreign: number;
  /** Read although the producer was told that they failed. */
  readonly contradicted: number;
}

const NOT_SENT = 0;
const codes: Readonly<Record<Outcome, number>> = { acknowledged: 1, unknown: 2, failed: 3 };

/** Collects both sides; two bytes a message. */
export class Comparison {
  readonly #outcomes: readonly Uint8Array[];
  readonly #timesRead: readonly Uint8Array[];
  readonly #queueCount: number;
  /** Highest number read, by producer and queue. */
  readonly #highest = new Map<string, number>();
  #read = 0;
  #duplicated = 0;
  #outOfOrder = 0;
  #foreign = 0;

  /** @param queueOf is what the producers use, too: see `queueOf`. */
  constructor(size: { readonly producers: number; readonly messagesEach: number; readonly queues: number }) {
    const table = (): Uint8Array[] => Array.from({ length: size.producers }, () => new Uint8Array(size.messagesEach));
    this.#outcomes = table();
    this.#timesRead = table();
    this.#queueCount = size.queues;
  }

  /** The queue that a message of this number belongs to. */
  queueOf(number: number): number {
    return number % this.#queueCount;
  }

  /** Notes what a producer was told; a message has one outcome. */
  settled(producer: number, number: number, outcome: Outcome): void {
    this.#outcomes[producer]![number] = codes[outcome];
  }

  /** Notes a message that came back, in the order of its queue. */
  read(queue: number, producer: number, number: number): void {
    this.#read++;
    const timesRead = this.#timesRead[producer];
    if (timesRead === undefined || number >= timesRead.length || this.queueOf(number) !== queue) {
      this.#foreign++;
      return;
    }
    if (timesRead[number]! > 0) {
      this.#duplicated++;
      return;
    }
    timesRead[number] = 1;
    const line = `${producer}/${queue}`;
    const highest = this.#highest.get(line) ?? -1;
    if (number < highest) this.#outOfOrder++;
    else this.#highest.set(line, number);
  }

  /** Notes a message whose bytes nobody sent. */
  readForeign(): void {
    this.#read++;
    this.#foreign++;
  }

  verdict(): Verdict {
    const count = { acknowledged: 0, unknown: 0, failed: 0, lost: 0, contradicted: 0, unsent: 0 };
    this.#outcomes.forEach((outcomes, producer) => {
      outcomes.forEach((outcome, number) => {
        const wasRead = this.#timesRead[producer]![number]! > 0;
        if (outcome === codes.acknowledged) {
          count.acknowledged++;
          if (!wasRead) count.lost++;
        } else if (outcome === codes.unknown) {
          count.unknown++;
        } else if (outcome === codes.failed) {
          count.failed++;
          if (wasRead) count.contradicted++;
        } else if (outcome === NOT_SENT && wasRead) {
          count.unsent++;
        }
      });
    });
    return {
      acknowledged: count.acknowledged,
      unknown: count.unknown,
      failed: count.failed,
      read: this.#read,
      lost: count.lost,
      duplicated: this.#duplicated,
      outOfOrder: this.#outOfOrder,
      foreign: this.#foreign + count.unsent,
      contradicted: count.contradicted,
    };
  }
}

/** Whether every promise was kept. */
export function isFaultless(verdict: Verdict): boolean {
  const { lost, duplicated, outOfOrder, foreign, contradicted } = verdict;
  return lost + duplicated + outOfOrder + foreign + contradicted === 0;
}
