import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { decodeCommand, encodeCommand } from '../../src/broker/commands.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { batch, codeOf, Harness, START_MS } from './fixture.ts';

describe('topics', () => {
  it('come into being when their command is applied, not when it is proposed', async () => {
    const harness = await Harness.start({ queues: 0 });
    const { broker, log } = harness;
    const proposal = broker.proposeTopic('orders', 3, START_MS);
    expect(proposal.kind).to.equal('command');
    expect(broker.topic('orders')).to.equal(undefined);
    expect(broker.topics()).to.deep.equal([]);
    if (proposal.kind === 'command') log.append(blankRecord(recordMagic.command, proposal.body));
    harness.applyTo();
    const topic = { name: 'orders', queues: 3, createdAtMs: START_MS };
    expect(broker.topic('orders')).to.deep.equal(topic);
    expect(broker.topics()).to.deep.equal([topic]);
    expect(broker.range('orders', 2)).to.deep.equal({ queueId: 2, min: 0, max: 0 });
  });

  it('are proposed once: the same wish again exists already, applied or not', async () => {
    const harness = await Harness.start({ queues: 0 });
    const { broker } = harness;
    const proposal = broker.proposeTopic('orders', 3, START_MS);
    const expected = { kind: 'exists', topic: { name: 'orders', queues: 3, createdAtMs: START_MS } };
    for (const when of ['pending', 'applied']) {
      expect(broker.proposeTopic('orders', 3, START_MS + 9), when).to.deep.equal(expected);
      if (when === 'pending' && proposal.kind === 'command') {
        // It may be lost yet: no reason to refuse anybody.
        expect(broker.proposeTopic('orders', 4, START_MS), when).to.deep.equal(expected);
        harness.log.append(blankRecord(recordMagic.command, proposal.body));
        harness.applyTo();
      }
    }
    expect(codeOf(() => broker.proposeTopic('orders', 4, START_MS))).to.equal('TOPIC_EXISTS');
  });

  it('take no messages while they are pending', async () => {
    const harness = await Harness.start({ queues: 0 });
    harness.broker.proposeTopic('T', 1, START_MS);
    expect(codeOf(() => harness.admit(batch(['a'])))).to.equal('TOPIC_NOT_FOUND');
  });

  it('may be proposed anew when a leader begins again without their command', async () => {
    const { broker } = await Harness.start({ queues: 0 });
    broker.proposeTopic('orders', 3, START_MS);
    broker.stopLeading();
    broker.startLeading();
    expect(broker.proposeTopic('orders', 5, START_MS).kind).to.equal('command');
  });

  it('are told in the order of their names', async () => {
    const harness = await Harness.start({ queues: 0 });
    for (const name of ['b', 'B', 'a', '%RETRY%g', 'a|b']) harness.createTopic(name, 1);
    expect(harness.broker.topics().map((topic) => topic.name)).to.deep.equal(['%RETRY%g', 'B', 'a', 'a|b', 'b']);
  });

  it('may be called like parts of JavaScript', async () => {
    const harness = await Harness.start({ queues: 0 });
    for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString']) {
      expect(harness.broker.topic(name)).to.equal(undefined);
      expect(codeOf(() => harness.broker.range(name, 0))).to.equal('TOPIC_NOT_FOUND');
      harness.createTopic(name, 1);
      harness.append(batch(['x'], { topic: name }));
      expect(harness.bodies(0, name)).to.deep.equal(['x']);
    }
    await harness.broker.checkpoint();
    await harness.crash(1);
    expect(harness.bodies(0, '__proto__')).to.deep.equal(['x']);
    expect(({} as { queues?: unknown }).queues).to.equal(undefined);
  });

  for (const name of ['', 'a/b', '../x', 'TBW102', 'rmq_sys_x', 'x'.repeat(128)]) {
    it(`are not called ${JSON.stringify(name)}`, async () => {
      const { broker } = await Harness.start({ queues: 0 });
      expect(codeOf(() => broker.proposeTopic(name, 1, START_MS))).to.equal('ILLEGAL_TOPIC');
    });
  }

  it('have 1 to 1,024 queues', async () => {
    const { broker } = await Harness.start({ queues: 0 });
    for (const queues of [0, -1, 1.5, Number.NaN, 1_025]) {
      expect(
        codeOf(() => broker.proposeTopic('t', queues, START_MS)),
        `${queues}`,
      ).to.equal('INVALID_ARGUMENT');
    }
    expect(broker.proposeTopic('one', 1, START_MS).kind).to.equal('command');
    expect(broker.proposeTopic('most', 1_024, START_MS).kind).to.equal('command');
  });

  it('are as many as the limit says, pending ones counted', async () => {
    const harness = await Harness.start({ queues: 0, limits: { topicsMax: 3 } });
    harness.createTopic('a', 1);
    harness.broker.proposeTopic('b', 1, START_MS);
    harness.broker.proposeTopic('c', 1, START_MS);
    expect(codeOf(() => harness.broker.proposeTopic('d', 1, START_MS))).to.equal('TOO_MANY_TOPICS');
    expect(harness.broker.proposeTopic('c', 1, START_MS).kind).to.equal('exists');
  });

  it('have together as many queues as the limit says, pending ones counted', async () => {
    const harness = await Harness.start({ queues: 0, limits: { queuesTotalMax: 10 } });
    harness.createTopic('a', 4);
    harness.broker.proposeTopic('b', 3, START_MS);
    expect(codeOf(() => harness.broker.proposeTopic('c', 4, START_MS))).to.equal('TOO_MANY_TOPICS');
    expect(harness.broker.proposeTopic('c', 3, START_MS).kind).to.equal('command');
  });

  it('answer for queues they have, and for no others', async () => {
    const { broker } = await Harness.start({ queues: 2 });
    expect(broker.range('T', 1).max).to.equal(0);
    for (const queueId of [2, -1, 0.5, Number.NaN, 2 ** 40]) {
      expect(
        codeOf(() => broker.range('T', queueId)),
        `${queueId}`,
      ).to.equal('QUEUE_OUT_OF_RANGE');
    }
    expect(codeOf(() => broker.range('U', 0))).to.equal('TOPIC_NOT_FOUND');
  });
});

