// What happens between one group and one topic in one step, as a command of the log: the leader decides it from the
// applied state (replica/consuming), every replica carries it out here, without looking at any message.
//
//   {"v":1,"type":"consume","group":…,"topic":…,
//    "popped":   [[queue, from, to, [offset…], until, attemptId]…]   from..to was looked at, the offsets are handed out
//    "again":    [[queue, offset, until, counts, attemptId]…]        handed out once more; counts: as another attempt
//    "settled":  [[queue, offset]…]                                  acknowledged, or dead letters
//    "changed":  [[queue, offset, until, mode]…]                     invisible until then; mode: see `ChangeMode`
//    "moved":    [[queue, offset]…]}                                 reset: nothing is in flight, next is this
//
// in this order of effects: settled, changed, moved, again, popped. Times are the leader's wall clock, milliseconds.
import { assert } from '../../base/assert.ts';
import type { LogIndex } from '../../raft/types.ts';
import { readArray, readCount } from '../state_tables.ts';
import type { ProgressTable, QueueProgress, TopicProgress } from './progress.ts';

/** Messages of one queue, handed out for the first time. */
export interface Popped {
  readonly queueId: number;
  /** What the queue's `next` was, and what it becomes. */
  readonly from: number;
  readonly to: number;
  /** Ascending, in `from`..`to`; the others were left out by the filter. */
  readonly offsets: readonly number[];
  readonly untilMs: number;
  readonly attemptId: string;
}

/** A message in flight that is handed out once more. */
export interface PoppedAgain {
  readonly queueId: number;
  readonly offset: number;
  readonly untilMs: number;
  /** False when the same call asks again for what it may not have got. */
  readonly isAttempt: boolean;
  readonly attemptId: string;
}

/** One message of a queue. */
export interface QueuedMessage {
  readonly queueId: number;
  readonly offset: number;
}

/**
 * `handle`: the handle is replaced. `keep`: it stays (the server prolongs by itself). `uncounted`: it is replaced, and the
 * next delivery does not count as another attempt, however often it was given back.
 */
export type ChangeMode = 'handle' | 'keep' | 'uncounted';

/** A message in flight whose invisible time ends at another time. */
export interface Changed extends QueuedMessage {
  readonly untilMs: number;
  readonly mode: ChangeMode;
}

/** See the head of the file. */
export interface Consume {
  readonly type: 'consume';
  readonly group: string;
  readonly topic: string;
  readonly popped: readonly Popped[];
  readonly again: readonly PoppedAgain[];
  readonly settled: readonly QueuedMessage[];
  readonly changed: readonly Changed[];
  readonly moved: readonly QueuedMessage[];
}

const MODES: readonly ChangeMode[] = ['handle', 'keep', 'uncounted'];

/** The fields of the command's JSON. */
export function consumeFields(command: Consume): object {
  return {
    group: command.group,
    topic: command.topic,
    popped: command.popped.map((one) => [one.queueId, one.from, one.to, one.offsets, one.untilMs, one.attemptId]),
    again: command.again.map((one) => [one.queueId, one.offset, one.untilMs, one.isAttempt ? 1 : 0, one.attemptId]),
    settled: command.settled.map((one) => [one.queueId, one.offset]),
    changed: command.changed.map((one) => [one.queueId, one.offset, one.untilMs, MODES.indexOf(one.mode)]),
    moved: command.moved.map((one) => [one.queueId, one.offset]),
  };
}

