// What the committed log says about consumers, messages held back and message ids, made without the broker's code: each
// decision is held against the ones before it, as it is committed.
import type { Command } from '../../src/broker/commands.ts';
import type { Consume } from '../../src/broker/consuming/consume_command.ts';
import { brokerProperty } from '../../src/format/message_properties.ts';
import { recordFlag } from '../../src/format/record_flags.ts';
import type { Marks } from './marks.ts';
import { hold } from './violation.ts';

/** How long all clients of a run keep what they pop: tells when the leader decided. */
export const INVISIBLE_MS = 700;
/** As the broker has it: message ids are known again for so long, and halves asked for so often. */
const WINDOW_MS = 60_000;
const CHECKS_MAX = 15;
/** Begins the topics of dead letters. */
export const DEAD_LETTERS = '%DLQ%';

interface TrueDelivery {
  attempt: number;
  untilMs: number;
  handle: number;
  isGivenBack: boolean;
  attemptId: string;
}

interface TrueProgress {
  next: number;
  readonly inFlight: Map<number, TrueDelivery>;
}

interface TrueGroup {
  readonly isFifo: boolean;
  readonly attemptsMax: number;
}

/** A message that is held back. */
export interface TrueParked {
  readonly body: string;
  readonly kind: 'delayed' | 'half';
  readonly dueMs: number;
  checks: number;
}

/** What clients have asked for: nobody else may have. */
export class Asked {
  /** Bodies of messages. */
  readonly recalls = new Set<string>();
  readonly commits = new Set<string>();
  readonly rollbacks = new Set<string>();
  /** `group/topic/queue/offset` */
  readonly acknowledgements = new Set<string>();
}

/** What the message of a flagged record is. */
export interface FlaggedMessage {
  readonly index: number;
  readonly flags: number;
  readonly topic: string;
  readonly body: string;
  readonly storedAtMs: number;
  readonly properties: ReadonlyMap<string, string>;
}

/** See the head of the file. */
export class Consumption {
  readonly asked = new Asked();
  /** By index. */
  readonly parked = new Map<number, TrueParked>();
  readonly groups = new Map<string, TrueGroup>();
  readonly #puts = new Map<string, number>();
  /** Bodies that were recalled or rolled back. */
  readonly dropped = new Set<string>();
  /** Bodies that were stored again when the window had forgotten their ids: nothing is promised of them any more. */
  readonly doubled = new Set<string>();
  /** The highest index that any log was cut at: what lies before may be gone for consumers. */
  cutIndex = 0;
  /** Index of the message at a place; for what retention takes. */
  indexOf: (topic: string, queueId: number, offset: number) => number = () => 0;
  marks: Pick<Marks, 'reach'> | null = null;
  readonly #progress = new Map<string, TrueProgress>();
  readonly #deliveries = new Map<string, number>();
  readonly #ids = new Map<string, number>();
  readonly #deadLetters = new Map<string, number>();
  /** When a group was deleted last, and when it was last moved in a topic or decided about there. */
  readonly #deletedAt = new Map<string, number>();
  readonly #movedAt = new Map<string, number>();
  readonly #decidedAt = new Map<string, number>();

  /** A command of record `index`. */
  apply(command: Command, index: number): void {
    if (command.type === 'consume') this.#consume(command, index);
    if (command.type === 'put-group') this.#puts.set(command.group.name, this.putsOf(command.group.name) + 1);
    if (command.type === 'put-group' && !(command.onlyNew === true && this.groups.has(command.group.name))) {
      const { name, isFifo, attemptsMax } = command.group;
      // What was decided before a group was described anew may still be by the old description.
      this.groups.set(name, { isFifo, attemptsMax: Math.max(attemptsMax, this.groups.get(name)?.attemptsMax ?? 0) });
    }
    if (command.type === 'delete-group') this.#delete(command.name, index);
    if (command.type === 'drop-parked') this.#drop(command.index);
    if (command.type === 'check-half') {
      const half = this.parked.get(command.index);
      hold(half?.kind === 'half', () => `record ${index} asks for ${command.index}, which is no open half`);
      hold(++half.checks <= CHECKS_MAX, () => `half ${command.index} is asked for too often`);
      this.marks?.reach('the producer of a half is asked');
    }
  }

