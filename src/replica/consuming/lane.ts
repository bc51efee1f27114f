// One group in one topic, on the leader: everything that is asked about it is decided here, one step after the other. A step
// decides from the applied state and writes one command; the next one begins when that is applied. So no two decisions
// ever know nothing of each other, and a command always fits the state it is carried out on.
//
//   pops, verdicts, moves ──► wait ──► step: verdicts first │ then dead letters │ then pops ──► one command ──► applied ──► answers
//                              ▲                                                                              │
//                              └── new messages, returned ones, freed queues ◄─────────────────────────────────┘
import type { Timer } from '../../base/clock.ts';
import { TLedgerError } from '../../base/errors.ts';
import type { Consume, QueuedMessage } from '../../broker/consuming/consume_command.ts';
import { compileFilter, type MessageFilter } from '../../broker/filter/filter.ts';
import { type LogIndex, logIndex, type Term } from '../../raft/types.ts';
import { Call, type Done } from './call.ts';
import { deadLetterRecord } from './dead_letter.ts';
import { type Gathered, gather, isRepeat, Taken } from './gather.ts';
import { type JudgedOrder, judge, type Order } from './judge.ts';
import type { LeaderPort } from './port.ts';
import { checkMove, checkPop, checkVerdicts } from './request_check.ts';
import {
  consumingLimits,
  deadLetterTopic,
  type MoveRequest,
  type PoppedMessage,
  type PopRequest,
  type Settled,
  type SettleRequest,
} from './types.ts';

interface WaitingPop {
  readonly request: PopRequest;
  readonly filter: MessageFilter;
  /** Monotonic: answered with what there is by then. */
  readonly untilMs: number;
  readonly call: Call<readonly PoppedMessage[]>;
}

interface Served {
  readonly pop: WaitingPop;
  readonly gathered: Gathered;
}

