import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { logIndex } from '../../src/raft/types.ts';
import { batch, codeOf, Harness, PRODUCER_A, PRODUCER_B, START_MS } from './fixture.ts';

const bodiesOf = (first: number, count: number) => Array.from({ length: count }, (_, number) => `m${first + number}`);

/** The batch [sequence, sequence + count) of producer A whose bodies name their sequences. */
function sent(sequence: number, count: number, some: { queueId?: number; producerId?: string; topic?: string } = {}) {
  return batch(bodiesOf(sequence, count), { producerId: PRODUCER_A, sequence, ...some });
}

function id(number: number): string {
  return (0xabc0_0000 + number).toString(16).padStart(16, '0');
}

describe('a producer', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await Harness.start({ queues: 3 });
  });

  it('starts at 1 and goes on without gaps', () => {
    for (const sequence of [2, 100]) {
      expect(
        codeOf(() => harness.admit(sent(sequence, 1))),
        `${sequence}`,
      ).to.equal('UNKNOWN_PRODUCER');
    }
    harness.append(sent(1, 3));
    for (const sequence of [5, 6, 1_000]) {
      expect(
        codeOf(() => harness.admit(sent(sequence, 1))),
        `${sequence}`,
      ).to.equal('OUT_OF_ORDER_SEQUENCE');
    }
    expect(() => harness.admit(sent(6, 1))).to.throw('expected sequence 4, got 6');
    expect(harness.append(sent(4, 1)).queueOffset).to.equal(3);
    expect(harness.bodies(0)).to.deep.equal(bodiesOf(1, 4));
  });

  for (const when of ['applied', 'still pending']) {
    it(`gets the first answer again when it repeats itself (${when})`, () => {
      const admit = (request: ReturnType<typeof sent>) => {
        const admission = harness.admit(request);
        if (when === 'applied') harness.applyTo();
        return admission;
      };
      const first = admit(sent(1, 3)).result;
      const second = admit(sent(4, 2)).result;
      const { lastIndex } = harness.log;
      expect(admit(sent(1, 3))).to.deep.equal({ kind: 'repeated', result: { ...first, repeated: true } });
      expect(admit(sent(4, 2))).to.deep.equal({ kind: 'repeated', result: { ...second, repeated: true } });
      // Cut differently, the same messages are still the same.
      expect(admit(sent(2, 3)).result).to.deep.equal({ queueOffset: 1, count: 3, lastIndex: 5, repeated: true });
      expect(admit(sent(5, 1)).result).to.deep.equal({ queueOffset: 4, count: 1, lastIndex: 6, repeated: true });
      expect(harness.log.lastIndex).to.equal(lastIndex);
      harness.applyTo();
      expect(harness.bodies(0)).to.deep.equal(bodiesOf(1, 5));
    });
  }

  it('is told apart from others by its id, and a message by its sequence', () => {
    harness.append(sent(1, 2));
    const other = harness.append(sent(1, 2, { producerId: PRODUCER_B }));
    expect(other).to.include({ queueOffset: 2, repeated: false });
    expect(harness.append(sent(3, 1))).to.include({ queueOffset: 4, repeated: false });
    expect(harness.append(sent(2, 1, { producerId: PRODUCER_B }))).to.include({ queueOffset: 3, repeated: true });
  });

  it('counts over all its queues; a repeat is answered from the queue where it went', () => {
    harness.append(sent(1, 2, { queueId: 0 }));
    harness.append(sent(3, 2, { queueId: 1 }));
    harness.append(sent(5, 2, { queueId: 0 }));
    expect(harness.append(sent(3, 2, { queueId: 1 }))).to.include({ queueOffset: 0, lastIndex: 5, repeated: true });
    expect(harness.append(sent(5, 2, { queueId: 0 }))).to.include({ queueOffset: 2, lastIndex: 7, repeated: true });
  });

  it('cannot use a sequence again for another queue: silence would lose the message', () => {
    harness.append(sent(1, 2, { queueId: 0 }));
    for (const queueId of [1, 2]) {
      expect(codeOf(() => harness.admit(sent(1, 2, { queueId })))).to.equal('INVALID_ARGUMENT');
      expect(codeOf(() => harness.admit(sent(2, 2, { queueId })))).to.equal('INVALID_ARGUMENT');
    }
    harness.append(sent(3, 2, { queueId: 1 }));
    // A batch that would cover messages of two queues is none that was ever sent.
    expect(codeOf(() => harness.admit(sent(1, 4, { queueId: 0 })))).to.equal('INVALID_ARGUMENT');
    expect(harness.broker.range('T', 2).max).to.equal(0);
  });

  it('gets only the rest appended when a prefix of its batch survived the old leader', () => {
    const request = sent(1, 5);
    const admission = harness.admit(request);
    expect(admission.kind).to.equal('append');
    harness.log.starts.length = 4; // Records after index 3 (two messages) never reached a majority.
    harness.applyTo(3);
    harness.broker.startLeading();
    const again = harness.broker.admit(sent(1, 5), { firstIndex: logIndex(5), nowMs: START_MS });
    const size = request.records.length / 5;
    expect(again).to.deep.equal({
      kind: 'append',
      start: 2 * size,
      end: 5 * size,
      result: { queueOffset: 0, count: 5, lastIndex: 7, repeated: true },
    });
  });

  it('does not learn offsets that do not follow each other', () => {
    harness.append(sent(1, 2));
    harness.append(batch(['someone else']));
    const { result, kind } = harness.admit(sent(1, 4));
    expect([kind, result]).to.deep.equal(['append', { queueOffset: -1, count: 4, lastIndex: 6, repeated: true }]);
    harness.applyTo();
    expect(harness.bodies(0)).to.deep.equal(['m1', 'm2', 'someone else', 'm3', 'm4']);
    expect(harness.append(sent(1, 4))).to.deep.equal({ queueOffset: -1, count: 4, lastIndex: 6, repeated: true });
    expect(harness.append(sent(3, 2))).to.include({ queueOffset: 3, lastIndex: 6 });
  });

  it('may have its batches half applied', () => {
    harness.admit(sent(1, 4));
    harness.admit(sent(5, 4));
    harness.applyTo(4);
    expect(harness.admit(sent(1, 4)).result).to.include({ queueOffset: 0, lastIndex: 5, repeated: true });
    expect(harness.admit(sent(2, 5)).result).to.include({ queueOffset: 1, lastIndex: 7, repeated: true });
    expect(harness.admit(sent(9, 1)).result).to.include({ queueOffset: 8, repeated: false });
    harness.applyTo();
    expect(harness.bodies(0)).to.deep.equal(bodiesOf(1, 9));
  });

  it('is believed by a new leader exactly as far as the log goes', () => {
    harness.append(sent(1, 2));
    harness.broker.admit(sent(3, 2), { firstIndex: logIndex(4), nowMs: START_MS });
    harness.broker.startLeading();
    expect(harness.append(sent(3, 2))).to.include({ queueOffset: 2, repeated: false });
  });

  it('is remembered through checkpoint and crash, with offsets', async () => {
    harness.append(sent(1, 3));
    await harness.broker.checkpoint();
    harness.append(sent(4, 3, { queueId: 2 }));
    await harness.crash(1);
    harness.broker.startLeading();
    expect(harness.append(sent(1, 3))).to.include({ queueOffset: 0, lastIndex: 4, repeated: true });
    expect(harness.append(sent(4, 3, { queueId: 2 }))).to.include({ queueOffset: 0, lastIndex: 7, repeated: true });
    expect(harness.append(sent(7, 1)).queueOffset).to.equal(3);
  });

  it('may send up to the last sequence that fits', () => {
    harness.append(sent(1, 1));
    expect(codeOf(() => harness.admit(sent(2 ** 48 - 1 - 4_096, 1)))).to.equal('OUT_OF_ORDER_SEQUENCE');
    expect(codeOf(() => harness.admit(sent(2 ** 48 - 4_096, 1)))).to.equal('INVALID_ARGUMENT');
  });

  it('stops the replica when the log itself has a gap', () => {
    harness.append(sent(1, 1));
    const request = sent(2, 2);
    harness.broker.admit(request, { firstIndex: logIndex(10), nowMs: START_MS });
    const second = request.records.subarray(request.records.length / 2);
    second.writeBigUInt64BE(1n, 48 + 20);
    harness.log.append(second);
    expect(() => harness.applyTo()).to.throw(InvariantError, 'sequence 3 follows 1');
  });
});

