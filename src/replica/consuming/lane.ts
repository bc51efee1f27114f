// One group in one topic, on the leader: everything that is asked about it is decided here, one step after the other. A step
// decides from the applied state and writes one command; the next one begins when that is applied. So no two decisions
// ever know nothing of each other, and a command always fits the state it is carried out on.
//
//   pops, verdicts, moves ──► wait ──► step: verdicts first │ then dead letters │ then pops ──► one command ──► applied ──► answers
//                              ▲                                                                              │
//                              └── new messages, returned ones, freed queues ◄─────────────────────────────────┘
import type { Timer } from '../../base/clock.ts';
import { TLedgerError } from '../../base/errors.ts';
import type { Changed, Consume, QueuedMessage } from '../../broker/consuming/consume_command.ts';
import type { Delivery } from '../../broker/consuming/progress.ts';
import { compileFilter, type MessageFilter } from '../../broker/filter/filter.ts';
import { type LogIndex, logIndex } from '../../raft/types.ts';
import { deadLetterRecord } from './dead_letter.ts';
import { type Gathered, gather, Taken } from './gather.ts';
import type { LeaderPort } from './port.ts';
import {
  consumingLimits,
  deadLetterTopic,
  type MoveRequest,
  type PoppedMessage,
  type PopRequest,
  type Receipt,
  type Settled,
  type SettleRequest,
  type Verdict,
} from './types.ts';

/** Exactly one of the two is set. */
export type Done<T> = (error: Error | null, result: T | null) => void;

interface WaitingPop {
  readonly request: PopRequest;
  readonly filter: MessageFilter;
  /** Monotonic: answered with what there is by then. */
  readonly untilMs: number;
  readonly deadlineMs: number;
  readonly done: Done<readonly PoppedMessage[]>;
}

type Order =
  | {
      readonly kind: 'settle';
      readonly request: SettleRequest;
      readonly deadlineMs: number;
      readonly done: Done<readonly Settled[]>;
    }
  | {
      readonly kind: 'move';
      readonly request: MoveRequest;
      readonly deadlineMs: number;
      readonly done: Done<LogIndex>;
    };

/** Timers of Node.js take no longer delays. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** See the head of the file. */
export class Lane {
  readonly #port: LeaderPort;
  readonly #group: string;
  readonly #topic: string;
  readonly #onIdle: () => void;
  #pops: WaitingPop[] = [];
  #orders: Order[] = [];
  #isBusy = false;
  #isScheduled = false;
  #failure: Error | null = null;
  #timer: Timer | null = null;
  #forgets: (() => void)[] = [];
  #firstQueue = 0;

  /** @param onIdle called when nobody waits any more. */
  constructor(port: LeaderPort, group: string, topic: string, onIdle: () => void) {
    this.#port = port;
    this.#group = group;
    this.#topic = topic;
    this.#onIdle = onIdle;
  }

  get waitingPops(): number {
    return this.#pops.length;
  }

  get isIdle(): boolean {
    return this.#pops.length === 0 && this.#orders.length === 0 && !this.#isBusy;
  }

  /** @returns takes the pop back, if it still waits. @throws TLedgerError ILLEGAL_FILTER, OVERLOADED */
  pop(request: PopRequest, deadlineMs: number, done: Done<readonly PoppedMessage[]>): () => void {
    const filter = compileFilter(request.filter);
    if (this.#pops.length >= consumingLimits.waitingPopsMax) {
      throw new TLedgerError('OVERLOADED', `polling full: ${this.#pops.length} calls wait for ${this.#topic} already`);
    }
    const pop = { request, filter, untilMs: this.#port.clock.monotonicMs() + request.waitMs, deadlineMs, done };
    this.#pops.push(pop);
    this.#listen();
    this.poke();
    return () => {
      this.#pops = this.#pops.filter((one) => one !== pop);
      this.#rest();
    };
  }

  settle(request: SettleRequest, deadlineMs: number, done: Done<readonly Settled[]>): void {
    this.#order({ kind: 'settle', request, deadlineMs, done });
  }

  move(request: MoveRequest, deadlineMs: number, done: Done<LogIndex>): void {
    this.#order({ kind: 'move', request, deadlineMs, done });
  }

  /** Something may have changed for those who wait. */
  poke(): void {
    if (this.#isScheduled || this.#isBusy || this.#failure !== null) return;
    this.#isScheduled = true;
    this.#port.clock.defer(() => {
      this.#isScheduled = false;
      if (!this.#isBusy && this.#failure === null) void this.#run();
    });
  }

  /** Everybody who waits is refused; the lane is not used any more. */
  fail(error: Error): void {
    this.#failure = error;
    const pops = this.#pops;
    const orders = this.#orders;
    this.#pops = [];
    this.#orders = [];
    this.#rest();
    for (const { done } of pops) done(error, null);
    for (const { done } of orders) done(error, null);
  }

  #order(order: Order): void {
    if (this.#orders.length >= consumingLimits.waitingOrdersMax) {
      return order.done(new TLedgerError('OVERLOADED', `${this.#orders.length} verdicts wait already`), null);
    }
    this.#orders.push(order);
    this.poke();
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    try {
      while (this.#failure === null && (await this.#step())) {
        // One step after the other.
      }
    } catch (error) {
      // What waits is answered, and the next one to come begins anew.
      const { isServing } = this.#port;
      const failure = error instanceof Error ? error : new TLedgerError('INTERNAL');
      const pops = this.#pops;
      this.#pops = [];
      for (const { done } of pops) done(isServing ? failure : new TLedgerError('NOT_LEADER'), null);
    } finally {
      this.#isBusy = false;
    }
    this.#arm();
    this.#rest();
  }

