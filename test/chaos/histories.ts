// Small histories for the linearizability checker (test/sim/linearizability.ts), one after the other through all faults:
// a few clients, each of which stays with one node, race for one new topic: who creates it, who sees it, who appends what
// and who reads what. Every try is one call, so that each answer is the answer to one call and nothing is asked twice.
import type { ErrorCode } from '../../src/base/errors.ts';
import { Endpoint } from '../../src/client/endpoint.ts';
import type { TLedgerClient } from '../../src/client/index.ts';
import { messagesIn } from '../../src/client/received.ts';
import { unary } from '../../src/client/unary.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { int64ToNumber } from '../../src/wire/int64.ts';
import { adminService, ledgerService, type Method } from '../../src/wire/services.ts';
import { answeredCode } from '../../src/wire/status.ts';
import {
  checkLinearizable,
  type Input,
  logModel,
  type Operation,
  type Output,
  registerModel,
} from '../sim/linearizability.ts';
import type { History } from './history.ts';
import { pause } from './pause.ts';
import type { Access } from './readers.ts';

/** What the histories of a run came to. */
export interface HistoryCounts {
  /** Histories that were judged: two a round, of the topic's existence and of its queue. */
  judged: number;
  operations: number;
  /** Histories for which the search was given up. */
  undecided: number;
}

const CLIENTS_MAX = 4;
const ROUND_MS = 2_500;
/** A finished round is read out while it is still kept, if the group can be read at all. */
const READ_OUT_WITHIN_MS = 15_000;
const READ_OUT_RETRY_MS = 500;
const CALL_TIMEOUT_MS = 400;
const THINK_MS_MIN = 40;
const THINK_MS_MAX = 200;
/** Enough for dozens of calls of which some have no answer; a worse history is given up and counted. */
const STEPS_MAX = 300_000;
const MADE = 'made';

/** Answers that say for certain that nothing was done. */
const definite: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(['NOT_LEADER', 'NO_LEADER', 'TRANSFERRING', 'OVERLOADED', 'SHUTTING_DOWN', 'UNREACHABLE'] as const),
  ...(['DEADLINE_EXCEEDED', 'TOPIC_NOT_FOUND'] as const),
]);

interface Round {
  readonly topic: string;
  readonly untilMs: number;
  /** Whether the topic exists: a register. */
  readonly topics: Operation[];
  /** Its only queue: a log. */
  readonly queue: Operation[];
  /** Some client knows that it exists. */
  isMade: boolean;
  /** What its queue held when it was read last. */
  last: Operation | undefined;
}

/** Makes histories until it is closed. */
export class Histories {
  readonly counts: HistoryCounts = { judged: 0, operations: 0, undecided: 0 };
  readonly #history: History;
  readonly #client: () => TLedgerClient;
  readonly #nodes: () => readonly Access[];
  /** By address. */
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #roundMs: number;
  readonly #stop = new AbortController();
  readonly #rounds: Round[] = [];
  readonly #readings: Promise<void>[] = [];
  readonly #running: Promise<void>;

  /**
   * @param options.client reaches the group whatever happens to the ways of the others.
   * @param options.nodes asked before each round: members may come and go.
   * @param options.history told of what is not linearizable.
   */
  constructor(options: {
    readonly client: () => TLedgerClient;
    readonly nodes: () => readonly Access[];
    readonly history: History;
    readonly roundMs?: number;
  }) {
    const { client, nodes, history, roundMs = ROUND_MS } = options;
    this.#history = history;
    this.#client = client;
    this.#roundMs = roundMs;
    this.#nodes = nodes;
    this.#running = this.#run();
  }

  /** Ends the round under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Reads every queue once more, now that nothing is under way any more, and judges all histories. */
  async judge(): Promise<void> {
    await this.stop();
    for (const round of this.#rounds) {
      await this.#readOut(round);
      this.#judge(round.topic, registerModel, merged(round.topics));
      this.#judge(`queue of ${round.topic}`, logModel, round.last === undefined ? round.queue : settled(round));
    }
  }

