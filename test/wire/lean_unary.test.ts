// A unary call that our interceptor takes ends as grpc-js's own does, whatever the client sends: each case runs on both.
import { type ClientHttp2Stream, connect, constants } from 'node:http2';
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { leanUnary, type UnaryCall, type UnaryHandler } from '../../src/wire/lean_unary.ts';

const PATH = '/test.Service/Method';
const REQUEST_BYTES_MAX = 1_000;

/** A message as it travels. */
function frame(message: string, flag = 0): Buffer {
  const header = Buffer.alloc(5);
  header[0] = flag;
  header.writeUInt32BE(Buffer.byteLength(message), 1);
  return Buffer.concat([header, Buffer.from(message)]);
}

/** Says what it was asked, and with what metadata. */
const echo: UnaryHandler = ({ request, metadata }, answer) => {
  answer(null, Buffer.from(`${request} ${metadata.get('x-tag').join()}`));
};

const failing: UnaryHandler = (_, answer) => {
  const metadata = new Metadata();
  metadata.set('tledger-code', 'SOME_CODE');
  answer({ code: status.NOT_FOUND, details: 'kein Müll: 100 %', metadata });
};

interface Case {
  readonly what: string;
  readonly handle?: UnaryHandler;
  readonly headers?: Record<string, string>;
  readonly chunks?: readonly Buffer[];
  /** gRPC status; the same on both, and this. */
  readonly code: number;
}

const cases: readonly Case[] = [
  { what: 'a message', code: status.OK },
  { what: 'an empty message', chunks: [frame('')], code: status.OK },
  { what: 'a message byte by byte', chunks: [...frame('hello')].map((byte) => Buffer.of(byte)), code: status.OK },
  { what: 'metadata', headers: { 'x-tag': 'blue' }, code: status.OK },
  { what: 'no message', chunks: [], code: status.UNIMPLEMENTED },
  { what: 'a message that is cut off', chunks: [frame('hello').subarray(0, 7)], code: status.UNIMPLEMENTED },
  { what: 'two messages', chunks: [frame('a'), frame('b')], code: status.UNIMPLEMENTED },
  { what: 'a message that is too large', chunks: [frame('x'.repeat(1_001))], code: status.RESOURCE_EXHAUSTED },
  {
    what: 'an encoding that is not known',
    headers: { 'grpc-encoding': 'lzw' },
    chunks: [frame('a', 1)],
    code: status.UNIMPLEMENTED,
  },
  { what: 'a deadline that is none', headers: { 'grpc-timeout': 'soon' }, code: status.INTERNAL },
  {
    what: 'a deadline that passes',
    headers: { 'grpc-timeout': '10m' },
    handle: () => {},
    code: status.DEADLINE_EXCEEDED,
  },
  { what: 'a handler that refuses', handle: failing, code: status.NOT_FOUND },
  {
    what: 'a handler that throws',
    handle: () => {
      throw new Error('secret');
    },
    code: status.UNKNOWN,
  },
  { what: 'an answer that cannot be encoded', handle: (_, answer) => answer(null, 'no bytes'), code: status.INTERNAL },
];

async function serve(handle: UnaryHandler, isLean: boolean): Promise<{ server: Server; port: number }> {
  const interceptors = isLean ? [leanUnary(new Map([[PATH, handle]]))] : [];
  const server = new Server({ 'grpc.max_receive_message_length': REQUEST_BYTES_MAX, interceptors });
  const same = (bytes: Buffer): Buffer => {
    if (!Buffer.isBuffer(bytes)) throw new TypeError('no bytes');
    return bytes;
  };
  server.register(PATH, handle as never, same, same, 'unary');
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { server, port };
}

function open(port: number, headers: Record<string, string> = {}) {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  const fixed = { ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request({ ...fixed, ...headers });
  stream.on('error', () => {});
  return { session, stream };
}

/** Everything that a client can see of an answer, without the time of day. */
function ended(stream: ClientHttp2Stream): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    const seen: Record<string, unknown> = {};
    const body: Buffer[] = [];
    const take = (headers: object): void => void Object.assign(seen, headers, { date: undefined });
    stream.on('response', take);
    stream.on('trailers', take);
    stream.on('data', (chunk: Buffer) => body.push(chunk));
    stream.on('close', () => resolve({ ...seen, body: Buffer.concat(body).toString('hex') }));
  });
}

async function outcome(one: Case, isLean: boolean): Promise<Record<string, unknown>> {
  const { server, port } = await serve(one.handle ?? echo, isLean);
  const { session, stream } = open(port, one.headers);
  try {
    const end = ended(stream);
    for (const chunk of one.chunks ?? [frame('hello')]) stream.write(chunk);
    stream.end();
    return await end;
  } finally {
    session.destroy();
    server.forceShutdown();
  }
}

describe('wire: unary calls without a stream around them', () => {
  for (const one of cases) {
    it(`ends ${one.what} as grpc-js does`, async () => {
      const [own, theirs] = [await outcome(one, true), await outcome(one, false)];
      expect(Number(own['grpc-status'])).to.equal(one.code);
      // In our own words, where grpc-js speaks of streams.
      const isWorded = one.code !== status.UNIMPLEMENTED;
      const told = (seen: Record<string, unknown>) => (isWorded ? seen : { ...seen, 'grpc-message': '' });
      expect(told(own)).to.deep.equal(told(theirs));
    });
  }

  it('tells a handler that its client has gone', async () => {
    let over: () => void = () => {};
    const gone = new Promise<void>((resolve) => {
      over = resolve;
    });
    let arrived: (call: UnaryCall<unknown>) => void = () => {};
    const arrival = new Promise<UnaryCall<unknown>>((resolve) => {
      arrived = resolve;
    });
    const { server, port } = await serve((call) => {
      call.on('cancelled', over);
      arrived(call);
    }, true);
    const { session, stream } = open(port);
    stream.end(frame('hello'));
    const call = await arrival;
    expect(call.cancelled).to.equal(false);
    expect(call.getDeadline()).to.equal(Number.POSITIVE_INFINITY);
    expect(call.getHost()).to.equal(`127.0.0.1:${port}`);
    expect(call.getPeer()).to.match(/^127\.0\.0\.1:\d+$/);
    stream.close(constants.NGHTTP2_CANCEL);
    await gone;
    expect(call.cancelled).to.equal(true);
    session.destroy();
    server.forceShutdown();
  });
});
