// What no client would send: every answer is a status that says what is wrong, and the node lives on.
import { Duplex } from 'node:stream';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import { logIndex } from '../../../src/raft/types.ts';
import type { AddLiteRequest } from '../../../src/replica/consuming/lite_topics.ts';
import { recallHandle, receiptHandle } from '../../../src/rpc/rocketmq/handles.ts';
import { REQUEST_FIELDS_MAX } from '../../../src/wire/field_count.ts';
import type { Status } from '../../../src/wire/rocketmq/definitions.ts';
import { messagingService } from '../../../src/wire/rocketmq/service.ts';
import type { Method } from '../../../src/wire/services.ts';
import { until } from '../harness.ts';
import { messageOf } from './client.ts';
import { type RocketmqHarness, startRocketmq } from './harness.ts';
import { HostileRequests } from './hostile_requests.ts';

const TIMEOUT_MS = 3_000;
/** A poll whose caller listens for less than it may wait is refused before anything else is looked at. */
const timeoutMsOf = (name: Name): number => (name === 'receiveMessage' ? 25_000 : TIMEOUT_MS);
const ROUNDS = 40;
const SEED = Number(process.env.HOSTILE_SEED ?? 7);
const MISUNDERSTOOD: ReadonlySet<string> = new Set(['INTERNAL_ERROR', 'INTERNAL_SERVER_ERROR', 'CODE_UNSPECIFIED']);

type Name = keyof typeof messagingService;
const typeOf = (name: Name): string =>
  name === 'telemetry' ? 'TelemetryCommand' : `${name[0]!.toUpperCase()}${name.slice(1)}Request`;

const hostOf = (host: string) => ({ scheme: 'DOMAIN_NAME', addresses: [{ host, port: 1 }] });

