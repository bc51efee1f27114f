// All clients of a run: who is started, who still waits, and what they hold the group to in the end.
import { type ClientCounts, type ClientShared, Floors } from './calls.ts';
import { createTopic, Producer, Sender } from './clients.ts';
import { Consumer, GroupOperator, putGroup, type SimGroup } from './consumers.ts';
import { HISTORY_TOPIC, QueueHistorian, TopicHistorian } from './historians.ts';
import { checkLinearizable, logModel, type Model, namesModel, type Operation } from './linearizability.ts';
import { checkLogOrder } from './log_order.ts';
import { BarrierReader, Tail } from './readers.ts';
import { tally } from './tally.ts';
import { TimedSender } from './timers.ts';
import { hold } from './truth.ts';
import type { World } from './world.ts';

/** Who consumes: competing, and in order. Little is allowed, so that dead letters come about. */
const groups: readonly SimGroup[] = [
  { name: 'any', isFifo: false, attemptsMax: 4 },
  { name: 'ordered', isFifo: true, attemptsMax: 3 },
];
const HISTORIANS = 3;
const HISTORY_LENGTH_MAX = 12;
/** The search is given up after so many steps: a few dozen operations rarely need a thousand. */
const SEARCH_STEPS_MAX = 50_000;

/** See the head of the file. */
export class Crowd {
  readonly #world: World;
  readonly #producers: readonly Producer[];
  readonly #senders: readonly Sender[];
  readonly #timers: readonly TimedSender[];
  readonly #consumers: Consumer[] = [];
  readonly #queueHistorians: readonly QueueHistorian[];
  readonly #topicHistorians: readonly TopicHistorian[];

  constructor(world: World, counts: ClientCounts) {
    this.#world = world;
    const shared: ClientShared = { world, floors: new Floors(), counts };
    const { producers, queues, consumers, timers } = world.load;
    createTopic(world, { name: 'first', queues }, () => world.addTopic({ name: 'first', queues }));
    createTopic(world, { name: HISTORY_TOPIC, queues: 1 }, () => {});
    this.#producers = Array.from({ length: producers }, (_, number) => new Producer(shared, number));
    this.#senders = [new Sender(shared, 0), new Sender(shared, 1)];
    this.#timers = Array.from({ length: timers }, (_, number) => new TimedSender(shared, number));
    if (consumers > 0 && world.random.next() < 0.5) new GroupOperator(shared, groups[0]!);
    if (consumers > 0) for (const group of groups) this.#join(shared, group, consumers);
    new Tail(shared);
    new BarrierReader(shared);
    const thinkMs = Math.min(world.plan.faultyMs / 16, 2_000);
    const clients = Array.from({ length: HISTORIANS }, (_, client) => ({
      client,
      countMax: HISTORY_LENGTH_MAX,
      thinkMs,
    }));
    this.#queueHistorians = clients.map((options) => new QueueHistorian(shared, options));
    this.#topicHistorians = clients.map((options) => new TopicHistorian(shared, options));
  }

  #join(shared: ClientShared, group: SimGroup, consumers: number): void {
    putGroup(shared, group, () => {
      for (let number = 0; number < consumers; number++) this.#consumers.push(new Consumer(shared, group, number));
    });
  }

  /** Callers who still wait for an answer. */
  get waiting(): number {
    return [...this.#producers, ...this.#senders, ...this.#timers, ...this.#consumers].reduce(
      (sum, client) => sum + client.waiting,
      0,
    );
  }

  /** What was said is so, and what was answered could have been. */
  check(): void {
    for (const sender of this.#senders) sender.check();
    const appends = this.#queueHistorians.flatMap(({ history }) => history);
    this.#checkHistory('queue', logModel, appends);
    const final = this.#world.checker.truth.queue(HISTORY_TOPIC, 0).map(({ body }) => body);
    const complaints = checkLogOrder(appends, final);
    hold(complaints.length === 0, () => `the history of the queue: ${complaints.join('; ')}`);
    this.#checkHistory(
      'topics',
      namesModel,
      this.#topicHistorians.flatMap(({ history }) => history),
    );
  }

  #checkHistory(what: string, model: Model<string>, history: readonly Operation[]): void {
    if (history.length === 0) return;
    tally(this.#world.tallies.checks, 'history operations', history.length);
    const verdict = checkLinearizable(model, history, SEARCH_STEPS_MAX);
    if (verdict === 'unknown') tally(this.#world.tallies.checks, 'histories given up');
    hold(verdict !== 'not linearizable', () => {
      return `the history of the ${what} is not linearizable: ${JSON.stringify(history)}`;
    });
  }
}