  /** @returns whether there may be more to do at once. */
  async #step(): Promise<boolean> {
    if (!this.#port.isServing) return false;
    const orders = this.#orders;
    if (orders.length > 0) {
      this.#orders = [];
      await this.#carryOut(orders);
      return true;
    }
    return this.#pops.length > 0 ? this.#serve() : false;
  }

  async #carryOut(orders: readonly Order[]): Promise<void> {
    const settled: QueuedMessage[] = [];
    const changed: Changed[] = [];
    const moved: QueuedMessage[] = [];
    const answers: ((error: Error | null, index: LogIndex) => void)[] = [];
    // Nothing is decided twice in one step.
    const decided = new Set<string>();
    for (const order of orders) {
      if (order.kind === 'move') {
        moved.push(...order.request.positions);
        answers.push((error, index) => order.done(error, error === null ? index : null));
        continue;
      }
      const isDone: boolean[] = [];
      for (const { receipt, verdict } of order.request.verdicts) {
        const name = `${receipt.queueId}/${receipt.offset}`;
        const outcome = await this.#judge(receipt, verdict);
        isDone.push(outcome !== 'refused');
        if (outcome !== 'valid' || decided.has(name)) continue;
        decided.add(name);
        const { queueId, offset } = receipt;
        if (verdict.kind === 'acknowledge') settled.push({ queueId, offset });
        else if (verdict.kind === 'change') {
          const untilMs = this.#port.clock.wallMs() + verdict.invisibleMs;
          changed.push({ queueId, offset, untilMs, mode: verdict.mode });
        }
      }
      answers.push((error, index) => {
        order.done(error, error === null ? isDone.map((done) => ({ isDone: done, handle: index })) : null);
      });
    }
    const isEmpty = settled.length + changed.length + moved.length === 0;
    const deadlineMs = Math.max(...orders.map((order) => order.deadlineMs));
    try {
      const index = isEmpty ? logIndex(0) : await this.#write({ settled, changed, moved }, deadlineMs);
      for (const answer of answers) answer(null, index);
    } catch (error) {
      for (const answer of answers) answer(error as Error, logIndex(0));
    }
  }

  /** `done`: it was carried out before, or was just now: nothing is left to write. */
  async #judge(receipt: Receipt, verdict: Verdict): Promise<'valid' | 'done' | 'refused'> {
    const delivery = this.#deliveryOf(receipt);
    const isHandedOut = receipt.offset < (this.#progressOf(receipt.queueId)?.next ?? 0);
    // Settled before: saying it again is right.
    if (delivery === undefined) return isHandedOut && verdict.kind !== 'change' ? 'done' : 'refused';
    const isValid = delivery.handle === receipt.handle && delivery.untilMs > this.#port.clock.wallMs();
    if (verdict.kind === 'bury') {
      // Consumers ask again for ever until they hear yes: whatever the receipt, the message must not stay.
      await this.#bury({ ...receipt, attempt: delivery.attempt });
      return 'done';
    }
    return isValid ? 'valid' : 'refused';
  }

  async #serve(): Promise<boolean> {
    const nowMs = this.#port.clock.wallMs();
    const group = await this.#port.ensureGroup(this.#group);
    const taken = new Taken();
    const served: { readonly pop: WaitingPop; readonly gathered: Gathered }[] = [];
    const { term } = this.#port;
    for (const pop of [...this.#pops]) {
      const { request, filter } = pop;
      const firstQueue = this.#firstQueue++;
      const { broker } = this.#port;
      const readOne: LeaderPort['readOne'] = (...at) => this.#port.readOne(...at);
      const gathered = await gather({ broker, readOne, group, request, filter, taken, nowMs, firstQueue });
      if (!hasEffect(gathered)) continue;
      served.push({ pop, gathered });
      if (gathered.buried.length > 0) break;
    }
    if (served.length === 0) return this.#expire();
    // Whoever went away meanwhile gets nothing: its choice is dropped with it, and with it what was chosen after it.
    if (this.#port.term !== term || served.some(({ pop }) => !this.#pops.includes(pop))) return true;
    const answered = served.filter(({ gathered }) => gathered.chosen.length > 0).map(({ pop }) => pop);
    this.#pops = this.#pops.filter((pop) => !answered.includes(pop));
    await this.#hand(served);
    for (const { gathered } of served) for (const one of gathered.buried) await this.#bury(one);
    return true;
  }

  async #hand(served: readonly { readonly pop: WaitingPop; readonly gathered: Gathered }[]): Promise<void> {
    const all = <K extends 'popped' | 'again' | 'settled'>(key: K) =>
      served.flatMap(({ gathered }) => gathered[key] as Gathered[K][number][]);
    const command = { popped: all('popped'), again: all('again'), settled: all('settled') };
    if (command.popped.length + command.again.length + command.settled.length === 0) return;
    try {
      const index = await this.#write(command, Math.max(...served.map(({ pop }) => pop.deadlineMs)));
      for (const { pop, gathered } of served) {
        if (gathered.chosen.length > 0)
          pop.done(
            null,
            gathered.chosen.map((one) => ({ ...one, handle: index })),
          );
      }
    } catch (error) {
      for (const { pop, gathered } of served) if (gathered.chosen.length > 0) pop.done(error as Error, null);
    }
  }

  /** Answers pops whose time is over. @returns false: nothing more is to be done at once. */
  #expire(): boolean {
    const nowMs = this.#port.clock.monotonicMs();
    const late = this.#pops.filter((pop) => pop.untilMs <= nowMs);
    if (late.length === 0) return false;
    this.#pops = this.#pops.filter((pop) => !late.includes(pop));
    for (const { done } of late) done(null, []);
    return false;
  }

  async #bury(one: QueuedMessage & { readonly attempt: number; readonly record?: Buffer }): Promise<void> {
    const { queueId, offset } = one;
    const record = one.record ?? (await this.#port.readOne(this.#topic, queueId, offset));
    const deadlineMs = this.#port.clock.monotonicMs() + this.#port.stepTimeoutMs;
    if (record === null) {
      await this.#write({ settled: [{ queueId, offset }] }, deadlineMs);
      return;
    }
    const topic = deadLetterTopic(this.#group);
    await this.#port.ensureTopic(topic);
    const source = { group: this.#group, topic: this.#topic, queueId, offset };
    await this.#port.store(deadLetterRecord(record, topic, source), deadlineMs);
  }

  #write(parts: Partial<Consume>, deadlineMs: number): Promise<LogIndex> {
    const none = { popped: [], again: [], settled: [], changed: [], moved: [] };
    return this.#port.command(
      { type: 'consume', group: this.#group, topic: this.#topic, ...none, ...parts },
      deadlineMs,
    );
  }

  #progressOf(queueId: number) {
    return this.#port.broker.tables.progress.get(this.#group, this.#topic)?.queues.get(queueId);
  }

  #deliveryOf({ queueId, offset }: Receipt): Delivery | undefined {
    return this.#progressOf(queueId)?.inFlight.get(offset);
  }

  /** Hears of new messages while somebody waits for them. */
  #listen(): void {
    if (this.#forgets.length > 0) return;
    const { broker } = this.#port;
    const queues = broker.topic(this.#topic)?.queues ?? 0;
    for (let queueId = 0; queueId < queues; queueId++) {
      this.#forgets.push(broker.onAppend(this.#topic, queueId, () => this.poke()));
    }
  }

  /** Wakes for the first message that comes back, or the first pop whose time is over. */
  #arm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.isIdle) return;
    const { clock, broker } = this.#port;
    let delayMs = Math.min(...this.#pops.map((pop) => pop.untilMs)) - clock.monotonicMs();
    if (!this.#port.isServing) delayMs = Math.min(delayMs, 5);
    const wallMs = clock.wallMs();
    for (const queue of broker.tables.progress.get(this.#group, this.#topic)?.queues.values() ?? []) {
      for (const { untilMs } of queue.inFlight.values()) {
        if (untilMs > wallMs) delayMs = Math.min(delayMs, untilMs - wallMs);
      }
    }
    this.#timer = clock.after(Math.min(Math.max(1, delayMs), TIMER_MS_MAX), () => this.poke());
  }

  #rest(): void {
    if (this.#pops.length === 0) {
      for (const forget of this.#forgets) forget();
      this.#forgets = [];
      this.#timer?.cancel();
      this.#timer = null;
    }
    if (this.isIdle) this.#onIdle();
  }
}

function hasEffect({ popped, again, settled, buried }: Gathered): boolean {
  return popped.length + again.length + settled.length + buried.length > 0;
}
