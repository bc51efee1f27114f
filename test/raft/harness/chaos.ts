// Random faults on a simulated group, from one seed: messages that are late, lost, repeated and overtaken, slow disks,
// crashes that lose what was not flushed, partitions (one-way ones too), transfers, and false alarms of the transport.
// The checker watches; afterwards everything heals, and the group must come to rest with all it acknowledged.
import { assert } from '../../../src/base/assert.ts';
import { TLedgerError } from '../../../src/base/errors.ts';
import { type Random, SeededRandom } from '../../../src/base/random.ts';
import { isUnfinished, membersOf } from '../../../src/raft/membership.ts';

import { logIndex, type MembershipChange, type NodeId } from '../../../src/raft/types.ts';
import { assertSamePrefix } from './checker.ts';
import { addressOf, Group } from './group.ts';
import type { CrashPoint, Envelope, Member } from './member.ts';

/** What goes wrong in a run, and how often. Probabilities are per event of the kind. */
export interface Profile {
  readonly name: string;
  readonly size: number;
  readonly loss: number;
  readonly duplicate: number;
  /** Longest delay of a message; each draws its own, so that messages overtake each other. */
  readonly delayMsMax: number;
  readonly flushMsMax: number;
  /** Chance that a member crashes when it is about to persist or send. */
  readonly crash: number;
  readonly downMsMax: number;
  readonly partition: number;
  /** Partitions and crashes strike the leader this often. */
  readonly targetLeader: number;
  readonly proposalsMax: number;
  /** Nodes that wait to be added. */
  readonly spare: number;
  /** Chances, each time one is considered, of a change of the membership, a log cut, an impairment. */
  readonly change: number;
  readonly compact: number;
  readonly impair: number;
}

/** What a run did, to tell a thorough one from an idle one. */
export interface ChaosReport {
  readonly events: number;
  readonly crashes: number;
  readonly leaders: number;
  readonly committed: number;
  readonly reads: number;
  /** Changes of the membership that were committed. */
  readonly changes: number;
  readonly restores: number;
  readonly simulatedMs: number;
}

interface Event {
  readonly atMs: number;
  readonly sequence: number;
  readonly run: () => void;
}

/** A binary heap of events by time, then by order of arrival. */
class Agenda {
  readonly #heap: Event[] = [];
  #sequence = 0;

  get size(): number {
    return this.#heap.length;
  }

  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  add(atMs: number, run: () => void): void {
    const event = { atMs, sequence: this.#sequence++, run };
    let at = this.#heap.push(event) - 1;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = this.#heap[(at - 1) >> 1]!;
      if (isBefore(parent, event)) break;
      this.#heap[at] = parent;
    }
    this.#heap[at] = event;
  }

  take(): Event {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence);
}

/** One seeded run. */
export class Chaos {
  readonly group: Group;
  readonly #profile: Profile;
  readonly #random: Random;
  readonly #agenda = new Agenda();
  readonly #flushFreeMs = new Map<NodeId, number>();
  #calm = false;
  #events = 0;
  #crashes = 0;
  #reads = 0;
  #underWay = 0;

  constructor(profile: Profile, seed: number) {
    this.#profile = profile;
    this.#random = new SeededRandom(seed);
    this.group = new Group({
      size: profile.size,
      spare: profile.spare,
      seed,
      pieceBytesMax: this.#random.between(1, 40) * 20,
      transport: (envelope) => this.#post(envelope),
      config: {
        heartbeatIntervalMs: 20,
        idleHeartbeatIntervalMs: this.#random.between(1, 2) * 20,
        electionTimeoutMsMin: 60,
        electionTimeoutMsMax: 120,
        appendBytesMax: this.#random.between(1, 4) * 100,
        inflightCountMax: this.#random.between(1, 6),
        inflightBytesMax: this.#random.between(1, 20) * 100,
        leaseReads: this.#chance(0.5),
        preferredLeaders: this.#chance(0.3) ? ['n1', 'n2'] : [],
      },
    });
    for (const member of this.group.all) member.autoFlush = false;
    this.group.start();
  }

  /** Lives with faults for `faultyMs`, then heals and must come to rest. @throws when a promise is broken. */
  run(faultyMs: number): ChaosReport {
    this.#schedule();
    this.#runUntil(faultyMs);
    this.#heal();
    this.#awaitRest();
    assertSamePrefix(this.group.all);
    return {
      events: this.#events,
      crashes: this.#crashes,
      leaders: this.group.checker.leaderCount,
      committed: this.group.checker.committedCount,
      reads: this.#reads,
      changes: this.group.checker.membershipCount,
      restores: this.group.checker.restoreCount,
      simulatedMs: this.group.nowMs,
    };
  }

