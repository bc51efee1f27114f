// A snapshot in the place of the records it stands for: installed while the broker runs, or at the next start.
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { logIndex } from '../../src/raft/types.ts';
import { UNITS_PER_FILE } from '../../src/storage/consume_queue.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { applyInPieces, busyLog, LIMITS } from './busy_log.ts';
import { batch, codeOf, DIRECTORY, FakeLog, Harness, membership, PRODUCER_A, PRODUCER_B } from './fixture.ts';
import { modelOf, stateOf } from './model.ts';

/** The bytes of the snapshot at `index` of a replica that applied everything up to it. */
async function snapshotOf(log: FakeLog, index: number, limits = {}): Promise<Buffer> {
  const harness = new Harness({ log: log.replica(), limits });
  await harness.open();
  harness.applyTo(index);
  return harness.snapshot();
}

/** The log is begun anew behind `index`, and the snapshot installed. */
async function install(harness: Harness, leader: FakeLog, index: number): Promise<void> {
  const snapshot = harness.snapshots.open(logIndex(index));
  await harness.broker.install(snapshot, () => {
    harness.log = leader.replica(index, index);
  });
  snapshot.close();
}

/** A leader's log: topic T with three queues, producers, a membership, then topic U. */
async function leader(): Promise<Harness> {
  const harness = await Harness.start({ queues: 3, log: new FakeLog(1 << 11) });
  for (let round = 0; round < 6; round++) {
    const sequence = 1 + 2 * round;
    harness.append(batch([`a${round}`, `b${round}`], { queueId: 0, producerId: PRODUCER_A, sequence }));
    harness.append(batch([`c${round}`], { queueId: 1 }));
    if (round === 2) harness.membership(membership('a', 'b', 'c'));
    harness.applyTo();
    if (round === 3) harness.createTopic('U', 2);
  }
  return harness;
}

