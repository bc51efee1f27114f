import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { Broker } from '../../src/broker/broker.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateChanges, StateEntry, StateStore } from '../../src/storage/state_store.ts';
import { batch, DIRECTORY, type FakeLog, GROUP_DIRECTORY, Harness, PRODUCER_A, START_MS } from './fixture.ts';
import { modelOf, stateOf } from './model.ts';

/** A store that lets a test look before each batch, hold it back, or fail it. */
class WatchedStore implements StateStore {
  readonly inner = new MemoryStateStore();
  readonly onWrite: (changes: StateChanges) => Promise<void>;
  writes = 0;
  closed = 0;

  constructor(onWrite: (changes: StateChanges) => Promise<void>) {
    this.onWrite = onWrite;
  }
  load() {
    return this.inner.load();
  }
  async write(changes: StateChanges, options: { readonly sync: boolean }) {
    this.writes++;
    expect(options.sync).to.equal(true);
    await this.onWrite(changes);
    await this.inner.write(changes, options);
  }
  reset() {
    return this.inner.reset();
  }
  entries() {
    return this.inner.entries();
  }
  replace(entries: Iterable<StateEntry>) {
    return this.inner.replace(entries);
  }
  async close() {
    this.closed++;
  }
}

describe('a checkpoint', () => {
  const options = (disk: MemoryDisk, store: StateStore, log: FakeLog) => ({
    disk,
    directory: DIRECTORY,
    store,
    snapshots: SnapshotStore.open({ disk, directory: GROUP_DIRECTORY }),
    base: log.base,
    readLog: log.read,
    segmentSizeBytes: log.segmentSizeBytes,
  });

  async function brokerOver(store: StateStore, some: { flushLog?: (upTo: number) => Promise<void> } = {}) {
    const harness = new Harness({});
    harness.broker = await Broker.open({ ...options(harness.disk, store, harness.log), ...some });
    harness.broker.startLeading();
    harness.createTopic('T', 4);
    return harness;
  }

  it('writes and flushes the queues before it stores the tables', async () => {
    const seen: [boolean, number[]][] = [];
    let harness: Harness | null = null;
    const path = (queueId: number) => `${DIRECTORY}/T/${queueId}/00000000000000000000`;
    const store = new WatchedStore(async () => {
      const { disk } = harness!;
      seen.push([disk.isDurable(), [0, 1, 2, 3].map((queueId) => disk.bytes(path(queueId)).length)]);
    });
    harness = await brokerOver(store);
    for (let queueId = 0; queueId < 2; queueId++) harness.append(batch(['a', 'b'], { queueId }));
    harness.broker.writeUnits();
    expect(harness.disk.isDurable()).to.equal(false);
    for (let queueId = 1; queueId < 4; queueId++) harness.append(batch(['c'], { queueId }));
    expect(harness.broker.changedQueues).to.equal(4);
    await harness.broker.checkpoint();
    expect(seen).to.deep.equal([[true, [40, 60, 20, 20]]]);
    expect(harness.broker.changedQueues).to.equal(0);
  });

  it('writes what could not be written before, and can be read all the while', async () => {
    const store = new WatchedStore(async () => {});
    const harness = await brokerOver(store);
    harness.append(batch(['a', 'b']));
    harness.disk.failAt(1, 'EIO');
    expect(() => harness.broker.writeUnits()).to.throw(TLedgerError);
    expect(harness.bodies(0)).to.deep.equal(['a', 'b']);
    harness.append(batch(['c']));
    await harness.broker.checkpoint();
    expect(harness.disk.bytes(`${DIRECTORY}/T/0/00000000000000000000`).length).to.equal(60);
    expect(harness.bodies(0)).to.deep.equal(['a', 'b', 'c']);
  });

  it('waits until the log is durable up to the index it names', async () => {
    const events: string[] = [];
    const store = new WatchedStore(async (changes) => {
      events.push(`store ${changes.get('applied')}`);
    });
    const harness = await brokerOver(store, {
      flushLog: async (upTo) => {
        await Promise.resolve();
        events.push(`log ${upTo}`);
      },
    });
    harness.append(batch(['a']));
    await harness.broker.checkpoint();
    expect(events).to.deep.equal(['log 2', 'store {"v":1,"index":2,"storedAtMs":1700000000000}']);
  });

  it('holds only what has changed since the last one, and is not made for nothing', async () => {
    const keys: string[][] = [];
    const store = new WatchedStore(async (changes) => {
      keys.push([...changes.keys()].sort());
    });
    const harness = await brokerOver(store);
    harness.append(batch(['a'], { producerId: PRODUCER_A }));
    expect(await harness.broker.checkpoint()).to.equal(2);
    harness.append(batch(['b'], { queueId: 3 }));
    harness.noop();
    harness.applyTo();
    expect(await harness.broker.checkpoint()).to.equal(4);
    expect(await harness.broker.checkpoint()).to.equal(4);
    expect(keys).to.deep.equal([
      ['applied', `p/${PRODUCER_A}`, 'q/T/0', 't/T'],
      ['applied', 'q/T/3'],
    ]);
  });

  it('never runs twice at once: calls during another share the next, which covers what was applied', async () => {
    let running = 0;
    const store = new WatchedStore(async () => {
      expect(++running).to.equal(1);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    });
    const harness = await brokerOver(store);
    const first = harness.broker.checkpoint();
    harness.append(batch(['a']));
    const others = [harness.broker.checkpoint(), harness.broker.checkpoint()];
    expect(await Promise.all([first, ...others])).to.deep.equal([1, 2, 2]);
    expect(store.writes).to.equal(2);
  });

  it('leaves what is applied meanwhile to the next one', async () => {
    const stored: StateChanges[] = [];
    let harness: Harness | null = null;
    const store = new WatchedStore(async (changes) => {
      stored.push(changes);
      if (stored.length === 1) harness!.append(batch(['late'], { producerId: PRODUCER_A, sequence: 2 }));
    });
    harness = await brokerOver(store);
    harness.append(batch(['a'], { producerId: PRODUCER_A }));
    await harness.broker.checkpoint();
    await harness.broker.checkpoint();
    const at = (number: number) => ['applied', 'q/T/0', `p/${PRODUCER_A}`].map((key) => stored[number]!.get(key));
    expect(at(0)).to.deep.equal(['{"v":1,"index":2,"storedAtMs":1700000000000}', '[0,1]', '[[1,1,"T",0,0,2]]']);
    expect(at(1)).to.deep.equal(['{"v":1,"index":3,"storedAtMs":1700000000000}', '[0,2]', '[[1,2,"T",0,0,2]]']);
  });

  for (const what of ['flush', 'store'] as const) {
    it(`is the last one when its ${what} fails`, async () => {
      const store = new WatchedStore(async () => {
        if (what === 'store') throw new Error('the store fails');
      });
      const harness = await brokerOver(store);
      harness.append(batch(['a']));
      if (what === 'flush') harness.disk.failAt(1, 'EIO');
      const outcomes: string[] = [];
      for (let attempt = 0; attempt < 2; attempt++) {
        await harness.broker.checkpoint().catch((error: Error & { code?: string }) => {
          outcomes.push(error.code ?? error.message);
        });
      }
      const reason = what === 'flush' ? 'STORAGE_FAILED' : 'the store fails';
      expect(outcomes).to.deep.equal([reason, reason]);
      expect(store.writes).to.equal(what === 'flush' ? 0 : 1);
      expect(() => harness.append(batch(['b']))).to.throw('only a leader admits');
    });
  }

  it('is waited for by close, which makes none itself and closes the store', async () => {
    let isDone = false;
    const store = new WatchedStore(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      isDone = true;
    });
    const harness = await brokerOver(store);
    void harness.broker.checkpoint();
    harness.append(batch(['a']));
    await harness.broker.close();
    expect([isDone, store.writes, store.closed]).to.deep.equal([true, 1, 1]);
  });

  it('survives a power loss at every step of the disk', async () => {
    const run = async (harness: Harness) => {
      for (let round = 0; round < 3; round++) {
        for (let queueId = 0; queueId < 3; queueId++) harness.append(batch(['a', 'b', 'c'], { queueId }));
        await harness.broker.checkpoint();
      }
    };
    const whole = await Harness.start({ queues: 3 });
    const startCount = whole.disk.operationCount;
    await run(whole);
    const steps = whole.disk.operationCount - startCount;
    expect(steps).to.be.greaterThan(20);
    for (let step = 1; step <= steps; step++) {
      const harness = await Harness.start({ queues: 3 });
      const stop = harness.disk.operationCount + step;
      harness.disk.onOperation = ({ number }) => {
        if (number === stop) throw new Error('power loss');
      };
      const outcome = await run(harness).then(
        () => 'done',
        (error: Error) => error.message,
      );
      expect(outcome, `step ${step}`).to.equal('power loss');
      await harness.crash(step);
      harness.broker.writeUnits();
      const expected = modelOf(harness.log, harness.log.lastIndex).units;
      for (let queueId = 0; queueId < 3; queueId++) {
        const path = `${DIRECTORY}/T/${queueId}/00000000000000000000`;
        const { max } = harness.broker.range('T', queueId);
        expect(max * 20, `step ${step}`).to.equal(expected.get(path)?.length ?? 0);
        expect(harness.bodies(queueId).length).to.equal(max);
        if (max > 0) expect(harness.disk.bytes(path).equals(expected.get(path)!), `step ${step}`).to.equal(true);
      }
    }
  });
});