/** The command of those fields. @throws InvariantError when they make no sense. */
export function readConsume(fields: ReadonlyMap<string, unknown>): Consume {
  const group = fields.get('group');
  const topic = fields.get('topic');
  assert(typeof group === 'string' && typeof topic === 'string', 'a consume command names group and topic');
  const rows = (name: string): (readonly unknown[])[] => readArray(fields.get(name)).map(readArray);
  return {
    type: 'consume',
    group,
    topic,
    popped: rows('popped').map(([queueId, from, to, offsets, untilMs, attemptId]) => {
      assert(typeof attemptId === 'string', 'what is popped names its attempt');
      return {
        queueId: readCount(queueId),
        from: readCount(from),
        to: readCount(to),
        offsets: readArray(offsets).map(readCount),
        untilMs: readCount(untilMs),
        attemptId,
      };
    }),
    // Builds before named no attempt there.
    again: rows('again').map(([queueId, offset, untilMs, isAttempt, attemptId = '']) => {
      assert(typeof attemptId === 'string', 'what is handed out again names its attempt');
      return {
        ...readMessage([queueId, offset]),
        untilMs: readCount(untilMs),
        isAttempt: isAttempt === 1,
        attemptId,
      };
    }),
    settled: rows('settled').map(readMessage),
    changed: rows('changed').map(([queueId, offset, untilMs, mode]) => {
      const known = MODES[readCount(mode)];
      assert(known !== undefined, 'a change has a known mode');
      return { ...readMessage([queueId, offset]), untilMs: readCount(untilMs), mode: known };
    }),
    moved: rows('moved').map(readMessage),
  };
}

/**
 * Carries out the command of record `index`, all of it or nothing. The leader decided it from the very state it is carried out
 * on: two commands of one group and topic are never under way at once. Only a group that was deleted and made anew meanwhile
 * can be in another state; then the command is about one that is gone, and has no effect.
 * @returns whether it was carried out. @throws InvariantError when it makes no sense in itself.
 */
export function applyConsume(command: Consume, index: LogIndex, table: ProgressTable): boolean {
  if (!fits(command, index, table.get(command.group, command.topic)?.queues)) return false;
  const { group, topic } = command;
  const queue = (queueId: number): QueueProgress => table.enter(group, topic, queueId);
  for (const { queueId, offset } of command.settled) queue(queueId).settle(offset);
  for (const { queueId, offset, untilMs, mode } of command.changed) {
    const delivery = queue(queueId).awaitReturn(offset, untilMs);
    if (mode === 'keep') continue;
    // Whoever has the handle got the answer; what is given back is anybody's.
    queue(queueId).decideFor(offset, '');
    delivery.handle = index;
    delivery.isGivenBack = mode === 'uncounted';
  }
  for (const { queueId, offset } of command.moved) queue(queueId).moveTo(offset);
  for (const { queueId, offset, untilMs, isAttempt, attemptId } of command.again) {
    queue(queueId).decideFor(offset, attemptId);
    const delivery = queue(queueId).awaitReturn(offset, untilMs);
    delivery.handle = index;
    delivery.isGivenBack = false;
    if (isAttempt) delivery.attempt++;
  }
  for (const { queueId, to, offsets, untilMs, attemptId } of command.popped) {
    const popped = queue(queueId);
    for (const offset of offsets) popped.handOut(offset, untilMs, index, attemptId);
    popped.next = to;
  }
  table.carriedOut(group, topic, index);
  return true;
}

/** Whether the command was decided from this state. */
function fits(command: Consume, index: LogIndex, queues: TopicProgress['queues'] | undefined): boolean {
  for (const { queueId, offset } of [...command.changed, ...command.again]) {
    if (queues?.get(queueId)?.inFlight.has(offset) !== true) return false;
  }
  const next = new Map<number, number>();
  for (const { queueId, from, to, offsets } of command.popped) {
    if (from !== (next.get(queueId) ?? queues?.get(queueId)?.next ?? 0)) return false;
    let last = from - 1;
    for (const offset of offsets) {
      assert(offset > last && offset < to, () => `record ${index} pops what it did not look at`);
      last = offset;
    }
    assert(to >= from, () => `record ${index} pops backwards`);
    next.set(queueId, to);
  }
  return true;
}

function readMessage([queueId, offset]: readonly unknown[]): QueuedMessage {
  return { queueId: readCount(queueId), offset: readCount(offset) };
}
