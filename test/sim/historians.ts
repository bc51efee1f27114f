// Who writes down what was asked, when, and what was answered: small histories for the linearizability checker, of one
// queue and of the list of topics.
import type { AppendResult, TopicInfo } from '../../src/broker/types.ts';
import { type ClientShared, type ClientWorld, checkCode, encode, Guess, harmless, type Work } from './calls.ts';
import { append } from './clients.ts';
import type { Operation } from './linearizability.ts';
import { barrierRead, bodiesOf, confirmedRead } from './readers.ts';

/** The queue's topic. */
export const HISTORY_TOPIC = 'history';
/** Topics whose creation is a history begin like this. */
const LISTED_PREFIX = 'listed';
const LISTED_NAMES = 3;
const TIMEOUT_MS = 400;

/** Whose history it is, and how much of it there may be. */
export interface HistorianOptions {
  readonly client: number;
  readonly countMax: number;
  readonly thinkMs: number;
}

abstract class Historian {
  readonly history: Operation[] = [];
  protected readonly world: ClientWorld;
  protected readonly guess: Guess;
  protected readonly options: HistorianOptions;

  constructor(shared: ClientShared, options: HistorianOptions) {
    this.world = shared.world;
    this.guess = new Guess(shared.world);
    this.options = options;
    this.again();
  }

  /** Does one thing, and then calls `again`. */
  protected abstract act(): void;

  protected again(): void {
    const { world } = this;
    world.later(this.options.thinkMs * 2 * world.random.next(), () => {
      if (!world.isClosing && this.history.length < this.options.countMax) this.act();
    });
  }

  /** Calls a node and writes that down: until it is answered it may have taken effect at any moment. */
  protected write<T>(
    input: Operation['input'],
    work: Work<T>,
    answer: (result: T | null, code: string | null) => Operation['output'] | undefined,
  ): void {
    const { world } = this;
    const head = { client: this.options.client, callMs: world.nowMs, input };
    const open: Operation = { ...head, returnMs: Number.POSITIVE_INFINITY, output: null };
    this.history.push(open);
    world.call(this.guess.node, work, TIMEOUT_MS * 1.25, (outcome) => {
      checkCode('a historian', outcome, refusals);
      this.guess.learn(outcome);
      const output = answer(outcome.result, outcome.code);
      const at = this.history.indexOf(open);
      if (output !== undefined) this.history[at] = { ...head, returnMs: world.nowMs, output };
      else if (harmless.has(outcome.code!)) this.history.splice(at, 1);
      this.again();
    });
  }
}

/** Answers that are part of what is written down. */
const refusals: ReadonlySet<string> = new Set(['TOPIC_EXISTS']);

/** One queue: appends and reads of all of it. */
export class QueueHistorian extends Historian {
  #count = 0;

  protected override act(): void {
    if (!this.world.checker.truth.topics.has(HISTORY_TOPIC)) this.again();
    else if (this.world.random.next() < 0.5) this.#append();
    else this.#read();
  }

  #append(): void {
    const value = `h${this.options.client}:${++this.#count}`;
    const work: Work<AppendResult> = (process, reply) => {
      const records = encode(HISTORY_TOPIC, 0, [value], this.world.random);
      append(process, { topic: HISTORY_TOPIC, queueId: 0, producerId: '', sequence: 0, records }, TIMEOUT_MS, reply);
    };
    this.write({ kind: 'append', value }, work, (result) => result?.queueOffset);
  }

  #read(): void {
    const { world, guess } = this;
    const callMs = world.nowMs;
    barrierRead({ world, guess, topic: HISTORY_TOPIC, queueId: 0, from: 'start' }, (page) => {
      if (page !== null && page.offset + page.count === page.max) {
        // What was cut is not shown any more, but its place is kept.
        const output = page.offset === 0 ? bodiesOf(page.records) : page.max;
        const { client } = this.options;
        this.history.push({ client, callMs, returnMs: world.nowMs, input: { kind: 'read' }, output });
      }
      this.again();
    });
  }
}

/** The topics of a few names: creations that meet each other, and lists. */
export class TopicHistorian extends Historian {
  protected override act(): void {
    if (this.world.random.next() < 0.5) this.#create();
    else this.#list();
  }

  #create(): void {
    const { random } = this.world;
    const name = `${LISTED_PREFIX}${random.between(1, LISTED_NAMES)}`;
    const queues = random.between(1, 2);
    const work: Work<{ readonly topic: TopicInfo; readonly created: boolean }> = (process, reply) => {
      process.replica.createTopic(name, queues, process.life.monotonicMs() + TIMEOUT_MS).then(
        (result) => reply(null, result),
        (error: unknown) => reply(error, null),
      );
    };
    this.write({ kind: 'create', name, value: String(queues) }, work, (result, code) => {
      if (code === 'TOPIC_EXISTS') return 'conflict';
      if (result === null) return undefined;
      if (!result.created) this.world.marks.reach('a topic is created by two at once');
      return result.created ? 'created' : 'exists';
    });
  }

  #list(): void {
    const { world, guess } = this;
    const callMs = world.nowMs;
    const read = (process: { readonly broker: { topics(): readonly TopicInfo[] } }): readonly string[] =>
      process.broker
        .topics()
        .filter(({ name }) => name.startsWith(LISTED_PREFIX))
        .map(({ name, queues }) => `${name}=${queues}`);
    confirmedRead({ world, guess, who: 'who lists topics', read }, (output) => {
      if (output !== null) {
        const { client } = this.options;
        this.history.push({ client, callMs, returnMs: world.nowMs, input: { kind: 'list' }, output });
      }
      this.again();
    });
  }
}