  /** A message of a flagged record. @returns whether a queue has it now. */
  store({ index, flags, topic, body, storedAtMs, properties }: FlaggedMessage): boolean {
    if ((flags & recordFlag.remembered) !== 0) {
      const name = `${topic} ${properties.get('UNIQ_KEY')}`;
      const before = this.#ids.get(name);
      hold(before === undefined || storedAtMs - before > WINDOW_MS, () => `the message id ${name} is stored twice`);
      if (before !== undefined) this.doubled.add(body);
      this.#ids.set(name, storedAtMs);
    }
    if ((flags & recordFlag.parked) !== 0) {
      const dueMs = properties.get(brokerProperty.deliverAtMs);
      const kind = dueMs === undefined ? 'half' : 'delayed';
      this.parked.set(index, { body, kind, dueMs: Number(dueMs ?? 0), checks: 0 });
      return false;
    }
    if ((flags & recordFlag.effect) !== 0) {
      const [what, ...words] = properties.get(brokerProperty.effect)!.split(' ');
      if (what === 'release') this.#release(Number(words[0]), body, storedAtMs);
      else this.#deadLetter(words as [string, string, string, string], index);
    }
    return true;
  }

  /** How often a group was made or described. */
  putsOf(group: string): number {
    return this.#puts.get(group) ?? 0;
  }

  /** Which attempt a delivery was, by its receipt; undefined when there was no such delivery. */
  attemptOf(group: string, topic: string, { queueId, offset, handle }: Receipt): number | undefined {
    return this.#deliveries.get(`${group}/${topic}/${queueId}/${offset}/${handle}`);
  }

