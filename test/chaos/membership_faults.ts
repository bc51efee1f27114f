// Members that come and go while the group serves, and while other things go wrong: nobody may be the worse for it.
import type { Random } from '../../src/base/random.ts';
import { type Fault, type Harm, onFollower, shuffle } from './harm.ts';
import { pause } from './pause.ts';
import type { Stage } from './stage.ts';

/** By name. */
export const membershipFaults = {
  'replace-member': (stage, random) => onAnybody(stage, random, (one) => replace(stage, one)),
  'replace-dead-member': (stage, random) =>
    onFollower(stage, random, async (one) => {
      return stage.cast.alone(async () => {
        await stage.end(one, 'SIGKILL');
        const trace = await replaceNow(stage, one);
        // Refused, it is still a member, and comes back.
        if (!trace.leftTrace) await stage.cluster.restart(one);
        return { ...trace, what: `dead ${trace.what}` };
      });
    }),
  'add-and-remove-learner': (stage, random) =>
    stage.cast.alone(async () => {
      const { nodeId, addresses } = await stage.cast.hire();
      const added = await stage.cast.change({ kind: 'add', nodeId, addresses, learnerOnly: true });
      await pause(random.between(0, 3_000));
      const removed = added === 'done' ? await stage.cast.change({ kind: 'remove', nodeId }) : added;
      if (removed !== 'open') await stage.dismiss(nodeId);
      return { what: `${nodeId}: ${added}, ${removed}`, leftTrace: added === 'done' && removed === 'done' };
    }),
  'grow-and-shrink': (stage, random) => stage.cast.alone(() => growAndShrink(stage, random)),
} as const satisfies Readonly<Record<string, Fault>>;

async function onAnybody(stage: Stage, random: Random, harm: (one: string) => Harm): Harm {
  const free = shuffle([...stage.freeFollowers(), ...[stage.freeLeader() ?? []].flat()], random);
  const one = free[0];
  return one === undefined ? undefined : stage.holding([one], () => harm(one));
}

function replace(stage: Stage, old: string): Harm {
  return stage.cast.alone(() => replaceNow(stage, old));
}

async function replaceNow(stage: Stage, old: string) {
  const isLeader = stage.leaders.current === old;
  const { nodeId, addresses } = await stage.cast.hire();
  const end = await stage.cast.change({ kind: 'add', nodeId, addresses, replaces: old });
  if (end === 'done') await stage.dismissHeld(old);
  else if (end === 'refused') await stage.dismiss(nodeId);
  const who = isLeader ? `${old}, the leader,` : old;
  return { what: `${who} by ${nodeId}${end === 'done' ? '' : `: ${end}`}`, leftTrace: end === 'done' };
}

/** One voter more, which makes the number even, then any one less. */
async function growAndShrink(stage: Stage, random: Random): Harm {
  const { nodeId, addresses } = await stage.cast.hire();
  const added = await stage.cast.change({ kind: 'add', nodeId, addresses });
  if (added !== 'done') {
    if (added === 'refused') await stage.dismiss(nodeId);
    return { what: `${nodeId}: ${added}`, leftTrace: false };
  }
  await pause(random.between(0, 2_000));
  const trace = await onAnybody(stage, random, async (one) => {
    const removed = await stage.cast.change({ kind: 'remove', nodeId: one });
    if (removed === 'done') await stage.dismissHeld(one);
    return { what: `${nodeId} more, then ${one} less${removed === 'done' ? '' : `: ${removed}`}`, leftTrace: true };
  });
  return trace ?? { what: `${nodeId} more`, leftTrace: true };
}
