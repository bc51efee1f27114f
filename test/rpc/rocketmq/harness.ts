// RocketMQ's service on loopback over a fake gateway, whose leader stores messages and remembers what it was asked.
import { TLedgerError } from '../../../src/base/errors.ts';
import { groupDefaults } from '../../../src/broker/consuming/groups.ts';
import type { StoreRequest, TopicInfo } from '../../../src/broker/types.ts';
import { decodeMessageRecord, encodeMessageRecord, type StoredMessage } from '../../../src/format/message.ts';
import { sizeAt } from '../../../src/format/record.ts';
import { logIndex } from '../../../src/raft/types.ts';
import type { BindLiteRequest, ClaimLiteRequest } from '../../../src/replica/consuming/lite_topics.ts';
import type { PoppedMessage, PopRequest, SettleRequest } from '../../../src/replica/consuming/types.ts';
import { startClientServer } from '../../../src/rpc/server.ts';
import { FakeGateway, type LeaderAnswer } from '../fake_gateway.ts';
import { RawClient } from './client.ts';

/** A running service. */
export interface RocketmqHarness extends AsyncDisposable {
  readonly gateway: FakeGateway;
  readonly leader: FakeLeader;
  readonly address: string;
  readonly client: RawClient;
  readonly complaints: string[];
  /** Another client, closed with the rest. @param clientId null sends none. */
  newClient(clientId: string | null, headers?: Readonly<Record<string, string>>): RawClient;
  stop(timeoutMs?: number): Promise<void>;
}

/** What a leader is asked for, and what it answers unless a test says otherwise. */
export class FakeLeader {
  readonly stores: StoreRequest[] = [];
  readonly pops: PopRequest[] = [];
  readonly settles: SettleRequest[] = [];
  readonly #answers: Map<string, LeaderAnswer>;
  #index = 0;

  constructor(gateway: FakeGateway) {
    this.#answers = gateway.leaderAnswers;
    this.on('STORE', (request) => this.#store(request as StoreRequest));
    this.on('BIND_LITE', (request) => {
      const { group: name, topic } = request as BindLiteRequest;
      const { groups } = gateway.fake.tables;
      groups.bind({ type: 'bind-lite', name, topic, createdAtMs: 1 });
      return groups.get(name)!.lite;
    });
    this.on('CLAIM_LITE', (request) => {
      const { group: name, ...claim } = request as ClaimLiteRequest;
      gateway.fake.tables.apply({ type: 'claim-lite', name, ...claim }, logIndex(++this.#index));
      return true;
    });
    this.on('POP', () => []);
    this.on('SETTLE', (request) =>
      (request as SettleRequest).verdicts.map(() => ({ isDone: true, handle: logIndex(++this.#index) })),
    );
  }

  /** Answers one kind of call from now on. */
  on(kind: string, answer: LeaderAnswer): void {
    this.#answers.set(kind, (request, options) => {
      if (kind === 'STORE') this.stores.push(request as StoreRequest);
      if (kind === 'POP') this.pops.push(request as PopRequest);
      if (kind === 'SETTLE') this.settles.push(request as SettleRequest);
      return answer(request, options);
    });
  }

  /** Fails so often, then answers as before. */
  failing(kind: string, ...errors: TLedgerError[]): void {
    const before = this.#answers.get(kind)!;
    this.#answers.set(kind, (request, options) => {
      const error = errors.shift();
      if (error === undefined) return before(request, options);
      throw error;
    });
  }

  /** The messages that were stored, in order. */
  get stored(): StoredMessage[] {
    return this.stores.flatMap(({ records }) => {
      const messages: StoredMessage[] = [];
      for (let at = 0; at < records.length; at += sizeAt(records, at)) {
        messages.push(decodeMessageRecord(records, at, at + sizeAt(records, at))!);
      }
      return messages;
    });
  }

  /** The next pop gets these. */
  hands(...messages: PoppedMessage[]): void {
    this.on('POP', () => messages.splice(0));
  }

  #store({ records }: StoreRequest) {
    let count = 0;
    for (let at = 0; at < records.length; at += sizeAt(records, at)) count++;
    const queueOffset = this.#index;
    this.#index += count;
    return { queueOffset, count, lastIndex: logIndex(this.#index), repeated: false };
  }
}

/** A message as a leader hands it out. */
export function poppedOf(
  id: string,
  properties: Readonly<Record<string, string>> = {},
  receipt: Partial<PoppedMessage> = {},
): PoppedMessage {
  const record = encodeMessageRecord({
    topic: 'orders',
    queueId: 2,
    body: Buffer.from(`body of ${id}`),
    uniqueKey: id,
    properties,
    bornAtMs: 1_700_000_000_123,
  });
  return { queueId: 2, offset: 7, handle: logIndex(42), attempt: 1, record, ...receipt };
}

export async function startRocketmq(topics: Readonly<Record<string, TopicInfo['messageType'] | 'mixed'>> = {}) {
  const gateway = new FakeGateway();
  const leader = new FakeLeader(gateway);
  for (const [name, type] of Object.entries({ orders: 'mixed' as const, ...topics })) {
    gateway.fake.addTopic(name, 4, type === 'mixed' ? undefined : type);
  }
  const complaints: string[] = [];
  const note = (message: string, fields?: object): void => void complaints.push(`${message} ${JSON.stringify(fields)}`);
  const logger = { warn: note, error: note };
  const server = await startClientServer(gateway, { address: '127.0.0.1:0', logger });
  const clients: RawClient[] = [];
  const newClient = (clientId: string | null, headers?: Readonly<Record<string, string>>): RawClient => {
    const client = new RawClient(server.address, clientId, headers);
    clients.push(client);
    return client;
  };
  const stop = (timeoutMs = 1_000): Promise<void> => server.stop(timeoutMs);
  return {
    gateway,
    leader,
    address: server.address,
    client: newClient('c1'),
    complaints,
    newClient,
    stop,
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) await client[Symbol.asyncDispose]();
      await stop();
    },
  } satisfies RocketmqHarness;
}

/** A consumer group that somebody made. */
export function putGroup(gateway: FakeGateway, name: string, some: Partial<typeof groupDefaults> | object = {}): void {
  gateway.fake.tables.groups.put({ name, ...groupDefaults, createdAtMs: 1, ...some });
}

export const errorOf = (code: ConstructorParameters<typeof TLedgerError>[0]): TLedgerError => new TLedgerError(code);
