// Who uses the group, and what each may expect of it: idempotent producers that repeat what they are not sure of, senders
// that send once and hold the group to its word, readers on any replica, and readers that must see all that was
// acknowledged before they asked. Calls travel over a network of their own and may be lost either way.
import { TLedgerError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import type { AppendResult, PackedAppend, TopicInfo } from '../../src/broker/types.ts';
import { decodeMessageRecord, encodeMessageRecord, queueOffset } from '../../src/format/message.ts';
import { sizeAt } from '../../src/format/record.ts';
import type { LogIndex } from '../../src/raft/types.ts';
import { type Checker, hold } from './checker.ts';
import type { Operation } from './linearizability.ts';
import type { Process, SimNode } from './node.ts';
import type { LoadPlan } from './plan.ts';
import type { Trace } from './trace.ts';

/** How a call ended: with a result, with a code of the error table, or with nothing at all. */
export interface Outcome<T> {
  readonly result: T | null;
  readonly code: string | null;
  readonly message: string;
  /** Whom the answering node takes for the leader. */
  readonly leader: number | null;
}

/** Work that a node does for a caller; errors go to `reply` like results. */
export type Work<T> = (process: Process, reply: (error: unknown, result: T | null) => void) => void;

/** What clients need of the world. */
export interface ClientWorld {
  readonly random: Random;
  readonly nowMs: number;
  readonly nodes: readonly SimNode[];
  readonly checker: Checker;
  readonly trace: Trace;
  readonly load: LoadPlan;
  /** No new work is begun. */
  readonly isClosing: boolean;
  /** Nothing goes wrong any more. */
  readonly isCalm: boolean;
  readonly topics: readonly TopicInfo[];
  later(delayMs: number, run: () => void): void;
  /** Calls a node; `done` hears of it exactly once, after `timeoutMs` at the latest. */
  call<T>(node: number, work: Work<T>, timeoutMs: number, done: (outcome: Outcome<T>) => void): void;
  fail(error: unknown): void;
}

/** Errors that a client may always get, and that say that the request had no effect. */
const harmless = new Set([
  'NOT_LEADER',
  'NO_LEADER',
  'TRANSFERRING',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'UNREACHABLE',
  // A deposed leader that does not know it yet may not know a topic or a producer either.
  'TOPIC_NOT_FOUND',
  'OUT_OF_ORDER_SEQUENCE',
  'UNKNOWN_PRODUCER',
]);
const unknown = new Set(['OUTCOME_UNKNOWN', 'TIMEOUT', 'DEADLINE_EXCEEDED']);
/** What a disk that fails under a read makes of it. */
const readFailures = new Set(['STORAGE_FAILED']);

/** What is known outside: each queue's acknowledged end, and the end that a barrier read has shown. */
export class Floors {
  readonly #ends = new Map<string, number>();

  at(topic: string, queueId: number): number {
    return this.#ends.get(`${topic}/${queueId}`) ?? 0;
  }

  raise(topic: string, queueId: number, end: number): void {
    if (end > this.at(topic, queueId)) this.#ends.set(`${topic}/${queueId}`, end);
  }
}

/** Counts over all clients of a run. */
export class ClientCounts {
  acknowledged = 0;
  refused = 0;
  unknown = 0;
  repeated = 0;
  pulls = 0;
  barrierReads = 0;
}

/** What all clients share. */
export interface ClientShared {
  readonly world: ClientWorld;
  readonly floors: Floors;
  readonly counts: ClientCounts;
}

/** Where a client believes the leader to be. */
class Guess {
  readonly #world: ClientWorld;
  #node: number;

  constructor(world: ClientWorld) {
    this.#world = world;
    this.#node = world.random.between(0, world.nodes.length - 1);
  }

  get node(): number {
    return this.#node;
  }

  learn(outcome: Outcome<unknown>): void {
    if (outcome.code === null) return;
    const { random, nodes } = this.#world;
    const isHintUsed = outcome.leader !== null && random.next() < 0.9;
    this.#node = isHintUsed ? outcome.leader! : random.between(0, nodes.length - 1);
  }
}

function checkCode(who: string, outcome: Outcome<unknown>, more: ReadonlySet<string> = new Set()): void {
  const { code } = outcome;
  hold(code === null || harmless.has(code) || unknown.has(code) || more.has(code), () => {
    return `${who} is told ${code}: ${outcome.message}`;
  });
}

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
        world.later(1 + world.random.next() * 60, () => this.#send(batch));
        return;
      }
      this.#waiting--;
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
  readonly #promises: { readonly body: string; readonly isIn: boolean }[] = [];

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
    const { bodies } = this.#shared.world.checker.truth;
    for (const { body, isIn } of this.#promises) {
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
    world.call(this.#guess.node, work, load.timeoutMs * 1.2, (outcome) => {
      this.#waiting--;
      checkCode(this.#name, outcome);
      this.#guess.learn(outcome);
      const { result, code } = outcome;
      if (result === null) {
        if (harmless.has(code!)) this.#promises.push({ body, isIn: false });
        if (harmless.has(code!)) counts.refused++;
        else counts.unknown++;
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

interface Page {
  readonly records: Buffer;
  readonly count: number;
  readonly offset: number;
  readonly max: number;
}

/** Reads on from where it stands, on any replica; what it sees must be committed. */
export class Tail {
  readonly #shared: ClientShared;
  readonly #offsets = new Map<string, number>();

  constructor(shared: ClientShared) {
    this.#shared = shared;
    this.#again();
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (1 + 4 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world, counts } = this.#shared;
    const { random, topics } = world;
    if (world.isClosing) return;
    if (topics.length > 0) {
      const { name, queues } = topics[random.between(0, topics.length - 1)]!;
      const queueId = random.between(0, queues - 1);
      const key = `${name}/${queueId}`;
      const offset = random.next() < 0.1 ? 0 : (this.#offsets.get(key) ?? 0);
      const node = random.between(0, world.nodes.length - 1);
      const work: Work<Page> = (process, reply) => reply(null, pullPage(process, name, queueId, offset));
      world.call(node, work, 1_000, (outcome) => {
        // A replica that lags behind does not have the offset, or the topic, yet.
        checkCode('a reader', outcome, new Set([...readFailures, 'OFFSET_OUT_OF_RANGE']));
        const page = outcome.result;
        if (page === null) return;
        counts.pulls++;
        world.checker.checkPage(world.nodes[node]!, name, queueId, page.offset, page.records, page.count);
        this.#offsets.set(key, page.offset + page.count);
      });
    }
    this.#again();
  }
}

/** Asks for all that was acknowledged before it asked, through the leader and then on any replica. */
export class BarrierReader {
  readonly #shared: ClientShared;
  readonly #guess: Guess;

  constructor(shared: ClientShared) {
    this.#shared = shared;
    this.#guess = new Guess(shared.world);
    this.#again();
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(world.load.thinkMs * (0.3 + 2 * world.random.next()), () => this.#step());
  }

  #step(): void {
    const { world, floors, counts } = this.#shared;
    const { random, topics } = world;
    if (world.isClosing) return;
    if (topics.length > 0) {
      const { name, queues } = topics[random.between(0, topics.length - 1)]!;
      const queueId = random.between(0, queues - 1);
      const floor = floors.at(name, queueId);
      barrierRead({ world, guess: this.#guess, topic: name, queueId, from: 'end' }, (page) => {
        if (page === null) return;
        counts.barrierReads++;
        hold(page.max >= floor, () => `a barrier read of ${name}/${queueId} ends at ${page.max}, ${floor} was there`);
        floors.raise(name, queueId, page.max);
      });
    }
    this.#again();
  }
}

/** Writes down a small history of one queue, for the linearizability checker. */
export class Historian {
  readonly history: Operation[] = [];
  readonly #shared: ClientShared;
  readonly #topic: string;
  readonly #guess: Guess;
  readonly #countMax: number;
  readonly #thinkMs: number;
  readonly #client: number;
  #count = 0;

  constructor(shared: ClientShared, options: { topic: string; client: number; countMax: number; thinkMs: number }) {
    this.#shared = shared;
    this.#topic = options.topic;
    this.#client = options.client;
    this.#countMax = options.countMax;
    this.#thinkMs = options.thinkMs;
    this.#guess = new Guess(shared.world);
    this.#again();
  }

  #again(): void {
    const { world } = this.#shared;
    world.later(this.#thinkMs * 2 * world.random.next(), () => this.#step());
  }

  #step(): void {
    const { world } = this.#shared;
    if (world.isClosing || this.history.length >= this.#countMax) return;
    if (!world.checker.truth.topics.has(this.#topic)) this.#again();
    else if (world.random.next() < 0.5) this.#append();
    else this.#read();
  }

  #append(): void {
    const { world } = this.#shared;
    const value = `h${this.#client}:${++this.#count}`;
    const head = { client: this.#client, callMs: world.nowMs, input: { kind: 'append', value } } as const;
    // Until it is answered it may have taken effect at any moment.
    const at = this.history.push({ ...head, returnMs: Number.POSITIVE_INFINITY, output: null }) - 1;
    const work: Work<AppendResult> = (process, reply) => {
      const records = encode(this.#topic, 0, [value], world.random);
      append(process, { topic: this.#topic, queueId: 0, producerId: '', sequence: 0, records }, 400, reply);
    };
    world.call(this.#guess.node, work, 500, (outcome) => {
      checkCode('a historian', outcome);
      this.#guess.learn(outcome);
      const { result, code } = outcome;
      if (result !== null) this.history[at] = { ...head, returnMs: world.nowMs, output: result.queueOffset };
      else if (harmless.has(code!)) this.history.splice(at, 1);
      this.#again();
    });
  }

  #read(): void {
    const { world } = this.#shared;
    const callMs = world.nowMs;
    barrierRead({ world, guess: this.#guess, topic: this.#topic, queueId: 0, from: 'start' }, (page) => {
      if (page !== null && page.count === page.max) {
        const output = bodiesOf(page.records);
        this.history.push({ client: this.#client, callMs, returnMs: world.nowMs, input: { kind: 'read' }, output });
      }
      this.#again();
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
    world.call(guess.node, work, world.load.timeoutMs * 1.2, (outcome) => {
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

interface BarrierRead {
  readonly world: ClientWorld;
  readonly guess: Guess;
  readonly topic: string;
  readonly queueId: number;
  readonly from: 'start' | 'end';
}

function barrierRead({ world, guess, topic, queueId, from }: BarrierRead, done: (page: Page | null) => void): void {
  const timeoutMs = 500;
  const ask: Work<LogIndex> = (process, reply) => {
    process.replica.readIndex().then(
      (index) => reply(null, index),
      (error: unknown) => reply(error, null),
    );
  };
  // Of several who believe to lead, the one who is mistaken is asked.
  const leaders = world.nodes.filter(({ process }) => process?.replica.isLeader);
  leaders.sort((a, b) => a.process!.replica.term - b.process!.replica.term);
  const asked = leaders.length > 1 || world.random.next() < 0.3 ? (leaders[0]?.number ?? guess.node) : guess.node;
  world.call(asked, ask, timeoutMs, (confirmed) => {
    checkCode('who asks for a read index', confirmed);
    guess.learn(confirmed);
    const index = confirmed.result;
    if (index === null) return done(null);
    const node = world.random.next() < 0.6 ? asked : world.random.between(0, world.nodes.length - 1);
    const read: Work<Page> = (process, reply) => {
      process.replica
        .whenApplied(index, process.life.monotonicMs() + timeoutMs)
        .then(() => {
          const { max } = process.broker.range(topic, queueId);
          return pullPage(process, topic, queueId, from === 'start' ? 0 : Math.max(0, max - 5));
        })
        .then(
          (page) => reply(null, page),
          (error: unknown) => reply(error, null),
        );
    };
    world.call(node, read, timeoutMs, (outcome) => {
      checkCode('a barrier read', outcome, readFailures);
      // Whoever has applied the index must know a topic that was known before it.
      hold(outcome.code !== 'TOPIC_NOT_FOUND', () => `after index ${index}, ${node} does not know ${topic}`);
      const page = outcome.result;
      if (page !== null) {
        world.checker.checkPage(world.nodes[node]!, topic, queueId, page.offset, page.records, page.count);
      }
      done(page);
    });
  });
}

function pullPage(process: Process, topic: string, queueId: number, offset: number): Page {
  const request = { topic, queueId, offset: queueOffset(offset), countMax: 1_000, bytesMax: 64 * 1024 };
  const { records, count, max } = process.broker.pull(request);
  // What leaves is a copy, as on a socket.
  return { records: Buffer.from(records), count, offset, max };
}

function append(
  process: Process,
  request: PackedAppend,
  timeoutMs: number,
  reply: (error: unknown, result: AppendResult | null) => void,
): void {
  process.replica.append(request, process.life.monotonicMs() + timeoutMs, reply);
}

function encode(topic: string, queueId: number, bodies: readonly string[], random: Random): Buffer {
  return Buffer.concat(
    bodies.map((body) => {
      const tag = random.next() < 0.3 ? `tag${random.between(0, 3)}` : undefined;
      return encodeMessageRecord({ topic, queueId, body: Buffer.from(body, 'latin1'), tag, bornAtMs: 1 });
    }),
  );
}

function bodyOf(name: string, random: Random, load: LoadPlan): string {
  return name.padEnd(random.between(1, load.bodyBytesMax), '.');
}

function bodiesOf(records: Buffer): string[] {
  const bodies: string[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    bodies.push(decodeMessageRecord(records, at, at + sizeAt(records, at))!.body.toString('latin1'));
  }
  return bodies;
}

/** The code of an error as a caller gets it. */
export function codeOf(error: unknown): string {
  return error instanceof TLedgerError ? error.code : 'INTERNAL';
}
