// One replica of one group, as the services of its node see it: what may be asked of it, what it says of itself. What it
// does by itself, turn by turn: loop.ts.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import { type Command, encodeSoundCommand } from '../broker/commands.ts';
import type { StoreRequest, TopicType } from '../broker/types.ts';
import { checkMember } from '../format/membership.ts';
import type { Raft } from '../raft/raft.ts';
import type {
  LogIndex,
  MembershipChange,
  MembershipEntry,
  NodeId,
  ProgressStatus,
  RaftMessage,
  Term,
} from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { Damage } from '../storage/damage.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';
import { Consuming } from './consuming/consuming.ts';
import { LiteTopics } from './consuming/lite_topics.ts';
import { leaderPortOf } from './leader_port.ts';
import { ReplicaLoop, type ReplicaOptions } from './loop.ts';
import { ParkedMessages } from './parked/parked_messages.ts';
import { indexAtPosition, type RecordPage, recordPage } from './record_pages.ts';
import { type RecordsAnswer, recordsAnswer, type SnapshotAnswer, snapshotAnswer } from './repair_answers.ts';
import { REPAIR_PIECE_BYTES } from './repair_sources.ts';
import { TopicQueues } from './topic_queues.ts';
import { heirsOf, type Transferred } from './transfer.ts';
import type {
  AppendDone,
  LogDigest,
  PackedAppend,
  PeerEvents,
  RecordBytes,
  ReplicaStatus,
  TopicInfo,
} from './types.ts';

export type { ReplicaOptions } from './loop.ts';

/** See the head of the file. */
export class Replica implements PeerEvents {
  readonly broker: Broker;
  /** Consumer groups; only the leader's does anything. */
  readonly consuming: Consuming;
  /** Makes lite topics; only on the leader. */
  readonly lite: LiteTopics;
  /** Gives topics more queues; only on the leader. */
  readonly queues: TopicQueues;
  /** Delayed messages and transactions; only the leader's does anything. */
  readonly parked: ParkedMessages;
  readonly #loop: ReplicaLoop;
  readonly #raft: Raft;
  readonly #log: CommitLog;
  readonly #snapshots: SnapshotStore;
  readonly #clock: Clock;
  readonly #connected = new Set<NodeId>();
  readonly #electionTimeoutMsMax: number;
  #stopping: Promise<void> | undefined;

  /** @throws TLedgerError DATA_CORRUPTED when hard state and log contradict each other. */
  constructor(options: ReplicaOptions) {
    this.#loop = new ReplicaLoop(options);
    this.#raft = this.#loop.raft;
    this.broker = options.broker;
    this.#log = options.log;
    this.#snapshots = options.snapshots;
    this.#clock = options.clock;
    this.#electionTimeoutMsMax = options.raft.electionTimeoutMsMax;
    const port = leaderPortOf(this, this.#loop, options);
    this.consuming = new Consuming(port, () => this.#loop.isUp && this.isLeader);
    this.lite = new LiteTopics(port);
    this.queues = new TopicQueues(port);
    this.parked = new ParkedMessages(port, options.onWarning);
    this.onChange(() => {
      this.parked.follow();
      if (!this.isLeader) this.consuming.end(new TLedgerError('NOT_LEADER'));
    });
  }

  /** Takes part in the group from now on. */
  start(): void {
    this.#loop.start();
  }

  /** Appends a batch; only the leader can. Every outcome goes to `done`, possibly at once; nothing is thrown. */
  append(request: PackedAppend, deadlineMs: number, done: AppendDone): void {
    const guarded: AppendDone = (error, result) => this.#loop.callOut(() => done(error, result));
    if (!this.#loop.isUp) return guarded(new TLedgerError('SHUTTING_DOWN'), null);
    this.#loop.leading.enqueue({ kind: 'append', request, deadlineMs, done: guarded });
    this.#loop.callers.arm();
  }

  /** Stores messages that a node made; only the leader can. Every outcome goes to `done`, as with `append`. */
  store(request: StoreRequest, deadlineMs: number, done: AppendDone): void {
    const guarded: AppendDone = (error, result) => this.#loop.callOut(() => done(error, result));
    if (!this.#loop.isUp) return guarded(new TLedgerError('SHUTTING_DOWN'), null);
    this.#loop.leading.enqueue({ kind: 'store', request, deadlineMs, done: guarded });
    this.#loop.callers.arm();
  }

  /**
   * Writes a command; only the leader can. Resolves with its index once it is applied. Whoever decided it answers for its
   * fitting the state it is applied to.
   * @throws TLedgerError INVALID_ARGUMENT when no replica would understand it; as `append`.
   */
  async command(command: Command, deadlineMs: number): Promise<LogIndex> {
    this.#assertUp();
    const body = encodeSoundCommand(command);
    return new Promise((resolve, reject) => {
      this.#loop.leading.enqueue({
        kind: 'command',
        body,
        deadlineMs,
        done: (error, index) => (index === null ? reject(error) : resolve(index)),
      });
      this.#loop.callers.arm();
    });
  }

  /** Creates a topic; only the leader can. `created` is false when it existed with the same settings. */
  async createTopic(
    name: string,
    queues: number,
    deadlineMs: number,
    messageType: TopicType = 'mixed',
  ): Promise<{ topic: TopicInfo; created: boolean }> {
    this.#assertUp();
    return new Promise((resolve, reject) => {
      this.#loop.leading.enqueue({
        kind: 'topic',
        wish: { name, queues, messageType },
        deadlineMs,
        done: (error, result) => (result === null ? reject(error) : resolve(result)),
      });
      this.#loop.callers.arm();
    });
  }

