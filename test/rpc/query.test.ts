// Query and FindOffset: a real broker behind a real server, asked by raw clients, by the SDK and by commands.
import { Client, credentials, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import type { Broker } from '../../src/broker/broker.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { term } from '../../src/raft/types.ts';
import { startClientServer } from '../../src/rpc/server.ts';
import { clientChannelOptions } from '../../src/wire/channel_options.ts';
import type { QueryRequest } from '../../src/wire/ledger_messages.ts';
import { Harness as BrokerHarness, FakeLog, message, START_MS } from '../broker/fixture.ts';
import { run } from '../cli/harness.ts';
import { FakeGateway } from './fake_gateway.ts';
import { ask, ledgerService, refusal } from './harness.ts';

/** A group of one with a broker that means it. */
class BrokerGateway extends FakeGateway {
  readonly #broker: () => Broker;

  constructor(broker: () => Broker) {
    super();
    this.#broker = broker;
  }

  override get broker(): Broker {
    return this.#broker();
  }
}

const asked = (some: Partial<QueryRequest>): QueryRequest => ({
  topic: 'T',
  key: '',
  uniqueId: '',
  messageId: '',
  beginTimestamp: '0',
  endTimestamp: '0',
  maxCount: 0,
  maxBytes: 0,
  cursor: '',
  current: false,
  packed: false,
  ...some,
});

describe('queries', () => {
  let harness: BrokerHarness;
  let gateway: BrokerGateway;
  let server: Awaited<ReturnType<typeof startClientServer>>;
  let client: Client;

  beforeEach(async () => {
    harness = await BrokerHarness.start({ log: new FakeLog(2_048), keyLayout: { slots: 8, entriesMax: 6 }, queues: 2 });
    for (let number = 0; number < 50; number++) {
      harness.nowMs = START_MS + 100 * number;
      const keys = ['all', `k${number % 5}`];
      const one = message({ queueId: number % 2, body: Buffer.from(`b${number}`), keys, uniqueKey: `u${number}` });
      const records = encodeMessageRecord(one);
      harness.append({ topic: 'T', queueId: number % 2, producerId: '', sequence: 1, records });
    }
    gateway = new BrokerGateway(() => harness.broker);
    const logger = { warn: () => {}, error: () => {} };
    server = await startClientServer(gateway, { address: '127.0.0.1:0', logger });
    gateway.setLeader({ nodeId: 'n0', clientAddress: server.address, term: term(3) });
    client = new Client(server.address, credentials.createInsecure(), clientChannelOptions);
  });
  afterEach(async () => {
    client.close();
    await server.stop(1_000);
    await harness.broker.close();
  });

  const query = (some: Partial<QueryRequest>) => ask(client, ledgerService.query, asked(some));
  const offsetAt = (some: object) =>
    ask(client, ledgerService.findOffset, { topic: 'T', queue: 0, timestamp: '0', current: false, ...some });
  const cli = (line: string) => run([...line.split(' '), '--endpoints', server.address, '--timeout', '20000']);

  it('find by key, by unique id and by message id, without asking anybody', async () => {
    gateway.setLeader(null);
    const byKey = await query({ key: 'k3', maxCount: 2 });
    expect(byKey).to.include({ count: 2, complete: true });
    expect(byKey.messages.map(({ message: one }) => `${one.body}`)).to.deep.equal(['b48', 'b43']);
    const [first] = byKey.messages;
    expect(first!.message).to.deep.include({
      queue: 0,
      queueOffset: '24',
      keys: ['all', 'k3'],
      storeTimestamp: `${START_MS + 4_800}`,
    });
    expect(first).to.include({ topic: 'T' });
    const byId = await query({ messageId: first!.messageId });
    expect(byId.messages).to.deep.equal([first]);
    expect((await query({ topic: '', messageId: first!.messageId })).count).to.equal(1);
    const byUnique = await query({ uniqueId: 'u48' });
    expect(byUnique.messages).to.deep.equal([first]);
    expect(gateway.barriers).to.equal(0);
  });

  it('goes on from a cursor, and within times', async () => {
    const found: string[] = [];
    let cursor = '';
    do {
      const page = await query({
        key: 'all',
        maxCount: 7,
        cursor,
        beginTimestamp: `${START_MS + 1_000}`,
        endTimestamp: `${START_MS + 3_000}`,
      });
      found.push(...page.messages.map(({ message: one }) => `${one.body}`));
      cursor = page.cursor;
    } while (cursor !== '');
    expect(found).to.deep.equal(Array.from({ length: 21 }, (_, number) => `b${30 - number}`));
  });

  it('believe that there is nothing only after catching up, and catch up first when told to', async () => {
    expect(await query({ key: 'nobody' })).to.include({ count: 0, cursor: '' });
    expect(gateway.barriers).to.equal(1);
    await query({ key: 'k1', current: true });
    expect(gateway.barriers).to.equal(2);
    gateway.onBarrier = () => {
      const records = encodeMessageRecord(message({ keys: ['late'] }));
      harness.append({ topic: 'T', queueId: 0, producerId: '', sequence: 1, records });
      gateway.onBarrier = () => {};
    };
    expect((await query({ key: 'late' })).count).to.equal(1);
  });

  it('of offsets by time give the first message stored then or later', async () => {
    const at = async (time: number) => (await offsetAt({ timestamp: `${START_MS + time}` })).offset;
    expect([await at(0), await at(1), await at(200), await at(201), await at(4_800)]).to.deep.equal([
      '0',
      '1',
      '1',
      '2',
      '24',
    ]);
    expect(gateway.barriers).to.equal(0);
    expect(await offsetAt({ timestamp: `${START_MS + 5_000}` })).to.deep.equal({
      offset: '25',
      minOffset: '0',
      maxOffset: '25',
    });
    expect(gateway.barriers).to.equal(1);
    expect((await offsetAt({ queue: 1, timestamp: `${START_MS + 101}` })).offset).to.equal('1');
  });

  const bad: readonly [string, Partial<QueryRequest>, string][] = [
    ['nothing to look for', {}, 'INVALID_ARGUMENT'],
    ['a key and an id', { key: 'a', uniqueId: 'b' }, 'INVALID_ARGUMENT'],
    ['no topic', { topic: '', key: 'a' }, 'INVALID_ARGUMENT'],
    ['an unknown topic', { topic: 'nobody', key: 'a' }, 'TOPIC_NOT_FOUND'],
    ['an unknown topic and an id', { topic: 'nobody', messageId: '0'.repeat(32) }, 'TOPIC_NOT_FOUND'],
    ['a key with a space', { key: 'a b' }, 'ILLEGAL_KEY'],
    ['a key with a control character', { key: 'a\u0001' }, 'ILLEGAL_KEY'],
    ['a long key', { key: 'a'.repeat(16_385) }, 'ILLEGAL_KEY'],
    ['what is no message id', { messageId: 'xyz' }, 'INVALID_ARGUMENT'],
    ['a negative time', { key: 'a', beginTimestamp: '-1' }, 'INVALID_ARGUMENT'],
    ['a time beyond 2^53', { key: 'a', endTimestamp: '9223372036854775807' }, 'INVALID_ARGUMENT'],
    ['a range that ends before it begins', { key: 'a', beginTimestamp: '2', endTimestamp: '1' }, 'INVALID_ARGUMENT'],
    ['a negative count', { key: 'a', maxCount: -1 }, 'INVALID_ARGUMENT'],
    ['too large a count', { key: 'a', maxCount: 1_001 }, 'INVALID_ARGUMENT'],
    ['a negative size', { key: 'a', maxBytes: -1 }, 'INVALID_ARGUMENT'],
    ['a cursor of somebody else', { key: 'a', cursor: 'x.y' }, 'INVALID_ARGUMENT'],
    ['an endless cursor', { key: 'a', cursor: '1'.repeat(100_000) }, 'INVALID_ARGUMENT'],
  ];
  it('refuse what makes no sense, each with its code', async () => {
    for (const [name, request, code] of bad) expect((await refusal(query(request))).code, name).to.equal(code);
    for (const [request, code] of [
      [{ queue: 2 }, 'QUEUE_OUT_OF_RANGE'],
      [{ queue: -1 }, 'QUEUE_OUT_OF_RANGE'],
      [{ topic: 'nobody' }, 'TOPIC_NOT_FOUND'],
      [{ timestamp: '-1' }, 'INVALID_ARGUMENT'],
      [{ timestamp: '9007199254740992' }, 'INVALID_ARGUMENT'],
    ] as const) {
      expect((await refusal(offsetAt(request))).code, JSON.stringify(request)).to.equal(code);
    }
    await harness.broker.close();
    harness.keyLayout = undefined;
    await harness.open();
    harness.applyTo();
    const off = await refusal(query({ key: 'a' }));
    expect(off).to.include({ code: 'KEY_INDEX_OFF', status: status.FAILED_PRECONDITION });
  });

  it('come from the SDK, which goes on until it has what was asked for', async () => {
    const sdk = new TLedgerClient({ endpoints: [server.address] });
    try {
      const found = await sdk.query({ topic: 'T', key: 'all', countMax: 45 });
      expect(found.messages.map(({ body }) => `${body}`)).to.deep.equal(
        Array.from({ length: 45 }, (_, number) => `b${49 - number}`),
      );
      const rest = await sdk.query({ topic: 'T', key: 'all', countMax: 45, cursor: found.cursor! });
      expect(rest.messages.map(({ body }) => `${body}`)).to.deep.equal(['b4', 'b3', 'b2', 'b1', 'b0']);
      expect(rest.cursor).to.equal(null);
      const { messageId } = rest.messages[0]!;
      expect((await sdk.query({ messageId })).messages[0]!.queueOffset).to.equal(2);
      expect(await sdk.findOffset({ topic: 'T', queue: 1, timeMs: START_MS + 300 })).to.equal(1);
      for (const countMax of [0, 1.5, 100_001]) {
        const refused = await sdk.query({ topic: 'T', key: 'a', countMax }).then(
          () => 'none',
          (error) => error.code,
        );
        expect(refused).to.equal('INVALID_ARGUMENT');
      }
    } finally {
      await sdk.close();
    }
  });

  it('come from the command line', async () => {
    const found = await cli('message query --topic T --key k3 --max 2');
    expect(found.stderr).to.equal('');
    const lines = found.stdout.toString().split('\n');
    expect(lines[0]).to.match(/^2023-11-14T22:13:24.800Z {2}id=([0-9A-F]{32}) {2}0:24 {2}key=all {2}key=k3 {2}b48$/);
    expect(lines[2]).to.match(/^there may be more: go on with --cursor \d+\.\d+\.\d+$/);
    const id = /id=(\S+)/.exec(lines[0]!)![1]!;
    for (const one of [id, 'u48']) {
      const document = JSON.parse((await cli(`message query --topic T --id ${one} --format json`)).stdout.toString());
      expect(document.messages.map((stored: { offset: number }) => stored.offset)).to.deep.equal([24]);
      expect(document).to.deep.include({ cursor: null, complete: true });
    }
    const at = new Date(START_MS + 1_200).toISOString();
    const ranged = await cli(`message query --topic T --key all --from ${at} --to ${START_MS + 1_300}`);
    expect(ranged.stdout.toString().match(/b\d+$/gm)).to.deep.equal(['b13', 'b12']);
    expect((await cli('message query --topic T --key nobody')).stdout.toString()).to.equal('no such message\n');
    expect((await cli(`message read --topic T --queue 0 --from-time ${at}`)).stdout.toString()).to.match(
      /^0:6 .*b12\n$/,
    );
    const consumed = await cli(`consume --topic T --from-time ${START_MS + 4_700}`);
    expect(consumed.stdout.toString().trim().split('\n').sort()).to.deep.equal(['b47', 'b48', 'b49']);
    for (const [line, said] of [
      ['message query --topic T', "'--key' or '--id'"],
      ['message query --topic T --key a --id b', 'cannot be used with'],
      ['message query --topic T --key a --from yesterday', 'A time is expected'],
      ['message query --topic T --key a --max 0', '1 to 100000'],
      ['message read --topic T --queue 0', "'--offset' or '--from-time'"],
      ['message read --topic T --queue 0 --offset 1 --from-time 1', 'cannot be used with'],
    ] as const) {
      const wrong = await cli(line);
      expect(wrong.exitCode, line).to.equal(2);
      expect(wrong.stderr, line).to.contain(said);
    }
  });
});
