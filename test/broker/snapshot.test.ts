// A snapshot is the state as of one index, byte for byte, whatever goes on while it is taken.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { Broker } from '../../src/broker/broker.ts';
import { encodeMembershipEntry } from '../../src/format/membership.ts';
import { logIndex } from '../../src/raft/types.ts';
import { LevelStateStore } from '../../src/storage/level_state_store.ts';
import { MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateChanges, StateEntry } from '../../src/storage/state_store.ts';
import { applyInPieces, busyLog, LIMITS } from './busy_log.ts';
import { batch, type FakeLog, Harness, membership, PRODUCER_A } from './fixture.ts';

/** The snapshot of a broker that applied exactly the records up to `index`, and nothing else ever. */
async function exactly(log: FakeLog, index: number): Promise<Buffer> {
  const harness = new Harness({ log: log.replica(), limits: LIMITS });
  await harness.open();
  harness.applyTo(index);
  return harness.snapshot();
}

/** A store that says what is done with it, and does what a test wants before. */
class ToldStore extends MemoryStateStore {
  before: (what: string) => Promise<void> = async () => {};
  override async write(changes: StateChanges, options: { readonly sync: boolean }): Promise<void> {
    await this.before(`write ${(JSON.parse(changes.get('applied')!) as { index: number }).index}`);
    await super.write(changes, options);
  }
  override entries(): AsyncIterable<StateEntry> {
    const entries = super.entries();
    const told = async function* (before: ToldStore['before']): AsyncGenerator<StateEntry> {
      await before('entries');
      for await (const entry of entries) {
        await before('row');
        yield entry;
      }
    };
    return told(this.before);
  }
  override async replace(entries: Iterable<StateEntry>): Promise<void> {
    await this.before('replace');
    await super.replace(entries);
  }
}

