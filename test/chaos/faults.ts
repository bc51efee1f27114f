// The faults, by name: processes that end, stand still and start again, cuts of every shape, leaders that hand over, and
// members that come and go.
import type { Random } from '../../src/base/random.ts';
import { type Fault, type Harm, onAll, onFollower, onLeader, shuffle } from './harm.ts';
import { membershipFaults } from './membership_faults.ts';
import { CLIENTS, type Heal } from './network.ts';
import { pause } from './pause.ts';
import type { Stage } from './stage.ts';

/** A leader that is gone for so long must have been replaced. */
const REPLACED_AFTER_MS = 2_500;
/** In a smaller ring everybody sees everybody. */
const RING_NODES_MIN = 5;
/** How long a new leader may take until a fault counts as unnoticed. */
const REPLACED_WITHIN_MS = 10_000;

/** All faults by name. */
export const faults = {
  'kill-leader': (stage, random) => onLeader(stage, (leader) => kill(stage, [leader], random, true)),
  'kill-follower': (stage, random) => onFollower(stage, random, (one) => kill(stage, [one], random)),
  'kill-two': (stage, random) => onLeader(stage, (leader) => killTwo(stage, leader, random)),
  'kill-all': (stage, random) => onAll(stage, (all) => kill(stage, all, random)),
  'restart-leader': (stage, random) => onLeader(stage, (leader) => restart(stage, leader, random, true)),
  'restart-follower': (stage, random) => onFollower(stage, random, (one) => restart(stage, one, random, false)),
  'pause-leader': (stage, random) => onLeader(stage, (leader) => freeze(stage, leader, random, true)),
  'pause-follower': (stage, random) => onFollower(stage, random, (one) => freeze(stage, one, random, false)),
  'isolate-leader': (stage, random) =>
    onLeader(stage, (leader) => {
      const cut = () => stage.network.cut([leader], otherEnds(stage, leader, random));
      return cutFor(stage, `${leader} alone`, cut, random.between(REPLACED_AFTER_MS, 5_000), true);
    }),
  'isolate-follower': (stage, random) =>
    onFollower(stage, random, (one) => {
      const cut = () => stage.network.cut([one], otherEnds(stage, one, random));
      return cutFor(stage, `${one} alone`, cut, random.between(500, 5_000));
    }),
  'deaf-leader': (stage, random) =>
    onLeader(stage, (leader) => {
      const cut = () => stage.network.cutOneWay(stage.others([leader]), [leader]);
      return cutFor(stage, `${leader} hears no member`, cut, random.between(REPLACED_AFTER_MS, 5_000), true);
    }),
  'mute-leader': (stage, random) =>
    onLeader(stage, (leader) => {
      const cut = () => stage.network.cutOneWay([leader], stage.others([leader]));
      return cutFor(stage, `no member hears ${leader}`, cut, random.between(REPLACED_AFTER_MS, 5_000), true);
    }),
  'one-way-follower': (stage, random) =>
    onFollower(stage, random, (one) => {
      const ends = [[one], stage.others([one])] as const;
      const [from, to] = random.next() < 0.5 ? ends : [ends[1], ends[0]];
      const cut = () => stage.network.cutOneWay(from, to);
      return cutFor(stage, `from ${from} nothing to ${to}`, cut, random.between(500, 4_000));
    }),
  halves: (stage, random) => {
    const [few, many] = halve(stage.nodeIds, random);
    const cut = () => stage.network.cut(few, many);
    return cutFor(stage, `${few} | ${many}`, cut, random.between(500, 4_000));
  },
  'partial-leader': (stage, random) =>
    onLeader(stage, (leader) =>
      onFollower(stage, random, (one) => {
        const cut = () => stage.network.cut([leader], [one]);
        return cutFor(stage, `${leader} and ${one} from each other`, cut, random.between(500, 5_000));
      }),
    ),
  bridge: (stage, random) => {
    // A leader in between would see everybody, and followers have nothing to say to each other.
    const inOrder = shuffle(stage.nodeIds, random);
    const joint = inOrder.find((one) => one !== stage.leaders.current);
    const [few, many] = halve(stage.others([joint!]), random);
    const cut = () => stage.network.cut(few, many);
    return cutFor(stage, `${few} | ${many}, joined by ${joint}`, cut, random.between(1_000, 5_000));
  },
  ring: (stage, random) => ring(stage, random),
  flapping: (stage, random) => flap(stage, random),
  'peer-resets': (stage, random) => {
    const { nodeIds } = stage;
    return resetStorm(stage, 'all members', () => stage.network.reset(nodeIds, nodeIds), random);
  },
  'client-resets': (stage, random) =>
    resetStorm(stage, 'all clients', () => stage.network.reset([CLIENTS], stage.nodeIds), random),
  'slow-peers': (stage, random) => {
    const delayMs = random.between(10, 100);
    const slow = () => stage.network.delay(stage.nodeIds, stage.nodeIds, delayMs);
    return cutFor(stage, `${delayMs} ms between members`, slow, random.between(1_000, 4_000));
  },
  'cut-clients': (stage, random) =>
    onLeader(stage, (leader) => {
      const cut = () => stage.network.cut([CLIENTS], [leader]);
      return cutFor(stage, `clients from ${leader}`, cut, random.between(500, 3_000));
    }),
  transfer: (stage) => onLeader(stage, (leader) => transfer(stage, leader)),
  ...membershipFaults,
} as const satisfies Readonly<Record<string, Fault>>;

