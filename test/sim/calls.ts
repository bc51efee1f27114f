// How clients reach nodes: calls that may be lost either way, errors as their callers get them, and guesses at who leads.
import { TLedgerError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import type { TopicInfo } from '../../src/broker/types.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import type { Checker } from './checker.ts';
import { keyOfBody } from './keys.ts';
import type { Marks } from './marks.ts';
import type { Process, SimNode } from './node.ts';
import type { LoadPlan } from './plan.ts';
import type { Trace } from './trace.ts';
import { hold, Violation } from './truth.ts';

/** How a call ended: with a result, with a code of the error table, or with nothing at all. */
export interface Outcome<T> {
  readonly result: T | null;
  readonly code: string | null;
  readonly message: string;
  /** Whom the answering node takes for the leader. */
  readonly leader: number | null;
}

/** Work that a node does for a caller; errors go to `reply` like results. */
export type Work<T> = (process: Process, reply: (error: unknown, result: T | null) => void) => void;

/** What clients need of the world. */
export interface ClientWorld {
  readonly random: Random;
  readonly nowMs: number;
  readonly nodes: readonly SimNode[];
  readonly checker: Checker;
  readonly trace: Trace;
  readonly marks: Marks;
  readonly load: LoadPlan;
  /** No new work is begun. */
  readonly isClosing: boolean;
  /** Nothing goes wrong any more. */
  readonly isCalm: boolean;
  /** Reads may be confirmed by a lease. */
  readonly hasLeases: boolean;
  readonly topics: readonly TopicInfo[];
  later(delayMs: number, run: () => void): void;
  /** Calls a node; `done` hears of it exactly once, after `timeoutMs` at the latest. */
  call<T>(node: number, work: Work<T>, timeoutMs: number, done: (outcome: Outcome<T>) => void): void;
  fail(error: unknown): void;
}

/** Errors that a client may always get, and that say that the request had no effect. */
export const harmless = new Set([
  'NOT_LEADER',
  'NO_LEADER',
  'TRANSFERRING',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'UNREACHABLE',
  // A deposed leader that does not know it yet may not know a topic or a producer either.
  'TOPIC_NOT_FOUND',
  'QUEUE_OUT_OF_RANGE',
  'OUT_OF_ORDER_SEQUENCE',
  'UNKNOWN_PRODUCER',
]);
/** Errors after which nobody can tell whether the request takes effect. */
export const unknown = new Set(['OUTCOME_UNKNOWN', 'TIMEOUT', 'DEADLINE_EXCEEDED']);
/** What a disk that fails under a read makes of it. */
export const readFailures = new Set(['STORAGE_FAILED']);

/** What is known outside: each queue's acknowledged end, and the end that a barrier read has shown. */
export class Floors {
  readonly #ends = new Map<string, number>();

  at(topic: string, queueId: number): number {
    return this.#ends.get(`${topic}/${queueId}`) ?? 0;
  }

  raise(topic: string, queueId: number, end: number): void {
    if (end > this.at(topic, queueId)) this.#ends.set(`${topic}/${queueId}`, end);
  }
}

/** How late a node may answer, by its own clock: it looks at its deadlines now and then. */
const LATE_MS = 500;

/**
 * Calls a node with a deadline, which it has to keep as long as it lives, whatever has become of the group meanwhile: not to
 * answer is a broken promise. The caller waits a little longer.
 */
export function callInTime<T>(
  world: ClientWorld,
  node: number,
  work: Work<T>,
  deadlineMs: number,
  done: (outcome: Outcome<T>) => void,
): void {
  const inTime: Work<T> = (process, reply) => {
    const { life } = process;
    let isAnswered = false;
    const look = (sinceMs: number): void => {
      if (isAnswered) return;
      // A process that stood still needs a moment to see what the time is.
      if (life.stalledUntilMs > sinceMs) lookLater(LATE_MS);
      else world.fail(new Violation(`n${node} does not answer within ${Math.round(deadlineMs)} ms`));
    };
    const lookLater = (delayMs: number): void => {
      const { nowMs } = world;
      life.after(delayMs, () => look(nowMs));
    };
    lookLater(deadlineMs + LATE_MS);
    work(process, (error, result) => {
      isAnswered = true;
      reply(error, result);
    });
  };
  world.call(node, inTime, deadlineMs * 1.2, done);
}

/** Counts over all clients of a run. */
export class ClientCounts {
  acknowledged = 0;
  refused = 0;
  unknown = 0;
  repeated = 0;
  pulls = 0;
  barrierReads = 0;
  delivered = 0;
}

/** What all clients share. */
export interface ClientShared {
  readonly world: ClientWorld;
  readonly floors: Floors;
  readonly counts: ClientCounts;
}

/** Where a client believes the leader to be. */
export class Guess {
  readonly #world: ClientWorld;
  #node: number;

  constructor(world: ClientWorld) {
    this.#world = world;
    this.#node = world.random.between(0, world.nodes.length - 1);
  }

  get node(): number {
    return this.#node;
  }

  learn(outcome: Outcome<unknown>): void {
    if (outcome.code === null) return;
    const { random, nodes } = this.#world;
    const isHintUsed = outcome.leader !== null && random.next() < 0.9;
    this.#node = isHintUsed ? outcome.leader! : random.between(0, nodes.length - 1);
  }
}

/** Nobody is told anything that is not in the table for such a call. */
export function checkCode(who: string, outcome: Outcome<unknown>, more: ReadonlySet<string> = new Set()): void {
  const { code } = outcome;
  hold(code === null || harmless.has(code) || unknown.has(code) || more.has(code), () => {
    return `${who} is told ${code}: ${outcome.message}`;
  });
}

/** Messages as they are sent. */
export function encode(topic: string, queueId: number, bodies: readonly string[], random: Random): Buffer {
  return Buffer.concat(
    bodies.map((body) => {
      const tag = random.next() < 0.3 ? `tag${random.between(0, 3)}` : undefined;
      const keys = body === '' ? [] : [keyOfBody(body)];
      return encodeMessageRecord({ topic, queueId, body: Buffer.from(body, 'latin1'), tag, keys, bornAtMs: 1 });
    }),
  );
}

/** A body that begins with a name, of any length. */
export function bodyOf(name: string, random: Random, load: LoadPlan): string {
  return name.padEnd(random.between(1, load.bodyBytesMax), '.');
}

/** The code of an error as a caller gets it. */
export function codeOf(error: unknown): string {
  return error instanceof TLedgerError ? error.code : 'INTERNAL';
}