describe('a snapshot', () => {
  it('holds the rows of its index, without what is local', async () => {
    const harness = await Harness.start({ queues: 2 });
    const index = harness.membership(membership('a', 'b'));
    harness.append(batch(['x', 'y'], { queueId: 1, producerId: PRODUCER_A }));
    await harness.snapshot();
    harness.cutTo(4);
    harness.append(batch(['z'], { queueId: 0 }));
    await harness.snapshot();
    const snapshot = harness.snapshots.open(logIndex(5));
    const entry = encodeMembershipEntry({ index: logIndex(index), membership: membership('a', 'b') });
    expect(snapshot.meta).to.deep.equal({ tip: harness.log.tipAt(5), membership: entry });
    expect([...snapshot.rows()]).to.deep.equal([
      ['applied', '{"v":1,"index":5,"storedAtMs":1700000000000}'],
      ['m', entry.toString()],
      [`p/${PRODUCER_A}`, '[[1,2,"T",1,0,3]]'],
      ['q/T/0', '[1]'],
      ['q/T/1', '[2]'],
      ['t/T', '{"queues":2,"createdAtMs":1700000000000}'],
    ]);
    expect(harness.medium.durable.get('q/T/1')).to.equal('[2,2]');
    expect(harness.medium.durable.get('base')).to.equal('4');
  });

  it('of a group without a membership record names none', async () => {
    const harness = await Harness.start();
    await harness.snapshot();
    expect(harness.snapshots.open(logIndex(1)).meta.membership.length).to.equal(0);
  });

  it('is refused at another index than the one applied, and by a broker that failed', async () => {
    const harness = await Harness.start();
    const tip = harness.log.tipAt(1);
    harness.append(batch(['a']));
    const refused = (at = tip) => harness.broker.takeSnapshot(at).catch((error: Error) => error.message);
    expect(await refused()).to.equal('a snapshot at 1 is taken when 2 is applied');
    expect(() => harness.broker.apply(harness.log.bytes, 0, 9)).to.throw();
    expect(await refused(harness.log.tipAt(2))).to.equal('a broker that failed is not used any more');
  });

  it('is the same, byte for byte, however much is applied and stored while it is taken', async () => {
    const log = await busyLog(11, 120);
    for (let seed = 1; seed <= 8; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log, limits: LIMITS });
      const store = new ToldStore(harness.medium);
      await harness.open(store);
      store.before = async () => {
        harness.applyTo(Math.min(log.lastIndex, harness.broker.appliedIndex + random.between(0, 2)));
        await Promise.resolve();
        if (random.next() < 0.2) void harness.broker.checkpoint();
      };
      const taken = new Map<number, Promise<void>>();
      await applyInPieces(harness, random, async () => {
        if (random.next() < 0.3) void harness.broker.checkpoint();
        const { appliedIndex } = harness.broker;
        if (random.next() < 0.3) taken.set(appliedIndex, harness.broker.takeSnapshot(log.tipAt(appliedIndex)));
        for (let turn = random.between(0, 30); turn > 0; turn--) await Promise.resolve();
      });
      await Promise.all(taken.values());
      expect(taken.size).to.be.greaterThan(3);
      for (const index of taken.keys()) {
        const same = harness.snapshotBytes(index).equals(await exactly(log, index));
        expect(same, `seed ${seed}, index ${index}`).to.equal(true);
      }
      await harness.broker.checkpoint();
    }
  });

  it('is made before the store goes on: checkpoints asked for before and after wait', async () => {
    const harness = await Harness.start();
    const store = new ToldStore(harness.medium);
    await harness.open(store);
    harness.applyTo();
    const steps: string[] = [];
    store.before = async (what) => {
      if (what !== 'row') steps.push(what);
      await new Promise((resolve) => setImmediate(resolve));
    };
    const waiting: Promise<unknown>[] = [harness.broker.checkpoint()];
    const say = (what: string) => steps.push(what);
    const applyOne = () => {
      harness.noop();
      harness.applyTo();
    };
    applyOne();
    waiting.push(harness.broker.checkpoint().then((index) => say(`stored ${index}`)));
    waiting.push(harness.broker.takeSnapshot(harness.log.tipAt(2)).then(() => say('snapshot 2')));
    applyOne();
    waiting.push(harness.broker.takeSnapshot(harness.log.tipAt(3)).then(() => say('snapshot 3')));
    applyOne();
    waiting.push(harness.broker.checkpoint().then((index) => say(`stored ${index}`)));
    await Promise.all(waiting);
    expect(steps).to.deep.equal(
      'write 1,write 2,entries,snapshot 2,write 3,entries,snapshot 3,write 4,stored 4,stored 4'.split(','),
    );
  });

  it('is taken at once when the store stands there already, and is kept when it is there', async () => {
    const harness = await Harness.start();
    harness.append(batch(['a']));
    await harness.broker.checkpoint();
    const steps: string[] = [];
    const store = new ToldStore(harness.medium);
    store.before = async (what) => void (what === 'row' || steps.push(what));
    await harness.open(store);
    await harness.snapshot();
    await harness.snapshot();
    expect(steps).to.deep.equal(['entries']);
  });

  it('that cannot be written is not there, and costs the broker nothing else', async () => {
    const harness = await Harness.start();
    harness.append(batch(['a']));
    await harness.broker.checkpoint();
    harness.disk.failAt(2, 'ENOSPC');
    const outcome = await harness.snapshot().catch((error: { code?: string }) => error.code);
    expect(outcome).to.equal('STORAGE_FAILED');
    expect(harness.snapshots.list()).to.deep.equal([]);
    harness.append(batch(['b']));
    expect(await harness.broker.checkpoint()).to.equal(3);
    await harness.snapshot();
    expect(harness.snapshots.list()).to.deep.equal([3]);
  });

  for (const failing of ['write 2', 'entries', 'row']) {
    it(`is the last thing when the store fails at "${failing}"`, async () => {
      const harness = await Harness.start();
      const store = new ToldStore(harness.medium);
      await harness.open(store);
      harness.applyTo();
      harness.noop();
      harness.applyTo();
      store.before = async (what) => {
        if (what === failing) throw new Error('the store fails');
      };
      const outcomes = [harness.snapshot(), harness.snapshot(), harness.broker.checkpoint()].map((done) =>
        done.then(
          () => 'done',
          (error: Error) => error.message,
        ),
      );
      // Whoever comes later is told the reason, not that there was one.
      expect(await Promise.all(outcomes)).to.deep.equal(['the store fails', 'the store fails', 'the store fails']);
      expect(harness.snapshots.list()).to.deep.equal([]);
    });
  }

  it('is waited for by close', async () => {
    const harness = await Harness.start();
    const snapshot = harness.broker.takeSnapshot(harness.log.tipAt(1));
    await harness.broker.close();
    await snapshot;
    expect(harness.snapshots.list()).to.deep.equal([1]);
  });
});

