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
import type { Timer } from '../../base/clock.ts';
import { messageOf, TLedgerError } from '../../base/errors.ts';
import { MinHeap } from '../../base/heap.ts';
import type { Parked } from '../../broker/parked/parked.ts';
import type { LogIndex, Term } from '../../raft/types.ts';
import type { ConsumingPort } from '../consuming/consuming.ts';
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
const SCAN_MS = 1_000;
const TIMER_MS_MAX = 2 ** 31 - 1;

/** How a transaction ended. */
export type Resolution = 'commit' | 'rollback';

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
  /** Something is decided about them already. */
  readonly #deciding = new Set<LogIndex>();
  /** The term in which this node drives; null while it does not. */
  #drivingTerm: Term | null = null;
  #releasingCount = 0;
  #releasingBytes = 0;
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
    this.#deciding.clear();
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
    await this.#decide(parked, () => this.#port.command({ type: 'drop-parked', index }, deadlineMs));
    return parked;
  }

  /**
   * A transaction is committed or rolled back. Saying it again is right, as long as the message id is remembered.
   * @throws TLedgerError NOT_LEADER; TRANSACTION_NOT_FOUND; as `command`. OUTCOME_UNKNOWN also while another decision is
   * on its way.
   */
  async resolve(topic: string, id: string, resolution: Resolution, deadlineMs: number): Promise<void> {
    this.#assertDriving();
    const { parked, sent } = this.#port.broker.tables;
    const half = parked.half(topic, id);
    if (half === undefined) {
      if (sent.find(topic, id) !== undefined) return;
      throw new TLedgerError('TRANSACTION_NOT_FOUND', `topic ${topic} has no open transaction ${JSON.stringify(id)}`);
    }
    if (this.#deciding.has(half.index)) {
      throw new TLedgerError('OUTCOME_UNKNOWN', 'the transaction is being resolved or checked at this moment');
    }
    if (resolution === 'commit') await this.#release(half, deadlineMs);
    else await this.#decide(half, () => this.#port.command({ type: 'drop-parked', index: half.index }, deadlineMs));
  }

  /** Halves of those topics whose producers are to be asked now: whoever takes them asks. At most `countMax`. */
  async takeChecks(topics: readonly string[], countMax: number): Promise<HalfToCheck[]> {
    this.#assertDriving();
    const wanted = new Set(topics);
    const nowMs = this.#port.clock.wallMs();
    const due: Parked[] = [];
    for (const parked of this.#port.broker.tables.parked.values()) {
      if (due.length >= countMax) break;
      const isDue = parked.kind === 'half' && parked.dueMs <= nowMs && wanted.has(parked.topic);
      if (isDue && !this.#deciding.has(parked.index)) due.push(parked);
    }
    const taken: HalfToCheck[] = [];
    for (const half of due) {
      const isOpen = await this.#countCheck(half);
      if (isOpen) taken.push({ half, record: await this.#read(half) });
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
    const parked = this.#port.broker.tables.parked.get(index);
    if (parked === undefined) this.#deciding.delete(index);
    else if (parked.kind === 'delayed') {
      this.#delayed.push(parked);
      if (this.#delayed.peek() === parked) this.#arm();
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
      this.#release(first, clock.monotonicMs() + this.#port.stepTimeoutMs).catch((error) => this.#failed(first, error));
    }
    this.#arm();
  }

  /** It stays due; unless its fate is unknown, in which case the log tells. */
  #failed(parked: Parked, error: unknown): void {
    if (!this.#isDriving) return;
    if (error instanceof TLedgerError && error.retryable) {
      this.#port.clock.after(RETRY_MS, () => {
        if (!this.#isDriving || this.#port.broker.tables.parked.get(parked.index) === undefined) return;
        this.#delayed.push(parked);
        this.#drive();
      });
    } else this.#onWarning(`the delayed message ${parked.index} could not be delivered: ${messageOf(error)}`);
  }

  async #release(parked: Parked, deadlineMs: number): Promise<void> {
    this.#releasingCount++;
    this.#releasingBytes += parked.sizeBytes;
    const term = this.#drivingTerm;
    try {
      await this.#decide(parked, async () => {
        const request = releasedRecord(await this.#read(parked), parked);
        // Reading took time: another leader may have decided meanwhile.
        if (this.#drivingTerm !== term || !this.#isDriving) throw new TLedgerError('NOT_LEADER');
        return this.#port.store(request, deadlineMs);
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
  async #decide(parked: Parked, decide: () => Promise<LogIndex>): Promise<void> {
    this.#deciding.add(parked.index);
    try {
      await decide();
    } catch (error) {
      if (!(error instanceof TLedgerError && error.code === 'OUTCOME_UNKNOWN')) this.#deciding.delete(parked.index);
      throw error;
    }
    this.#deciding.delete(parked.index);
  }

  /** @returns false when it was asked often enough, and is gone. */
  async #countCheck(half: Parked): Promise<boolean> {
    const { clock, stepTimeoutMs } = this.#port;
    const deadlineMs = clock.monotonicMs() + stepTimeoutMs;
    const { index } = half;
    if (half.checks >= parkedLimits.checksMax) {
      await this.#decide(half, () => this.#port.command({ type: 'drop-parked', index }, deadlineMs));
      this.#onWarning(
        `half message ${index} of topic ${half.topic} is dropped: its producer was asked ${half.checks} times`,
      );
      return false;
    }
    const nextMs = clock.wallMs() + parkedLimits.checkIntervalMs;
    await this.#decide(half, () => this.#port.command({ type: 'check-half', index, nextMs }, deadlineMs));
    return true;
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
    this.#timer = this.#port.clock.after(Math.min(delayMs, TIMER_MS_MAX), () => this.#drive());
  }

  #scanLater(): void {
    this.#scan = this.#port.clock.after(SCAN_MS, () => {
      if (!this.#isDriving) return;
      this.#scanLater();
      void this.#countUntaken();
    });
  }

  async #countUntaken(): Promise<void> {
    const beforeMs = this.#port.clock.wallMs() - parkedLimits.untakenMs;
    for (const parked of [...this.#port.broker.tables.parked.values()]) {
      if (parked.kind !== 'half' || parked.dueMs > beforeMs || this.#deciding.has(parked.index)) continue;
      if (!this.#isDriving) return;
      await this.#countCheck(parked).catch(() => {
        // It stays due.
      });
    }
  }

  #assertDriving(): void {
    if (!this.#isDriving) throw new TLedgerError('NOT_LEADER');
  }
}