/** A fault's name. */
export type FaultKind = keyof typeof faults;

/** All names. */
export const faultKinds = Object.keys(faults) as readonly FaultKind[];

async function kill(stage: Stage, victims: readonly string[], random: Random, deposes = false): Harm {
  const { term } = stage.leaders;
  const downMs = random.between(0, 2_000);
  await Promise.all(victims.map((victim) => stage.end(victim, 'SIGKILL')));
  const isDown = victims.every((victim) => !stage.cluster.isRunning(victim));
  await pause(downMs);
  await Promise.all(victims.map((victim) => stage.cluster.restart(victim)));
  const leftTrace = isDown && (!deposes || (await stage.leaders.after(term, REPLACED_WITHIN_MS)));
  return { what: `${victims} for ${downMs} ms`, leftTrace };
}

function killTwo(stage: Stage, leader: string, random: Random): Harm {
  return onFollower(stage, random, (one) => kill(stage, [leader, one], random, true));
}

async function restart(stage: Stage, nodeId: string, random: Random, deposes: boolean): Harm {
  const { term } = stage.leaders;
  const downMs = random.between(0, 1_000);
  await stage.end(nodeId, 'SIGTERM');
  await pause(downMs);
  await stage.cluster.restart(nodeId);
  return { what: nodeId, leftTrace: !deposes || (await stage.leaders.after(term, REPLACED_WITHIN_MS)) };
}

async function freeze(stage: Stage, nodeId: string, random: Random, isLeader: boolean): Harm {
  const { term } = stage.leaders;
  const forMs = random.between(500, 5_000);
  await stage.cluster.kill(nodeId, 'SIGSTOP');
  let isPaused = false;
  try {
    await pause(forMs);
    isPaused = stage.isPaused(nodeId);
  } finally {
    await stage.cluster.kill(nodeId, 'SIGCONT');
  }
  const mustDepose = isLeader && forMs >= REPLACED_AFTER_MS;
  const leftTrace = isPaused && (!mustDepose || (await stage.leaders.after(term, REPLACED_WITHIN_MS)));
  return { what: `${nodeId} for ${forMs} ms`, leftTrace };
}

async function cutFor(stage: Stage, what: string, cut: () => Heal, forMs: number, deposes = false): Harm {
  const { network, leaders } = stage;
  const { term } = leaders;
  const before = network.traces;
  const heal = cut();
  await pause(forMs);
  heal();
  const leftTrace = network.traces > before && (!deposes || (await leaders.after(term, REPLACED_WITHIN_MS)));
  return { what: `${what} for ${forMs} ms`, leftTrace };
}

/** Everybody sees two neighbours only: of five, each sees a majority, and no two see the same one. */
async function ring(stage: Stage, random: Random): Harm {
  const around = shuffle(stage.nodeIds, random);
  if (around.length < RING_NODES_MIN) return undefined;
  const isNext = (one: number, other: number): boolean => [1, around.length - 1].includes(Math.abs(one - other));
  const cut = (): Heal => {
    const heals = around.flatMap((one, at) => {
      const far = around.filter((_, other) => other > at && !isNext(at, other));
      return far.length === 0 ? [] : [stage.network.cut([one], far)];
    });
    return () => {
      for (const heal of heals) heal();
    };
  };
  return cutFor(stage, `${around} see their neighbours only`, cut, random.between(1_000, 5_000));
}

async function flap(stage: Stage, random: Random): Harm {
  const one = stage.nodeIds[random.between(0, stage.nodeIds.length - 1)]!;
  const before = stage.network.traces;
  const turns = random.between(3, 8);
  for (let turn = 0; turn < turns; turn++) {
    const heal = stage.network.cut([one], stage.others([one]));
    await pause(random.between(50, 700));
    heal();
    await pause(random.between(20, 300));
  }
  return { what: `${one} ${turns} times`, leftTrace: stage.network.traces > before };
}

async function resetStorm(stage: Stage, what: string, reset: () => void, random: Random): Harm {
  const before = stage.network.traces;
  const turns = random.between(3, 12);
  for (let turn = 0; turn < turns; turn++) {
    reset();
    await pause(random.between(20, 300));
  }
  return { what: `${what} ${turns} times`, leftTrace: stage.network.traces > before };
}

async function transfer(stage: Stage, leader: string): Harm {
  const { term } = stage.leaders;
  const isDone = await stage.client.admin.transferLeadership().then(
    () => true,
    // A transfer may be given up; the leader stays then, and says so.
    () => false,
  );
  const leftTrace = isDone && (await stage.leaders.after(term, REPLACED_WITHIN_MS));
  return { what: `from ${leader}${isDone ? '' : ', given up'}`, leftTrace };
}

/** The other members, and half of the time the clients, too: a cut-off node that clients still reach is the harder case. */
function otherEnds(stage: Stage, nodeId: string, random: Random): readonly string[] {
  const members = stage.others([nodeId]);
  return random.next() < 0.5 ? members : [...members, CLIENTS];
}

function halve(nodeIds: readonly string[], random: Random): readonly [readonly string[], readonly string[]] {
  const shuffled = shuffle(nodeIds, random);
  const middle = random.between(1, Math.floor(shuffled.length / 2));
  return [shuffled.slice(0, middle), shuffled.slice(middle)];
}
