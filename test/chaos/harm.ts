// What faults are made of. Each draws its particulars from a seed, does its harm, undoes it, and says whether it left a
// trace: a fault that nobody noticed proves nothing.
import type { Random } from '../../src/base/random.ts';
import type { Stage } from './stage.ts';

/** What a fault did. */
export interface FaultTrace {
  /** In words: `n1 for 2,300 ms`. */
  readonly what: string;
  readonly leftTrace: boolean;
}

/** Undefined when there was nobody to harm. */
export type Harm = Promise<FaultTrace | undefined>;

/** Does the harm and undoes it. */
export type Fault = (stage: Stage, random: Random) => Harm;

/** Harms the leader, whom no other fault touches meanwhile. */
export async function onLeader(stage: Stage, harm: (leader: string) => Harm): Harm {
  const leader = stage.freeLeader();
  return leader === undefined ? undefined : stage.holding([leader], () => harm(leader));
}

/** Harms a follower. */
export async function onFollower(stage: Stage, random: Random, harm: (follower: string) => Harm): Harm {
  const free = stage.freeFollowers();
  const one = free[random.between(0, free.length - 1)];
  return one === undefined ? undefined : stage.holding([one], () => harm(one));
}

/** Harms all nodes, if no other fault has any of them. */
export async function onAll(stage: Stage, harm: (all: readonly string[]) => Harm): Harm {
  const free = [...stage.freeFollowers(), ...[stage.freeLeader() ?? []].flat()];
  return free.length < stage.nodeIds.length ? undefined : stage.holding(free, () => harm(free));
}

/** A copy in an order drawn from `random` (Fisher and Yates). */
export function shuffle<T>(items: readonly T[], random: Random): T[] {
  const shuffled = [...items];
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = random.between(0, at);
    [shuffled[at], shuffled[other]] = [shuffled[other]!, shuffled[at]!];
  }
  return shuffled;
}
