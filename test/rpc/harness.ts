// A real gRPC server on loopback over a fake gateway, and raw grpc-js clients.
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { startClientServer } from '../../src/rpc/server.ts';
import { clientChannelOptions } from '../../src/wire/channel_options.ts';
import { adminService, ledgerService, type Method } from '../../src/wire/services.ts';
import { CODE_METADATA } from '../../src/wire/status.ts';
import { FakeGateway } from './fake_gateway.ts';

export interface Harness extends AsyncDisposable {
  readonly gateway: FakeGateway;
  readonly address: string;
  readonly client: Client;
  /** What the server complained about. */
  readonly complaints: string[];
  stopServer(timeoutMs?: number): Promise<void>;
}

export async function startHarness(
  options: { waitingPullsMax?: number; coldBacklogBytes?: number } = {},
): Promise<Harness> {
  const gateway = new FakeGateway();
  gateway.fake.addTopic('orders', 4);
  const complaints: string[] = [];
  const note = (message: string, fields?: object): void => void complaints.push(`${message} ${JSON.stringify(fields)}`);
  const logger = { warn: note, error: note };
  const server = await startClientServer(gateway, { address: '127.0.0.1:0', logger, ...options });
  const client = new Client(server.address, credentials.createInsecure(), clientChannelOptions);
  const stopServer = (timeoutMs = 1000): Promise<void> => server.stop(timeoutMs);
  return {
    gateway,
    address: server.address,
    client,
    complaints,
    stopServer,
    [Symbol.asyncDispose]: async () => {
      client.close();
      await stopServer();
    },
  };
}

/** A unary call; rejects with the ServiceError. */
export function ask<Out, In, Response>(
  client: Client,
  method: Method<Out, In, Response>,
  request: Out,
  options: CallOptions = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = method;
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      options,
      (error, response) => {
        if (error !== null) reject(error);
        else resolve(response!);
      },
    );
  });
}

/** Bytes instead of a request, for what no honest client sends. */
export function askRaw(client: Client, path: string, bytes: Buffer): Promise<Buffer> {
  const same = (value: Buffer): Buffer => value;
  return ask(
    client,
    { path, requestSerialize: same, responseDeserialize: same } as Method<Buffer, never, Buffer>,
    bytes,
  );
}

/** gRPC status, our own code and the text of a refusal; fails when there was none. */
export async function refusal(promise: Promise<unknown>): Promise<{ status: number; code: string; text: string }> {
  try {
    await promise;
  } catch (error) {
    return failureOf(error);
  }
  throw new Error('expected a refusal');
}

export function failureOf(error: unknown): { status: number; code: string; text: string } {
  const { code, details, metadata } = error as ServiceError;
  return { status: code, code: String(metadata?.get(CODE_METADATA)[0] ?? ''), text: details };
}

/** Opens AppendStream. */
export function openAppendStream(client: Client) {
  const { path, requestSerialize, responseDeserialize } = ledgerService.appendStream;
  return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
}

/** Opens Consume. */
export function openConsume(client: Client, request: Parameters<typeof ledgerService.consume.requestSerialize>[0]) {
  const { path, requestSerialize, responseDeserialize } = ledgerService.consume;
  return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
}

/** Opens WatchMetadata. */
export function openWatch(client: Client, topics: string[] = []) {
  const { path, requestSerialize, responseDeserialize } = ledgerService.watchMetadata;
  return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { topics });
}

/** Resolves when `condition` holds; looks again after each turn of the event loop. */
export async function until(condition: () => boolean, what: string, timeoutMs = 20_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export const message = (body: string | Buffer, more: object = {}) => ({
  body: Buffer.from(body),
  tag: '',
  keys: [],
  properties: {},
  bornTimestamp: '0',
  ...more,
});

export const appendOf = (body: string | Buffer, more: object = {}) => ({
  topic: 'orders',
  queue: 0,
  producerId: '',
  sequence: 0,
  messages: [message(body)],
  ...more,
});

export const pullOf = (more: object = {}) => ({
  topic: 'orders',
  queue: 0,
  offset: '0',
  maxCount: 0,
  maxBytes: 0,
  waitMs: 0,
  packed: false,
  ...more,
});

export { adminService, ledgerService };