  /** Whether what a group has consumed was forgotten after record `index`. */
  isResetAfter(group: string, topic: string, index: number): boolean {
    return Math.max(this.#deletedAt.get(group) ?? 0, this.#movedAt.get(`${group}/${topic}`) ?? 0) > index;
  }

  /** Whether a message was handed out and is with no consumer any more. */
  isSettled(group: string, topic: string, { queueId, offset }: Omit<Receipt, 'handle'>): boolean {
    const progress = this.#progress.get(`${group}/${topic}/${queueId}`);
    return progress !== undefined && offset < progress.next && !progress.inFlight.has(offset);
  }

  /** Messages that are due before `wallMs` and still held back. */
  overdue(wallMs: number): TrueParked[] {
    return [...this.parked.values()].filter(({ kind, dueMs }) => kind === 'delayed' && dueMs < wallMs);
  }

  #delete(group: string, index: number): void {
    this.groups.delete(group);
    for (const name of this.#progress.keys()) if (name.startsWith(`${group}/`)) this.#progress.delete(name);
    this.#deletedAt.set(group, index);
    this.marks?.reach('a group is deleted and made anew');
  }

  /** One decision may have been under way when the group was deleted. */
  #isStale({ group, topic, popped, again, changed }: Consume, index: number): boolean {
    const name = `${group}/${topic}`;
    const deletedAt = this.#deletedAt.get(group);
    const isFirst = deletedAt !== undefined && (this.#decidedAt.get(name) ?? 0) <= deletedAt;
    this.#decidedAt.set(name, index);
    if (!isFirst) return false;
    // Several calls of one decision go on from each other in a queue.
    const next = new Map<number, number>();
    const isAhead = ({ queueId, from, to }: Consume['popped'][number]): boolean => {
      const known = next.get(queueId) ?? this.#at(group, topic, queueId).next;
      next.set(queueId, to);
      return known < from;
    };
    const isStale =
      [...again, ...changed].some(({ queueId, offset }) => !this.#at(group, topic, queueId).inFlight.has(offset)) ||
      popped.some(isAhead);
    if (isStale) this.marks?.reach('a decision about a deleted group has no effect');
    return isStale;
  }

  #at(group: string, topic: string, queueId: number): TrueProgress {
    const name = `${group}/${topic}/${queueId}`;
    let progress = this.#progress.get(name);
    if (progress === undefined) {
      progress = { next: 0, inFlight: new Map() };
      this.#progress.set(name, progress);
    }
    return progress;
  }

  #consume(command: Consume, index: number): void {
    const { group, topic } = command;
    const info = this.groups.get(group);
    if (info === undefined || this.#isStale(command, index)) return;
    const what = (queueId: number, offset: number) => `record ${index}: ${group} in ${topic}/${queueId}:${offset}`;
    for (const { queueId, offset } of command.settled) {
      const wasInFlight = this.#at(group, topic, queueId).inFlight.delete(offset);
      const isAsked = this.asked.acknowledgements.has(`${group}/${topic}/${queueId}/${offset}`);
      const mayBeCut = this.indexOf(topic, queueId, offset) <= this.cutIndex;
      const wasDeleted = this.#deletedAt.has(group);
      hold(
        (wasInFlight && (isAsked || mayBeCut)) || wasDeleted,
        () => `${what(queueId, offset)} is settled, and nobody asked for it`,
      );
    }
    for (const { queueId, offset, untilMs, mode } of command.changed) {
      const delivery = this.#at(group, topic, queueId).inFlight.get(offset);
      hold(delivery !== undefined, () => `${what(queueId, offset)} is changed, and not in flight`);
      delivery.untilMs = untilMs;
      if (mode === 'keep') continue;
      Object.assign(delivery, { handle: index, isGivenBack: mode === 'uncounted', attemptId: '' });
    }
    for (const { queueId, offset } of command.moved) {
      this.#progress.set(`${group}/${topic}/${queueId}`, { next: offset, inFlight: new Map() });
      this.#movedAt.set(`${group}/${topic}`, index);
      this.marks?.reach('a group goes on elsewhere');
    }
    if (!info.isFifo) this.#checkRepeats(command, what);
    for (const { queueId, offset, untilMs, isAttempt, attemptId } of command.again) {
      const { inFlight } = this.#at(group, topic, queueId);
      const delivery = inFlight.get(offset);
      hold(delivery !== undefined, () => `${what(queueId, offset)} is handed out again, and not in flight`);
      const isBack = delivery.untilMs <= untilMs - INVISIBLE_MS;
      const isSameCall = !isBack && attemptId !== '' && delivery.attemptId === attemptId;
      hold(isBack || info.isFifo || (isSameCall && !isAttempt), () => {
        return `${what(queueId, offset)} is handed out again before its time`;
      });
      if (isAttempt) delivery.attempt++;
      else this.marks?.reach('a delivery does not count');
      if (isSameCall && !info.isFifo) this.marks?.reach('a call in any order gets again what it may not have heard');
      hold(
        isAttempt || delivery.isGivenBack || isSameCall || info.isFifo,
        () => `${what(queueId, offset)} has to count`,
      );
      hold(delivery.attempt <= info.attemptsMax, () => `${what(queueId, offset)} is handed out too often`);
      Object.assign(delivery, { untilMs, handle: index, isGivenBack: false, attemptId });
      this.#deliveries.set(`${group}/${topic}/${queueId}/${offset}/${index}`, delivery.attempt);
      this.marks?.reach('a message is handed out again');
    }
    if (info.isFifo) this.#checkOrder(command, info.attemptsMax, what);
    for (const { queueId, from, to, offsets, untilMs, attemptId } of command.popped) {
      const progress = this.#at(group, topic, queueId);
      hold(progress.next === from, () => `${what(queueId, from)} is popped, and ${progress.next} is next`);
      const isBlocked = info.isFifo && offsets.length > 0 && progress.inFlight.size > 0;
      hold(!isBlocked, () => `${what(queueId, from)} is handed out before the batch in front of it`);
      let expected = from;
      for (const offset of offsets) {
        this.#checkPassedOver(topic, queueId, expected, offset, what);
        progress.inFlight.set(offset, { attempt: 1, untilMs, handle: index, isGivenBack: false, attemptId });
        this.#deliveries.set(`${group}/${topic}/${queueId}/${offset}/${index}`, 1);
        expected = offset + 1;
      }
      this.#checkPassedOver(topic, queueId, expected, to, what);
      progress.next = to;
    }
  }

  /** In any order: a call gets nothing new while something that was decided for it before is with nobody but it. */
  #checkRepeats({ again, popped, group, topic }: Consume, what: (queueId: number, offset: number) => string): void {
    const taken = new Set(again.map(({ queueId, offset }) => `${queueId}/${offset}`));
    for (const { attemptId, offsets, untilMs } of popped) {
      if (attemptId === '' || offsets.length === 0) continue;
      for (const [name, { inFlight }] of this.#progress) {
        if (!name.startsWith(`${group}/${topic}/`)) continue;
        const queueId = Number(name.split('/').at(-1));
        for (const [offset, delivery] of inFlight) {
          const isLost = delivery.attemptId === attemptId && delivery.untilMs > untilMs - INVISIBLE_MS;
          hold(
            !isLost || taken.has(`${queueId}/${offset}`),
            () => `${what(queueId, offset)} is kept from ${attemptId}`,
          );
        }
      }
    }
  }

