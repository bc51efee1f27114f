// The Raft core: one member of one group. Pure, synchronous and deterministic: inputs are method calls that carry the
// time, and everything to be done about them comes out of `ready()`. This file decides who leads; follower.ts and
// leadership.ts do what each role does.
import { assert, unreachable } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { type Campaign, Election } from './election.ts';
import { FollowerLog } from './follower.ts';
import { Leadership } from './leadership.ts';
import { emptyOutbox, RaftState } from './state.ts';
import {
  type HardState,
  type LogIndex,
  type LogShape,
  logIndex,
  type NodeId,
  type RaftConfig,
  type RaftMessage,
  type RaftStatus,
  type Ready,
  type RecordSizer,
  type Role,
  type Term,
  type TimeoutNow,
} from './types.ts';

/** What a member starts from. */
export interface RaftOptions {
  readonly config: RaftConfig;
  /** As it was last flushed; term 0 and no vote for a new member. */
  readonly hardState: HardState;
  /** The log as recovered; all of it counts as flushed. */
  readonly log: LogShape;
  /** What is known to be committed from before, e.g. because it was applied; the log's base by default. */
  readonly commit?: LogIndex;
  readonly sizer: RecordSizer;
  readonly random: Random;
  readonly nowMs: number;
}

/**
 * One member of a Raft group.
 *
 * The owner calls `ready()` after each input and does what it says, in its order, before the next input. Times are
 * milliseconds of one monotonic clock. A peer counts as connected until `peerDown` says otherwise.
 */
export class Raft {
  readonly #state: RaftState;
  readonly #sizer: RecordSizer;
  readonly #election: Election;
  readonly #follower: FollowerLog;
  readonly #down = new Set<NodeId>();
  /** Present exactly while this member leads. */
  #leadership: Leadership | null = null;

  /** @throws InvariantError when the options contradict themselves. */
  constructor(options: RaftOptions) {
    checkConfig(options.config);
    this.#state = new RaftState(options.config, options.hardState, options.log, options.nowMs, options.commit);
    this.#sizer = options.sizer;
    this.#election = new Election(this.#state, options.random);
    this.#follower = new FollowerLog(this.#state);
  }

  get id(): NodeId {
    return this.#state.id;
  }

  get role(): Role {
    return this.#state.role;
  }

  get isLeader(): boolean {
    return this.#leadership !== null;
  }

  /** Whether this leader is handing over, and so proposes nothing. */
  get isTransferring(): boolean {
    return this.#leadership !== null && this.#leadership.transferee !== null;
  }

  get term(): Term {
    return this.#state.term;
  }

  /** The leader of the current term, if known. */
  get leader(): NodeId | null {
    return this.#state.leader;
  }

  /** Last committed index. It may be ahead of what is flushed here. */
  get commit(): LogIndex {
    return this.#state.commit;
  }

  get lastIndex(): LogIndex {
    return this.#state.log.lastIndex;
  }

  /** Last index that is durable here. */
  get flushedIndex(): LogIndex {
    return this.#state.flushedIndex;
  }

  /** Counts removed suffixes; see `flushed`. */
  get truncationCount(): number {
    return this.#state.truncationCount;
  }

  /** When `tick` next has something to do. */
  get deadlineMs(): number {
    return this.#leadership === null ? this.#election.deadlineMs : this.#leadership.deadlineMs;
  }

  status(): RaftStatus {
    const { id, role, term, leader, commit, flushedIndex } = this.#state;
    const progress = this.#leadership?.status() ?? [];
    const transferee = this.#leadership?.transferee ?? null;
    return { id, role, term, leader, lastIndex: this.lastIndex, flushedIndex, commit, progress, transferee };
  }

