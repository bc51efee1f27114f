// A group of simulated members with a network in which nothing moves by itself: tests deliver, drop and repeat
// messages, move time, crash and restart. The checker watches every event.
import { assert } from '../../../src/base/assert.ts';
import { bootstrap } from '../../../src/raft/membership.ts';
import type { Raft } from '../../../src/raft/raft.ts';
import {
  type MemberAddress,
  type Membership,
  type MembershipChange,
  type NodeId,
  type RaftConfig,
  term,
} from '../../../src/raft/types.ts';
import { Checker } from './checker.ts';
import { type Envelope, Member, type MemberObserver } from './member.ts';

export interface GroupOptions {
  /** Members of the beginning, n0 n1 … */
  readonly size?: number;
  /** Nodes after them that wait to be added. */
  readonly spare?: number;
  readonly seed?: number;
  readonly config?: Partial<RaftConfig>;
  readonly recordSizeBytes?: number;
  readonly pieceBytesMax?: number;
  /** Where messages go; the group's own `network` when left out. */
  readonly transport?: (envelope: Envelope) => void;
  /** Sees what the checker sees, after it. */
  readonly observer?: MemberObserver;
}

export class Group {
  readonly members = new Map<NodeId, Member>();
  readonly checker: Checker;
  /** Messages on their way, oldest first. */
  network: Envelope[] = [];
  nowMs = 0;
  readonly #cuts = new Set<string>();
  readonly #transport: (envelope: Envelope) => void;
  #deliveredMax = 20_000;

  constructor(options: GroupOptions = {}) {
    const { size = 3, spare = 0, seed = 1, recordSizeBytes = 100, pieceBytesMax = 50 } = options;
    const voters = Array.from({ length: size }, (_, at) => `n${at}`);
    this.checker = new Checker(() => this.all);
    this.#transport = options.transport ?? ((envelope) => this.network.push(envelope));
    const observer = both(this.checker, options.observer);
    for (let at = 0; at < size + spare; at++) {
      const config = { ...defaultConfig, ...options.config, id: `n${at}` };
      const bootstrap = founded(at < size ? voters : []);
      const member = new Member({ config, bootstrap, seed: seed * 100 + at, observer, recordSizeBytes, pieceBytesMax });
      this.members.set(config.id, member);
    }
  }

  get all(): Member[] {
    return [...this.members.values()];
  }

  get up(): Member[] {
    return this.all.filter((member) => member.isUp);
  }

  /** The leader of the highest term among the members that are up. */
  get leader(): Member | undefined {
    return this.up.filter(({ core }) => core.isLeader).sort((a, b) => b.core.term - a.core.term)[0];
  }

  member(id: NodeId): Member {
    const member = this.members.get(id);
    assert(member !== undefined, `the group has a member ${id}`);
    return member;
  }

  raft(id: NodeId): Raft {
    return this.member(id).core;
  }

  /** Gives a member a past: a log with these terms, and a hard state. To be called before it starts. */
  preload(id: NodeId, terms: readonly number[], hardTerm = terms.at(-1) ?? 0, vote: NodeId | null = null): this {
    const { durable } = this.member(id);
    durable.log.append(terms.map((recordTerm, at) => ({ term: term(recordTerm), value: `r${at + 1}@${recordTerm}` })));
    durable.hardState = { term: term(hardTerm), vote };
    return this;
  }

  /** Starts every member that is down. */
  start(): this {
    for (const member of this.all) if (!member.isUp) member.start(this.nowMs);
    return this;
  }

