// What the official client's own test files ask of a server (their names and assertions: ROCKETMQ §8.2), and what users of the
// client do. None of those files is copied here: the published package does not hold them.
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { pause } from '../chaos/pause.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';
import {
  ConsumeResult,
  drain,
  FilterExpression,
  FilterType,
  type MessageView,
  TransactionResolution,
  texts,
  until,
} from './clients.ts';
import { cases, killEveryMs, useStage } from './shared_stage.ts';

/** What may be as late as a change of leaders takes. */
const sparedMs = killEveryMs === null ? 0 : 3_000;

describe('the official RocketMQ 5 client for Node.js', function () {
  this.timeout(180_000);
  const stage = useStage();

  describe('Producer.test.ts', () => {
    cases.it('should startup success', async () => {
      const topic = await stage().topic('normal');
      const producer = await stage().producer();
      const receipt = await producer.send({ topic, tag: 'x', keys: ['k1', 'k2'], body: Buffer.from('hello') });
      expect(receipt.offset).to.be.at.least(0);
      expect(receipt.messageId).to.be.a('string').that.equals(receipt.transactionId);
    });

    cases.it('should startup fail when topic not exists', async () => {
      let cause: unknown;
      try {
        await stage().producer({ topic: 'TopicTest-not-exists' });
      } catch (error) {
        cause = error;
      }
      for (let depth = 0; depth < 3 && (cause as { code?: number }).code === undefined; depth++)
        cause = (cause as Error).cause;
      expect(cause).to.include({ code: 40402, name: 'NotFoundException' });
      expect((cause as Error).message).to.include(
        'CODE: 17  DESC: No topic route info in name server for the topic: TopicTest-not-exists',
      );
    });

    cases.it('should send normal message', async () => {
      const topic = await stage().topic('normal');
      const tag = `tag-${Date.now()}`;
      const producer = await stage().producer({ topic });
      const properties = new Map([['p', 'q']]);
      const sent = await producer.send({ topic, tag, keys: ['a', 'b'], properties, body: Buffer.from('{"a":1}') });
      const consumer = await stage().simple(topic, { filter: new FilterExpression(tag) });
      const [message] = await consumer.receive(1, 10_000);
      expect(message!.messageId).to.equal(sent.messageId);
      expect([message!.tag, message!.keys, message!.properties.get('p')]).to.deep.equal([tag, ['a', 'b'], 'q']);
      expect(message!.corrupted).not.to.equal(true);
      expect([message!.body.toString(), message!.deliveryAttempt]).to.deep.equal(['{"a":1}', 1]);
      await consumer.ack(message!);
    });

    cases.it('should send delay message', async () => {
      const topic = await stage().topic('delay');
      const producer = await stage().producer({ topic });
      const consumer = await stage().simple(topic);
      const startMs = Date.now();
      await producer.send({ topic, delay: 1_000, body: Buffer.from('later') });
      const [message] = await consumer.receive(1, 10_000);
      expect(message!.transportDeliveryTimestamp!.getTime() - startMs).to.be.within(1_000, 3_500 + sparedMs);
      await consumer.ack(message!);
    });

    cases.it('should send fifo message', async () => {
      const topic = await stage().topic('fifo');
      const messageGroup = `fifo-${randomUUID()}`;
      const producer = await stage().producer({ topic });
      for (const body of ['one', 'two', 'three']) await producer.send({ topic, messageGroup, body: Buffer.from(body) });
      const consumer = await stage().simple(topic);
      for (const body of ['one', 'two', 'three']) {
        const [message] = await consumer.receive(1, 10_000);
        expect([message!.body.toString(), message!.messageGroup]).to.deep.equal([body, messageGroup]);
        expect(message!.properties.get('__SHARDINGKEY')).to.equal(messageGroup);
        if (body !== 'one') await consumer.ack(message!);
      }
    });

    cases.it('should send transaction message', async () => {
      const topic = await stage().topic('transaction');
      const producer = await stage().producer({ topic, checker: { check: async () => TransactionResolution.COMMIT } });
      const transaction = producer.beginTransaction();
      const receipt = await producer.send({ topic, body: Buffer.from('half') }, transaction);
      await transaction.commit();
      const consumer = await stage().simple(topic);
      const messages = await consumer.receive(2, 10_000);
      expect(messages.map(({ messageId }) => messageId)).to.deep.equal([receipt.messageId]);
      expect(messages[0]!.properties.get('__transactionId__')).to.equal(receipt.transactionId);
      await consumer.ack(messages[0]!);
    });
  });

  describe('SimpleConsumer.test.ts', () => {
    cases.it('should receive success', async () => {
      const topic = await stage().topic('normal');
      const producer = await stage().producer({ topic });
      const consumer = await stage().simple(topic);
      for (let number = 0; number < 102; number++)
        await producer.send({ topic, tag: 'x', body: Buffer.from(`m${number}`) });
      const all = await drain(consumer, 102);
      expect(texts(all).sort()).to.deep.equal(Array.from({ length: 102 }, (_, number) => `m${number}`).sort());
      expect(all.every(({ tag, topic: of }) => tag === 'x' && of === topic)).to.equal(true);
    });
  });

  describe('a simple consumer', () => {
    cases.it(
      'gets a message again when it did not acknowledge it, and with an old receipt nothing is done',
      async () => {
        const topic = await stage().topic();
        const producer = await stage().producer({ topic });
        await producer.send({ topic, body: Buffer.from('a') });
        const consumer = await stage().simple(topic);
        const [first] = await consumer.receive(1, 10_000);
        const old = Object.create(first!) as MessageView;
        Object.defineProperty(old, 'receiptHandle', { value: first!.receiptHandle });
        await consumer.changeInvisibleDuration(first!, 10);
        const [second] = await consumer.receive(1, 10_000);
        expect([second!.messageId, second!.deliveryAttempt]).to.deep.equal([first!.messageId, 2]);
        let code = 0;
        await consumer.ack(old).catch((error: { code: number }) => {
          code = error.code;
        });
        expect(code).to.equal(40_013);
        await consumer.ack(second!);
        await consumer.ack(second!);
        expect(await consumer.receive(1, 10_000)).to.deep.equal([]);
      },
    );

    cases.it('shares a topic with others of its group', async () => {
      const topic = await stage().topic();
      const producer = await stage().producer({ topic });
      const consumerGroup = `g-${randomUUID()}`;
      const [one, other] = await Promise.all(
        [1, 2].map((node) => stage().simple(topic, { consumerGroup, endpoints: stage().endpoint(node) })),
      );
      for (let number = 0; number < 40; number++) await producer.send({ topic, body: Buffer.from(`m${number}`) });
      const parts = await Promise.all([drain(one!, 20, 8_000), drain(other!, 20, 8_000)]);
      const all = texts(parts.flat());
      expect(new Set(all).size).to.equal(all.length);
      const rest = await drain(one!, 40 - all.length, 6_000);
      expect(new Set([...all, ...texts(rest)]).size).to.equal(40);
    });

    cases.it('filters by tags and by SQL92', async () => {
      const topic = await stage().topic();
      const producer = await stage().producer({ topic });
      for (const [tag, price] of [
        ['a', 5],
        ['b', 10],
        ['c', 15],
        ['a', 20],
      ] as const) {
        await producer.send({
          topic,
          tag,
          properties: new Map([['price', String(price)]]),
          body: Buffer.from(`${tag}${price}`),
        });
      }
      const byTag = await stage().simple(topic, { filter: new FilterExpression('a || b') });
      expect(texts(await drain(byTag, 3)).sort()).to.deep.equal(['a20', 'a5', 'b10']);
      // Without a price: whether that lies between 10 and 20 is unknown.
      await producer.send({ topic, tag: 'd', body: Buffer.from('d') });
      const sql = new FilterExpression("price BETWEEN 10 AND 20 AND TAGS <> 'c'", FilterType.SQL);
      const bySql = await stage().simple(topic, { filter: sql, awaitDuration: 500 });
      const found = texts(await drain(bySql, 2));
      expect([...found, ...texts(await bySql.receive(4, 15_000))].sort()).to.deep.equal(['a20', 'b10']);
    });

    cases.it('waits for a message that comes while it asks, on any node', async () => {
      const topic = await stage().topic();
      const producer = await stage().producer({ topic });
      for (const node of [0, 1, 2]) {
        const consumer = await stage().simple(topic, { endpoints: stage().endpoint(node), awaitDuration: 5_000 });
        await drain(consumer, node);
        const received = consumer.receive(1, 10_000);
        await pause(300);
        const time = new WorkingTime();
        await producer.send({ topic, body: Buffer.from(`m${node}`) });
        expect(texts(await received)).to.deep.equal([`m${node}`]);
        expect(time.end()).to.be.below(2_000 + sparedMs);
      }
    });
  });

  describe('a push consumer', () => {
    cases.it('tries again what failed, and counts', async () => {
      const topic = await stage().topic();
      const producer = await stage().producer({ topic });
      const attempts: number[] = [];
      await stage().push(topic, async (message) => {
        attempts.push(message.deliveryAttempt!);
        return attempts.length < 3 ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
      });
      await producer.send({ topic, body: Buffer.from('a') });
      await until('three attempts', () => attempts.length === 3);
      await pause(500);
      expect(attempts).to.deep.equal([1, 2, 3]);
    });

    cases.it('has a message that fails always become a dead letter, and goes on', async () => {
      const topic = await stage().topic();
      const consumerGroup = `g-${randomUUID()}`;
      await stage().admin.admin.putGroup({
        name: consumerGroup,
        fifo: false,
        maxAttempts: 3,
        retryMs: [],
        createdTimestamp: '0',
      });
      const producer = await stage().producer({ topic });
      const seen: string[] = [];
      await stage().push(
        topic,
        async (message) => {
          seen.push(message.body.toString());
          return message.body.toString() === 'poison' ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        },
        { consumerGroup },
      );
      await producer.send({ topic, body: Buffer.from('poison') });
      await until('the last attempt', () => seen.length >= 3);
      await producer.send({ topic, body: Buffer.from('fine') });
      await until('what comes behind', () => seen.includes('fine'));
      const letters = await stage().simple(`%DLQ%${consumerGroup}`, { awaitDuration: 5_000 });
      expect(texts(await drain(letters, 1))).to.deep.equal(['poison']);
      expect(seen.filter((text) => text === 'poison')).to.have.length(3);
      expect((await stage().admin.admin.describeGroups([consumerGroup])).groups[0]!.deadLetters).to.equal('1');
    });

    cases.it('holds back what comes behind a message that failed, in a group in order', async () => {
      const topic = await stage().topic('fifo', 1);
      const consumerGroup = await stage().group({ fifo: true, retryMs: ['10'] });
      const producer = await stage().producer({ topic });
      for (const body of ['a', 'b']) await producer.send({ topic, messageGroup: 'one', body: Buffer.from(body) });
      const consumer = await stage().simple(topic, { consumerGroup, awaitDuration: 1_000 });
      const [first] = await consumer.receive(1, 15_000);
      expect(first!.body.toString()).to.equal('a');
      expect(texts(await consumer.receive(1, 15_000))).to.deep.equal([]);
      await consumer.changeInvisibleDuration(first!, 10);
      expect(texts(await drain(consumer, 2))).to.deep.equal(['a', 'b']);
    });

    cases.it('gets messages of a group in order, also when one fails, which becomes a dead letter', async () => {
      const topic = await stage().topic('fifo');
      const consumerGroup = `g-${randomUUID()}`;
      await stage().admin.admin.putGroup({
        name: consumerGroup,
        fifo: true,
        maxAttempts: 3,
        retryMs: ['10'],
        createdTimestamp: '0',
      });
      const producer = await stage().producer({ topic });
      const seen: string[] = [];
      await stage().push(
        topic,
        async (message) => {
          seen.push(message.body.toString());
          return message.body.toString() === '3' ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        },
        { consumerGroup },
      );
      for (let number = 0; number < 10; number++) {
        await producer.send({ topic, messageGroup: 'one', body: Buffer.from(String(number)) });
      }
      await until('the last one', () => seen.includes('9'), 40_000);
      expect([...new Set(seen)]).to.deep.equal(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
      expect(seen.filter((text) => text === '3')).to.have.length(3);
      const letters = await stage().simple(`%DLQ%${consumerGroup}`, { awaitDuration: 5_000 });
      expect(texts(await drain(letters, 1))).to.deep.equal(['3']);
    });
  });

  describe('a producer', () => {
    cases.it('is asked what became of a transaction that it never ended', async () => {
      const topic = await stage().topic('transaction');
      const asked: string[] = [];
      const producer = await stage().producer({
        topic,
        checker: {
          check: async (message: MessageView) => {
            asked.push(message.body.toString());
            return TransactionResolution.COMMIT;
          },
        },
      });
      await producer.send({ topic, body: Buffer.from('lost commit') }, producer.beginTransaction());
      const consumer = await stage().simple(topic, { awaitDuration: 15_000 });
      expect(texts(await drain(consumer, 1, 30_000))).to.deep.equal(['lost commit']);
      expect(asked).to.deep.equal(['lost commit']);
    });

    cases.it('recalls a delayed message, once', async () => {
      const topic = await stage().topic('delay');
      const producer = await stage().producer({ topic });
      const sent = await producer.send({ topic, delay: 3_000, body: Buffer.from('a') });
      const recalled = await producer.recallMessage(topic, sent.recallHandle!);
      expect(recalled.messageId).to.equal(sent.messageId);
      let said = '';
      await producer.recallMessage(topic, sent.recallHandle!).catch((error: Error) => {
        said = error.message;
      });
      expect(said).to.match(/\(code: 40\d{3}\)$/);
      const consumer = await stage().simple(topic, { awaitDuration: 4_000 });
      expect(await consumer.receive(1, 10_000)).to.deep.equal([]);
    });

    cases.it('shows nothing of a transaction before it is committed, and does not open it again', async () => {
      const topic = await stage().topic('transaction');
      const producer = await stage().producer({
        topic,
        checker: { check: async () => TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED },
      });
      const transaction = producer.beginTransaction();
      const { transactionId } = await producer.send({ topic, body: Buffer.from('half') }, transaction);
      const consumer = await stage().simple(topic, { awaitDuration: 1_000 });
      expect(texts(await consumer.receive(1, 10_000))).to.deep.equal([]);
      await transaction.commit();
      expect(texts(await drain(consumer, 1))).to.deep.equal(['half']);
      await using client = new RawClient(stage().endpoint());
      const end = { topic: { name: topic }, messageId: transactionId, transactionId, resolution: 'ROLLBACK' } as const;
      expect((await client.ask('endTransaction', end)).status!.code).to.equal('NOT_FOUND');
    });

    cases.it('stores once what is sent again, by whatever node', async () => {
      const topic = await stage().topic('normal');
      const message = messageOf(randomUUID(), {}, { topic: { name: topic } });
      const offsets: string[] = [];
      for (const node of [0, 1, 2]) {
        await using client = new RawClient(stage().endpoint(node));
        const { status, entries } = await client.send(message);
        expect(status!.code).to.equal('OK');
        offsets.push(entries[0]!.offset);
      }
      expect(new Set(offsets).size).to.equal(1);
      const consumer = await stage().simple(topic, { awaitDuration: 500 });
      expect(await drain(consumer, 2, 2_000)).to.have.length(1);
    });

    cases.it('rolls a transaction back', async () => {
      const topic = await stage().topic('transaction');
      const producer = await stage().producer({
        topic,
        checker: { check: async () => TransactionResolution.ROLLBACK },
      });
      const transaction = producer.beginTransaction();
      await producer.send({ topic, body: Buffer.from('no') }, transaction);
      await transaction.rollback();
      const consumer = await stage().simple(topic, { awaitDuration: 1_000 });
      expect(await consumer.receive(1, 10_000)).to.deep.equal([]);
    });

    for (const [what, some, code] of [
      ['an empty body', { body: Buffer.alloc(0) }, 41_302],
      ['a tag with a bar', { tag: 'a|b' }, 40_004],
      ['a blank key', { keys: [' '] }, 40_005],
      ['a reserved property', { properties: new Map([['TAGS', 'x']]) }, 40_007],
      [
        '129 properties',
        { properties: new Map(Array.from({ length: 129 }, (_, at) => [`p${at}`, 'x'] as const)) },
        43_101,
      ],
      ['a message group of 64 bytes', { messageGroup: 'g'.repeat(64) }, 40_006],
      ['a delay of two days', { delay: 2 * 86_400_000 }, 40_012],
    ] as const) {
      cases.it(`is refused ${what}`, async () => {
        const topic = await stage().topic();
        const producer = await stage().producer({ topic, maxAttempts: 1 });
        let refused = 0;
        await producer.send({ topic, body: Buffer.from('x'), ...some } as never).catch((error: { code: number }) => {
          refused = error.code;
        });
        expect(refused).to.equal(code);
      });
    }
  });

  cases.it('finds producers and consumers of one namespace together', async () => {
    const topic = await stage().topic();
    await stage().admin.admin.createTopic(`ns%${topic}`, { queues: 4 });
    const producer = await stage().producer({ topic, namespace: 'ns' });
    await producer.send({ topic, body: Buffer.from('inside') });
    const inside = await stage().simple(topic, { namespace: 'ns' });
    expect(texts(await drain(inside, 1))).to.deep.equal(['inside']);
    const outside = await stage().simple(topic, { awaitDuration: 500 });
    expect(await outside.receive(1, 10_000)).to.deep.equal([]);
  });
});