  /**
   * Changes who belongs to the group; only the leader can. Resolves with the membership in which the change is finished:
   * a learner that was to become a voter is one, a member that was to leave has left.
   * @throws TLedgerError NOT_LEADER, TRANSFERRING, MEMBERSHIP_CHANGING, INVALID_ARGUMENT (also: it was cancelled),
   * UNKNOWN_NODE, UNREACHABLE, OVERLOADED: it had no effect. OUTCOME_UNKNOWN when it had not ended by the deadline, or
   * this node fails or falls behind: it may go on.
   */
  async changeMembership(change: MembershipChange, deadlineMs: number): Promise<MembershipEntry> {
    this.#assertUp();
    if (!this.#raft.isLeader) throw new TLedgerError('NOT_LEADER');
    if ('address' in change) checkMember(change.id, change.address);
    const finished = this.#loop.callers.changes.begin(change, deadlineMs, (accepted) =>
      this.#loop.ask(() => {
        const { term } = this.#raft;
        accepted({ index: this.#raft.changeMembership(change, this.#clock.monotonicMs()), term });
      }),
    );
    this.#loop.callers.arm();
    return finished;
  }

  /** An index that was committed at some moment after this call; only the leader can tell, with a majority's help. */
  async readIndex(): Promise<LogIndex> {
    this.#assertUp();
    if (!this.#raft.isLeader) throw new TLedgerError('NOT_LEADER');
    const ask = (token: number): void => this.#loop.ask(() => this.#raft.readIndex(token, this.#clock.monotonicMs()));
    return this.#loop.callers.reads.confirm(ask);
  }

  /** Resolves once `index` is applied here. */
  async whenApplied(index: LogIndex, deadlineMs: number): Promise<void> {
    this.#assertUp();
    if (this.broker.appliedIndex >= index) return;
    const applied = this.#loop.callers.reads.whenApplied(index, deadlineMs);
    this.#loop.callers.arm();
    await applied;
  }

  /** Hands leadership to `target`, or to the most caught-up voter. Resolves when that node leads. */
  async transferLeadership(target: NodeId | null, deadlineMs: number): Promise<Transferred> {
    this.#assertUp();
    if (!this.#raft.isLeader) throw new TLedgerError('NOT_LEADER');
    const chosen = target ?? heirsOf(this.#raft)[0];
    if (chosen === undefined) throw new TLedgerError('TRANSFER_FAILED', 'no other voter is connected');
    const ended = this.#loop.callers.transfer.begin(chosen, deadlineMs, () =>
      this.#loop.ask(() => this.#raft.transferLeadership(chosen, this.#clock.monotonicMs())),
    );
    this.#loop.callers.arm();
    return ended;
  }

  get isLeader(): boolean {
    return this.#loop.isLeader;
  }

  get leaderId(): NodeId | null {
    return this.#raft.leader;
  }

  get term(): Term {
    return this.#raft.term;
  }

  /** Who belongs to the group by the log of this replica, and since which record; committed or not. */
  get membership(): MembershipEntry {
    return this.#raft.membership;
  }

  /** The members that the transport can reach at the moment. */
  get connectedPeers(): readonly NodeId[] {
    return [...this.#connected];
  }

  /** How each other member is brought up to date; empty unless this replica leads. */
  get progress(): readonly ProgressStatus[] {
    return this.#raft.status().progress;
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
      disk: this.#loop.space.status,
    };
  }

  /** @throws TLedgerError OFFSET_OUT_OF_RANGE when `index` is not committed and applied here, or is gone. */
  digest(index: LogIndex): LogDigest {
    const { firstIndex } = this.#log;
    const { appliedIndex } = this.broker;
    if (index > appliedIndex || index < firstIndex) {
      throw new TLedgerError('OFFSET_OUT_OF_RANGE', `index ${index} is outside of ${firstIndex}..${appliedIndex}`);
    }
    return this.#loop.damages.looking(() => {
      const { position, sizeBytes } = this.#log.locate(index);
      const endPosition = (position + sizeBytes) as LogDigest['endPosition'];
      return { index, chainCrc: this.#log.chainAt(index), endPosition };
    });
  }

  /** Committed records, verified, a page at a time; what is damaged is said. @see recordPage */
  recordPage(from: LogIndex, countMax: number): RecordPage {
    return recordPage(
      { log: this.#log, applied: this.broker.appliedIndex, onDamage: this.#loop.damages.later },
      from,
      countMax,
    );
  }

  /** The committed record at or behind a position of the log. */
  indexAtPosition(position: number): LogIndex {
    return indexAtPosition(this.#log, this.broker.appliedIndex, position);
  }

  /** Calls `listener` after each change of role, term or leader, and when a leader begins to take requests, until the returned function is called. */
  onChange(listener: () => void): () => void {
    return this.#loop.stateListeners.add(listener);
  }

  /** Calls `listener` after each change of the membership in force, or of what is committed of it; see `onChange`. */
  onMembership(listener: () => void): () => void {
    return this.#loop.memberListeners.add(listener);
  }

  /**
   * Records for a member whose own are damaged, verified as they are read.
   * @throws TLedgerError DATA_CORRUPTED when they are damaged here, too, which then is told; SHUTTING_DOWN.
   */
  fetchRecords(firstIndex: LogIndex, bytesMax: number): RecordsAnswer {
    this.#assertUp();
    return this.#loop.damages.looking(() =>
      recordsAnswer(this.#log, this.#raft.status().commit, firstIndex, Math.min(bytesMax, REPAIR_PIECE_BYTES)),
    );
  }

  /** A piece of a snapshot for such a member; null when there is none. @throws TLedgerError as `fetchRecords` does. */
  fetchSnapshot(index: LogIndex | null, offset: number): SnapshotAnswer | null {
    this.#assertUp();
    const heldFrom = this.broker.tables.parked.firstIndex;
    return snapshotAnswer(this.#snapshots, { index, offset, heldFrom }, REPAIR_PIECE_BYTES);
  }

  onMessage(message: RaftMessage, bytes: RecordBytes | null): void {
    this.#loop.onMessage(message, bytes);
  }

  onUp(peer: NodeId): void {
    this.#connected.add(peer);
    this.#loop.onUp(peer);
  }

  onDown(peer: NodeId): void {
    this.#connected.delete(peer);
    this.#loop.onDown(peer);
  }

  /**
   * Tells of damage that was found while the replica runs: by a read, by the scrubber. With damage in the log, what this
   * replica vouched for is in doubt: whoever runs it is told to stop it (which hands leadership over), has it repaired and
   * opens it anew. A damaged snapshot goes, and is taken or fetched anew. What is derived (but for the key index, which
   * mends itself) is made anew when it is opened anew.
   */
  damaged(damage: Damage): void {
    this.#loop.damages.found(damage);
  }

  /**
   * Hands leadership over if it can within `graceMs`, answers all that waits, saves state. Idempotent. Nothing is written
   * any more when it resolves, also when the replica had failed.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#loop.isUp ? this.#stop(graceMs) : this.#loop.whenQuiet();
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    if (this.isLeader && heirsOf(this.#raft).length > 0) {
      // Consensus gives a transfer up after one election timeout; if nobody took over by then, nobody will.
      const untilMs = this.#clock.monotonicMs() + Math.min(graceMs, this.#electionTimeoutMsMax);
      await this.transferLeadership(null, untilMs).catch(() => {});
      await this.#answered(untilMs);
    }
    this.consuming.end(new TLedgerError('SHUTTING_DOWN'));
    this.parked.end();
    await this.#loop.stop();
  }

  /** Resolves when nobody waits any more for what the new leader commits, or at `untilMs`. */
  #answered(untilMs: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#loop.leading.waitingCount === 0 || this.#clock.monotonicMs() >= untilMs) resolve();
        else this.#clock.after(5, look);
      };
      look();
    });
  }

  #assertUp(): void {
    if (!this.#loop.isUp) throw new TLedgerError('SHUTTING_DOWN');
  }
}
