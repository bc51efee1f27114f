// Groups in which one follower has fallen behind what the others keep of the log, so that only a snapshot helps it.
import type { NodeId } from '../../src/raft/types.ts';
import { Group, type GroupOptions } from './group.ts';
import { Load } from './load.ts';

/** What `fallenBehind` leaves. */
export interface Behind {
  readonly group: Group;
  readonly leader: NodeId;
  /** Not running; its log ends before the base of the others. */
  readonly follower: NodeId;
  /** Stopped. */
  readonly load: Load;
}

/** Creates many topics with long names, so that a snapshot has some size. */
export async function createTopics(group: Group, count: number): Promise<void> {
  const leader = await group.elect();
  const deadlineMs = group.clock.monotonicMs() + 20_000;
  const created = Array.from({ length: count }, (_, at) =>
    group.replica(leader).createTopic(`topic-${at}-`.padEnd(100, 'x'), 1, deadlineMs),
  );
  let isDone = false;
  const all = Promise.all(created).finally(() => {
    isDone = true;
  });
  await group.until('topics', () => isDone);
  await all;
}

/** @param topics how many topics there are besides 'T': about 250 bytes each in a snapshot. */
export async function fallenBehind(options: GroupOptions = {}, topics = 0): Promise<Behind> {
  const group = await Group.started({ retentionBytes: 128 * 1024, snapshotChunkBytes: 900, ...options });
  await group.createTopic('T');
  const load = new Load(group).start();
  await load.more(5);
  const leader = group.leader()!;
  const follower = group.ids.find((id) => id !== leader)!;
  // Its own log is not cut yet.
  await group.run(20);
  group.crash(follower, 'kill');
  if (topics > 0) await createTopics(group, topics);
  await load.more(350);
  await load.stop();
  await group.run(500);
  return { group, leader: group.leader()!, follower, load };
}
