import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { Broker } from '../../src/broker/broker.ts';
import {
  decodeMessageRecord,
  encodeMessageRecord,
  hasProducerStamp,
  locateParts,
  newParts,
  producerIdOf,
  sequenceOf,
  tagHash,
} from '../../src/format/message.ts';
import { blankRecord, magicAt, positionAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import type { StateChanges, StateStore } from '../../src/storage/state_store.ts';
import { batch, codeOf, DIRECTORY, FakeLog, Harness, message, PRODUCER_A, START_MS } from './fixture.ts';

/** A log as a busy group leaves it: topics, batches with and without producers, repeats, no-ops, segment ends. */
async function busyLog(seed: number, rounds: number): Promise<FakeLog> {
  const random = new SeededRandom(seed);
  const harness = await Harness.start({ queues: 0, log: new FakeLog(16_384), limits: LIMITS });
  const names = ['T', '__proto__', '%RETRY%g', 'a|b'];
  const sequences = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const topic = names[random.between(0, names.length - 1)]!;
    if (harness.broker.topic(topic) === undefined) harness.createTopic(topic, random.between(1, 5));
    const queueId = random.between(0, harness.broker.topic(topic)!.queues - 1);
    const count = random.between(1, 12);
    const producer = random.between(0, 8);
    const producerId = producer < 3 ? '' : `00000000000000c${producer}`;
    const sequence = sequences.get(producerId) ?? 1;
    const records = Array.from({ length: count }, (_, number) => {
      const tag = random.next() < 0.5 ? `tag${random.between(1, 3)}` : undefined;
      return encodeMessageRecord(message({ topic, queueId, tag, body: Buffer.from(`${round}-${number}`) }));
    });
    const request = { topic, queueId, producerId, sequence, records: Buffer.concat(records) };
    const code = codeOf(() => harness.admit(request));
    if (code === 'UNKNOWN_PRODUCER') sequences.delete(producerId);
    else sequences.set(producerId, sequence + count);
    if (random.next() < 0.1) harness.noop();
    if (random.next() < 0.5) harness.applyTo();
  }
  return harness.log;
}

/** Few producers and runs, so that forgetting happens; few files, so that closing and opening happens. */
const LIMITS = { producersMax: 3, producerRunsMax: 4, openQueueFilesMax: 8 };

/** What the records up to `index` mean, by a model that shares no code with projection, queues or tables. */
function modelOf(log: FakeLog, index: number): { units: Map<string, Buffer>; last: Map<string, number> } {
  const units = new Map<string, Buffer[]>();
  const last = new Map<string, number>();
  for (let at = 1; at <= index; at++) {
    const start = log.starts[at]!;
    const end = start + sizeAt(log.bytes, start);
    if (magicAt(log.bytes, start) !== recordMagic.message) continue;
    const stored = decodeMessageRecord(log.bytes, start, end)!;
    const path = `${DIRECTORY}/${stored.topic.replaceAll('|', '+')}/${stored.queueId}/00000000000000000000`;
    const unit = Buffer.alloc(20);
    unit.writeBigInt64BE(BigInt(positionAt(log.bytes, start) + RECORD_HEADER_BYTES), 0);
    unit.writeInt32BE(end - start - RECORD_HEADER_BYTES, 8);
    unit.writeBigInt64BE(BigInt(tagHash(stored.tag ?? '')), 12);
    const known = units.get(path) ?? [];
    expect(stored.queueOffset, 'offsets are dense').to.equal(known.length);
    units.set(path, [...known, unit]);
    const parts = newParts();
    locateParts(log.bytes, start + RECORD_HEADER_BYTES, end, parts);
    if (!hasProducerStamp(log.bytes, parts)) throw new Error('every stored message has a stamp');
    const id = producerIdOf(log.bytes, parts);
    last.delete(id);
    if (!/^0+$/.test(id)) last.set(id, sequenceOf(log.bytes, parts));
  }
  const kept = [...last].slice(-LIMITS.producersMax);
  return { units: new Map([...units].map(([path, list]) => [path, Buffer.concat(list)])), last: new Map(kept) };
}

/** Everything a broker holds, as text: the tables after a checkpoint, and the files. */
async function stateOf(harness: Harness): Promise<{ tables: Map<string, string>; files: Map<string, string> }> {
  await harness.broker.checkpoint();
  const files = new Map(harness.disk.files().map((path) => [path, harness.disk.bytes(path).toString('hex')]));
  return { tables: new Map([...harness.medium.durable].sort()), files };
}

/** Applies the whole log in pieces of random length, with something in between. */
async function applyInPieces(harness: Harness, random: SeededRandom, between: () => Promise<void>): Promise<void> {
  while (harness.broker.appliedIndex < harness.log.lastIndex) {
    harness.applyTo(Math.min(harness.log.lastIndex, harness.broker.appliedIndex + random.between(1, 40)));
    await between();
  }
}

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
    const { units, last } = modelOf(log, log.lastIndex);
    expect([...reference.files.keys()]).to.deep.equal([...units.keys()].sort());
    for (const [path, bytes] of units) expect(reference.files.get(path), path).to.equal(bytes.toString('hex'));
    const rows = [...reference.tables].filter(([key]) => key.startsWith('p/'));
    const lastSequences = rows.map(([key, value]) => {
      const [firstSequence, count] = (JSON.parse(value) as number[][]).at(-1)!;
      return [key.slice(2), firstSequence! + count! - 1];
    });
    expect(new Map(lastSequences as [string, number][])).to.deep.equal(new Map([...last].sort()));
    expect(reference.tables.get('applied')).to.equal(`{"v":1,"index":${log.lastIndex}}`);
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
  async close() {
    this.closed++;
  }
}

describe('a checkpoint', () => {
  const options = (disk: MemoryDisk, store: StateStore, log: FakeLog) => ({
    disk,
    directory: DIRECTORY,
    store,
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

  it('flushes the queues before it stores the tables', async () => {
    const seen: boolean[] = [];
    let harness: Harness | null = null;
    const store = new WatchedStore(async () => {
      seen.push(harness!.disk.isDurable());
    });
    harness = await brokerOver(store);
    for (let queueId = 0; queueId < 4; queueId++) harness.append(batch(['a', 'b'], { queueId }));
    expect(harness.disk.isDurable()).to.equal(false);
    await harness.broker.checkpoint();
    expect(seen).to.deep.equal([true]);
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
    expect(events).to.deep.equal(['log 2', 'store {"v":1,"index":2}']);
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
    expect(at(0)).to.deep.equal(['{"v":1,"index":2}', '[0,1]', '[[1,1,"T",0,0,2]]']);
    expect(at(1)).to.deep.equal(['{"v":1,"index":3}', '[0,2]', '[[1,2,"T",0,0,2]]']);
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
      expect(outcomes).to.deep.equal([
        what === 'flush' ? 'STORAGE_FAILED' : 'the store fails',
        'a broker that failed stores nothing any more',
      ]);
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
    it(`refuses the entry ${key} = ${value}: DATA_CORRUPTED naming it`, async () => {
      const medium = new MemoryStateMedium();
      medium.durable.set('t/T', '{"queues":4,"createdAtMs":1}').set(key, value);
      const outcome = await new Harness({ medium }).open().then(
        () => 'opened',
        (error: Error & { code?: string }) => `${error.code} ${error.message}`,
      );
      expect(outcome).to.match(/^DATA_CORRUPTED/);
      expect(outcome).to.include(JSON.stringify(key));
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