describe('a snapshot that is installed', () => {
  it('leaves the state of a replica that applied everything, from there on, too', async () => {
    const log = await busyLog(31, 200);
    const base = Math.floor(log.lastIndex * 0.6);
    const reference = new Harness({ log, limits: LIMITS });
    await reference.open();
    reference.applyTo();
    const expected = await reference.snapshot();
    const { units } = modelOf(log, log.lastIndex, LIMITS.producersMax);
    const { units: before } = modelOf(log, base, LIMITS.producersMax);
    for (let seed = 1; seed <= 6; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log: log.replica(), limits: LIMITS });
      await harness.open();
      harness.applyTo(random.between(0, base - 1));
      const checkpoint = random.next() < 0.5 ? harness.broker.checkpoint() : null;
      await harness.receive(base, await snapshotOf(log, base, LIMITS));
      await install(harness, log, base);
      await checkpoint;
      expect(harness.broker.appliedIndex).to.equal(base);
      harness.log = log.replica(base);
      await applyInPieces(harness, random, async () => {
        if (random.next() < 0.3) await harness.broker.checkpoint();
        if (random.next() < 0.2) await harness.crash(random.between(1, 1e9), 0);
      });
      expect((await harness.snapshot()).equals(expected), `seed ${seed}`).to.equal(true);
      for (const { name, queues } of harness.broker.topics()) {
        for (let queueId = 0; queueId < queues; queueId++) {
          const path = `${DIRECTORY}/${name.replaceAll('|', '+')}/${queueId}/00000000000000000000`;
          const { min, max } = harness.broker.range(name, queueId);
          expect(min, path).to.equal((before.get(path)?.length ?? 0) / 20);
          expect(max, path).to.equal((units.get(path)?.length ?? 0) / 20);
          if (min === max) continue;
          const kept = harness.disk.bytes(path).subarray(20 * min, 20 * max);
          expect(kept.equals(units.get(path)!.subarray(20 * min)), path).to.equal(true);
          expect(harness.bodies(queueId, name)).to.deep.equal(reference.bodies(queueId, name).slice(min));
        }
      }
    }
  });

  it('finds all units written of the queues that it replaces: none of them writes any more', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const harness = new Harness({ log: from.log.replica() });
    await harness.open();
    harness.applyTo(6);
    await harness.receive(lastIndex, await from.snapshot());
    const snapshot = harness.snapshots.open(logIndex(lastIndex));
    const written: string[] = [];
    await harness.broker.install(snapshot, () => {
      harness.log = from.log.replica(lastIndex, lastIndex);
      harness.disk.onOperation = ({ kind, path }) => {
        if (kind === 'write' && path.startsWith(DIRECTORY)) written.push(path);
      };
    });
    snapshot.close();
    harness.broker.writeUnits();
    expect(written).to.deep.equal([]);
  });

  it('is what can be read before the call returns, and wakes who waits when it is durable', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const harness = new Harness({ log: from.log.replica() });
    await harness.open();
    harness.applyTo(3);
    const events: string[] = [];
    const range = () => JSON.stringify(harness.broker.range('T', 0));
    harness.broker.onAppend('T', 0, () => events.push(`queue 0 ${range()}`));
    const stop = harness.broker.onAppend('T', 0, () => events.push('never'));
    harness.broker.onAppend('T', 2, () => events.push('queue 2'));
    harness.broker.onTopics(() => events.push(`topics ${harness.broker.topics().map(({ name }) => name)}`));
    stop();
    await harness.receive(lastIndex, await from.snapshot());
    const installing = install(harness, from.log, lastIndex);
    expect(range()).to.equal('{"queueId":0,"min":12,"max":12}');
    expect(harness.broker.membership).to.deep.equal({ index: 11, membership: membership('a', 'b', 'c') });
    expect(codeOf(() => harness.pull(0, 0))).to.equal('OFFSET_OUT_OF_RANGE');
    expect(harness.pull(0, 12).count).to.equal(0);
    expect(events).to.deep.equal([]);
    expect(harness.medium.durable.size).to.equal(0);
    await installing;
    expect(events).to.deep.equal(['topics T,U', 'queue 0 {"queueId":0,"min":12,"max":12}', 'queue 2']);
    expect(harness.medium.durable.get('applied')).to.equal(`{"v":1,"index":${lastIndex},"storedAtMs":1700000000000}`);

    // The same listeners hear of what comes now, and can be taken away.
    events.length = 0;
    const stopLate = harness.broker.onAppend('T', 1, () => events.push('queue 1'));
    harness.broker.startLeading();
    harness.append(batch(['new'], { queueId: 0, producerId: PRODUCER_A, sequence: 13 }));
    harness.append(batch(['new'], { queueId: 1 }));
    stopLate();
    harness.append(batch(['new'], { queueId: 1 }));
    expect(events).to.deep.equal(['queue 0 {"queueId":0,"min":12,"max":13}', 'queue 1']);
    expect(harness.bodies(0)).to.deep.equal(['new']);
  });

  it('forgets what was applied before and is not in it: producers, rows, who wrote last', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const harness = await Harness.start({ queues: 3 });
    harness.broker.stopLeading();
    const forked = await Harness.start({ queues: 3 });
    forked.append(batch(['x'], { producerId: PRODUCER_B }));
    harness.log = forked.log;
    harness.applyTo();
    await harness.receive(lastIndex, await from.snapshot());
    await install(harness, from.log, lastIndex);
    // There is nothing left to store.
    harness.medium.unsynced.push = () => expect.fail('something is stored');
    expect(await harness.broker.checkpoint()).to.equal(lastIndex);
    const expected = [...(await stateOf(from)).tables].map(([key, value]) => [
      key,
      key.startsWith('q/') ? value.replace(/^\[\d+,(\d+)\]$/, '[$1,$1]') : value,
    ]);
    const tables = [...(await stateOf(harness)).tables];
    expect(tables).to.deep.include(['base', String(lastIndex)]);
    expect(tables.filter(([key]) => key !== 'base')).to.deep.equal(expected);
    harness.broker.startLeading();
    const unknown = batch(['y'], { producerId: PRODUCER_B, sequence: 2 });
    expect(codeOf(() => harness.admit(unknown))).to.equal('UNKNOWN_PRODUCER');
    const repeat = harness.admit(batch(['a5', 'b5'], { producerId: PRODUCER_A, sequence: 11 }));
    expect(repeat).to.deep.include({ kind: 'repeated' });
    expect(repeat.result.queueOffset).to.equal(10);
  });

  it('comes after checkpoints that were begun, and before those that were not', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const harness = new Harness({ log: from.log.replica() });
    await harness.open();
    harness.applyTo(3);
    await harness.receive(lastIndex, await from.snapshot());
    const order: string[] = [];
    const first = harness.broker.checkpoint().then((index) => order.push(`stored ${index}`));
    const second = harness.broker.checkpoint().then((index) => order.push(`stored ${index}`));
    const taken = harness.broker.takeSnapshot(harness.log.tipAt(3)).then(() => order.push('snapshot'));
    const installed = install(harness, from.log, lastIndex).then(() => order.push('installed'));
    await Promise.all([first, second, taken, installed]);
    expect(order).to.deep.equal(['stored 3', 'snapshot', 'installed', `stored ${lastIndex}`]);
    const exact = await snapshotOf(from.log, 3);
    expect(harness.snapshotBytes(3).equals(exact)).to.equal(true);
  });

  it('is refused by a leader, and when it brings nothing new', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    await from.snapshot();
    const refused = () => install(from, from.log, lastIndex).catch((error: Error) => error.message);
    expect(await refused()).to.equal('a leader has what a snapshot could bring');
    from.broker.stopLeading();
    expect(await refused()).to.equal(`a snapshot at ${lastIndex} is installed where ${lastIndex} is applied`);
  });

  it('is the last thing when the store fails', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const store = new MemoryStateStore();
    store.replace = () => Promise.reject(new Error('the store fails'));
    const harness = new Harness({ log: from.log.replica() });
    await harness.open(store);
    await harness.receive(lastIndex, await from.snapshot());
    const outcome = await install(harness, from.log, lastIndex).catch((error: Error) => error.message);
    expect(outcome).to.equal('the store fails');
    expect(() => harness.broker.apply(Buffer.alloc(0), 0, 0)).to.throw('a broker that failed');
  });

  it('survives a power loss at any step of disk or store', async () => {
    const from = await leader();
    const { lastIndex } = from.log;
    const base = lastIndex - 4;
    const bytes = await snapshotOf(from.log, base);
    const expected = await from.snapshot();
    for (let step = 1, isOver = false; !isOver; step++) {
      const harness = new Harness({ log: from.log.replica() });
      const store = new MemoryStateStore(harness.medium);
      let steps = 0;
      const count = (): void => {
        if (++steps >= step) throw new Error('power loss');
      };
      await harness.open(store);
      harness.applyTo(9);
      await harness.broker.checkpoint();
      harness.applyTo(12);
      await harness.receive(base, bytes);
      const replace = store.replace.bind(store);
      store.replace = async (entries) => {
        count();
        const rows = [...(entries as Map<string, string>)];
        await replace(
          (function* () {
            for (const row of rows) {
              count();
              yield row;
            }
          })(),
        );
        count();
      };
      harness.disk.onOperation = count;
      harness.log = from.log.replica(base, base);
      const work = (async () => {
        const checkpoint = harness.broker.checkpoint();
        checkpoint.catch(() => {});
        await install(harness, from.log, base);
        harness.log = from.log.replica(base);
        harness.applyTo(base + 2);
        await harness.broker.checkpoint();
      })();
      const outcome = await work.then(
        () => 'done',
        (error: Error) => error.message,
      );
      isOver = outcome === 'done';
      harness.log = from.log.replica(base);
      await harness.crash(step);
      expect(harness.warnings, `step ${step}`).to.deep.equal([]);
      expect((await harness.snapshot()).equals(expected), `step ${step}`).to.equal(true);
      const offset = harness.broker.range('T', 0).min;
      expect(harness.bodies(0)).to.deep.equal(from.bodies(0).slice(offset));
    }
  });
});

