// Consume and WatchMetadata: streams that go on for ever, as fast as the client reads and no faster.
import { connect } from 'node:http2';
import { expect } from 'chai';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { term } from '../../src/raft/types.ts';
import { UNSENT_BYTES_MAX } from '../../src/rpc/consume.ts';
import type { ConsumeResponse, MetadataResponse } from '../../src/wire/ledger_messages.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { failureOf, type Harness, ledgerService, openConsume, openWatch, startHarness, until } from './harness.ts';

const consumeOf = (more: object = {}) => ({
  topic: 'orders',
  positions: [],
  start: 'EARLIEST' as const,
  maxBytes: 0,
  packed: false,
  ...more,
});

describe('Consume', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  function store(body: string | Buffer, queueId = 0): void {
    const records = encodeMessageRecord({ topic: 'orders', queueId, body: Buffer.from(body), bornAtMs: 1 });
    harness.gateway.fake.store({ topic: 'orders', queueId, producerId: '', sequence: 0, records });
  }

  function open(more: object = {}) {
    const stream = openConsume(harness.client, consumeOf(more));
    const responses: ConsumeResponse[] = [];
    let failure: unknown;
    stream.on('data', (response) => responses.push(response));
    stream.on('error', (error) => {
      failure = error;
    });
    const bodies = () => responses.flatMap(({ queue, messages }) => messages.map((one) => `${queue}:${one.body}`));
    return { stream, responses, bodies, failure: () => failure };
  }

  it('reads all queues from the start, each in order, and goes on with what comes', async () => {
    for (const body of ['a', 'b', 'c']) for (const queue of [0, 1, 2, 3]) store(body, queue);
    const { stream, bodies, responses } = open();
    await until(() => bodies().length === 12, 'all have come');
    store('d', 2);
    await until(() => bodies().length === 13, 'the new one has come');
    for (const queue of [0, 1, 2, 3]) {
      const own = bodies().filter((body) => body.startsWith(`${queue}:`));
      expect(own.map((body) => body.slice(2))).to.deep.equal(queue === 2 ? ['a', 'b', 'c', 'd'] : ['a', 'b', 'c']);
    }
    expect(responses.at(-1)).to.include({ queue: 2, count: 1, firstOffset: '3', nextOffset: '4', maxOffset: '4' });
    stream.cancel();
  });

  it('reads what comes while it reads', async () => {
    store('a', 1);
    const reads: (() => void)[] = [];
    harness.gateway.fake.onRead = () => new Promise((resolve) => reads.push(resolve));
    const { stream, bodies } = open();
    await until(() => reads.length === 1, 'it reads');
    // The answer is made, and does not hold this one.
    store('b', 1);
    reads[0]!();
    await until(() => reads.length === 2, 'it reads again');
    reads[1]!();
    await until(() => bodies().length === 2, 'both have come');
    expect(bodies()).to.deep.equal(['1:a', '1:b']);
    stream.cancel();
  });

  it('looks only at queues that got something, however many there are', async () => {
    harness.gateway.fake.addQueues('orders', 500);
    const { stream, bodies } = open();
    const looks = new Map<number, number>();
    const { fake } = harness.gateway;
    const range = fake.range.bind(fake);
    fake.range = (topic, queueId) => {
      looks.set(queueId, (looks.get(queueId) ?? 0) + 1);
      return range(topic, queueId);
    };
    await until(() => looks.size === 500, 'all have been looked at');
    looks.clear();
    for (const body of ['a', 'b', 'c']) {
      store(body, 7);
      await until(() => bodies().at(-1) === `7:${body}`, `${body} has come`);
    }
    expect([...looks.keys()]).to.deep.equal([7]);
    stream.cancel();
  });

  it('reads queues that the topic gets meanwhile, and those that are not named, when it is asked to', async () => {
    const before = harness.gateway.listeners.size;
    for (const queue of [0, 1, 2, 3]) store('old', queue);
    const positions = [0, 1, 2].map((queue) => ({ queue, offset: '1' }));
    const { stream, bodies, responses } = open({ positions, newQueues: true });
    const named = open({ positions });
    await until(() => bodies().length === 1, 'the queue that is not named is read');
    // A topic of lite topics gets queues without anybody being told, as their first messages come.
    harness.gateway.fake.addQueues('orders', 6);
    store('a', 5);
    await until(() => bodies().length === 2, 'the new queue is read');
    store('b', 4);
    store('c', 5);
    store('d', 0);
    await until(() => bodies().length === 5 && named.bodies().length === 1, 'it goes on');
    expect(bodies().sort()).to.deep.equal(['0:d', '3:old', '4:b', '5:a', '5:c']);
    expect(responses.find(({ queue }) => queue === 5)).to.include({ firstOffset: '0', nextOffset: '1' });
    expect(named.bodies()).to.deep.equal(['0:d']);
    harness.gateway.fake.addQueues('orders', 7);
    harness.gateway.changed();
    // Six, and one of the topic, beside the three of the other stream.
    await until(() => harness.gateway.fake.listenerCount === 7 + 1 + 3, 'it follows a queue that is still empty');
    stream.cancel();
    named.stream.cancel();
    await until(() => harness.gateway.fake.listenerCount === 0, 'its queues are forgotten');
    expect(harness.gateway.listeners.size).to.equal(before);
  });

  it('says that a queue is not there only after catching up', async () => {
    harness.gateway.onBarrier = () => harness.gateway.fake.addQueues('orders', 9);
    const positions = [{ queue: 8, offset: '0' }];
    const { stream, bodies } = open({ positions });
    await until(() => harness.gateway.barriers === 1, 'it has caught up');
    await until(() => harness.gateway.fake.listenerCount > 0, 'it waits for messages');
    store('a', 8);
    await until(() => bodies().length === 1, 'it reads');
    stream.cancel();
    const refused = open({ positions: [{ queue: 9, offset: '0' }] });
    await until(() => refused.failure() !== undefined, 'it is refused');
    expect(failureOf(refused.failure())).to.include({ code: 'QUEUE_OUT_OF_RANGE' });
  });

  it('takes queues in turn, so that a full one does not starve the others', async () => {
    for (let count = 0; count < 50; count++) store('x'.repeat(1000), 0);
    store('y', 3);
    const { stream, responses, bodies } = open({ maxBytes: 2000 });
    await until(() => bodies().includes('3:y'), 'the other queue is heard');
    const at = responses.findIndex(({ queue }) => queue === 3);
    expect(at).to.be.lessThan(4);
    stream.cancel();
  });

  it('tells who is far behind where to go on, and goes on itself', async () => {
    await harness[Symbol.asyncDispose]();
    harness = await startHarness({ coldBacklogBytes: 1_000 });
    const [self, other] = harness.gateway.members.members;
    harness.gateway.setLeader({ ...self!, term: term(3) });
    harness.gateway.replication = () => new Map([[other!.nodeId, 'replicate']]);
    for (let count = 0; count < 3; count++) store('x'.repeat(500));
    harness.gateway.fake.backlogBytes = 1_001;
    const { stream, responses } = open({ maxBytes: 500 });
    await until(() => responses.length === 3, 'all have come');
    const { nodeId, clientAddress } = other!;
    expect(responses.map(({ readFrom }) => readFrom)).to.deep.equal(Array(3).fill({ nodeId, clientAddress }));
    harness.gateway.fake.backlogBytes = 0;
    store('y');
    await until(() => responses.length === 4, 'it goes on');
    expect(responses[3]!.readFrom).to.equal(null);
    stream.cancel();
  });

  it('starts where it is told, queue by queue', async () => {
    for (const body of ['a', 'b', 'c']) for (const queue of [0, 1]) store(body, queue);
    const { stream, bodies } = open({ positions: [{ queue: 1, offset: '2' }] });
    await until(() => bodies().length > 0, 'it begins');
    store('other', 0);
    store('d', 1);
    await until(() => bodies().length === 2, 'the new one has come');
    expect(bodies()).to.deep.equal(['1:c', '1:d']);
    stream.cancel();
  });

  it('starts at the latest message of the group, not of this replica', async () => {
    store('old');
    harness.gateway.onBarrier = () => store('committed elsewhere');
    const { stream, bodies, responses } = open({ start: 'LATEST' });
    await until(() => harness.gateway.fake.listenerCount === 4, 'it listens');
    store('new');
    await until(() => bodies().length > 0, 'the new one has come');
    expect(bodies()).to.deep.equal(['0:new']);
    expect(responses[0]!.firstOffset).to.equal('2');
    stream.cancel();
  });

  for (const reads of ['later', 'never'] as const)
    it(`does not read ahead of a client that reads ${reads}`, async () => {
      const body = Buffer.alloc(1024 * 1024);
      for (let count = 0; count < 64; count++) store(body, count % 4);
      let pulled = 0;
      const pull = harness.gateway.fake.pull.bind(harness.gateway.fake);
      harness.gateway.fake.pull = (request) => {
        const result = pull(request);
        pulled += result.records.length;
        return result;
      };
      // Node's own client: grpc-js reads ahead without bound until somebody reads from it.
      const windowBytes = 1024 * 1024;
      const session = connect(`http://${harness.address}`, { settings: { initialWindowSize: windowBytes } });
      try {
        const { path, requestSerialize } = ledgerService.consume;
        const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
        const stream = session.request(headers);
        const payload = requestSerialize(consumeOf());
        const head = Buffer.alloc(5);
        head.writeUInt32BE(payload.length, 1);
        stream.end(Buffer.concat([head, payload]));
        await until(() => pulled > 0, 'it begins');
        await new Promise((resolve) => setTimeout(resolve, 300));
        expect(pulled).to.be.lessThan(UNSENT_BYTES_MAX + windowBytes + 2 * body.length);
        if (reads === 'never') {
          const time = new WorkingTime();
          await harness.stopServer(10_000);
          expect(time.end(), 'stopping waits for no slow reader').to.be.lessThan(3_000);
          return;
        }
        let received = 0;
        stream.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
        await until(() => received > 64 * body.length, 'all has come after all');
      } finally {
        session.destroy();
      }
    });

  it('leaves nothing behind when the client goes, reading or waiting', async () => {
    const { stream } = open();
    await until(() => harness.gateway.fake.listenerCount === 4, 'it listens');
    stream.cancel();
    await until(() => harness.gateway.fake.listenerCount === 0, 'it is forgotten');
  });

  it('ends with SHUTTING_DOWN when the server stops', async () => {
    const { failure } = open();
    await until(() => harness.gateway.fake.listenerCount === 4, 'it listens');
    await harness.stopServer();
    await until(() => failure() !== undefined, 'it ends');
    expect(failureOf(failure()).code).to.equal('SHUTTING_DOWN');
  });
});

