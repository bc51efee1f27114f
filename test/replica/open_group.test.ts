import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { membershipsOf, openGroup } from '../../src/replica/open_group.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { addressOf, DIRECTORY, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { expectConverged, Load, outcome } from './load.ts';

/** A store that says whether it was closed. */
function watchedStore(): { store: MemoryStateStore; closed: () => number } {
  const store = new MemoryStateStore();
  const close = store.close.bind(store);
  let count = 0;
  store.close = async () => {
    count++;
    await close();
  };
  return { store, closed: () => count };
}

const options = (disk: MemoryDisk, store: MemoryStateStore) => ({
  disk,
  directory: DIRECTORY,
  store,
  segmentSizeBytes: SEGMENT_SIZE_BYTES,
  onWarning: () => {},
});

const founders = bootstrap(Object.fromEntries(['n0', 'n1', 'n2'].map((id) => [id, addressOf(id)])));

/** A group whose last membership is in the log of `n0`, and in its state only if that is saved. */
async function grown(isSaved: boolean): Promise<Group> {
  const group = await Group.started({ nodes: 1, spares: 1 });
  await group.createTopic('T');
  await group.run(500);
  const deadlineMs = group.clock.monotonicMs() + 2_000;
  const change = { type: 'add', id: 'n1', address: addressOf('n1'), promote: false, replaces: null } as const;
  const told = outcome(group.replica('n0').changeMembership(change, deadlineMs));
  await group.run(isSaved ? 500 : 20);
  expect(await told).to.equal('ok');
  group.crash('n0', 'lost');
  return group;
}

describe('replica: opening what a group has stored', () => {
  it('makes an empty group, of which only the configuration knows the members', async () => {
    const disk = new MemoryDisk();
    const { store, closed } = watchedStore();
    const group = await openGroup(options(disk, store));
    expect(membershipsOf(group.log, group.broker, founders)).to.deep.equal([{ index: 0, membership: founders }]);
    expect(group.log.lastIndex).to.equal(0);
    await group.close();
    expect(closed()).to.equal(1);
  });

  for (const isSaved of [true, false]) {
    it(`finds the members ${isSaved ? 'in the state' : "in the log's tail"}`, async () => {
      const group = await grown(isSaved);
      const { disk, medium } = group.member('n0');
      const open = await openGroup(options(disk, new MemoryStateStore(medium)));
      const entries = membershipsOf(open.log, open.broker, founders);
      expect(entries).to.have.length(isSaved ? 1 : 2);
      expect(entries.at(-1)!.membership.learners.map(({ id }) => id)).to.deep.equal(['n1']);
      expect(entries[0]!.index).to.be.at.most(open.broker.appliedIndex);
      await open.close();
    });
  }

  const damages: Record<string, (disk: MemoryDisk) => void> = {
    'the hard state': (disk) => damage(disk, 'hardstate'),
    'the log': (disk) => disk.lose(`${DIRECTORY}/commitlog/${'0'.repeat(20)}`),
  };
  for (const [what, hurt] of Object.entries(damages)) {
    it(`refuses when ${what} is damaged, and leaves nothing open`, async () => {
      const group = await Group.started({ nodes: 1 });
      await group.createTopic('T');
      await group.run(500);
      group.crash('n0', 'kill');
      const { disk } = group.member('n0');
      hurt(disk);
      const { store, closed } = watchedStore();
      let code = '';
      await openGroup(options(disk, store)).catch((error: TLedgerError) => {
        code = error.code;
      });
      expect(code).to.equal('DATA_CORRUPTED');
      expect(closed()).to.equal(1);
    });
  }

  it('refuses to run without the votes of a log that was written after them', async () => {
    const group = await Group.started({ nodes: 1 });
    await group.createTopic('T');
    await group.run(500);
    group.crash('n0', 'kill');
    group.member('n0').disk.lose(`${DIRECTORY}/hardstate`);
    expect(await outcome(group.start('n0'))).to.equal('DATA_CORRUPTED');
  });

  it('may be ended at every operation of the disk while it opens, again and again', async function () {
    this.timeout(180_000);
    const group = await Group.started({ retentionBytes: 2 * SEGMENT_SIZE_BYTES });
    await group.createTopic('T');
    const load = new Load(group).start();
    await load.more(300);
    await load.stop();
    const victim: NodeId = group.ids.find((id) => id !== group.leader())!;
    let isOpen = false;
    let rounds = 0;
    for (let at = 1; !isOpen; at++) {
      group.crash(victim, (['kill', 'lost', 'sectors'] as const)[at % 3]!);
      let left = at;
      const { disk } = group.member(victim);
      disk.onOperation = () => {
        if (--left === 0) throw new Error('the process is gone');
      };
      isOpen = await group.start(victim).then(
        () => true,
        () => false,
      );
      disk.onOperation = null;
      rounds++;
    }
    expect(rounds).to.be.greaterThan(10);
    await expectConverged(group);
  });
});

/** Changes every byte of a file. */
function damage(disk: MemoryDisk, name: string): void {
  const path = `${DIRECTORY}/${name}`;
  disk.corrupt(path, 0, Buffer.from(disk.bytes(path).map((byte) => byte ^ 0xff)));
}