/** The wall clock is looked at so often while somebody waits: it may be set. */
const LOOK_MS = 1_000;
/** How often deadlines are looked at while a step is under way. */
const SWEEP_MS = 50;
/** A message that cannot become a dead letter now stays away for so long. */
const BURY_AGAIN_MS = 1_000;

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
  /** Something may have changed since the step under way began. */
  #isPoked = false;
  #failure: Error | null = null;
  /** In which the step under way decides. */
  #term: Term | null = null;
  /** Those for whom something is on its way through the log. */
  #inStep: readonly Call<never>[] = [];
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

  /**
   * @returns takes the pop back, if it still waits: then it is not answered. Tells whether it did.
   * @throws TLedgerError ILLEGAL_FILTER, OVERLOADED
   */
  pop(request: PopRequest, deadlineMs: number, done: Done<readonly PoppedMessage[]>): () => boolean {
    const filter = compileFilter(request.filter);
    checkPop(request);
    if (this.#pops.length >= consumingLimits.waitingPopsMax) {
      throw new TLedgerError('OVERLOADED', `polling full: ${this.#pops.length} calls wait for ${this.#topic} already`);
    }
    const untilMs = Math.min(this.#port.clock.monotonicMs() + request.waitMs, deadlineMs);
    const pop = { request, filter, untilMs, call: new Call(deadlineMs, done) };
    this.#pops.push(pop);
    this.#listen();
    this.poke();
    return () => {
      const isWaiting = this.#pops.includes(pop);
      this.#pops = this.#pops.filter((one) => one !== pop);
      this.#rest();
      return isWaiting;
    };
  }

  /** @throws TLedgerError INVALID_ARGUMENT */
  settle(request: SettleRequest, deadlineMs: number, done: Done<readonly Settled[]>): void {
    checkVerdicts(request);
    this.#order({ kind: 'settle', request, call: new Call(deadlineMs, done) });
  }

  /** @throws TLedgerError INVALID_ARGUMENT */
  move(request: MoveRequest, deadlineMs: number, done: Done<LogIndex>): void {
    checkMove(request);
    this.#order({ kind: 'move', request, call: new Call(deadlineMs, done) });
  }

  /** Something may have changed for those who wait. */
  poke(): void {
    if (this.#isBusy) this.#isPoked = true;
    if (this.#isScheduled || this.#isBusy || this.#failure !== null) return;
    this.#isScheduled = true;
    this.#port.clock.defer(() => {
      this.#isScheduled = false;
      if (!this.#isBusy && this.#failure === null) void this.#run();
    });
  }

  /**
   * Everybody who waits is refused; the lane is not used any more. What is on its way through the log may still be carried
   * out: those who wait for it hear what became of it, or at their deadline that nobody can tell.
   */
  fail(error: Error): void {
    this.#failure = error;
    const waiting: Call<never>[] = [...this.#pops, ...this.#orders].map(({ call }) => call);
    this.#pops = [];
    this.#orders = [];
    this.#rest();
    for (const call of waiting) call.refuse(error);
  }

  #order(order: Order): void {
    if (this.#orders.length >= consumingLimits.waitingOrdersMax) {
      return order.call.refuse(new TLedgerError('OVERLOADED', `${this.#orders.length} verdicts wait already`));
    }
    this.#orders.push(order);
    this.poke();
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    const watch = this.#watch();
    try {
      let isMore = true;
      while (isMore && this.#failure === null) {
        this.#isPoked = false;
        // What comes while a step looks around finds its lane busy, and is not seen by that step any more.
        isMore = (await this.#step()) || this.#isPoked;
      }
    } catch (error) {
      // What waits is answered, and the next one to come begins anew.
      const failure = error instanceof Error ? error : new TLedgerError('INTERNAL');
      const pops = this.#pops;
      this.#pops = [];
      for (const { call } of pops) call.refuse(this.#port.isServing ? failure : new TLedgerError('NOT_LEADER'));
    } finally {
      this.#isBusy = false;
      this.#inStep = [];
      watch.cancel();
    }
    this.#arm();
    this.#rest();
    if (this.#isPoked && !this.isIdle) this.poke();
  }

  /** Nobody waits beyond their time because a step takes long. */
  #watch(): Timer {
    const { clock } = this.#port;
    const look = (): void => {
      const nowMs = clock.monotonicMs();
      for (const call of this.#inStep) call.expire(nowMs);
      this.#expire();
      this.#refuseLate();
      timer = clock.after(SWEEP_MS, look);
    };
    let timer = clock.after(SWEEP_MS, look);
    return { cancel: () => timer.cancel() };
  }

  /** @returns whether there may be more to do at once. */
  async #step(): Promise<boolean> {
    if (!this.#port.isServing) return this.#refuseLate();
    this.#term = this.#port.term;
    const order = this.#orders[0];
    if (order?.kind === 'move') await this.#move(order);
    else if (order !== undefined) await this.#carryOut();
    else return this.#pops.length > 0 ? this.#serve() : false;
    return true;
  }

  async #move(order: Order & { readonly kind: 'move' }): Promise<void> {
    this.#orders = this.#orders.slice(1);
    this.#inStep = [order.call];
    const { positions } = order.request;
    try {
      await this.#port.ensureGroup(this.#group);
      const moved = positions.map(({ queueId, offset }) => {
        const { max } = this.#port.broker.range(this.#topic, queueId);
        return { queueId, offset: Math.min(offset, max) };
      });
      order.call.answer(await this.#write({ moved }));
    } catch (error) {
      order.call.refuse(error as Error);
    }
  }

  async #carryOut(): Promise<void> {
    const { broker, clock } = this.#port;
    const progress = broker.tables.progress.get(this.#group, this.#topic);
    const { count, judged, settled, changed } = judge(this.#orders, progress, clock.wallMs());
    this.#orders = this.#orders.slice(count);
    this.#inStep = judged.map(({ call }) => call);
    try {
      const index = settled.length + changed.length === 0 ? logIndex(0) : await this.#write({ settled, changed });
      const isDone = (order: JudgedOrder): boolean => order.buried.length === 0;
      for (const order of judged.filter(isDone)) answer(order, index);
      for (const order of judged.filter((order) => !isDone(order))) await this.#buryOrdered(order, index);
    } catch (error) {
      for (const { call } of judged) call.refuse(error as Error);
    }
  }

  async #buryOrdered(order: JudgedOrder, index: LogIndex): Promise<void> {
    try {
      for (const one of order.buried) await this.#bury(one);
      answer(order, index);
    } catch (error) {
      order.call.refuse(error as Error);
    }
  }

  async #serve(): Promise<boolean> {
    const nowMs = this.#port.clock.wallMs();
    const group = await this.#port.ensureGroup(this.#group);
    const taken = new Taken();
    const served: Served[] = [];
    /** Filters that nothing was found for: whoever comes next with the same one finds nothing either. */
    const fruitless = new Set<string>();
    for (const pop of [...this.#pops]) {
      const { request, filter } = pop;
      const wish = `${request.filter.type} ${request.filter.expression}`;
      const isAlike = request.lite === undefined;
      const { broker } = this.#port;
      if (isAlike && fruitless.has(wish) && !isRepeat({ broker, request, nowMs })) continue;
      const firstQueue = this.#firstQueue++;
      const readOne: LeaderPort['readOne'] = (...at) => this.#port.readOne(...at);
      const gathered = await gather({ broker, readOne, group, request, filter, taken, nowMs, firstQueue });
      if (!hasEffect(gathered)) {
        if (isAlike) fruitless.add(wish);
        continue;
      }
      served.push({ pop, gathered });
      if (gathered.buried.length > 0) break;
    }
    if (served.length === 0) return this.#expire();
    // Whoever went away meanwhile gets nothing: its choice is dropped with it, and with it what was chosen after it.
    if (served.some(({ pop }) => !this.#pops.includes(pop))) return true;
    const answered = new Set(served.filter(({ gathered }) => gathered.chosen.length > 0).map(({ pop }) => pop));
    this.#pops = this.#pops.filter((pop) => !answered.has(pop));
    this.#inStep = [...answered].map(({ call }) => call);
    await this.#hand(served);
    for (const { gathered } of served) for (const one of gathered.buried) await this.#buryOrPutOff(one);
    return true;
  }

  async #hand(served: readonly Served[]): Promise<void> {
    const all = <K extends 'popped' | 'again' | 'settled'>(key: K) =>
      served.flatMap(({ gathered }) => gathered[key] as Gathered[K][number][]);
    const command = { popped: all('popped'), again: all('again'), settled: all('settled') };
    if (command.popped.length + command.again.length + command.settled.length === 0) return;
    const receivers = served.filter(({ gathered }) => gathered.chosen.length > 0);
    try {
      const index = await this.#write(command);
      for (const { pop, gathered } of receivers) {
        pop.call.answer(gathered.chosen.map((one) => ({ ...one, handle: index })));
      }
    } catch (error) {
      for (const { pop } of receivers) pop.call.refuse(error as Error);
      throw error;
    }
  }

  /** Answers pops whose time is over. @returns false: nothing more is to be done at once. */
  #expire(): boolean {
    const nowMs = this.#port.clock.monotonicMs();
    const late = this.#pops.filter((pop) => pop.untilMs <= nowMs);
    if (late.length === 0) return false;
    this.#pops = this.#pops.filter((pop) => pop.untilMs > nowMs);
    for (const { call } of late) call.answer([]);
    return false;
  }

  /** Refuses what nothing was begun of by its deadline. @returns false: nothing more is to be done at once. */
  #refuseLate(): boolean {
    const nowMs = this.#port.clock.monotonicMs();
    const isLate = ({ call }: { readonly call: { readonly deadlineMs: number } }): boolean => call.deadlineMs <= nowMs;
    const late: Call<never>[] = [...this.#pops, ...this.#orders].filter(isLate).map(({ call }) => call);
    if (late.length === 0) return false;
    this.#pops = this.#pops.filter((pop) => !isLate(pop));
    this.#orders = this.#orders.filter((order) => !isLate(order));
    for (const call of late) {
      call.refuse(new TLedgerError('NO_LEADER', 'the leader could not take the request before its deadline'));
    }
    return false;
  }

  /** A message that cannot be put away must not keep the others from their consumers. */
  async #buryOrPutOff(one: QueuedMessage & { readonly record: Buffer }): Promise<void> {
    try {
      await this.#bury(one);
    } catch (error) {
      this.#assertCurrent();
      if (!(error instanceof TLedgerError)) throw error;
      const { queueId, offset } = one;
      const untilMs = this.#port.clock.wallMs() + BURY_AGAIN_MS;
      await this.#write({ changed: [{ queueId, offset, untilMs, mode: 'keep' }] });
    }
  }

  async #bury(one: QueuedMessage & { readonly record?: Buffer }): Promise<void> {
    const { queueId, offset } = one;
    const record = one.record ?? (await this.#port.readOne(this.#topic, queueId, offset));
    if (record === null) {
      await this.#write({ settled: [{ queueId, offset }] });
      return;
    }
    const topic = deadLetterTopic(this.#group);
    await this.#port.ensureTopic(topic);
    this.#assertCurrent();
    const { progress } = this.#port.broker.tables;
    // The group was deleted meanwhile.
    if (progress.get(this.#group, this.#topic)?.queues.get(queueId)?.inFlight.has(offset) !== true) return;
    const source = { group: this.#group, topic: this.#topic, queueId, offset };
    await this.#port.store(deadLetterRecord(record, topic, source));
  }

  /** Resolves when it is carried out. The next thing is decided when this has happened, or certainly never will. */
  async #write(parts: Partial<Consume>): Promise<LogIndex> {
    this.#assertCurrent();
    const none = { popped: [], again: [], settled: [], changed: [], moved: [] };
    const place = { group: this.#group, topic: this.#topic };
    const index = await this.#port.command({ type: 'consume', ...place, ...none, ...parts });
    if (this.#port.broker.tables.progress.get(this.#group, this.#topic)?.lastIndex !== index) {
      throw new TLedgerError('NOT_LEADER', 'the consumer group was deleted meanwhile; the request had no effect');
    }
    return index;
  }

  /** What this step knows is still so: nobody else has decided anything since it began. */
  #assertCurrent(): void {
    if (this.#failure !== null) throw this.#failure;
    if (!this.#port.isServing || this.#port.term !== this.#term) throw new TLedgerError('NOT_LEADER');
  }

  /** Hears of new messages while somebody waits for them. */
  #listen(): void {
    if (this.#forgets.length > 0) return;
    const { broker } = this.#port;
    if (broker.topic(this.#topic) === undefined) return;
    this.#forgets.push(broker.onAppendToAny(this.#topic, () => this.poke()));
  }

  /** Wakes for the first message that comes back, or the first pop whose time is over. */
  #arm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.isIdle || this.#failure !== null) return;
    const { clock, broker } = this.#port;
    let delayMs = Math.min(LOOK_MS, ...this.#pops.map((pop) => pop.untilMs - clock.monotonicMs()));
    if (!this.#port.isServing) delayMs = Math.min(delayMs, 5);
    const wallMs = clock.wallMs();
    for (const queue of broker.tables.progress.get(this.#group, this.#topic)?.queues.values() ?? []) {
      delayMs = Math.min(delayMs, queue.nextReturnMs(wallMs) - wallMs);
    }
    this.#timer = clock.after(Math.max(1, delayMs), () => this.poke());
  }

  #rest(): void {
    if (this.#pops.length === 0) {
      for (const forget of this.#forgets) forget();
      this.#forgets = [];
    }
    if (!this.isIdle) return;
    this.#timer?.cancel();
    this.#timer = null;
    this.#onIdle();
  }
}

function hasEffect({ popped, again, settled, buried }: Gathered): boolean {
  return popped.length + again.length + settled.length + buried.length > 0;
}

function answer({ call, isDone }: JudgedOrder, index: LogIndex): void {
  call.answer(isDone.map((done) => ({ isDone: done, handle: index })));
}
