// Where a reader does best to go on: whoever is so far behind that the leader's memory does not hold what it wants is
// sent to a follower, and back when it has caught up (RocketMQ's rule of 40 % and 30 % of the memory). Only advice: every
// member answers every reader, with committed messages only.
import { totalmem } from 'node:os';
import type { MemberAddress } from '../wire/ledger_messages.ts';
import type { Gateway } from './gateway.ts';

/** Share of the memory that the end of the log may be thought to be in. */
const MEMORY_SHARE = 0.4;
/** Who is sent back has caught up to so much of the backlog that it was sent away for. */
const RETURN_SHARE = 0.75;

/** The backlog, in bytes of the log, beyond which a reader is sent to a follower: 40 % of what this process may use. */
export function backlogBytesOfMemory(): number {
  // 0 or an absurd number when there is no limit.
  const limit = process.constrainedMemory() || totalmem();
  return Math.floor(MEMORY_SHARE * Math.min(limit, totalmem()));
}

/** What one node advises its readers. */
export class ReadAdvice {
  readonly #gateway: Gateway;
  readonly #backlogBytes: number;
  #turn = 0;

  /** @param backlogBytes from which the leader sends readers to a follower. */
  constructor(gateway: Gateway, backlogBytes: number) {
    this.#gateway = gateway;
    this.#backlogBytes = backlogBytes;
  }

  /** For a single read: null: stay here. */
  once(backlogBytes: number): MemberAddress | null {
    if (!this.#isLeader) return this.hasCaughtUp(backlogBytes) ? this.leader() : null;
    return this.isFarBehind(backlogBytes) ? this.#follower(this.#turn++) : null;
  }

  /** For one that goes on reading here; it is sent to one and the same follower until it goes. */
  reader(): ReaderAdvice {
    return new ReaderAdvice(this, this.#turn++);
  }

  isFarBehind(backlogBytes: number): boolean {
    return backlogBytes > this.#backlogBytes;
  }

  hasCaughtUp(backlogBytes: number): boolean {
    return backlogBytes <= RETURN_SHARE * this.#backlogBytes;
  }

  /** A follower, when this node leads. */
  follower(turn: number): MemberAddress | null {
    return this.#isLeader ? this.#follower(turn) : null;
  }

  /** The leader, when it is another node. */
  leader(): MemberAddress | null {
    const leader = this.#gateway.leader();
    if (leader === null || this.#isLeader) return null;
    return { nodeId: leader.nodeId, clientAddress: leader.clientAddress };
  }

  get #isLeader(): boolean {
    return this.#gateway.leader()?.nodeId === this.#gateway.nodeId;
  }

  /** One that gets all records as they come; readers are spread over those. */
  #follower(turn: number): MemberAddress | null {
    const { nodeId: self, members } = this.#gateway;
    const states = this.#gateway.replication();
    const able = members.members.filter(({ nodeId, role }) => {
      return nodeId !== self && role !== 'leaving' && states.get(nodeId) === 'replicate';
    });
    const chosen = able[turn % able.length];
    return chosen === undefined ? null : { nodeId: chosen.nodeId, clientAddress: chosen.clientAddress };
  }
}

/** What one reader is advised; it may read several queues. */
export class ReaderAdvice {
  readonly #advice: ReadAdvice;
  readonly #turn: number;
  readonly #backlogs = new Map<number, number>();
  /** Whether it was behind at some time, so that it may have been sent here for that. */
  #wasBehind = false;

  constructor(advice: ReadAdvice, turn: number) {
    this.#advice = advice;
    this.#turn = turn;
  }

  /** After a read of a queue that left `backlogBytes`: where to go on, if not here. */
  after(queueId: number, backlogBytes: number): MemberAddress | null {
    this.#backlogs.set(queueId, backlogBytes);
    const worst = Math.max(...this.#backlogs.values());
    if (this.#advice.isFarBehind(worst)) {
      this.#wasBehind = true;
      return this.#advice.follower(this.#turn);
    }
    if (!this.#advice.hasCaughtUp(worst)) this.#wasBehind = true;
    else if (this.#wasBehind) return this.#advice.leader();
    return null;
  }
}
