import { expect } from 'chai';
import { batch, Harness } from './fixture.ts';

describe('many queues', () => {
  it('1,200 queues with messages in each: few open files, checkpoint, crash, everything there', async () => {
    const harness = await Harness.start({ queues: 0, limits: { openQueueFilesMax: 32 } });
    for (const topic of ['A', 'B']) harness.createTopic(topic, 600);
    for (let round = 0; round < 3; round++) {
      for (const topic of ['A', 'B']) {
        for (let queueId = 0; queueId < 600; queueId++)
          harness.admit(batch([`${topic}${queueId}-${round}`], { topic, queueId }));
      }
      harness.applyTo();
      if (round === 1) await harness.broker.checkpoint();
    }
    await harness.crash(5);
    expect(harness.broker.appliedIndex).to.equal(2 + 3 * 1_200);
    for (const topic of ['A', 'B']) {
      for (let queueId = 0; queueId < 600; queueId += 7) {
        const expected = [0, 1, 2].map((round) => `${topic}${queueId}-${round}`);
        expect(harness.bodies(queueId, topic)).to.deep.equal(expected);
      }
    }
  });
});
