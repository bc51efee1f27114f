// Messages on their way: batches that fill up while they wait for room in the window, oldest first, one open per queue.
import type { TLedgerError } from '../base/errors.ts';
import type { Sendable } from './send_window.ts';

/**
 * Told once how messages that were handed over together fared.
 * @param queueOffset of the first of them; null with an error, or when the group no longer remembers where it put them
 * (they are in the log nevertheless).
 */
export type Done = (error: TLedgerError | null, queueOffset: number | null, queue: number) => void;

/** What one sender hands over. */
export interface Submission {
  /** Whole records, back to back. */
  readonly records: Buffer;
  readonly count: number;
  /** Bytes it is charged against the producer's buffer. */
  readonly cost: number;
  /** Milliseconds (Date.now). */
  readonly deadlineMs: number;
  readonly done: Done;
}

/** Message records for one queue that travel as one frame. */
export class Batch implements Sendable {
  readonly topic: string;
  readonly queue: number;
  readonly deadlineMs: number;
  /** Records, each piece one or more whole ones. */
  readonly pieces: Buffer[] = [];
  readonly #done: Done[] = [];
  readonly #counts: number[] = [];
  #count = 0;
  #sizeBytes = 0;
  #cost = 0;

  constructor(topic: string, queue: number, deadlineMs: number) {
    this.topic = topic;
    this.queue = queue;
    this.deadlineMs = deadlineMs;
  }

  get count(): number {
    return this.#count;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** What its senders were charged against the buffer. */
  get cost(): number {
    return this.#cost;
  }

  /** How many senders wait for it. */
  get calls(): number {
    return this.#done.length;
  }

  /** Adds `count` records that share one outcome. */
  add({ records, count, cost, done }: Submission): void {
    this.#cost += cost;
    this.pieces.push(records);
    this.#done.push(done);
    this.#counts.push(count);
    this.#count += count;
    this.#sizeBytes += records.length;
  }

  /** Tells all senders that the frame is in the log. @param queueOffset of the first message, if it is known. */
  succeed(queueOffset: number | null): void {
    let next = queueOffset;
    for (let at = 0; at < this.#done.length; at++) {
      this.#done[at]!(null, next, this.queue);
      if (next !== null) next += this.#counts[at]!;
    }
  }

  /** Tells all senders that it is not, or that nobody knows. */
  fail(error: TLedgerError): void {
    for (const done of this.#done) done(error, null, this.queue);
  }
}

/** Limits of one batch. */
export interface BatcherLimits {
  readonly bytesMax: number;
  readonly countMax: number;
}

/** Batches that wait to become frames. */
export class Batcher {
  readonly #limits: BatcherLimits;
  readonly #waiting: Batch[] = [];
  /** Topic -> queue -> the batch that may still grow. */
  readonly #open = new Map<string, (Batch | undefined)[]>();

  constructor(limits: BatcherLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** Whether a batch for that queue is open and may still grow. */
  hasOpen(topic: string, queue: number): boolean {
    return this.#open.get(topic)?.[queue] !== undefined;
  }

  /** Adds records to the open batch of their queue, or begins one. Batches never take more than the limits allow. */
  add(topic: string, queue: number, submission: Submission): void {
    let queues = this.#open.get(topic);
    if (queues === undefined) {
      queues = [];
      this.#open.set(topic, queues);
    }
    let batch = queues[queue];
    if (batch !== undefined && !this.#fits(batch, submission)) batch = undefined;
    if (batch === undefined) {
      batch = new Batch(topic, queue, submission.deadlineMs);
      queues[queue] = batch;
      this.#waiting.push(batch);
    }
    batch.add(submission);
    if (batch.sizeBytes >= this.#limits.bytesMax || batch.count >= this.#limits.countMax) queues[queue] = undefined;
  }

  /** The oldest batch, still here and growing. */
  peek(): Batch | undefined {
    return this.#waiting[0];
  }

  /** Takes the oldest batch away; it does not grow any more. */
  take(): Batch | undefined {
    const batch = this.#waiting.shift();
    if (batch !== undefined) this.#close(batch);
    return batch;
  }

  /** Takes away, oldest first, what is past its deadline. */
  takeExpired(nowMs: number): Batch[] {
    const expired: Batch[] = [];
    while (this.#waiting[0] !== undefined && this.#waiting[0].deadlineMs <= nowMs) expired.push(this.take()!);
    return expired;
  }

  #fits(batch: Batch, { records, count }: Submission): boolean {
    return batch.sizeBytes + records.length <= this.#limits.bytesMax && batch.count + count <= this.#limits.countMax;
  }

  #close(batch: Batch): void {
    const queues = this.#open.get(batch.topic);
    if (queues?.[batch.queue] === batch) queues[batch.queue] = undefined;
  }
}
