// Members of consumer groups, whose every delivery and every answer is held against the committed log (consumption.ts).
import { groupDefaults } from '../../src/broker/consuming/groups.ts';
import { decodeMessageRecord } from '../../src/format/message.ts';
import type { PoppedMessage, PopRequest, Settled, Verdict } from '../../src/replica/consuming/types.ts';
import { type ClientShared, callInTime, checkCode, Guess, type Outcome, type Work } from './calls.ts';
import { INVISIBLE_MS } from './consumption.ts';
import { readFailuresOf } from './readers.ts';
import { hold } from './truth.ts';

/** A group of a run. */
export interface SimGroup {
  readonly name: string;
  readonly isFifo: boolean;
  readonly attemptsMax: number;
}

/** Makes the group, however long it takes. */
export function putGroup({ world }: ClientShared, group: SimGroup, done: () => void): void {
  const guess = new Guess(world);
  const { consumption } = world.checker.truth;
  const attempt = (): void => {
    // It may be deleted again before the answer is here.
    const putsBefore = consumption.putsOf(group.name);
    const work: Work<unknown> = ({ replica, life }, reply) => {
      const info = { ...groupDefaults, ...group, createdAtMs: life.wallMs() };
      replica.consuming.putGroup(info, life.monotonicMs() + world.load.timeoutMs).then(
        (result) => reply(null, result),
        (error: unknown) => reply(error, null),
      );
    };
    callInTime(world, guess.node, work, world.load.timeoutMs, (outcome) => {
      checkCode('who makes a group', outcome);
      guess.learn(outcome);
      if (outcome.result === null) return world.later(5 + world.random.next() * 50, attempt);
      hold(consumption.putsOf(group.name) > putsBefore, () => `${group.name} was made and is not in the log`);
      done();
    });
  };
  attempt();
}

/** One member: takes messages, and says what is to become of them, or nothing. */
export class Consumer {
  readonly #shared: ClientShared;
  readonly #guess: Guess;
  readonly #group: string;
  readonly #name: string;
  #calls = 0;
  #attemptId = '';
  #topic = '';
  #waiting = 0;

