// SendMessage: every limit from both sides, what is stored of a message, what its sender hears.
import { expect } from 'chai';
import { brokerProperty } from '../../../src/format/message_properties.ts';
import { recordFlag } from '../../../src/format/record_flags.ts';
import { readRecallHandle } from '../../../src/rpc/rocketmq/handles.ts';
import type { Message } from '../../../src/wire/rocketmq/definitions.ts';
import { messageOf, type Some } from './client.ts';
import { errorOf, type RocketmqHarness, startRocketmq } from './harness.ts';

const MIB = 1_048_576;
const inMs = (ms: number) => {
  const at = Date.now() + ms;
  return { seconds: String(Math.floor(at / 1_000)), nanos: (at % 1_000) * 1_000_000 };
};
const properties = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, 'v'])) as Record<string, string>;
const users = (userProperties: Record<string, string>) => messageOf('m', {}, { userProperties });
const named = (name: string) => messageOf('m', {}, { topic: { name } });

/** What is sent, and the code of the answer. */
const cases: readonly [what: string, message: Some<Message>, code: string][] = [
  ['a topic of 127 characters', named('t'.repeat(127)), 'TOPIC_NOT_FOUND'],
  ['a topic of 128 characters', named('t'.repeat(128)), 'ILLEGAL_TOPIC'],
  ['a topic without a name', named(''), 'ILLEGAL_TOPIC'],
  ['a topic with all legal characters', named('%|aZ09_-'), 'TOPIC_NOT_FOUND'],
  ['a topic with a dot', named('a.b'), 'ILLEGAL_TOPIC'],
  ['a system topic', named('TBW102'), 'ILLEGAL_TOPIC'],
  ['a topic that begins as system topics do', named('rmq_sys_x'), 'ILLEGAL_TOPIC'],
  ['a tag', messageOf('m', { tag: 'a' }), 'OK'],
  ['an empty tag', messageOf('m', { tag: '' }), 'OK'],
  ['a blank tag', messageOf('m', { tag: '  ' }), 'ILLEGAL_MESSAGE_TAG'],
  ['a tag with a bar', messageOf('m', { tag: 'a|b' }), 'ILLEGAL_MESSAGE_TAG'],
  ['a tag with U+001F', messageOf('m', { tag: 'a\u001f' }), 'ILLEGAL_MESSAGE_TAG'],
  ['a tag with U+0020', messageOf('m', { tag: 'a b' }), 'OK'],
  ['a tag with U+007E', messageOf('m', { tag: 'a~' }), 'OK'],
  ['a tag with U+007F', messageOf('m', { tag: 'a\u007f' }), 'ILLEGAL_MESSAGE_TAG'],
  ['a tag with U+009F', messageOf('m', { tag: 'a\u009f' }), 'ILLEGAL_MESSAGE_TAG'],
  ['a tag with U+00A0', messageOf('m', { tag: 'a\u00a0' }), 'OK'],
  ['an empty key', messageOf('m', { keys: ['a', ''] }), 'OK'],
  ['a blank key', messageOf('m', { keys: ['a', ' '] }), 'ILLEGAL_MESSAGE_KEY'],
  ['a key with a control character', messageOf('m', { keys: ['a\u0000'] }), 'ILLEGAL_MESSAGE_KEY'],
  ['a message group of 63 bytes', messageOf('m', { messageGroup: `${'ä'.repeat(31)}g` }), 'OK'],
  ['a message group of 64 bytes', messageOf('m', { messageGroup: 'ä'.repeat(32) }), 'ILLEGAL_MESSAGE_GROUP'],
  ['a blank message group', messageOf('m', { messageGroup: ' ' }), 'ILLEGAL_MESSAGE_GROUP'],
  ['a message group with a control character', messageOf('m', { messageGroup: 'a\u0001' }), 'ILLEGAL_MESSAGE_GROUP'],
  ['128 properties', users(properties(128)), 'OK'],
  ['129 properties', users(properties(129)), 'MESSAGE_PROPERTIES_TOO_LARGE'],
  ['properties of 16384 bytes', users({ ä: 'v'.repeat(16_382) }), 'OK'],
  ['properties of 16385 bytes', users({ ä: 'v'.repeat(16_383) }), 'MESSAGE_PROPERTIES_TOO_LARGE'],
  [
    'tag, keys and properties of 16384 bytes',
    messageOf('m', { tag: 'abc', keys: ['k1', 'k2'] }, { userProperties: { n: 'v'.repeat(16_376) } }),
    'OK',
  ],
  [
    'tag, keys and properties of 16385 bytes',
    messageOf('m', { tag: 'abc', keys: ['k1', 'k2'] }, { userProperties: { n: 'v'.repeat(16_377) } }),
    'MESSAGE_PROPERTIES_TOO_LARGE',
  ],
  ['a property with a reserved name', users({ TAGS: 'a' }), 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
  ['a property that brokers go by', users({ __EFFECT: 'release 1' }), 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
  ['a property whose name has a control character', users({ 'a\u0002': 'b' }), 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
  ['a property whose value has a control character', users({ a: 'b\u0001' }), 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
  ['a property without a value', users({ a: '' }), 'OK'],
  ['no message id', messageOf(''), 'ILLEGAL_MESSAGE_ID'],
  ['a blank message id', messageOf('  '), 'ILLEGAL_MESSAGE_ID'],
  ['a message id that would end a property', messageOf('m\u0002__EFFECT\u0001release 1'), 'ILLEGAL_MESSAGE_ID'],
  ['no system properties', { topic: { name: 'orders' }, body: Buffer.from('b') }, 'ILLEGAL_MESSAGE_ID'],
  ['an empty body', messageOf('m', {}, { body: Buffer.alloc(0) }), 'MESSAGE_BODY_EMPTY'],
  ['a body of one byte', messageOf('m', {}, { body: Buffer.alloc(1) }), 'OK'],
  ['a body of 4 MiB', messageOf('m', {}, { body: Buffer.alloc(4 * MIB) }), 'OK'],
  ['a body of 4 MiB and a byte', messageOf('m', {}, { body: Buffer.alloc(4 * MIB + 1) }), 'MESSAGE_BODY_TOO_LARGE'],
  ['a body of 20 MiB', messageOf('m', {}, { body: Buffer.alloc(20 * MIB) }), 'MESSAGE_BODY_TOO_LARGE'],
  ['a delay of just 24 hours', messageOf('m', { deliveryTimestamp: inMs(86_400_000 - 5) }), 'OK'],
  [
    'a delay of more than 24 hours',
    messageOf('m', { deliveryTimestamp: inMs(86_400_000 + 3_600_000) }),
    'ILLEGAL_DELIVERY_TIME',
  ],
  ['a delivery time in the past', messageOf('m', { deliveryTimestamp: { seconds: '1', nanos: 0 } }), 'OK'],
  ['a delivery time before the epoch', messageOf('m', { deliveryTimestamp: { seconds: '-5', nanos: 0 } }), 'OK'],
  [
    'a recovery duration of an hour',
    messageOf('m', { messageType: 'TRANSACTION', orphanedTransactionRecoveryDuration: { seconds: '3600', nanos: 0 } }),
    'OK',
  ],
  [
    'a recovery duration of more than an hour',
    messageOf('m', {
      messageType: 'TRANSACTION',
      orphanedTransactionRecoveryDuration: { seconds: '3600', nanos: 1_000_000 },
    }),
    'BAD_REQUEST',
  ],
  [
    'a transaction that is delayed',
    messageOf('m', { messageType: 'TRANSACTION', deliveryTimestamp: inMs(1_000) }),
    'MESSAGE_PROPERTY_CONFLICT_WITH_TYPE',
  ],
  ['a host that does not fit', messageOf('m', { bornHost: 'h'.repeat(40_000) }), 'MESSAGE_PROPERTIES_TOO_LARGE'],
  ['a lite topic', messageOf('m', { liteTopic: 'a' }), 'MESSAGE_PROPERTY_CONFLICT_WITH_TYPE'],
  ['a topic that is not there', named('nowhere'), 'TOPIC_NOT_FOUND'],
];

describe('SendMessage', () => {
  let harness: RocketmqHarness;

  beforeEach(async () => {
    harness = await startRocketmq({ normal: 'normal', fifo: 'fifo', delay: 'delay', transaction: 'transaction' });
  });

  afterEach(async () => {
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  it('answers every limit with its code, on both sides, in the entry and in the response', async () => {
    for (const [what, message, code] of cases) {
      const { status, entries } = await harness.client.send(message);
      expect({ what, code: status?.code }).to.deep.equal({ what, code });
      expect(
        entries.map((entry) => entry.status?.code),
        what,
      ).to.deep.equal([code]);
    }
    expect(harness.leader.stores).to.have.length(cases.filter(([, , code]) => code === 'OK').length);
  });

  describe('with the type of the topic', () => {
    const messages = {
      NORMAL: messageOf('m'),
      FIFO: messageOf('m', { messageGroup: 'g' }),
      DELAY: messageOf('m', { deliveryTimestamp: inMs(60_000), messageGroup: 'g' }),
      TRANSACTION: messageOf('m', { messageType: 'TRANSACTION' }),
    };
    for (const [type, message] of Object.entries(messages)) {
      for (const topic of ['normal', 'fifo', 'delay', 'transaction', 'orders']) {
        const isTaken = topic === 'orders' || topic === type.toLowerCase();
        it(`${isTaken ? 'takes' : 'refuses'} ${type} in a topic ${topic === 'orders' ? 'without one' : topic}`, async () => {
          const { status } = await harness.client.send({ ...message, topic: { name: topic } });
          expect(status?.code).to.equal(isTaken ? 'OK' : 'MESSAGE_PROPERTY_CONFLICT_WITH_TYPE');
          if (!isTaken) {
            const [expected, actual] = [topic.toUpperCase(), type];
            expect(status?.message).to.equal(
              `TopicMessageType validate failed, the expected type is ${expected}, but actual type is ${actual}`,
            );
          }
        });
      }
    }
  });

  it('goes by what a message carries, not by what it calls itself', async () => {
    const { status } = await harness.client.send(messageOf('m', { messageType: 'FIFO' }, { topic: { name: 'fifo' } }));
    expect(status?.code).to.equal('MESSAGE_PROPERTY_CONFLICT_WITH_TYPE');
  });

  it('stores what was sent', async () => {
    const system = {
      tag: 'paid',
      keys: ['k1', '', 'k2'],
      bornTimestamp: { seconds: '1700000000', nanos: 5_000_000 },
      bornHost: 'here',
      bodyEncoding: 'GZIP',
      messageGroup: 'g',
      traceContext: 'trace',
      queueId: 3,
    } as const;
    await harness.client.send(messageOf('id-1', system, { userProperties: { colour: 'red' } }));
    const [message] = harness.leader.stored;
    expect(message).to.include({ topic: 'orders', tag: 'paid', bornAtMs: 1_700_000_000_005 });
    expect(message!.body.toString()).to.equal('body of id-1');
    expect(message!.keys).to.deep.equal(['k1', 'k2']);
    expect(Object.fromEntries(message!.properties)).to.deep.equal({
      UNIQ_KEY: 'id-1',
      colour: 'red',
      [brokerProperty.messageGroup]: 'g',
      [brokerProperty.traceContext]: 'trace',
      [brokerProperty.bornHost]: 'here',
      [brokerProperty.bodyEncoding]: 'GZIP',
    });
  });

  it('remembers every message, and holds back what is due later or a half', async () => {
    const { remembered, parked } = recordFlag;
    const kinds: [Some<Message>, number][] = [
      [messageOf('normal'), remembered],
      [messageOf('due', { deliveryTimestamp: inMs(-1_000) }), remembered],
      [messageOf('later', { deliveryTimestamp: inMs(5_000) }), remembered | parked],
      [messageOf('half', { messageType: 'TRANSACTION' }), remembered | parked],
    ];
    for (const [message] of kinds) await harness.client.send(message);
    expect(harness.leader.stores.map(({ flags }) => flags)).to.deep.equal(kinds.map(([, flags]) => flags));
    const [, due, later, half] = harness.leader.stored.map((message) => message.properties);
    expect(Number(later!.get(brokerProperty.deliverAtMs))).to.be.closeTo(Date.now() + 5_000, 4_000);
    expect(due!.has(brokerProperty.deliverAtMs)).to.equal(true);
    expect(half!.get(brokerProperty.transaction)).to.equal('true');
    expect(half!.has(brokerProperty.deliverAtMs)).to.equal(false);
  });

  it('lets no user say what brokers go by', async () => {
    const userProperties = { [brokerProperty.recoverySeconds]: 'soon', [brokerProperty.transactionId]: 'x' };
    const system = {
      messageType: 'TRANSACTION',
      orphanedTransactionRecoveryDuration: { seconds: '1', nanos: 1 },
    } as const;
    await harness.client.send(messageOf('a', { messageType: 'TRANSACTION' }, { userProperties }));
    await harness.client.send(messageOf('b', system, { userProperties }));
    const [a, b] = harness.leader.stored.map((message) => message.properties);
    expect(a!.has(brokerProperty.recoverySeconds)).to.equal(false);
    expect(a!.has(brokerProperty.transactionId)).to.equal(false);
    expect(b!.get(brokerProperty.recoverySeconds), 'whole seconds, never less').to.equal('2');
  });

  it('drops hosts and traces that would break a record', async () => {
    await harness.client.send(messageOf('m', { bornHost: 'h\u0002__EFFECT\u0001x', traceContext: 't\u0001' }));
    const [message] = harness.leader.stored;
    expect([...message!.properties.keys()]).to.deep.equal(['UNIQ_KEY']);
  });

  it('answers with the id for the transaction, whatever the kind, and with a recall handle for a delayed one', async () => {
    const due = inMs(60_000);
    for (const message of [messageOf('a'), messageOf('b', { deliveryTimestamp: due })]) {
      const { entries } = await harness.client.send(message);
      expect(entries[0]!.transactionId).to.equal(message.systemProperties!.messageId);
      if (message.systemProperties!.messageId === 'a') expect(entries[0]!.recallHandle).to.equal('');
      else {
        expect(readRecallHandle(entries[0]!.recallHandle)).to.deep.equal({
          index: 2,
          dueMs: Number(due.seconds) * 1_000 + due.nanos / 1_000_000,
          messageId: 'b',
        });
      }
    }
  });

  it('puts messages of one group into one queue, and spreads the others, whatever queue they name', async () => {
    for (let at = 0; at < 8; at++)
      await harness.client.send(messageOf(`g${at}`, { messageGroup: 'g', queueId: at % 4 }));
    for (let at = 0; at < 8; at++) await harness.client.send(messageOf(`n${at}`, { queueId: 0 }));
    const queues = harness.leader.stores.map(({ queueId }) => queueId);
    expect(new Set(queues.slice(0, 8)).size).to.equal(1);
    expect(queues.slice(8).sort()).to.deep.equal([0, 0, 1, 1, 2, 2, 3, 3]);
  });

  describe('of several messages', () => {
    it('stores them as one batch, and answers each', async () => {
      const { status, entries } = await harness.client.send(messageOf('a'), messageOf('b'), messageOf('c'));
      expect(status?.code).to.equal('OK');
      expect(entries.map(({ messageId, offset }) => `${messageId} ${offset}`)).to.deep.equal(['a 0', 'b 1', 'c 2']);
      expect(harness.leader.stores).to.have.length(1);
    });

    it('stores none when one is refused', async () => {
      const { status, entries } = await harness.client.send(messageOf('a'), messageOf('b', { tag: '|' }));
      expect(status?.code).to.equal('ILLEGAL_MESSAGE_TAG');
      expect(entries.map((entry) => entry.status?.code)).to.deep.equal(['ILLEGAL_MESSAGE_TAG', 'ILLEGAL_MESSAGE_TAG']);
      expect(harness.leader.stores).to.have.length(0);
    });

    it('refuses none at all, different topics, kinds that stand alone, and too many bytes', async () => {
      const code = async (...messages: Some<Message>[]) => (await harness.client.send(...messages)).status?.code;
      expect(await code()).to.equal('MESSAGE_CORRUPTED');
      expect(await code(messageOf('a'), named('fifo'))).to.equal('MESSAGE_CORRUPTED');
      expect(await code(messageOf('a'), messageOf('b', { messageGroup: 'g' }))).to.equal(
        'MESSAGE_PROPERTY_CONFLICT_WITH_TYPE',
      );
      const body = Buffer.alloc(3 * MIB);
      expect(await code(messageOf('a', {}, { body }), messageOf('b', {}, { body }))).to.equal('MESSAGE_BODY_TOO_LARGE');
    });
  });

  describe('while leaders change', () => {
    for (const code of ['NOT_LEADER', 'NO_LEADER', 'UNREACHABLE', 'TRANSFERRING', 'OUTCOME_UNKNOWN'] as const) {
      it(`asks again after ${code}, with the same message anew`, async () => {
        harness.leader.failing('STORE', errorOf(code), errorOf(code));
        const { status } = await harness.client.send(messageOf('m'));
        expect(status?.code).to.equal('OK');
        expect(harness.leader.stored.map(({ properties: all }) => all.get('UNIQ_KEY'))).to.deep.equal(['m']);
      });
    }

    it('says so shortly before the client stops listening', async () => {
      harness.leader.on('STORE', () => {
        throw errorOf('NO_LEADER');
      });
      const { status } = await harness.client.ask('sendMessage', { messages: [messageOf('m')] } as never, {
        deadline: Date.now() + 700,
      });
      expect(status?.code).to.equal('HA_NOT_AVAILABLE');
      expect(harness.leader.stores.length).to.be.above(3);
    });

    for (const [error, code] of [
      ['OVERLOADED', 'TOO_MANY_REQUESTS'],
      ['STORAGE_FAILED', 'INTERNAL_SERVER_ERROR'],
    ] as const) {
      it(`does not ask again after ${error}`, async () => {
        harness.leader.failing('STORE', errorOf(error));
        expect((await harness.client.send(messageOf('m'))).status?.code).to.equal(code);
      });
    }
  });

  it('keeps to itself what it did not expect', async () => {
    harness.leader.on('STORE', () => {
      throw new Error('secret');
    });
    const { status } = await harness.client.send(messageOf('m'));
    expect(status).to.deep.equal({
      code: 'INTERNAL_SERVER_ERROR',
      message: 'Something unexpected happened inside the node.',
    });
    expect(harness.complaints.splice(0).join()).to.contain('SendMessage');
  });
});
