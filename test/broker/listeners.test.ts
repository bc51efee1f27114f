import { expect } from 'chai';
import { batch, codeOf, Harness } from './fixture.ts';

describe('who waits for messages', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await Harness.start({ queues: 3 });
  });

  it('is woken once for each call that brought some to its queue, when they can be read', () => {
    const seen: number[] = [];
    harness.broker.onAppend('T', 1, () => seen.push(harness.pull(1, 0).count));
    harness.append(batch(['a', 'b', 'c'], { queueId: 1 }));
    harness.append(batch(['x'], { queueId: 0 }));
    harness.admit(batch(['d'], { queueId: 1 }));
    expect(seen).to.deep.equal([3]);
    harness.admit(batch(['y'], { queueId: 2 }));
    harness.admit(batch(['e'], { queueId: 1 }));
    harness.applyTo();
    expect(seen).to.deep.equal([3, 5]);
  });

  it('is left alone after it said so, also in the middle of a call', () => {
    const woken: string[] = [];
    const stopFirst = harness.broker.onAppend('T', 0, () => {
      woken.push('first');
      stopFirst();
    });
    const stopSecond = harness.broker.onAppend('T', 0, () => {
      woken.push('second');
    });
    harness.append(batch(['a']));
    harness.append(batch(['b']));
    stopSecond();
    stopSecond();
    harness.append(batch(['c']));
    expect(woken).to.deep.equal(['first', 'second', 'second']);
  });

  it('may wait twice with one function', () => {
    let count = 0;
    const listener = () => count++;
    const stop = harness.broker.onAppend('T', 0, listener);
    harness.broker.onAppend('T', 0, listener);
    harness.append(batch(['a']));
    stop();
    harness.append(batch(['b']));
    expect(count).to.equal(3);
  });

  it('is woken although another one throws, which is heard of', () => {
    let woken = 0;
    harness.broker.onAppend('T', 0, () => {
      throw new Error('a broken listener');
    });
    harness.broker.onAppend('T', 0, () => woken++);
    harness.broker.onAppend('T', 1, () => woken++);
    harness.admit(batch(['a']));
    harness.admit(batch(['b'], { queueId: 1 }));
    expect(() => harness.applyTo()).to.throw('a broken listener');
    expect(woken).to.equal(2);
    expect(harness.broker.appliedIndex).to.equal(3);
    expect(harness.bodies(0)).to.deep.equal(['a']);
  });

  it('waits for a queue that is there', () => {
    expect(codeOf(() => harness.broker.onAppend('U', 0, () => {}))).to.equal('TOPIC_NOT_FOUND');
    expect(codeOf(() => harness.broker.onAppend('T', 3, () => {}))).to.equal('QUEUE_OUT_OF_RANGE');
  });

  it('hears of topics when they change, and only then', () => {
    const seen: string[][] = [];
    const stop = harness.broker.onTopics(() => seen.push(harness.broker.topics().map((topic) => topic.name)));
    harness.append(batch(['a']));
    harness.createTopic('U', 1);
    stop();
    harness.createTopic('V', 1);
    expect(seen).to.deep.equal([['T', 'U']]);
  });
});
