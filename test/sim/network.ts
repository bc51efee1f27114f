// The network between the nodes, in one of two ways: as connections, which keep order and break as a whole (what the real
// transport promises), or as single messages, which are lost, repeated, late and overtaken (what consensus claims to
// stand). Links are cut one way at a time.
import { assert } from '../../src/base/assert.ts';
import type { Random } from '../../src/base/random.ts';
import type { RaftMessage } from '../../src/raft/types.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import type { NetworkPlan } from './plan.ts';
import { type Trace, wordsOf } from './trace.ts';

/**
 * More on its way at once is a storm that feeds itself, which passes any bound. Much of what is on its way is no storm: where
 * links reorder, a leader goes back at each refusal and sends its window again, dozens of messages a millisecond, of which
 * late ones take seconds.
 */
const UNDER_WAY_MAX = 50_000;
const LATE_FACTOR = 30;
/** So many answers to a repair come with a flipped bit, whatever the plan says: there are few of them. */
const GARBLED_ANSWERS = 0.1;

/** What the network can do to nodes; they are numbered from 0. */
export interface NetworkPort {
  /** Calls `arrive` after a delay. */
  later(delayMs: number, arrive: () => void): void;
  /** A message has arrived; whoever runs there now gets it. */
  receive(to: number, message: RaftMessage, records: RecordBytes | null): void;
  /** The connection between the two is up or gone, as the first one sees it. */
  tell(node: number, peer: number, isUp: boolean): void;
}

interface Link {
  isCut: boolean;
  /** Something got lost on it since the sender was last told. */
  isBroken: boolean;
  slowness: number;
  /** Nothing sent later arrives before this (connections only). */
  lastArrivalMs: number;
  /** Counts connections; what was sent on an earlier one does not arrive. */
  connection: number;
}

/** All links of a group. */
export class Network {
  isCalm = false;
  readonly #size: number;
  readonly #plan: NetworkPlan;
  readonly #random: Random;
  readonly #port: NetworkPort;
  readonly #trace: Trace;
  readonly #links: Link[];
  #underWay = 0;
  readonly counts = { sent: 0, lost: 0, duplicated: 0, late: 0, garbled: 0, broken: 0 };

