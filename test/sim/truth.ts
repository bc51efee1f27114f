// The committed log as it should be, and what follows from it, made without the broker's code: the one truth that all nodes
// and all answers are held against.
import { decodeCommand } from '../../src/broker/commands.ts';
import { decodeMembership } from '../../src/format/membership.ts';
import {
  decodeMessageRecord,
  decodeProperties,
  hasProducerStamp,
  locateParts,
  NO_PRODUCER,
  newParts,
  producerIdOf,
  sequenceOf,
  tagHash,
} from '../../src/format/message.ts';
import { bodyCrcAt, flagsAt, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../../src/format/record.ts';
import type { LogIndex, Membership, MembershipEntry, NodeId } from '../../src/raft/types.ts';
import { Consumption, DEAD_LETTERS } from './consumption.ts';
import { hold } from './violation.ts';

export { hold, Violation } from './violation.ts';

/** Bytes of one entry of a consume queue. */
export const UNIT_BYTES = 20;

/** A committed message, where it stands in its queue. */
export interface TrueMessage {
  readonly index: number;
  readonly chainCrc: number;
  readonly bodyCrc: number;
  readonly body: string;
  readonly producerId: string;
  readonly sequence: number;
  /** The consume queue unit that it must have on every node. */
  readonly unit: Buffer;
}

/** A committed record. */
export interface TrueRecord {
  readonly chainCrc: number;
  readonly term: number;
  /** Term of the leader that committed it: every later leader must hold it. */
  readonly committedInTerm: number;
}
/** The committed log and what follows from it, made without the broker's code. */
export class Truth {
  readonly records: TrueRecord[] = [];
  readonly queues = new Map<string, TrueMessage[]>();
  readonly topics = new Map<string, number>();
  readonly producers = new Map<string, number>();
  /** Where each body was first committed. */
  readonly bodies = new Map<string, TrueMessage>();
  /** The committed memberships; the first is what the configuration named. */
  readonly memberships: MembershipEntry[];
  /** Consumers, messages that are held back, message ids. */
  readonly consumption = new Consumption();
  messageCount = 0;

  constructor(bootstrap: Membership) {
    this.memberships = [{ index: 0 as LogIndex, membership: bootstrap }];
    this.consumption.indexOf = (topic, queueId, offset) => this.queue(topic, queueId)[offset]?.index ?? Infinity;
  }

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
    if (magic === recordMagic.command) this.#addCommand(bytes.subarray(at + RECORD_HEADER_BYTES, end));
    if (magic === recordMagic.message) this.#addMessage(bytes, at, end, position);
    if (magic === recordMagic.membership) this.#addMembership(bytes.subarray(at + RECORD_HEADER_BYTES, end));
  }

  /** Messages of a queue in the first records of the log. */
  lengthAt(topic: string, queueId: number, index: number): number {
    const queue = this.queue(topic, queueId);
    const at = queue.findIndex((message) => message.index > index);
    return at < 0 ? queue.length : at;
  }

  /** Who belongs to the group, by what is committed. */
  get membership(): Membership {
    return this.memberships.at(-1)!.membership;
  }

  #addMembership(body: Buffer): void {
    const membership = decodeMembership(body);
    checkStep(this.membership, membership, () => `membership ${this.last}`);
    this.memberships.push({ index: this.last as LogIndex, membership });
  }

  #addCommand(body: Buffer): void {
    const command = decodeCommand(body);
    if (command.type === 'add-queues') {
      const queues = this.topics.get(command.name);
      if (queues !== undefined) this.topics.set(command.name, Math.max(queues, command.queues));
      return;
    }
    if (command.type !== 'create-topic') return this.consumption.apply(command, this.last);
    const { topic } = command;
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
    const body = message.body.toString('latin1');
    const flags = flagsAt(bytes, at);
    if (flags !== 0) {
      const { topic, storedAtMs } = message;
      const parts = newParts();
      locateParts(bytes, at + RECORD_HEADER_BYTES, end, parts);
      const all = decodeProperties(bytes, parts.propertiesStart, parts.propertiesEnd);
      if (!this.consumption.store({ index, flags, topic, body, storedAtMs, properties: all })) return;
    }
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
    const { chainCrc } = this.records[index - 1]!;
    // A dead letter is a copy, and what is repeated after the window is another message.
    const isCopy = message.topic.startsWith(DEAD_LETTERS) || this.consumption.doubled.has(body);
    const name = isCopy ? `${body} ${index}` : body;
    const known = this.bodies.get(name);
    hold(
      known === undefined,
      () => `the message ${body.slice(0, 40)} is committed twice: ${known?.index} and ${index}`,
    );
    const entry = { index, chainCrc, bodyCrc: bodyCrcAt(bytes, at), body, producerId, sequence, unit };
    this.bodies.set(name, entry);
    queue.push(entry);
    this.queues.set(key, queue);
    this.messageCount++;
  }
}

/** Whether so many make a majority: one of the voters, and one of those who go while the group changes over. */
export function isQuorum({ voters, outgoing }: Membership, has: (id: NodeId) => boolean): boolean {
  return [voters, outgoing].every((side) => side.length === 0 || side.filter(has).length * 2 > side.length);
}

/** Whether a node has a vote. */
export function isVoter({ voters, outgoing }: Membership, id: NodeId): boolean {
  return voters.includes(id) || outgoing.includes(id);
}

/**
 * One membership follows another only if any majority of the one meets any majority of the other: voters stay, or change
 * through joint consensus (paper, section 6).
 */
export function checkStep(from: Membership, to: Membership, what: () => string): void {
  const same = (a: readonly NodeId[], b: readonly NodeId[]): boolean => a.join() === b.join();
  const keeps = same(from.voters, to.voters) && same(from.outgoing, to.outgoing);
  const enters = from.outgoing.length === 0 && same(to.outgoing, from.voters);
  const leaves = from.outgoing.length > 0 && to.outgoing.length === 0 && same(to.voters, from.voters);
  const turns = from.outgoing.length > 0 && same(to.voters, from.outgoing) && same(to.outgoing, from.voters);
  hold(keeps || enters || leaves || turns, () => {
    return `${what()} changes voters in one step: ${JSON.stringify(from)} and ${JSON.stringify(to)}`;
  });
}