describe('WatchMetadata', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  function open() {
    const stream = openWatch(harness.client);
    const seen: MetadataResponse[] = [];
    let failure: unknown;
    stream.on('data', (response) => seen.push(response));
    stream.on('error', (error) => {
      failure = error;
    });
    return { stream, seen, failure: () => failure };
  }

  it('tells the state now and after each change', async () => {
    const { stream, seen } = open();
    await until(() => seen.length === 1, 'the state comes');
    expect(seen[0]).to.deep.include({ cluster: 'tledger', group: 'g0', nodeId: 'n0' });
    expect(seen[0]!.leader).to.deep.equal({ nodeId: 'n1', clientAddress: '127.0.0.1:8082', term: '3' });
    expect(seen[0]!.members.map((member) => member.nodeId)).to.deep.equal(['n0', 'n1', 'n2']);
    expect(seen[0]!.topics[0]).to.deep.include({ name: 'orders', queues: 4 });
    harness.gateway.setLeader(null);
    await until(() => seen.at(-1)?.leader === null, 'the loss is told');
    harness.gateway.setLeader({ nodeId: 'n2', clientAddress: '127.0.0.1:8083', term: term(4) });
    await until(() => seen.at(-1)?.leader?.nodeId === 'n2', 'the new leader is told');
    stream.cancel();
    await until(() => harness.gateway.listeners.size === 1, 'it is forgotten');
  });

  it('makes one answer of many changes', async () => {
    const { stream, seen } = open();
    await until(() => seen.length === 1, 'the state comes');
    for (let count = 0; count < 1000; count++) harness.gateway.changed();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(seen.length).to.be.within(2, 4);
    stream.cancel();
  });

  it('ends with SHUTTING_DOWN when the server stops', async () => {
    const { seen, failure } = open();
    await until(() => seen.length === 1, 'the state comes');
    await harness.stopServer();
    await until(() => failure() !== undefined, 'it ends');
    expect(failureOf(failure()).code).to.equal('SHUTTING_DOWN');
  });
});
