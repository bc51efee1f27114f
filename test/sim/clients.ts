// Who writes to the group, and what each may expect of it: idempotent producers that repeat what they are not sure of, and
// senders that send once and hold the group to its word.
import type { AppendResult, PackedAppend, TopicInfo } from '../../src/broker/types.ts';
import {
  bodyOf,
  type ClientShared,
  type ClientWorld,
  callInTime,
  checkCode,
  encode,
  Guess,
  harmless,
  unknown,
  type Work,
} from './calls.ts';
import type { Process } from './node.ts';
import { hold } from './truth.ts';

interface Batch {
  readonly topic: string;
  readonly queueId: number;
  readonly sequence: number;
  readonly bodies: readonly string[];
  readonly records: Buffer;
}

/** Repeats every batch until it is acknowledged; all of it must be in the log once, in order. */
export class Producer {
  readonly id: string;
  readonly #shared: ClientShared;
  readonly #guess: Guess;
  readonly #name: string;
  #sequence = 1;
  #waiting = 0;

  constructor(shared: ClientShared, number: number) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#name = `p${number}`;
    this.id = `abcdef${number.toString(16).padStart(10, '0')}`;
    this.#again();
  }

  /** Batches that are not acknowledged yet. */
  get waiting(): number {
    return this.#waiting;
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (0.2 + 1.6 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    if (world.isClosing) return;
    if (world.topics.length > 0 && this.#waiting < world.load.windowMax) {
      const batch = this.#newBatch();
      this.#waiting++;
      this.#send(batch);
    }
    this.#again();
  }

  #newBatch(): Batch {
    const { random, topics, load } = this.#shared.world;
    const topic = topics[random.between(0, topics.length - 1)]!;
    const queueId = random.between(0, topic.queues - 1);
    const count = random.between(1, load.batchCountMax);
    const sequence = this.#sequence;
    this.#sequence += count;
    const bodies = Array.from({ length: count }, (_, at) => bodyOf(`${this.#name}:${sequence + at}`, random, load));
    const records = encode(topic.name, queueId, bodies, random);
    return { topic: topic.name, queueId, sequence, bodies, records };
  }

  #send(batch: Batch): void {
    const { world, counts } = this.#shared;
    const { topic, queueId, sequence } = batch;
    const work: Work<AppendResult> = (process, reply) => {
      const records = Buffer.from(batch.records);
      append(process, { topic, queueId, producerId: this.id, sequence, records }, world.load.timeoutMs, reply);
    };
    // A repeat of the network's own: nobody waits for its answer, and it may come very late.
    if (!world.isCalm && world.random.next() < 0.05) {
      world.later(world.random.next() * 3 * world.load.timeoutMs, () => {
        world.call(this.#guess.node, work, world.load.timeoutMs, (outcome) => checkCode(this.#name, outcome));
      });
    }
    world.call(this.#guess.node, work, world.load.timeoutMs * (0.5 + world.random.next()), (outcome) => {
      checkCode(this.#name, outcome);
      this.#guess.learn(outcome);
      if (outcome.result === null) {
        if (unknown.has(outcome.code!)) counts.unknown++;
        else counts.refused++;
        markRefusal(world, outcome.code!);
        world.later(1 + world.random.next() * 60, () => this.#send(batch));
        return;
      }
      this.#waiting--;
      if (outcome.result.repeated) this.#shared.world.marks.reach('a batch is repeated after a change of leader');
      this.#onAcknowledged(batch, outcome.result);
    });
  }

  #onAcknowledged(batch: Batch, result: AppendResult): void {
    const { world, counts, floors } = this.#shared;
    const { topic, queueId, sequence, bodies } = batch;
    const { truth } = world.checker;
    counts.acknowledged += bodies.length;
    if (result.repeated) counts.repeated++;
    world.trace.say(
      () => `${this.#name} knows ${sequence}+${bodies.length} at ${topic}/${queueId}:${result.queueOffset}`,
    );
    hold(result.count === bodies.length, () => `${this.#name}: ${result.count} of ${bodies.length} acknowledged`);
    const committed = truth.producers.get(this.id) ?? 0;
    hold(committed >= sequence + bodies.length - 1, () => {
      return `${this.#name}: ${sequence}+${bodies.length} is acknowledged, committed is ${committed}`;
    });
    bodies.forEach((body, at) => {
      const message = truth.bodies.get(body);
      hold(message?.producerId === this.id && message.sequence === sequence + at, () => `${body} is not in the log`);
      if (result.queueOffset < 0) return;
      const shown = truth.queue(topic, queueId)[result.queueOffset + at];
      hold(shown === message, () => `${this.#name}: ${body} is not at ${topic}/${queueId}:${result.queueOffset + at}`);
    });
    if (result.queueOffset >= 0) floors.raise(topic, queueId, result.queueOffset + bodies.length);
  }
}

/** Sends each message once, without an id, and takes the answer at its word. */
export class Sender {
  readonly #shared: ClientShared;
  readonly #guess: Guess;
  readonly #name: string;
  #count = 0;
  #waiting = 0;
  readonly #promises: { readonly body: string; readonly isIn: boolean | null }[] = [];