describe('a snapshot and a power loss', () => {
  /** Applies in pieces and takes a snapshot after each third of the log, while applying goes on. */
  async function run(harness: Harness, promised: number[]): Promise<void> {
    const { log, broker } = harness;
    for (const index of [10, 20, 30]) {
      const under: Promise<unknown>[] = [];
      const start = (work: Promise<unknown>): void => {
        work.catch(() => {});
        under.push(work);
      };
      harness.applyTo(index - 5);
      start(broker.checkpoint());
      harness.applyTo(index);
      promised.push(index);
      start(broker.takeSnapshot(log.tipAt(index)));
      harness.applyTo(index + 2);
      start(broker.checkpoint());
      await Promise.all(under);
    }
  }

  it('at any step of disk or store: the store has not passed an index whose snapshot is not there', async () => {
    const log = await busyLog(5, 12);
    expect(log.lastIndex).to.be.greaterThan(35);
    const expected = new Map<number, Buffer>();
    for (const index of [10, 20, 30]) expected.set(index, await exactly(log, index));
    for (let step = 1, isOver = false; !isOver; step++) {
      const harness = new Harness({ log, limits: LIMITS });
      const store = new ToldStore(harness.medium);
      await harness.open(store);
      let steps = 0;
      let isDead = false;
      const count = (): void => {
        if (isDead || ++steps === step) {
          isDead = true;
          throw new Error('power loss');
        }
      };
      harness.disk.onOperation = count;
      store.before = async () => count();
      const promised: number[] = [];
      const outcome = await run(harness, promised).catch((error: Error) => error.message);
      isOver = outcome === undefined;
      expect(isDead, `step ${step}: ${outcome}`).to.equal(!isOver);
      await harness.crash(step, 0);
      const { appliedIndex } = harness.broker;
      const made: readonly number[] = harness.snapshots.list();
      const passed = promised.filter((index) => index < appliedIndex);
      expect(made, `step ${step}, applied ${appliedIndex}`).to.include.members(passed);
      // What is there is right, and what is missing can be made now.
      for (const index of [10, 20, 30].filter((each) => each >= appliedIndex)) {
        harness.applyTo(index);
        await harness.snapshot();
      }
      for (const [index, bytes] of expected) {
        expect(harness.snapshotBytes(index).equals(bytes), `step ${step}, snapshot ${index}`).to.equal(true);
      }
      expect(harness.disk.files().filter((path) => path.endsWith('.new'))).to.deep.equal([]);
    }
  });
});

describe('the snapshots of two replicas', () => {
  it('are the same bytes, whatever each has kept of its log, been through, or restored itself from', async () => {
    const log = await busyLog(23, 200);
    const boundaries = [0.2, 0.4, 0.6, 0.8].map((share) => Math.floor(share * log.lastIndex));
    const expected = new Map<number, Buffer>();
    for (const index of boundaries) expected.set(index, await exactly(log, index));
    for (let seed = 1; seed <= 6; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log: log.replica(), limits: LIMITS });
      await harness.open();
      for (const index of boundaries) {
        harness.applyTo(random.between(harness.broker.appliedIndex, index));
        if (random.next() < 0.5) await harness.broker.checkpoint();
        harness.applyTo(index);
        expect((await harness.snapshot()).equals(expected.get(index)!), `seed ${seed}, at ${index}`).to.equal(true);
        if (random.next() < 0.7) harness.cutTo(index);
        if (random.next() < 0.5) await harness.broker.checkpoint();
        if (random.next() < 0.5) await harness.crash(seed, index);
        if (random.next() < 0.3) {
          harness.medium.durable.set('q/T/0', 'damaged');
          await harness.crash(seed, index);
        }
      }
      harness.applyTo();
      expect((await harness.snapshot()).equals(await exactly(log, log.lastIndex)), `seed ${seed}`).to.equal(true);
    }
  });

  it('are the same bytes on real files', async () => {
    const log = await busyLog(3, 60);
    const directory = mkdtempSync(join(tmpdir(), 'tledger-snapshot-'));
    try {
      const disk = new RealDisk();
      const snapshots = SnapshotStore.open({ disk, directory });
      const broker = await Broker.open({
        disk,
        directory: join(directory, 'consumequeue'),
        store: await LevelStateStore.open(join(directory, 'state')),
        snapshots,
        base: log.base,
        readLog: log.read,
        segmentSizeBytes: log.segmentSizeBytes,
        limits: LIMITS,
      });
      const index = Math.floor(log.lastIndex / 2);
      broker.apply(log.bytes, 0, log.endOf(index));
      const taken = broker.takeSnapshot(log.tipAt(index));
      broker.apply(log.bytes, log.endOf(index), log.end);
      await Promise.all([broker.checkpoint(), taken]);
      await broker.close();
      const size = (await exactly(log, index)).length;
      const { buffer, start, end } = snapshots.open(logIndex(index)).read(0, size + 1);
      expect(buffer.subarray(start, end).equals(await exactly(log, index))).to.equal(true);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
