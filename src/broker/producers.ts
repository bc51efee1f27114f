// Idempotent producers. Each message carries (producer id, sequence); a producer counts 1, 2, 3 … over all its messages.
// The replicated table says how far each has come and where its recent messages went, so that a repeat is recognised,
// on whatever node it arrives, and answered like the first time. The leader looks through what is already in the log but
// not applied as well.
//
//   sequences   1 ........ 40 | 41 ...... 90 | 91 .. 120 | 121 ...
//               forgotten     | applied runs | pending   | new: must start exactly here
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { Queue } from './topics.ts';

/** Messages with successive sequences, queue offsets and log indices; grows with the last message. */
export interface Run {
  firstSequence: number;
  count: number;
  queue: Queue;
  firstOffset: number;
  firstIndex: number;
}

const NO_RUNS: readonly Run[] = [];

/** What is known of one producer by the applied records. */
export class Producer {
  readonly id: string;
  readonly idBytes: Buffer;
  /** Oldest first; without gaps up to `lastSequence`. */
  readonly runs: Run[];
  lastSequence: number;
  /** Index of its last applied record: who has the smallest is forgotten first. */
  lastIndex: LogIndex;

  constructor(id: string, runs: Run[] = []) {
    const last = runs.at(-1);
    this.id = id;
    this.idBytes = Buffer.from(id, 'latin1');
    this.runs = runs;
    this.lastSequence = last === undefined ? 0 : lastSequenceOf(last);
    this.lastIndex = last === undefined ? logIndex(0) : lastIndexOf(last);
  }
}

/** The replicated table, ordered by each producer's last applied record. */
export class ProducerTable {
  readonly #producers = new Map<string, Producer>();
  readonly #runsMax: number;
  readonly #producersMax: number;
  /** Who was entered last: most records follow one of the same producer. */
  #latest: Producer | null = null;

  constructor(limits: { readonly producersMax: number; readonly producerRunsMax: number }) {
    this.#producersMax = limits.producersMax;
    this.#runsMax = limits.producerRunsMax;
  }

  get count(): number {
    return this.#producers.size;
  }

  get(id: string): Producer | undefined {
    return this.#producers.get(id);
  }

  /** Becomes what was stored. */
  restore(producers: Producer[]): void {
    this.#producers.clear();
    this.#latest = null;
    for (const producer of producers.sort((a, b) => a.lastIndex - b.lastIndex)) {
      this.#producers.set(producer.id, producer);
    }
  }

  /**
   * The producer whose records are applied next, now the most recent one.
   * @param onForgotten told the id of the producer that had to make room.
   */
  enter(id: string, onForgotten: (id: string) => void): Producer {
    if (this.#latest?.id === id) return this.#latest;
    const producer = this.#producers.get(id) ?? new Producer(id);
    this.#latest = producer;
    this.#producers.delete(id);
    this.#producers.set(id, producer);
    if (this.#producers.size > this.#producersMax) {
      const oldest = this.#producers.keys().next().value;
      assert(oldest !== undefined && oldest !== id, 'there is an older producer to forget');
      this.#producers.delete(oldest);
      onForgotten(oldest);
    }
    return producer;
  }

  /** Remembers one applied message. */
  record(producer: Producer, sequence: number, queue: Queue, offset: number, index: number): void {
    const { runs } = producer;
    assert(
      sequence === producer.lastSequence + 1 || runs.length === 0,
      () => `producer ${producer.id}: sequence ${sequence} follows ${producer.lastSequence} in the log`,
    );
    producer.lastSequence = sequence;
    producer.lastIndex = index as LogIndex;
    const last = runs[runs.length - 1];
    // Neighbours in the log for one queue are neighbours in the queue.
    if (last !== undefined && last.queue === queue && last.firstIndex + last.count === index) {
      last.count++;
      return;
    }
    if (runs.length < this.#runsMax) {
      runs.push({ firstSequence: sequence, count: 1, queue, firstOffset: offset, firstIndex: index });
      return;
    }
    const reused = runs.shift()!;
    reused.firstSequence = sequence;
    reused.count = 1;
    reused.queue = queue;
    reused.firstOffset = offset;
    reused.firstIndex = index;
    runs.push(reused);
  }
}

/** Leader only: batches that are in the log but not applied, by producer. Bounded by what the replica lets wait. */
export class PendingProducers {
  readonly #runs = new Map<string, Run[]>();