  /** Fires the timers that are due. */
  tick(nowMs: number): void {
    this.#begin(nowMs);
    if (this.#leadership !== null) {
      if (!this.#leadership.tick()) this.#becomeFollower(this.#state.term, null);
      return;
    }
    if (nowMs < this.#election.deadlineMs) return;
    this.#election.fired();
    this.#campaign('pre-vote');
  }

  /** Takes in a message of another member. A stranger's is ignored; a late or repeated one does no harm. */
  step(message: RaftMessage, nowMs: number): void {
    this.#begin(nowMs);
    const { id, quorum } = this.#state;
    if (message.to !== id || message.from === id || !quorum.isVoter(message.from)) return;
    if (message.term > this.#state.term && !this.#meetHigherTerm(message)) return;
    if (message.term < this.#state.term) {
      this.#answerLowerTerm(message);
      return;
    }
    switch (message.type) {
      case 'vote-request':
        this.#election.answer(message, this.#inLease());
        break;
      case 'vote-response':
        this.#election.count(message);
        this.#concludeVote();
        break;
      case 'append':
        assert(this.#leadership === null, 'a term has at most one leader (§5.2, election safety)');
        this.#becomeFollower(message.term, message.from);
        this.#election.heardLeader();
        this.#follower.step(message);
        break;
      case 'append-response':
        this.#leadership?.respond(message);
        break;
      case 'timeout-now':
        this.#onTimeoutNow(message);
        break;
      default:
        unreachable(message);
    }
  }

  /**
   * Takes indexes for `count` new records of this leader. The owner writes them, then calls `ready()`.
   * @throws TLedgerError NOT_LEADER, TRANSFERRING
   */
  propose(count: number): { readonly firstIndex: LogIndex; readonly term: Term } {
    assert(this.#state.outbox.noop === null, 'the no-op is written before any other record of the term');
    return this.#mustLead().propose(count);
  }

  /**
   * Records up to `index`, the last of which has term `recordTerm`, are durable here. A completion that comes late, for
   * records that have been replaced meanwhile, is recognised by its term and ignored.
   * @param truncationCount the value of `truncationCount` when this flush began. It catches the one case that the term
   *   does not: a record was removed and came back with the same index and term while its first flush was under way.
   */
  flushed(index: LogIndex, recordTerm: Term, truncationCount = this.truncationCount): void {
    const { log } = this.#state;
    if (truncationCount !== this.#state.truncationCount || !log.matches(index, recordTerm)) return;
    if (!this.#state.advanceFlushed(index)) return;
    if (this.#leadership !== null) this.#leadership.countCommit();
    else if (this.#state.role === 'follower') this.#follower.flushed();
  }

  /**
   * Hands leadership to `target`: no proposals until it has taken over, or until one electionTimeoutMsMax has passed or
   * its connection drops; `ready().stateChanged` reports both (dissertation §3.10).
   * @throws TLedgerError NOT_LEADER, UNKNOWN_NODE, INVALID_ARGUMENT (target leads already), TRANSFERRING
   */
  transferLeadership(target: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    const leadership = this.#mustLead();
    if (!this.#state.quorum.isVoter(target)) throw new TLedgerError('UNKNOWN_NODE', `No voter is called ${target}.`);
    if (target === this.#state.id) throw new TLedgerError('INVALID_ARGUMENT', `${target} leads already.`);
    leadership.transfer(target);
  }

  /**
   * Asks for an index that covers everything committed before this call; it comes back in `ready().reads` once a
   * majority has confirmed the leadership, or in `ready().abortedReads` (dissertation §6.4).
   * @param token chosen by the caller to recognise the answer.
   * @throws TLedgerError NOT_LEADER, OVERLOADED
   */
  readIndex(token: number, nowMs: number): void {
    this.#begin(nowMs);
    this.#mustLead().readIndex(token);
  }

  /** The transport can reach `peer`: a leader probes it at once. */
  peerUp(peer: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    if (!this.#state.peers.includes(peer)) return;
    this.#down.delete(peer);
    this.#leadership?.connect(peer);
  }

  /**
   * The transport lost `peer`, and with it what was under way. A leader sends it nothing until `peerUp`; a follower
   * that lost its leader asks for a pre-vote soon. A hint only: timeouts do the same, later.
   */
  peerDown(peer: NodeId, nowMs: number): void {
    this.#begin(nowMs);
    if (!this.#state.peers.includes(peer)) return;
    this.#down.add(peer);
    this.#leadership?.disconnect(peer);
    if (peer === this.#state.leader) this.#election.suspectLeader();
  }

  /** What the inputs since the last call ask for, each thing once. A leader's appends are put together here. */
  ready(): Ready {
    this.#leadership?.collect();
    const { outbox, term, vote, commit } = this.#state;
    this.#state.outbox = emptyOutbox();
    return {
      hardState: outbox.hardStateChanged ? { term, vote } : null,
      noop: outbox.noop,
      append: outbox.append,
      messages: outbox.messages,
      commit,
      reads: outbox.reads,
      abortedReads: outbox.abortedReads,
      stateChanged: outbox.stateChanged,
    };
  }

  #begin(nowMs: number): void {
    const { noop, append } = this.#state.outbox;
    assert(noop === null && append === null, 'records of one input are taken over (ready) before the next input');
    this.#state.observe(nowMs);
  }

  #mustLead(): Leadership {
    if (this.#leadership !== null) return this.#leadership;
    const { leader } = this.#state;
    throw new TLedgerError('NOT_LEADER', leader === null ? 'The group has no known leader.' : `${leader} leads.`);
  }

  /**
   * A message of a later term. Adopts the term, unless the message only asks what would happen in it (pre-vote) or
   * disturbs a leader that is alive.
   * @returns whether the message is to be handled.
   */
  #meetHigherTerm(message: RaftMessage): boolean {
    if (message.type === 'vote-request' && message.preVote) return true;
    if (message.type === 'vote-response' && message.preVote && message.granted) return true;
    if (message.type === 'vote-request' && !message.transfer && this.#inLease()) return false;
    this.#becomeFollower(message.term, null);
    return true;
  }

  /**
   * A message of an earlier term. Its sender learns the current one: else a leader would never hear of a member whose
   * term ran ahead, and that member, refusing to vote for anybody behind it, would never come back.
   */
  #answerLowerTerm(message: RaftMessage): void {
    const { id, term: ownTerm } = this.#state;
    const head = { from: id, to: message.from, term: ownTerm } as const;
    if (message.type === 'append') {
      this.#state.send({ ...head, type: 'append-response', match: logIndex(0), round: 0, reject: null });
    } else if (message.type === 'vote-request') {
      this.#state.send({ ...head, type: 'vote-response', preVote: message.preVote, granted: false });
    }
  }

  #onTimeoutNow(message: TimeoutNow): void {
    const { leader, role } = this.#state;
    if (role === 'leader' || role === 'candidate' || (leader !== null && leader !== message.from)) return;
    this.#campaign('transfer');
  }

  #campaign(kind: Campaign): void {
    assert(this.#leadership === null, 'a leader does not campaign');
    this.#election.campaign(kind);
    this.#concludeVote();
  }

  #concludeVote(): void {
    const outcome = this.#election.outcome;
    if (outcome === 'lost') this.#becomeFollower(this.#state.term, null);
    if (outcome !== 'won') return;
    if (this.#state.role === 'pre-candidate') this.#campaign('vote');
    else this.#becomeLeader();
  }

  #becomeLeader(): void {
    assert(this.#state.role === 'candidate', 'only a candidate wins an election');
    this.#state.setRole('leader');
    this.#state.setLeader(this.#state.id);
    this.#leadership = new Leadership(this.#state, this.#sizer, (peer) => !this.#down.has(peer));
  }

  #becomeFollower(newTerm: Term, leader: NodeId | null): void {
    if (this.#leadership !== null) {
      this.#leadership.abortReads();
      this.#leadership = null;
      this.#election.arm();
    }
    if (newTerm > this.#state.term) this.#state.enterTerm(newTerm);
    assert(newTerm === this.#state.term, 'terms only rise');
    const known = this.#state.leader;
    assert(leader === null || known === null || known === leader, 'a term has at most one leader (§5.2)');
    this.#state.setRole('follower');
    this.#state.setLeader(leader);
  }

  /** Stickiness: whether this member knows of a leader that is alive, itself included. */
  #inLease(): boolean {
    if (this.#leadership === null) return this.#election.inLease();
    return this.#leadership.heardQuorumWithin(this.#state.config.electionTimeoutMsMin);
  }
}

function checkConfig(config: RaftConfig): void {
  assert(config.heartbeatIntervalMs > 0, 'heartbeats have an interval');
  assert(config.electionTimeoutMsMin > config.heartbeatIntervalMs, 'an election timeout outlasts a heartbeat interval');
  assert(
    config.electionTimeoutMsMax >= config.electionTimeoutMsMin,
    'the longest election timeout is not the shortest',
  );
  assert(config.appendBytesMax > 0, 'an append message has room for bytes');
}
