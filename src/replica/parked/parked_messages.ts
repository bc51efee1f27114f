// What the leader does with messages that are held back: delayed ones go to their queues when they are due, halves of
// transactions when their producers say so. Each is decided once: while a decision about one is on its way through the log,
// nothing else is decided about it.
//
//   delayed   due ──► read the record ──► store it in its queue, with the effect `release`    (never before it is due)
//             recalled ──► drop-parked
//   half      committed ──► the same as a delayed one that is due
//             rolled back ──► drop-parked
//             due ──► somebody who has a producer of the topic takes it (`takeChecks`) ──► check-half: asked again later
//                     nobody does for a while ──► check-half, too; after 15 of them drop-parked
import { assert } from '../../base/assert.ts';
import type { Timer } from '../../base/clock.ts';
import { messageOf, TLedgerError } from '../../base/errors.ts';
import { MinHeap } from '../../base/heap.ts';
import { quoted } from '../../base/quoted.ts';
import type { Resolution } from '../../broker/parked/ended.ts';
import type { Parked } from '../../broker/parked/parked.ts';
import type { LogIndex, Term } from '../../raft/types.ts';
import type { ConsumingPort } from '../consuming/consuming.ts';
import { withDeadline } from '../deadline.ts';
import { releasedRecord } from './released_record.ts';

/** Bounds of what is under way, and of transactions. */
export const parkedLimits = {
  /** Messages on their way into their queues, and their bytes. */
  releasingCountMax: 1_024,
  releasingBytesMax: 8 * 1_048_576,
  /** How often the producer of a half is asked before the half is dropped (ROCKETMQ §5.6). */
  checksMax: 15,
  /** From one question to the next. */
  checkIntervalMs: 30_000,
  /** A half that is due and that nobody takes counts as asked for after so long. */
  untakenMs: 30_000,
} as const;

/** How soon something that failed is tried again, and how often is looked for halves that nobody takes. */
const RETRY_MS = 50;
/** The same for what trying again may not help. */
const HOPELESS_RETRY_MS = 5_000;
const SCAN_MS = 1_000;
/** The wall clock is looked at so often while something waits for its time: it may be set. */
const LOOK_MS = 1_000;
/** Halves that nobody takes are counted so many at a time. */
const UNTAKEN_COUNT_MAX = 256;
/** Recalled messages are taken out of the heap when it holds so many more than there are. */
const STALE_COUNT_MAX = 1_024;

/** A half whose producer is to be asked, with its record. */
export interface HalfToCheck {
  readonly half: Parked;
  readonly record: Buffer;
}

/** See the head of the file. Idle while another node leads. */
export class ParkedMessages {
  readonly #port: ConsumingPort;
  readonly #onWarning: (message: string) => void;
  readonly #delayed = new MinHeap<Parked>(({ dueMs }) => dueMs);
  /** What is being decided about them; another one for each term, so that what an earlier one left behind is none of its. */
  #deciding = new Map<LogIndex, Promise<unknown>>();
  /** The term in which this node drives; null while it does not. */
  #drivingTerm: Term | null = null;
  #releasingCount = 0;
  #releasingBytes = 0;
  /** Ends when all that began to be read before is read: what is due is stored in the order in which it is due. */
  #reading: Promise<unknown> = Promise.resolve();
  #timer: Timer | null = null;
  #scan: Timer | null = null;

