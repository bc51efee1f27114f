// What only a leader does: takes what waits into the log, batch by batch, and answers callers once their records are
// applied. It serves from the moment its no-op is applied, when the broker's view is that of the log's end.
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import { encodeMembership } from '../format/membership.ts';
import { blankRecord, flagsAt, recordMagic } from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import type { Raft } from '../raft/raft.ts';
import type { LogIndex, NodeId, OwnRecord } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { takeBatch } from './batch.ts';
import type { FlushPolicy } from './flusher.ts';
import { type Pending, type PendingLimits, PendingQueue } from './pending.ts';
import { Waiters } from './waiters.ts';

/** What the leader may take on. */
export interface LeadingLimits extends PendingLimits {
  /** Largest batch written and sent as one piece (one larger request makes a batch of its own). */
  readonly batchBytesMax: number;
  /** Bytes written but not flushed beyond which no further batch is taken: bounds what one flush carries. */
  readonly unflushedBytesMax: number;
  /** Bytes in the log but not applied beyond which no further batch is taken. */
  readonly unappliedBytesMax: number;
}

interface LeadingOptions {
  readonly limits: LeadingLimits;
  readonly clock: Clock;
  readonly log: CommitLog;
  readonly raft: Raft;
  readonly broker: Broker;
  /** What this replica guarantees by itself. */
  readonly flush: FlushPolicy;
  /** Bytes of the log that are not applied yet. */
  readonly unappliedBytes: () => number;
  /** Whether the disk is too full for more messages. */
  readonly isDiskFull: () => boolean;
  /** Runs a task as a turn of the replica. */
  readonly turn: (task: () => void) => void;
}

/** The leader's part of a replica; idle while another node leads. */
export class Leading {
  readonly #options: LeadingOptions;
  readonly #pending: PendingQueue;
  readonly #waiters = new Waiters();
  readonly #id: NodeId;
  #noopIndex: LogIndex | null = null;
  /** The last record that this leader wrote for itself. */
  #ownIndex: LogIndex | null = null;
  #isServing = false;
  #drainScheduled = false;

  constructor(options: LeadingOptions) {
    this.#options = options;
    this.#pending = new PendingQueue(options.limits);
    this.#id = options.raft.status().id;
  }

  /** It takes requests: what earlier leaders left is applied. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** Callers who wait for an answer. */
  get waitingCount(): number {
    return this.#pending.length + this.#waiters.length;
  }

  /** Puts a request into the queue, or answers it at once with why not. */
  enqueue(item: Pending): void {
    try {
      const { raft, limits, isDiskFull } = this.#options;
      if (!raft.isLeader) throw new TLedgerError('NOT_LEADER');
      if ((item.kind === 'append' || item.kind === 'store') && isDiskFull()) throw new TLedgerError('DISK_FULL');
      if (this.waitingCount >= limits.countMax) {
        throw new TLedgerError('OVERLOADED', `${this.waitingCount} requests wait for their answer already`);
      }
      this.#pending.push(item);
    } catch (error) {
      item.done(error as TLedgerError, null);
      return;
    }
    this.scheduleDrain();
  }

