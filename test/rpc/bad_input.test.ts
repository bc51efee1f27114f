// What a client may get wrong, each with its precise answer; and the node lives on.
import { connect } from 'node:http2';
import { Client, credentials, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { messageLimits } from '../../src/format/limits.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { clientChannelOptions } from '../../src/wire/channel_options.ts';
import { GRPC_MESSAGE_BYTES_MAX } from '../../src/wire/limits.ts';
import {
  adminService,
  appendOf,
  ask,
  askRaw,
  failureOf,
  type Harness,
  ledgerService,
  message,
  openAppendStream,
  openConsume,
  pullOf,
  refusal,
  startHarness,
} from './harness.ts';

const record = encodeMessageRecord({ topic: 'orders', queueId: 0, body: Buffer.from('x'), bornAtMs: 1 });
const big = Buffer.alloc(messageLimits.bodyBytesMax + 1);

const badAppends: readonly [string, object, number, string, RegExp][] = [
  ['an unknown topic', { topic: 'nobody' }, status.NOT_FOUND, 'TOPIC_NOT_FOUND', /"nobody"/],
  ['an empty topic', { topic: '' }, status.INVALID_ARGUMENT, 'ILLEGAL_TOPIC', /empty/],
  ['a topic with path characters', { topic: '../../etc/passwd' }, status.INVALID_ARGUMENT, 'ILLEGAL_TOPIC', /etc/],
  ['a topic with NUL', { topic: 'a\0b' }, status.INVALID_ARGUMENT, 'ILLEGAL_TOPIC', /./],
  ['a topic of 128 characters', { topic: 'x'.repeat(128) }, status.INVALID_ARGUMENT, 'ILLEGAL_TOPIC', /128/],
  ['a system topic', { topic: 'TBW102' }, status.INVALID_ARGUMENT, 'ILLEGAL_TOPIC', /system/],
  ['a queue out of range', { queue: 9 }, status.INVALID_ARGUMENT, 'QUEUE_OUT_OF_RANGE', /queue 9/],
  ['a negative queue', { queue: -1 }, status.INVALID_ARGUMENT, 'QUEUE_OUT_OF_RANGE', /-1/],
  ['an empty batch', { messages: [] }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /empty/],
  ['a batch given twice', { records: record }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /twice/],
  ['an empty body', { messages: [message('')] }, status.INVALID_ARGUMENT, 'BODY_EMPTY', /empty/],
  ['an oversized body', { messages: [message(big)] }, status.INVALID_ARGUMENT, 'BODY_TOO_LARGE', /4194305/],
  [
    'too many messages',
    { messages: Array(4097).fill(message('x')) },
    status.INVALID_ARGUMENT,
    'BATCH_TOO_LARGE',
    /4097/,
  ],
  [
    'too many bytes of records',
    { messages: [], records: Buffer.alloc(6e6) },
    status.INVALID_ARGUMENT,
    'BATCH_TOO_LARGE',
    /6000000/,
  ],
  ['a tag with a bar', { messages: [message('x', { tag: 'a|b' })] }, status.INVALID_ARGUMENT, 'ILLEGAL_TAG', /a\|b/],
  ['a blank key', { messages: [message('x', { keys: [' '] })] }, status.INVALID_ARGUMENT, 'ILLEGAL_KEY', /" "/],
  [
    'a reserved property',
    { messages: [message('x', { properties: { KEYS: 'x' } })] },
    status.INVALID_ARGUMENT,
    'ILLEGAL_PROPERTY',
    /KEYS/,
  ],
  [
    'properties beyond 16 KiB',
    { messages: [message('x', { properties: { a: 'x'.repeat(17_000) } })] },
    status.INVALID_ARGUMENT,
    'PROPERTIES_TOO_LARGE',
    /17001/,
  ],
  [
    'a producer id that is none',
    { producerId: 'me' },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /16 lower-case hex/,
  ],
  [
    'a producer without sequence',
    { producerId: '00000000000000ab' },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /sequence 0/,
  ],
  [
    'a time before 1970',
    { messages: [message('x', { bornTimestamp: '-5' })] },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /-5/,
  ],
  [
    'a time beyond 2^53',
    { messages: [message('x', { bornTimestamp: '9223372036854775807' })] },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /born_timestamp/,
  ],
];

const badPulls: readonly [string, object, number, string, RegExp][] = [
  ['an unknown topic', { topic: 'nobody' }, status.NOT_FOUND, 'TOPIC_NOT_FOUND', /nobody/],
  ['a topic name with path characters', { topic: '../x' }, status.NOT_FOUND, 'TOPIC_NOT_FOUND', /\.\.\/x/],
  ['a queue out of range', { queue: 4 }, status.INVALID_ARGUMENT, 'QUEUE_OUT_OF_RANGE', /0 to 3, not 4/],
  ['a negative queue', { queue: -1 }, status.INVALID_ARGUMENT, 'QUEUE_OUT_OF_RANGE', /-1/],
  ['a negative offset', { offset: '-1' }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /offset: -1/],
  [
    'an offset beyond 2^53',
    { offset: '9223372036854775807' },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /out of range/,
  ],
  [
    'an offset beyond the end',
    { offset: '5' },
    status.OUT_OF_RANGE,
    'OFFSET_OUT_OF_RANGE',
    /from offset 0 to 0, not from 5/,
  ],
  ['a negative count', { maxCount: -1 }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /max_count/],
  ['negative bytes', { maxBytes: -1 }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /max_bytes/],
  ['a negative wait', { waitMs: -1 }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /wait_ms/],
  ['a wait beyond a minute', { waitMs: 60_001 }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /60001/],
];

const consumeOf = (more: object) => ({
  topic: 'orders',
  positions: [],
  start: 'EARLIEST' as const,
  maxBytes: 0,
  packed: false,
  ...more,
});
const badConsumes: readonly [string, object, number, string, RegExp][] = [
  ['an unknown topic', { topic: 'nobody' }, status.NOT_FOUND, 'TOPIC_NOT_FOUND', /nobody/],
  [
    'a queue out of range',
    { positions: [{ queue: 4, offset: '0' }] },
    status.INVALID_ARGUMENT,
    'QUEUE_OUT_OF_RANGE',
    /4/,
  ],
  [
    'a queue named twice',
    {
      positions: [
        { queue: 1, offset: '0' },
        { queue: 1, offset: '0' },
      ],
    },
    status.INVALID_ARGUMENT,
    'INVALID_ARGUMENT',
    /twice/,
  ],
  [
    'an offset beyond the end',
    { positions: [{ queue: 1, offset: '8' }] },
    status.OUT_OF_RANGE,
    'OFFSET_OUT_OF_RANGE',
    /not from 8/,
  ],
  ['negative bytes', { maxBytes: -1 }, status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /max_bytes/],
];

const malformed: readonly [string, Buffer][] = [
  ['a field that is cut off', Buffer.from('0aff', 'hex')],
  ['a wire type that does not exist', Buffer.from('0f', 'hex')],
  ['an endless varint', Buffer.alloc(64, 0xff)],
  ['a length beyond the end', Buffer.from('7aff7f', 'hex')],
];

describe('bad input', () => {
  let harness: Harness;
  before(async () => {
    harness = await startHarness();
  });
  afterEach(async () => {
    // Whatever it was: the node still does its work, and nothing unexpected happened inside.
    const answer = await ask(harness.client, ledgerService.append, appendOf('still here', { queue: 3 }));
    expect(answer.count).to.equal(1);
    expect(harness.complaints).to.deep.equal([]);
  });
  after(() => harness[Symbol.asyncDispose]());

  for (const [what, more, grpcStatus, code, text] of badAppends) {
    it(`Append with ${what}: ${code}`, async () => {
      const answer = await refusal(ask(harness.client, ledgerService.append, appendOf('x', more)));
      expect(answer).to.include({ status: grpcStatus, code });
      expect(answer.text).to.match(text);
    });

    it(`AppendStream with ${what}: the stream ends with ${code}`, async () => {
      const stream = openAppendStream(harness.client);
      const answer = await refusal(
        new Promise((_, reject) => {
          stream.on('data', () => {});
          stream.on('error', reject);
          stream.write(appendOf('x', more));
        }),
      );
      expect(answer).to.include({ status: grpcStatus, code });
      expect(answer.text).to.match(text);
    });
  }

  for (const [what, more, grpcStatus, code, text] of badPulls) {
    it(`Pull with ${what}: ${code}`, async () => {
      const answer = await refusal(ask(harness.client, ledgerService.pull, pullOf(more)));
      expect(answer).to.include({ status: grpcStatus, code });
      expect(answer.text).to.match(text);
    });
  }

  for (const [what, more, grpcStatus, code, text] of badConsumes) {
    it(`Consume with ${what}: ${code}`, async () => {
      const stream = openConsume(harness.client, consumeOf(more));
      const answer = await refusal(
        new Promise((_, reject) => {
          stream.on('data', () => {});
          stream.on('error', reject);
        }),
      );
      expect(answer).to.include({ status: grpcStatus, code });
      expect(answer.text).to.match(text);
    });
  }

  for (const path of ['topic', '../x', 'a/b', '']) {
    if (path === 'topic') continue;
    it(`CreateTopic ${JSON.stringify(path)}: ILLEGAL_TOPIC`, async () => {
      const answer = await refusal(ask(harness.client, adminService.createTopic, { topic: path, queues: 1 }));
      expect(answer).to.include({ status: status.INVALID_ARGUMENT, code: 'ILLEGAL_TOPIC' });
    });
  }

  for (const [what, bytes] of malformed) {
    const methods = [...Object.values(ledgerService), ...Object.values(adminService)];
    for (const { path } of methods.filter((method) => !method.requestStream && !method.responseStream)) {
      it(`${path} with ${what}: INVALID_ARGUMENT`, async () => {
        const answer = await refusal(askRaw(harness.client, path, bytes));
        expect(answer).to.include({ status: status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT' });
      });
    }

    it(`AppendStream with ${what}: INVALID_ARGUMENT`, async () => {
      const stream = harness.client.makeBidiStreamRequest(
        ledgerService.appendStream.path,
        (value: Buffer) => value,
        (value: Buffer) => value,
      );
      const failure = await new Promise((resolve) => {
        stream.on('data', () => {});
        stream.on('error', resolve);
        stream.write(bytes);
      });
      expect(failureOf(failure)).to.include({ status: status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT' });
    });
  }

  it('a topic with half a surrogate pair in its bytes: a status, not a crash', async () => {
    const name = Buffer.from('eda080', 'hex');
    const bytes = Buffer.concat([Buffer.of(0x0a, name.length), name, Buffer.from('32017b', 'hex')]);
    const answer = await refusal(askRaw(harness.client, ledgerService.append.path, bytes));
    expect(answer).to.include({ status: status.INVALID_ARGUMENT, code: 'ILLEGAL_TOPIC' });
  });

  it('an oversized frame: RESOURCE_EXHAUSTED by its length alone', async () => {
    const options = { ...clientChannelOptions, 'grpc.max_send_message_length': -1 };
    const client = new Client(harness.address, credentials.createInsecure(), options);
    try {
      const answer = await refusal(askRaw(client, ledgerService.append.path, Buffer.alloc(GRPC_MESSAGE_BYTES_MAX + 1)));
      expect(answer.status).to.equal(status.RESOURCE_EXHAUSTED);
    } finally {
      client.close();
    }
  });

  it('a frame that claims 500 MB and sends none of them: RESOURCE_EXHAUSTED', async () => {
    const session = connect(`http://${harness.address}`);
    try {
      const headers = {
        ':method': 'POST',
        ':path': ledgerService.append.path,
        'content-type': 'application/grpc',
        te: 'trailers',
      };
      const stream = session.request(headers);
      const answered = new Promise((resolve, reject) => {
        stream.on('response', (response) => resolve(response['grpc-status']));
        stream.on('trailers', (trailers) => resolve(trailers['grpc-status']));
        stream.on('error', reject);
      });
      const head = Buffer.alloc(5);
      head.writeUInt32BE(500_000_000, 1);
      stream.write(head);
      expect(await answered).to.equal(String(status.RESOURCE_EXHAUSTED));
    } finally {
      session.destroy();
    }
  });

  it('a method that does not exist: UNIMPLEMENTED', async () => {
    expect((await refusal(askRaw(harness.client, '/tledger.v1.Ledger/Nothing', Buffer.of()))).status).to.equal(
      status.UNIMPLEMENTED,
    );
  });

  it('property names of Object.prototype are names like any other', async () => {
    const properties = Object.fromEntries([
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['toString', 'c'],
    ]); // prettier-ignore
    await ask(
      harness.client,
      ledgerService.append,
      appendOf('x', { queue: 2, messages: [message('x', { properties })] }),
    );
    const { messages } = await ask(harness.client, ledgerService.pull, pullOf({ queue: 2 }));
    expect(({} as Record<string, unknown>).a).to.equal(undefined);
    expect(Object.getOwnPropertyNames(messages[0]!.properties)).to.include.members(['constructor', 'toString']);
  });
});
