// The 36 traps of interoperation (ROCKETMQ §11.4), each by its number, on real nodes: each was met by a real client.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { expect } from 'chai';
import { flagOf, type SettingKey } from '../../src/config/schema.ts';
import { ChildNode } from '../../src/server/child_node.ts';
import { freePorts } from '../../src/server/ports.ts';
import type { Message } from '../../src/wire/rocketmq/definitions.ts';
import type { TelemetryCommand } from '../../src/wire/rocketmq/service_messages.ts';
import { pause } from '../chaos/pause.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';
import { ConsumeResult, texts, until } from './clients.ts';
import { cases, useStage } from './shared_stage.ts';

const md5 = (body: Buffer): string => createHash('md5').update(body).digest('hex').toUpperCase();
const millis = (time: { seconds: string; nanos: number } | null | undefined): number =>
  Number(time!.seconds) * 1_000 + time!.nanos / 1_000_000;
const timestamp = (ms: number) => ({ seconds: String(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 });
const seconds = (count: number) => ({ seconds: String(count) });
const languages = ['NODE_JS', 'JAVA', 'GOLANG', 'CPP', 'DOT_NET', 'PYTHON', 'RUST', 'PHP'] as const;

describe('the traps of interoperation', function () {
  this.timeout(180_000);
  const open: RawClient[] = [];
  const { it: trap } = cases;
  after(async () => {
    for (const client of open) await client[Symbol.asyncDispose]();
  });
  const stage = useStage();

  /** One more client instance. */
  function raw(headers: Readonly<Record<string, string>> = {}, clientId: string | null = `host@1@0@${randomUUID()}`) {
    const client = new RawClient(stage().endpoint(), clientId, headers);
    open.push(client);
    return client;
  }

  /** What a producer hears on its stream. */
  async function settingsOf(language: (typeof languages)[number], topic: string): Promise<TelemetryCommand[]> {
    const telemetry = raw().openTelemetry();
    const publishing = { topics: [{ name: topic }] };
    telemetry.tell({ clientType: 'PRODUCER', publishing, userAgent: { language } });
    await until('settings', () => telemetry.commands.length === 1);
    telemetry.end();
    return telemetry.commands;
  }

  /** Sends one message to a topic, by a client that said nothing before. */
  async function send(topic: string, id: string, system = {}, more = {}, client = raw()) {
    const { status, entries } = await client.send(messageOf(id, system, { topic: { name: topic }, ...more }));
    return { code: status?.code, entry: entries[0] };
  }

  /** Messages of a topic for a group. */
  const from = (topic: string, group: string, more = {}) => ({
    messageQueue: { topic: { name: topic }, id: -1 },
    group: { name: group },
    longPollingTimeout: seconds(2),
    ...more,
  });

  async function settle(topic: string, group: string, message: Message, client: RawClient) {
    const { messageId, receiptHandle } = message.systemProperties!;
    const entries = [{ messageId, receiptHandle }];
    return client.ask('ackMessage', { topic: { name: topic }, group: { name: group }, entries });
  }

  const newGroup = (): string => `g-${randomUUID()}`;

  trap('1: settings for a producer have an exponential back-off, whatever it is written in', async () => {
    const topic = await stage().topic();
    for (const language of languages) {
      const [command] = await settingsOf(language, topic);
      const { exponentialBackoff, customizedBackoff } = command!.settings!.backoffPolicy!;
      expect(exponentialBackoff).to.include({ multiplier: 2 });
      expect(customizedBackoff).to.equal(undefined);
    }
  });

  trap('2: settings say how large a body may be', async () => {
    const [command] = await settingsOf('NODE_JS', await stage().topic());
    expect(command!.settings!.publishing!.maxBodySize).to.equal(4_194_304);
  });

  trap('3: settings are always answered, also those that are sent again, or wrong', async () => {
    const telemetry = raw().openTelemetry();
    const publishing = { topics: [{ name: await stage().topic() }] };
    for (let count = 1; count <= 3; count++) {
      telemetry.tell({ clientType: 'PRODUCER', publishing });
      await until('an answer', () => telemetry.commands.length === count);
      expect(telemetry.commands.at(-1)).to.have.nested.property('settings.publishing');
    }
    telemetry.tell({ clientType: 'PRODUCER', publishing: { topics: [{ name: 'a topic' }] } });
    await until('a refusal', () => telemetry.commands.length === 4);
    expect(telemetry.commands[3]!.status!.code).to.equal('ILLEGAL_TOPIC');
    expect(telemetry.commands[3]!.settings).to.equal(undefined);
    telemetry.end();
  });

  trap('4: routes have all queues from 0 on, to read and to write', async () => {
    const topic = await stage().topic('normal', 3);
    const { messageQueues } = await raw().ask('queryRoute', { topic: { name: topic } });
    expect(messageQueues.map(({ id, permission }) => [id, permission])).to.deep.equal(
      [0, 1, 2].map((id) => [id, 'READ_WRITE']),
    );
  });

  trap('5: routes name one address, however many the client knows', async () => {
    const topic = await stage().topic();
    const addresses = stage().cluster.endpoints.map((endpoint) => {
      const [host, port] = endpoint.split(':');
      return { host: host!, port: Number(port) };
    });
    const { messageQueues } = await raw().ask('queryRoute', {
      topic: { name: topic },
      endpoints: { scheme: 'IPv4', addresses },
    });
    for (const { broker } of messageQueues) expect(broker!.endpoints!.addresses).to.have.length(1);
  });

  trap('6: routes name the host by which the client came', async () => {
    const topic = await stage().topic();
    const port = Number(stage().endpoint().split(':')[1]);
    const endpoints = { scheme: 'DOMAIN_NAME', addresses: [{ host: 'localhost', port }] } as const;
    const { messageQueues } = await raw().ask('queryRoute', { topic: { name: topic }, endpoints });
    for (const { broker } of messageQueues) expect(broker!.endpoints).to.deep.equal(endpoints);
    const none = await raw().ask('queryRoute', { topic: { name: topic } });
    expect(none.messageQueues[0]!.broker!.endpoints).to.deep.equal({
      scheme: 'IPv4',
      addresses: [{ host: '127.0.0.1', port }],
    });
  });

  trap('7: every broker has the id 0', async () => {
    const topic = await stage().topic();
    const group = await stage().group({ fifo: true });
    const route = await raw().ask('queryRoute', { topic: { name: topic } });
    const assigned = await raw().ask('queryAssignment', { topic: { name: topic }, group: { name: group } });
    const queues = [...route.messageQueues, ...assigned.assignments.map(({ messageQueue }) => messageQueue!)];
    expect(queues.map(({ broker }) => broker!.id)).to.deep.equal(Array(8).fill(0));
  });

  trap('8: a queue takes some type of messages, and says which', async () => {
    for (const [type, accepts] of [
      ['normal', ['NORMAL']],
      ['fifo', ['FIFO']],
      ['delay', ['DELAY']],
      ['transaction', ['TRANSACTION']],
      ['mixed', ['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION']],
    ] as const) {
      const { messageQueues } = await raw().ask('queryRoute', { topic: { name: await stage().topic(type) } });
      for (const { acceptMessageTypes } of messageQueues) expect(acceptMessageTypes).to.deep.equal(accepts);
    }
  });

  trap('9: messages have an MD5 digest in capitals, also those of a transaction check', async () => {
    const topic = await stage().topic();
    const client = raw();
    const telemetry = client.openTelemetry();
    telemetry.tell({ clientType: 'PRODUCER', publishing: { topics: [{ name: topic }] } });
    await send(topic, 'plain');
    const half = { messageType: 'TRANSACTION', orphanedTransactionRecoveryDuration: seconds(1) };
    await send(topic, 'half', half, {}, client);
    const [message] = await raw().messages(from(topic, newGroup()));
    expect(message!.systemProperties!.bodyDigest).to.deep.equal({ type: 'MD5', checksum: md5(message!.body) });
    await until('a check', () => telemetry.commands.length === 2);
    const checked = telemetry.commands[1]!.recoverOrphanedTransactionCommand!.message!;
    expect(checked.systemProperties!.bodyDigest).to.deep.equal({ type: 'MD5', checksum: md5(checked.body) });
    telemetry.end();
  });

  trap('10: nobody gets a CRC32, also when the sender had one', async () => {
    const topic = await stage().topic();
    await send(topic, 'a', { bodyDigest: { type: 'CRC32', checksum: '12345678' } });
    const [message] = await raw().messages(from(topic, newGroup()));
    expect(message!.systemProperties!.bodyDigest!.type).to.equal('MD5');
  });

  trap('11: the transaction id is the message id, whatever the type of message', async () => {
    const topic = await stage().topic();
    const kinds = [
      {},
      { messageGroup: 'g' },
      { deliveryTimestamp: timestamp(Date.now() + 60_000) },
      { messageType: 'TRANSACTION' },
    ];
    for (const [at, kind] of kinds.entries()) {
      const { entry } = await send(topic, `m${at}`, kind);
      expect([entry!.messageId, entry!.transactionId]).to.deep.equal([`m${at}`, `m${at}`]);
    }
  });

  trap('12: there is one result a message', async () => {
    const topic = await stage().topic();
    const three = ['a', 'b', 'c'].map((id) => messageOf(id, {}, { topic: { name: topic } }));
    const { entries } = await raw().send(...three);
    expect(entries.map(({ messageId, status }) => [messageId, status!.code])).to.deep.equal([
      ['a', 'OK'],
      ['b', 'OK'],
      ['c', 'OK'],
    ]);
    const refused = await raw().send(...three, messageOf('d', {}, { topic: { name: topic }, body: Buffer.alloc(0) }));
    expect(refused.entries).to.have.length(4);
  });

  trap('13: an acknowledgement of one message has its code', async () => {
    const topic = await stage().topic();
    const group = newGroup();
    await send(topic, 'a');
    const client = raw();
    const [message] = await client.messages(from(topic, group));
    const { receiptHandle } = message!.systemProperties!;
    const of = { topic: { name: topic }, group: { name: group } };
    const wrong = { messageId: 'a', receiptHandle: 'what was never handed out' };
    const one = await client.ask('ackMessage', { ...of, entries: [wrong] });
    expect([one.status!.code, one.entries[0]!.status!.code]).to.deep.equal(Array(2).fill('INVALID_RECEIPT_HANDLE'));
    const both = await client.ask('ackMessage', { ...of, entries: [wrong, { messageId: 'a', receiptHandle }] });
    expect(both.status!.code).to.equal('MULTIPLE_RESULTS');
    expect(both.entries.map(({ status }) => status!.code)).to.deep.equal(['INVALID_RECEIPT_HANDLE', 'OK']);
  });

  trap(
    '14: becoming a dead letter is answered with OK, however often it is asked, and also when it is too late',
    async () => {
      const topic = await stage().topic();
      const group = newGroup();
      const client = raw();
      await send(topic, 'a');
      await send(topic, 'b');
      const messages = await client.messages(from(topic, group));
      while (messages.length < 2) messages.push(...(await client.messages(from(topic, group))));
      const bury = ({ systemProperties }: Message) =>
        client.ask('forwardMessageToDeadLetterQueue', {
          ...{ topic: { name: topic }, group: { name: group }, deliveryAttempt: 17, maxDeliveryAttempts: 17 },
          messageId: systemProperties!.messageId,
          receiptHandle: systemProperties!.receiptHandle,
        });
      const [first, second] = messages;
      await settle(topic, group, second!, client);
      for (const message of [first!, first!, second!]) expect((await bury(message)).status!.code).to.equal('OK');
      const letters = await client.messages(from(`%DLQ%${group}`, newGroup()));
      expect(letters.map(({ systemProperties }) => systemProperties!.messageId)).to.deep.equal([
        first!.systemProperties!.messageId,
      ]);
    },
  );

  trap('15: what a poll is answered begins with a status', async () => {
    const topic = await stage().topic();
    await send(topic, 'a');
    const group = newGroup();
    const client = raw();
    for (const code of ['OK', 'MESSAGE_NOT_FOUND']) {
      const [first] = await client.receive(from(topic, group, { longPollingTimeout: { nanos: 300_000_000 } }));
      expect(first!.status?.code).to.equal(code);
    }
    const [refused] = await client.receive(from('no such topic', group));
    expect(refused!.status?.code).to.equal('ILLEGAL_TOPIC');
  });

  trap('16: a poll to which nothing came says so', async () => {
    const elements = await raw().receive(from(await stage().topic(), newGroup(), { longPollingTimeout: seconds(1) }));
    expect(elements[0]!.status!.code).to.equal('MESSAGE_NOT_FOUND');
    expect(elements.at(-1)).to.have.property('deliveryTimestamp');
    expect(elements).to.have.length(2);
  });

  trap('17: a new group sees what was sent before it', async () => {
    const topic = await stage().topic();
    for (const id of ['a', 'b', 'c']) await send(topic, id);
    const client = raw();
    const group = newGroup();
    const ids = new Set<string>();
    await untilAsync('all three', async () => {
      for (const { systemProperties } of await client.messages(from(topic, group)))
        ids.add(systemProperties!.messageId);
      return ids.size === 3;
    });
  });

  trap('18: asking for a route makes no topic', async () => {
    const name = `none-${randomUUID()}`;
    for (let count = 0; count < 2; count++) {
      const { status, messageQueues } = await raw().ask('queryRoute', { topic: { name } });
      expect([status!.code, messageQueues]).to.deep.equal(['TOPIC_NOT_FOUND', []]);
    }
    const { topics } = await stage().admin.admin.metadata();
    expect(topics.map((topic) => topic.name)).not.to.include(name);
  });

  trap('19: who never sent settings may send messages', async () => {
    expect((await send(await stage().topic(), 'a')).code).to.equal('OK');
  });

  trap('20: a message may become visible at once, or in 5 ms', async () => {
    const topic = await stage().topic();
    const group = newGroup();
    const client = raw();
    await send(topic, 'a');
    for (const [attempt, nanos] of [
      [1, 0],
      [2, 5_000_000],
      [3, 0],
    ] as const) {
      const [message] = await client.messages(from(topic, group));
      expect(message!.systemProperties!.deliveryAttempt).to.equal(attempt);
      const changed = await client.ask('changeInvisibleDuration', {
        ...{ topic: { name: topic }, group: { name: group }, messageId: 'a', invisibleDuration: { nanos } },
        receiptHandle: message!.systemProperties!.receiptHandle,
      });
      expect(changed.status!.code).to.equal('OK');
    }
  });

  trap('21: a message that always fails becomes a dead letter after 17 attempts', async () => {
    const topic = await stage().topic();
    const group = newGroup();
    const client = raw();
    await send(topic, 'poison');
    const attempts: number[] = [];
    for (;;) {
      const [message] = await client.messages(from(topic, group, { longPollingTimeout: seconds(1) }));
      if (message === undefined) break;
      attempts.push(message.systemProperties!.deliveryAttempt!);
      await client.ask('changeInvisibleDuration', {
        ...{ topic: { name: topic }, group: { name: group }, messageId: 'poison', invisibleDuration: { nanos: 0 } },
        receiptHandle: message.systemProperties!.receiptHandle,
      });
    }
    expect(attempts).to.deep.equal(Array.from({ length: 17 }, (_, at) => at + 1));
    const [letter] = await client.messages(from(`%DLQ%${group}`, newGroup()));
    expect(letter!.systemProperties!.deadLetterQueue).to.deep.equal({ topic, messageId: 'poison' });
  });

  trap('22: a poll gets messages of all queues, whether it names queue 0, another or none', async () => {
    const topic = await stage().topic();
    for (let at = 0; at < 8; at++) await send(topic, `m${at}`);
    for (const id of [0, 2, -1]) {
      const group = newGroup();
      const client = raw();
      const queues = new Set<number>();
      await untilAsync('all queues', async () => {
        const request = from(topic, group, { messageQueue: { topic: { name: topic }, id } });
        for (const { systemProperties } of await client.messages(request)) queues.add(systemProperties!.queueId);
        return queues.size === 4;
      });
    }
  });

  trap('23: a namespace may stand in the header only', async () => {
    const topic = `t-${randomUUID()}`;
    await stage().admin.admin.createTopic(`space%${topic}`, { queues: 1 });
    expect((await send(topic, 'a', {}, { topic: { name: topic, resourceNamespace: 'space' } })).code).to.equal('OK');
    const inside = await raw({ 'x-mq-namespace': 'space' }).messages(from(topic, newGroup()));
    expect(inside[0]!.topic).to.deep.equal({ name: topic, resourceNamespace: '' });
    const [outside] = await raw().receive(from(topic, newGroup()));
    expect(outside!.status!.code).to.equal('TOPIC_NOT_FOUND');
  });

  trap('24: credentials may be there and be empty', async () => {
    const topic = await stage().topic();
    for (const authorization of ['', 'MQv2-HMAC-SHA1 Credential=, SignedHeaders=x-mq-date-time, Signature=00']) {
      const { code } = await send(topic, randomUUID(), {}, {}, raw({ authorization, 'x-mq-session-token': '' }));
      expect(code).to.equal('OK');
    }
  });

  trap('25: a Telemetry stream has its headers before anything is said on it', async () => {
    const telemetry = raw().openTelemetry();
    await until('headers', () => telemetry.hasHeaders);
    telemetry.cancel();
  });

  trap(
    '26: the port speaks no TLS, and says so at once to clients that try: they must be told to do without',
    async () => {
      const [host, port] = stage().endpoint().split(':');
      const time = new WorkingTime();
      const outcome = await new Promise<string>((resolve) => {
        const socket = connectTls({ host: host!, port: Number(port), rejectUnauthorized: false });
        socket.on('secureConnect', () => resolve('secure'));
        socket.on('error', () => resolve('turned away'));
        socket.on('close', () => resolve('turned away'));
      });
      expect(outcome).to.equal('turned away');
      expect(time.end()).to.be.below(5_000);
    },
  );

  trap('27: the queue that a sender names is nothing to go by', async () => {
    const topic = await stage().topic();
    for (let at = 0; at < 8; at++)
      expect((await send(topic, `m${at}`, { queueId: at % 2 === 0 ? 0 : 99 })).code).to.equal('OK');
    const client = raw();
    const group = newGroup();
    const queues = new Set<number>();
    await untilAsync('several queues', async () => {
      for (const { systemProperties } of await client.messages(from(topic, group)))
        queues.add(systemProperties!.queueId);
      return queues.size === 4;
    });
  });

  trap('29: large numbers come back digit by digit', async () => {
    const topic = await stage().topic();
    const bornTimestamp = { seconds: '253402300799', nanos: 999_000_000 };
    const { entry } = await send(topic, 'a', { bornTimestamp });
    expect(entry!.offset).to.be.a('string');
    const [message] = await raw().messages(from(topic, newGroup()));
    const { bornTimestamp: born, queueOffset } = message!.systemProperties!;
    expect(born).to.deep.equal(bornTimestamp);
    expect(queueOffset).to.equal(entry!.offset);
  });

  trap('30: what is not there is not the same as what is empty', async () => {
    const topic = await stage().topic();
    await send(topic, 'a');
    const client = raw();
    const [message] = await client.messages(from(topic, newGroup(), { attemptId: undefined }));
    expect(message!.systemProperties!).not.to.have.any.keys(
      'tag',
      'messageGroup',
      'deliveryTimestamp',
      'liteTopic',
      'priority',
    );
    const codeOf = async (more: object) => (await client.receive(from(topic, newGroup(), more)))[0]!.status!.code;
    expect(await codeOf({ invisibleDuration: undefined })).to.equal('ILLEGAL_INVISIBLE_TIME');
    expect(await codeOf({ invisibleDuration: undefined, autoRenew: true })).to.equal('OK');
    expect(await codeOf({ longPollingTimeout: undefined })).to.equal('OK');
  });

  trap('31: heartbeats of clients that nobody knows do no harm', async () => {
    const client = raw();
    for (const request of [
      {},
      { clientType: 'PRODUCER' },
      { clientType: 'PUSH_CONSUMER', group: { name: 'g' } },
      { clientType: 'LITE_PUSH_CONSUMER' },
    ] as const) {
      const { status } = await client.ask('heartbeat', request);
      expect(status!.code).to.be.oneOf(['UNRECOGNIZED_CLIENT_TYPE', 'ILLEGAL_CONSUMER_GROUP']);
    }
    const { status } = await client.ask('notifyClientTermination', {});
    expect(status!.code).to.equal('UNRECOGNIZED_CLIENT_TYPE');
  });

  trap('32: client ids are no names of files, whatever they look like', async () => {
    const topic = await stage().topic();
    for (const clientId of ['../../evil@1#2', '/tmp/evil@3', 'host name@4#%2e%2e/evil', 'evil'.repeat(250)]) {
      const client = raw({}, clientId);
      const telemetry = client.openTelemetry();
      telemetry.tell({ clientType: 'PRODUCER', publishing: { topics: [{ name: topic }] } });
      await until('settings', () => telemetry.commands.length === 1);
      expect((await send(topic, randomUUID(), {}, {}, client)).code).to.equal('OK');
      telemetry.end();
    }
    const names = readdirSync(stage().cluster.dataDir, { recursive: true, encoding: 'utf8' });
    expect(names.filter((name) => name.includes('evil'))).to.deep.equal([]);
  });

  trap('33: nothing delayed comes early, not by a millisecond', async () => {
    const topic = await stage().topic();
    const client = raw();
    const dueMs = new Map<string, number>();
    for (let at = 0; at < 60; at++) {
      const ms = Date.now() + 700 + 17 * at;
      dueMs.set(`m${at}`, ms);
      await send(topic, `m${at}`, { deliveryTimestamp: timestamp(ms) }, {}, client);
    }
    const group = newGroup();
    let seen = 0;
    await untilAsync('all of them', async () => {
      for (const { systemProperties } of await client.messages(from(topic, group))) {
        seen++;
        expect(Date.now()).to.be.at.least(dueMs.get(systemProperties!.messageId)!);
        expect(millis(systemProperties!.deliveryTimestamp)).to.equal(dueMs.get(systemProperties!.messageId));
      }
      return seen === 60;
    });
  });

  trap('34: the time of delivery is when the answer was written, not when it was asked for', async () => {
    const topic = await stage().topic();
    const receiving = raw().receive(from(topic, newGroup(), { longPollingTimeout: seconds(5) }));
    await pause(800);
    const sentMs = Date.now();
    await send(topic, 'a');
    const elements = await receiving;
    expect(millis(elements.at(-1)!.deliveryTimestamp)).to.be.within(sentMs, Date.now());
  });

  trap('35: a consumer in order that always fails can leave, since its dead letters are taken', async () => {
    const topic = await stage().topic('fifo');
    const consumerGroup = await stage().group({ fifo: true, maxAttempts: 2, retryMs: ['10'] });
    const producer = await stage().producer({ topic });
    const seen: string[] = [];
    const consumer = await stage().push(
      topic,
      async ({ body }) => {
        seen.push(body.toString());
        return body.toString() === 'farewell' ? ConsumeResult.SUCCESS : ConsumeResult.FAILURE;
      },
      { consumerGroup },
    );
    for (const body of ['a', 'b', 'c']) await producer.send({ topic, messageGroup: 'one', body: Buffer.from(body) });
    await until('all attempts', () => seen.length >= 6);
    await stage().shutdown(consumer);
    expect(seen.filter((text) => text !== 'farewell')).to.deep.equal(['a', 'a', 'b', 'b', 'c', 'c']);
    const letters = await stage().simple(`%DLQ%${consumerGroup}`);
    expect(texts(await letters.receive(10, 10_000)).sort()).to.deep.equal(['a', 'b', 'c']);
  });

  trap('28: a node that listens on [::] is reached as localhost, by either family of addresses', async () => {
    const [port, peer] = await freePorts(2);
    const dataDir = mkdtempSync(join(tmpdir(), 'both-families-'));
    const node = await ChildNode.start({
      nodeId: 'n0',
      flags: Object.entries({
        nodeId: 'n0',
        peers: `n0=127.0.0.1:${peer}`,
        clientAddresses: `n0=localhost:${port}`,
        clientListen: `[::]:${port}`,
        peerListen: `127.0.0.1:${peer}`,
        dataDir,
      }).flatMap(([key, value]) => [flagOf(key as SettingKey), String(value)]),
      logFile: join(dataDir, 'node.log'),
      startTimeoutMs: 60_000,
      onExit: () => {},
    });
    try {
      for (const host of ['127.0.0.1', '[::1]', 'localhost']) {
        await using client = new RawClient(`${host}:${port}`);
        const { status } = await client.ask('queryRoute', { topic: { name: 'none' } });
        expect(status!.code).to.equal('TOPIC_NOT_FOUND');
      }
    } finally {
      await node.stop(5_000);
      rmSync(dataDir, { recursive: true, force: true });
    }
  });

  describe('when a node goes', () => {
    before(function () {
      this.timeout(200_000);
      return cases.settled();
    });

    it('36: a client goes on by itself when its node is there again', async () => {
      const topic = await stage().topic();
      const seen: string[] = [];
      const consume = async ({ body }: { body: Buffer }) => {
        seen.push(body.toString());
        return ConsumeResult.SUCCESS;
      };
      await stage().push(topic, consume, { endpoints: stage().endpoint(2) });
      const producer = await stage().producer({ topic });
      await producer.send({ topic, body: Buffer.from('before') });
      await until('the first', () => seen.includes('before'));
      const streams = (['HTTP', 'JAVA'] as const).map((language) => {
        const client = new RawClient(stage().endpoint(2), randomUUID(), { 'x-mq-language': language });
        open.push(client);
        return client.openTelemetry();
      });
      for (const stream of streams) stream.tell({ clientType: 'PRODUCER', publishing: { topics: [] } });
      await until('settings', () => streams.every(({ commands }) => commands.length === 1));

      await stage().cluster.kill('n2', 'SIGTERM');
      await until('the end of its streams', () => streams.every(({ isEnded, error }) => isEnded || error !== null));
      // The Node client is not told to open its stream again: it does so anyway, and could die of letting go of the old one.
      const isTold = streams.map(({ commands }) => commands.at(-1)!.reconnectEndpointsCommand !== undefined);
      expect(isTold).to.deep.equal([false, true]);
      await stage().cluster.restart('n2');
      await producer.send({ topic, body: Buffer.from('after') });
      await until('the second', () => seen.includes('after'));
    });
  });
});

async function untilAsync(what: string, isSo: () => Promise<boolean>, withinMs = 40_000): Promise<void> {
  const untilMs = Date.now() + withinMs;
  while (!(await isSo())) if (Date.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${what}`);
}