  /** In order: what is handed out again begins with the first message that was not acknowledged, and leaves none out. */
  #checkOrder(
    { again, group, topic }: Consume,
    attemptsMax: number,
    what: (queueId: number, offset: number) => string,
  ): void {
    const byQueue = new Map<number, number[]>();
    for (const { queueId, offset } of again) byQueue.set(queueId, [...(byQueue.get(queueId) ?? []), offset]);
    for (const [queueId, offsets] of byQueue) {
      const { inFlight } = this.#at(group, topic, queueId);
      const inOrder = [...inFlight.keys()].sort((a, b) => a - b);
      let at = 0;
      for (const offset of inOrder) {
        if (at === offsets.length) break;
        if (offset === offsets[at]) at++;
        // One that was handed out often enough goes to the dead letters instead.
        else if ((inFlight.get(offset)?.attempt ?? 0) < attemptsMax) break;
      }
      hold(at === offsets.length, () => `${what(queueId, offsets[0]!)} is out of order: ${offsets} of ${inOrder}`);
      this.marks?.reach('a batch in order is handed out again');
    }
  }

  /** No filter is used: only what was cut may be passed over. */
  #checkPassedOver(
    topic: string,
    queueId: number,
    from: number,
    to: number,
    what: (queueId: number, offset: number) => string,
  ): void {
    if (from >= to) return;
    const isCut = this.indexOf(topic, queueId, to - 1) <= this.cutIndex;
    hold(isCut, () => `${what(queueId, from)} is passed over up to ${to}`);
    this.marks?.reach('a consumer passes over what was cut');
  }

  #release(index: number, body: string, storedAtMs: number): void {
    const parked = this.parked.get(index);
    hold(parked?.body === body, () => `${body} is released, but ${index} is ${parked?.body ?? 'not held back'}`);
    this.parked.delete(index);
    if (parked.kind === 'delayed') {
      hold(parked.dueMs <= storedAtMs, () => `${body} is shown ${parked.dueMs - storedAtMs} ms too early`);
      this.marks?.reach('a delayed message is shown');
      return;
    }
    hold(this.asked.commits.has(body), () => `${body} is released, and nobody committed it`);
    this.marks?.reach('a transaction is committed');
  }

  #drop(index: number): void {
    const parked = this.parked.get(index);
    hold(parked !== undefined, () => `${index} is dropped, and not held back`);
    this.parked.delete(index);
    this.dropped.add(parked.body);
    const { recalls, rollbacks } = this.asked;
    if (this.doubled.has(parked.body)) return;
    const isAsked = parked.kind === 'delayed' ? recalls.has(parked.body) : rollbacks.has(parked.body);
    hold(isAsked || parked.checks >= CHECKS_MAX, () => `${parked.body} is dropped, and nobody asked for it`);
    this.marks?.reach(parked.kind === 'delayed' ? 'a delayed message is recalled' : 'a transaction is rolled back');
  }

  #deadLetter([group, topic, queueId, offset]: [string, string, string, string], index: number): void {
    const name = `${group}/${topic}/${queueId}/${offset}`;
    const before = this.#deadLetters.get(name);
    const isOnce = before === undefined || this.isResetAfter(group, topic, before);
    hold(isOnce, () => `${name} is a dead letter twice`);
    this.#deadLetters.set(name, index);
    const wasInFlight = this.#at(group, topic, Number(queueId)).inFlight.delete(Number(offset));
    hold(wasInFlight || this.#deletedAt.has(group), () => `${name} becomes a dead letter, and is not in flight`);
    this.marks?.reach('a message becomes a dead letter');
  }
}

interface Receipt {
  readonly queueId: number;
  readonly offset: number;
  readonly handle: number;
}