  constructor(port: ConsumingPort, onWarning: (message: string) => void) {
    this.#port = port;
    this.#onWarning = onWarning;
    port.broker.tables.parked.onChange((index) => this.#changed(index));
  }

  /** The replica leads now, or does not any more. */
  follow(): void {
    const term = this.#port.isServing ? this.#port.term : null;
    if (term === this.#drivingTerm) return;
    this.end();
    if (term !== null) this.#begin(term);
  }

  /** Nothing is decided here any more; what was on its way may or may not be committed. */
  end(): void {
    this.#drivingTerm = null;
    this.#delayed.clear();
    this.#deciding = new Map();
    this.#releasingCount = 0;
    this.#releasingBytes = 0;
    for (const timer of [this.#timer, this.#scan]) timer?.cancel();
    this.#timer = null;
    this.#scan = null;
  }

  /**
   * A delayed message is not delivered.
   * @throws TLedgerError NOT_LEADER; ILLEGAL_DELIVERY_TIME when it is due or delivered or recalled already; as `command`.
   */
  async recall(index: LogIndex, topic: string, deadlineMs: number): Promise<Parked> {
    this.#assertDriving();
    const parked = this.#port.broker.tables.parked.get(index);
    const isWaiting = parked?.kind === 'delayed' && parked.topic === topic && !this.#deciding.has(index);
    if (!isWaiting || parked.dueMs <= this.#port.clock.wallMs()) {
      throw new TLedgerError(
        'ILLEGAL_DELIVERY_TIME',
        'recall failed: the message is due, delivered or recalled already',
      );
    }
    const dropped = this.#decide(parked, () => this.#port.command({ type: 'drop-parked', index }));
    await withDeadline(this.#port.clock, dropped, deadlineMs);
    return parked;
  }

  /**
   * A transaction is committed or rolled back. Saying it again is right, as long as its end is remembered; but what ended
   * the other way, or was dropped, cannot be committed any more.
   * @throws TLedgerError NOT_LEADER; TRANSACTION_NOT_FOUND; OUTCOME_UNKNOWN at the deadline; as `command`.
   */
  async resolve(topic: string, id: string, resolution: Resolution, deadlineMs: number): Promise<void> {
    this.#assertDriving();
    const { clock } = this.#port;
    await withDeadline(clock, this.#resolve(topic, id, resolution), deadlineMs);
  }

  async #resolve(topic: string, id: string, resolution: Resolution): Promise<void> {
    const { parked, ended } = this.#port.broker.tables;
    for (;;) {
      this.#assertDriving();
      const half = parked.half(topic, id);
      if (half === undefined) {
        const before = ended.find(topic, id);
        if (before === resolution) return;
        const end = { none: '', commit: ': it was committed', rollback: ': it was rolled back' }[before ?? 'none'];
        throw new TLedgerError('TRANSACTION_NOT_FOUND', `topic ${topic} has no open transaction ${quoted(id)}${end}`);
      }
      const { index } = half;
      const underWay = this.#deciding.get(index);
      if (underWay === undefined) {
        if (resolution === 'commit') await this.#release(half);
        else await this.#decide(half, () => this.#port.command({ type: 'drop-parked', index }));
        return;
      }
      await underWay.catch(() => {
        // Whoever decided that is told; here it only matters what is left.
      });
    }
  }

  /**
   * Halves of those topics whose producers are to be asked now: whoever takes them asks. At most `countMax`.
   * @throws TLedgerError NOT_LEADER; OUTCOME_UNKNOWN at the deadline; as `command`.
   */
  async takeChecks(topics: readonly string[], countMax: number, deadlineMs: number): Promise<HalfToCheck[]> {
    this.#assertDriving();
    return withDeadline(this.#port.clock, this.#takeChecks(topics, countMax), deadlineMs);
  }

  async #takeChecks(topics: readonly string[], countMax: number): Promise<HalfToCheck[]> {
    const wanted = new Set(topics);
    const nowMs = this.#port.clock.wallMs();
    const due: Parked[] = [];
    for (const half of this.#port.broker.tables.parked.halves()) {
      if (due.length >= countMax) break;
      if (half.dueMs <= nowMs && wanted.has(half.topic)) due.push(half);
    }
    // All at once: each is one record, and they go together.
    const counted = await Promise.all(due.map((half) => this.#countCheck(half)));
    const taken: HalfToCheck[] = [];
    for (const [at, half] of due.entries()) {
      if (counted[at]) taken.push({ half, record: await this.#read(half) });
    }
    return taken;
  }

  get #isDriving(): boolean {
    return this.#drivingTerm !== null && this.#drivingTerm === this.#port.term && this.#port.isServing;
  }

  #begin(term: Term): void {
    this.#drivingTerm = term;
    for (const parked of this.#port.broker.tables.parked.values()) {
      if (parked.kind === 'delayed') this.#delayed.push(parked);
    }
    this.#drive();
    this.#scanLater();
  }

  #changed(index: LogIndex): void {
    if (!this.#isDriving) return;
    const { parked: table } = this.#port.broker.tables;
    const parked = table.get(index);
    if (parked?.kind === 'delayed') {
      this.#delayed.push(parked);
      if (this.#delayed.peek() === parked) this.#arm();
    } else if (this.#delayed.size > 2 * table.count + STALE_COUNT_MAX) {
      this.#delayed.clear();
      for (const one of table.values())
        if (one.kind === 'delayed' && !this.#deciding.has(one.index)) this.#delayed.push(one);
    }
  }

  /** Sends on what is due, as much as may be under way. */
  #drive(): void {
    if (!this.#isDriving) return;
    const { clock, broker } = this.#port;
    const nowMs = clock.wallMs();
    while (
      this.#releasingCount < parkedLimits.releasingCountMax &&
      this.#releasingBytes < parkedLimits.releasingBytesMax
    ) {
      const first = this.#delayed.peek();
      if (first === undefined || first.dueMs > nowMs) break;
      this.#delayed.pop();
      if (broker.tables.parked.get(first.index) === undefined || this.#deciding.has(first.index)) continue;
      const term = this.#drivingTerm;
      this.#release(first).catch((error) => {
        if (this.#drivingTerm === term) this.#failed(first, error);
      });
    }
    this.#arm();
  }

  /** It stays due. */
  #failed(parked: Parked, error: unknown): void {
    if (!this.#isDriving) return;
    const mayHelp = error instanceof TLedgerError && error.retryable;
    if (!mayHelp) this.#onWarning(`the delayed message ${parked.index} could not be delivered: ${messageOf(error)}`);
    const term = this.#drivingTerm;
    this.#port.clock.after(mayHelp ? RETRY_MS : HOPELESS_RETRY_MS, () => {
      if (this.#drivingTerm !== term || this.#port.broker.tables.parked.get(parked.index) === undefined) return;
      this.#delayed.push(parked);
      this.#drive();
    });
  }

  async #release(parked: Parked): Promise<void> {
    this.#releasingCount++;
    this.#releasingBytes += parked.sizeBytes;
    const term = this.#drivingTerm;
    try {
      await this.#decide(parked, async () => {
        const request = releasedRecord(await this.#readInTurn(parked), parked);
        // Reading took time: another leader may have decided meanwhile.
        if (this.#drivingTerm !== term || !this.#isDriving) throw new TLedgerError('NOT_LEADER');
        return this.#port.store(request);
      });
    } finally {
      if (this.#drivingTerm === term) {
        this.#releasingCount--;
        this.#releasingBytes -= parked.sizeBytes;
        this.#drive();
      }
    }
  }

  /** Nothing else is decided about it until this is applied, or certain never to be. */
  #decide(parked: Parked, decide: () => Promise<LogIndex>): Promise<LogIndex> {
    const deciding = this.#deciding;
    const { index } = parked;
    const isOpen = this.#port.broker.tables.parked.get(index) !== undefined && !deciding.has(index);
    assert(isOpen, () => `what becomes of ${index} is decided once at a time`);
    const decided = decide().finally(() => deciding.delete(index));
    deciding.set(index, decided);
    return decided;
  }

  /** @returns false when nobody is to be asked: it is gone, about to go, or was asked a moment ago. */
  async #countCheck({ index }: Parked): Promise<boolean> {
    const { clock, broker } = this.#port;
    const half = broker.tables.parked.get(index);
    if (half === undefined || half.dueMs > clock.wallMs() || this.#deciding.has(index)) return false;
    if (half.checks >= parkedLimits.checksMax) {
      await this.#decide(half, () => this.#port.command({ type: 'drop-parked', index }));
      this.#onWarning(
        `half message ${index} of topic ${half.topic} is dropped: its producer was asked ${half.checks} times`,
      );
      return false;
    }
    const nextMs = clock.wallMs() + parkedLimits.checkIntervalMs;
    await this.#decide(half, () => this.#port.command({ type: 'check-half', index, nextMs }));
    return true;
  }

  /** All are read at once, but nobody has theirs before those that came first. */
  async #readInTurn(parked: Parked): Promise<Buffer> {
    const before = this.#reading;
    const reading = this.#read(parked);
    this.#reading = Promise.allSettled([before, reading]).then(() => {});
    await before;
    return reading;
  }

  #read({ index, position, sizeBytes }: Parked): Promise<Buffer> {
    return this.#port.broker.recordAt(index, position, sizeBytes);
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const first = this.#delayed.peek();
    if (first === undefined || this.#releasingCount >= parkedLimits.releasingCountMax) return;
    const delayMs = Math.max(0, first.dueMs - this.#port.clock.wallMs());
    this.#timer = this.#port.clock.after(Math.min(delayMs, LOOK_MS), () => this.#drive());
  }

  #scanLater(): void {
    const term = this.#drivingTerm;
    this.#scan = this.#port.clock.after(SCAN_MS, () => {
      if (!this.#isDriving) return;
      void this.#countUntaken().finally(() => {
        if (this.#drivingTerm === term) this.#scanLater();
      });
    });
  }

  async #countUntaken(): Promise<void> {
    const beforeMs = this.#port.clock.wallMs() - parkedLimits.untakenMs;
    const untaken = [...this.#port.broker.tables.parked.halves()].filter(({ dueMs }) => dueMs <= beforeMs);
    for (let at = 0; at < untaken.length && this.#isDriving; at += UNTAKEN_COUNT_MAX) {
      const some = untaken.slice(at, at + UNTAKEN_COUNT_MAX);
      await Promise.all(some.map((half) => this.#countCheck(half))).catch(() => {
        // They stay due.
      });
    }
  }

  #assertDriving(): void {
    if (!this.#isDriving) throw new TLedgerError('NOT_LEADER');
  }
}
