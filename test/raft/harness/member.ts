// One member of a simulated group: a Raft core with a log in memory, a disk that only keeps what was flushed, and
// switches to fail at the worst moments. It does what src/replica does with a Ready, without bytes, time or sockets.
import { assert } from '../../../src/base/assert.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { Raft } from '../../../src/raft/raft.ts';
import {
  type HardState,
  type LogShape,
  logIndex,
  type Membership,
  type MembershipEntry,
  type NodeId,
  type OwnRecord,
  type RaftConfig,
  type RaftMessage,
  type Ready,
  type Term,
  type TermRun,
  term,
} from '../../../src/raft/types.ts';

/** A record: its term, and a value that is unique to the proposal. */
export interface StoredRecord {
  readonly term: Term;
  readonly value: string;
  /** Of a membership record. */
  readonly membership?: Membership;
}

/** A message with the records that travel with it (empty unless it is an append). */
export interface Envelope {
  readonly message: RaftMessage;
  readonly records: readonly StoredRecord[];
}

/** What survives a crash. */
export interface Durable {
  hardState: HardState;
  records: StoredRecord[];
}

type DiskOperation =
  | { readonly kind: 'truncate'; readonly keep: number }
  | { readonly kind: 'append'; readonly records: readonly StoredRecord[] };

interface PendingFlush {
  readonly operationCount: number;
  readonly index: number;
  readonly term: Term;
  readonly truncationCount: number;
}

/** Where the next Ready fails: before the hard state is durable, or after it but before anything is sent. */
export type CrashPoint = 'before-persist' | 'before-send';

/** Sees everything a member does, as it does it. */
export interface MemberObserver {
  onStart(member: Member): void;
  onWrite(member: Member, index: number, record: StoredRecord, prevTerm: Term): void;
  onReady(member: Member, ready: Ready, sent: readonly Envelope[]): void;
}

export interface MemberOptions {
  readonly config: RaftConfig;
  /** What the configuration names; the blank for a node that waits to be added. */
  readonly bootstrap: Membership;
  readonly seed: number;
  readonly observer: MemberObserver;
  /** Every record counts for this much. */
  readonly recordSizeBytes: number;
}

export class Member {
  readonly id: NodeId;
  readonly options: MemberOptions;
  /** Null while crashed. */
  raft: Raft | null = null;
  /** The log as written, flushed or not; record i stands at i - 1. */
  records: StoredRecord[] = [];
  readonly durable: Durable = { hardState: { term: term(0), vote: null }, records: [] };
  /** Confirmed and aborted reads, by token, since the start. */
  reads: { token: number; index: number }[] = [];
  abortedReads: number[] = [];
  autoFlush = true;
  crashPoint: CrashPoint | null = null;
  #operations: DiskOperation[] = [];
  #flushes: PendingFlush[] = [];
  #startCount = 0;
  #sequence = 0;

  constructor(options: MemberOptions) {
    this.id = options.config.id;
    this.options = options;
  }

  get isUp(): boolean {
    return this.raft !== null;
  }

  /** The core of a member that is up. */
  get core(): Raft {
    assert(this.raft !== null, `${this.id} is up`);
    return this.raft;
  }

  get pendingFlushCount(): number {
    return this.#flushes.length;
  }

  /** Whether something was written that no flush covers yet. */
  get hasUnflushed(): boolean {
    return this.#operations.length > (this.#flushes.at(-1)?.operationCount ?? 0);
  }

  /** Writes that no completed flush covers. */
  get operationCount(): number {
    return this.#operations.length;
  }

