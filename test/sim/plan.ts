// What a run is like: the group's settings, the load, and what goes wrong how often. All of it is drawn from the seed;
// a profile only says from where. Each class of faults is switched off in some runs (swarm testing), because a fault
// that is always there hides the bugs that need a while without it.
import type { Random } from '../../src/base/random.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { nodeId } from './names.ts';

/** Names of the profiles. */
export const profiles = ['calm', 'network', 'crash', 'disk', 'members', 'hostile', 'swarm', 'long'] as const;
/** Where a run's settings are drawn from. */
export type Profile = (typeof profiles)[number];

/** How often each profile is drawn when none is asked for. */
const weights: Readonly<Record<Profile, number>> = {
  calm: 3,
  network: 12,
  crash: 14,
  disk: 8,
  members: 22,
  hostile: 30,
  swarm: 18,
  long: 20,
};

/** Settings of the group under test. */
export interface GroupPlan {
  readonly nodes: number;
  /** Further nodes that wait to be added. */
  readonly spares: number;
  readonly heartbeatIntervalMs: number;
  readonly idleHeartbeatIntervalMs: number;
  readonly electionTimeoutMsMin: number;
  readonly electionTimeoutMsMax: number;
  readonly appendBytesMax: number;
  readonly inflightCountMax: number;
  readonly inflightBytesMax: number;
  readonly segmentSizeBytes: number;
  readonly cacheBytesMax: number;
  readonly neededBytesMax: number;
  readonly indexUnitsPerFile: number;
  readonly checkpointIntervalMs: number;
  readonly batchBytesMax: number;
  readonly unflushedBytesMax: number;
  readonly unappliedBytesMax: number;
  readonly producerRunsMax: number;
  /** Requests that a leader lets wait. */
  readonly waitingCountMax: number;
  readonly flush: 'sync' | 'async';
  readonly preferredLeaders: readonly NodeId[];
  readonly leaseReads: boolean;
  /** Bytes of the log that are kept; 0 keeps everything. */
  readonly retentionBytes: number;
  /** How long messages are kept, by the wall clock of each node; 0: for ever. */
  readonly retentionMs: number;
  readonly snapshotChunkBytes: number;
  readonly diskStallMs: number;
}

/** Who asks the group for what. */
export interface LoadPlan {
  readonly producers: number;
  /** Batches of one producer under way. */
  readonly windowMax: number;
  readonly batchCountMax: number;
  readonly bodyBytesMax: number;
  readonly queues: number;
  /** Mean time between two steps of each client. */
  readonly thinkMs: number;
  readonly timeoutMs: number;
  /** Members of each consumer group; 0: nobody consumes. */
  readonly consumers: number;
  /** Who sends delayed messages, transactions, and messages with ids. */
  readonly timers: number;
}

/** The network: probabilities per message, times in milliseconds. */
export interface NetworkPlan {
  /** Connections keep order and break as a whole; else each message is on its own. */
  readonly isStream: boolean;
  readonly loss: number;
  readonly duplicate: number;
  readonly delayMsMax: number;
  /** Chance that a message is very late. */
  readonly late: number;
  /** Chance that bytes change on the way. */
  readonly garble: number;
}

/** What strikes: mean milliseconds between two strikes; infinity for never. */
export interface StrikePlan {
  readonly partitionMs: number;
  readonly crashMs: number;
  readonly powerOffMs: number;
  readonly diskErrorMs: number;
  readonly stallMs: number;
  readonly clockMs: number;
  readonly transferMs: number;
  readonly alarmMs: number;
  readonly stopMs: number;
  readonly topicMs: number;
  /** A flush does not end for several election timeouts. */
  readonly hangMs: number;
  /** Bits flip in what is stored. */
  readonly flipMs: number;
  /** A disk is gone for good. */
  readonly diskLossMs: number;
  /** Somebody is added, removed, replaced, moved, or that is cancelled. */
  readonly memberMs: number;
  /** How often a strike chooses the leader. */
  readonly targetLeader: number;
  /** Chance to die right after an answer that something was vouched for with. */
  readonly crashAfterAnswer: number;
  /** Chance that a leader dies as soon as it has committed something, and the rest regroups without whoever helped it. */
  readonly crashAfterCommit: number;
  /** Chance that a leader dies as soon as other majorities decide by its log. */
  readonly crashAfterMajorities: number;
  /** Chance that a new leader is cut off at once, so that logs grow apart (paper, figure 8). */
  readonly isolateNewLeader: number;
  /** Whether a crash may take the power along. */
  readonly powerLoss: boolean;
  readonly downMsMax: number;
  /** Chance that a process dies in the middle of its start. */
  readonly crashAtStart: number;
}

