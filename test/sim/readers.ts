// Who reads: on any replica what is committed there, and through the leader all that was acknowledged before.
import { decodeMessageRecord, queueOffset } from '../../src/format/message.ts';
import { sizeAt } from '../../src/format/record.ts';
import type { LogIndex } from '../../src/raft/types.ts';
import { type ClientShared, type ClientWorld, checkCode, Guess, readFailures, type Work } from './calls.ts';
import type { Process, SimNode } from './node.ts';
import { hold } from './truth.ts';

/** What a node shows of a queue. */
export interface Page {
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
        checkCode('a reader', outcome, new Set([...readFailuresOf(world.nodes[node]!), 'OFFSET_OUT_OF_RANGE']));
        if (outcome.code === 'DATA_CORRUPTED') world.marks.reach('a reader is refused damaged bytes');
        if (outcome.code === 'OFFSET_OUT_OF_RANGE' && outcome.message.includes('next valid')) {
          world.marks.reach('a reader is behind the cut');
          const next = /next valid offset is (\d+)/.exec(outcome.message)?.[1];
          hold(next !== undefined, () => `nobody says where to go on: ${outcome.message}`);
          this.#offsets.set(key, Number(next));
        }
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

/** A read that must show all that was acknowledged before it began. */
export interface ConfirmedRead<T> {
  readonly world: ClientWorld;
  readonly guess: Guess;
  /** Who reads, for people. */
  readonly who: string;
  /** Reads on a node that has applied what the leader confirmed. */
  readonly read: (process: Process) => T;
}

/** How long each half of such a read waits. */
const CONFIRM_TIMEOUT_MS = 500;

/** Has the leader confirm an index, and reads where that is applied. */
export function confirmedRead<T>(
  { world, guess, who, read }: ConfirmedRead<T>,
  done: (result: T | null, node: SimNode) => void,
): void {
  const asked = world.nodes[whomToAsk(world, guess)]!;
  let didLead = false;
  const ask: Work<LogIndex> = (process, reply) => {
    didLead = process.replica.isLeader;
    const askedMs = world.nowMs;
    const round = world.checker.roundSent(asked);
    const { term } = process.replica;
    const isSuperseded = world.checker.isSuperseded(asked);
    process.replica.readIndex().then(
      (index) => {
        attempt(world, () => holdSuperseded(asked, term, isSuperseded));
        if (!world.hasLeases && process.life.isAlive) attempt(world, () => world.checker.checkConfirmed(asked, round));
        if (world.nowMs === askedMs && world.nodes.length > 1) world.marks.reach('a read is confirmed by the lease');
        reply(null, index);
      },
      (error: unknown) => {
        if (didLead && !process.replica.isLeader) world.marks.reach('a leader falls while reads wait');
        reply(error, null);
      },
    );
  };
  world.call(asked.number, ask, CONFIRM_TIMEOUT_MS, (confirmed) => {
    checkCode('who asks for a read index', confirmed);
    guess.learn(confirmed);
    const index = confirmed.result;
    if (confirmed.code === 'NOT_LEADER' && didLead) world.marks.reach('a read is refused by a deposed leader');
    if (index === null) return done(null, asked);
    const at = world.random.next() < 0.6 ? asked : world.nodes[world.random.between(0, world.nodes.length - 1)]!;
    if (at !== asked) world.marks.reach('a read is confirmed by a leader and made at a follower');
    const work: Work<T> = (process, reply) => {
      process.replica
        .whenApplied(index, process.life.monotonicMs() + CONFIRM_TIMEOUT_MS)
        .then(() => read(process))
        .then(
          (result) => reply(null, result),
          (error: unknown) => reply(error, null),
        );
    };
    world.call(at.number, work, CONFIRM_TIMEOUT_MS, (outcome) => {
      checkCode(who, outcome, readFailuresOf(at));
      // Whoever has applied the index must know a topic that was known before it.
      const isThere = outcome.code !== 'TOPIC_NOT_FOUND' && outcome.code !== 'QUEUE_OUT_OF_RANGE';
      hold(isThere, () => `after index ${index}, ${at.id} has no such topic or queue (${who})`);
      done(outcome.result, at);
    });
  });
}

/** Asks a leader that another one has taken the place of: it must find that out before it confirms anything. */
export function probeSuperseded(world: ClientWorld, node: SimNode): void {
  const { replica } = node.process!;
  const { term } = replica;
  replica.readIndex().then(
    () => attempt(world, () => holdSuperseded(node, term, true)),
    () => {},
  );
}

function holdSuperseded(node: SimNode, term: number, isSuperseded: boolean): void {
  hold(!isSuperseded, () => `${node.id} confirms a read in term ${term}, asked for when a later term had a leader`);
}

/** What is found broken where a promise settles is told to the world. */
function attempt(world: ClientWorld, check: () => void): void {
  try {
    check();
  } catch (error) {
    world.fail(error);
  }
}

/** Of several who believe to lead, the one who is mistaken is asked. */
function whomToAsk(world: ClientWorld, guess: Guess): number {
  let first: SimNode | null = null;
  let count = 0;
  for (const node of world.nodes) {
    if (!node.process?.replica.isLeader) continue;
    count++;
    if (first === null || node.process.replica.term < first.process!.replica.term) first = node;
  }
  const isMistaken = count > 1 || world.random.next() < 0.3;
  return isMistaken && first !== null ? first.number : guess.node;
}

interface BarrierRead {
  readonly world: ClientWorld;
  readonly guess: Guess;
  readonly topic: string;
  readonly queueId: number;
  readonly from: 'start' | 'end';
}

/** Reads a queue with all that was acknowledged before; null when that could not be done. */
export function barrierRead(
  { world, guess, topic, queueId, from }: BarrierRead,
  done: (page: Page | null) => void,
): void {
  const read = (process: Process): Page => {
    const { min, max } = process.broker.range(topic, queueId);
    return pullPage(process, topic, queueId, from === 'start' ? min : Math.max(min, max - 5));
  };
  confirmedRead({ world, guess, who: 'a barrier read', read }, (page, node) => {
    if (page !== null) {
      world.checker.checkPage(node, topic, queueId, page.offset, page.records, page.count);
    }
    done(page);
  });
}

function pullPage(process: Process, topic: string, queueId: number, offset: number): Page {
  const request = { topic, queueId, offset: queueOffset(offset), countMax: 1_000, bytesMax: 64 * 1024 };
  const { records, count, max } = process.broker.pull(request);
  // What leaves is a copy, as on a socket.
  return { records: Buffer.from(records), count, offset, max };
}

/** Bodies of a page. */
export function bodiesOf(records: Buffer): string[] {
  const bodies: string[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    bodies.push(decodeMessageRecord(records, at, at + sizeAt(records, at))!.body.toString('latin1'));
  }
  return bodies;
}

/** What a disk that fails under a read makes of it, and a damaged one. */
export function readFailuresOf(node: SimNode): ReadonlySet<string> {
  return node.isDamaged ? damagedReadFailures : readFailures;
}

const damagedReadFailures = new Set([...readFailures, 'DATA_CORRUPTED']);