describe('a snapshot that makes no sense', () => {
  const rows = (index: number): [string, string][] => [
    ['applied', `{"v":1,"index":${index}}`],
    ['q/T/0', '[3]'],
    ['t/T', '{"queues":1,"createdAtMs":1}'],
  ];
  const damages: [string, (good: Map<string, string>) => void][] = [
    ['another version', (good) => good.set('applied', '{"v":2,"index":9}')],
    ['another index', (good) => good.set('applied', '{"v":1,"index":8}')],
    ['no index', (good) => good.delete('applied')],
    ['a row of an unknown table', (good) => good.set('z/1', '1')],
    ['a minimum', (good) => good.set('q/T/0', '[0,3]')],
    ['a length that is none', (good) => good.set('q/T/0', '[-1]')],
    ['a row that is local', (good) => good.set('base', '9')],
    ['a membership that its header does not name', (good) => good.set('m', '{"v":1}')],
    ['a membership beside its header', (good) => good.set('m', MEMBERSHIP)],
    ['a producer on a queue that is missing', (good) => good.set(`p/${PRODUCER_A}`, '[[1,1,"T",1,0,3]]')],
  ];
  const MEMBERSHIP = '{"v":1,"index":1,"voters":[],"outgoing":[],"learners":[],"addresses":{}}';

  /** A replica with one record of nine, and the snapshot at the ninth. */
  async function replicaWith(damage: (good: Map<string, string>) => void): Promise<{ harness: Harness; log: FakeLog }> {
    const log = new FakeLog();
    const harness = new Harness({ log });
    for (let index = 1; index <= 9; index++) harness.noop();
    await harness.open();
    harness.applyTo(1);
    await harness.broker.checkpoint();
    const all = new Map(rows(9));
    damage(all);
    await harness.snapshots.write({ tip: log.tipAt(9), membership: Buffer.alloc(0) }, [...all].sort());
    return { harness, log };
  }

  it('(and one that does)', async () => {
    const { harness, log } = await replicaWith(() => {});
    await install(harness, log, 9);
    expect(harness.broker.range('T', 0)).to.deep.equal({ queueId: 0, min: 3, max: 3 });
  });

  for (const [what, damage] of damages) {
    it(`(${what}) is refused before anything has changed, running and at the start`, async () => {
      const { harness, log } = await replicaWith(damage);
      const own = harness.log;
      const refused = (work: Promise<unknown>) =>
        work.then(() => 'done').catch((error: { code?: string }) => error.code);
      expect(await refused(install(harness, log, 9))).to.equal('DATA_CORRUPTED');
      expect([harness.broker.appliedIndex, harness.broker.topics()]).to.deep.equal([1, []]);
      expect(harness.log, 'the log has not begun anew').to.equal(own);
      harness.log = log.replica(9, 9);
      const before = new Map(harness.medium.durable);
      expect(await refused(harness.open())).to.equal('DATA_CORRUPTED');
      expect(harness.medium.durable).to.deep.equal(before);
      expect(harness.warnings).to.deep.equal([]);
    });
  }
});

