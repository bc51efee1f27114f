// How far each consumer group has come in each queue: which messages were never handed out, and which are with a consumer.
//
//   queue    0 . . . . . . . 17 18 19 20 21 22 23 24 25
//            consumed        |  in flight   |  ready
//                            committed      next
//
// In flight: handed out and not acknowledged, each with its attempt, the time until which it is invisible, and the handle
// that stands for its last delivery. Once that time has passed it may be handed out again. What a filter left out counts as
// consumed. Everything here is the result of `consume` commands, so it is the same on every replica and outlives a leader.
import { assert } from '../../base/assert.ts';
import type { LogIndex } from '../../raft/types.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readArray, readCount } from '../state_tables.ts';

/** A message that is with a consumer. */
export interface Delivery {
  /** Deliveries so far, this one included. */
  attempt: number;
  /** Wall clock of the leader: invisible until then. */
  untilMs: number;
  /** Index of the command that issued the receipt handle which is valid now. */
  handle: LogIndex;
  /** It was given back unseen: its next delivery is not another attempt. */
  isGivenBack: boolean;
  /**
   * Of the call that it was decided for, '' when that has none. Until the consumer says something of it, its answer may have
   * been lost with a node: the same call gets it again.
   */
  attemptId: string;
}

/** One group in one queue. */
export class QueueProgress {
  /** First offset that was never looked at. */
  next = 0;
  /** By queue offset, in the order in which they were first handed out. Never changed from outside. */
  readonly inFlight: ReadonlyMap<number, Delivery>;
  readonly #inFlight = new Map<number, Delivery>();
  /** Offsets in flight by the call they were decided for: exactly those whose `attemptId` is not ''. */
  readonly #byAttempt = new Map<string, Set<number>>();
  /** No message in flight comes back before. */
  #returnMsMin = Number.POSITIVE_INFINITY;

  constructor() {
    this.inFlight = this.#inFlight;
  }

  /** Hands a message out for the first time. */
  handOut(offset: number, untilMs: number, handle: LogIndex, attemptId: string): Delivery {
    const delivery = { attempt: 1, untilMs, handle, isGivenBack: false, attemptId: '' };
    this.#inFlight.set(offset, delivery);
    this.decideFor(offset, attemptId);
    this.#returnMsMin = Math.min(this.#returnMsMin, untilMs);
    return delivery;
  }

  /** From now on the message in flight is that call's, and no other one's; '': no call's. */
  decideFor(offset: number, attemptId: string): void {
    const delivery = this.#inFlight.get(offset);
    if (delivery === undefined || delivery.attemptId === attemptId) return;
    const before = this.#byAttempt.get(delivery.attemptId);
    before?.delete(offset);
    if (before?.size === 0) this.#byAttempt.delete(delivery.attemptId);
    delivery.attemptId = attemptId;
    if (attemptId === '') return;
    const offsets = this.#byAttempt.get(attemptId) ?? new Set();
    this.#byAttempt.set(attemptId, offsets.add(offset));
  }

  /** The message is with nobody any more, if it was. */
  settle(offset: number): void {
    this.decideFor(offset, '');
    this.#inFlight.delete(offset);
  }

  /** What was decided for that call and is invisible still, ascending: its answer may not have been heard. */
  decidedFor(attemptId: string, nowMs: number): (readonly [offset: number, delivery: Delivery])[] {
    const found: [number, Delivery][] = [];
    for (const offset of this.#byAttempt.get(attemptId) ?? []) {
      const delivery = this.#inFlight.get(offset);
      assert(delivery?.attemptId === attemptId, () => `${offset} is in flight for ${attemptId}`);
      if (delivery.untilMs > nowMs) found.push([offset, delivery]);
    }
    return found.sort(([a], [b]) => a - b);
  }

  /** A message in flight comes back then. */
  awaitReturn(offset: number, untilMs: number): Delivery {
    const delivery = this.#inFlight.get(offset);
    assert(delivery !== undefined, () => `${offset} is in flight`);
    delivery.untilMs = untilMs;
    this.#returnMsMin = Math.min(this.#returnMsMin, untilMs);
    return delivery;
  }

  /** Goes on there: nothing is in flight. */
  moveTo(offset: number): void {
    this.#inFlight.clear();
    this.#byAttempt.clear();
    this.next = offset;
  }

  /** Those in flight whose invisible time is over. Costs nothing while there are none. */
  returned(nowMs: number): (readonly [offset: number, delivery: Delivery])[] {
    if (this.#returnMsMin > nowMs) return [];
    const returned: [number, Delivery][] = [];
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const [offset, delivery] of this.inFlight) {
      earliestMs = Math.min(earliestMs, delivery.untilMs);
      if (delivery.untilMs <= nowMs) returned.push([offset, delivery]);
    }
    this.#returnMsMin = earliestMs;
    return returned;
  }

