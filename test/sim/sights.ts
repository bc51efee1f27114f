// Recognises the situations of marks.ts as they pass: who falls, who meets whom, what logs look like from outside.
import type { LogIndex, Membership, MembershipEntry, NodeId, RaftMessage, Role } from '../../src/raft/types.ts';
import type { DiskFailure, DiskOperation } from '../../src/storage/memory_disk.ts';
import type { Mark, Marks } from './marks.ts';
import { numberOf } from './names.ts';
import type { SimNode } from './node.ts';

/** A node as it was seen last. */
export interface Glance {
  readonly role: Role;
  readonly term: number;
  readonly commit: number;
  readonly last: number;
  /** Number of the segment that the log ends in. */
  readonly segment: number;
}

/** Records that were removed because others took their place. */
export interface Replaced {
  /** Index and term of the first one. */
  readonly first: number;
  readonly term: number;
  /** How many nodes held that one until now. */
  readonly copies: number;
}

interface Pieces {
  readonly from: NodeId;
  readonly index: number;
  /** How far another leader had got with it. */
  readonly before: number;
  /** Lives of the node when it was sent the first one. */
  readonly life: number;
  offset: number;
  count: number;
  isDone: boolean;
}

interface SightsOptions {
  readonly nodes: readonly SimNode[];
  readonly marks: Marks;
  readonly segmentSizeBytes: number;
  readonly electionTimeoutMsMax: number;
  readonly preferredLeaders: readonly NodeId[];
}

/** See the head of the file. */
export class Sights {
  readonly #options: SightsOptions;
  readonly #candidates = new Map<number, NodeId>();
  readonly #contested = new Set<number>();
  /** The snapshot pieces that each node was last sent, and by whom. */
  readonly #pieces = new Map<NodeId, Pieces>();
  /** Who campaigned last because a leader asked for it. */
  #heir: NodeId | null = null;
  #latestTerm = 0;
  /** The latest term that had a leader. */
  #ledTerm = 0;
  #leaderSeenMs = 0;
  #isLeaderless = false;

  constructor(options: SightsOptions) {
    this.#options = options;
  }

  onSend(node: SimNode, message: RaftMessage): void {
    switch (message.type) {
      case 'vote-request':
        if (!message.preVote) this.#candidacy(node.id, message.term);
        if (message.transfer) this.#heir = node.id;
        return;
      case 'vote-response':
        if (!message.granted) this.#mark(message.preVote ? 'a pre-vote is refused' : 'a vote is refused');
        return;
      case 'snapshot':
        this.#pieceSent(message.from, message.to, message.index, message.offset);
        return;
      case 'append-response': {
        const { reject } = message;
        if (reject === null) return;
        const isShort = node.process !== null && node.process.log.lastIndex < reject.prevIndex;
        this.#mark(isShort ? 'an append is refused for its length' : 'an append is refused for its term');
        return;
      }
      default:
    }
  }

  onReceive(node: SimNode, message: RaftMessage): void {
    if (message.type === 'append-response' && node.process !== null && message.term < node.process.replica.term) {
      this.#mark('an acknowledgement of an earlier term arrives');
    }
  }

  /** What became of a node in one event. */
  onChange(node: SimNode, before: Glance, after: Glance, nowMs: number): void {
    if (after.role === 'leader') this.#led(nowMs);
    if (before.role === 'leader' && (after.role !== 'leader' || after.term !== before.term)) {
      this.#fell(node, before, after, nowMs);
    }
    if (before.role === 'candidate' && after.role === 'follower' && before.term === after.term) {
      this.#mark('a candidate gives way in its own term');
    }
    if (after.role === 'leader' && before.role !== 'leader') this.#rose(node, after);
    if (after.role === 'leader' && after.commit > before.commit) this.#committed(node, before, after);
    if (after.commit >= before.commit + 50 && before.last > 0) this.#mark('fifty records are committed at once');
    const { electionTimeoutMsMax } = this.#options;
    if (!this.#isLeaderless && nowMs - this.#leaderSeenMs > 10 * electionTimeoutMsMax) {
      this.#isLeaderless = true;
      this.#mark('ten election timeouts without a leader');
    }
  }