describe('opening behind the base of a log', () => {
  async function emptyBehind(base: number, some: { tip?: LogTip; medium?: MemoryStateMedium } = {}) {
    const from = await leader();
    const bytes = await snapshotOf(from.log, base);
    const harness = new Harness({ log: from.log.replica(base), ...(some.medium && { medium: some.medium }) });
    await harness.open().catch(() => {});
    await harness.receive(base, bytes);
    return { from, harness };
  }

  for (const what of ['an empty store', 'a damaged store', 'a state of an older index'] as const) {
    it(`with ${what} starts from the snapshot there`, async () => {
      const medium = new MemoryStateMedium();
      if (what === 'a damaged store') medium.durable.set('q/T/0', '[0]');
      if (what === 'a state of an older index') {
        medium.durable.set('applied', '{"v":1,"index":1}').set('t/T', '{"queues":3,"createdAtMs":1700000000000}');
      }
      const { from, harness } = await emptyBehind(15, { medium });
      await harness.open();
      expect(harness.broker.appliedIndex).to.equal(15);
      expect(harness.broker.membership).to.deep.equal({ index: 11, membership: membership('a', 'b', 'c') });
      expect(harness.warnings).to.have.length(what === 'a damaged store' ? 1 : 0);
      if (what === 'a damaged store') expect(harness.warnings[0]).to.include('made anew from the snapshot at 15');
      harness.applyTo();
      expect((await harness.snapshot()).equals(await from.snapshot())).to.equal(true);
      const { min } = harness.broker.range('T', 0);
      expect(min).to.be.greaterThan(0);
      expect(harness.bodies(0)).to.deep.equal(from.bodies(0).slice(min));
    });
  }

  it('is refused, and nothing given up, when the snapshot is missing, damaged or of another log', async () => {
    const medium = new MemoryStateMedium();
    medium.durable.set('q/T/0', '[0]');
    const { harness } = await emptyBehind(15, { medium });
    const code = () =>
      harness
        .open()
        .then(() => 'opened')
        .catch((error: { code?: string }) => error.code); // prettier-ignore
    const path = harness.disk.files().find((file) => file.includes('/snapshot/'))!;
    const { base } = harness.log;
    harness.log.base = { ...base, chainCrc: base.chainCrc ^ 1 };
    expect(await code()).to.equal('DATA_CORRUPTED');
    harness.log.base = base;
    const byte = harness.disk.bytes(path)[200]!;
    harness.disk.corrupt(path, 200, Buffer.of(byte ^ 1));
    expect(await code()).to.equal('DATA_CORRUPTED');
    harness.disk.corrupt(path, 200, Buffer.of(byte));
    const aside = harness.disk.clone();
    harness.disk.remove(path);
    expect(await code()).to.equal('DATA_CORRUPTED');
    expect([...medium.durable]).to.deep.equal([['q/T/0', '[0]']]);
    const again = new Harness({ log: harness.log, disk: aside, medium });
    await again.open();
    expect(again.broker.appliedIndex).to.equal(15);
  });
});

