// Chooses the queue of each message. Messages of a topic whose number of queues is not known yet wait, in order, for the
// group to tell.
import { TLedgerError } from '../base/errors.ts';
import { checkTopicName } from '../format/limits.ts';
import type { Cluster } from './cluster.ts';
import { fetchQueueCount, queueOfKey } from './topics.ts';

/** Told the queue, or why there is none. */
export type Routed = (error: TLedgerError | null, queue: number) => void;

interface Waiting {
  readonly queue: number | undefined;
  readonly orderKey: string | Buffer | undefined;
  readonly deadlineMs: number;
  readonly routed: Routed;
}

interface TopicState {
  readonly name: string;
  /** Undefined while the question is under way. */
  queues: number | undefined;
  waiting: Waiting[];
  /** The queue where messages that may go anywhere go at the moment. */
  turn: number;
  /** Messages sent to each queue so far. */
  sent: number[];
  /** When the number of queues was asked for last. */
  askedAtMs: number;
}

/** A topic may get more queues: how often that is asked for, while messages are sent to it. */
const REFRESH_MS = 30_000;
/** How long that may take. */
const REFRESH_TIMEOUT_MS = 5_000;

/** The queues of the topics one producer writes to. */
export class TopicRouter {
  readonly #cluster: Cluster;
  readonly #hasOpenBatch: (topic: string, queue: number) => boolean;
  readonly #topics = new Map<string, TopicState>();

  /** @param hasOpenBatch whether a frame for that queue is still being filled: it is, as far as it goes. */
  constructor(cluster: Cluster, hasOpenBatch: (topic: string, queue: number) => boolean) {
    this.#cluster = cluster;
    this.#hasOpenBatch = hasOpenBatch;
  }

  /** Tells `routed` the queue, at once if the topic is known. Calls for one topic are answered in order. */
  route(
    topic: string,
    queue: number | undefined,
    orderKey: string | Buffer | undefined,
    deadlineMs: number,
    routed: Routed,
  ): void {
    let state = this.#topics.get(topic);
    if (state === undefined) {
      const refusal = nameRefusal(topic);
      if (refusal !== undefined) return routed(refusal, queue ?? -1);
      state = this.#ask(topic, deadlineMs);
    }
    const waiting = { queue, orderKey, deadlineMs, routed };
    if (state.queues === undefined) state.waiting.push(waiting);
    else this.#choose(state, state.queues, waiting);
  }

  /** The queue, when the topic is known and nothing is wrong; -1 when `route` has to be asked. */
  queueNow(topic: string, queue: number | undefined, orderKey: string | Buffer | undefined): number {
    const state = this.#topics.get(topic);
    if (state?.queues === undefined) return -1;
    const nowMs = Date.now();
    if (nowMs - state.askedAtMs >= REFRESH_MS) this.#refresh(state, nowMs);
    if (queue !== undefined) {
      return Number.isInteger(queue) && queue >= 0 && queue < state.queues ? count(state, queue) : -1;
    }
    if (orderKey !== undefined) return count(state, queueOfKey(orderKey, state.queues));
    return this.#queueInTurn(state, state.queues);
  }

  /** Refuses what has waited past its deadline, with DEADLINE_EXCEEDED if there is no other reason. */
  expire(nowMs: number, reason?: TLedgerError): void {
    for (const state of this.#topics.values()) {
      const expired = state.waiting.filter((one) => one.deadlineMs <= nowMs);
      if (expired.length === 0) continue;
      state.waiting = state.waiting.filter((one) => one.deadlineMs > nowMs);
      const why = reason ?? new TLedgerError('DEADLINE_EXCEEDED');
      for (const one of expired) one.routed(why, one.queue ?? -1);
    }
  }

  #ask(name: string, deadlineMs: number): TopicState {
    const state: TopicState = { name, queues: undefined, waiting: [], turn: 0, sent: [], askedAtMs: Date.now() };
    this.#topics.set(name, state);
    fetchQueueCount(this.#cluster, name, Math.max(1, deadlineMs - Date.now())).then(
      (queues) => {
        state.queues = queues;
        state.sent = new Array<number>(queues).fill(0);
        // Producers that send little must not all begin with the same queue.
        state.turn = Math.floor(Math.random() * queues);
        for (const one of state.waiting.splice(0)) this.#choose(state, queues, one);
      },
      (error) => {
        // The next message asks again.
        this.#topics.delete(name);
        const why = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL', String(error), error);
        for (const one of state.waiting.splice(0)) one.routed(why, one.queue ?? -1);
      },
    );
    return state;
  }

  /** Asks again, in the background and once at a time: until then messages go to the queues that are known. */
  #refresh(state: TopicState, nowMs: number): void {
    state.askedAtMs = nowMs;
    fetchQueueCount(this.#cluster, state.name, REFRESH_TIMEOUT_MS).then(
      (queues) => {
        if (state.queues === undefined || queues <= state.queues) return;
        // New ones take their part from now on, and no more than that.
        const least = Math.min(...state.sent);
        state.sent.push(...new Array<number>(queues - state.queues).fill(least));
        state.queues = queues;
      },
      () => {},
    );
  }

  #choose(state: TopicState, queues: number, { queue, orderKey, routed }: Waiting): void {
    if (queue !== undefined) {
      if (Number.isInteger(queue) && queue >= 0 && queue < queues) return routed(null, count(state, queue));
      const range = `the topic "${state.name}" has queues 0 to ${queues - 1}, not ${queue}`;
      return routed(new TLedgerError('QUEUE_OUT_OF_RANGE', range), queue);
    }
    if (orderKey !== undefined) return routed(null, count(state, queueOfKey(orderKey, queues)));
    routed(null, this.#queueInTurn(state, queues));
  }

  /**
   * Messages that may go anywhere fill one frame after the other. Each new frame goes where the fewest messages went so
   * far, as frames differ in size; the next one in turn of several.
   */
  #queueInTurn(state: TopicState, queues: number): number {
    if (!this.#hasOpenBatch(state.name, state.turn)) {
      const { sent, turn } = state;
      let least = (turn + 1) % queues;
      for (let step = 2; step <= queues; step++) {
        const queue = (turn + step) % queues;
        if (sent[queue]! < sent[least]!) least = queue;
      }
      state.turn = least;
    }
    return count(state, state.turn);
  }
}

function count(state: TopicState, queue: number): number {
  state.sent[queue]!++;
  return queue;
}

function nameRefusal(topic: string): TLedgerError | undefined {
  try {
    checkTopicName(topic);
    return undefined;
  } catch (error) {
    return error instanceof TLedgerError ? error : new TLedgerError('INTERNAL', String(error), error);
  }
}