/** One run. */
export interface Plan {
  readonly profile: Profile;
  readonly group: GroupPlan;
  readonly load: LoadPlan;
  readonly network: NetworkPlan;
  readonly strikes: StrikePlan;
  readonly flushMsMax: number;
  /** Chance that a flush takes a hundred times longer. */
  readonly flushStall: number;
  readonly clockDrift: number;
  readonly faultyMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const OFF_CHANCE = 0.3;
const drifting: readonly Profile[] = ['swarm', 'long', 'network', 'members', 'hostile'];
const DRIFT_MAX = 0.5;
/** Two clocks then differ by less than a tenth, as leases demand. */
const LEASE_DRIFT_MAX = 0.045;
/** Nodes that take part in membership changes need not be many. */
const SPARES_MAX = 3;

/** Draws a run. */
export function drawPlan(random: Random, wanted: Profile | null): Plan {
  const profile = wanted ?? drawProfile(random);
  const has = (...profilesWithIt: Profile[]): boolean =>
    profilesWithIt.includes(profile) && random.next() >= OFF_CHANCE;
  const powerLoss = has('crash', 'disk', 'members', 'hostile', 'swarm', 'long');
  const group = drawGroup(random, profile, powerLoss);
  const election = group.electionTimeoutMsMax;
  const network = drawNetwork(random, profile, has);
  const strike = (on: boolean, fewest: number, most: number): number =>
    on ? election * (fewest + random.next() * (most - fewest)) * (profile === 'long' ? 10 : 1) : NEVER;
  return {
    profile,
    group,
    load: drawLoad(random, profile),
    network,
    strikes: {
      partitionMs: strike(has('network', 'disk', 'members', 'hostile', 'swarm', 'long'), 1, 8),
      crashMs: strike(has('crash', 'disk', 'members', 'hostile', 'swarm', 'long'), 1.5, 15),
      powerOffMs: strike(powerLoss && has('crash', 'disk', 'members', 'hostile', 'swarm', 'long'), 10, 40),
      diskErrorMs: strike(has('crash', 'disk', 'swarm', 'long'), 5, 30),
      stallMs: strike(has('network', 'members', 'hostile', 'swarm', 'long'), 4, 20),
      clockMs: strike(has('swarm', 'long'), 2, 20),
      transferMs: strike(has('network', 'crash', 'disk', 'members', 'hostile', 'swarm', 'long'), 4, 20),
      alarmMs: strike(has('network', 'members', 'hostile', 'swarm', 'long'), 2, 10),
      stopMs: strike(has('crash', 'disk', 'members', 'swarm', 'long'), 5, 30),
      topicMs: strike(profile !== 'long', 3, 20),
      hangMs: strike(has('crash', 'disk', 'swarm', 'long'), 10, 40),
      flipMs: strike(has('disk', 'swarm', 'long'), profile === 'disk' ? 2 : 10, profile === 'disk' ? 10 : 60),
      memberMs: strike(group.spares > 0, profile === 'members' ? 1 : 4, profile === 'members' ? 5 : 20),
      diskLossMs: strike(has('disk', 'members', 'swarm', 'long'), 20, 60),
      targetLeader: random.next() < 0.5 ? 0.8 : 0.3,
      crashAfterAnswer: has('hostile', 'crash', 'members', 'swarm') ? random.next() ** 2 * 0.05 : 0,
      crashAfterCommit: has('hostile', 'members', 'swarm') ? random.next() * 0.04 : 0,
      crashAfterMajorities: has('members', 'swarm', 'long') ? random.next() * 0.5 : 0,
      isolateNewLeader: has('hostile', 'members') ? random.next() * 0.6 : 0,
      powerLoss,
      crashAtStart: has('crash', 'disk', 'swarm') ? random.next() * 0.3 : 0,
      downMsMax: election * (random.next() < 0.5 ? 1 : 6),
    },
    flushMsMax: drawFlushMs(random, profile),
    flushStall: has('crash', 'disk', 'hostile', 'swarm', 'long') ? 0.01 : 0,
    clockDrift: has(...drifting) ? random.next() * (group.leaseReads ? LEASE_DRIFT_MAX : DRIFT_MAX) : 0,
    faultyMs: profile === 'long' ? 900_000 : election * random.between(15, 50),
  };
}

function drawProfile(random: Random): Profile {
  let rest = random.next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  for (const profile of profiles) {
    rest -= weights[profile];
    if (rest < 0) return profile;
  }
  return 'hostile';
}

function drawGroup(random: Random, profile: Profile, powerLoss: boolean): GroupPlan {
  const isSlow = profile === 'long';
  const heartbeatIntervalMs = isSlow ? 100 : random.between(10, 40);
  const small = random.next() < 0.6 || profile === 'hostile';
  const pick = (low: number, high: number): number => random.between(low, small ? Math.min(low * 8, high) : high);
  const electionTimeoutMsMin = isSlow ? 500 : heartbeatIntervalMs * random.between(3, 5);
  // Timeouts that are nearly equal make candidates meet.
  const spread = !isSlow && profile !== 'calm' && random.next() < 0.4 ? 1.15 : 2;
  const electionTimeoutMsMax = Math.round(electionTimeoutMsMin * spread);
  const nodes = random.next() < 0.7 ? 3 : random.next() < 0.85 ? 5 : random.next() < 0.5 ? 1 : 4;
  const hasSpares = profile === 'members' || (profile !== 'calm' && random.next() < 0.2);
  const spares = hasSpares ? random.between(1, SPARES_MAX) : 0;
  const keepsAll = profile === 'calm' || random.next() < 0.5;
  const segmentSizeBytes = (keepsAll ? pick(8, 64) : random.between(4, 12)) * 1024;
  return {
    nodes,
    spares,
    heartbeatIntervalMs,
    idleHeartbeatIntervalMs: random.between(heartbeatIntervalMs, electionTimeoutMsMin - 1),
    electionTimeoutMsMin,
    electionTimeoutMsMax,
    // One record at a time tells apart what was committed with what.
    appendBytesMax: random.next() < (profile === 'hostile' ? 0.6 : 0.2) ? 50 : pick(300, 16_000),
    inflightCountMax: pick(1, 32),
    inflightBytesMax: pick(400, 64_000),
    segmentSizeBytes,
    cacheBytesMax: random.next() < 0.5 ? random.between(0, 4) * 500 : 1024 * 1024,
    // Without it, what is applied comes from files.
    neededBytesMax: pick(0, 64 * 1024 * 1024),
    indexUnitsPerFile: pick(8, 4096),
    checkpointIntervalMs: random.between(10, 1000) * (isSlow ? 10 : 1),
    batchBytesMax: pick(300, 16_000),
    unflushedBytesMax: pick(1_000, 200_000),
    unappliedBytesMax: pick(2_000, 400_000),
    producerRunsMax: random.next() < 0.5 ? random.between(1, 6) : 128,
    waitingCountMax: random.next() < 0.2 ? random.between(2, 6) : 200,
    // Only what was flushed survives a power loss; of killed processes nothing is lost either way.
    flush: !powerLoss && random.next() < 0.3 ? 'async' : 'sync',
    preferredLeaders: random.next() < 0.2 ? drawPreferred(random, nodes + spares) : [],
    leaseReads: random.next() < 0.3,
    retentionBytes: keepsAll ? 0 : segmentSizeBytes * random.between(1, 3),
    // Of those that delete, every second one does so by age, too; drawn from what is drawn already.
    retentionMs: keepsAll || segmentSizeBytes % 2048 > 0 ? 0 : electionTimeoutMsMax * 10,
    snapshotChunkBytes: random.next() < 0.5 ? random.between(100, 1_000) : 16_000,
    diskStallMs: electionTimeoutMsMax * random.between(1, 4),
  };
}

function drawPreferred(random: Random, nodes: number): NodeId[] {
  const first = random.between(0, nodes - 1);
  return Array.from({ length: random.between(1, nodes) }, (_, at) => nodeId((first + at) % nodes));
}

function drawLoad(random: Random, profile: Profile): LoadPlan {
  return {
    producers: random.between(1, 4),
    windowMax: random.between(1, 4),
    batchCountMax: random.next() < 0.8 ? random.between(1, 4) : 20,
    bodyBytesMax: random.next() < 0.8 ? 60 : 1_500,
    queues: random.between(1, 3),
    thinkMs: profile === 'long' ? random.between(1_000, 6_000) : random.between(8, 60),
    timeoutMs: random.between(100, 1_500),
    consumers: random.next() < 0.5 ? random.between(1, 3) : 0,
    timers: random.next() < 0.4 ? random.between(1, 2) : 0,
  };
}

function drawNetwork(random: Random, profile: Profile, has: (...profiles: Profile[]) => boolean): NetworkPlan {
  const isFaulty = profile !== 'calm' && profile !== 'crash' && profile !== 'disk';
  const isStream = !isFaulty || random.next() < 0.35;
  const slow = has('network', 'members', 'hostile', 'swarm', 'long');
  return {
    isStream,
    loss: !isStream && has('network', 'members', 'hostile', 'swarm', 'long') ? random.next() ** 2 * 0.3 : 0,
    duplicate: !isStream && has('network', 'members', 'hostile', 'swarm', 'long') ? random.next() * 0.4 : 0,
    delayMsMax: slow ? 1 + random.next() ** 2 * 60 : 2,
    late: slow ? random.next() * 0.08 : 0,
    garble: has('network', 'members', 'swarm') ? random.next() * 0.02 : 0,
  };
}

function drawFlushMs(random: Random, profile: Profile): number {
  if (profile === 'calm') return 2;
  return random.next() < 0.5 ? 1 + random.next() * 4 : 1 + random.next() * 80;
}
