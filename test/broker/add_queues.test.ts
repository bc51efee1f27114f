import { expect } from 'chai';
import { type Command, decodeCommand, encodeCommand } from '../../src/broker/commands.ts';
import { queueOffset } from '../../src/format/message.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { batch, Harness } from './fixture.ts';

function command(harness: Harness, some: Command): void {
  harness.log.append(blankRecord(recordMagic.command, encodeCommand(some)));
  harness.applyTo();
}

const add = (harness: Harness, queues: number, name = 'T'): void =>
  command(harness, { type: 'add-queues', name, queues });

function stateOf({ broker }: Harness) {
  const topic = broker.topic('T')!;
  const ranges = Array.from({ length: topic.queues }, (_, queueId) => broker.range('T', queueId));
  return { topic, ranges, all: broker.queueCount };
}

describe('broker: more queues for a topic', () => {
  it('carries the command there and back', () => {
    const some = { type: 'add-queues', name: 'T', queues: 9 } as const;
    expect(decodeCommand(encodeCommand(some))).to.deep.equal(some);
  });

  it('adds empty ones behind those that there are, which stay as they are', async () => {
    const harness = await Harness.start({ queues: 2 });
    harness.append(batch(['a', 'b'], { queueId: 1 }));
    const before = stateOf(harness);
    add(harness, 4);
    const { topic, ranges, all } = stateOf(harness);
    expect(topic).to.deep.equal({ ...before.topic, queues: 4 });
    expect(ranges.slice(0, 2)).to.deep.equal(before.ranges);
    expect(ranges.slice(2).map(({ min, max }) => [min, max])).to.deep.equal([
      [0, 0],
      [0, 0],
    ]);
    expect(all).to.equal(4);
    harness.append(batch(['c'], { queueId: 3 }));
    expect(harness.broker.range('T', 3).max).to.equal(queueOffset(1));
  });

  it('never takes any away, and leaves alone what is not there or is lite', async () => {
    const harness = await Harness.start({ queues: 3 });
    const topic = { name: 'P', queues: 1, createdAtMs: 1, messageType: 'lite' } as const;
    command(harness, { type: 'create-topic', topic });
    let told = 0;
    harness.broker.onTopics(() => told++);
    for (const queues of [0, 2, 3]) add(harness, queues);
    add(harness, 9, 'P');
    add(harness, 9, 'unknown');
    expect(harness.broker.topics()).to.deep.include(topic);
    expect(stateOf(harness)).to.deep.include({ all: 4 });
    expect(told).to.equal(0);
  });

  it('tells who wants to know of topics, and wakes who waits for any queue', async () => {
    const harness = await Harness.start({ queues: 1 });
    let told = 0;
    let woken = 0;
    harness.broker.onTopics(() => told++);
    harness.broker.onAppendToAny('T', () => woken++);
    add(harness, 2);
    expect([told, woken]).to.deep.equal([1, 0]);
    harness.append(batch(['a'], { queueId: 1 }));
    expect([told, woken]).to.deep.equal([1, 1]);
  });

  for (const checkpointAt of [0, 1, 2, 3]) {
    it(`is the same after a crash, with a checkpoint before step ${checkpointAt}`, async () => {
      const harness = await Harness.start({ queues: 1 });
      const steps = [
        () => add(harness, 3),
        () => harness.append(batch(['a', 'b'], { queueId: 2 })),
        () => add(harness, 5),
        () => harness.append(batch(['c'], { queueId: 4 })),
      ];
      for (const [at, step] of steps.entries()) {
        if (at === checkpointAt) await harness.broker.checkpoint();
        step();
      }
      const before = stateOf(harness);
      await harness.crash(7 + checkpointAt);
      expect(stateOf(harness)).to.deep.equal(before);
      // Everything derived from the log alone.
      const other = new Harness({ log: harness.log.replica() });
      await other.open();
      other.applyTo();
      expect(stateOf(other)).to.deep.equal(before);
      expect((await other.snapshot()).equals(await harness.snapshot())).to.equal(true);
    });
  }

  it('survives a cut at a snapshot from before it, and the install of one from behind it', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.append(batch(['a', 'b']));
    await harness.snapshot();
    const cut = harness.broker.appliedIndex;
    add(harness, 3);
    harness.append(batch(['c'], { queueId: 2 }));
    const late = await harness.snapshot();
    const end = harness.broker.appliedIndex;
    const other = new Harness({ log: harness.log.replica(end), disk: harness.disk.clone() });
    await other.open();
    expect(stateOf(other).ranges.map(({ min, max }) => [min, max])).to.deep.equal([
      [2, 2],
      [0, 0],
      [1, 1],
    ]);
    expect((await harness.snapshotBytes(end)).equals(late)).to.equal(true);
    harness.cutTo(cut);
    expect(stateOf(harness).ranges.map(({ min, max }) => [min, max])).to.deep.equal([
      [2, 2],
      [0, 0],
      [0, 1],
    ]);
    await harness.broker.checkpoint();
    const before = stateOf(harness);
    await harness.crash(3);
    expect(stateOf(harness)).to.deep.equal(before);
  });
});
