// What must hold at every moment, seen by somebody who knows all nodes at once. The checker keeps one truth: the
// committed log, record by record, as the first node that knew of a commit had it. Everything else is held against it.
import { assert } from '../../src/base/assert.ts';
import { decodeCommand } from '../../src/broker/commands.ts';
import {
  decodeMessageRecord,
  hasProducerStamp,
  locateParts,
  NO_PRODUCER,
  newParts,
  producerIdOf,
  sequenceOf,
  tagHash,
} from '../../src/format/message.ts';
import { bodyCrcAt, chainCrcAt, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../../src/format/record.ts';
import type { LogIndex, NodeId, RaftMessage } from '../../src/raft/types.ts';
import { DIRECTORY, type SimNode } from './node.ts';

const UNIT_BYTES = 20;

/** A promise of the group was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** @throws Violation */
export function hold(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new Violation(what());
}

/** A committed message, where it stands in its queue. */
export interface TrueMessage {
  readonly index: number;
  readonly chainCrc: number;
  readonly body: string;
  readonly producerId: string;
  readonly sequence: number;
  /** The consume queue unit that it must have on every node. */
  readonly unit: Buffer;
}

interface TrueRecord {
  readonly chainCrc: number;
  readonly term: number;
  /** Term of the leader that committed it: every later leader must hold it. */
  readonly committedInTerm: number;
}

/** What was seen of a node in its present life. */
interface Seen {
  process: unknown;
  term: number;
  commit: number;
  applied: number;
  last: number;
  lastChain: number;
  ledTerm: number;
  ledSinceMs: number;
  hasCommitted: boolean;
  isNewLeader: boolean;
  committedInTerm: number;
}

/** The committed log and what follows from it, made without the broker's code. */
export class Truth {
  readonly records: TrueRecord[] = [];
  readonly queues = new Map<string, TrueMessage[]>();
  readonly topics = new Map<string, number>();
  readonly producers = new Map<string, number>();
  /** Where each body was first committed. */
  readonly bodies = new Map<string, TrueMessage>();
  messageCount = 0;

  get last(): number {
    return this.records.length;
  }

  queue(topic: string, queueId: number): readonly TrueMessage[] {
    return this.queues.get(`${topic}/${queueId}`) ?? [];
  }

  add(record: TrueRecord, bytes: Buffer, at: number, position: number): void {
    this.records.push(record);
    const end = at + sizeAt(bytes, at);
    const magic = magicAt(bytes, at);
    if (magic === recordMagic.command) this.#addTopic(bytes.subarray(at + RECORD_HEADER_BYTES, end));
    if (magic === recordMagic.message) this.#addMessage(bytes, at, end, position);
  }

  #addTopic(body: Buffer): void {
    const { topic } = decodeCommand(body);
    hold(!this.topics.has(topic.name), () => `topic ${topic.name} is committed twice`);
    this.topics.set(topic.name, topic.queues);
  }

  #addMessage(bytes: Buffer, at: number, end: number, position: number): void {
    const index = this.last;
    const message = decodeMessageRecord(bytes, at, end);
    hold(message !== undefined, () => `record ${index} is no message`);
    const key = `${message.topic}/${message.queueId}`;
    const queue = this.queues.get(key) ?? [];
    hold(message.queueId < (this.topics.get(message.topic) ?? 0), () => `record ${index} is for no queue: ${key}`);
    hold(message.queueOffset === queue.length, () => {
      return `queue offsets are dense: record ${index} has ${message.queueOffset} in ${key}, not ${queue.length}`;
    });
    const bodyAt = position + RECORD_HEADER_BYTES;
    hold(message.physicalOffset === bodyAt, () => `record ${index} names the place ${message.physicalOffset}`);
    const parts = newParts();
    locateParts(bytes, at + RECORD_HEADER_BYTES, end, parts);
    const stamped = hasProducerStamp(bytes, parts);
    const producerId = stamped ? producerIdOf(bytes, parts) : NO_PRODUCER;
    const sequence = stamped ? sequenceOf(bytes, parts) : 0;
    if (producerId !== NO_PRODUCER) {
      const before = this.producers.get(producerId) ?? 0;
      hold(sequence === before + 1, () => `producer ${producerId}: ${sequence} follows ${before} in the log`);
      this.producers.set(producerId, sequence);
    }
    const unit = Buffer.alloc(UNIT_BYTES);
    unit.writeBigUInt64BE(BigInt(bodyAt), 0);
    unit.writeUInt32BE(end - at - RECORD_HEADER_BYTES, 8);
    unit.writeBigInt64BE(BigInt(message.tag === undefined ? 0 : tagHash(message.tag)), 12);
    const body = message.body.toString('latin1');
    const { chainCrc } = this.records[index - 1]!;
    const known = this.bodies.get(body);
    hold(
      known === undefined,
      () => `the message ${body.slice(0, 40)} is committed twice: ${known?.index} and ${index}`,
    );
    const entry = { index, chainCrc, body, producerId, sequence, unit };
    this.bodies.set(body, entry);
    queue.push(entry);
    this.queues.set(key, queue);
    this.messageCount++;
  }
}

