// What must hold at every moment, seen by somebody who knows all nodes at once. The checker keeps one truth: the
// committed log, record by record, as the first node that knew of a commit had it. Everything else is held against it.
import { assert } from '../../src/base/assert.ts';
import { TLedgerError } from '../../src/base/errors.ts';
import { APPLIED_KEY } from '../../src/broker/state_tables.ts';
import { membershipsIn } from '../../src/format/membership.ts';
import { bodyCrcAt, chainCrcAt, sizeAt } from '../../src/format/record.ts';
import type { LogIndex, Membership, MembershipEntry, NodeId, RaftMessage, Role } from '../../src/raft/types.ts';
import type { ReplicaStatus } from '../../src/replica/types.ts';
import { checkKeys } from './keys.ts';
import { numberOf } from './names.ts';
import type { Process, SimNode } from './node.ts';
import type { Sights } from './sights.ts';
import { checkStep, hold, isQuorum, isVoter, Truth, UNIT_BYTES } from './truth.ts';

/** What was seen of a node in its present life. */
interface Seen {
  process: unknown;
  role: Role;
  term: number;
  commit: number;
  applied: number;
  last: number;
  lastChain: number;
  segment: number;
  base: number;
  ledTerm: number;
  ledSinceMs: number;
  hasCommitted: boolean;
  isNewLeader: boolean;
  haveMajoritiesChanged: boolean;
  committedInTerm: number;
  /** Since when it has waited for the same flush; null when it waits for none. */
  waitsSinceMs: number | null;
  flushCount: number;
}

/** Heartbeat rounds of one leader in one term. */
interface Rounds {
  readonly term: number;
  sent: number;
  readonly echoed: Map<NodeId, number>;
}

/** What the checker is told of the group. */
export interface CheckerOptions {
  readonly nodes: readonly SimNode[];
  /** Nothing is vouched for before it is flushed. */
  readonly isSync: boolean;
  readonly segmentSizeBytes: number;
  /** Whom the founders' configuration names. */
  readonly bootstrap: Membership;
  /** A flush that takes longer was noticed by then. */
  readonly hangMsMax: number;
  readonly sights: Sights;
}

/** Memberships in a node's log that it has taken over in its present life: ascending, the last is in force. */
type Adopted = MembershipEntry[];

/** See the head of the file. */
export class Checker {
  readonly truth: Truth;
  readonly #options: CheckerOptions;
  readonly #seen: Seen[];
  readonly #adopted: readonly Adopted[];
  /** In which look each node was found to go by another membership. */
  readonly #newIn: number[] = [];
  /** How far each node's log was flushed when it was seen last, be it alive or not. */
  readonly #flushed: number[];
  /** When each node last heard each other one as its leader. */
  readonly #heardMs: readonly Map<NodeId, number>[];
  readonly #rounds: Rounds[] = [];
  readonly #leaders = new Map<number, NodeId>();
  #ledTermMax = 0;
  readonly #votes = new Map<string, NodeId>();
  /** The chain of each record that each node holds, or held when its last process ended. */
  readonly #chains: readonly number[][];
  /** For each index, the chain of every (index, term) that any node ever held. */
  readonly #held: Map<number, number>[] = [];
  readonly counts = { leaders: 0, truncations: 0, memberships: 0, checks: 0 };

  constructor(options: CheckerOptions) {
    this.#options = options;
    this.truth = new Truth(options.bootstrap);
    this.#adopted = options.nodes.map(() => []);
    this.#flushed = options.nodes.map(() => 0);
    this.#seen = options.nodes.map(newSeen);
    this.#chains = options.nodes.map(() => [0]);
    this.#heardMs = options.nodes.map(() => new Map());
  }