describe('commands', () => {
  const topic = { name: '__proto__', queues: 4, createdAtMs: START_MS };

  it('are small JSON with version and type', () => {
    const body = encodeCommand({ type: 'create-topic', topic });
    expect(body.toString()).to.equal(
      `{"v":1,"type":"create-topic","name":"__proto__","queues":4,"createdAtMs":${START_MS}}`,
    );
    expect(decodeCommand(body)).to.deep.equal({ type: 'create-topic', topic });
  });

  const strange = [
    '',
    'null',
    '1',
    '[]',
    '"x"',
    '{',
    '{}',
    '{"v":2,"type":"create-topic","name":"a","queues":1,"createdAtMs":1}',
    '{"v":"1","type":"create-topic","name":"a","queues":1,"createdAtMs":1}',
    '{"v":1,"type":"drop-topic","name":"a","queues":1,"createdAtMs":1}',
    '{"v":1,"type":"constructor","name":"a","queues":1,"createdAtMs":1}',
    '{"v":1,"type":"create-topic","queues":1,"createdAtMs":1}',
    '{"v":1,"type":"create-topic","name":"a","queues":0,"createdAtMs":1}',
    '{"v":1,"type":"create-topic","name":"a","queues":1.5,"createdAtMs":1}',
    '{"v":1,"type":"create-topic","name":"a","queues":1}',
    '{"__proto__":{"v":1,"type":"create-topic","name":"a","queues":1,"createdAtMs":1}}',
  ];
  for (const text of strange) {
    it(`stop the replica when they are ${JSON.stringify(text)}`, async () => {
      expect(() => decodeCommand(Buffer.from(text))).to.throw(InvariantError);
      const harness = await Harness.start({ queues: 0 });
      harness.log.append(blankRecord(recordMagic.command, Buffer.from(text)));
      expect(() => harness.applyTo()).to.throw(InvariantError);
      expect(harness.broker.appliedIndex).to.equal(0);
    });
  }

  it('stop the replica when they create what is there', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.log.append(
      blankRecord(recordMagic.command, encodeCommand({ type: 'create-topic', topic: { ...topic, name: 'T' } })),
    );
    expect(() => harness.applyTo()).to.throw(InvariantError, 'created once');
  });
});