/** See the head of the file. */
export class Checker {
  readonly truth = new Truth();
  readonly #isSync: boolean;
  readonly #seen: Seen[];
  /** When each node last heard each other one as its leader. */
  readonly #heardMs: readonly Map<NodeId, number>[];
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  /** For each index, the chain of every (index, term) that any node ever held. */
  readonly #held: Map<number, number>[] = [];
  readonly counts = { leaders: 0, truncations: 0, checks: 0 };

  /** @param isSync nothing is vouched for before it is flushed. */
  constructor(nodes: readonly SimNode[], isSync: boolean) {
    this.#isSync = isSync;
    this.#seen = nodes.map(newSeen);
    this.#heardMs = nodes.map(() => new Map());
  }

  /** A message leaves: what it vouches for binds its sender for ever, whatever becomes of the process. */
  onSend(node: SimNode, message: RaftMessage): void {
    if (message.type === 'vote-response' && message.granted && !message.preVote) {
      this.#vote(node.id, message.term, message.to);
    } else if (message.type === 'vote-request' && !message.preVote) {
      this.#vote(node.id, message.term, node.id);
    } else if (message.type === 'append') {
      this.#lead(node.id, message.term);
    } else if (message.type === 'append-response' && node.process !== null) {
      const { match } = message;
      const { log } = node.process;
      hold(match <= log.lastIndex, () => `${node.id} vouches for ${match} and holds ${log.lastIndex}`);
      const isFlushed = match <= log.flushedIndex || !this.#isSync;
      hold(isFlushed, () => `${node.id} vouches for ${match} and has flushed ${log.flushedIndex}`);
    }
  }

  /** A process is ending: what it knew to be committed may be known to nobody else, but was perhaps answered for. */
  beforeEnd(node: SimNode): void {
    if (node.process === null) return;
    node.observe(({ replica }) => {
      const { committedIndex, term } = replica.status();
      if (committedIndex > this.truth.last) this.#commit(node, committedIndex, term);
    });
  }

  /** A node has taken in a message; `termBefore` was its term. */
  afterReceive(node: SimNode, message: RaftMessage, termBefore: number, nowMs: number): void {
    if (node.process === null) return;
    const { replica } = node.process;
    const isPreVote = message.type === 'vote-request' && message.preVote;
    hold(!isPreVote || replica.term === termBefore, () => `${node.id}: a pre-vote changed the term`);
    if (message.type === 'append-response' && message.term === replica.term) {
      this.#heardMs[node.number]!.set(message.from, nowMs);
    }
  }