describe('opening', () => {
  const damaged: [string, string][] = [
    ['applied', 'x'],
    ['applied', '{"v":2,"index":1}'],
    ['applied', '{"v":1,"index":-1}'],
    ['applied', 'null'],
    ['t/T', '{"queues":"4","createdAtMs":1}'],
    ['q/T/0', '[0]'],
    ['q/T/0', '[0,1.5]'],
    ['q/T', '[0,1]'],
    ['q/T/x', '[0,1]'],
    ['p/00000000000000c1', '{}'],
    ['p/00000000000000c1', '[[1,1,"U",0,0,1]]'],
    ['p/00000000000000c1', '[[1,1,"T",9,0,1]]'],
    ['p/00000000000000c1', '[[1]]'],
    ['z/unknown', '1'],
  ];
  for (const [key, value] of damaged) {
    it(`gives up a state with the entry ${key} = ${value}, and names it`, async () => {
      const medium = new MemoryStateMedium();
      medium.durable.set('t/T', '{"queues":4,"createdAtMs":1}').set(key, value);
      const harness = new Harness({ medium });
      await harness.open();
      expect(harness.broker.appliedIndex).to.equal(0);
      expect(harness.broker.topics()).to.deep.equal([]);
      expect(medium.durable.size).to.equal(0);
      expect(harness.warnings).to.have.length(1);
      expect(harness.warnings[0]).to.include('made anew from the log').and.include(JSON.stringify(key));
    });
  }

  it('with an empty store over old files rebuilds everything from the log', async () => {
    const harness = await Harness.start({ queues: 2 });
    harness.append(batch(['a', 'b'], { producerId: PRODUCER_A }));
    const before = await stateOf(harness);
    const rebuilt = new Harness({ log: harness.log, disk: harness.disk });
    await rebuilt.open();
    expect(rebuilt.broker.appliedIndex).to.equal(0);
    rebuilt.applyTo();
    expect(await stateOf(rebuilt)).to.deep.equal(before);
  });

  it('does not admit before it is told to lead', async () => {
    const harness = new Harness({});
    await harness.open();
    const place = { firstIndex: logIndex(1), nowMs: START_MS };
    expect(() => harness.broker.admit(batch(['a']), place)).to.throw('only a leader admits');
    harness.log.append(blankRecord(recordMagic.noop, Buffer.alloc(0)));
    harness.applyTo();
    expect(harness.broker.appliedIndex).to.equal(1);
  });
});