  #runUntil(untilMs: number): void {
    for (;;) {
      const ticking = this.group.up.reduce<Member | null>(
        (first, member) => (first === null || member.core.deadlineMs < first.core.deadlineMs ? member : first),
        null,
      );
      const tickMs = ticking?.core.deadlineMs ?? Number.POSITIVE_INFINITY;
      const nextMs = Math.min(tickMs, this.#agenda.nextMs);
      if (nextMs > untilMs) break;
      assert(++this.#events < 200_000, 'the group does not live-lock');
      this.group.nowMs = Math.max(this.group.nowMs, nextMs);
      if (ticking !== null && tickMs === nextMs) this.#act(ticking, () => ticking.tick(this.group.nowMs));
      else this.#agenda.take().run();
    }
    this.group.nowMs = untilMs;
  }

  /** Runs one input of a member that is up, which may not survive it. */
  #act(member: Member, input: () => readonly Envelope[]): void {
    if (!member.isUp) return;
    const isVictim = member.core.isLeader ? 1 + this.#profile.targetLeader * 3 : 1;
    if (!this.#calm && this.#chance(this.#profile.crash * isVictim)) {
      member.crashPoint = this.#chance(0.5) ? 'before-persist' : ('before-send' satisfies CrashPoint);
    }
    try {
      this.group.send(input());
    } catch (error) {
      if (!(error instanceof TLedgerError)) throw error;
    }
    if (!member.isUp) this.#crashes++;
    if (!member.isUp) this.#restartLater(member);
    else this.#flushLater(member);
  }