  async close(): Promise<void> {
    await this.stop();
    for (const endpoint of this.#endpoints.values()) endpoint.close();
  }

  async #run(): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number++) {
      const untilMs = performance.now() + this.#roundMs;
      const topic = `history-${number}`;
      const round: Round = { topic, untilMs, topics: [], queue: [], isMade: false, last: undefined };
      this.#rounds.push(round);
      const endpoints = this.#nodes().map(({ address }) => this.#endpointAt(address));
      const first = number % endpoints.length;
      const inTurn = [...endpoints.slice(first), ...endpoints.slice(0, first)];
      await Promise.all(inTurn.slice(0, CLIENTS_MAX).map((endpoint, client) => this.#play(round, client, endpoint)));
      this.#readings.push(this.#readOutSoon(round));
    }
    await Promise.all(this.#readings);
  }

  #endpointAt(address: string): Endpoint {
    const endpoint = this.#endpoints.get(address) ?? new Endpoint(address);
    this.#endpoints.set(address, endpoint);
    return endpoint;
  }

  async #play(round: Round, client: number, endpoint: Endpoint): Promise<void> {
    const { signal } = this.#stop;
    for (let count = 0; !signal.aborted && performance.now() < round.untilMs; count++) {
      await pause(THINK_MS_MIN + Math.random() * (THINK_MS_MAX - THINK_MS_MIN), signal);
      const draw = Math.random();
      if (!round.isMade)
        await (draw < 0.5 ? this.#create(round, client, endpoint) : this.#look(round, client, endpoint));
      else if (draw < 0.5) await this.#append(round, client, endpoint, `${client}:${count}`);
      else if (draw < 0.75) await this.#readByMetadata(round, client, endpoint);
      else if (draw < 0.95) await this.#readToTheEnd(round, client, endpoint);
      else await this.#look(round, client, endpoint);
    }
  }

  async #create(round: Round, client: number, endpoint: Endpoint): Promise<void> {
    const input = { kind: 'compare-and-set', expected: '', value: MADE } as const;
    await this.#effect(round.topics, client, input, async () => {
      const { created } = await ask(endpoint, adminService.createTopic, { topic: round.topic, queues: 1 });
      round.isMade = true;
      return created;
    });
  }

  async #append(round: Round, client: number, endpoint: Endpoint, value: string): Promise<void> {
    const message = { topic: round.topic, queueId: 0, body: Buffer.from(value), bornAtMs: Date.now() };
    const records = encodeMessageRecord(message);
    await this.#effect(round.queue, client, { kind: 'append', value }, async () => {
      const request = { topic: round.topic, queue: 0, producerId: '', sequence: 0, records };
      const { queueOffset } = await ask(endpoint, ledgerService.append, request);
      return int64ToNumber(queueOffset, 'queueOffset');
    });
  }

  /** Asks a node as of now whether the topic exists. */
  async #look(round: Round, client: number, endpoint: Endpoint): Promise<void> {
    const callMs = performance.now();
    const max = await quietly(() => maxOffsetOf(endpoint, round.topic));
    if (max === undefined) return;
    if (max !== null) round.isMade = true;
    const output = max === null ? '' : MADE;
    round.topics.push({ client, callMs, returnMs: performance.now(), input: { kind: 'read' }, output });
  }

  /** Where the queue ends is read as of now; what lies before it cannot change any more, and may be fetched later. */
  async #readByMetadata(round: Round, client: number, endpoint: Endpoint): Promise<void> {
    const callMs = performance.now();
    const max = await quietly(() => maxOffsetOf(endpoint, round.topic));
    if (max === undefined) return;
    const returnMs = performance.now();
    const output = max === null ? undefined : await quietly(() => valuesOf(endpoint, round.topic, max));
    // A topic that was seen before must not be missing.
    if (max === null) round.topics.push({ client, callMs, returnMs, input: { kind: 'read' }, output: '' });
    if (output !== undefined) round.queue.push({ client, callMs, returnMs, input: { kind: 'read' }, output });
  }

  /** Reads until the node says that there is no more: the queue ended there at some moment of that last call. */
  async #readToTheEnd(round: Round, client: number, endpoint: Endpoint): Promise<void> {
    const values: string[] = [];
    let callMs = performance.now();
    const read = (output: Output): Operation => {
      return { client, callMs, returnMs: performance.now(), input: { kind: 'read' }, output };
    };
    try {
      for (let found = ['']; found.length > 0; values.push(...found)) {
        callMs = performance.now();
        found = await pull(endpoint, round.topic, values.length);
      }
      round.queue.push(read(values));
    } catch (error) {
      if (answeredCode(error) === 'TOPIC_NOT_FOUND') round.topics.push(read(''));
    }
  }

  /** One call that changes something: without effect when the answer says so, open for ever when there is none. */
  async #effect(history: Operation[], client: number, input: Input, call: () => Promise<Output>): Promise<void> {
    const callMs = performance.now();
    let operation: Operation | undefined;
    try {
      const output = await call();
      operation = { client, callMs, returnMs: performance.now(), input, output };
    } catch (error) {
      const code = answeredCode(error);
      if (code === undefined || !definite.has(code)) {
        operation = { client, callMs, returnMs: Number.POSITIVE_INFINITY, input, output: null };
      }
    }
    if (operation !== undefined) history.push(operation);
  }

  /** Reads a round out as soon as the group can be read: it may cut the messages later. */
  async #readOutSoon(round: Round): Promise<void> {
    const untilMs = performance.now() + READ_OUT_WITHIN_MS;
    while (round.last === undefined && performance.now() < untilMs) {
      await quietly(() => this.#readOut(round));
      if (round.last === undefined) await pause(READ_OUT_RETRY_MS, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
    }
  }

  /** Reads all that the queue holds, unless its beginning has been cut. */
  async #readOut(round: Round): Promise<void> {
    const { topic, topics, queue } = round;
    const callMs = performance.now();
    const { topics: found } = await this.#client().admin.metadata();
    const range = found.find(({ name }) => name === topic)?.ranges[0];
    const read = { client: CLIENTS_MAX, callMs, input: { kind: 'read' } } as const;
    topics.push({ ...read, returnMs: performance.now(), output: range === undefined ? '' : MADE });
    if (range !== undefined && range.minOffset !== '0') return;
    const values: string[] = [];
    if (range !== undefined) {
      for await (const { messages } of this.#client().consumeBatches({ topic, untilEnd: true })) {
        for (const { body } of messages) values.push(body.toString());
      }
    }
    round.last = { ...read, returnMs: performance.now(), output: values };
    queue.push(round.last);
  }

  #judge(what: string, model: typeof logModel, operations: readonly Operation[]): void {
    this.counts.judged++;
    this.counts.operations += operations.length;
    const verdict = checkLinearizable(model, operations, STEPS_MAX);
    if (verdict === 'unknown') this.counts.undecided++;
    if (verdict !== 'not linearizable') return;
    this.#history.sight('unlinearizable', `the ${what} has no order: ${JSON.stringify(operations)}`);
  }
}

