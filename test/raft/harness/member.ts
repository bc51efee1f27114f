// One member of a simulated group: a Raft core with a log in memory, a disk that only keeps what was flushed, and
// switches to fail at the worst moments. It does what src/replica does with a Ready, without bytes, time or sockets.
import { assert } from '../../../src/base/assert.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { Raft } from '../../../src/raft/raft.ts';
import {
  type HardState,
  type LogIndex,
  logIndex,
  type Membership,
  type NodeId,
  type OwnRecord,
  type RaftConfig,
  type RaftMessage,
  type Ready,
  type SnapshotChunk,
  type SnapshotPoint,
  type Term,
  term,
} from '../../../src/raft/types.ts';
import {
  MemberLog,
  membershipsOf,
  type SnapshotPiece,
  type StoredRecord,
  type StoredSnapshot,
  sizeOf,
} from './member_log.ts';

/** A message with what travels with it: the records of an append, the piece of a snapshot. */
export interface Envelope {
  readonly message: RaftMessage;
  readonly records: readonly StoredRecord[];
  readonly piece?: SnapshotPiece;
}

/** What survives a crash. */
export interface Durable {
  hardState: HardState;
  readonly log: MemberLog;
  /** The snapshot at the log's base, if it was ever cut. */
  snapshot: StoredSnapshot | null;
  /** A snapshot that arrives piece by piece. */
  incoming: (SnapshotPoint & { readonly held: number }) | null;
}

type DiskOperation =
  | { readonly kind: 'truncate'; readonly keep: number }
  | { readonly kind: 'append'; readonly records: readonly StoredRecord[] };

interface PendingFlush {
  readonly operationCount: number;
  readonly index: LogIndex;
  readonly term: Term;
  readonly truncationCount: number;
}

/** Where the next Ready fails: before the hard state is durable, or after it but before anything is sent. */
export type CrashPoint = 'before-persist' | 'before-send';

/** Sees everything a member does, as it does it. */
export interface MemberObserver {
  onStart(member: Member): void;
  onWrite(member: Member, index: number, record: StoredRecord, prevTerm: Term): void;
  /** A snapshot took the place of the log. */
  onRestore(member: Member, snapshot: StoredSnapshot): void;
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
  /** Largest piece of a snapshot. */
  readonly pieceBytesMax: number;
}

export class Member {
  readonly id: NodeId;
  readonly options: MemberOptions;
  /** Null while crashed. */
  raft: Raft | null = null;
  /** The log as written, flushed or not. */
  readonly log: MemberLog;
  readonly durable: Durable;
  /** Confirmed and aborted reads, by token, since the start. */
  reads: { token: number; index: number }[] = [];
  abortedReads: number[] = [];
  autoFlush = true;
  crashPoint: CrashPoint | null = null;
  nowMs = 0;
  #operations: DiskOperation[] = [];
  #flushes: PendingFlush[] = [];
  #startCount = 0;
  #sequence = 0;

  constructor(options: MemberOptions) {
    this.id = options.config.id;
    this.options = options;
    this.log = new MemberLog(options.bootstrap);
    const log = new MemberLog(options.bootstrap);
    this.durable = { hardState: { term: term(0), vote: null }, log, snapshot: null, incoming: null };
  }