  /** A message leaves: what it vouches for binds its sender for ever, whatever becomes of the process. */
  onSend(node: SimNode, message: RaftMessage): void {
    this.#options.sights.onSend(node, message);
    if (message.type === 'vote-response' && message.granted && !message.preVote) {
      this.#vote(node.id, message.term, message.to);
    } else if (message.type === 'vote-request') {
      this.#checkCandidate(node);
      if (!message.preVote) this.#vote(node.id, message.term, node.id);
    } else if (message.type === 'append') {
      this.#lead(node.id, message.term);
      const rounds = this.#roundsOf(node, message.term);
      rounds.sent = Math.max(rounds.sent, message.round);
    } else if (message.type === 'append-response' && node.process !== null) {
      const { match } = message;
      const { log } = node.process;
      hold(match <= log.lastIndex, () => `${node.id} vouches for ${match} and holds ${log.lastIndex}`);
      const isFlushed = match <= log.flushedIndex || !this.#options.isSync;
      hold(isFlushed, () => `${node.id} vouches for ${match} and has flushed ${log.flushedIndex}`);
    }
  }

  /** A process is ending: what it knew to be committed may be known to nobody else, but was perhaps answered for. */
  beforeEnd(node: SimNode): void {
    if (node.process === null || node.isClosing) return;
    lookAt(node, ({ replica, log }) => {
      const { committedIndex, term } = replica.status();
      const seen = this.#seen[node.number]!;
      // It may have vouched for what it has just written.
      if (seen.process === node.process) this.#logChanged(node, seen, log.lastIndex);
      this.#flushed[node.number] = log.flushedIndex;
      if (committedIndex > this.truth.last) this.#commit(node, committedIndex, term);
    });
  }

  /** A node has taken in a message; `termBefore` was its term. */
  afterReceive(node: SimNode, message: RaftMessage, termBefore: number, nowMs: number): void {
    if (node.process === null) return;
    const { replica } = node.process;
    const isPreVote = message.type === 'vote-request' && message.preVote;
    hold(!isPreVote || replica.term === termBefore, () => `${node.id}: a pre-vote changed the term`);
    const isAnswer = message.type === 'append-response' || message.type === 'snapshot-response';
    if (isAnswer && message.term === replica.term) {
      const { echoed } = this.#roundsOf(node, message.term);
      echoed.set(message.from, Math.max(echoed.get(message.from) ?? 0, message.round));
      this.#heardMs[node.number]!.set(message.from, nowMs);
    }
  }