/**
 * What the last read tells of calls without an answer, so that the search need not guess: an append whose value lies in
 * the queue took effect, at that offset and before that read; any other did not, as far as anybody has seen.
 */
function settled({ queue, last }: Round): Operation[] {
  const { returnMs, output } = last!;
  const values = output as readonly string[];
  return queue.flatMap((operation) => {
    if (operation.returnMs !== Number.POSITIVE_INFINITY || operation.input.kind !== 'append') return [operation];
    const offset = values.indexOf(operation.input.value);
    return offset < 0 ? [] : [{ ...operation, returnMs, output: offset }];
  });
}

/**
 * Creations without an answer are all alike, and at most one of them made the topic: if a later one may have, so may the
 * earliest, which stands for all of them.
 */
function merged(topics: readonly Operation[]): Operation[] {
  const isOpen = ({ returnMs }: Operation): boolean => returnMs === Number.POSITIVE_INFINITY;
  const callMs = Math.min(...topics.filter(isOpen).map((operation) => operation.callMs));
  return topics.filter((operation) => !isOpen(operation) || operation.callMs === callMs);
}

function ask<Out, In, Response>(endpoint: Endpoint, method: Method<Out, In, Response>, request: Out) {
  return unary(endpoint, method, request, { deadlineMs: Date.now() + CALL_TIMEOUT_MS });
}

/** How long the topic's queue is as of now; null when there is no such topic. */
async function maxOffsetOf(endpoint: Endpoint, topic: string): Promise<number | null> {
  const { topics } = await ask(endpoint, ledgerService.metadata, { topics: [topic], current: true });
  const range = topics[0]?.ranges[0];
  return range === undefined ? null : int64ToNumber(range.maxOffset, 'maxOffset');
}

async function valuesOf(endpoint: Endpoint, topic: string, count: number): Promise<string[]> {
  const values: string[] = [];
  while (values.length < count) {
    const found = await pull(endpoint, topic, values.length);
    // The node denies what it has just told: a shorter queue than that is what it showed.
    if (found.length === 0) break;
    values.push(...found);
  }
  return values.slice(0, count);
}

async function pull(endpoint: Endpoint, topic: string, offset: number): Promise<string[]> {
  const at = { topic, queue: 0, offset: String(offset) };
  const response = await ask(endpoint, ledgerService.pull, {
    ...at,
    ...{ maxCount: 256, maxBytes: 0, waitMs: 0, packed: true },
  });
  return messagesIn(response.records, { topic, queue: 0, offset }).map(({ body }) => body.toString());
}

/** The result, or undefined when there was none: a question without an answer says nothing. */
async function quietly<T>(question: () => Promise<T>): Promise<T | undefined> {
  try {
    return await question();
  } catch {
    return undefined;
  }
}