describe('hostile requests of RocketMQ', () => {
  let harness: RocketmqHarness;
  let client: Client;
  const metadata = new Metadata();
  metadata.set('x-mq-client-id', 'hostile');

  beforeEach(async () => {
    harness = await startRocketmq({ chat: 'lite', urgent: 'priority' });
    client = new Client(harness.address, credentials.createInsecure());
    const { leader, gateway } = harness;
    const telemetry = harness.newClient('hostile').openTelemetry();
    const subscriptions = [{ topic: { name: 'chat' }, expression: { type: 'TAG', expression: '*' } as const }];
    telemetry.tell({ clientType: 'LITE_PUSH_CONSUMER', subscription: { group: { name: 'billing' }, subscriptions } });
    await until(() => telemetry.commands.length > 0, 'the client is known');
    leader.on('MOVE', () => logIndex(9));
    leader.on('RESOLVE', () => true);
    leader.on('RECALL', () => {
      throw new TLedgerError('ILLEGAL_DELIVERY_TIME');
    });
    leader.on('ADD_LITE', (request) => {
      const { topic, lite } = request as AddLiteRequest;
      return gateway.fake.tables.lite.add(topic, lite);
    });
  });

  afterEach(async () => {
    client.close();
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  /** The first status of the answer. */
  function ask(name: Name, bytes: Buffer): Promise<Status | null> {
    const method = messagingService[name] as unknown as Method<never, never, { readonly status?: Status | null }>;
    const options = { deadline: Date.now() + timeoutMsOf(name) };
    const raw = (some: Buffer): Buffer => some;
    return new Promise((resolve, reject) => {
      if (!method.responseStream) {
        const done = (error: ServiceError | null, response?: { readonly status?: Status | null }) =>
          error === null ? resolve(response?.status ?? null) : reject(error);
        client.makeUnaryRequest(method.path, raw, method.responseDeserialize, bytes, metadata, options, done);
        return;
      }
      const { path, responseDeserialize } = method;
      const stream = method.requestStream
        ? client.makeBidiStreamRequest(path, raw, responseDeserialize, metadata, options)
        : client.makeServerStreamRequest(path, raw, responseDeserialize, bytes, metadata, options);
      let first: Status | null = null;
      stream.on('data', (response: { readonly status?: Status | null }) => {
        first ??= response.status ?? null;
      });
      stream.on('error', reject);
      stream.on('end', () => resolve(first));
      if (stream instanceof Duplex) stream.end(bytes);
    });
  }

  const receipt = receiptHandle(
    { queueId: 0, offset: 1, handle: logIndex(2), attempt: 1 },
    { group: 'billing', topic: 'orders' },
  );
  const recall = recallHandle({ index: logIndex(3), dueMs: 4, messageId: 'm' });
  const vocabulary = {
    names: ['orders', 'billing', 'chat', 'urgent', 'lite-1'],
    texts: ['orders', receipt, recall, 'm'],
  };

  for (const [at, name] of (Object.keys(messagingService) as Name[]).entries()) {
    it(`${typeOf(name)} gets a status whatever is in it`, async () => {
      const requests = new HostileRequests(SEED * 100 + at, vocabulary);
      const codes = new Map<string, number>();
      await Promise.all(
        Array.from({ length: ROUNDS }, async () => {
          const bytes = requests.next(typeOf(name));
          const status = await ask(name, bytes).catch((error: Error) => {
            throw new Error(`${error.message}: ${bytes.toString('hex').slice(0, 2_000)}`);
          });
          const isSilent = name === 'telemetry' && status === null;
          const code = isSilent ? 'silence' : String(status?.code);
          codes.set(code, (codes.get(code) ?? 0) + 1);
          const what = `${code} ${status?.message}: ${bytes.toString('hex').slice(0, 2_000)}`;
          expect(MISUNDERSTOOD.has(code) || code === 'undefined', what).to.equal(false);
        }),
      );
      // Or this tries nothing.
      expect([...codes.keys()]).to.have.length.above(2);
    });
  }

  const orders = { topic: { name: 'orders' }, group: { name: 'billing' } };
  const queue = { messageQueue: { topic: { name: 'orders' } }, group: { name: 'billing' } };
  const long = 'x'.repeat(1_000_000);
  const cases: readonly [what: string, name: Name, request: object, code: string, text: RegExp][] = [
    [
      'a host of 256 characters',
      'queryRoute',
      { ...orders, endpoints: hostOf('h'.repeat(256)) },
      'ILLEGAL_ACCESS_POINT',
      /no host/,
    ],
    ['a host of 255 characters', 'queryRoute', { ...orders, endpoints: hostOf('h'.repeat(255)) }, 'OK', /OK/],
    [
      'a host with a blank',
      'queryAssignment',
      { ...orders, endpoints: hostOf('a b') },
      'ILLEGAL_ACCESS_POINT',
      /"a b"/,
    ],
    ['a client of unknown type', 'heartbeat', { clientType: 99 }, 'UNRECOGNIZED_CLIENT_TYPE', /type/],
    [
      'a huge tag',
      'sendMessage',
      { messages: [messageOf('m', { tag: `|${long}` })] },
      'ILLEGAL_MESSAGE_TAG',
      /^.{1,200}$/,
    ],
    [
      'a huge key',
      'sendMessage',
      { messages: [messageOf('m', { keys: [`\u0001${long}`] })] },
      'ILLEGAL_MESSAGE_KEY',
      /^.{1,200}$/,
    ],
    ['a huge id', 'sendMessage', { messages: [messageOf(long)] }, 'MESSAGE_PROPERTIES_TOO_LARGE', /1000/],
    ['a message of nothing', 'sendMessage', { messages: [{}] }, 'ILLEGAL_TOPIC', /empty/],
    [
      'a message without what clients add',
      'sendMessage',
      { messages: [{ topic: { name: 'orders' } }] },
      'ILLEGAL_MESSAGE_ID',
      /empty/,
    ],
    ['no receipt', 'ackMessage', { ...orders, entries: [] }, 'BAD_REQUEST', /^0 entries/],
    ['too many receipts', 'ackMessage', { ...orders, entries: Array(4_097).fill({}) }, 'BAD_REQUEST', /4097/],
    ['an empty receipt', 'ackMessage', { ...orders, entries: [{}] }, 'INVALID_RECEIPT_HANDLE', /./],
    ['no receipt', 'changeInvisibleDuration', orders, 'INVALID_RECEIPT_HANDLE', /./],
    ['no receipt', 'forwardMessageToDeadLetterQueue', orders, 'INVALID_RECEIPT_HANDLE', /./],
    [
      'an unknown resolution',
      'endTransaction',
      { ...orders, transactionId: 'm', resolution: 9 },
      'BAD_REQUEST',
      /resolution: 9/,
    ],
    [
      'an id that no message has',
      'endTransaction',
      { ...orders, transactionId: long, resolution: 1 },
      'INVALID_TRANSACTION_ID',
      /1000000/,
    ],
    ['no handle', 'recallMessage', orders, 'BAD_REQUEST', /handle/],
    ['an unknown policy', 'queryOffset', { ...queue, queryOffsetPolicy: 9 }, 'BAD_REQUEST', /query_offset_policy: 9/],
    [
      'an unknown action',
      'syncLiteSubscription',
      { ...orders, topic: { name: 'chat' }, action: 9 },
      'BAD_REQUEST',
      /action: 9/,
    ],
    [
      'an unknown kind of filter',
      'receiveMessage',
      { ...queue, autoRenew: true, filterExpression: { type: 9 } },
      'ILLEGAL_FILTER_EXPRESSION',
      /type 9/,
    ],
    [
      'an attempt of 257 characters',
      'receiveMessage',
      { ...queue, autoRenew: true, attemptId: 'a'.repeat(257) },
      'BAD_REQUEST',
      /257/,
    ],
    [
      'an attempt of 256 characters',
      'receiveMessage',
      { ...queue, autoRenew: true, attemptId: 'a'.repeat(256) },
      'MESSAGE_NOT_FOUND',
      /./,
    ],
    ['no queue', 'receiveMessage', {}, 'ILLEGAL_TOPIC', /empty/],
    ['no queue', 'pullMessage', { group: orders.group }, 'ILLEGAL_TOPIC', /empty/],
    [
      'settings of a client of unknown type',
      'telemetry',
      { settings: { clientType: 9, publishing: {} } },
      'UNRECOGNIZED_CLIENT_TYPE',
      /9/,
    ],
    ['settings of nothing', 'telemetry', { settings: {} }, 'UNRECOGNIZED_CLIENT_TYPE', /neither/],
  ];
  for (const [what, name, request, code, text] of cases) {
    it(`${typeOf(name)} with ${what}: ${code}`, async () => {
      const encode = messagingService[name].requestSerialize as (request: object) => Buffer;
      const status = await ask(name, encode(request));
      expect(status?.code, status?.message).to.equal(code);
      expect(status?.message).to.match(text);
    });
  }

  it('millions of empty fields are counted rather than decoded: one request holds nobody up', async () => {
    const flood = Buffer.alloc(4_000_000, Buffer.from([0x0a, 0x00]));
    const atMs = Date.now();
    const status = await ask('sendMessage', flood);
    expect(status).to.deep.equal({
      code: 'BAD_REQUEST',
      message: `the request has more than ${REQUEST_FIELDS_MAX} fields`,
    });
    expect(Date.now() - atMs).to.be.below(TIMEOUT_MS);
  });
});