  #flushLater(member: Member): void {
    if (!member.hasUnflushed) return;
    member.beginFlush();
    const startMs = Math.max(this.group.nowMs, this.#flushFreeMs.get(member.id) ?? 0);
    const doneMs = startMs + this.#random.next() * (this.#calm ? 2 : this.#profile.flushMsMax);
    this.#flushFreeMs.set(member.id, doneMs);
    const { raft } = member;
    this.#agenda.add(doneMs, () => {
      if (member.raft === raft) this.#act(member, () => member.completeFlush());
    });
  }

  #restartLater(member: Member): void {
    const delayMs = this.#random.next() * this.#profile.downMsMax;
    this.#agenda.add(this.group.nowMs + delayMs, () => {
      if (!member.isUp) member.start(this.group.nowMs);
    });
  }

  #post(envelope: Envelope): void {
    if (!this.#calm && this.#chance(this.#profile.loss)) return;
    assert(this.#underWay < 5000, 'no storm of messages');
    const copies = !this.#calm && this.#chance(this.#profile.duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      // A few are very late, so that they arrive in another term.
      const late = this.#chance(0.05) ? 10 : 1;
      const delayMs = this.#random.next() * (this.#calm ? 1 : this.#profile.delayMsMax * late);
      this.#underWay++;
      this.#agenda.add(this.group.nowMs + delayMs, () => {
        this.#underWay--;
        const { from, to } = envelope.message;
        const receiver = this.group.member(to);
        if (!this.group.isCut(from, to)) this.#act(receiver, () => receiver.step(envelope, this.group.nowMs));
      });
    }
  }

  /** The recurring part: clients, partitions, crashes, transfers, alarms. */
  #schedule(): void {
    this.#every(5, () => this.#propose());
    this.#every(17, () => this.#read());
    this.#every(40, () => this.#partition());
    this.#every(90, () => this.#strike());
    this.#every(70, () => this.#alarm());
    this.#every(150, () => this.#transfer());
    this.#every(60, () => this.#change());
    this.#every(50, () => this.#compact());
    this.#every(120, () => this.#impair());
  }

  #every(ms: number, run: () => void): void {
    const again = (): void => {
      if (this.#calm) return;
      run();
      this.#agenda.add(this.group.nowMs + ms * (0.5 + this.#random.next()), again);
    };
    this.#agenda.add(ms, again);
  }

  #propose(): void {
    const count = this.#random.between(1, this.#profile.proposalsMax);
    for (const member of this.group.up) {
      if (member.core.isLeader) this.#act(member, () => member.proposeCount(count));
    }
  }

  #read(): void {
    const token = ++this.#reads;
    this.group.checker.beginRead(token);
    for (const member of this.group.up) {
      if (!member.core.isLeader) continue;
      this.#act(member, () => member.input((raft) => raft.readIndex(token, this.group.nowMs)));
    }
  }

  #partition(): void {
    if (!this.#chance(this.#profile.partition)) {
      this.group.heal();
      return;
    }
    const victim = this.#victim();
    const others = this.group.all.filter(({ id }) => id !== victim.id);
    switch (this.#random.between(0, 3)) {
      case 0:
        this.group.isolate(victim.id);
        break;
      case 1:
        for (const { id } of others) this.group.cut(victim.id, id);
        break;
      case 2:
        for (const { id } of others) this.group.cut(id, victim.id);
        break;
      default:
        this.group.cut(victim.id, this.#pick(others).id);
    }
  }

  /** A sudden death that keeps some of the writes that were not flushed. */
  #strike(): void {
    const member = this.#victim();
    if (!member.isUp || !this.#chance(this.#profile.crash * 20)) return;
    const keep = this.#random.between(0, member.operationCount);
    member.crash(keep, this.#random.between(0, 2));
    this.#crashes++;
    this.#restartLater(member);
  }

  #alarm(): void {
    const member = this.#pick(this.group.all);
    const peer = this.#pick(this.group.all).id;
    if (!member.isUp || peer === member.id) return;
    this.#act(member, () => member.input((raft) => raft.peerDown(peer, this.group.nowMs)));
    this.#agenda.add(this.group.nowMs + this.#random.between(1, 30), () => {
      this.#act(member, () => member.input((raft) => raft.peerUp(peer, this.group.nowMs)));
    });
  }

  #transfer(): void {
    const leader = this.group.leader;
    const target = this.#pick(this.group.all).id;
    if (leader === undefined) return;
    this.#act(leader, () => leader.input((raft) => raft.transferLeadership(target, this.group.nowMs)));
  }

  #change(): void {
    const { leader } = this.group;
    if (leader === undefined || !this.#chance(this.#profile.change)) return;
    const id = this.#pick(this.group.all).id;
    const { voters } = leader.core.membership.membership;
    const changes: readonly MembershipChange[] = [
      { type: 'add', id, address: addressOf(id), promote: this.#chance(0.8), replaces: null },
      { type: 'add', id, address: addressOf(id), promote: true, replaces: this.#pick(voters) },
      { type: 'add', id, address: addressOf(id), promote: true, replaces: leader.id },
      { type: 'remove', id },
      { type: 'promote', id },
      { type: 'readdress', id, address: addressOf(`${id}.${this.#events}`) },
      { type: 'cancel' },
    ];
    const change = this.#pick(changes);
    this.#act(leader, () => leader.input((raft) => raft.changeMembership(change, this.group.nowMs)));
  }

  #compact(): void {
    const member = this.#pick(this.group.all);
    if (!member.isUp || !this.#chance(this.#profile.compact)) return;
    const { base } = member.log;
    const last = Math.min(member.core.commit, member.core.flushedIndex);
    if (last > base.index)
      this.#act(member, () => member.compact(logIndex(this.#random.between(base.index + 1, last))));
  }

  #impair(): void {
    const member = this.#victim();
    if (!this.#chance(this.#profile.impair)) return;
    this.#setImpaired(member, true);
    this.#agenda.add(this.group.nowMs + this.#random.between(1, 200), () => this.#setImpaired(member, false));
  }

  #setImpaired(member: Member, isImpaired: boolean): void {
    this.#act(member, () => member.input((raft) => raft.setImpaired(isImpaired, this.group.nowMs)));
  }

  #heal(): void {
    this.#calm = true;
    this.group.heal();
    for (const member of this.group.all) {
      if (!member.isUp) member.start(this.group.nowMs);
      this.#setImpaired(member, false);
      for (const peer of this.group.members.keys()) {
        this.#act(member, () => member.input((raft) => raft.peerUp(peer, this.group.nowMs)));
      }
    }
  }

  /** Liveness: within a few election timeouts there is a leader, and all members have committed everything. */
  #awaitRest(): void {
    const limitMs = this.group.nowMs + 30 * 120 + 10 * this.#profile.delayMsMax;
    for (;;) {
      this.#runUntil(this.group.nowMs + 50);
      const { leader } = this.group;
      if (leader !== undefined && this.#isAtRest(leader)) return;
      assert(this.group.nowMs < limitMs, () => `the group comes to rest: ${this.#summary()}`);
    }
  }

  #isAtRest({ id, core }: Member): boolean {
    const { membership } = core.membership;
    const members = membersOf(membership).map((member) => this.group.raft(member));
    const isDone = members.every((member) => member.commit === core.lastIndex && member.leader === id);
    return isDone && membership.voters.includes(id) && !isUnfinished(membership);
  }

  #summary(): string {
    return JSON.stringify(this.group.all.map((member) => (member.isUp ? member.core.status() : 'down')));
  }

  #victim(): Member {
    const { leader } = this.group;
    return leader !== undefined && this.#chance(this.#profile.targetLeader) ? leader : this.#pick(this.group.all);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.between(0, items.length - 1)]!;
  }

  #chance(probability: number): boolean {
    return this.#random.next() < probability;
  }
}