  /** Another membership is in force on a node. @param committed up to where the log is committed. */
  onMembership(
    node: SimNode,
    before: Membership | null,
    { membership, index }: MembershipEntry,
    committed: number,
  ): void {
    const isJoint = membership.outgoing.length > 0;
    if (before === null) return;
    const wasJoint = before.outgoing.length > 0;
    const isTurned = isJoint && wasJoint && membership.voters.join() === before.outgoing.join();
    if (isTurned) this.#mark('joint consensus is turned around');
    const { replica } = node.process!;
    if (!replica.isLeader) return;
    if (isJoint && !membership.voters.includes(node.id)) this.#mark('a leader removes itself');
    if (index <= committed) return;
    const promoted = membership.voters.find((id) => before.learners.some((learner) => learner.id === id));
    const behind = promoted === undefined ? undefined : this.#pieces.get(promoted);
    if (behind !== undefined) this.#mark('a learner is promoted after a snapshot');
  }

  /** The membership in force on a node is an earlier one again. */
  onMembershipTakenBack(from: Membership): void {
    if (from.outgoing.length > 0) this.#mark('joint consensus is taken back by another leader');
  }

  /** A log begins later than before. @param last where it ended before. */
  onBase(node: SimNode, base: number, last: number): void {
    if (last >= base && node.process!.log.lastIndex >= last) {
      this.#mark('a log is cut');
      const isSending = [...this.#pieces.values()].some(({ from }) => from === node.id);
      if (isSending && node.process!.replica.isLeader) this.#mark('a log is cut while a follower is sent a snapshot');
      return;
    }
    this.#mark('a snapshot is installed');
    const pieces = this.#pieces.get(node.id);
    if (pieces !== undefined) pieces.isDone = true;
    if (last > base) this.#mark('a snapshot replaces a longer log');
  }

  /** A node has removed records. */
  onReplaced(node: SimNode, before: Glance, { first, term, copies }: Replaced): void {
    this.#mark('one record is replaced');
    if (before.last >= first + 4) this.#mark('five records are replaced');
    if (term < before.term - 1) this.#mark('a record of an earlier term is replaced');
    if (copies * 2 > this.#options.nodes.length) this.#mark('a record on a majority is replaced (figure 8, d)');
    const { endPosition } = node.process!.log;
    if (endPosition < before.segment * this.#options.segmentSizeBytes) this.#mark('a segment is taken back');
  }

  onStart(node: SimNode): void {
    const { recovery } = node.process!.log;
    if (node.process!.isRestored) this.#mark('a start restores the state from a snapshot');
    if (recovery.bytesCut > 0) this.#mark('a torn tail is cut');
    if (recovery.indexRebuilt) this.#mark('the log index is made anew');
    if (recovery.recordsScanned >= 50) this.#mark('a restart scans 50 records');
  }

  /** A process dies at a step of its disk. */
  onDeathAt(node: SimNode, { kind, path }: DiskOperation): void {
    if (path.endsWith('hardstate')) this.#mark('death while a vote is saved');
    if (kind === 'create' && path.includes('commitlog')) this.#mark('death while a segment is begun');
    if (kind === 'truncate' && path.includes('commitlog')) this.#mark('death in a truncation');
    if (path.includes('/snapshot/')) this.#mark('death while a snapshot arrives');
    if (path.includes('consumequeue') && kind.startsWith('flush')) this.#mark('death while state is saved');
    if (node.process === null) this.#mark('death in a recovery');
  }

  onDiskFailure(node: SimNode, { kind }: DiskOperation, effect: DiskFailure): void {
    if (effect !== 'EIO') this.#mark('a disk fills up');
    else if (kind === 'read') this.#mark('a read fails');
    if (!kind.startsWith('flush') || node.process === null) return;
    this.#mark(node.process.replica.isLeader ? 'a flush fails at the leader' : 'a flush fails at a follower');
  }

  onEnd(node: SimNode): void {
    const { nodes } = this.#options;
    if (nodes.every((other) => other === node || other.process === null)) this.#mark('all nodes are down');
    if (node.process === null) return;
    if (node.process.log.base.index > node.process.broker.appliedIndex)
      this.#mark('death while a snapshot is installed');
    if (!node.process.replica.isLeader) return;
    const { membership } = node.process.replica.membership;
    if (membership.outgoing.length > 0) this.#mark('the leader dies in joint consensus');
    if (nodes.every(({ process }) => process !== null)) this.#mark('the leader dies with all its followers up');
  }

  #candidacy(id: NodeId, term: number): void {
    const known = this.#candidates.get(term);
    if (known !== undefined && known !== id && !this.#contested.has(term)) {
      this.#contested.add(term);
      this.#mark('two candidates in one term');
    }
    if (known === undefined) this.#candidates.set(term, id);
    if (term > this.#latestTerm) {
      if (this.#candidates.has(this.#latestTerm) && this.#ledTerm < this.#latestTerm) {
        this.#mark('a term without a leader');
      }
      this.#latestTerm = term;
    }
  }

  #pieceSent(from: NodeId, to: NodeId, index: number, offset: number): void {
    const known = this.#pieces.get(to);
    const life = this.#options.nodes[numberOf(to)]!.lives;
    if (known === undefined || known.index !== index || known.from !== from) {
      if (known === undefined || known.isDone || known.index !== index) this.#mark('a follower is behind the cut');
      const before = known?.index === index ? known.offset : 0;
      this.#pieces.set(to, { from, index, before, life, offset, count: 1, isDone: false });
      return;
    }
    if (offset === known.offset) this.#mark('a piece is sent again');
    const isTakenUp = known.before > 0 && known.offset < known.before && offset >= known.before;
    if (isTakenUp) this.#mark('a snapshot goes on where another leader left it');
    if (offset > known.offset && ++known.count === 10) this.#mark('a snapshot is sent in ten pieces');
    if (offset > known.offset && life > known.life) this.#mark('a snapshot goes on after a restart');
    known.offset = offset;
  }

  #led(nowMs: number): void {
    this.#leaderSeenMs = nowMs;
    this.#isLeaderless = false;
  }

