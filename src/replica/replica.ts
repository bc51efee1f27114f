// Runs one group on one node: the loop that joins consensus, log and broker. Every input is one synchronous turn:
//
//   input (message, append, flush done, time)  ->  raft  ->  persist vote  ->  write records  ->  send  ->  apply  ->  answer
//
// Nothing awaits between reading and acting on consensus state. A failed write, flush or invariant ends the replica.
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Broker } from '../broker/broker.ts';
import { Raft } from '../raft/raft.ts';
import type { FollowerAppend, LogIndex, NodeId, RaftConfig, RaftMessage, Ready, Term } from '../raft/types.ts';
import { type CommitLog, FRAME_HEADROOM_BYTES, offsetOfRecord } from '../storage/commit_log.ts';
import type { HardStateFile } from '../storage/hard_state.ts';
import { Alarm } from './alarm.ts';
import { Applying } from './applying.ts';
import { Flusher, type FlushPolicy } from './flusher.ts';
import { checkAppend } from './incoming.ts';
import { Leading, type LeadingLimits } from './leading.ts';
import { Reads } from './reads.ts';
import { Transfer, type Transferred } from './transfer.ts';
import type {
  AppendDone,
  LogDigest,
  PackedAppend,
  PeerEvents,
  PeerTransport,
  RecordBytes,
  ReplicaStatus,
  TopicInfo,
} from './types.ts';

/** All that a replica is made of. */
export interface ReplicaOptions {
  readonly raft: RaftConfig;
  readonly limits: LeadingLimits;
  readonly flush: FlushPolicy;
  readonly checkpointIntervalMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: CommitLog;
  readonly hardState: HardStateFile;
  readonly broker: Broker;
  readonly transport: PeerTransport;
  /** Something odd that the replica can live with, for the log. */
  readonly onWarning: (message: string) => void;
  /** Called once when the replica cannot go on; it has stopped voting, leading and answering. */
  readonly onFailure: (error: Error) => void;
}

/** How often deadlines of waiting callers are looked at; only while somebody waits. */
const SWEEP_INTERVAL_MS = 50;

/** One replica of one group. */
export class Replica implements PeerEvents {
  readonly broker: Broker;
  readonly #options: ReplicaOptions;
  readonly #clock: Clock;
  readonly #log: CommitLog;
  readonly #raft: Raft;
  readonly #flusher: Flusher;
  readonly #alarm: Alarm;
  readonly #leading: Leading;
  readonly #applying: Applying;
  readonly #reads = new Reads();
  readonly #transfer = new Transfer();
  readonly #listeners = new Set<() => void>();
  #state: 'idle' | 'running' | 'stopped' | 'failed' = 'idle';
  /** Records of the append message in hand. */
  #incoming: RecordBytes | null = null;
  #stopping: Promise<void> | undefined;
  #isTurnScheduled = false;
  #isSweepScheduled = false;