  /** When the next message comes back after `nowMs`; perhaps too early, never too late. Infinite when none does. */
  nextReturnMs(nowMs: number): number {
    if (this.#returnMsMin > nowMs) return this.#returnMsMin;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { untilMs } of this.inFlight.values()) if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
    return nextMs;
  }

  /** Everything before it is consumed. */
  get committed(): number {
    let first = this.next;
    for (const offset of this.inFlight.keys()) first = Math.min(first, offset);
    return first;
  }
}

/** One group in one topic. */
export interface TopicProgress {
  readonly group: string;
  readonly topic: string;
  readonly queues: Map<number, QueueProgress>;
  /** The last command that was carried out here since the state was read; 0 before. Tells its leader that it was. */
  lastIndex: number;
}

const PREFIX = 'c/';
const keyOf = (group: string, topic: string, queueId: number): string => `${PREFIX}${group}/${topic}/${queueId}`;
const nameOf = (group: string, topic: string): string => `${group}/${topic}`;

/**
 * The progress of all groups: rows `c/<group>/<topic>/<queue>` = [next, [attemptId…], [offset, attempt, until, handle, given back,
 * which attemptId]…]. Rows of older builds have one attemptId for all instead, and say nothing of which.
 */
export class ProgressTable implements StateTable {
  readonly prefix = PREFIX;
  readonly #topics = new Map<string, TopicProgress>();
  readonly #changed = new ChangedRows();

  /** What is known of a group in a topic; undefined before it got anything of it. */
  get(group: string, topic: string): TopicProgress | undefined {
    return this.#topics.get(nameOf(group, topic));
  }

  /** All topics that a group got something of. */
  ofGroup(group: string): TopicProgress[] {
    return [...this.#topics.values()].filter((progress) => progress.group === group);
  }

  /** All groups that got something of a topic. */
  ofTopic(topic: string): TopicProgress[] {
    return [...this.#topics.values()].filter((progress) => progress.topic === topic);
  }

  /** To be changed: its row goes with the next checkpoint. */
  enter(group: string, topic: string, queueId: number): QueueProgress {
    let ofTopic = this.get(group, topic);
    if (ofTopic === undefined) {
      ofTopic = { group, topic, queues: new Map(), lastIndex: 0 };
      this.#topics.set(nameOf(group, topic), ofTopic);
    }
    let queue = ofTopic.queues.get(queueId);
    if (queue === undefined) {
      queue = new QueueProgress();
      ofTopic.queues.set(queueId, queue);
    }
    this.#changed.mark(keyOf(group, topic, queueId));
    return queue;
  }

  /** Command `index` was carried out. */
  carriedOut(group: string, topic: string, index: LogIndex): void {
    const progress = this.get(group, topic);
    if (progress !== undefined) progress.lastIndex = index;
  }

  /** Forgets what `which` says yes to. */
  forget(which: (progress: TopicProgress) => boolean): void {
    for (const [name, progress] of this.#topics) {
      if (!which(progress)) continue;
      for (const queueId of progress.queues.keys()) this.#changed.mark(keyOf(progress.group, progress.topic, queueId));
      this.#topics.delete(name);
    }
  }

  takeChanges(into: RowChanges): void {
    this.#changed.take(into, (key) => {
      const [group, topic, queueId] = partsOf(key);
      const queue = this.get(group, topic)?.queues.get(queueId);
      return queue === undefined ? null : JSON.stringify(rowOf(queue));
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read = new ProgressTable();
    readRows(rows, (key, value) => {
      const [group, topic, queueId] = partsOf(key);
      readRow(read.enter(group, topic, queueId), value);
    });
    this.#topics.clear();
    for (const [name, progress] of read.#topics) this.#topics.set(name, progress);
    this.#changed.clear();
  }
}

function rowOf({ next, inFlight }: QueueProgress): unknown[] {
  const attempts = new Map<string, number>();
  const deliveries = [...inFlight].map(([offset, { attempt, untilMs, handle, isGivenBack, attemptId }]) => {
    const which = attempts.get(attemptId) ?? attempts.size;
    attempts.set(attemptId, which);
    return [offset, attempt, untilMs, handle, isGivenBack ? 1 : 0, which];
  });
  return [next, [...attempts.keys()], ...deliveries];
}

function readRow(queue: QueueProgress, row: unknown): void {
  const [next, named, ...inFlight] = readArray(row);
  const attempts = typeof named === 'string' ? [named] : readArray(named);
  queue.next = readCount(next);
  for (const one of inFlight) {
    const [offset, attempt, untilMs, handle, givenBack = 0, which = 0] = readArray(one).map(readCount);
    assert(handle !== undefined && offset! < queue.next, 'what is in flight was handed out');
    const attemptId = attempts[which];
    assert(typeof attemptId === 'string', 'what is in flight names its attempt');
    const delivery = queue.handOut(offset!, untilMs!, handle as LogIndex, attemptId);
    Object.assign(delivery, { attempt, isGivenBack: givenBack === 1 });
  }
}

function partsOf(key: string): [group: string, topic: string, queueId: number] {
  const [, group, topic, queueId, ...rest] = key.split('/');
  assert(
    group !== undefined && topic !== undefined && queueId !== undefined && rest.length === 0,
    'a row of progress has three names',
  );
  return [group, topic, readCount(Number(queueId))];
}