  /** Whether the node's last event made it the leader. */
  isNewLeader(node: SimNode): boolean {
    const seen = this.#seen[node.number]!;
    const isNew = seen.isNewLeader;
    seen.isNewLeader = false;
    return isNew;
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
    const since = Math.max(seen.ledSinceMs, process.life.stalledUntilMs);
    if (nowMs - since < withinMs) return;
    const heard = this.#heardMs[node.number]!;
    let recent = 1;
    for (const atMs of heard.values()) if (nowMs - atMs < withinMs) recent++;
    hold(recent * 2 > this.#seen.length, () => `${node.id} leads on though it hears ${recent} of ${this.#seen.length}`);
  }

  /** After each event of a node. */
  afterEvent(node: SimNode, nowMs: number): void {
    if (node.process === null) return;
    this.counts.checks++;
    node.observe(() => this.#look(node, nowMs));
  }

  /** Every message that the node shows of a queue is the one that was committed there. @returns how many it showed. */
  checkPage(node: SimNode, topic: string, queueId: number, offset: number, records: Buffer, count: number): number {
    const queue = this.truth.queue(topic, queueId);
    let seen = 0;
    for (let at = 0; at < records.length; at += sizeAt(records, at)) {
      const expected = queue[offset + seen];
      hold(expected !== undefined, () => `${node.id} shows ${topic}/${queueId}:${offset + seen}, never committed`);
      hold(chainCrcAt(records, at) === expected.chainCrc && records.length >= at + sizeAt(records, at), () => {
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
      const applied = entries.get('applied') ?? '';
      const text = JSON.stringify([...entries].sort());
      const known = tables.get(applied);
      if (known === undefined) tables.set(applied, { id, text });
      else hold(known.text === text, () => `the tables of ${known.id} and ${id} differ:\n${known.text}\n${text}`);
    }
  }

  #checkQueue(node: SimNode, topic: string, queueId: number): void {
    const queue = this.truth.queue(topic, queueId);
    node.observe(({ broker }) => {
      const { min, max } = broker.range(topic, queueId);
      hold(min === 0 && max === queue.length, () => `${node.id} has ${min}..${max} of ${topic}/${queueId}`);
      for (let offset: number = min; offset < max; ) {
        const page = broker.pull({ topic, queueId, offset: offset as typeof min, countMax: 1000, bytesMax: 1 << 20 });
        hold(page.count > 0, () => `${node.id} shows nothing at ${topic}/${queueId}:${offset}`);
        offset += this.checkPage(node, topic, queueId, offset, page.records, page.count);
      }
    });
    if (queue.length === 0) return;
    const path = `${DIRECTORY}/consumequeue/${topic}/${queueId}/${'0'.repeat(20)}`;
    node.isObserved = true;
    const bytes = node.disk.bytes(path).subarray(0, queue.length * UNIT_BYTES);
    node.isObserved = false;
    const expected = Buffer.concat(queue.map(({ unit }) => unit));
    hold(bytes.equals(expected), () => `${node.id}: the units of ${topic}/${queueId} are not what the log says`);
  }

  #look(node: SimNode, nowMs: number): void {
    const { replica, log, broker, appliedAtStart } = node.process!;
    const seen = this.#seen[node.number]!;
    const status = replica.status();
    const { term, role, committedIndex: commit, lastIndex: last } = status;
    const applied = broker.appliedIndex;
    if (seen.process !== node.process) {
      const fresh = newSeen();
      // Of a term that a process never told anybody of nothing need be left; told ones are checked as votes.
      this.#seen[node.number] = Object.assign(seen, fresh, { process: node.process });
      hold(
        appliedAtStart <= this.truth.last,
        () => `${node.id} starts with ${appliedAtStart} applied, never committed`,
      );
    }
    hold(term >= seen.term, () => `${node.id}: the term fell from ${seen.term} to ${term}`);
    hold(commit >= seen.commit, () => `${node.id}: the commit index fell from ${seen.commit} to ${commit}`);
    hold(applied >= seen.applied, () => `${node.id}: the applied index fell from ${seen.applied} to ${applied}`);
    hold(commit <= last, () => `${node.id}: commit ${commit} is beyond the end ${last}`);
    hold(applied <= Math.max(commit, appliedAtStart), () => `${node.id}: applied ${applied} is beyond ${commit}`);
    hold(status.flushedIndex <= last, () => `${node.id}: flushed ${status.flushedIndex} is beyond ${last}`);
    if (last !== seen.last || log.lastChain !== seen.lastChain) this.#logChanged(node, seen, last);
    if (commit > this.truth.last) this.#commit(node, commit, term);
    if (commit !== seen.commit || last < seen.last) this.#checkCommitted(node, commit);
    if (role === 'leader' && seen.ledTerm !== term) {
      this.#lead(node.id, term);
      this.#checkNewLeader(node, term, last);
      seen.ledTerm = term;
      seen.ledSinceMs = nowMs;
      seen.isNewLeader = true;
    }
    seen.term = term;
    seen.hasCommitted = commit > seen.commit;
    seen.commit = commit;
    seen.applied = applied;
    seen.last = last;
    seen.lastChain = log.lastChain;
  }

  /** Log matching: a record's (index, term) names it and, through its chain, everything before it. */
  #logChanged(node: SimNode, seen: Seen, last: number): void {
    const { log } = node.process!;
    // After a start the end is enough: its chain stands for all before it.
    let first = seen.last === 0 ? Math.min(last, this.truth.last) : seen.last + 1;
    if (
      (seen.last > 0 && last <= seen.last) ||
      (seen.last > 0 && log.chainAt(seen.last as LogIndex) !== seen.lastChain)
    ) {
      this.counts.truncations++;
      // What was replaced begins no earlier than the first record whose chain is not known to be the old one.
      first = Math.min(last, seen.last);
      while (first > 1 && this.#held[first]?.get(log.termAt(first as LogIndex)) !== log.chainAt(first as LogIndex)) {
        first--;
      }
    }
    for (let index = Math.max(1, first); index <= last; index++) {
      const term = log.termAt(index as LogIndex);
      const chain = log.chainAt(index as LogIndex);
      const held = this.#held[index] ?? new Map<number, number>();
      this.#held[index] = held;
      const known = held.get(term);
      if (known === undefined) held.set(term, chain);
      else hold(known === chain, () => `log matching: ${node.id} holds another record ${index} of term ${term}`);
    }
  }

  #commit(node: SimNode, commit: number, term: number): void {
    const { log } = node.process!;
    const first = (this.truth.last + 1) as LogIndex;
    if (this.truth.last > 0) this.#checkCommitted(node, this.truth.last);
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
    if (commit === 0) return;
    const chain = node.process!.log.chainAt(commit as LogIndex);
    const { chainCrc } = this.truth.records[commit - 1]!;
    hold(chain === chainCrc, () => `${node.id} has committed another log up to ${commit}`);
  }