  #rose(node: SimNode, after: Glance): void {
    this.#ledTerm = Math.max(this.#ledTerm, after.term);
    if (this.#heir === node.id && this.#options.preferredLeaders[0] === node.id)
      this.#mark('a preferred leader takes over');
    const { membership } = node.process!.replica.membership;
    if (membership.outgoing.length > 0) this.#mark('an election in joint consensus');
    const isSending = [...this.#pieces.values()].some(({ isDone }) => !isDone);
    if (isSending) this.#mark('an election while a snapshot is sent');
    const { nodes } = this.#options;
    for (const other of nodes) {
      if (other === node || other.process === null) continue;
      if (other.process.replica.isLeader) this.#mark('two nodes believe to lead');
      if (other.process.log.lastIndex > after.last) this.#mark('a new leader is behind another node');
      if (other.process.log.lastIndex < after.last - 100) this.#mark('a follower is 100 records behind');
    }
    // The no-op is the last record; what lies before it and is not committed is of earlier terms.
    const old = after.last - 1;
    if (old <= after.commit) return;
    const copies = nodes.filter(({ process }) => holds(process, node, old)).length;
    if (copies * 2 > nodes.length) this.#mark('an old record on a majority is not committed (figure 8, c)');
  }

  #committed(node: SimNode, before: Glance, after: Glance): void {
    if (node.process!.log.termAt((before.commit + 1) as LogIndex) >= after.term) return;
    this.#mark('a no-op commits records of earlier terms');
  }

  #fell(node: SimNode, before: Glance, after: Glance, nowMs: number): void {
    this.#mark(
      after.term > before.term ? 'a leader learns of a later term' : 'a leader hears no majority and steps down',
    );
    if (before.last > before.commit) this.#mark('a leader falls with records uncommitted');
    const { process } = node;
    if (process === null) return;
    if (process.log.termAt(before.commit as LogIndex) < before.term) {
      this.#mark('a leader falls before its no-op is committed');
    }
    const { stalledUntilMs } = process.life;
    if (stalledUntilMs > 0 && nowMs - stalledUntilMs < 1) this.#mark('a leader wakes up deposed');
  }

  /** Something was recognised elsewhere. */
  reach(mark: Mark): void {
    this.#mark(mark);
  }

  #mark(mark: Mark): void {
    this.#options.marks.reach(mark);
  }
}

function holds(process: SimNode['process'], as: SimNode, index: number): boolean {
  if (process === null || process.log.lastIndex < index) return false;
  const at = index as LogIndex;
  return process.log.termAt(at) === as.process!.log.termAt(at);
}
