// A raw client of RocketMQ's service: what official clients send, by hand.
import { type CallOptions, Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Message, Settings, SystemProperties } from '../../../src/wire/rocketmq/definitions.ts';
import { messagingService } from '../../../src/wire/rocketmq/service.ts';
import type {
  PullMessageResponse,
  ReceiveMessageResponse,
  TelemetryCommand,
} from '../../../src/wire/rocketmq/service_messages.ts';
import type { Method } from '../../../src/wire/services.ts';

/** Any part of a message; the rest is as if it had not been sent. */
export type Some<T> = T extends Buffer
  ? T
  : T extends object
    ? { readonly [key in keyof T]?: Some<T[key]> | undefined }
    : T;

/** What is needed of a message in most tests. */
export function messageOf(id: string, system: Some<SystemProperties> = {}, more: Some<Message> = {}): Some<Message> {
  return {
    topic: { name: 'orders' },
    body: Buffer.from(`body of ${id}`),
    ...more,
    systemProperties: { messageId: id, ...system },
  };
}

/** One client instance: an id, a connection. */
export class RawClient implements AsyncDisposable {
  readonly #client: Client;
  readonly metadata = new Metadata();
  readonly address: string;

  constructor(address: string, clientId: string | null = 'c1', headers: Readonly<Record<string, string>> = {}) {
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
    if (clientId !== null) this.metadata.set('x-mq-client-id', clientId);
    for (const [name, value] of Object.entries(headers)) this.metadata.set(name, value);
  }

  ask<Name extends keyof typeof messagingService>(
    name: Name,
    request: Some<RequestOf<Name>>,
    options: CallOptions = { deadline: Date.now() + 30_000 },
  ): Promise<ResponseOf<Name>> {
    const { path, requestSerialize, responseDeserialize } = messagingService[name] as unknown as Method<
      object,
      never,
      ResponseOf<Name>
    >;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request as object,
        this.metadata,
        options,
        (error, response) => (error === null ? resolve(response!) : reject(error)),
      );
    });
  }

  /** Sends messages of one call. */
  send(...messages: Some<Message>[]): Promise<ResponseOf<'sendMessage'>> {
    return this.ask('sendMessage', { messages } as never);
  }

  /** Opens ReceiveMessage. */
  openReceive(request: Some<RequestOf<'receiveMessage'>>, timeoutMs = 30_000) {
    const { path, requestSerialize, responseDeserialize } = messagingService.receiveMessage;
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize as (request: object) => Buffer,
      responseDeserialize,
      {
        messageQueue: { topic: { name: 'orders' } },
        group: { name: 'billing' },
        batchSize: 32,
        invisibleDuration: { seconds: '10' },
        longPollingTimeout: { seconds: '0', nanos: 1_000_000 },
        ...request,
      },
      this.metadata,
      { deadline: Date.now() + timeoutMs },
    );
  }

  /** All elements of one answer. */
  receive(request: Some<RequestOf<'receiveMessage'>> = {}, timeoutMs?: number): Promise<ReceiveMessageResponse[]> {
    const stream = this.openReceive(request, timeoutMs);
    const elements: ReceiveMessageResponse[] = [];
    return new Promise((resolve, reject) => {
      stream.on('data', (element: ReceiveMessageResponse) => elements.push(element));
      stream.on('error', reject);
      stream.on('end', () => resolve(elements));
    });
  }

  /** All elements of the answer to PullMessage. */
  pull(request: Some<RequestOf<'pullMessage'>>, timeoutMs = 30_000): Promise<PullMessageResponse[]> {
    const { path, requestSerialize, responseDeserialize } = messagingService.pullMessage;
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize as (request: object) => Buffer,
      responseDeserialize,
      { group: { name: 'billing' }, batchSize: 32, ...request },
      this.metadata,
      { deadline: Date.now() + timeoutMs },
    );
    const elements: PullMessageResponse[] = [];
    return new Promise((resolve, reject) => {
      stream.on('data', (element: PullMessageResponse) => elements.push(element));
      stream.on('error', reject);
      stream.on('end', () => resolve(elements));
    });
  }

  /** The messages of one answer. */
  async messages(request: Some<RequestOf<'receiveMessage'>> = {}, timeoutMs?: number): Promise<Message[]> {
    return (await this.receive(request, timeoutMs)).flatMap(({ message }) => (message === undefined ? [] : [message]));
  }

  openTelemetry(): Telemetry {
    const { path, requestSerialize, responseDeserialize } = messagingService.telemetry;
    return new Telemetry(
      this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.metadata),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
  }
}

type Stream = ReturnType<Client['makeBidiStreamRequest']>;

/** An open Telemetry stream, and what was said on it. */
export class Telemetry {
  readonly commands: TelemetryCommand[] = [];
  hasHeaders = false;
  isEnded = false;
  error: Error | null = null;
  readonly #stream: Stream;

  constructor(stream: unknown) {
    this.#stream = stream as Stream;
    this.#stream.on('metadata', () => {
      this.hasHeaders = true;
    });
    this.#stream.on('data', (command: TelemetryCommand) => this.commands.push(command));
    this.#stream.on('end', () => {
      this.isEnded = true;
    });
    this.#stream.on('error', (error: Error) => {
      this.error = error;
    });
  }

  tell(settings: Some<Settings>): void {
    this.#stream.write({ settings });
  }

  write(command: object): void {
    this.#stream.write(command);
  }

  end(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.cancel();
  }
}

type Methods = typeof messagingService;
type RequestOf<Name extends keyof Methods> = Parameters<Methods[Name]['requestSerialize']>[0];
type ResponseOf<Name extends keyof Methods> = ReturnType<Methods[Name]['responseDeserialize']>;