  /** What is in force on each node, as far as it was seen; of one that is down, what was when it was seen last. */
  membershipsInForce(): Membership[] {
    return this.#adopted.flatMap((adopted) => {
      const last = adopted.at(-1);
      return last === undefined || last.membership.voters.length === 0 ? [] : [last.membership];
    });
  }

  /** The last round of heartbeats that a leader has sent. */
  roundSent(node: SimNode): number {
    return this.#roundsOf(node, node.process!.replica.term).sent;
  }

  /** A read without a lease: a majority has answered something that was sent after `round`, when it was asked for. */
  checkConfirmed(node: SimNode, round: number): void {
    const { replica } = node.process!;
    const { echoed } = this.#roundsOf(node, replica.term);
    const { membership } = replica.membership;
    hold(
      isQuorum(membership, (id) => id === node.id || (echoed.get(id) ?? 0) > round),
      () => {
        return `${node.id} confirms a read by what was said before it was asked for (round ${round})`;
      },
    );
  }

  #roundsOf({ number }: SimNode, term: number): Rounds {
    const known = this.#rounds[number];
    if (known?.term === term) return known;
    const rounds: Rounds = { term, sent: 0, echoed: new Map() };
    this.#rounds[number] = rounds;
    return rounds;
  }

  /** Whether the node's last event made it the leader. */
  isNewLeader(node: SimNode): boolean {
    const seen = this.#seen[node.number]!;
    const isNew = seen.isNewLeader;
    seen.isNewLeader = false;
    return isNew;
  }

  /** Whether the node leads, and its last event changed who decides. */
  haveMajoritiesChanged(node: SimNode): boolean {
    const seen = this.#seen[node.number]!;
    const have = seen.haveMajoritiesChanged;
    seen.haveMajoritiesChanged = false;
    return have && node.process?.replica.isLeader === true;
  }

  /** Whether the node leads and its last event committed something. */
  newlyCommitted(node: SimNode): { readonly isFirst: boolean } | null {
    const seen = this.#seen[node.number]!;
    if (!seen.hasCommitted || node.process === null || !node.process.replica.isLeader) return null;
    const isFirst = seen.committedInTerm !== seen.term;
    seen.committedInTerm = seen.term;
    return { isFirst };
  }

  /** Check-quorum: a leader that has not heard a majority for long, and had its chance to notice, is none any more. */
  checkQuorum(node: SimNode, nowMs: number, withinMs: number): void {
    const { process } = node;
    if (process === null || !process.replica.isLeader) return;
    const seen = this.#seen[node.number]!;
    // Of a damaged node it may not have been seen that it leads.
    if (seen.ledTerm !== process.replica.term) return;
    const since = Math.max(seen.ledSinceMs, process.life.stalledUntilMs);
    if (nowMs - since < withinMs) return;
    const heard = this.#heardMs[node.number]!;
    const isRecent = (id: NodeId): boolean => id === node.id || nowMs - (heard.get(id) ?? 0) < withinMs;
    const { membership } = process.replica.membership;
    hold(isQuorum(membership, isRecent), () => {
      return `${node.id} leads on though it hears too few of ${JSON.stringify(membership)}`;
    });
  }

  /** After each event of a node. */
  afterEvent(node: SimNode, nowMs: number): void {
    if (node.process === null || node.isClosing) return;
    this.counts.checks++;
    if (lookAt(node, () => this.#look(node, nowMs))) return;
    // What lies behind the damage can still be read; if this node leads, nobody else knows yet that it is committed.
    // Where it can not, whoever holds its last record, which is of the leader's own term, holds all before it, too.
    const { committedIndex, term } = node.process.replica.status();
    const holdsAll = ({ process }: SimNode): boolean => {
      if (process === null || process.log.lastIndex < committedIndex) return false;
      return process.log.base.index < committedIndex && process.log.termAt(committedIndex) === term;
    };
    for (const one of [node, ...this.#options.nodes.filter(holdsAll)]) {
      if (committedIndex <= this.truth.last) return;
      lookAt(one, () => this.#commit(one, committedIndex, term));
    }
  }

  /** Every message that the node shows of a queue is the one that was committed there. @returns how many it showed. */
  checkPage(node: SimNode, topic: string, queueId: number, offset: number, records: Buffer, count: number): number {
    const queue = this.truth.queue(topic, queueId);
    let seen = 0;
    for (let at = 0; at < records.length; at += sizeAt(records, at)) {
      const expected = queue[offset + seen];
      hold(expected !== undefined, () => `${node.id} shows ${topic}/${queueId}:${offset + seen}, never committed`);
      // The fields of a record's header are vouched for by the chain, which a reader does not follow; nobody reads them.
      const isIt = node.damage.has('log')
        ? bodyCrcAt(records, at) === expected.bodyCrc
        : chainCrcAt(records, at) === expected.chainCrc;
      hold(isIt && records.length >= at + sizeAt(records, at), () => {
        return `${node.id} shows another message at ${topic}/${queueId}:${offset + seen} (${bodyCrcAt(records, at)})`;
      });
      seen++;
    }
    hold(seen === count, () => `${node.id} says ${count} messages and shows ${seen}`);
    return seen;
  }

  /** Once all is quiet: every node has the same log, queues and state, and they are what the log says. */
  checkRest(nodes: readonly SimNode[]): void {
    for (const node of nodes) {
      node.observe(({ log, broker }) => {
        hold(broker.appliedIndex === this.truth.last, () => `${node.id} has applied ${broker.appliedIndex}`);
        hold(log.lastIndex === this.truth.last, () => `${node.id} holds ${log.lastIndex} of ${this.truth.last}`);
        const names = broker.topics().map((topic) => `${topic.name}/${topic.queues}`);
        const truth = [...this.truth.topics].map(([name, queues]) => `${name}/${queues}`).sort();
        hold(names.sort().join() === truth.join(), () => `${node.id} has the topics ${names.join()}`);
      });
      for (const [topic, queues] of this.truth.topics) {
        for (let queueId = 0; queueId < queues; queueId++) this.#checkQueue(node, topic, queueId);
        lookAt(node, ({ broker }) => checkKeys(node.id, broker, topic, queues));
      }
    }
  }

  /** Once all is saved, too: the files of the queues are what the log says, up to where the state of each node is saved. */
  checkFiles(nodes: readonly SimNode[]): void {
    for (const node of nodes) {
      const { id, storedIndex } = node;
      hold(storedIndex <= this.truth.last, () => `${id} has stored ${storedIndex} as applied, never committed`);
      for (const [topic, queues] of this.truth.topics) {
        for (let queueId = 0; queueId < queues; queueId++) this.#checkUnits(node, storedIndex, topic, queueId);
      }
    }
  }

  /** The state tables that the nodes have stored for the same applied index are the same. */
  checkTables(nodes: readonly SimNode[]): void {
    const tables = new Map<string, { readonly id: string; readonly text: string }>();
    for (const { id, medium } of nodes) {
      const entries = new Map(medium.durable);
      for (const changes of medium.unsynced) {
        for (const [key, value] of changes) {
          if (value === null) entries.delete(key);
          else entries.set(key, value);
        }
      }
      const applied = entries.get(APPLIED_KEY) ?? '';
      const text = JSON.stringify([...entries].flatMap(([key, value]) => replicatedPart(key, value)).sort());
      const known = tables.get(applied);
      if (known === undefined) tables.set(applied, { id, text });
      else hold(known.text === text, () => `the tables of ${known.id} and ${id} differ:\n${known.text}\n${text}`);
    }
  }

  #checkQueue(node: SimNode, topic: string, queueId: number): void {
    const queue = this.truth.queue(topic, queueId);
    lookAt(node, ({ broker, log }) => {
      const { min, max } = broker.range(topic, queueId);
      const first = this.truth.lengthAt(topic, queueId, log.base.index);
      hold(min === first && max === queue.length, () => {
        return `${node.id} has ${min}..${max} of ${topic}/${queueId}, not ${first}..${queue.length}`;
      });
      for (let offset: number = min; offset < max; ) {
        const page = broker.pull({ topic, queueId, offset: offset as typeof min, countMax: 1000, bytesMax: 1 << 20 });
        hold(page.count > 0, () => `${node.id} shows nothing at ${topic}/${queueId}:${offset}`);
        offset += this.checkPage(node, topic, queueId, offset, page.records, page.count);
      }
    });
  }

  /** The units of a queue whose state is saved are in its file. */
  #checkUnits(node: SimNode, storedIndex: number, topic: string, queueId: number): void {
    const first = this.truth.lengthAt(topic, queueId, node.process?.log.base.index ?? 0);
    const end = this.truth.lengthAt(topic, queueId, storedIndex);
    hold(end >= first, () => `${node.id} has stored less of ${topic}/${queueId} than its log has lost`);
    if (end === first || node.damage.has('queues')) return;
    const path = `${node.directory}/consumequeue/${topic}/${queueId}/${'0'.repeat(20)}`;
    node.isObserved = true;
    const bytes = node.disk.bytes(path).subarray(first * UNIT_BYTES, end * UNIT_BYTES);
    node.isObserved = false;
    const units = this.truth.queue(topic, queueId).slice(first, end);
    const expected = Buffer.concat(units.map(({ unit }) => unit));
    hold(bytes.equals(expected), () => `${node.id}: the units of ${topic}/${queueId} are not what the log says`);
  }

  #look(node: SimNode, nowMs: number): void {
    const { replica, log, broker, appliedAtStart } = node.process!;
    const seen = this.#seen[node.number]!;
    const status = replica.status();
    const { term, role, committedIndex: commit, lastIndex: last } = status;
    const applied = broker.appliedIndex;
    const segment = Math.floor(log.endPosition / this.#options.segmentSizeBytes);
    if (seen.process !== node.process) this.#begin(node, seen, appliedAtStart);
    hold(term >= seen.term, () => `${node.id}: the term fell from ${seen.term} to ${term}`);
    hold(commit >= seen.commit, () => `${node.id}: the commit index fell from ${seen.commit} to ${commit}`);
    hold(applied >= seen.applied, () => `${node.id}: the applied index fell from ${seen.applied} to ${applied}`);
    hold(commit <= last, () => `${node.id}: commit ${commit} is beyond the end ${last}`);
    // While a snapshot is being installed, consensus does not know yet that the log begins behind it.
    const known = Math.max(commit, appliedAtStart, log.base.index);
    hold(applied <= known, () => `${node.id}: applied ${applied} is beyond ${known}`);
    hold(status.flushedIndex <= last, () => `${node.id}: flushed ${status.flushedIndex} is beyond ${last}`);
    if (last !== seen.last || log.lastChain !== seen.lastChain || log.base.index !== seen.base) {
      this.#logChanged(node, seen, last);
    }
    this.#checkHealth(node, status, nowMs);
    this.#flushed[node.number] = status.flushedIndex;
    this.#checkMembership(node);
    if (commit > this.truth.last) {
      this.#checkCommitQuorum(node, commit, role);
      this.#commit(node, commit, term);
    }
    if (commit !== seen.commit || last < seen.last) this.#checkCommitted(node, commit);
    if (role === 'leader' && seen.ledTerm !== term) {
      this.#lead(node.id, term);
      this.#checkElected(node, term);
      this.#checkNewLeader(node, term, last);
      seen.ledTerm = term;
      seen.ledSinceMs = nowMs;
      seen.isNewLeader = true;
    }
    if (seen.term > 0) this.#options.sights.onChange(node, seen, { role, term, commit, last, segment }, nowMs);
    seen.role = role;
    seen.term = term;
    seen.hasCommitted = commit > seen.commit;
    seen.commit = commit;
    seen.applied = applied;
    seen.last = last;
    seen.lastChain = log.lastChain;
    seen.segment = segment;
    seen.base = log.base.index;
  }

  /** A node whose disk hangs neither leads nor campaigns, unless nobody else could. */
  #checkHealth(node: SimNode, { role, lastIndex, flushedIndex }: ReplicaStatus, nowMs: number): void {
    const seen = this.#seen[node.number]!;
    // A node of which nothing was seen for a while waits from when it is seen to wait, not from when it was last seen.
    if (lastIndex <= flushedIndex) seen.waitsSinceMs = null;
    else if (seen.waitsSinceMs === null || seen.flushCount !== node.flushCount) seen.waitsSinceMs = nowMs;
    seen.flushCount = node.flushCount;
    const { life, replica } = node.process!;
    // One that stops waits for its flush, and takes part in nothing any more.
    if (role === 'follower' || node.isStopping || seen.waitsSinceMs === null) return;
    const hangMs = nowMs - seen.waitsSinceMs;
    if (hangMs < this.#options.hangMsMax) return;
    if (nowMs - life.stalledUntilMs < this.#options.hangMsMax) return;
    const { voters, outgoing } = replica.membership.membership;
    hold(
      [...voters, ...outgoing].every((id) => id === node.id),
      () => {
        return `${node.id} is ${role} though its disk has hung for ${Math.round(hangMs)} ms`;
      },
    );
  }

  /** A process begins: what it never told anybody may be gone; what it told is checked as votes and acknowledgements. */
  #begin(node: SimNode, seen: Seen, appliedAtStart: number): void {
    Object.assign(seen, newSeen(), { process: node.process });
    this.#adopted[node.number]!.length = 0;
    this.#options.sights.onStart(node);
    hold(appliedAtStart <= this.truth.last, () => `${node.id} starts with ${appliedAtStart} applied, never committed`);
  }

  /** Log matching: a record's (index, term) names it and, through its chain, everything before it. */
  #logChanged(node: SimNode, seen: Seen, last: number): void {
    const { log } = node.process!;
    const chains = this.#chains[node.number]!;
    const base = log.base.index;
    let same = Math.min(last, chains.length - 1);
    while (same > Math.max(base, node.damagedUpTo) && chains[same] !== log.chainAt(same as LogIndex)) same--;
    const { consumption } = this.truth;
    consumption.cutIndex = Math.max(consumption.cutIndex, base);
    if (base > seen.base && seen.term > 0) this.#options.sights.onBase(node, base, seen.last);
    const isJump = same < base || (same === base && base > 0 && chains[base] !== log.base.chainCrc);
    if (isJump) same = base - 1;
    if (seen.last > same) this.#replaced(node, seen, same + 1);
    for (let index = same + 1; index <= last; index++) {
      const term = log.termAt(index as LogIndex);
      const chain = log.chainAt(index as LogIndex);
      chains[index] = chain;
      const held = this.#held[index] ?? new Map<number, number>();
      this.#held[index] = held;
      const known = held.get(term);
      if (known === undefined) held.set(term, chain);
      else hold(known === chain, () => `log matching: ${node.id} holds another record ${index} of term ${term}`);
    }
    chains.length = last + 1;
  }

  #replaced(node: SimNode, seen: Seen, first: number): void {
    this.#checkTakenBack(node, first);
    const removed = this.#chains[node.number]![first];
    // What lay behind the records that a snapshot brought may never have been here.
    if (removed === undefined) return;
    this.counts.truncations++;
    const copies = this.#chains.filter((chains) => chains[first] === removed).length;
    const [term] = [...this.#held[first]!].find(([, chain]) => chain === removed)!;
    this.#options.sights.onReplaced(node, seen, { first, term, copies });
  }

  #commit(node: SimNode, commit: number, term: number): void {
    const { log } = node.process!;
    const first = (this.truth.last + 1) as LogIndex;
    this.#checkCommitted(node, this.truth.last);
    const { buffer, start, end } = log.read(first, commit as LogIndex);
    let index: number = first;
    for (let at = start; at < end; at += sizeAt(buffer, at)) {
      const record = { chainCrc: chainCrcAt(buffer, at), term: log.termAt(index as LogIndex), committedInTerm: term };
      this.truth.add(record, buffer, at, log.locate(index as LogIndex).position);
      index++;
    }
    assert(index === commit + 1, 'the log gives all that it was asked for');
  }

  /** State machine safety: the node's committed prefix is the truth's. */
  #checkCommitted(node: SimNode, commit: number): void {
    if (commit <= node.damagedUpTo) return;
    const chain = node.process!.log.chainAt(commit as LogIndex);
    const { chainCrc } = this.truth.records[commit - 1]!;
    hold(chain === chainCrc, () => `${node.id} has committed another log up to ${commit}`);
  }

  /** The records that a leader commits are held durably by a majority of those whom its log names. */
  #checkCommitQuorum(node: SimNode, commit: number, role: Role): void {
    // Of what a follower learns of commits, the leader has known before; it may have died since, unseen in that moment.
    if (role !== 'leader') return;
    const { log, replica } = node.process!;
    const ofTerm = log.termAt(commit as LogIndex);
    hold(ofTerm === replica.term, () => `${node.id} commits ${commit}, of term ${ofTerm}, by counting (section 5.4.2)`);
    const chain = log.chainAt(commit as LogIndex);
    const isHeld = (id: NodeId): boolean => {
      const number = numberOf(id);
      // What a damaged disk holds cannot be seen.
      if (this.#options.nodes[number]!.isDamaged) return true;
      if (this.#options.isSync && this.#flushed[number]! < commit) return false;
      return this.#chains[number]![commit] === chain || this.#base(number) >= commit;
    };
    const { membership } = replica.membership;
    // In one event it may have committed by one membership, and then have gone on to the next.
    const before = this.#newIn[node.number] === this.counts.checks ? this.#adopted[node.number]!.at(-2) : undefined;
    const isAgreed = isQuorum(membership, isHeld) || (before !== undefined && isQuorum(before.membership, isHeld));
    hold(isAgreed, () => {
      return `${node.id} commits ${commit}, which no majority holds of ${JSON.stringify(membership)}`;
    });
  }

  #base(number: number): number {
    return this.#options.nodes[number]!.process?.log.base.index ?? 0;
  }

  /** A membership follows from the one before it, and a log holds no two that are not committed. */
  #checkMembership(node: SimNode): void {
    const adopted = this.#adopted[node.number]!;
    const entry = node.process!.replica.membership;
    const known = adopted.at(-1);
    if (known?.index === entry.index && known.membership === entry.membership) return;
    if (known !== undefined && entry.index < known.index) this.#options.sights.onMembershipTakenBack(known.membership);
    while (adopted.length > 0 && adopted.at(-1)!.index >= entry.index) adopted.pop();
    const before = adopted.at(-1);
    // A node that waited to be added knew nothing, and one that got a snapshot may have missed some.
    const hasMissed =
      before === undefined || before.membership.voters.length === 0 || before.index < this.#baseOf(node);
    if (!hasMissed) this.#checkSteps(node, before, entry);
    adopted.push(entry);
    const { voters, outgoing } = entry.membership;
    const isOther =
      before !== undefined && `${before.membership.voters}/${before.membership.outgoing}` !== `${voters}/${outgoing}`;
    this.#seen[node.number]!.haveMajoritiesChanged ||= isOther;
    this.#newIn[node.number] = this.counts.checks;
    this.counts.memberships++;
    const open = adopted.filter(
      ({ index }) => index > Math.max(this.truth.last, node.process!.replica.status().committedIndex),
    );
    hold(
      open.length <= 1 || isTurn(open),
      () => `${node.id} holds the memberships ${open.map(({ index }) => index).join()}`,
    );
    this.#options.sights.onMembership(node, before?.membership ?? null, entry, this.truth.last);
  }

  /** A membership goes with its record: what is in force lies in the log, or came with what it was cut off behind. */
  #checkTakenBack(node: SimNode, first: number): void {
    const { log, replica } = node.process!;
    const { index, membership } = replica.membership;
    if (index < first || index <= log.base.index) return;
    hold(index <= log.lastIndex, () => `${node.id} goes by the membership ${index}, which was removed`);
    const { buffer, start, end } = log.read(index, index);
    const [entry] = membershipsIn(buffer, start, end);
    hold(JSON.stringify(entry?.membership) === JSON.stringify(membership), () => {
      return `${node.id} goes by the membership ${index}, which was replaced`;
    });
  }

  /** A follower may have got several at once. */
  #checkSteps(node: SimNode, before: MembershipEntry, entry: MembershipEntry): void {
    let from = before.membership;
    const what = (): string => `${node.id}, membership ${entry.index}`;
    if (entry.index > before.index) {
      const { buffer, start, end } = node.process!.log.read((before.index + 1) as LogIndex, entry.index);
      for (const { membership } of membershipsIn(buffer, start, end)) {
        checkStep(from, membership, what);
        from = membership;
      }
    }
    checkStep(from, entry.membership, what);
  }

  #baseOf({ number }: SimNode): number {
    return this.#base(number);
  }

  /**
   * Only voters campaign, and those whose removal is not committed as far as they know: they may hold the only copies that
   * commit it (dissertation 4.2.2).
   */
  #checkCandidate(node: SimNode): void {
    if (node.process === null) return;
    const { index, membership } = node.process.replica.membership;
    const { memberships } = this.truth;
    const commit = node.process.replica.status().committedIndex;
    const from = memberships.findLastIndex((entry) => entry.index <= commit);
    const until = memberships.findIndex((entry) => entry.index >= index);
    const since = memberships.slice(Math.max(0, from), until < 0 ? undefined : until);
    const mayCampaign = [membership, ...since.map((entry) => entry.membership)].some((one) => isVoter(one, node.id));
    const { sights } = this.#options;
    if (this.truth.membership.addresses[node.id] === undefined) sights.reach('a removed node campaigns');
    if (!isVoter(membership, node.id)) sights.reach('a leader whose removal is not committed campaigns');
    hold(mayCampaign, () => `${node.id} campaigns without a vote in ${JSON.stringify(membership)}`);
  }

  /** A leader was elected by a majority of those whom its log names. */
  #checkElected(node: SimNode, term: number): void {
    const { membership } = node.process!.replica.membership;
    const isFor = (id: NodeId): boolean => this.#votes.get(`${id}/${term}`) === node.id;
    // Alone, it asks nobody.
    const isAlone = membership.voters.every((id) => id === node.id) && membership.outgoing.length === 0;
    hold(isAlone || isQuorum(membership, isFor), () => {
      return `${node.id} leads term ${term} without a majority of ${JSON.stringify(membership)}`;
    });
  }

  /** Leader completeness: a new leader holds all that was committed in earlier terms. */
  #checkNewLeader(node: SimNode, term: number, last: number): void {
    this.counts.leaders++;
    let committed = this.truth.last;
    while (committed > 0 && this.truth.records[committed - 1]!.committedInTerm >= term) committed--;
    hold(committed <= last, () => `${node.id} leads term ${term} with ${last} of ${committed} committed records`);
    this.#checkCommitted(node, committed);
  }

  #lead(id: NodeId, term: number): void {
    const known = this.#leaders.get(term);
    hold(known === undefined || known === id, () => `term ${term} has two leaders: ${known} and ${id}`);
    this.#leaders.set(term, id);
    this.#ledTermMax = Math.max(this.#ledTermMax, term);
  }

  /** Whether somebody has been elected in a later term than the node's: then it must not confirm any read. */
  isSuperseded(node: SimNode): boolean {
    return this.#ledTermMax > node.process!.replica.term;
  }

  #vote(voter: NodeId, term: number, candidate: NodeId): void {
    const key = `${voter}/${term}`;
    const known = this.#votes.get(key);
    hold(known === undefined || known === candidate, () => `${voter} votes for ${known} and ${candidate} in ${term}`);
    this.#votes.set(key, candidate);
  }
}