  get count(): number {
    return this.#runs.size;
  }

  clear(): void {
    this.#runs.clear();
  }

  runs(id: string): readonly Run[] {
    return this.#runs.get(id) ?? NO_RUNS;
  }

  add(id: string, run: Run): void {
    const runs = this.#runs.get(id);
    if (runs === undefined) this.#runs.set(id, [run]);
    else runs.push(run);
  }

  /** Forgets what has been applied. */
  settle(id: string, applied: number): void {
    const runs = this.#runs.get(id);
    if (runs === undefined) return;
    let settled = 0;
    while (settled < runs.length && lastIndexOf(runs[settled]!) <= applied) settled++;
    if (settled === runs.length) this.#runs.delete(id);
    else if (settled > 0) runs.splice(0, settled);
  }
}

/** What a leader knows of a producer; where applied and pending runs overlap, they say the same. */
export interface ProducerView {
  readonly id: string;
  readonly lastSequence: number;
  readonly applied: readonly Run[];
  readonly pending: readonly Run[];
}

/** Joins the applied and the pending. */
export function viewOf(id: string, producer: Producer | undefined, pending: readonly Run[]): ProducerView {
  const last = pending.at(-1);
  const lastSequence = last === undefined ? (producer?.lastSequence ?? 0) : lastSequenceOf(last);
  return { id, lastSequence, applied: producer?.runs ?? NO_RUNS, pending };
}

/**
 * How many messages of a batch that starts at `sequence` may be known already (at most; the batch may be shorter).
 * @throws TLedgerError UNKNOWN_PRODUCER, OUT_OF_ORDER_SEQUENCE naming the sequence that is expected.
 */
export function knownCount(view: ProducerView, sequence: number): number {
  const expected = view.lastSequence + 1;
  if (sequence <= expected) return expected - sequence;
  if (view.lastSequence === 0) {
    throw new TLedgerError(
      'UNKNOWN_PRODUCER',
      `producer ${view.id} is not known; a new producer starts at sequence 1, not ${sequence}`,
    );
  }
  throw new TLedgerError(
    'OUT_OF_ORDER_SEQUENCE',
    `producer ${view.id}: expected sequence ${expected}, got ${sequence}; what lies between is missing`,
  );
}

/** Where known messages went. */
export interface Recollection {
  /** Offset of the first one, when all are remembered and stand one after the other; else -1. */
  readonly queueOffset: number;
  /** Log index of the last one; when it is forgotten, the index before the oldest record that is remembered. */
  readonly lastIndex: LogIndex;
}

/**
 * Looks up the messages [sequence, sequence + count), all of which are known.
 * @throws TLedgerError INVALID_ARGUMENT when they went to another queue: the same sequence stands for other messages.
 */
export function recall(view: ProducerView, sequence: number, count: number, queue: Queue): Recollection {
  const last = sequence + count - 1;
  let queueOffset = -1;
  let nextSequence = sequence;
  let lastIndex = ((view.applied[0] ?? view.pending[0])?.firstIndex ?? 1) - 1;
  for (const runs of [view.applied, view.pending]) {
    for (const run of runs) {
      const from = Math.max(run.firstSequence, nextSequence);
      const to = Math.min(lastSequenceOf(run), last);
      if (from > to) continue;
      if (run.queue !== queue) throw reusedSequence(view, from, run.queue, queue);
      const offset = run.firstOffset + from - run.firstSequence;
      if (from === sequence) queueOffset = offset;
      else if (offset !== queueOffset + from - sequence) queueOffset = -1;
      nextSequence = to + 1;
      lastIndex = run.firstIndex + to - run.firstSequence;
    }
  }
  return { queueOffset, lastIndex: logIndex(lastIndex) };
}

function reusedSequence(view: ProducerView, sequence: number, before: Queue, now: Queue): TLedgerError {
  return new TLedgerError(
    'INVALID_ARGUMENT',
    `producer ${view.id}: sequence ${sequence} was used for ${before}, and cannot be used for ${now}`,
  );
}

/** The sequence of a run's last message. */
export function lastSequenceOf(run: Run): number {
  return run.firstSequence + run.count - 1;
}

/** The log index of a run's last message. */
export function lastIndexOf(run: Run): LogIndex {
  return logIndex(run.firstIndex + run.count - 1);
}
