// Who sends messages with ids: plain ones again and again until they are acknowledged, delayed ones that are recalled now and
// then, and halves of transactions that are committed, rolled back or left to checks.
import type { AppendResult } from '../../src/broker/types.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { brokerProperty } from '../../src/format/message_properties.ts';
import { recordFlag } from '../../src/format/record_flags.ts';
import type { LogIndex } from '../../src/raft/types.ts';
import { type ClientShared, callInTime, checkCode, Guess, type Work } from './calls.ts';
import { readFailuresOf } from './readers.ts';
import { hold } from './truth.ts';

type Kind = 'plain' | 'delayed' | 'half';

/** What such a call may be refused with, beside what every call may. */
const recallRefusals = new Set(['ILLEGAL_DELIVERY_TIME']);
const resolveRefusals = new Set(['TRANSACTION_NOT_FOUND']);

/** See the head of the file. */
export class TimedSender {
  readonly #shared: ClientShared;
  readonly #guess: Guess;
  readonly #name: string;
  #count = 0;
  #waiting = 0;

  constructor(shared: ClientShared, number: number) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#name = `t${number}`;
    this.#again();
  }

  get waiting(): number {
    return this.#waiting;
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (3 + 8 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    const { random, topics } = world;
    if (world.isClosing) return;
    if (topics.length > 0 && this.#waiting < 3) {
      const { name, queues } = topics[random.between(0, topics.length - 1)]!;
      const kind = random.next() < 0.3 ? 'plain' : random.next() < 0.5 ? 'delayed' : 'half';
      const place = { topic: name, queueId: random.between(0, queues - 1) };
      // An identity of its own: bodies are told apart by it.
      this.#waiting++;
      this.#send(place, `${this.#name}:${kind}:${++this.#count}`, kind, random.between(-50, 900));
    } else if (topics.length > 0) this.#takeChecks();
    this.#again();
  }

  #send(place: { topic: string; queueId: number }, body: string, kind: Kind, delayMs: number): void {
    const { world } = this.#shared;
    const { topic, queueId } = place;
    const work: Work<AppendResult> = ({ replica, life }, reply) => {
      const properties: Record<string, string> = {};
      if (kind === 'delayed') properties[brokerProperty.deliverAtMs] = String(life.wallMs() + delayMs);
      if (kind === 'half') {
        properties[brokerProperty.transaction] = 'true';
        properties[brokerProperty.recoverySeconds] = '1';
      }
      const message = { topic, queueId, body: Buffer.from(body), uniqueKey: body, properties, bornAtMs: 1 };
      const flags = recordFlag.remembered | (kind === 'plain' ? 0 : recordFlag.parked);
      const request = { topic, queueId, flags, records: encodeMessageRecord(message) };
      replica.store(request, life.monotonicMs() + world.load.timeoutMs, reply);
    };
    callInTime(world, this.#guess.node, work, world.load.timeoutMs, (outcome) => {
      checkCode(this.#name, outcome);
      this.#guess.learn(outcome);
      const { result } = outcome;
      if (result === null)
        return world.later(1 + world.random.next() * 60, () => this.#send(place, body, kind, delayMs));
      this.#waiting--;
      if (result.repeated) world.marks.reach('a message id is known again');
      const { truth } = world.checker;
      if (truth.consumption.doubled.has(body)) return;
      if (kind === 'plain') {
        const shown = truth.queue(topic, queueId)[result.queueOffset];
        hold(shown?.body === body, () => `${body} was acknowledged at ${topic}/${queueId}:${result.queueOffset}`);
        return;
      }
      const { parked, dropped } = truth.consumption;
      const isThere = parked.get(result.lastIndex)?.body === body || dropped.has(body) || truth.bodies.has(body);
      hold(isThere, () => `${body} was acknowledged, and is neither held back nor shown`);
      this.#decideLater(topic, body, kind, result.lastIndex);
    });
  }

  #decideLater(topic: string, body: string, kind: Kind, index: LogIndex): void {
    const { world } = this.#shared;
    const { random } = world;
    const choice = random.next();
    const afterMs = random.next() * (random.next() < 0.8 ? 300 : 3_000);
    if (kind === 'delayed') {
      if (choice < 0.4) world.later(afterMs, () => this.#recall(topic, body, index));
    } else if (choice < 0.9) world.later(afterMs, () => this.#resolve(topic, body, choice < 0.6));
  }

  #recall(topic: string, body: string, index: LogIndex): void {
    const { world } = this.#shared;
    if (world.isClosing) return;
    const { consumption, bodies } = world.checker.truth;
    consumption.asked.recalls.add(body);
    const work: Work<unknown> = ({ replica, life }, reply) =>
      settle(replica.parked.recall(index, topic, life.monotonicMs() + world.load.timeoutMs), reply);
    callInTime(world, this.#guess.node, work, world.load.timeoutMs, (outcome) => {
      checkCode(`${this.#name}, who recalls`, outcome, recallRefusals);
      this.#guess.learn(outcome);
      if (outcome.result === null || consumption.doubled.has(body)) return;
      const isGone = consumption.dropped.has(body) && !bodies.has(body);
      hold(isGone, () => `${this.#name} is told that ${body} was recalled`);
    });
  }

  #resolve(topic: string, body: string, isCommit: boolean): void {
    const { world } = this.#shared;
    const asked = world.nodes[this.#guess.node]!;
    if (world.isClosing) return;
    const { consumption, bodies } = world.checker.truth;
    const { commits, rollbacks } = consumption.asked;
    (isCommit ? commits : rollbacks).add(body);
    const work: Work<true> = ({ replica, life }, reply) => {
      const deadlineMs = life.monotonicMs() + world.load.timeoutMs;
      settle(
        replica.parked.resolve(topic, body, isCommit ? 'commit' : 'rollback', deadlineMs).then(() => true as const),
        reply,
      );
    };
    callInTime(world, asked.number, work, world.load.timeoutMs, (outcome) => {
      checkCode(
        `${this.#name}, who ends a transaction`,
        outcome,
        new Set([...resolveRefusals, ...readFailuresOf(asked)]),
      );
      this.#guess.learn(outcome);
      if (outcome.result === null) {
        if (outcome.code !== 'TRANSACTION_NOT_FOUND')
          world.later(5 + world.random.next() * 60, () => this.#resolve(topic, body, isCommit));
        return;
      }
      if (consumption.doubled.has(body)) return;
      const isIn = bodies.has(body);
      const isOut = consumption.dropped.has(body);
      hold(
        isIn !== isOut,
        () => `${body} was ${isCommit ? 'committed' : 'rolled back'}, and is ${isIn ? 'both' : 'neither'}`,
      );
      if (!rollbacks.has(body)) hold(isIn || isOut, () => `${body} was committed and is not shown`);
      if (!commits.has(body)) hold(!isIn, () => `${body} was rolled back and is shown`);
    });
  }

  /** Asks for halves whose producers are to be asked, and answers for them. */
  #takeChecks(): void {
    const { world } = this.#shared;
    const asked = world.nodes[this.#guess.node]!;
    const topics = world.topics.map(({ name }) => name);
    const work: Work<readonly string[]> = ({ replica, life }, reply) =>
      settle(
        replica.parked
          .takeChecks(topics, 4, life.monotonicMs() + world.load.timeoutMs)
          .then((halves) => halves.map(({ half }) => `${half.topic} ${half.id}`)),
        reply,
      );
    callInTime(world, asked.number, work, world.load.timeoutMs, (outcome) => {
      checkCode(`${this.#name}, who asks for checks`, outcome, new Set([...resolveRefusals, ...readFailuresOf(asked)]));
      this.#guess.learn(outcome);
      for (const half of outcome.result ?? []) {
        const [topic, id] = half.split(' ') as [string, string];
        const { commits, rollbacks } = world.checker.truth.consumption.asked;
        if (commits.has(id) || rollbacks.has(id)) this.#resolve(topic, id, commits.has(id));
        else if (world.random.next() < 0.5) this.#resolve(topic, id, world.random.next() < 0.7);
      }
    });
  }
}

function settle<T>(promise: Promise<T>, reply: (error: unknown, result: T | null) => void): void {
  promise.then(
    (result) => reply(null, result),
    (error: unknown) => reply(error, null),
  );
}