  constructor(shared: ClientShared, { name }: SimGroup, number: number) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#group = name;
    this.#name = `${name}${number}`;
    this.#again();
  }

  get waiting(): number {
    return this.#waiting;
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (2 + 6 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    const { random, topics } = world;
    if (world.isClosing) return;
    if (topics.length === 0) return this.#again();
    // The same call again, as a client does it that did not hear the answer.
    if (this.#attemptId === '' || random.next() < 0.7) {
      this.#attemptId = `${this.#name}:${++this.#calls}`;
      this.#topic = topics[random.between(0, topics.length - 1)]!.name;
    }
    const topic = this.#topic;
    const request: PopRequest = {
      group: this.#group,
      topic,
      filter: { type: 'tag', expression: '*' },
      countMax: random.between(1, 12),
      bytesMax: random.next() < 0.2 ? 100 : 64_000,
      invisibleMs: INVISIBLE_MS,
      attemptId: this.#attemptId,
      waitMs: random.next() < 0.5 ? 0 : random.between(1, 400),
    };
    const deadlineMs = request.waitMs + world.load.timeoutMs;
    const asked = world.nodes[this.#guess.node]!;
    const heard = (outcome: Outcome<readonly PoppedMessage[]>): void => {
      checkCode(this.#name, outcome, readFailuresOf(asked));
      this.#guess.learn(outcome);
      this.#again();
      if (outcome.result !== null) this.#received(topic, outcome.result);
    };
    const ask: Work<readonly PoppedMessage[]> = ({ replica, life }, reply) => {
      replica.consuming.pop(request, life.monotonicMs() + deadlineMs, reply);
    };
    // What is taken back is not answered, if it was in time.
    const takeBack: Work<readonly PoppedMessage[]> = ({ replica, life }, reply) => {
      life.after(random.next() * 50, replica.consuming.pop(request, life.monotonicMs() + deadlineMs, reply));
    };
    if (random.next() < 0.05) world.call(asked.number, takeBack, deadlineMs * 1.2, heard);
    else callInTime(world, asked.number, ask, deadlineMs, heard);
  }

  #received(topic: string, messages: readonly PoppedMessage[]): void {
    const { world } = this.#shared;
    const { random, checker } = world;
    const { truth } = checker;
    for (const { queueId, offset, handle, attempt, record } of messages) {
      const known = truth.consumption.attemptOf(this.#group, topic, { queueId, offset, handle });
      hold(known === attempt, () => {
        return `${this.#name} gets ${topic}/${queueId}:${offset} by ${handle} as attempt ${attempt}, not ${known}`;
      });
      const body = decodeMessageRecord(record, 0, record.length)!.body.toString('latin1');
      hold(truth.queue(topic, queueId)[offset]?.body === body, () => `${this.#name} gets another message: ${body}`);
    }
    this.#shared.counts.delivered += messages.length;
    const kept = messages.filter(() => random.next() < 0.85);
    if (kept.length === 0) return;
    const verdicts = kept.map((receipt) => ({ receipt, verdict: this.#judge() }));
    const isLate = random.next() < 0.1;
    world.later(random.next() * (isLate ? 2 * INVISIBLE_MS : 60), () => this.#settle(topic, verdicts));
  }

  #judge(): Verdict {
    const { random } = this.#shared.world;
    const choice = random.next();
    if (choice < 0.75) return { kind: 'acknowledge' };
    if (choice < 0.8) return { kind: 'bury' };
    const mode = choice < 0.88 ? 'handle' : choice < 0.94 ? 'uncounted' : 'keep';
    return { kind: 'change', invisibleMs: random.next() < 0.5 ? 0 : random.between(1, INVISIBLE_MS), mode };
  }

  #settle(topic: string, verdicts: readonly { readonly receipt: PoppedMessage; readonly verdict: Verdict }[]): void {
    const { world } = this.#shared;
    const { random } = world;
    const { consumption } = world.checker.truth;
    for (const { receipt, verdict } of verdicts) {
      if (verdict.kind !== 'acknowledge') continue;
      consumption.asked.acknowledgements.add(`${this.#group}/${topic}/${receipt.queueId}/${receipt.offset}`);
    }
    const work: Work<readonly Settled[]> = ({ replica, life }, reply) => {
      const request = { group: this.#group, topic, verdicts };
      replica.consuming.settle(request, life.monotonicMs() + world.load.timeoutMs, reply);
    };
    this.#waiting++;
    const asked = world.nodes[this.#guess.node]!;
    callInTime(world, asked.number, work, world.load.timeoutMs, (outcome) => {
      this.#waiting--;
      checkCode(this.#name, outcome, readFailuresOf(asked));
      this.#guess.learn(outcome);
      if (outcome.result === null) {
        // Consumers say it again until they are heard.
        if (!world.isClosing) world.later(1 + random.next() * 60, () => this.#settle(topic, verdicts));
        return;
      }
      for (const [at, { receipt, verdict }] of verdicts.entries()) {
        if (!outcome.result[at]!.isDone || verdict.kind === 'change') continue;
        if (consumption.isResetAfter(this.#group, topic, receipt.handle)) continue;
        hold(consumption.isSettled(this.#group, topic, receipt), () => {
          return `${this.#name} is told that ${topic}/${receipt.queueId}:${receipt.offset} is settled, and it is not`;
        });
      }
    });
  }
}

/** Has a group go on elsewhere now and then, and deletes it and makes it anew. */
export class GroupOperator {
  readonly #shared: ClientShared;
  readonly #guess: Guess;
  readonly #group: SimGroup;

  constructor(shared: ClientShared, group: SimGroup) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#group = group;
    this.#again();
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (20 + 60 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    const { random, topics } = world;
    if (world.isClosing) return;
    const topic = topics[random.between(0, Math.max(0, topics.length - 1))];
    if (topic === undefined) return this.#again();
    const isDeletion = random.next() < 0.4;
    const { name } = this.#group;
    const work: Work<unknown> = ({ replica, life }, reply) => {
      const deadlineMs = life.monotonicMs() + world.load.timeoutMs;
      if (isDeletion) {
        replica.consuming.deleteGroup(name, deadlineMs).then(
          (result) => reply(null, result),
          (error: unknown) => reply(error, null),
        );
        return;
      }
      const queueId = random.between(0, topic.queues - 1);
      const positions = [{ queueId, offset: random.between(0, world.checker.truth.queue(topic.name, queueId).length) }];
      replica.consuming.move({ group: name, topic: topic.name, positions }, deadlineMs, reply);
    };
    callInTime(world, this.#guess.node, work, world.load.timeoutMs, (outcome) => {
      checkCode('who operates groups', outcome);
      this.#guess.learn(outcome);
      if (isDeletion) putGroup(this.#shared, this.#group, () => {});
      this.#again();
    });
  }
}