  constructor(shared: ClientShared, number: number) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#name = `s${number}`;
    this.#again();
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** What was said to be in is in, and what was said to have had no effect is not. */
  check(): void {
    const { checker, marks } = this.#shared.world;
    const { bodies } = checker.truth;
    for (const { body, isIn } of this.#promises) {
      if (isIn === null) {
        marks.reach(bodies.has(body) ? 'an unknown outcome was committed' : 'an unknown outcome was not committed');
        continue;
      }
      hold(
        bodies.has(body) === isIn,
        () => `${body} was ${isIn ? 'acknowledged and is missing' : 'refused and is there'}`,
      );
    }
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (1 + 4 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    if (world.isClosing) return;
    if (world.topics.length > 0 && this.#waiting < 4) this.#send();
    this.#again();
  }

  #send(): void {
    const { world, counts, floors } = this.#shared;
    const { random, load, topics } = world;
    const { name: topic, queues } = topics[random.between(0, topics.length - 1)]!;
    const queueId = random.between(0, queues - 1);
    const body = bodyOf(`${this.#name}:${++this.#count}`, random, load);
    this.#waiting++;
    const work: Work<AppendResult> = (process, reply) => {
      const records = encode(topic, queueId, [body], random);
      append(process, { topic, queueId, producerId: '', sequence: 0, records }, load.timeoutMs, reply);
    };
    callInTime(world, this.#guess.node, work, load.timeoutMs, (outcome) => {
      this.#waiting--;
      checkCode(this.#name, outcome);
      this.#guess.learn(outcome);
      const { result, code } = outcome;
      if (result === null) {
        const isRefused = harmless.has(code!);
        if (isRefused) counts.refused++;
        else counts.unknown++;
        this.#promises.push({ body, isIn: isRefused ? false : null });
        return;
      }
      counts.acknowledged++;
      this.#promises.push({ body, isIn: true });
      const shown = world.checker.truth.queue(topic, queueId)[result.queueOffset];
      hold(shown?.body === body, () => `${body} was acknowledged at ${topic}/${queueId}:${result.queueOffset}`);
      floors.raise(topic, queueId, result.queueOffset + 1);
    });
  }
}

/** Creates a topic, however long it takes. */
export function createTopic(
  world: ClientWorld,
  info: { readonly name: string; readonly queues: number },
  done: () => void,
): void {
  const guess = new Guess(world);
  const attempt = (): void => {
    const work: Work<{ readonly topic: TopicInfo }> = (process, reply) => {
      const deadlineMs = process.life.monotonicMs() + world.load.timeoutMs;
      process.replica.createTopic(info.name, info.queues, deadlineMs).then(
        (result) => reply(null, result),
        (error: unknown) => reply(error, null),
      );
    };
    callInTime(world, guess.node, work, world.load.timeoutMs, (outcome) => {
      checkCode('who creates a topic', outcome);
      guess.learn(outcome);
      if (outcome.result === null) {
        world.later(5 + world.random.next() * 50, attempt);
        return;
      }
      const { topics } = world.checker.truth;
      hold(topics.get(info.name) === info.queues, () => `topic ${info.name} was created and is not in the log`);
      done();
    });
  };
  attempt();
}

/** Gives a topic more queues, however long it takes. @param done told how many it has then. */
export function addQueues(
  world: ClientWorld,
  wish: { readonly topic: string; readonly queues: number },
  done: (queues: number) => void,
): void {
  const guess = new Guess(world);
  const attempt = (): void => {
    const work: Work<{ readonly topic: TopicInfo }> = (process, reply) => {
      process.replica.queues.add(wish, process.life.monotonicMs() + world.load.timeoutMs).then(
        (result) => reply(null, result),
        (error: unknown) => reply(error, null),
      );
    };
    callInTime(world, guess.node, work, world.load.timeoutMs, (outcome) => {
      // Another one may have asked for more meanwhile.
      checkCode('who adds queues', outcome, new Set(['INVALID_ARGUMENT']));
      guess.learn(outcome);
      if (outcome.code === 'INVALID_ARGUMENT') return;
      if (outcome.result === null) {
        world.later(5 + world.random.next() * 50, attempt);
        return;
      }
      const { queues } = outcome.result.topic;
      const known = world.checker.truth.topics.get(wish.topic) ?? 0;
      hold(
        queues >= wish.queues && known >= queues,
        () => `${wish.topic} was given ${queues} queues, the log says ${known}`,
      );
      done(queues);
    });
  };
  attempt();
}

function markRefusal({ marks }: ClientWorld, code: string): void {
  if (code === 'OUT_OF_ORDER_SEQUENCE') marks.reach('a sequence is out of order');
  if (code === 'UNKNOWN_PRODUCER') marks.reach('a producer was forgotten');
  if (code === 'OVERLOADED') marks.reach('a node is overloaded');
}

/** Appends on a node, and answers however that ends. */
export function append(
  process: Process,
  request: PackedAppend,
  timeoutMs: number,
  reply: (error: unknown, result: AppendResult | null) => void,
): void {
  process.replica.append(request, process.life.monotonicMs() + timeoutMs, reply);
}
