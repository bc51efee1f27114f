// What goes wrong, and when: the adversary of a run. It strikes at random times, and at the moments that hurt most:
// right after a vote or an acknowledgement has left, in the middle of a write, at the leader.
import type { Random } from '../../src/base/random.ts';
import type { TopicInfo } from '../../src/broker/types.ts';
import type { RaftMessage } from '../../src/raft/types.ts';
import type { CrashMode, DiskFailure, DiskOperation } from '../../src/storage/memory_disk.ts';
import { addQueues, createTopic } from './clients.ts';
import { flipBits, loseDisk } from './damage.ts';
import type { SimNode } from './node.ts';
import type { StrikePlan } from './plan.ts';
import type { World } from './world.ts';

/** Which disk operations a fuse may be set on. */
const targets: readonly ((operation: DiskOperation) => boolean)[] = [
  () => true,
  ({ kind }) => kind === 'flush' || kind === 'flush-done',
  ({ kind }) => kind === 'read',
  ({ kind }) => kind === 'write' || kind === 'truncate',
  ({ kind }) => kind === 'create' || kind === 'truncate' || kind === 'rename' || kind === 'remove',
  ({ path }) => path.endsWith('hardstate'),
  ({ path }) => path.includes('commitlog'),
  ({ path }) => path.includes('consumequeue') || path.endsWith('checkpoint'),
];

type Link = readonly [from: number, to: number];

interface Partition {
  readonly name: string;
  readonly cuts: readonly Link[];
}

