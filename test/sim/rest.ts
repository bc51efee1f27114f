// What must come to be after the last fault: a leader, an answer to everybody, and one log, one set of queues and one state
// on all nodes that are left.
import type { Crowd } from './crowd.ts';
import { tally } from './tally.ts';
import { hold, isVoter } from './truth.ts';
import type { World } from './world.ts';

/** This long until everything is as it should be, unless somebody who is behind gets on meanwhile. */
const REST_MS_MAX = 30_000;
/** A long log takes so many times as long, with appends of a few bytes. */
const CATCH_UP_TIMES_MAX = 10;
const LOOK_INTERVAL_MS = 20;
/** This many election timeouts must pass without another election. */
const QUIET_TIMEOUTS = 4;
/** So long the group is changed under load before the clients stop. */
const LOADED_TIMEOUTS = 10;
/** So late a delayed message may be shown. */
const LATE_MS_MAX = 200;
/** The longest way of a message, in quiet, and as long for the answer. */
const NETWORK_MS = 4;

/** Waits until the group is at rest, and looks at what it has. @throws Violation */
export async function comeToRest(world: World, crowd: Crowd): Promise<void> {
  const { group, flushMsMax, network, load } = world.plan;
  const { electionTimeoutMsMax } = group;
  // What began before may still be under way: the longest flush, the latest message.
  const slackMs = 1_000 + flushMsMax * 100 + network.delayMsMax * 30 + load.timeoutMs;
  const healedMs = world.nowMs;
  const until = (what: string, forMs: number, isSo: () => boolean): Promise<void> =>
    waitFor(world, crowd, what, forMs, isSo);
  await until('a leader', 10 * electionTimeoutMsMax + slackMs, () => world.leader() !== null);
  await world.runUntil(world.nowMs + 2 * electionTimeoutMsMax);
  const isTidy = (): boolean => {
    world.operator.tidy();
    return world.operator.isTidy;
  };
  // A new member may never catch up with a load that turns over the whole log before a snapshot has arrived.
  const loadedMs = world.nowMs + LOADED_TIMEOUTS * electionTimeoutMsMax;
  await until('a finished membership', REST_MS_MAX, () => isTidy() || world.nowMs >= loadedMs);
  world.isClosing = true;
  await until('a finished membership', REST_MS_MAX, isTidy);
  await until('all answers', REST_MS_MAX, () => crowd.waiting === 0);
  await until('everybody at the end', REST_MS_MAX, () => isAtRest(world));
  tally(world.tallies.checks, 'ms to rest', world.nowMs - healedMs);
  // Nobody may ever read what was flipped: the scrubber does.
  await until('all logs whole', REST_MS_MAX, () => world.scrub());
  await until('everybody at the end', REST_MS_MAX, () => isAtRest(world));
  await until('all that is due', REST_MS_MAX, () => isDelivered(world));
  await until('everybody at the end', REST_MS_MAX, () => isAtRest(world));
  world.checker.checkRest(world.members);
  crowd.check();
  await world.runUntil(world.nowMs + 3 * group.checkpointIntervalMs);
  // Where clocks drift too far for its heartbeats, the group goes on to elect leaders, with a record each.
  const { last } = world.checker.truth;
  await until('all saved', REST_MS_MAX, () => isSaved(world, last));
  world.checker.checkFiles(world.members);
  world.checker.checkTables(world.members);
  await staysAtRest(world);
}

/** Nobody disturbs a group that is well: not those who have left it, nor those who wait to be added. */
async function staysAtRest(world: World): Promise<void> {
  const { electionTimeoutMsMin, electionTimeoutMsMax, idleHeartbeatIntervalMs, preferredLeaders } = world.plan.group;
  // A leader whose clock is slow says less than it means to, and voters with fast ones wait less.
  const { clockDrift } = world.plan;
  const slowest = (1 + clockDrift) / (1 - clockDrift);
  if (idleHeartbeatIntervalMs * slowest + NETWORK_MS >= electionTimeoutMsMin) return;
  const leader = world.leader();
  const term = leader?.process?.replica.term ?? 0;
  await world.runUntil(world.nowMs + QUIET_TIMEOUTS * electionTimeoutMsMax);
  const last = world.leader()?.process?.replica;
  // A preferred leader may have taken over.
  const changesMax = preferredLeaders.length > 0 ? 1 : 0;
  hold(last !== undefined && last.term <= term + changesMax, () => {
    return `the group had a leader in term ${term}, nothing went wrong, and now it is term ${last?.term}`;
  });
  const { id } = world.leader()!;
  hold(isVoter(world.checker.truth.membership, id), () => `${id} leads without a vote`);
}

/** By the leader's clock; it may be a little late. */
function isDelivered(world: World): boolean {
  const wallMs = world.leader()?.process?.life.wallMs() ?? Number.POSITIVE_INFINITY;
  return world.checker.truth.consumption.overdue(wallMs - LATE_MS_MAX).length === 0;
}

function isAtRest(world: World): boolean {
  const end = world.checker.truth.last;
  return world.members.every(({ process }) => {
    if (process === null) return false;
    return process.log.lastIndex === end && process.broker.appliedIndex === end;
  });
}

function isSaved(world: World, upTo: number): boolean {
  return world.members.every(({ storedIndex }) => storedIndex >= upTo);
}

async function waitFor(world: World, crowd: Crowd, what: string, forMs: number, isSo: () => boolean): Promise<void> {
  const lastMs = world.nowMs + CATCH_UP_TIMES_MAX * forMs;
  let limitMs = world.nowMs + forMs;
  let reached = recordsHeld(world);
  while (!isSo()) {
    hold(world.nowMs < limitMs, () => `not within ${Math.round(forMs)} ms of quiet: ${what}; ${summary(world, crowd)}`);
    await world.runUntil(world.nowMs + LOOK_INTERVAL_MS);
    const held = recordsHeld(world);
    if (held > reached && world.isClosing) limitMs = Math.min(lastMs, world.nowMs + forMs);
    reached = Math.max(reached, held);
  }
}

/** Committed records that the members hold, all together. */
function recordsHeld(world: World): number {
  const { last } = world.checker.truth;
  return world.members.reduce((sum, { process }) => sum + Math.min(last, process?.log.lastIndex ?? 0), 0);
}

function summary(world: World, crowd: Crowd): string {
  const states = world.survivors.map(({ id, process }) =>
    process === null ? `${id} is down` : process.replica.status(),
  );
  return `${crowd.waiting} callers wait; ${JSON.stringify(states)}`;
}