  /** Leader completeness: a new leader holds all that was committed in earlier terms. */
  #checkNewLeader(node: SimNode, term: number, last: number): void {
    this.counts.leaders++;
    let committed = this.truth.last;
    while (committed > 0 && this.truth.records[committed - 1]!.committedInTerm >= term) committed--;
    hold(committed <= last, () => `${node.id} leads term ${term} with ${last} of ${committed} committed records`);
    if (committed > 0) this.#checkCommitted(node, committed);
  }

  #lead(id: NodeId, term: number): void {
    const known = this.#leaders.get(term);
    hold(known === undefined || known === id, () => `term ${term} has two leaders: ${known} and ${id}`);
    this.#leaders.set(term, id);
  }

  #vote(voter: NodeId, term: number, candidate: NodeId): void {
    const key = `${voter}/${term}`;
    const known = this.#votes.get(key);
    hold(known === undefined || known === candidate, () => `${voter} votes for ${known} and ${candidate} in ${term}`);
    this.#votes.set(key, candidate);
  }
}

function newSeen(): Seen {
  const numbers = { term: 0, commit: 0, applied: 0, last: 0, lastChain: 0, ledTerm: 0, ledSinceMs: 0 };
  return { process: null, ...numbers, hasCommitted: false, isNewLeader: false, committedInTerm: 0 };
}