/** Rows as they are on all nodes; where a log was cut, and with it its queues, is each node's own affair. */
function replicatedPart(key: string, value: string): [key: string, value: string][] {
  if (key === 'base') return [];
  if (!key.startsWith('q/')) return [[key, value]];
  const [, max] = JSON.parse(value) as [min: number, max: number];
  return [[key, String(max)]];
}

/** Looks at what a node has. @returns false when something damaged was in the way. */
function lookAt(node: SimNode, look: (process: Process) => void): boolean {
  try {
    node.observe(look);
    return true;
  } catch (error) {
    if (!(error instanceof TLedgerError && error.code === 'DATA_CORRUPTED' && node.isDamaged)) throw error;
    return false;
  }
}

function newSeen(): Seen {
  const log = { commit: 0, applied: 0, last: 0, lastChain: 0, segment: 0, base: 0 };
  const terms = { term: 0, ledTerm: 0, ledSinceMs: 0, committedInTerm: 0, waitsSinceMs: null, flushCount: 0 };
  const flags = { hasCommitted: false, isNewLeader: false, haveMajoritiesChanged: false };
  return { process: null, role: 'follower', ...log, ...terms, ...flags };
}

/** A change-over and its turn: the majorities are the same, so that both may wait. */
function isTurn(open: readonly MembershipEntry[]): boolean {
  return open.every(({ membership }, at) => {
    const before = open[at - 1]?.membership;
    return before === undefined || (isJointOf(before, membership) && isJointOf(membership, before));
  });
}

function isJointOf(one: Membership, other: Membership): boolean {
  return one.voters.join() === other.outgoing.join() && one.outgoing.length > 0;
}
