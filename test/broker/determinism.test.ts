import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { MemoryStateMedium } from '../../src/storage/memory_state_store.ts';
import { applyInPieces, busyLog, LIMITS } from './busy_log.ts';
import { DIRECTORY, type FakeLog, Harness } from './fixture.ts';
import { modelOf, stateOf } from './model.ts';

describe('the state is a function of the log', () => {
  let log: FakeLog;
  let reference: Awaited<ReturnType<typeof stateOf>>;
  before(async () => {
    log = await busyLog(7, 250);
    const harness = new Harness({ log, limits: LIMITS });
    await harness.open();
    harness.applyTo();
    reference = await stateOf(harness);
  });

  it('as an independent model says: units byte for byte, producers with their last sequences', () => {
    const { units, last } = modelOf(log, log.lastIndex, LIMITS.producersMax);
    expect([...reference.files.keys()]).to.deep.equal([...units.keys()].sort());
    for (const [path, bytes] of units) expect(reference.files.get(path), path).to.equal(bytes.toString('hex'));
    const rows = [...reference.tables].filter(([key]) => key.startsWith('p/'));
    const lastSequences = rows.map(([key, value]) => {
      const [firstSequence, count] = (JSON.parse(value) as number[][]).at(-1)!;
      return [key.slice(2), firstSequence! + count! - 1];
    });
    expect(new Map(lastSequences as [string, number][])).to.deep.equal(new Map([...last].sort()));
    expect(reference.tables.get('applied')).to.equal(`{"v":1,"index":${log.lastIndex},"storedAtMs":1700000000000}`);
  });

  it('however it is cut into calls, with or without checkpoints in between', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log, limits: LIMITS });
      await harness.open();
      await applyInPieces(harness, random, async () => {
        if (random.next() < 0.3) await harness.broker.checkpoint();
      });
      expect(await stateOf(harness), `seed ${seed}`).to.deep.equal(reference);
    }
  });

  it('through crashes at any time: what is applied again leads to the same bytes', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log, limits: LIMITS });
      await harness.open();
      let crashes = 0;
      await applyInPieces(harness, random, async () => {
        const checkpoint = random.next() < 0.5 ? harness.broker.checkpoint() : null;
        // A crash in the middle of a checkpoint, or of applying; or an orderly checkpoint.
        if (random.next() < 0.2 && crashes++ < 8) {
          for (let turn = random.between(0, 12); turn > 0; turn--) await Promise.resolve();
          checkpoint?.catch(() => {});
          await harness.crash(random.between(1, 1e9), 0);
        } else if (random.next() < 0.5) {
          await checkpoint;
        }
      });
      expect(await stateOf(harness), `seed ${seed}`).to.deep.equal(reference);
    }
  });

  it('through cuts, crashes and damage: less of it is kept, and that is the same', async () => {
    const model = modelOf(log, log.lastIndex);
    for (let seed = 1; seed <= 12; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log: log.replica(), limits: LIMITS });
      await harness.open();
      let damages = 0;
      await applyInPieces(harness, random, async () => {
        const { appliedIndex } = harness.broker;
        if (random.next() < 0.3) await harness.broker.checkpoint();
        if (random.next() < 0.2) await harness.snapshot();
        const cuts = harness.snapshots
          .list()
          .filter((index) => index > harness.log.base.index && index <= appliedIndex);
        if (random.next() < 0.2 && cuts.length > 0) harness.cutTo(cuts[random.between(0, cuts.length - 1)]!);
        if (random.next() < 0.1) await harness.crash(random.between(1, 1e9), appliedIndex);
        if (random.next() < 0.1 && damages++ < 3) {
          harness.medium.durable.set('applied', '');
          await harness.crash(random.between(1, 1e9), 0);
        }
      });
      const { tables, files } = await stateOf(harness);
      const withoutMinima = (all: Map<string, string>) =>
        [...all]
          .filter(([key]) => key !== 'base')
          .map(([key, value]) => [key, key.startsWith('q/') ? value.replace(/^\[\d+,/, '[0,') : value]);
      expect(withoutMinima(tables), `seed ${seed}`).to.deep.equal(withoutMinima(reference.tables));
      for (const [key, value] of tables) {
        const [, topic, queueId] = key.split('/');
        if (!key.startsWith('q/')) continue;
        const [min] = JSON.parse(value) as [number];
        const path = `${DIRECTORY}/${topic!.replaceAll('|', '+')}/${queueId}/00000000000000000000`;
        const first = model.units.get(path)!.subarray(20 * min);
        expect((files.get(path) ?? '').slice(40 * min), `seed ${seed}, ${path}`).to.equal(first.toString('hex'));
        const position = first.length === 0 ? harness.log.base.end : Number(first.readBigInt64BE(0));
        expect(position, `seed ${seed}, ${path}`).to.be.at.least(harness.log.base.end);
      }
    }
  });

  it('and each stored table belongs to the index that it names', async () => {
    const harness = new Harness({ log, limits: LIMITS });
    await harness.open();
    const random = new SeededRandom(3);
    await applyInPieces(harness, random, async () => {
      // Applying goes on while the checkpoint runs, until it has come to its end.
      const checkpoint = harness.broker.checkpoint();
      let isRunning = true;
      void checkpoint.then(() => {
        isRunning = false;
      });
      while (isRunning) {
        harness.applyTo(Math.min(log.lastIndex, harness.broker.appliedIndex + 3));
        await Promise.resolve();
      }
      const index = await checkpoint;
      const again = new Harness({ log, disk: harness.disk.clone(), medium: copyOf(harness.medium), limits: LIMITS });
      await again.open();
      expect(again.broker.appliedIndex).to.equal(index);
      const { units } = modelOf(log, index);
      const ranges = again.broker
        .topics()
        .flatMap(({ name, queues }) =>
          Array.from({ length: queues }, (_, queueId) => [name, again.broker.range(name, queueId)] as const),
        );
      for (const [name, { queueId, max }] of ranges) {
        const path = `${DIRECTORY}/${name.replaceAll('|', '+')}/${queueId}/00000000000000000000`;
        expect(max, `${path} at ${index}`).to.equal((units.get(path)?.length ?? 0) / 20);
      }
    });
  });
});

function copyOf(medium: MemoryStateMedium): MemoryStateMedium {
  const copy = new MemoryStateMedium();
  for (const [key, value] of medium.durable) copy.durable.set(key, value);
  return copy;
}