  /**
   * Writes a record that consensus itself asks for: the no-op with which a term begins, which commits what earlier
   * leaders left behind (paper §5.4.2, §8), or another membership.
   */
  writeOwn(own: OwnRecord): void {
    const { log, raft } = this.#options;
    const isNoop = own.kind === 'noop';
    assert(!isNoop || !this.#isServing, 'a term begins after the one before it has ended');
    const body = isNoop ? Buffer.alloc(0) : encodeMembership(own.membership);
    const record = blankRecord(isNoop ? recordMagic.noop : recordMagic.membership, body);
    const written = log.appendBlank(record, 0, record.length, raft.term);
    assert(written.firstIndex === own.index, "a leader's own record lies where consensus put it");
    if (isNoop) this.#noopIndex = own.index;
    this.#ownIndex = own.index;
  }

  /** Leadership was lost: what was not in the log yet is refused; what was may still be committed, so it waits on. */
  end(): void {
    this.#noopIndex = null;
    this.#ownIndex = null;
    this.#isServing = false;
    this.#options.broker.stopLeading();
    this.#pending.failAll(new TLedgerError('NOT_LEADER'));
  }

  /** More records were applied. */
  onApplied(): void {
    const { broker, log } = this.#options;
    if (!this.#isServing && this.#noopIndex !== null && broker.appliedIndex >= this.#noopIndex) {
      assert(this.#ownIndex === log.lastIndex, 'a new leader has nothing behind its no-op but memberships');
      broker.startLeading();
      this.#isServing = true;
    }
    this.#answer();
    this.scheduleDrain();
  }

  /**
   * Takes what waits, soon: after everything the event loop has in hand, so that it goes out together; what comes while
   * nothing is under way, after what runs now, for nobody is served by its waiting.
   */
  scheduleDrain(): void {
    if (this.#drainScheduled || !this.#isServing || this.#pending.length === 0) return;
    this.#drainScheduled = true;
    const drain = (): void => {
      this.#drainScheduled = false;
      this.#options.turn(() => this.#drain());
    };
    const { clock, log } = this.#options;
    if (this.#waiters.length === 0 && log.unflushedBytes === 0) clock.soon(drain);
    else clock.defer(drain);
  }

  expire(nowMs: number): void {
    this.#pending.expire(nowMs);
    this.#waiters.expire(nowMs);
  }

  /** The replica ends: nobody can tell any more what becomes of records in the log. */
  failAll(error: TLedgerError): void {
    this.#pending.failAll(error);
    this.#waiters.failAll(
      new TLedgerError('OUTCOME_UNKNOWN', `${error.message} No majority had confirmed the request.`),
    );
  }

  /** The replica was removed: nobody tells it any more what becomes of records that it took last. */
  left(): void {
    this.#waiters.failAll(
      new TLedgerError(
        'OUTCOME_UNKNOWN',
        'this node was removed from the group before a majority had confirmed the request',
      ),
    );
  }

  #drain(): void {
    const { limits, clock, log, raft, broker, unappliedBytes } = this.#options;
    if (!this.#isServing || raft.isTransferring || this.#isLeaving) return;
    if (log.unflushedBytes >= limits.unflushedBytesMax || unappliedBytes() >= limits.unappliedBytesMax) return;
    const firstIndex = (log.lastIndex + 1) as LogIndex;
    const batch = takeBatch(this.#pending, broker, {
      firstIndex,
      bytesMax: limits.batchBytesMax,
      nowMs: clock.wallMs(),
      guaranteeOf: (lastIndex) => this.#guaranteeOf(lastIndex),
    });
    // Whoever is in the batch waits from here on, so that everybody is answered even if the write fails.
    for (const member of batch.members) {
      // What was repeated and is applied is committed; its record may be gone from the log.
      if (member.lastIndex <= broker.appliedIndex) member.settle(null);
      else {
        const term = member.lastIndex < firstIndex ? log.termAt(member.lastIndex) : raft.term;
        this.#waiters.push(member, term, raft.term);
      }
    }
    if (batch.count > 0) {
      const proposed = raft.propose(batch.count);
      const written = log.appendBlank(batch.buffer, batch.start, batch.end, proposed.term);
      assert(
        proposed.firstIndex === firstIndex && written.lastIndex === firstIndex + batch.count - 1,
        'consensus, broker and log number records alike',
      );
    }
    if (batch.count === 0) this.#answer();
    this.scheduleDrain();
  }

  /** What is guaranteed of an applied record and those before it; the weaker one if the log does not hold it any more. */
  #guaranteeOf(index: LogIndex): FlushPolicy {
    const { log, flush } = this.#options;
    if (flush === 'sync') return 'sync';
    if (index < log.firstIndex || index > log.lastIndex) return 'async';
    const { buffer, start } = log.read(index, index);
    return (flagsAt(buffer, start) & recordFlag.flushFirst) === 0 ? 'async' : 'sync';
  }

  /** Whether the group goes on without this leader. It would never hear what becomes of more records. */
  get #isLeaving(): boolean {
    const { voters, outgoing } = this.#options.raft.membership.membership;
    return outgoing.length === 0 && !voters.includes(this.#id);
  }

  #answer(): void {
    if (this.#waiters.length === 0) return;
    const { broker, log } = this.#options;
    this.#waiters.release(broker.appliedIndex, (index) => (index < log.base.index ? null : log.termAt(index)));
  }
}