  constructor(size: number, plan: NetworkPlan, random: Random, port: NetworkPort, trace: Trace) {
    this.#size = size;
    this.#plan = plan;
    this.#random = random;
    this.#port = port;
    this.#trace = trace;
    this.#links = Array.from({ length: size * size }, () => ({
      isCut: false,
      isBroken: false,
      slowness: 1,
      lastArrivalMs: 0,
      connection: 0,
    }));
  }

  get cutCount(): number {
    return this.#links.filter(({ isCut }) => isCut).length;
  }

  /** Messages on their way. */
  get underWay(): number {
    return this.#underWay;
  }

  send(from: number, to: number, message: RaftMessage, records: RecordBytes | null): void {
    this.counts.sent++;
    const link = this.#link(from, to);
    const isLost = link.isCut || (!this.isCalm && this.#random.next() < this.#plan.loss);
    this.#trace.say(() => `${isLost ? 'lost ' : 'sent '} ${wordsOf(message)}`);
    if (isLost) {
      this.counts.lost++;
      link.isBroken = true;
      return;
    }
    // The sender may reuse its buffer: what travels is a copy, as on a socket.
    this.#post(to, link, message, records === null ? null : copyOf(records));
    if (this.isCalm || this.#plan.isStream || this.#random.next() >= this.#plan.duplicate) return;
    this.counts.duplicated++;
    this.#post(to, link, message, records === null ? null : copyOf(records));
  }

  /** How long something takes between a client and a node. */
  clientDelayMs(): number {
    return this.#delayMs(1);
  }

  /** Whether something between a client and a node is lost. */
  losesForClient(): boolean {
    return !this.isCalm && this.#random.next() < (this.#plan.isStream ? 0.01 : this.#plan.loss);
  }

  /** Whether a question, or its answer, arrives. */
  carries(from: number, to: number): boolean {
    return !this.#link(from, to).isCut && !this.losesForClient();
  }

  /** What arrives of the bytes of an answer. */
  garbled(bytes: Buffer): Buffer {
    if (this.isCalm || bytes.length === 0 || this.#random.next() >= Math.max(this.#plan.garble, GARBLED_ANSWERS)) {
      return bytes;
    }
    this.counts.garbled++;
    bytes[this.#random.between(0, bytes.length - 1)]! ^= 1 << this.#random.between(0, 7);
    return bytes;
  }

  cut(from: number, to: number): void {
    const link = this.#link(from, to);
    if (link.isCut || from === to) return;
    link.isCut = true;
    link.isBroken = true;
    // Some cuts are noticed at once, others only by silence.
    if (this.#random.next() < 0.5) this.#port.tell(from, to, false);
  }

  slow(from: number, to: number, factor: number): void {
    this.#link(from, to).slowness = factor;
  }

  healAll(): void {
    for (let from = 0; from < this.#size; from++) {
      for (let to = 0; to < this.#size; to++) if (from !== to) this.heal(from, to);
    }
  }

  /** A connection breaks and is made anew: what was on its way is lost. */
  reconnect(from: number, to: number): void {
    this.counts.broken++;
    const link = this.#link(from, to);
    link.connection++;
    link.isBroken = link.isCut;
    link.lastArrivalMs = 0;
    this.#port.tell(from, to, false);
    if (!link.isCut) this.#port.tell(from, to, true);
  }

  /** The process there has ended, and all its connections with it. */
  forget(node: number): void {
    for (let other = 0; other < this.#size; other++) {
      for (const link of [this.#link(node, other), this.#link(other, node)]) {
        link.connection++;
        link.isBroken = false;
        link.lastArrivalMs = 0;
      }
    }
  }

  heal(from: number, to: number): void {
    const link = this.#link(from, to);
    link.isCut = false;
    link.slowness = 1;
    // Also where only chance has taken something: the sender of a quiet link would not learn of it.
    if (link.isBroken) this.reconnect(from, to);
  }

  #post(to: number, link: Link, message: RaftMessage, records: RecordBytes | null): void {
    assert(this.#underWay < UNDER_WAY_MAX, 'no storm of messages');
    let delayMs = this.#delayMs(link.slowness);
    if (this.#plan.isStream) {
      const arrivalMs = Math.max(this.#trace.nowMs + delayMs, link.lastArrivalMs);
      link.lastArrivalMs = arrivalMs;
      delayMs = arrivalMs - this.#trace.nowMs;
    }
    if (records !== null && records.end > records.start && !this.isCalm && this.#random.next() < this.#plan.garble) {
      this.counts.garbled++;
      records.buffer[this.#random.between(records.start, records.end - 1)]! ^= 1 << this.#random.between(0, 7);
    }
    const { connection } = link;
    this.#underWay++;
    this.#port.later(delayMs, () => {
      this.#underWay--;
      if (link.isCut || (this.#plan.isStream && link.connection !== connection)) {
        link.isBroken = true;
        return;
      }
      this.#port.receive(to, message, records);
    });
  }

  #delayMs(slowness: number): number {
    if (this.isCalm) return 0.2 + this.#random.next();
    let delayMs = 0.05 + this.#random.next() * this.#plan.delayMsMax * slowness;
    if (this.#random.next() < this.#plan.late) {
      delayMs *= LATE_FACTOR * this.#random.next();
      this.counts.late++;
    }
    return delayMs;
  }

  #link(from: number, to: number): Link {
    return this.#links[from * this.#size + to]!;
  }
}

function copyOf({ buffer, start, end, prevChain }: RecordBytes): RecordBytes {
  const copy = Buffer.allocUnsafeSlow(end - start);
  buffer.copy(copy, 0, start, end);
  return { buffer: copy, start: 0, end: copy.length, prevChain };
}