/** See the head of the file. */
export class Strikes {
  readonly #world: World;
  readonly #random: Random;
  readonly #plan: StrikePlan;
  #isOver = false;
  #topics = 0;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    this.#plan = world.plan.strikes;
  }

  start(): void {
    const plan = this.#plan;
    this.#every(plan.partitionMs, () => this.#partition());
    this.#every(plan.crashMs, () => this.#crash());
    this.#every(plan.powerOffMs, () => this.#powerOff());
    this.#every(plan.diskErrorMs, () => this.#breakDisk());
    this.#every(plan.stallMs, () => this.#stall());
    this.#every(plan.clockMs, () => this.#turnClock());
    this.#every(plan.transferMs, () => this.#transfer());
    this.#every(plan.alarmMs, () => this.#alarm());
    this.#every(plan.stopMs, () => this.#stop());
    this.#every(plan.topicMs, () => this.#addTopic());
    this.#every(plan.memberMs, () => this.#world.operator.act());
    this.#every(plan.hangMs, () => this.#hang());
    this.#every(plan.flipMs, () => this.#flip());
    this.#every(plan.diskLossMs, () => this.#loseDisk());
  }

  stop(): void {
    this.#isOver = true;
  }

  /** A node has just said something that others will rely on. */
  afterSend(node: SimNode, message: RaftMessage): void {
    if (this.#isOver || this.#plan.crashAfterAnswer === 0) return;
    const isPromise = message.type === 'vote-response' ? message.granted : message.type === 'append-response';
    const weight = message.type === 'vote-response' ? 6 : 1;
    if (!isPromise || this.#random.next() >= this.#plan.crashAfterAnswer * weight) return;
    this.#world.count('death after an answer');
    node.die('after an answer');
  }

  /** A leader has just committed something, for the first time in its term or not. */
  afterCommit(leader: SimNode, isFirst: boolean): void {
    this.#mayKillLeader(leader, this.#plan.crashAfterCommit * (isFirst ? 10 : 1), 'death after a commit');
  }

  /** A leader has just learned that somebody else holds records of earlier terms, which it must not commit (figure 8). */
  afterOldAcknowledgement(leader: SimNode): void {
    this.#mayKillLeader(leader, this.#plan.crashAfterCommit * 10, 'death after old records were copied');
  }

  /** A leader has just begun or finished to change the majorities: it may be the only one who knows. */
  afterMajorities(leader: SimNode): void {
    this.#mayKillLeader(leader, this.#plan.crashAfterMajorities, 'death after the majorities changed');
  }

  /** The leader dies, and the rest regroups, perhaps without one of those who helped it. */
  #mayKillLeader(leader: SimNode, chance: number, what: string): void {
    if (this.#isOver || chance === 0 || this.#random.next() >= chance) return;
    const { network, nodes, trace, plan } = this.#world;
    this.#world.count(what);
    trace.say(() => `${leader.id}: ${what}`);
    network.healAll();
    if (this.#random.next() < 0.6) {
      const others = nodes.filter((node) => node !== leader);
      const alone = others[this.#random.between(0, others.length - 1)];
      for (const { number } of nodes) {
        if (alone === undefined) break;
        network.cut(alone.number, number);
        network.cut(number, alone.number);
      }
      this.#world.later(plan.group.electionTimeoutMsMax * 4 * this.#random.next(), () => network.healAll());
    }
    this.#world.kill(leader, this.drawEnd());
  }

  /** A node has just won an election. */
  afterElection(leader: SimNode): void {
    if (this.#isOver || this.#random.next() >= this.#plan.isolateNewLeader) return;
    const { network, nodes, trace } = this.#world;
    this.#world.count('new leader cut off');
    trace.say(() => `${leader.id} is elected, and cut off`);
    network.healAll();
    for (const { number } of nodes) {
      network.cut(leader.number, number);
      if (this.#random.next() < 0.7) network.cut(number, leader.number);
    }
  }

  /** A disk has failed; it is not unusual that a power loss follows. */
  afterFailure(node: SimNode): void {
    if (this.#isOver || !this.#plan.powerLoss || this.#random.next() < 0.4) return;
    this.#world.later(this.#world.plan.group.electionTimeoutMsMax * 3 * this.#random.next(), () => {
      if (!this.#isOver) this.#world.kill(node, this.#drawPowerLoss());
    });
  }

  /** A process is about to begin. */
  beforeStart(node: SimNode): void {
    if (this.#isOver || this.#random.next() >= this.#plan.crashAtStart) return;
    node.fuse = { left: this.#random.between(0, 40), fits: targets[0]!, effect: 'die' };
  }

  /** How a process that dies by itself ends. */
  drawEnd(): CrashMode | 'kill' {
    if (!this.#plan.powerLoss || this.#random.next() < 0.3) return 'kill';
    return this.#drawPowerLoss();
  }

  #drawPowerLoss(): CrashMode {
    return (['lost', 'lost', 'sectors', 'kept'] as const)[this.#random.between(0, 3)]!;
  }

  #every(meanMs: number, strike: () => void): void {
    if (meanMs === Number.POSITIVE_INFINITY) return;
    const again = (): void => {
      this.#world.later(meanMs * (0.3 + 1.4 * this.#random.next()), () => {
        if (this.#isOver) return;
        strike();
        again();
      });
    };
    again();
  }

  #victim(): SimNode {
    const { nodes } = this.#world;
    const leader = this.#random.next() < this.#plan.targetLeader ? this.#world.leader() : null;
    return leader ?? nodes[this.#random.between(0, nodes.length - 1)]!;
  }

  #partition(): void {
    const { network, nodes, trace } = this.#world;
    if (network.cutCount > 0 && this.#random.next() < 0.6) {
      trace.say(() => 'the network heals');
      network.healAll();
      return;
    }
    const victim = this.#victim().number;
    const others = nodes.map(({ number }) => number).filter((number) => number !== victim);
    const side = others.slice(0, this.#random.between(0, Math.max(0, others.length - 1)));
    const one = others[this.#random.between(0, others.length - 1)] ?? victim;
    const { cuts, name } = this.#drawCuts(victim, others, side, one);
    this.#world.count(`partition: ${name}`);
    trace.say(() => `partition around n${victim}: ${name}`);
    for (const [from, to] of cuts) network.cut(from, to);
    if (name === 'slow links') for (const other of others) network.slow(victim, other, 20);
    if (name === 'flapping link') this.#flap(victim, one);
  }

  /** Links that are cut, each one way. */
  #drawCuts(victim: number, others: readonly number[], side: readonly number[], one: number): Partition {
    const all = [victim, ...others];
    const far = others.filter((other) => !side.includes(other));
    const out = others.map((other): Link => [victim, other]);
    const into = others.map((other): Link => [other, victim]);
    switch (this.#random.between(0, 9)) {
      case 0:
        return { name: 'one node', cuts: [...out, ...into] };
      case 1:
        return { name: 'one node, outward', cuts: out };
      case 2:
        return { name: 'one node, inward', cuts: into };
      case 3:
        return { name: 'one link, outward', cuts: [[victim, one]] };
      case 4:
        return { name: 'one link, inward', cuts: [[one, victim]] };
      case 5:
        return { name: 'halves', cuts: between([victim, ...side], far) };
      case 6:
        return { name: 'halves with a bridge', cuts: between(side, far) };
      case 7: {
        // Everybody hears the neighbours only, so that each has another majority.
        const size = all.length;
        const isNear = (a: number, b: number): boolean => [1, size - 1].includes(Math.abs(a - b));
        return { name: 'ring', cuts: between(all, all).filter(([a, b]) => a !== b && !isNear(a, b)) };
      }
      case 8:
        return { name: 'flapping link', cuts: [] };
      default:
        return { name: 'slow links', cuts: [] };
    }
  }

  /** A link goes up and down for a while. */
  #flap(a: number, b: number): void {
    const { network, plan } = this.#world;
    const periodMs = plan.group.electionTimeoutMsMin * (0.1 + this.#random.next());
    let left = this.#random.between(3, 10);
    const next = (): void => {
      if (this.#isOver) return;
      if (left % 2 === 0) network.heal(a, b);
      else network.cut(a, b);
      if (left-- > 0) this.#world.later(periodMs, next);
    };
    next();
  }

  #crash(): void {
    const node = this.#victim();
    if (node.life === null) return;
    if (this.#random.next() < 0.4) {
      this.#world.count('crash');
      this.#world.kill(node, this.drawEnd());
      return;
    }
    this.#light(node, 'die');
  }

  #light(node: SimNode, effect: DiskFailure | 'die'): void {
    const fits = targets[this.#random.between(0, targets.length - 1)]!;
    node.fuse = { left: this.#random.between(0, 6), fits, effect };
  }

  /** The power goes everywhere in the same instant. */
  #powerOff(): void {
    this.#world.count('power off everywhere');
    const mode = this.#random.next() < 0.7 ? 'lost' : null;
    for (const node of this.#world.nodes) this.#world.kill(node, mode ?? this.#drawPowerLoss());
  }

  #breakDisk(): void {
    const node = this.#victim();
    if (node.life === null) return;
    this.#light(node, (['EIO', 'ENOSPC', 'short'] as const)[this.#random.between(0, 2)]!);
  }

  #stall(): void {
    const node = this.#victim();
    if (node.life === null) return;
    this.#world.count('stall');
    const { electionTimeoutMsMax } = this.#world.plan.group;
    const forMs = electionTimeoutMsMax * this.#random.next() * (this.#random.next() < 0.3 ? 4 : 1);
    this.#world.trace.say(() => `${node.id} stalls for ${forMs.toFixed(0)} ms`);
    node.life.stall(forMs);
    if (this.#plan.partitionMs === Number.POSITIVE_INFINITY || this.#random.next() < 0.6) return;
    // It wakes up deaf, and has to find out by itself what happened meanwhile.
    for (const other of this.#world.nodes) this.#world.network.cut(other.number, node.number);
  }

  #turnClock(): void {
    const { life } = this.#victim();
    if (life === null) return;
    this.#world.count('clock jump');
    life.turnWallClock(this.#random.between(-7_200_000, 7_200_000));
  }

  #transfer(): void {
    const leader = this.#world.leader();
    if (leader === null) return;
    const { nodes } = this.#world;
    // Not only to those who may take over: strangers and learners are refused.
    const target = this.#random.next() < 0.5 ? null : nodes[this.#random.between(0, nodes.length - 1)]!.id;
    this.#world.count('transfer');
    this.#world.act(leader, ({ process }) => {
      const deadlineMs = process!.life.monotonicMs() + 1_000;
      process!.replica.transferLeadership(target, deadlineMs).then(
        () => this.#world.marks.reach('a transfer is done'),
        () => this.#world.marks.reach('a transfer is given up'),
      );
    });
    const chosen = nodes.find(({ id }) => id === target);
    if (chosen === undefined || chosen === leader || this.#plan.crashMs === Number.POSITIVE_INFINITY) return;
    if (this.#random.next() < 0.7) return;
    this.#world.later(this.#random.next() * 20, () => {
      if (this.#isOver || chosen.life === null) return;
      this.#world.marks.reach('the target of a transfer dies');
      this.#world.kill(chosen, this.drawEnd());
    });
  }

  /** The disk takes in writes, but no flush comes back for a long while. */
  #hang(): void {
    const node = this.#victim();
    if (node.life === null) return;
    const { electionTimeoutMsMax } = this.#world.plan.group;
    const forMs = electionTimeoutMsMax * (1 + 9 * this.#random.next());
    this.#world.count('hung disk');
    this.#world.trace.say(() => `the disk of ${node.id} hangs for ${forMs.toFixed(0)} ms`);
    node.hungUntilMs = this.#world.nowMs + forMs;
    if (forMs < 5 * electionTimeoutMsMax || node.process === null) return;
    const whose = node.process.replica.isLeader ? 'the leader' : 'a follower';
    this.#world.marks.reach(`a disk hangs for five election timeouts at ${whose}`);
  }

  #flip(): void {
    const node = this.#victim();
    // What was just looked at, and is good, must not turn bad before that is known.
    if (node.isGone || node.isRepairing || !this.#world.operator.mayLose(node)) return;
    const others = this.#world.nodes.filter((other) => other !== node && other.process !== null);
    const ends = others.map(({ process }) => process!.log.lastIndex);
    const part = flipBits(node, this.#random, ends);
    if (part === null) return;
    this.#world.count(`bits flipped: ${part}`);
    this.#world.trace.say(() => `bits flip on the disk of ${node.id}: ${part}`);
    if (part === 'hard state' || part === 'checkpoint' || part === 'base' || part === 'log index') {
      this.#world.marks.reach(`damage in the ${part} is survived`);
    }
    // Most damage is noticed by whoever reads from the disk, and memory holds what was written last.
    if (node.life !== null && this.#random.next() < 0.5) this.#world.kill(node, this.drawEnd());
  }

  #loseDisk(): void {
    const node = this.#victim();
    if (node.isGone || !this.#world.operator.mayLose(node)) return;
    this.#world.count('disk lost');
    this.#world.marks.reach('a disk is lost');
    if (node.process?.replica.isLeader) this.#world.marks.reach('a leader is lost for good');
    this.#world.trace.say(() => `the disk of ${node.id} is gone`);
    this.#world.kill(node, 'kill');
    loseDisk(node);
  }

  /** The transport errs: it reports a peer as gone that is not, or breaks a connection. */
  #alarm(): void {
    const { nodes, network } = this.#world;
    const node = this.#victim();
    const peer = nodes[this.#random.between(0, nodes.length - 1)]!;
    if (node === peer) return;
    this.#world.count('alarm');
    network.reconnect(node.number, peer.number);
  }

  #stop(): void {
    const node = this.#victim();
    if (node.process === null || node.isStopping) return;
    this.#world.count('graceful stop');
    this.stopNode(node);
  }

  /** Stops a node as its operator does, or as it does itself. */
  stopNode(node: SimNode): void {
    this.#world.act(node, () => {
      const { process } = node;
      if (process === null || node.isStopping) return;
      node.stop(200).then(
        () => {
          if (process.life.isAlive) this.#world.kill(node, 'kill');
        },
        (error: Error) => {
          if (process.life.isAlive) this.#world.ended(node, 'failed', error);
        },
      );
    });
  }

  #addTopic(): void {
    const { topics } = this.#world;
    if (topics.length > 0 && this.#random.next() < 0.4) {
      return this.#addQueues(topics[this.#random.between(0, topics.length - 1)]!);
    }
    if (this.#topics > 6) return;
    const topic = { name: `topic${++this.#topics}`, queues: this.#random.between(1, 3) };
    createTopic(this.#world, topic, () => this.#world.addTopic(topic));
  }

  #addQueues({ name, queues }: TopicInfo): void {
    if (queues >= 6) return;
    addQueues(this.#world, { topic: name, queues: queues + this.#random.between(1, 2) }, (now) => {
      this.#world.count('queues added');
      this.#world.growTopic(name, now);
    });
  }
}

/** All links between two sides, both ways. */
function between(here: readonly number[], there: readonly number[]): Link[] {
  return here.flatMap((a) =>
    there.flatMap((b): Link[] => [
      [a, b],
      [b, a],
    ]),
  );
}