  constructor(options: ReplicaOptions) {
    const { clock, log, broker, limits } = options;
    const turn = (task: () => void): void => this.#turn(task);
    const onFailure = (error: unknown): void => this.#fail(error);
    if (options.hardState.state.term < log.lastTerm) {
      throw new TLedgerError('DATA_CORRUPTED', 'the hard state is older than the log: a vote may have been forgotten');
    }
    this.broker = broker;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#raft = new Raft({
      config: options.raft,
      hardState: options.hardState.state,
      log: log.shape,
      commit: broker.appliedIndex,
      sizer: log,
      random: options.random,
      nowMs: clock.monotonicMs(),
    });
    const raft = this.#raft;
    this.#applying = new Applying({ ...options, onFailure });
    const unappliedBytes = (): number => this.#applying.unappliedBytes;
    this.#leading = new Leading({ limits, clock, log, raft, broker, unappliedBytes, turn });
    this.#alarm = new Alarm(clock, () => turn(() => raft.tick(clock.monotonicMs())));
    this.#flusher = new Flusher({
      log,
      policy: options.flush,
      clock,
      onDurable: (index, term) =>
        turn(() => {
          assert(index <= log.flushedIndex, 'consensus is told of nothing that the log does not vouch for');
          raft.flushed(index, term);
          this.#leading.scheduleDrain();
        }),
      onFailure,
    });
  }

  /** Takes part in the group from now on. */
  start(): void {
    assert(this.#state === 'idle', 'a replica starts once');
    this.#state = 'running';
    this.#turn(() => {});
    this.#applying.start();
  }

  /** Appends a batch; only the leader can. Every outcome goes to `done`, possibly at once; nothing is thrown. */
  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void {
    const guarded: AppendDone = (error, result) => this.#callOut(() => done(error, result));
    if (this.#state !== 'running') return guarded(new TLedgerError('SHUTTING_DOWN'), null);
    this.#leading.enqueue({ kind: 'append', request, deadlineMs, done: guarded });
    this.#armSweep();
  }

  /** Creates a topic; only the leader can. `created` is false when it existed with the same settings. */
  async createTopic(name: string, queues: number, deadlineMs: number): Promise<{ topic: TopicInfo; created: boolean }> {
    this.#assertRunning();
    return new Promise((resolve, reject) => {
      this.#leading.enqueue({
        kind: 'topic',
        name,
        queues,
        deadlineMs,
        done: (error, result) => (result === null ? reject(error) : resolve(result)),
      });
      this.#armSweep();
    });
  }

  /** An index that was committed at some moment after this call; only the leader can tell, with a majority's help. */
  async readIndex(): Promise<LogIndex> {
    this.#assertRunning();
    return this.#reads.confirm((token) => this.#ask(() => this.#raft.readIndex(token, this.#clock.monotonicMs())));
  }

  /** Resolves once `index` is applied here. */
  async whenApplied(index: LogIndex, deadlineMs: number): Promise<void> {
    this.#assertRunning();
    if (this.broker.appliedIndex >= index) return;
    const applied = this.#reads.whenApplied(index, deadlineMs);
    this.#armSweep();
    await applied;
  }

  /** Hands leadership to `target`, or to the most caught-up follower. Resolves when that node leads. */
  async transferLeadership(target: NodeId | null, deadlineMs: number): Promise<Transferred> {
    this.#assertRunning();
    if (!this.#raft.isLeader) throw new TLedgerError('NOT_LEADER');
    const chosen = target ?? mostCaughtUp(this.#raft);
    const ended = this.#transfer.begin(chosen, deadlineMs, () =>
      this.#ask(() => this.#raft.transferLeadership(chosen, this.#clock.monotonicMs())),
    );
    this.#armSweep();
    return ended;
  }

  get isLeader(): boolean {
    return this.#state === 'running' && this.#raft.isLeader;
  }

  get leaderId(): NodeId | null {
    return this.#raft.leader;
  }

  get term(): Term {
    return this.#raft.term;
  }

  status(): ReplicaStatus {
    const { id, role, term, leader, commit } = this.#raft.status();
    return {
      nodeId: id,
      role,
      term,
      leaderId: leader,
      firstIndex: this.#log.firstIndex,
      lastIndex: this.#log.lastIndex,
      flushedIndex: this.#log.flushedIndex,
      committedIndex: commit,
      appliedIndex: this.broker.appliedIndex,
      flushedPosition: this.#log.flushedPosition,
      endPosition: this.#log.endPosition,
    };
  }

  /** @throws TLedgerError OFFSET_OUT_OF_RANGE when `index` is not committed and applied here, or is gone. */
  digest(index: LogIndex): LogDigest {
    const { firstIndex } = this.#log;
    const { appliedIndex } = this.broker;
    if (index > appliedIndex || index < firstIndex) {
      throw new TLedgerError('OFFSET_OUT_OF_RANGE', `index ${index} is outside of ${firstIndex}..${appliedIndex}`);
    }
    const { position, sizeBytes } = this.#log.locate(index);
    const endPosition = (position + sizeBytes) as LogDigest['endPosition'];
    return { index, chainCrc: this.#log.chainAt(index), endPosition };
  }

  /** Calls `listener` after each change of role, term or leader, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onMessage(message: RaftMessage, records: RecordBytes | null): void {
    this.#turn(() => {
      let checked: RaftMessage | null = message;
      if (message.type === 'append') {
        assert(records !== null, 'an append message comes with its records');
        checked = checkAppend(this.#log, this.#raft.term, message, records, this.#options.onWarning);
      }
      this.#incoming = records;
      if (checked !== null) this.#raft.step(checked, this.#clock.monotonicMs());
    });
    this.#incoming = null;
  }

  onUp(peer: NodeId): void {
    this.#turn(() => this.#raft.peerUp(peer, this.#clock.monotonicMs()));
  }

  onDown(peer: NodeId): void {
    this.#turn(() => this.#raft.peerDown(peer, this.#clock.monotonicMs()));
  }

  /** Hands leadership over if it can within `graceMs`, answers all that waits, saves state. Idempotent. */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#state === 'running' ? this.#stop(graceMs) : Promise.resolve();
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    if (this.#raft.isLeader && this.#options.raft.voters.length > 1) {
      // Consensus gives a transfer up after one election timeout; if nobody took over by then, nobody will.
      const untilMs = this.#clock.monotonicMs() + Math.min(graceMs, this.#options.raft.electionTimeoutMsMax);
      await this.transferLeadership(null, untilMs).catch(() => {});
      await this.#answered(untilMs);
    }
    if (this.#state !== 'running') return;
    this.#state = 'stopped';
    this.#alarm.cancel();
    this.#answerAll(new TLedgerError('SHUTTING_DOWN'));
    await this.#flusher.stop();
    await this.#applying.stop();
  }

  /** One input and all that follows from it. */
  #turn(input: () => void): void {
    if (this.#state !== 'running') return;
    try {
      input();
      while (this.#settle(this.#raft.ready()));
      this.#alarm.set(this.#raft.deadlineMs);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A turn whose refusal by consensus goes to the caller instead of ending the replica. */
  #ask(question: () => void): void {
    let refusal: unknown = null;
    this.#turn(() => {
      try {
        question();
      } catch (error) {
        if (!(error instanceof TLedgerError)) throw error;
        refusal = error;
      }
    });
    if (refusal !== null) throw refusal;
  }

  /** Does what consensus asks, in its order. @returns whether consensus learned something and must be asked again. */
  #settle(ready: Ready): boolean {
    if (ready.hardState !== null) this.#options.hardState.save(ready.hardState);
    if (ready.noop !== null) this.#leading.begin(ready.noop);
    if (ready.append !== null) this.#appendFromLeader(ready.append);
    for (const message of ready.messages) this.#send(message);
    this.#reads.onReady(ready.reads, ready.abortedReads);
    if (ready.stateChanged) this.#onStateChanged();
    if (this.broker.appliedIndex < ready.commit) this.#apply(ready.commit);
    const vouched = this.#flusher.written();
    if (vouched === null || vouched.index <= this.#raft.flushedIndex) return false;
    this.#raft.flushed(vouched.index, vouched.term);
    return true;
  }

  #send(message: RaftMessage): void {
    if (message.type !== 'append') {
      this.#options.transport.send(message, null);
    } else if (message.lastIndex > message.prevIndex) {
      const first = (message.prevIndex + 1) as LogIndex;
      this.#options.transport.send(message, this.#log.read(first, message.lastIndex));
    } else {
      const buffer = Buffer.allocUnsafe(FRAME_HEADROOM_BYTES);
      const prevChain = this.#log.chainAt(message.prevIndex);
      this.#options.transport.send(message, { buffer, start: buffer.length, end: buffer.length, prevChain });
    }
  }

  #appendFromLeader({ truncateAfter, firstIndex, lastIndex }: FollowerAppend): void {
    const records = this.#incoming;
    assert(records !== null, 'records are written while the message that brought them is in hand');
    assert(truncateAfter === null || truncateAfter >= this.broker.appliedIndex, 'what is applied is never truncated');
    if (truncateAfter !== null) this.#log.truncateAfter(truncateAfter);
    const start = offsetOfRecord(records.buffer, records.start, records.end, firstIndex);
    this.#log.appendSealed(records.buffer, start, records.end);
    assert(this.#log.lastIndex === lastIndex, 'a follower writes exactly the records consensus accepted');
  }

  #apply(commit: LogIndex): void {
    if (this.#applying.apply(commit)) this.#scheduleTurn();
    this.#leading.onApplied();
    this.#reads.onApplied(this.broker.appliedIndex);
  }

  #onStateChanged(): void {
    if (this.#raft.isLeader) this.#leading.scheduleDrain();
    else this.#leading.end();
    this.#transfer.onStateChanged(this.#raft);
    this.#clock.defer(() => {
      for (const listener of this.#listeners) this.#callOut(listener);
    });
  }

  /** Calls somebody else's code: what it throws is its own fault and no reason to stop. */
  #callOut(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#options.onWarning(`a caller failed while it was told the outcome: ${messageOf(error)}`);
    }
  }

  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#clock.defer(() => {
      this.#isTurnScheduled = false;
      this.#turn(() => {});
    });
  }

  #armSweep(): void {
    if (this.#isSweepScheduled) return;
    this.#isSweepScheduled = true;
    this.#clock.after(SWEEP_INTERVAL_MS, () => {
      this.#isSweepScheduled = false;
      if (this.#state === 'running') this.#sweep();
    });
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#leading.expire(nowMs);
    this.#reads.expire(nowMs);
    this.#transfer.expire(nowMs);
    this.#leading.scheduleDrain();
    if (this.#leading.waitingCount + this.#reads.length > 0 || this.#transfer.isActive) this.#armSweep();
  }

  /** Resolves when nobody waits any more for what the new leader commits, or at `untilMs`. */
  #answered(untilMs: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#leading.waitingCount === 0 || this.#clock.monotonicMs() >= untilMs) resolve();
        else this.#clock.after(5, look);
      };
      look();
    });
  }

  #assertRunning(): void {
    if (this.#state !== 'running') throw new TLedgerError('SHUTTING_DOWN');
  }

  #answerAll(error: TLedgerError): void {
    this.#leading.failAll(error);
    this.#reads.failAll(error);
    this.#transfer.fail(error);
  }

  #fail(error: unknown): void {
    if (this.#state === 'failed') return;
    this.#state = 'failed';
    this.#alarm.cancel();
    this.#applying.abandon();
    this.#options.onFailure(error instanceof Error ? error : new Error(String(error)));
    this.#answerAll(new TLedgerError('SHUTTING_DOWN', `The node failed: ${messageOf(error)}.`));
  }
}

function mostCaughtUp(raft: Raft): NodeId {
  const [best] = raft
    .status()
    .progress.filter((peer) => peer.connected)
    .sort((a, b) => b.match - a.match);
  if (best === undefined) throw new TLedgerError('TRANSFER_FAILED', 'no other member is connected');
  return best.peer;
}