describe('what is remembered of producers is bounded', () => {
  it('the last runs, 3 here: older repeats are known without offsets, wherever they claim to belong', async () => {
    const harness = await Harness.start({ queues: 2, limits: { producerRunsMax: 3 } });
    for (let sequence = 1; sequence <= 5; sequence++) harness.append(sent(sequence, 1, { queueId: sequence % 2 }));
    // Runs of 3, 4 and 5 are left; 3 has index 4.
    for (const [sequence, queueOffset, lastIndex] of [
      [1, -1, 3],
      [2, -1, 3],
      [3, 1, 4],
      [4, 1, 5],
      [5, 2, 6],
    ] as const) {
      const result = { queueOffset, count: 1, lastIndex, repeated: true };
      expect(harness.append(sent(sequence, 1, { queueId: sequence % 2 })), `${sequence}`).to.deep.equal(result);
    }
    expect(harness.log.lastIndex).to.equal(6);
  });

  it('a batch of which the beginning is forgotten has no offset, but is known', async () => {
    const harness = await Harness.start({ queues: 2, limits: { producerRunsMax: 2 } });
    harness.append(sent(1, 2));
    harness.append(batch(['x']));
    harness.append(sent(3, 2));
    harness.append(batch(['x']));
    harness.append(sent(5, 2));
    expect(harness.append(sent(2, 3))).to.deep.equal({ queueOffset: -1, count: 3, lastIndex: 6, repeated: true });
  });

  it('messages that follow each other are one run, however they were batched', async () => {
    const harness = await Harness.start({ queues: 1, limits: { producerRunsMax: 1 } });
    for (let sequence = 1; sequence <= 50; sequence++) harness.append(sent(sequence, 1));
    expect(harness.append(sent(1, 50))).to.include({ queueOffset: 0, repeated: true });
  });

  it('messages between which the log has others are two runs, so that each repeat learns its own index', async () => {
    const harness = await Harness.start({ queues: 2 });
    harness.append(sent(1, 2));
    harness.append(batch(['elsewhere'], { queueId: 1 }));
    harness.append(sent(3, 2));
    expect(harness.append(sent(1, 2))).to.include({ queueOffset: 0, lastIndex: 3 });
    expect(harness.append(sent(3, 2))).to.include({ queueOffset: 2, lastIndex: 6 });
    expect(harness.append(sent(1, 4))).to.include({ queueOffset: 0, lastIndex: 6 });
  });

  it('the producer that was silent for the longest is forgotten', async () => {
    const harness = await Harness.start({ queues: 1, limits: { producersMax: 3 } });
    for (const number of [1, 2, 3]) harness.append(sent(1, 1, { producerId: id(number) }));
    harness.append(sent(2, 1, { producerId: id(1) }));
    // A repeat leaves no record, so it does not count as a sign of life: all replicas must agree.
    harness.append(sent(1, 1, { producerId: id(2) }));
    harness.append(sent(1, 1, { producerId: id(4) }));
    expect(codeOf(() => harness.admit(sent(2, 1, { producerId: id(2) })))).to.equal('UNKNOWN_PRODUCER');
    expect(harness.append(sent(2, 1, { producerId: id(3) })).repeated).to.equal(false);
    expect(harness.append(sent(2, 1, { producerId: id(1) })).repeated).to.equal(true);
    expect(harness.append(sent(1, 1, { producerId: id(2) }))).to.include({ repeated: false });
  });

  it('forgetting is stored, and goes on in the same order after a crash', async () => {
    const harness = await Harness.start({ queues: 1, limits: { producersMax: 3 } });
    for (const number of [3, 1, 2]) harness.append(sent(1, 1, { producerId: id(number) }));
    await harness.broker.checkpoint();
    harness.append(sent(1, 1, { producerId: id(4) }));
    await harness.broker.checkpoint();
    expect([...harness.medium.durable.keys()].filter((key) => key.startsWith('p/'))).to.deep.equal(
      [1, 2, 4].map((number) => `p/${id(number)}`),
    );
    await harness.crash(1);
    harness.broker.startLeading();
    harness.append(sent(1, 1, { producerId: id(5) }));
    expect(codeOf(() => harness.admit(sent(2, 1, { producerId: id(1) })))).to.equal('UNKNOWN_PRODUCER');
    expect(harness.append(sent(2, 1, { producerId: id(2) })).repeated).to.equal(false);
  });

  it('a producer forgotten while its batch was pending is known again by it', async () => {
    const harness = await Harness.start({ queues: 1, limits: { producersMax: 2 } });
    harness.append(sent(1, 1, { producerId: id(1) }));
    harness.admit(sent(1, 1, { producerId: id(2) }));
    harness.admit(sent(1, 1, { producerId: id(3) }));
    harness.admit(sent(2, 2, { producerId: id(1) }));
    harness.applyTo();
    expect(harness.append(sent(2, 2, { producerId: id(1) })).repeated).to.equal(true);
    expect(harness.append(sent(4, 1, { producerId: id(1) })).repeated).to.equal(false);
  });
});