describe('the files of a queue whose messages are gone', () => {
  const file = (number: number) => `${DIRECTORY}/T/0/${String(number * UNITS_PER_FILE * 20).padStart(20, '0')}`;

  /** A replica whose queue T/0 goes on, by a snapshot, at `length`. */
  async function longQueue(length: number): Promise<Harness> {
    const log = new FakeLog();
    const harness = await Harness.start({ log, queues: 1 });
    harness.broker.stopLeading();
    for (const body of ['a', 'b']) harness.log.append(batch([body]).records);
    harness.broker.startLeading();
    harness.broker.stopLeading();
    await harness.snapshots.write({ tip: log.tipAt(3), membership: Buffer.alloc(0) }, [
      ['applied', '{"v":1,"index":3}'],
      ['q/T/0', `[${length}]`],
      ['t/T', '{"queues":1,"createdAtMs":1}'],
    ]);
    return harness;
  }

  it('are removed once nobody reads them: after an install, and after a cut', async () => {
    const harness = await longQueue(UNITS_PER_FILE + 7);
    harness.disk.makeDirectory(`${DIRECTORY}/T/0`);
    harness.disk.open(file(0), { create: true });
    await install(harness, harness.log, 3);
    expect(harness.disk.exists(file(0))).to.equal(false);

    const second = await longQueue(2 * UNITS_PER_FILE - 2);
    await install(second, second.log, 3);
    second.broker.startLeading();
    for (const body of ['x', 'y']) second.append(batch([body]));
    await second.snapshot();
    second.append(batch(['z']));
    second.broker.writeUnits();
    expect([file(1), file(2)].map((path) => second.disk.exists(path))).to.deep.equal([true, true]);
    second.cutTo(5);
    await second.broker.checkpoint();
    expect(second.disk.exists(file(1))).to.equal(false);
    expect(second.bodies(0)).to.deep.equal(['z']);
    expect(await second.broker.checkpoint()).to.equal(6);
    await second.crash(1);
    expect(second.warnings).to.deep.equal([]);
    expect(second.bodies(0)).to.deep.equal(['z']);
  });

  it('are there as long as the store says they are read', async () => {
    const harness = await longQueue(2 * UNITS_PER_FILE - 2);
    const store = new MemoryStateStore(harness.medium);
    await harness.open(store);
    await install(harness, harness.log, 3);
    harness.broker.startLeading();
    for (const body of ['x', 'y', 'z']) harness.append(batch([body]));
    await harness.snapshot();
    harness.cutTo(6);
    store.write = () => Promise.reject(new Error('the store fails'));
    const outcome = await harness.broker.checkpoint().catch((error: Error) => error.message);
    expect(outcome).to.equal('the store fails');
    expect(harness.disk.exists(file(1))).to.equal(true);
  });

  it('are removed by a later process when a crash left them', async () => {
    const harness = await longQueue(UNITS_PER_FILE + 7);
    await install(harness, harness.log, 3);
    harness.disk.makeDirectory(`${DIRECTORY}/T/0`);
    harness.disk.open(file(0), { create: true });
    await harness.crash(1);
    await harness.broker.checkpoint();
    expect(harness.disk.exists(file(0))).to.equal(false);
  });

  it('are there until a checkpoint knows of the cut, and are removed by the next one after a crash', async () => {
    const harness = await longQueue(2 * UNITS_PER_FILE - 2);
    await install(harness, harness.log, 3);
    harness.broker.startLeading();
    for (const body of ['x', 'y', 'z']) harness.append(batch([body]));
    await harness.snapshot();
    harness.cutTo(6);
    expect(harness.disk.exists(file(1))).to.equal(true);
    await harness.crash(1);
    expect(harness.broker.range('T', 0)).to.deep.include({ min: 2 * UNITS_PER_FILE + 1 });
    await harness.broker.checkpoint();
    expect(harness.disk.exists(file(1))).to.equal(false);
    expect(harness.disk.exists(file(2))).to.equal(true);
  });
});
