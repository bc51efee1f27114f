// What goes wrong, and when: the adversary of a run. It strikes at random times, and at the moments that hurt most:
// right after a vote or an acknowledgement has left, in the middle of a write, at the leader.
import type { Random } from '../../src/base/random.ts';
import type { RaftMessage } from '../../src/raft/types.ts';
import type { CrashMode, DiskFailure, DiskOperation } from '../../src/storage/memory_disk.ts';
import { createTopic } from './clients.ts';
import type { SimNode } from './node.ts';
import type { StrikePlan } from './plan.ts';
import type { World } from './world.ts';

/** Which disk operations a fuse may be set on. */
const targets: readonly ((operation: DiskOperation) => boolean)[] = [
  () => true,
  ({ kind }) => kind === 'flush' || kind === 'flush-done',
  ({ kind }) => kind === 'write' || kind === 'truncate',
  ({ path }) => path.endsWith('hardstate'),
  ({ path }) => path.includes('commitlog'),
  ({ path }) => path.includes('consumequeue') || path.endsWith('checkpoint'),
];

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
    const chance = this.#plan.crashAfterCommit * (isFirst ? 10 : 1);
    if (this.#isOver || chance === 0 || this.#random.next() >= chance) return;
    const { network, nodes, trace, plan } = this.#world;
    this.#world.count('death after a commit');
    trace.say(() => `${leader.id} has committed, and dies`);
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
    const kind = this.#random.between(0, 6);
    this.#world.count('partition');
    trace.say(() => `partition of kind ${kind} around n${victim}`);
    const side = others.slice(0, this.#random.between(0, Math.max(0, others.length - 1)));
    const one = others[this.#random.between(0, others.length - 1)] ?? victim;
    switch (kind) {
      case 0:
        return cutBoth(others, victim);
      case 1:
        for (const other of others) network.cut(victim, other);
        return;
      case 2:
        for (const other of others) network.cut(other, victim);
        return;
      case 3:
        return network.cut(victim, one);
      case 4:
        return network.cut(one, victim);
      case 5:
        // The victim is alone, or stands with some of the others against the rest.
        for (const here of [victim, ...side])
          cutBoth(
            others.filter((other) => !side.includes(other)),
            here,
          );
        return;
      default:
        for (const other of others) network.slow(victim, other, 20);
    }
    function cutBoth(far: readonly number[], near: number): void {
      for (const other of far) {
        network.cut(near, other);
        network.cut(other, near);
      }
    }
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
    const target = this.#random.next() < 0.5 ? null : nodes[this.#random.between(0, nodes.length - 1)]!.id;
    this.#world.count('transfer');
    this.#world.act(leader, ({ process }) => {
      const deadlineMs = process!.life.monotonicMs() + 1_000;
      process!.replica.transferLeadership(target, deadlineMs).then(
        () => this.#world.count('transfer done'),
        () => {},
      );
    });
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
    this.#world.act(node, () => {
      const { process } = node;
      node.stop(200).then(
        () => {
          if (node.process === process) this.#world.kill(node, 'kill');
        },
        (error: Error) => {
          if (process!.life.isAlive) this.#world.ended(node, 'failed', error);
        },
      );
    });
  }

  #addTopic(): void {
    if (this.#topics > 6) return;
    const topic = { name: `topic${++this.#topics}`, queues: this.#random.between(1, 3) };
    createTopic(this.#world, topic, () => this.#world.addTopic(topic));
  }
}
