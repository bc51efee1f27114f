// Priorities and lite topics with the official client, and what no official client asks for: pulling, by hand.
import { expect } from 'chai';
import { OffsetOption } from 'rocketmq-client-nodejs';
import { durationOf } from '../../src/rpc/rocketmq/times.ts';
import { pause } from '../chaos/pause.ts';
import { run } from '../cli/harness.ts';
import { RawClient } from '../rpc/rocketmq/client.ts';
import { ConsumeResult, Stage, texts, until } from './clients.ts';

describe('priorities, lite topics and pulling on a group of real nodes', function () {
  this.timeout(180_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.start();
  });
  after(() => stage?.stop());

  it('the highest priority comes first', async () => {
    const topic = await stage.topic('priority', 8);
    const producer = await stage.producer();
    for (const priority of [1, 7, 3, 99, 2]) {
      await producer.send({ topic, body: Buffer.from(String(priority)), priority });
    }
    const consumer = await stage.simple(topic);
    const messages = await consumer.receive(10, 15_000);
    expect(texts(messages)).to.deep.equal(['7', '99', '3', '2', '1']);
    expect(messages.map(({ priority }) => priority)).to.deep.equal([7, 99, 3, 2, 1]);
  });

  it('a lite consumer gets what it subscribes to, each lite topic in order, also what fails', async () => {
    const topic = await stage.topic('lite', 1);
    const producer = await stage.producer();
    const say = (liteTopic: string, text: string) => producer.send({ topic, body: Buffer.from(text), liteTopic });
    for (const text of ['old 1', 'old 2', 'old 3']) await say('archive', text);
    await say('other', 'not wanted');
    const heard: string[] = [];
    let failures = 0;
    const consumer = await stage.lite(
      topic,
      async ({ body, liteTopic }) => {
        const text = body.toString();
        if (text === 'room 3' && failures++ < 1) return ConsumeResult.FAILURE;
        heard.push(`${liteTopic}: ${text}`);
        return ConsumeResult.SUCCESS;
      },
      await stage.group(),
    );
    await consumer.subscribeLite('room');
    for (const number of [1, 2, 3, 4]) await say('room', `room ${number}`);
    await until('4 messages', () => heard.length >= 4);
    expect(heard).to.deep.equal([1, 2, 3, 4].map((number) => `room: room ${number}`));
    await consumer.subscribeLite('archive', OffsetOption.ofTailN(1));
    await until('5 messages', () => heard.length >= 5);
    expect(heard.slice(4)).to.deep.equal(['archive: old 3']);
    await consumer.unsubscribeLite('room');
    await say('room', 'nobody listens');
    await say('archive', 'new');
    await until('6 messages', () => heard.length >= 6);
    await pause(300);
    expect(heard.slice(5)).to.deep.equal(['archive: new']);
    // It waits for the end of its poll: what comes ends it.
    const leaving = stage.shutdown(consumer);
    await say('archive', 'farewell');
    await leaving;
  });

  it('an exclusive lite topic goes to whoever subscribed last, on whatever node, also after the leader has changed', async () => {
    const [topic, other] = [await stage.topic('lite', 1), await stage.topic('lite', 1)];
    const group = { name: `readers-of-${topic}` };
    const tell = (...argv: readonly string[]) => run(['group', ...argv, '--endpoints', stage.endpoint()]);
    expect((await tell('create', group.name, '--exclusive')).exitCode, 'of what?').to.not.equal(0);
    await tell('create', group.name, '--lite', topic, '--exclusive');
    expect(String((await tell('describe', group.name)).stdout)).to.include(
      `lite topics: of ${topic}, each for one client`,
    );
    const clients = stage.cluster.endpoints.map((endpoint, at) => new RawClient(endpoint, `reader ${at}`));
    const [first, second] = clients as [RawClient, RawClient];
    const heard = clients.map((client) => {
      const stream = client.openTelemetry();
      const subscriptions = [{ topic: { name: topic }, expression: { type: 'TAG', expression: '*' } as const }];
      stream.tell({ clientType: 'LITE_PUSH_CONSUMER', subscription: { group, subscriptions } });
      return stream.commands;
    });
    const told = (at: number): number =>
      heard[at]!.filter(({ notifyUnsubscribeLiteCommand: told }) => told?.liteTopic === 'room').length;
    const sync = async (client: RawClient, action: 'PARTIAL_ADD' | 'COMPLETE_ADD', name = topic) => {
      const request = { group, topic: { name }, action, liteTopicSet: ['room'] };
      return (await client.ask('syncLiteSubscription', request)).status?.code;
    };
    const receive = async (client: RawClient, ms = 2_000): Promise<string[]> => {
      const longPollingTimeout = durationOf(ms);
      const request = { group, messageQueue: { topic: { name: topic }, id: -1 }, autoRenew: true, longPollingTimeout };
      const messages = await client.messages(request);
      const entries = messages.map(({ systemProperties: system }) => ({
        messageId: system!.messageId,
        receiptHandle: system!.receiptHandle!,
      }));
      if (entries.length > 0) await client.ask('ackMessage', { group, topic: { name: topic }, entries });
      return messages.map(({ body }) => body.toString());
    };
    const producer = await stage.producer();
    const say = (text: string) => producer.send({ topic, body: Buffer.from(text), liteTopic: 'room' });
    try {
      await until('all are known', () => heard.every(({ length }) => length > 0));
      expect(await sync(first, 'PARTIAL_ADD', other)).to.equal('ILLEGAL_CONSUMER_GROUP');
      expect(await sync(first, 'PARTIAL_ADD')).to.equal('OK');
      await say('a');
      expect(await receive(first)).to.deep.equal(['a']);
      const waiting = receive(first, 1_500);
      expect(await sync(second, 'PARTIAL_ADD')).to.equal('OK');
      await until('the first is told', () => told(0) === 1);
      await say('b');
      expect(await receive(second)).to.deep.equal(['b']);
      expect(await waiting).to.deep.equal([]);
      await stage.handOver();
      expect(await sync(first, 'COMPLETE_ADD')).to.equal('OK');
      await until('it is told again', () => told(0) === 2);
      await second.ask('notifyClientTermination', { group });
      await say('c');
      // Its node gives it up by itself, in a moment: then whoever asks gets it.
      let got: string[] = [];
      for (let times = 0; times < 50 && got.length === 0; times++) {
        await sync(first, 'COMPLETE_ADD');
        got = await receive(first, 50);
      }
      expect(got).to.deep.equal(['c']);
    } finally {
      for (const client of clients) await client[Symbol.asyncDispose]();
    }
  });

  it('the offset that a puller commits on one node is known on the others, also after the leader has changed', async () => {
    const topic = await stage.topic('normal', 1);
    const producer = await stage.producer();
    for (const text of ['a', 'b', 'c']) await producer.send({ topic, body: Buffer.from(text) });
    const clients = stage.cluster.endpoints.map((endpoint, at) => new RawClient(endpoint, `puller ${at}`));
    const group = { group: { name: 'pullers' } };
    const queue = { messageQueue: { topic: { name: topic }, id: 0 } };
    const get = async (client: RawClient) => {
      const { status, offset } = await client.ask('getOffset', { ...group, ...queue });
      return status?.code === 'OK' ? offset : status?.code;
    };
    try {
      expect(await get(clients[0]!)).to.equal('OFFSET_NOT_FOUND');
      for (const client of clients) {
        const elements = await client.pull({ ...group, ...queue, offset: '1', longPollingTimeout: { seconds: '2' } });
        const bodies = elements.flatMap(({ message }) => (message === undefined ? [] : [message.body.toString()]));
        expect(bodies).to.deep.equal(['b', 'c']);
      }
      expect((await clients[1]!.ask('updateOffset', { ...group, ...queue, offset: '2' })).status?.code).to.equal('OK');
      for (const client of clients) expect(await get(client)).to.equal('2');
      await stage.handOver();
      for (const client of clients) expect(await get(client)).to.equal('2');
    } finally {
      for (const client of clients) await client[Symbol.asyncDispose]();
    }
  });
});