  /** Puts on the network what a member's input gave. */
  send(envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) this.#transport(envelope);
  }

  /** Runs an input of one member. */
  input(id: NodeId, run: (raft: Raft, nowMs: number) => void): void {
    this.send(this.member(id).input((raft) => run(raft, this.nowMs), this.nowMs));
  }

  /** Asks a leader for a change of the membership. @returns index of its record. */
  change(id: NodeId, change: MembershipChange): number {
    let index = 0;
    this.input(id, (raft, nowMs) => {
      index = raft.changeMembership(change, nowMs);
    });
    return index;
  }

  /** Asks a leader to add a member with the address that its name gives it. */
  add(id: NodeId, added: NodeId, options: { promote?: boolean; replaces?: NodeId } = {}): number {
    const { promote = true, replaces = null } = options;
    return this.change(id, { type: 'add', id: added, address: addressOf(added), promote, replaces });
  }

  propose(id: NodeId, ...values: string[]): void {
    this.send(this.member(id).propose(values));
  }

  /** Waits (in simulated time) for one member's timer, and fires it alone. */
  fireTimer(id: NodeId): void {
    const member = this.member(id);
    this.nowMs = Math.max(this.nowMs, member.core.deadlineMs);
    this.send(member.tick(this.nowMs));
  }

  /** Delivers one message now, if both ends are up and connected. */
  deliver(envelope: Envelope): void {
    const { from, to } = envelope.message;
    const receiver = this.member(to);
    if (!receiver.isUp || this.isCut(from, to)) return;
    this.send(receiver.step(envelope, this.nowMs));
  }

  /** Delivers everything on the network, and what follows from it, until nothing moves. */
  settle(): void {
    for (let count = 0; this.network.length > 0; count++) {
      assert(count < this.#deliveredMax, 'the group comes to rest');
      this.deliver(this.network.shift()!);
    }
  }

  /** Delivers what is on the network, and what follows from it, until `isDone` or nothing moves. */
  settleUntil(isDone: () => boolean): void {
    for (let count = 0; this.network.length > 0 && !isDone(); count++) {
      assert(count < this.#deliveredMax, 'the group comes to rest');
      this.deliver(this.network.shift()!);
    }
    assert(isDone(), 'what is waited for happens');
  }

  /** Delivers the messages that match, those that follow from them included; the others stay. */
  settleOnly(matches: (envelope: Envelope) => boolean): void {
    for (let chosen = this.take(matches); chosen.length > 0; chosen = this.take(matches)) {
      for (const envelope of chosen) this.deliver(envelope);
    }
  }

  /** Takes the messages that match off the network. */
  take(matches: (envelope: Envelope) => boolean): Envelope[] {
    const taken = this.network.filter(matches);
    this.network = this.network.filter((envelope) => !matches(envelope));
    return taken;
  }

  /** Lets time pass: timers fire in order, and messages arrive at once. */
  advance(ms: number): void {
    const untilMs = this.nowMs + ms;
    this.settle();
    for (let count = 0; ; count++) {
      assert(count < this.#deliveredMax, 'every timer that fires is set anew');
      const due = this.up
        .filter(({ core }) => core.deadlineMs <= untilMs)
        .sort((a, b) => a.core.deadlineMs - b.core.deadlineMs)[0];
      if (due === undefined) break;
      this.fireTimer(due.id);
      this.settle();
    }
    this.nowMs = untilMs;
  }

  /** Makes `id` the leader by letting its timer be the one that fires. */
  elect(id: NodeId): Member {
    // Long enough for every lease to have run out, while nobody else's timer fires.
    const { electionTimeoutMsMin } = this.member(id).options.config;
    this.nowMs = Math.max(this.nowMs + electionTimeoutMsMin, this.raft(id).deadlineMs);
    this.send(this.member(id).tick(this.nowMs));
    this.settle();
    assert(this.raft(id).isLeader, `${id} wins the election`);
    return this.member(id);
  }

  /** Runs until there is a leader that everybody who is up follows. */
  awaitLeader(limitMs = 20_000): Member {
    const untilMs = this.nowMs + limitMs;
    while (this.nowMs < untilMs) {
      this.advance(10);
      const { leader } = this;
      if (leader !== undefined && this.up.every(({ core }) => core.leader === leader.id)) return leader;
    }
    assert(false, 'a leader is elected in time');
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  /** Messages from `from` to `to` are lost from now on. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  /** Cuts a member off from all others, both ways. */
  isolate(id: NodeId): void {
    for (const other of this.members.keys()) {
      if (other === id) continue;
      this.cut(id, other);
      this.cut(other, id);
    }
  }

  heal(): void {
    this.#cuts.clear();
  }

  crash(id: NodeId, keepOperations = 0): void {
    this.member(id).crash(keepOperations);
  }

  restart(id: NodeId): void {
    this.member(id).start(this.nowMs);
  }
}

/** The product's timing, with small windows so that tests reach them. */
export const defaultConfig: Omit<RaftConfig, 'id'> = {
  heartbeatIntervalMs: 100,
  idleHeartbeatIntervalMs: 100,
  electionTimeoutMsMin: 500,
  electionTimeoutMsMax: 1000,
  preferredLeaders: [],
  leaseReads: false,
  appendBytesMax: 1000,
  inflightCountMax: 4,
  inflightBytesMax: 3000,
};

/** Where a member of the tests is reached. */
export const addressOf = (id: NodeId): MemberAddress => ({ peer: `${id}:1`, client: `${id}:2` });

/** The membership of a group that these voters found. */
export function founded(voters: readonly NodeId[]): Membership {
  return bootstrap(Object.fromEntries(voters.map((id) => [id, addressOf(id)])));
}

function both(first: MemberObserver, second: MemberObserver | undefined): MemberObserver {
  if (second === undefined) return first;
  return {
    onStart: (member) => {
      first.onStart(member);
      second.onStart(member);
    },
    onWrite: (member, index, record, prevTerm) => {
      first.onWrite(member, index, record, prevTerm);
      second.onWrite(member, index, record, prevTerm);
    },
    onRestore: (member, snapshot) => {
      first.onRestore(member, snapshot);
      second.onRestore(member, snapshot);
    },
    onReady: (member, ready, sent) => {
      first.onReady(member, ready, sent);
      second.onReady(member, ready, sent);
    },
  };
}
