// Runs one group on one node: the loop that joins consensus, log and broker. Every input is one synchronous turn:
//
//   input (message, append, flush done, time)  ->  raft  ->  persist vote  ->  write records  ->  send  ->  apply  ->  answer
//
// Nothing awaits between reading and acting on consensus state. A failed write, flush or invariant ends the replica.
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { Raft } from '../raft/raft.ts';
import {
  type LogIndex,
  logIndex,
  type NodeId,
  type RaftMessage,
  type Ready,
  type SnapshotPoint,
  type Term,
} from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { Alarm } from './alarm.ts';
import { Applying } from './applying.ts';
import { Callers } from './callers.ts';
import { CommitNotice } from './commit_notice.ts';
import { DamageWatch } from './damage_watch.ts';
import { Exchange } from './exchange.ts';
import { Flusher } from './flusher.ts';
import { installSnapshot } from './install.ts';
import { KeyBuilding } from './key_building.ts';
import { Leading } from './leading.ts';
import { Listeners } from './listeners.ts';
import { membershipsOf } from './open_group.ts';
import type { ReplicaOptions } from './options.ts';
import { SNAPSHOT_CHUNK_BYTES, SnapshotTraffic } from './snapshot_traffic.ts';
import { Space } from './space.ts';
import type { PeerEvents, RecordBytes } from './types.ts';
import { Watchdog } from './watchdog.ts';

export type { ReplicaOptions } from './options.ts';

/** See the head of the file. */
export class ReplicaLoop implements PeerEvents {
  readonly raft: Raft;
  readonly callers: Callers;
  readonly damages: DamageWatch;
  readonly leading: Leading;
  readonly stateListeners: Listeners;
  readonly memberListeners: Listeners;
  readonly #options: ReplicaOptions;
  readonly #clock: Clock;
  readonly #log: CommitLog;
  readonly #flusher: Flusher;
  readonly #alarm: Alarm;
  readonly #commitNotice: CommitNotice;
  readonly #applying: Applying;
  readonly #keyBuilding: KeyBuilding;
  /** What is kept of the log, and how full the disk is. */
  readonly space: Space;
  readonly #traffic: SnapshotTraffic;
  readonly #exchange: Exchange;
  readonly #watchdog: Watchdog;
  /** While it installs a snapshot a replica is deaf and mute. */
  #state: 'idle' | 'running' | 'installing' | 'stopped' | 'failed' = 'idle';
  /** What must not be missed, though it came while a snapshot was being installed. */
  #missed: (() => void)[] = [];
  #installing: Promise<void> = Promise.resolve();
  /** What the turn under way is to take up. */
  readonly #inputs: (() => void)[] = [];
  #isInTurn = false;
  #isTurnScheduled = false;
  /** When this replica began to hear again after an installation. */
  #hearsSinceMs = Number.NEGATIVE_INFINITY;
  /** The committed membership that was told last. */
  #toldMembership: LogIndex;