  /** Records of the log as written, from the base on. */
  get records(): readonly StoredRecord[] {
    return this.log.records;
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
    this.log.copyFrom(this.durable.log);
    this.reads = [];
    this.abortedReads = [];
    this.#operations = [];
    this.#flushes = [];
    this.nowMs = nowMs;
    this.raft = new Raft({
      config: this.options.config,
      hardState: this.durable.hardState,
      log: this.log.shape,
      memberships: this.log.memberships,
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
    for (const operation of this.#operations.slice(0, keepOperations)) persist(this.durable.log, operation);
    if (torn?.kind === 'append') this.durable.log.append(torn.records.slice(0, keepRecords));
    this.raft = null;
    this.crashPoint = null;
    this.#operations = [];
    this.#flushes = [];
  }

  /** Begins a flush of everything written so far. */
  beginFlush(): void {
    assert(this.log.records.length > 0, 'there is something to flush');
    this.#flushes.push({
      operationCount: this.#operations.length,
      index: this.log.lastIndex,
      term: this.log.lastTerm,
      truncationCount: this.core.truncationCount,
    });
  }

  /** The oldest flush under way completes; none is left after a snapshot took the place of the log. */
  completeFlush(): Envelope[] {
    const flush = this.#flushes.shift();
    if (flush === undefined) return [];
    for (const operation of this.#operations.splice(0, flush.operationCount)) persist(this.durable.log, operation);
    this.#flushes = this.#flushes.map((later) => ({
      ...later,
      operationCount: later.operationCount - flush.operationCount,
    }));
    this.core.flushed(flush.index, flush.term, flush.truncationCount);
    return this.drain();
  }

  tick(nowMs: number): Envelope[] {
    return this.input((raft) => raft.tick(nowMs), nowMs);
  }

  step(envelope: Envelope, nowMs: number): Envelope[] {
    const { message, records } = envelope;
    const first = message.type === 'append' ? message.prevIndex + 1 : 0;
    const memberships = membershipsOf(records, first);
    this.nowMs = nowMs;
    this.core.step(message.type === 'append' ? { ...message, memberships } : message, nowMs);
    return this.drain(envelope);
  }

  /** Proposes one record a value. */
  propose(values: readonly string[]): Envelope[] {
    const { firstIndex, term: ownTerm } = this.core.propose(values.length);
    assert(firstIndex === this.log.lastIndex + 1, 'a leader appends at the end of its log');
    this.#write(values.map((value) => ({ term: ownTerm, value })));
    return this.drain();
  }

  /** Proposes `count` records with made-up values. */
  proposeCount(count: number): Envelope[] {
    return this.propose(Array.from({ length: count }, () => `${this.id}.${this.#startCount}.${++this.#sequence}`));
  }

  /** Runs any other input of the core, then does what its Ready says. */
  input(run: (raft: Raft) => void, nowMs = this.nowMs): Envelope[] {
    this.nowMs = nowMs;
    run(this.core);
    return this.drain();
  }

  /** Takes a snapshot at `index` and forgets the records up to there. */
  compact(index: LogIndex): Envelope[] {
    const { log } = this.durable;
    assert(
      index <= Math.min(this.core.commit, this.core.flushedIndex),
      'only what is applied and durable is compacted',
    );
    if (index <= log.base.index) return [];
    const values = [
      ...(this.durable.snapshot?.values ?? []),
      ...log.slice(log.base.index + 1, index).map(({ value }) => value),
    ];
    this.durable.snapshot = { index, term: log.at(index)!.term, membership: log.membershipAt(index), values };
    log.cutTo(index);
    this.log.cutTo(index);
    return this.input((raft) => raft.logCut(index, log.base.term, this.nowMs));
  }

  /** Does what the Ready says, in its order. @param arrived the message just stepped. */
  drain(arrived?: Envelope): Envelope[] {
    const ready = this.core.ready();
    if (this.crashPoint === 'before-persist') return this.#failHere();
    if (ready.hardState !== null) this.durable.hardState = ready.hardState;
    if (this.crashPoint === 'before-send') return this.#failHere();
    if (ready.own !== null) this.#writeOwn(ready.own);
    if (ready.append !== null) {
      assert(arrived?.message.type === 'append', 'records come with their message');
      const { truncateAfter, firstIndex, lastIndex } = ready.append;
      if (truncateAfter !== null) this.#truncateAfter(truncateAfter);
      const skipped = firstIndex - arrived.message.prevIndex - 1;
      this.#write(arrived.records.slice(skipped, skipped + lastIndex - firstIndex + 1));
    }
    const sent = ready.messages.map((message) => this.#envelope(message));
    this.reads.push(...ready.reads);
    this.abortedReads.push(...ready.abortedReads.map(({ token }) => token));
    this.options.observer.onReady(this, ready, sent);
    if (ready.snapshot !== null) sent.push(...this.#store(ready.snapshot, arrived?.piece));
    if (!this.autoFlush || !this.hasUnflushed) return sent;
    this.beginFlush();
    while (this.#flushes.length > 1) sent.push(...this.completeFlush());
    return [...sent, ...this.completeFlush()];
  }

  /** Takes a piece of a snapshot if it is the next one; installs the snapshot when it is complete and still news. */
  #store({ index, term: indexTerm, offset }: SnapshotChunk, piece: SnapshotPiece | undefined): Envelope[] {
    assert(piece !== undefined && piece.start === offset, 'a piece comes with its message');
    const { incoming } = this.durable;
    const isSame = incoming?.index === index && incoming.term === indexTerm;
    let held = isSame ? incoming.held : 0;
    if (offset === held) held = piece.end;
    this.durable.incoming = { index, term: indexTerm, held };
    if (held < sizeOf(piece.snapshot) || !this.core.needsSnapshot({ index, term: indexTerm })) {
      return this.input((raft) => raft.snapshotStored(index, held, this.nowMs));
    }
    return this.#install(piece.snapshot);
  }

  #install(snapshot: StoredSnapshot): Envelope[] {
    this.durable.snapshot = snapshot;
    this.durable.incoming = null;
    this.durable.log.restart(snapshot);
    this.log.restart(snapshot);
    this.#operations = [];
    this.#flushes = [];
    this.options.observer.onRestore(this, snapshot);
    return this.input((raft) => raft.restore(snapshot, this.nowMs));
  }

  #failHere(): Envelope[] {
    this.crash();
    return [];
  }

  #envelope(message: RaftMessage): Envelope {
    if (message.type === 'append') {
      const { prevIndex, lastIndex } = message;
      return { message, records: lastIndex === prevIndex ? [] : this.log.slice(prevIndex + 1, lastIndex) };
    }
    if (message.type !== 'snapshot') return { message, records: [] };
    const { snapshot } = this.durable;
    assert(snapshot !== null && snapshot.index === message.index, 'the snapshot at the base is there to be sent');
    assert(snapshot.term === message.indexTerm, 'a snapshot is of the term of its last record');
    const end = Math.min(sizeOf(snapshot), message.offset + this.options.pieceBytesMax);
    return { message, records: [], piece: { snapshot, start: message.offset, end } };
  }

  #write(records: readonly StoredRecord[]): void {
    for (const record of records) {
      const prevTerm = this.log.lastTerm;
      this.log.append([record]);
      this.options.observer.onWrite(this, this.log.lastIndex, record, prevTerm);
    }
    this.#operations.push({ kind: 'append', records });
    assert(this.log.lastIndex === this.core.lastIndex, 'the log is as long as the core says');
  }

  #writeOwn(own: OwnRecord): void {
    assert(own.index === this.log.lastIndex + 1, 'a record of the leader itself is the next one');
    const { term: ownTerm } = this.core;
    if (own.kind === 'noop') this.#write([{ term: ownTerm, value: `noop ${ownTerm}` }]);
    else this.#write([{ term: ownTerm, value: `membership ${own.index}@${ownTerm}`, membership: own.membership }]);
  }

  #truncateAfter(keep: number): void {
    this.log.truncateAfter(keep);
    this.#operations.push({ kind: 'truncate', keep });
  }

  #fit(firstIndex: number, bytesMax: number) {
    assert(firstIndex <= this.log.lastIndex, 'the core asks only for records that were written');
    const { recordSizeBytes } = this.options;
    const count = Math.max(1, Math.floor(bytesMax / recordSizeBytes));
    const lastIndex = logIndex(Math.min(this.log.lastIndex, firstIndex + count - 1));
    return { lastIndex, sizeBytes: (lastIndex - firstIndex + 1) * recordSizeBytes };
  }
}

function persist(log: MemberLog, operation: DiskOperation): void {
  if (operation.kind === 'truncate') log.truncateAfter(operation.keep);
  else log.append(operation.records);
}
