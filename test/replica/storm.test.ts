import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import type { MembershipChange, NodeId } from '../../src/raft/types.ts';
import { addressOf, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { expectAcknowledged, expectConverged, Load, outcome } from './load.ts';

/** Everything at once: crashes, bad networks, stalls, hanging disks, changes of members, snapshots; then peace. */
async function storm(seed: number): Promise<string> {
  const random = new SeededRandom(seed * 7_919);
  const pick = <T>(items: readonly T[]): T => items[random.between(0, items.length - 1)]!;
  const group = await Group.started({
    seed,
    spares: 2,
    retentionBytes: pick([1, 2, 3]) * SEGMENT_SIZE_BYTES,
    snapshotChunkBytes: pick([250, 900, 4_000]),
    diskStallMs: 400,
    leaseReads: seed % 2 === 0,
    flush: seed % 5 === 4 ? 'async' : 'sync',
  });
  await group.createTopic('T');
  const options = { bodyBytes: pick([300, 1_000, 4_000]) };
  const load = new Load(group, options).start();
  await load.more(20);
  const releases: (() => void)[] = [];
  const isAsync = seed % 5 === 4;
  const change = (): MembershipChange => {
    const id = pick(group.ids);
    return pick<MembershipChange>([
      { type: 'add', id, address: addressOf(id), promote: random.between(0, 3) > 0, replaces: null },
      { type: 'add', id, address: addressOf(id), promote: true, replaces: pick(group.ids) },
      { type: 'remove', id },
      { type: 'cancel' },
      { type: 'promote', id },
    ]);
  };
  const strikes: (() => Promise<void> | void)[] = [
    async () => {
      const id = pick(group.ids);
      if (group.member(id).replica === null) return;
      // With flush async a power loss takes what was acknowledged; that is its bargain.
      group.crash(id, isAsync ? 'kill' : pick(['kill', 'lost', 'kept', 'sectors']));
    },
    () => restartAll(group, (id) => random.between(0, 2) > 0 || id === 'n0'),
    () => restartAll(group, () => true),
    () => {
      const [one, other] = [pick(group.ids), pick(group.ids)];
      if (one !== other) group.disconnect(one, other);
    },
    () => reconnectAll(group),
    () => {
      const share = pick([0, 0.05, 0.3]);
      group.network.weather = { lossShare: share, duplicateShare: share, extraDelayMsMax: pick([0, 5, 40]) };
    },
    () => group.network.calm(),
    () => group.member(pick(group.ids)).clock.stall(pick([100, 700, 1_500])),
    () => {
      const { disk } = group.member(pick(group.ids));
      const held: (() => void)[] = [];
      disk.deferFlush = (finish) => held.push(finish);
      releases.push(() => {
        disk.deferFlush = queueMicrotask;
        for (const finish of held.splice(0)) finish();
      });
    },
    () => releases.shift()?.(),
    () => {
      const leader = group.leader();
      if (leader === null) return;
      void outcome(group.replica(leader).changeMembership(change(), group.clock.monotonicMs() + 2_000));
    },
    () => {
      const leader = group.leader();
      if (leader === null) return;
      void outcome(group.replica(leader).transferLeadership(null, group.clock.monotonicMs() + 1_000));
    },
  ];
  for (let round = 0; round < 40; round++) {
    await pick(strikes)();
    await group.run(random.between(1, 300));
    expectNoFailure(group);
  }
  group.network.calm();
  reconnectAll(group);
  for (const release of releases) release();
  await restartAll(group, () => true);
  await group.run(1_600);
  await load.more(30, 30_000);
  await load.stop();
  const { voters, learners } = group.replica(group.leader()!).membership.membership;
  const members = [...voters, ...learners.map(({ id }) => id)];
  await expectConverged(group, members);
  expectAcknowledged(group, load, options, members);
  expectNoFailure(group);
  return `${load.acknowledged} acknowledged, ${group.network.sentCounts.get('snapshot') ?? 0} pieces, members ${members}`;
}

function expectNoFailure(group: Group): void {
  for (const id of group.ids) expect(group.member(id).failure, id).to.equal(null);
}

async function restartAll(group: Group, chosen: (id: NodeId) => boolean): Promise<void> {
  for (const id of group.ids) if (group.member(id).replica === null && chosen(id)) await group.start(id);
}

function reconnectAll(group: Group): void {
  for (const one of group.ids) {
    for (const other of group.ids) if (one < other && group.cut.has(`${one}>${other}`)) group.reconnect(one, other);
  }
}

const first = Number(process.env.STORM_SEED ?? 1);
const count = Number(process.env.STORM_COUNT ?? 12);

describe('replica: storms', () => {
  for (let seed = first; seed < first + count; seed++) {
    it(`lose nothing, double nothing, and pass (seed ${seed})`, async function () {
      this.timeout(180_000);
      const summary = await storm(seed);
      if (process.env.STORM_SEED !== undefined) console.log(seed, summary);
    });
  }
});