  start(nowMs: number): void {
    assert(this.raft === null, 'a member starts once');
    this.records = [...this.durable.records];
    this.reads = [];
    this.abortedReads = [];
    this.#operations = [];
    this.#flushes = [];
    this.raft = new Raft({
      config: this.options.config,
      hardState: this.durable.hardState,
      log: shapeOf(this.records),
      memberships: [{ index: logIndex(0), membership: this.options.bootstrap }, ...membershipsOf(this.records, 1)],
      sizer: { fit: (first, bytesMax) => this.#fit(first, bytesMax) },
      random: new SeededRandom(this.options.seed * 1000 + this.#startCount++),
      nowMs,
    });
    this.options.observer.onStart(this);
  }

  /**
   * Stops at once. Of what was written but not flushed, the first `keepOperations` writes happen to be on disk.
   * @param keepRecords of the first write that is not kept, this many records still made it.
   */
  crash(keepOperations = 0, keepRecords = 0): void {
    const torn = this.#operations[keepOperations];
    for (const operation of this.#operations.slice(0, keepOperations)) persist(this.durable.records, operation);
    if (torn?.kind === 'append') this.durable.records.push(...torn.records.slice(0, keepRecords));
    this.raft = null;
    this.crashPoint = null;
    this.#operations = [];
    this.#flushes = [];
  }

  /** Begins a flush of everything written so far. */
  beginFlush(): void {
    assert(this.records.length > 0, 'there is something to flush');
    this.#flushes.push({
      operationCount: this.#operations.length,
      index: this.records.length,
      term: this.records.at(-1)!.term,
      truncationCount: this.core.truncationCount,
    });
  }

  /** The oldest flush under way completes. */
  completeFlush(): Envelope[] {
    const flush = this.#flushes.shift();
    assert(flush !== undefined, 'a flush is under way');
    for (const operation of this.#operations.splice(0, flush.operationCount)) persist(this.durable.records, operation);
    this.#flushes = this.#flushes.map((later) => ({
      ...later,
      operationCount: later.operationCount - flush.operationCount,
    }));
    this.core.flushed(logIndex(flush.index), flush.term, flush.truncationCount);
    return this.drain([]);
  }

  tick(nowMs: number): Envelope[] {
    this.core.tick(nowMs);
    return this.drain([]);
  }

  step(envelope: Envelope, nowMs: number): Envelope[] {
    const { message, records } = envelope;
    const first = message.type === 'append' ? message.prevIndex + 1 : 0;
    this.core.step(
      message.type === 'append' ? { ...message, memberships: membershipsOf(records, first) } : message,
      nowMs,
    );
    return this.drain(records, first);
  }

  /** Proposes one record a value. */
  propose(values: readonly string[]): Envelope[] {
    const { firstIndex, term: ownTerm } = this.core.propose(values.length);
    assert(firstIndex === this.records.length + 1, 'a leader appends at the end of its log');
    this.#write(values.map((value) => ({ term: ownTerm, value })));
    return this.drain([]);
  }

  /** Proposes `count` records with made-up values. */
  proposeCount(count: number): Envelope[] {
    return this.propose(Array.from({ length: count }, () => `${this.id}.${this.#startCount}.${++this.#sequence}`));
  }

  /** Runs any other input of the core, then does what its Ready says. */
  input(run: (raft: Raft) => void): Envelope[] {
    run(this.core);
    return this.drain([]);
  }

  /** Does what the Ready says, in its order. @param arrived records of the append just stepped, from `arrivedFirst`. */
  drain(arrived: readonly StoredRecord[], arrivedFirst = 0): Envelope[] {
    const ready = this.core.ready();
    if (this.crashPoint === 'before-persist') return this.#failHere();
    if (ready.hardState !== null) this.durable.hardState = ready.hardState;
    if (this.crashPoint === 'before-send') return this.#failHere();
    if (ready.own !== null) this.#writeOwn(ready.own);
    if (ready.append !== null) {
      const { truncateAfter, firstIndex, lastIndex } = ready.append;
      if (truncateAfter !== null) this.#truncateAfter(truncateAfter);
      this.#write(arrived.slice(firstIndex - arrivedFirst, lastIndex - arrivedFirst + 1));
    }
    const sent = ready.messages.map((message) => this.#envelope(message));
    this.reads.push(...ready.reads);
    this.abortedReads.push(...ready.abortedReads.map(({ token }) => token));
    this.options.observer.onReady(this, ready, sent);
    if (!this.autoFlush || !this.hasUnflushed) return sent;
    this.beginFlush();
    while (this.#flushes.length > 1) sent.push(...this.completeFlush());
    return [...sent, ...this.completeFlush()];
  }

  #failHere(): Envelope[] {
    this.crash();
    return [];
  }

  #envelope(message: RaftMessage): Envelope {
    if (message.type !== 'append') return { message, records: [] };
    return { message, records: this.records.slice(message.prevIndex, message.lastIndex) };
  }

  #write(records: readonly StoredRecord[]): void {
    for (const record of records) {
      const prevTerm = this.records.at(-1)?.term ?? term(0);
      this.records.push(record);
      this.options.observer.onWrite(this, this.records.length, record, prevTerm);
    }
    this.#operations.push({ kind: 'append', records });
    assert(this.records.length === this.core.lastIndex, 'the log is as long as the core says');
  }

  #writeOwn(own: OwnRecord): void {
    assert(own.index === this.records.length + 1, 'a record of the leader itself is the next one');
    const { term: ownTerm } = this.core;
    if (own.kind === 'noop') this.#write([{ term: ownTerm, value: `noop ${ownTerm}` }]);
    else this.#write([{ term: ownTerm, value: `membership ${own.index}@${ownTerm}`, membership: own.membership }]);
  }

  #truncateAfter(keep: number): void {
    this.records.length = keep;
    this.#operations.push({ kind: 'truncate', keep });
  }

  #fit(firstIndex: number, bytesMax: number) {
    assert(firstIndex <= this.records.length, 'the core asks only for records that were written');
    const { recordSizeBytes } = this.options;
    const count = Math.max(1, Math.floor(bytesMax / recordSizeBytes));
    const lastIndex = logIndex(Math.min(this.records.length, firstIndex + count - 1));
    return { lastIndex, sizeBytes: (lastIndex - firstIndex + 1) * recordSizeBytes };
  }
}

/** The shape of a log of such records. */
export function shapeOf(records: readonly StoredRecord[]): LogShape {
  const runs: TermRun[] = [];
  records.forEach((record, at) => {
    if (record.term !== runs.at(-1)?.term) runs.push({ term: record.term, firstIndex: logIndex(at + 1) });
  });
  return { baseIndex: logIndex(0), baseTerm: term(0), lastIndex: logIndex(records.length), runs };
}

/** The membership records among `records`, the first of which has index `first`. */
function membershipsOf(records: readonly StoredRecord[], first: number): MembershipEntry[] {
  return records.flatMap(({ membership }, at) =>
    membership === undefined ? [] : [{ index: logIndex(first + at), membership }],
  );
}

function persist(records: StoredRecord[], operation: DiskOperation): void {
  if (operation.kind === 'truncate') records.length = Math.min(records.length, operation.keep);
  else records.push(...operation.records);
}
