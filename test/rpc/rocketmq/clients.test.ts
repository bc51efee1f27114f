// The clients of a node: how they introduce themselves, what they are told, how they live and go.
import { Client, credentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { ManualClock } from '../../../src/base/clock.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import { physicalOffset } from '../../../src/format/record.ts';
import { logIndex } from '../../../src/raft/types.ts';
import type { SettleRequest } from '../../../src/replica/consuming/types.ts';
import { OpenCalls } from '../../../src/rpc/calls.ts';
import type { TakeChecksRequest } from '../../../src/rpc/consuming_calls.ts';
import { CLIENT_SILENCE_MS_MAX, Clients } from '../../../src/rpc/rocketmq/clients.ts';
import { LeaderAsks } from '../../../src/rpc/rocketmq/leader_asks.ts';
import { Renewals, renewalTerms } from '../../../src/rpc/rocketmq/renewals.ts';
import type { Settings } from '../../../src/wire/rocketmq/definitions.ts';
import { messagingService } from '../../../src/wire/rocketmq/service.ts';
import { FakeGateway } from '../fake_gateway.ts';
import { askRaw, until } from '../harness.ts';
import type { Some } from './client.ts';
import { errorOf, FakeLeader, putGroup, type RocketmqHarness, startRocketmq } from './harness.ts';

const seconds = (count: number, nanos = 0) => ({ seconds: String(count), nanos });
const producer: Some<Settings> = { clientType: 'PRODUCER', publishing: { topics: [{ name: 'orders' }] } };
const consumerOf = (some: Some<Settings> = {}): Some<Settings> => ({
  clientType: 'PUSH_CONSUMER',
  subscription: { group: { name: 'billing' }, subscriptions: [{ topic: { name: 'orders' } }] },
  userAgent: { language: 'JAVA' },
  ...some,
});
const groupRow = { isFifo: false, attemptsMax: 17, retryPolicy: { kind: 'customized', stepsMs: [1] }, createdAtMs: 1 };
const caller = (clientId: string) => ({
  clientId,
  namespace: '',
  language: '',
  version: '',
  peer: '',
  authority: '',
});

/** An open transaction: where it is held back, and how the leader tells of it. */
function halfOf({ gateway }: RocketmqHarness, index: number, id: string, topic = 'orders') {
  const position = physicalOffset(0);
  const dueMs = Date.now() - 1;
  const parked = { index: logIndex(index), kind: 'half', position, sizeBytes: 1, dueMs, checks: 0, topic, id } as const;
  gateway.fake.tables.parked.add(parked);
  const properties = { TRAN_MSG: 'true', colour: 'red' };
  const record = encodeMessageRecord({
    topic,
    queueId: 0,
    body: Buffer.from(id),
    uniqueKey: id,
    properties,
    bornAtMs: 1,
  });
  return { id, topic, record };
}

describe('clients of RocketMQ', () => {
  let harness: RocketmqHarness;

  beforeEach(async () => {
    harness = await startRocketmq();
  });

  afterEach(async () => {
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  /** What a client is told on its own stream. */
  const settingsFor = async (settings: Some<Settings>): Promise<Settings> => {
    const telemetry = harness.client.openTelemetry();
    telemetry.tell(settings);
    await until(() => telemetry.commands.length === 1, 'settings are answered');
    const [{ status, settings: merged }] = telemetry.commands as [(typeof telemetry.commands)[0]];
    expect(status?.code).to.equal('OK');
    telemetry.cancel();
    return merged!;
  };

  describe('Telemetry', () => {
    it('shows its headers before anything is said', async () => {
      const telemetry = harness.client.openTelemetry();
      await until(() => telemetry.hasHeaders, 'the headers are there');
      expect(telemetry.commands).to.deep.equal([]);
      telemetry.cancel();
    });

    it('tells a producer how to try again, and how much a body may hold', async () => {
      const accessPoint = { scheme: 'IPv4', addresses: [{ host: '1.2.3.4', port: 5 }] } as const;
      const topics = [{ resourceNamespace: 'ns', name: 'orders' }];
      const merged = await settingsFor({
        ...producer,
        accessPoint,
        requestTimeout: seconds(3),
        publishing: { topics },
        userAgent: { language: 'NODE_JS', version: '1' },
      });
      expect(merged).to.deep.include({ clientType: 'PRODUCER', requestTimeout: seconds(3) });
      expect(merged.accessPoint).to.deep.equal(accessPoint);
      expect(merged.userAgent).to.include({ language: 'NODE_JS', version: '1' });
      expect(merged.publishing).to.deep.equal({ topics, maxBodySize: 4_194_304, validateMessageType: true });
      expect(merged.metric?.on).to.equal(false);
      expect(merged.backoffPolicy?.maxAttempts).to.equal(3);
      expect(merged.backoffPolicy?.exponentialBackoff).to.deep.equal({
        initial: seconds(0, 10_000_000),
        max: seconds(1),
        multiplier: 2,
      });
    });

    it('tells consumers when their group becomes another one, and nobody else', async () => {
      const open = (clientId: string) => harness.newClient(clientId).openTelemetry();
      const [first, second, other, sender] = [open('first'), open('second'), open('other'), open('sender')];
      const streams = [first, second, other, sender];
      first.tell(consumerOf());
      second.tell(consumerOf({ userAgent: { language: 'NODE_JS' } }));
      const elsewhere = { group: { name: 'mail' }, subscriptions: [{ topic: { name: 'orders' } }] };
      other.tell(consumerOf({ subscription: elsewhere }));
      sender.tell(producer);
      const counts = () => streams.map(({ commands }) => commands.length);
      await until(() => counts().every((count) => count === 1), 'settings are answered');
      // Made on first use: what they were told already.
      putGroup(harness.gateway, 'billing');
      const stepsMs = [7_000];
      putGroup(harness.gateway, 'billing', { isFifo: true, attemptsMax: 4 });
      putGroup(harness.gateway, 'billing', { attemptsMax: 3, retryPolicy: { kind: 'customized', stepsMs } });
      await until(() => counts()[0] === 2 && counts()[1] === 2, 'both are told, once of what it is now');
      const [told, toldNode] = [first.commands[1]!, second.commands[1]!];
      expect(told.status?.code).to.equal('OK');
      expect(told.settings?.subscription).to.deep.include({
        fifo: false,
        group: { resourceNamespace: '', name: 'billing' },
      });
      expect(told.settings?.backoffPolicy?.maxAttempts).to.equal(3);
      expect(told.settings?.backoffPolicy?.customizedBackoff?.next).to.deep.equal([seconds(7)]);
      expect(toldNode.settings?.backoffPolicy?.exponentialBackoff?.multiplier).to.equal(2);
      putGroup(harness.gateway, 'billing', { attemptsMax: 3, retryPolicy: { kind: 'customized', stepsMs } });
      putGroup(harness.gateway, 'unknown', { attemptsMax: 9 });
      harness.gateway.fake.tables.groups.delete('billing');
      await until(() => counts()[0] === 3, 'they are told that it is what it was at first');
      expect(first.commands[2]?.settings?.backoffPolicy?.maxAttempts).to.equal(17);
      // As after a snapshot: everything may be another.
      harness.gateway.fake.tables.groups.restore(
        new Map([['g/billing', JSON.stringify({ ...groupRow, isFifo: true })]]),
      );
      await until(() => counts()[0] === 4, 'they are told what the snapshot says');
      expect(first.commands[3]?.settings?.subscription?.fifo).to.equal(true);
      expect(counts()).to.deep.equal([4, 4, 1, 1]);
      for (const stream of streams) stream.cancel();
    });

    it('tells a consumer what its group has agreed upon', async () => {
      const stepsMs = [1_000, 5_500];
      putGroup(harness.gateway, 'billing', {
        isFifo: true,
        attemptsMax: 5,
        retryPolicy: { kind: 'customized', stepsMs },
      });
      const { subscription, backoffPolicy } = await settingsFor(consumerOf());
      expect(subscription).to.deep.include({
        group: { resourceNamespace: '', name: 'billing' },
        fifo: true,
        receiveBatchSize: 32,
        longPollingTimeout: seconds(20),
      });
      expect(subscription).not.to.have.any.keys('liteSubscriptionQuota', 'maxLiteTopicSize');
      expect(backoffPolicy).to.deep.include({
        maxAttempts: 5,
        customizedBackoff: { next: [seconds(1), seconds(5, 500_000_000)] },
      });
    });

    it('tells a consumer of a new group the defaults', async () => {
      const { subscription, backoffPolicy } = await settingsFor(consumerOf());
      expect(subscription!.fifo).to.equal(false);
      expect(backoffPolicy!.maxAttempts).to.equal(17);
      expect(backoffPolicy!.customizedBackoff!.next).to.have.length(18);
    });

    it('tells the Node client of the exponential kind only', async () => {
      const userAgent = { language: 'NODE_JS' } as const;
      const standard = await settingsFor(consumerOf({ userAgent }));
      expect(standard.backoffPolicy).not.to.have.property('customizedBackoff');
      expect(standard.backoffPolicy!.exponentialBackoff).to.deep.equal({
        initial: seconds(5),
        max: seconds(7_200),
        multiplier: 2,
      });
      const retryPolicy = { kind: 'exponential', initialMs: 100, maxMs: 1_000, multiplier: 3 };
      putGroup(harness.gateway, 'billing', { retryPolicy });
      for (const language of ['NODE_JS', 'JAVA'] as const) {
        const { backoffPolicy } = await settingsFor(consumerOf({ userAgent: { language } }));
        expect(backoffPolicy!.exponentialBackoff).to.deep.include({ initial: seconds(0, 100_000_000), multiplier: 3 });
      }
    });

    it('tells consumers of lite topics their bounds, and that they go in order', async () => {
      const { subscription } = await settingsFor(consumerOf({ clientType: 'LITE_PUSH_CONSUMER' }));
      expect(subscription).to.include({ fifo: true, liteSubscriptionQuota: 2_000, maxLiteTopicSize: 64 });
    });

    const refused: readonly [what: string, settings: Some<Settings>, code: string][] = [
      ['neither publishing nor subscribing', { clientType: 'PRODUCER' }, 'UNRECOGNIZED_CLIENT_TYPE'],
      ['an illegal topic', { publishing: { topics: [{ name: 'a.b' }] } }, 'ILLEGAL_TOPIC'],
      ['an illegal group', { subscription: { group: { name: '' } } }, 'ILLEGAL_CONSUMER_GROUP'],
      [
        'an illegal topic to subscribe to',
        { subscription: { group: { name: 'g' }, subscriptions: [{ topic: { name: 'a b' } }] } },
        'ILLEGAL_TOPIC',
      ],
      ['more words than reason', { ...producer, userAgent: { platform: 'p'.repeat(262_144) } }, 'BAD_REQUEST'],
      ['more topics than reason', { publishing: { topics: Array(1_001).fill({ name: 'a' }) } }, 'BAD_REQUEST'],
    ];
    it('refuses settings on the stream, which stays open', async () => {
      const telemetry = harness.client.openTelemetry();
      for (const [at, [what, settings, code]] of refused.entries()) {
        telemetry.tell(settings);
        await until(() => telemetry.commands.length === at + 1, `${what} is answered`);
        expect(telemetry.commands[at]!.status?.code, what).to.equal(code);
        expect(telemetry.commands[at]!.settings, what).to.equal(undefined);
      }
      telemetry.tell(producer);
      await until(() => telemetry.commands.length === refused.length + 1, 'good ones are answered');
      expect(telemetry.commands.at(-1)!.settings).not.to.equal(undefined);
      telemetry.end();
      await until(() => telemetry.isEnded, 'the stream ends with the client');
      expect(telemetry.error).to.equal(null);
    });

    it('does not mind what it does not know', async () => {
      const telemetry = harness.client.openTelemetry();
      telemetry.write({ threadStackTrace: { nonce: 'x' } });
      telemetry.write({});
      telemetry.tell(producer);
      await until(() => telemetry.commands.length === 1, 'settings are answered');
      expect(telemetry.commands[0]!.status?.code).to.equal('OK');
      telemetry.cancel();
    });

    it('sends clients elsewhere when the node stops, and ends', async () => {
      const telemetry = harness.client.openTelemetry();
      telemetry.tell(producer);
      await until(() => telemetry.commands.length === 1, 'settings are answered');
      await harness.stop();
      expect(telemetry.commands[1]).to.have.property('reconnectEndpointsCommand');
      expect(telemetry.isEnded).to.equal(true);
      expect(telemetry.error).to.equal(null);
    });
  });

  describe('without an id', () => {
    it('are told so in every answer', async () => {
      for (const clientId of [null, '  ']) {
        const nobody = harness.newClient(clientId);
        for (const name of ['queryRoute', 'heartbeat', 'ackMessage', 'updateOffset', 'syncLiteSubscription'] as const) {
          const { status } = await nobody.ask(name, {});
          expect(status).to.deep.equal({ code: 'CLIENT_ID_REQUIRED', message: 'client id cannot be empty' });
        }
        const [first] = await nobody.receive();
        expect(first?.status?.code).to.equal('CLIENT_ID_REQUIRED');
        const telemetry = nobody.openTelemetry();
        await until(() => telemetry.isEnded, 'the stream ends');
        expect(telemetry.commands[0]!.status?.code).to.equal('CLIENT_ID_REQUIRED');
      }
    });
  });

  describe('that live and go', () => {
    it('are known from their settings until they say goodbye', async () => {
      const { client } = harness;
      const beat = async (some: object = { clientType: 'PRODUCER' }) =>
        (await client.ask('heartbeat', some)).status?.code;
      expect(await beat()).to.equal('UNRECOGNIZED_CLIENT_TYPE');
      expect((await client.ask('notifyClientTermination', {})).status?.code).to.equal('UNRECOGNIZED_CLIENT_TYPE');
      const telemetry = client.openTelemetry();
      telemetry.tell(producer);
      await until(() => telemetry.commands.length === 1, 'settings are answered');
      expect(await beat()).to.equal('OK');
      expect(await beat({})).to.equal('UNRECOGNIZED_CLIENT_TYPE');
      expect(await beat({ clientType: 'PUSH_CONSUMER', group: { name: 'a.b' } })).to.equal('ILLEGAL_CONSUMER_GROUP');
      expect(await beat({ clientType: 'PUSH_CONSUMER', group: { name: 'g' } })).to.equal('OK');
      expect((await client.ask('notifyClientTermination', { group: { name: '' } } as never)).status?.code).to.equal(
        'OK',
      );
      expect(await beat()).to.equal('UNRECOGNIZED_CLIENT_TYPE');
      telemetry.cancel();
    });

    it('are forgotten when they are silent for too long, however many streams they left', () => {
      const clock = new ManualClock();
      const clients = new Clients(clock);
      const gone: string[] = [];
      clients.onGone((clientId) => gone.push(clientId));
      const settings = { publishing: { topics: [] } } as unknown as Settings;
      for (const clientId of ['a', 'b']) {
        clients.register(caller(clientId), settings);
        clients.attach(caller(clientId), { send: () => {} });
      }
      clock.advance(CLIENT_SILENCE_MS_MAX - 10_000);
      clients.touch(caller('b'));
      clock.advance(10_000);
      expect(gone, 'not before its time').to.deep.equal([]);
      clock.advance(6_000);
      expect(gone).to.deep.equal(['a']);
      expect(clients.list().map(({ clientId }) => clientId)).to.deep.equal(['b']);
      clients.close();
    });
  });

  describe('with open transactions', () => {
    const half = (index: number, id: string, topic = 'orders') => halfOf(harness, index, id, topic);

    it('are asked about them, one of them each time', async () => {
      const asked: TakeChecksRequest[] = [];
      const halves = [half(1, 'a'), half(2, 'b'), half(3, 'c', 'elsewhere')];
      harness.leader.on('TAKE_CHECKS', (request) => {
        asked.push(request as TakeChecksRequest);
        return halves.splice(0, 2);
      });
      const streams = ['p1', 'p2'].map((clientId) => harness.newClient(clientId).openTelemetry());
      for (const stream of streams) stream.tell(producer);
      const consumer = harness.client.openTelemetry();
      consumer.tell(consumerOf());
      const commands = () => streams.flatMap((stream) => stream.commands.slice(1));
      await until(() => commands().length === 2, 'producers are asked');
      expect(
        streams.map((stream) => stream.commands.length),
        'in turn',
      ).to.deep.equal([2, 2]);
      expect(consumer.commands, 'consumers are not').to.have.length(1);
      expect(asked[0]!.topics, 'only for what somebody here publishes').to.deep.equal(['orders']);
      const checks = commands().map((command) => command.recoverOrphanedTransactionCommand!);
      expect(checks.map(({ transactionId }) => transactionId).sort()).to.deep.equal(['a', 'b']);
      const { message } = checks.find(({ transactionId }) => transactionId === 'a')!;
      expect(message!.topic?.name).to.equal('orders');
      expect(message!.userProperties).to.deep.equal({ colour: 'red' });
      expect(message!.systemProperties).to.deep.include({ messageId: 'a', messageType: 'TRANSACTION' });
      expect(message!.systemProperties!.bodyDigest!.type).to.equal('MD5');
      for (const stream of [...streams, consumer]) stream.cancel();
    });
  });

  describe('that end transactions or recall messages', () => {
    it('have the leader do so', async () => {
      const asked: unknown[] = [];
      harness.leader.on('RESOLVE', (request) => {
        asked.push(request);
        return true;
      });
      const end = async (some: object) =>
        (
          await harness.client.ask('endTransaction', {
            topic: { name: 'orders' },
            transactionId: 't',
            resolution: 'COMMIT',
            ...some,
          } as never)
        ).status?.code;
      expect(await end({})).to.equal('OK');
      expect(await end({ resolution: 'ROLLBACK' })).to.equal('OK');
      expect(await end({ resolution: 'TRANSACTION_RESOLUTION_UNSPECIFIED' })).to.equal('OK');
      expect(asked).to.deep.equal([
        { topic: 'orders', id: 't', resolution: 'commit' },
        { topic: 'orders', id: 't', resolution: 'rollback' },
      ]);
      expect(await end({ transactionId: ' ' })).to.equal('INVALID_TRANSACTION_ID');
      expect(await end({ topic: { name: '' } })).to.equal('ILLEGAL_TOPIC');
      harness.leader.failing('RESOLVE', errorOf('OUTCOME_UNKNOWN'));
      expect(await end({}), 'asked again, whatever was heard').to.equal('OK');
      harness.leader.failing('RESOLVE', errorOf('TRANSACTION_NOT_FOUND'));
      expect(await end({}), 'there never was one').to.equal('NOT_FOUND');
    });

    it('hear once that a message is recalled, even when the first answer was lost', async () => {
      const handle = (dueMs: number) => Buffer.from(`5-${dueMs}-id-with-dashes`).toString('base64url');
      const recall = async (recallHandle: string) =>
        harness.client.ask('recallMessage', { topic: { name: 'orders' }, recallHandle } as never);
      harness.leader.on('RECALL', () => 'id-with-dashes');
      expect(await recall(handle(1))).to.deep.equal({
        status: { code: 'OK', message: 'OK' },
        messageId: 'id-with-dashes',
      });
      expect((await recall('nonsense')).status?.code).to.equal('BAD_REQUEST');
      harness.leader.on('RECALL', () => {
        throw errorOf('ILLEGAL_DELIVERY_TIME');
      });
      const later = handle(Date.now() + 60_000);
      expect((await recall(later)).status?.code).to.equal('ILLEGAL_DELIVERY_TIME');
      harness.leader.failing('RECALL', errorOf('OUTCOME_UNKNOWN'));
      expect(await recall(later)).to.deep.include({ messageId: 'id-with-dashes' });
      harness.leader.failing('RECALL', errorOf('OUTCOME_UNKNOWN'));
      expect((await recall(handle(1))).status?.code, 'it may have been delivered').to.equal('ILLEGAL_DELIVERY_TIME');
    });
  });

  it('are told that what they sent is none of the protocol', async () => {
    const { queryRoute } = messagingService;
    const bytes = Buffer.from([0x0a, 0xff, 0x01]);
    const client = new Client(harness.address, credentials.createInsecure());
    const response = queryRoute.responseDeserialize(await askRaw(client, queryRoute.path, bytes));
    expect(response.status?.code).to.equal('BAD_REQUEST');
    client.close();
  });
});

describe('deliveries to clients that work on them', () => {
  const of = { group: 'billing', topic: 'orders' };
  const receiptOf = (offset: number) => ({ queueId: 0, offset, handle: logIndex(offset + 100), attempt: 1 });

  function start() {
    const clock = new ManualClock();
    const gateway = new FakeGateway();
    const leader = new FakeLeader(gateway);
    const reported: unknown[] = [];
    const context = { clock, calls: new OpenCalls(), report: () => {} };
    const asks = new LeaderAsks(gateway, context);
    const isAlive = (clientId: string): boolean => clientId !== 'unheard';
    const renewals = new Renewals(asks, clock, isAlive, (error) => reported.push(error));
    /** What was asked for since, as `offset for how long`. */
    const settled = (): string[] =>
      leader.settles
        .splice(0)
        .flatMap(({ verdicts }: SettleRequest) =>
          verdicts.map(({ receipt, verdict }) =>
            verdict.kind === 'change' ? `${receipt.offset} ${verdict.mode} ${verdict.invisibleMs / 1_000} s` : 'other',
          ),
        );
    const pass = async (ms: number): Promise<string[]> => {
      for (let at = 0; at < ms; at += 5_000) {
        clock.advance(Math.min(5_000, ms - at));
        await new Promise((resolve) => setImmediate(resolve));
      }
      return settled();
    };
    return { clock, leader, renewals, pass, settled, reported };
  }

  it('are prolonged shortly before they would come back, for longer each time, for 3 hours', async () => {
    const { clock, renewals, pass } = start();
    renewals.track('c', of, receiptOf(0), clock.monotonicMs());
    expect(await pass(45_000)).to.deep.equal([]);
    expect(await pass(15_000)).to.deep.equal(['0 keep 60 s']);
    const steps: string[] = [];
    for (let minutes = 1; minutes < 240; minutes++) steps.push(...(await pass(60_000)));
    expect(steps).to.deep.equal([180, 300, 600, 1_800, 3_600, 3_600, 680].map((step) => `0 keep ${step} s`));
    expect(renewals.count).to.equal(0);
  });

  it('are left alone once their client has decided, or somebody else has', async () => {
    const { clock, renewals, leader, pass } = start();
    for (const offset of [0, 1, 2]) renewals.track('c', of, receiptOf(offset), clock.monotonicMs());
    renewals.forget(of, receiptOf(0));
    renewals.forget(of, { ...receiptOf(1), handle: logIndex(5) });
    leader.on('SETTLE', () => [
      { isDone: false, handle: logIndex(0) },
      { isDone: true, handle: logIndex(0) },
    ]);
    expect(await pass(60_000)).to.deep.equal(['1 keep 60 s', '2 keep 60 s']);
    expect(renewals.count).to.equal(1);
  });

  it('are not prolonged for a client that never said what it is', async () => {
    const { clock, renewals, pass } = start();
    renewals.track('unheard', of, receiptOf(0), clock.monotonicMs());
    expect(await pass(60_000)).to.deep.equal([]);
    expect(renewals.count).to.equal(0);
  });

  it('come back soon when their client is gone', async () => {
    const { clock, renewals, settled } = start();
    renewals.track('c', of, receiptOf(0), clock.monotonicMs());
    renewals.track('other', of, receiptOf(1), clock.monotonicMs());
    renewals.giveUp('c');
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled()).to.deep.equal(['0 handle 1 s']);
    expect(renewals.count).to.equal(1);
  });

  it('are prolonged in batches, and given up when that fails again and again', async () => {
    const { clock, renewals, leader, pass, reported } = start();
    for (let offset = 0; offset < 300; offset++) renewals.track('c', of, receiptOf(offset), clock.monotonicMs());
    await pass(55_000);
    leader.on('SETTLE', () => {
      throw errorOf('STORAGE_FAILED');
    });
    await pass(60_000);
    expect(leader.settles).to.deep.equal([]);
    await pass(60_000);
    expect(renewals.count).to.equal(0);
    expect(reported).to.have.length(2 * (renewalTerms.failuresMax + 1));
  });
});