  constructor(options: ReplicaOptions) {
    const { clock, log, broker, limits, onWarning } = options;
    const turn = (task: () => void): void => this.#turn(task);
    const onFailure = (error: unknown): void => this.#fail(error);
    if (options.hardState.state.term < log.lastTerm) {
      throw new TLedgerError('DATA_CORRUPTED', 'the hard state is older than the log: a vote may have been forgotten');
    }
    this.#options = options;
    this.damages = this.#damageWatch();
    const onDamage = this.damages.later;
    broker.onDamage(onDamage);
    this.#clock = clock;
    this.#log = log;
    this.raft = new Raft({
      config: options.raft,
      hardState: options.hardState.state,
      log: log.shape,
      memberships: membershipsOf(log, broker, options.membership),
      commit: broker.appliedIndex,
      sizer: log,
      random: options.random,
      nowMs: clock.monotonicMs(),
    });
    const raft = this.raft;
    this.#toldMembership = raft.committedMembership.index;
    this.stateListeners = new Listeners(clock, (listener) => this.callOut(listener));
    this.memberListeners = new Listeners(clock, (listener) => this.callOut(listener));
    this.space = new Space({
      ...options,
      ...{ turn, onFailure, isRunning: () => this.#state === 'running', retainFrom: () => raft.retainFrom },
      onCut: (base) => this.#onCut(base),
      onDamage,
    });
    const { retention } = this.space;
    const atBoundary = retention.isOn ? (index: LogIndex): void => retention.atBoundary(index) : null;
    this.#applying = new Applying({ ...options, atBoundary, onFailure });
    this.#keyBuilding = new KeyBuilding({ clock, index: broker.keys.index, onWarning, onDamage });
    const unappliedBytes = (): number => this.#applying.unappliedBytes;
    this.leading = new Leading({
      ...{ limits, clock, log, raft, broker, unappliedBytes, turn, flush: options.flush },
      isDiskFull: () => this.space.isAt('refuse'),
    });
    this.callers = new Callers(clock, this.leading);
    this.#commitNotice = new CommitNotice(clock, () => turn(() => {}));
    this.#watchdog = this.#newWatchdog();
    const ring = (): void => turn(() => raft.tick(clock.monotonicMs()));
    this.#alarm = new Alarm(clock, ring, (lateMs) => this.#watchdog.onLate(lateMs));
    this.#traffic = new SnapshotTraffic({
      snapshots: options.snapshots,
      chunkBytes: options.snapshotChunkBytes ?? SNAPSHOT_CHUNK_BYTES,
      onWarning,
      onDamage,
      onStored: (index, sizeBytes) => turn(() => raft.snapshotStored(index, sizeBytes, clock.monotonicMs())),
      onArrived: (point) => this.#beginInstall(point),
      onFailure,
    });
    this.#exchange = new Exchange({ ...options, traffic: this.#traffic, onDamage });
    this.#flusher = new Flusher({
      ...{ log, clock, policy: options.flush, intervalMs: options.flushIntervalMs },
      hurryBytes: limits.unflushedBytesMax / 2,
      onFlush: () => this.#watchdog.onFlush(),
      onFlushed: () => this.#watchdog.onFlushed(),
      onDurable: (index, term) =>
        turn(() => {
          assert(index <= log.flushedIndex, 'consensus is told of nothing that the log does not vouch for');
          raft.flushed(index, term);
          this.leading.scheduleDrain();
        }),
      onFailure,
    });
  }

  #newWatchdog(): Watchdog {
    const clock = this.#clock;
    return new Watchdog({
      clock,
      diskStallMs: this.#options.diskStallMs,
      loopStallMs: this.#options.raft.electionTimeoutMsMax,
      flushingSinceMs: () => this.#flusher.flushingSinceMs,
      onChange: (isImpaired, reason) => {
        this.#options.onWarning(`${reason}: this node ${isImpaired ? 'does not lead' : 'may lead again'}`);
        this.#mustHear(() => this.raft.setImpaired(isImpaired, clock.monotonicMs()));
      },
    });
  }

  #damageWatch(): DamageWatch {
    return new DamageWatch({
      ...this.#options,
      isUp: () => this.isUp,
      drop: (index) => this.#traffic.drop(index),
      onFailure: (error) => this.#fail(error),
    });
  }

  /** Takes part in the group from now on. */
  start(): void {
    assert(this.#state === 'idle', 'a replica starts once');
    this.#state = 'running';
    this.#options.transport.setMembers(this.raft.membership.membership);
    this.#turn(() => {});
    this.#applying.start();
    this.#keyBuilding.start();
    this.space.start();
  }

  onMessage(message: RaftMessage, bytes: RecordBytes | null): void {
    this.#turn(() => {
      const checked = this.#hasRoomFor(bytes) ? this.#exchange.take(message, bytes, this.raft.term) : null;
      if (checked !== null) this.raft.step(checked, this.#clock.monotonicMs());
    });
    this.#exchange.release();
  }

  /** A node whose disk is full takes no records, as if they were lost on the way; it goes on to hear and to vote. */
  #hasRoomFor(bytes: RecordBytes | null): boolean {
    return bytes === null || bytes.start === bytes.end || !this.space.isAt('full');
  }

  onUp(peer: NodeId): void {
    this.#mustHear(() => this.raft.peerUp(peer, this.#clock.monotonicMs()));
  }

  onDown(peer: NodeId): void {
    this.#mustHear(() => this.raft.peerDown(peer, this.#clock.monotonicMs()));
  }

  /** Whether anything may be asked; while a snapshot is being installed, most is refused as by any other follower. */
  get isUp(): boolean {
    return this.#state === 'running' || this.#state === 'installing';
  }

  get isLeader(): boolean {
    return this.#state === 'running' && this.raft.isLeader;
  }

  /** Resolves when a replica that has failed writes nothing any more. */
  async whenQuiet(): Promise<void> {
    await this.#installing;
    await this.#flusher.stop();
    await this.#traffic.stop();
    await this.space.retention.whenIdle();
    await this.#applying.pause();
  }

  /** Answers all that waits and saves state; leadership was handed over before, if it could be. */
  async stop(): Promise<void> {
    if (!this.isUp) return;
    this.#state = 'stopped';
    this.#alarm.cancel();
    this.#commitNotice.cancel();
    this.#watchdog.stop();
    this.callers.close(new TLedgerError('SHUTTING_DOWN'));
    await this.space.stop();
    await this.#installing;
    await this.#flusher.stop();
    await this.#traffic.stop();
    await this.#keyBuilding.stop();
    await this.#applying.stop();
  }

  /**
   * One input and all that follows from it. Whoever is called out to from within a turn may bring the next input; it is
   * taken up when this one is dealt with.
   */
  #turn(input: () => void): void {
    if (this.#state !== 'running') return;
    this.#inputs.push(input);
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        next();
        while (this.#settle(this.raft.ready(this.#commitNotice.isDue)));
      }
      this.#alarm.set(this.#dueMs);
    } catch (error) {
      this.#inputs.length = 0;
      this.#fail(error);
    }
    this.#isInTurn = false;
  }

  /** When consensus is to look at the time. What fell due while nobody could be heard is no leader's fault. */
  get #dueMs(): number {
    const { deadlineMs } = this.raft;
    const isExcused = deadlineMs <= this.#hearsSinceMs;
    return isExcused ? this.#hearsSinceMs + this.#options.raft.electionTimeoutMsMin : deadlineMs;
  }

  /** A turn for what would be wrong for ever if it were missed. */
  #mustHear(input: () => void): void {
    if (this.#state === 'installing') this.#missed.push(input);
    else this.#turn(input);
  }

  /** A turn whose refusal by consensus goes to the caller instead of ending the replica. */
  ask<Answer>(question: () => Answer): Answer {
    assert(!this.#isInTurn, 'who is told an outcome asks for more a moment later');
    let answer: { readonly given: Answer } | null = null;
    let refusal: unknown = new TLedgerError('SHUTTING_DOWN');
    this.#turn(() => {
      try {
        answer = { given: question() };
      } catch (error) {
        if (!(error instanceof TLedgerError)) throw error;
        refusal = error;
      }
    });
    if (answer === null) throw refusal;
    return (answer as { readonly given: Answer }).given;
  }

  /** Does what consensus asks, in its order. @returns whether consensus learned something and must be asked again. */
  #settle(ready: Ready): boolean {
    if (ready.hardState !== null) this.#options.hardState.save(ready.hardState);
    if (ready.own !== null) this.leading.writeOwn(ready.own);
    if (ready.append !== null) this.#exchange.write(ready.append, this.#options.broker.appliedIndex);
    if (ready.snapshot !== null) this.#exchange.store(ready.snapshot);
    const vouched = this.#flusher.written();
    if (ready.membership !== null) this.#options.transport.setMembers(ready.membership.membership);
    for (const message of ready.messages) this.#exchange.send(message);
    this.#commitNotice.onReady(ready);
    this.callers.reads.onReady(ready.reads, ready.abortedReads);
    if (ready.stateChanged) this.#onStateChanged();
    this.#followMembership(ready);
    if (this.#options.broker.appliedIndex < ready.commit) this.#apply(ready.commit);
    if (this.leading.waitingCount > 0 && this.#isOut(ready.commit)) this.leading.left();
    if (vouched === null || vouched.index <= this.raft.flushedIndex) return false;
    this.raft.flushed(vouched.index, vouched.term);
    return true;
  }

  #apply(commit: LogIndex): void {
    if (this.#applying.apply(commit)) this.#scheduleTurn();
    this.#traffic.onCommit(commit);
    const { isServing } = this.leading;
    this.leading.onApplied();
    if (this.leading.isServing !== isServing) this.stateListeners.tell();
    this.callers.reads.onApplied(this.#options.broker.appliedIndex);
  }

  /** Whether this replica was removed, leads no more, and has told its callers all that it knows. */
  #isOut(commit: LogIndex): boolean {
    const { committedMembership, isLeader } = this.raft;
    if (isLeader || this.#options.broker.appliedIndex < commit) return false;
    return committedMembership.membership.addresses[this.#options.raft.id] === undefined;
  }

  /** The log was cut, in this turn. */
  #onCut(base: LogIndex): void {
    // The log flushes a segment when it closes it; consensus hears of that with the next flush, which may hang.
    const { flushedIndex } = this.#log;
    this.raft.flushed(flushedIndex, this.#log.termAt(flushedIndex));
    this.raft.logCut(base, this.#log.termAt(base), this.#clock.monotonicMs());
  }

  /** A snapshot has arrived. It is installed outside of any turn, and nothing else happens here meanwhile. */
  #beginInstall(point: SnapshotPoint): void {
    if (this.#state !== 'running') return;
    if (!this.raft.needsSnapshot(point)) return;
    this.#state = 'installing';
    this.#alarm.cancel();
    this.#installing = this.#install(point).catch((error: unknown) => this.#fail(error));
  }

  async #install(point: SnapshotPoint): Promise<void> {
    await this.#flusher.whenIdle();
    await this.#applying.pause();
    await this.space.retention.whenIdle();
    if (this.#state !== 'installing') return;
    await installSnapshot({ ...this.#options, point });
    if (this.#state !== 'installing') return;
    this.#options.onEvent?.(`took over a snapshot at ${point.index} from ${this.raft.leader ?? 'a former leader'}`);
    this.#state = 'running';
    this.#hearsSinceMs = this.#clock.monotonicMs();
    this.#turn(() => this.#restored(point));
    for (const input of this.#missed.splice(0)) this.#turn(input);
    this.#applying.start();
  }

  /** Consensus goes on behind the snapshot. */
  #restored(point: SnapshotPoint): void {
    const { broker, membership: bootstrap } = this.#options;
    const membership = broker.membership ?? { index: logIndex(0), membership: bootstrap };
    this.#applying.restarted();
    this.raft.restore({ ...point, membership }, this.#clock.monotonicMs());
    this.callers.reads.onApplied(broker.appliedIndex);
  }

  #onStateChanged(): void {
    if (this.raft.isLeader) this.leading.scheduleDrain();
    else {
      this.leading.end();
      this.#traffic.endSending();
    }
    this.callers.transfer.onStateChanged(this.raft);
    this.stateListeners.tell();
  }

  /** Tells who waits for memberships, or wants to know of them. */
  #followMembership({ membership, commit }: Ready): void {
    const { committedMembership, isLeader, term } = this.raft;
    const { changes } = this.callers;
    const leadingTerm = isLeader ? term : null;
    const termAt = (index: LogIndex): Term | null => (index < this.#log.base.index ? null : this.#log.termAt(index));
    if (changes.length > 0) changes.onCommitted({ commit, committedMembership, leadingTerm, termAt });
    if (membership === null && committedMembership.index === this.#toldMembership) return;
    this.#toldMembership = committedMembership.index;
    this.memberListeners.tell();
  }

  /** Calls somebody else's code: what it throws is its own fault and no reason to stop. */
  callOut(task: () => void): void {
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

  #fail(error: unknown): void {
    if (this.#state === 'failed') return;
    this.#state = 'failed';
    this.#alarm.cancel();
    this.#commitNotice.cancel();
    this.#watchdog.stop();
    this.#applying.abandon();
    this.space.abandon();
    this.#keyBuilding.abandon();
    this.#options.onFailure(error instanceof Error ? error : new Error(String(error)));
    this.callers.close(new TLedgerError('SHUTTING_DOWN', `The node failed: ${messageOf(error)}.`));
  }
}
