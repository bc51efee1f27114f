// What happened, from outside: every message that was sent with what its sender was told and when, and every value that
// any reader was ever shown, by node. The judge (judge.ts) holds it against what the group holds in the end.
import { makeBody, readBody } from '../../src/server/demo/body.ts';

/** What a sender was told. `unknown`: it may be in the log, now or later, or never. */
export type Outcome = 'acknowledged' | 'failed' | 'unknown';

/** A sender and the number of its message. */
export interface MessageName {
  readonly sender: number;
  /** 0, 1, 2 … */
  readonly number: number;
}

/** One message on its way, and what became of it. */
export interface Operation extends MessageName {
  readonly queue: number;
  readonly invokedMs: number;
  /** How many copies the log may hold: more than one when it was sent again without a producer id. */
  copiesMax: number;
  outcome: Outcome;
  /** When the outcome came; infinite until then. */
  settledMs: number;
  /** Where it lies, if the sender was told. */
  offset: number | null;
}

/**
 * What a group holds in the end: by queue, then by offset, the keys of the messages. What it has cut by then stands there as
 * readers were shown it.
 */
export type FinalLog = readonly (readonly number[])[];

/** A contradiction that was seen while the group ran, as a sentence. */
export interface Sighting {
  readonly kind: 'diverged' | 'stale' | 'unlinearizable' | 'broken';
  readonly what: string;
}

/** Bytes of a message. */
export const BODY_BYTES = 512;
/** In place of a message's name: bytes that no sender made. */
export const FOREIGN = -1;

const NUMBERS = 2 ** 32;
const SIGHTINGS_MAX = 1_000;

/** The name as one number; safe for up to two million senders. */
export const keyOf = ({ sender, number }: MessageName): number => sender * NUMBERS + number;
/** The name behind a key. */
export const nameOf = (key: number): MessageName => ({ sender: Math.floor(key / NUMBERS), number: key % NUMBERS });
/** The body of a message. */
export const bodyOf = ({ sender, number }: MessageName): Buffer => makeBody({ producer: sender, number }, BODY_BYTES);

/** Which message a body is, as a key; FOREIGN when it is not, byte for byte, one that `bodyOf` makes. */
export function keyOfBody(body: Buffer): number {
  const found = readBody(body, BODY_BYTES);
  return found === undefined ? FOREIGN : keyOf({ sender: found.producer, number: found.number });
}

/** The memory of a run. */
export class History {
  readonly queues: number;
  /** By sender, then by number. */
  readonly #operations: Operation[][] = [];
  /** By queue, then by offset: the first value that was shown there; empty places were never shown. */
  readonly #shown: number[][];
  /** By queue: one more than the highest acknowledged offset. */
  readonly #acknowledgedEnds: number[];
  readonly sightings: Sighting[] = [];
  acknowledged = 0;
  failed = 0;
  unknown = 0;
  /** Values that readers were shown, each time counted. */
  observed = 0;

  constructor(queues: number) {
    this.queues = queues;
    this.#shown = Array.from({ length: queues }, () => []);
    this.#acknowledgedEnds = Array.from({ length: queues }, () => 0);
  }

  /** A message is about to be sent; its outcome is unknown until `settle`. */
  begin(sender: number, queue: number, nowMs: number): Operation {
    this.#operations[sender] ??= [];
    const mine = this.#operations[sender];
    const operation: Operation = {
      ...{ sender, number: mine.length, queue, invokedMs: nowMs },
      ...{ copiesMax: 1, outcome: 'unknown', settledMs: Number.POSITIVE_INFINITY, offset: null },
    };
    mine.push(operation);
    return operation;
  }

  /** The sender was told; an acknowledged offset is a value shown, too. */
  settle(operation: Operation, outcome: Outcome, offset: number | null, nowMs: number): void {
    operation.outcome = outcome;
    operation.settledMs = nowMs;
    operation.offset = offset;
    this[outcome]++;
    if (outcome !== 'acknowledged' || offset === null) return;
    const { queue } = operation;
    this.#acknowledgedEnds[queue] = Math.max(this.#acknowledgedEnds[queue]!, offset + 1);
    this.#show('the acknowledgement', queue, offset, keyOf(operation));
  }

  /** A reader was shown a value. */
  observe(reader: string, queue: number, offset: number, key: number): void {
    this.observed++;
    this.#show(reader, queue, offset, key);
  }

  sight(kind: Sighting['kind'], what: string): void {
    if (this.sightings.length < SIGHTINGS_MAX) this.sightings.push({ kind, what });
  }

  /** One more than the highest offset that has been acknowledged so far. */
  acknowledgedEnd(queue: number): number {
    return this.#acknowledgedEnds[queue]!;
  }

  operation({ sender, number }: MessageName): Operation | undefined {
    return this.#operations[sender]?.[number];
  }

  *operations(): Generator<Operation> {
    for (const mine of this.#operations) if (mine !== undefined) yield* mine;
  }

  /** What was shown of a queue, by offset. */
  shown(queue: number): readonly (number | undefined)[] {
    return this.#shown[queue]!;
  }

  #show(reader: string, queue: number, offset: number, key: number): void {
    const shown = this.#shown[queue]!;
    const before = shown[offset];
    if (before === undefined) shown[offset] = key;
    else if (before !== key) {
      this.sight('diverged', `${reader} shows ${describe(key)} at ${queue}/${offset}, where ${describe(before)} was`);
    }
  }
}

/** `3:17`, sender and number. */
export function describe(key: number): string {
  if (key === FOREIGN) return 'bytes nobody sent';
  const { sender, number } = nameOf(key);
  return `${sender}:${number}`;
}
