// Reading: each message of a queue once and in order, whatever lies between the records and whichever node breaks off.
import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { TLedgerClient } from '../../src/client/client.ts';
import type { ConsumeOptions } from '../../src/client/options.ts';
import { messagesIn } from '../../src/client/received.ts';
import type { StoredMessage } from '../../src/format/message.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { until } from '../rpc/harness.ts';
import { FakeGroup } from './fake_server.ts';

describe('client: records received', () => {
  const group = new FakeGroup();
  for (let at = 0; at < 4; at++) {
    group.put('t', 0, `a${at}`);
    group.put('t', 1, `b${at}`);
    group.put('u', 0, `c${at}`);
  }
  const all = Buffer.concat(group.log.map(({ record }) => record));
  const wanted = { topic: 't', queue: 0, offset: 0 };
  const bodies = (messages: readonly StoredMessage[]) => messages.map(({ body }) => String(body));

  it('skips records of other queues, other topics and other kinds', () => {
    const noop = blankRecord(recordMagic.noop, Buffer.from('x'));
    expect(bodies(messagesIn(Buffer.concat([noop, all, noop]), wanted))).to.deep.equal(['a0', 'a1', 'a2', 'a3']);
    expect(bodies(messagesIn(all, { topic: 't', queue: 1, offset: 0 }))).to.deep.equal(['b0', 'b1', 'b2', 'b3']);
    expect(bodies(messagesIn(all, { topic: 'u', queue: 0, offset: 0 }))).to.deep.equal(['c0', 'c1', 'c2', 'c3']);
  });

  it('skips what was seen before', () => {
    expect(bodies(messagesIn(all, { ...wanted, offset: 2 }))).to.deep.equal(['a2', 'a3']);
    expect(messagesIn(all, { ...wanted, offset: 4 })).to.deep.equal([]);
  });

  it('refuses a gap', () => {
    const holed = Buffer.concat(group.log.filter((_, at) => at !== 3).map(({ record }) => record));
    expect(() => messagesIn(holed, wanted))
      .to.throw(TLedgerError, 'topic "t", queue 0: offset 1 is missing')
      .with.property('code', 'DATA_CORRUPTED');
  });

  it('refuses a body that does not match its checksum', () => {
    const damaged = Buffer.from(all);
    damaged[damaged.indexOf('a2')] = 0x7a;
    expect(() => messagesIn(damaged, wanted)).to.throw(TLedgerError, 'the body at offset 2');
  });

  it('meets any other bytes with DATA_CORRUPTED or the same messages, never with anything else', () => {
    const flips = fc.array(fc.tuple(fc.nat(all.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(flips, fc.nat(all.length), (changes, cut) => {
        const damaged = Buffer.from(all.subarray(0, changes.length > 2 ? cut : all.length));
        for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
        try {
          const found = messagesIn(damaged, wanted);
          expect(found.map(({ queueOffset }) => queueOffset as number)).to.deep.equal(found.map((_, at) => at));
        } catch (error) {
          expect((error as TLedgerError).code).to.equal('DATA_CORRUPTED');
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('client: consumer', () => {
  let group: FakeGroup;
  let client: TLedgerClient;

  async function start(nodes = 1): Promise<void> {
    group = await FakeGroup.start(nodes);
    client = new TLedgerClient({ endpoints: group.endpoints, timeoutMs: 20_000 });
  }

  /** Fills the queues of `t` round robin, with other topics' messages between. */
  function fill(count: number, queues = 4): void {
    group.topics.set('other', 1);
    for (let at = 0; at < count; at++) {
      group.put('t', at % queues, `m${at}`);
      if (at % 3 === 0) group.put('other', 0, `x${at}`);
    }
  }

  async function read(
    options: Omit<ConsumeOptions, 'topic'>,
    count = Number.POSITIVE_INFINITY,
  ): Promise<StoredMessage[]> {
    const found: StoredMessage[] = [];
    for await (const message of client.consume({ topic: 't', ...options })) {
      found.push(message);
      if (found.length >= count) break;
    }
    return found;
  }

  function ofQueue(messages: readonly StoredMessage[], queue: number): string[] {
    return messages.filter(({ queueId }) => queueId === queue).map(({ body }) => String(body));
  }

  function expectAll(messages: readonly StoredMessage[]): void {
    for (const queue of [0, 1, 2, 3]) expect(ofQueue(messages, queue)).to.deep.equal(group.bodies('t', queue));
  }

  afterEach(async () => {
    await group.stop();
    await client.close();
  });

  it('reads all queues to their end, each in order', async () => {
    await start();
    fill(50);
    expectAll(await read({ untilEnd: true }));
  });

  it('ends at once on an empty topic when it is to read to the end', async () => {
    await start();
    expect(await read({ untilEnd: true })).to.deep.equal([]);
  });

  describe('from a node that lags', () => {
    beforeEach(async () => {
      await start();
      fill(40, 1);
      group.nodes[0]!.lagsAt = 10;
    });

    it('reads to the end that the group has', async () => {
      expect(ofQueue(await read({ untilEnd: true }), 0)).to.have.length(40);
    });

    it('begins at the latest message that the group has', async () => {
      const latest = read({ from: 'latest' }, 1);
      // Again, should the reader not have begun yet.
      const timer = setInterval(() => group.put('t', 0, 'new'), 50);
      const found = await latest.finally(() => clearInterval(timer));
      expect(found.map(({ body }) => String(body))).to.deep.equal(['new']);
    });

    it('reads without a leader what the node knows, if that is enough', async () => {
      group.lead(undefined);
      const impatient = new TLedgerClient({ endpoints: group.endpoints, timeoutMs: 1_000 });
      const reading = impatient.consume({ topic: 't', untilEnd: true }).next();
      expect(await reading.catch((error: TLedgerError) => error.code)).to.equal('NO_LEADER');
      await impatient.close();
      const known = await client.admin.topic('t', { stale: true });
      const max = Number(known.ranges[0]!.maxOffset);
      expect(max).to.be.within(1, 10);
      expect(ofQueue(await read({ untilEnd: true, stale: true }), 0)).to.have.length(max);
    });
  });

  it('takes a node for lagging that does not have the beginning yet, if the group has it', async () => {
    await start(2);
    fill(20, 1);
    let responses = 0;
    group.onConsume = () => (++responses === 1 ? 'OFFSET_OUT_OF_RANGE' : 'go on');
    expect(ofQueue(await read({ queues: [0], from: 19, untilEnd: true }), 0)).to.deep.equal(['m19']);
  });

  it('ends where the queue ended when reading began, though more has come', async () => {
    await start();
    fill(20, 1);
    group.onConsume = () => {
      if (group.entries('t', 0).length < 40) for (let at = 0; at < 20; at++) group.put('t', 0, 'late');
      return 'go on';
    };
    expect(ofQueue(await read({ untilEnd: true }), 0)).to.deep.equal(group.bodies('t', 0).slice(0, 20));
  });

  it('begins at an offset, at the latest message, or where told queue by queue', async () => {
    await start();
    fill(40);
    expect(ofQueue(await read({ queues: [1], from: 7, untilEnd: true }), 1)).to.deep.equal(['m29', 'm33', 'm37']);
    const some = await read({ positions: new Map([[2, 9]]), untilEnd: true });
    expect(some.map(({ body }) => String(body))).to.deep.equal(['m38']);
    const before = group.nodes[0]!.readers;
    const latest = read({ from: 'latest' }, 2);
    await until(() => group.nodes[0]!.readers > before, 'it reads');
    group.put('t', 3, 'new');
    group.put('t', 0, 'newer');
    expect((await latest).map(({ body }) => String(body)).sort()).to.deep.equal(['new', 'newer']);
  });

  it('goes on with what comes', async () => {
    await start();
    fill(10, 1);
    const reading = read({ queues: [0] }, 15);
    for (let at = 0; at < 5; at++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      group.put('t', 0, `later${at}`);
    }
    expect(ofQueue(await reading, 0)).to.deep.equal(group.bodies('t', 0));
  });

  it('tells tags, keys and times as they were stored', async () => {
    await start();
    const producer = client.producer();
    await producer.send({
      topic: 't',
      queue: 0,
      body: Buffer.from([0xff, 0]),
      tag: 'x',
      keys: ['a', 'b'],
      properties: { p: 'q' },
      bornAtMs: 77,
    });
    const [message] = await read({ untilEnd: true });
    expect(message).to.deep.include({ queueId: 0, queueOffset: 0, tag: 'x', keys: ['a', 'b'], bornAtMs: 77 });
    expect([...message!.properties]).to.deep.equal([['p', 'q']]);
    expect(message!.body).to.deep.equal(Buffer.from([0xff, 0]));
    expect(JSON.parse(JSON.stringify(message))).to.deep.include({
      topic: 't',
      tag: 'x',
      keys: ['a', 'b'],
      bornAtMs: 77,
    });
    expect({ ...message! }).to.have.all.keys('topic', 'queueId', 'queueOffset', 'body');
    expect(inspect(message)).to.include("tag: 'x'");
  });

  for (const failure of ['drop', 'SHUTTING_DOWN', 'NO_LEADER', 'OFFSET_OUT_OF_RANGE'] as const) {
    it(`goes on behind the last message after ${failure}, without gap or repeat`, async () => {
      await start(2);
      fill(60);
      let responses = 0;
      group.onConsume = () => (++responses % 4 === 0 ? failure : 'go on');
      expectAll(await read({ untilEnd: true }));
    });
  }

  for (const seed of [1, 2]) {
    it(`misses and repeats nothing while nodes die and come back (seed ${seed})`, async () => {
      await start(3);
      fill(60);
      const random = new SeededRandom(seed);
      group.onConsume = (node) => {
        if (random.next() < 0.1) {
          setImmediate(() => node.kill());
          setTimeout(() => void node.start(), 30);
        }
        return random.next() < 0.1 ? 'drop' : 'go on';
      };
      expectAll(await read({ untilEnd: true }));
    });
  }

  it('goes elsewhere when a node sends damaged records', async () => {
    await start(2);
    fill(20, 1);
    const honest = group.packed.bind(group);
    let damaged = 0;
    group.packed = (...args) => {
      const records = Buffer.from(honest(...args));
      if (++damaged === 2) records[records.length - 60] = (records[records.length - 60]! + 1) & 0xff;
      return records;
    };
    expect(ofQueue(await read({ untilEnd: true }), 0)).to.deep.equal(group.bodies('t', 0));
  });

  it('gives up when every answer is damaged', async () => {
    await start();
    fill(5, 1);
    group.packed = () => Buffer.from('no records at all');
    const failure = await read({ untilEnd: true }).catch((error: TLedgerError) => error.code);
    expect(failure).to.equal('DATA_CORRUPTED');
  });

  const refusals: readonly (readonly [string, ConsumeOptions, string])[] = [
    ['an unknown topic', { topic: 'nowhere' }, 'TOPIC_NOT_FOUND'],
    ['a queue out of range', { topic: 't', queues: [4] }, 'QUEUE_OUT_OF_RANGE'],
    ['an offset beyond the end', { topic: 't', queues: [0], from: 11 }, 'OFFSET_OUT_OF_RANGE'],
    ['a start that is no offset', { topic: 't', queues: [0], from: -1 }, 'INVALID_ARGUMENT'],
  ];
  for (const [what, options, code] of refusals) {
    it(`refuses ${what}: ${code}`, async () => {
      await start();
      fill(10, 1);
      const reading = client.consume(options).next();
      expect(await reading.catch((error: TLedgerError) => error.code)).to.equal(code);
    });
  }

  it('fails with UNREACHABLE when no node could go on for long enough', async () => {
    await start();
    fill(6, 1);
    group.onConsume = (node, sent) => {
      if (sent === 1) setImmediate(() => node.kill());
      return sent === 1 ? 'drop' : 'go on';
    };
    const failure = await read({ resumeTimeoutMs: 200 }).catch((error: TLedgerError) => error.code);
    expect(failure).to.equal('UNREACHABLE');
  });

  describe('whose messages are deleted meanwhile', () => {
    const bodiesOf = async (options: Omit<ConsumeOptions, 'topic'>): Promise<string[]> => {
      const bodies: string[] = [];
      for await (const { body } of client.consume({ topic: 't', queues: [0], untilEnd: true, ...options })) {
        bodies.push(String(body));
      }
      return bodies;
    };

    beforeEach(async () => {
      await start();
      for (let at = 0; at < 9; at++) group.put('t', 0, `m${at}`);
    });

    it('goes on behind them if it wants whatever is first, and has seen nothing yet', async () => {
      let answers = 0;
      group.onConsume = () => {
        // They were there when the reader asked where to begin.
        if (++answers === 1) group.minOffset = 4;
        return answers === 1 ? 'OFFSET_OUT_OF_RANGE' : 'go on';
      };
      expect(await bodiesOf({})).to.deep.equal(['m4', 'm5', 'm6', 'm7', 'm8']);
    });

    it('ends at once when all that it wanted is gone', async () => {
      let answers = 0;
      group.onConsume = () => {
        if (++answers > 1) return 'go on';
        group.minOffset = 9;
        return 'OFFSET_OUT_OF_RANGE';
      };
      expect(await bodiesOf({})).to.deep.equal([]);
    });

    for (const [who, options, read] of [
      ['has seen some of them', {}, 3],
      ['wants to begin at one of them', { from: 1 }, 0],
      ['wants to begin there queue by queue', { positions: new Map([[0, 1]]) }, 0],
    ] as const) {
      it(`fails, and says which, if it ${who}`, async () => {
        group.onConsume = (_node, sent) => {
          if (sent < (read > 0 ? 1 : 0)) return 'go on';
          group.minOffset = 5;
          return 'OFFSET_OUT_OF_RANGE';
        };
        const time = new WorkingTime();
        const error = await bodiesOf(options).catch((failure: TLedgerError) => failure);
        expect(error).to.have.property('code', 'OFFSET_OUT_OF_RANGE');
        const first = read > 0 ? read : 1;
        expect((error as TLedgerError).message).to.equal(
          `messages ${first} to 4 of queue 0 of topic "t" were deleted before they were read`,
        );
        expect(time.end()).to.be.below(5_000);
      });
    }
  });

  describe('that is advised to read elsewhere', () => {
    const count = 30;
    /** Which node gave how many responses, in order. */
    let served: [string, number][];

    beforeEach(async () => {
      await start(3);
      for (let at = 0; at < count; at++) group.put('t', 0, `m${at}`);
      served = [];
      group.onConsume = (node) => {
        if (served.at(-1)?.[0] === node.id) served.at(-1)![1]++;
        else served.push([node.id, 1]);
        return 'go on';
      };
      await connected();
    });

    /** All nodes have been asked who they are: advice to go to a stranger is followed later. */
    async function connected(): Promise<void> {
      const [, second] = group.nodes;
      group.adviseFrom = (node) => (node === second ? null : addressOf(second!));
      for (let round = 0; round < 100 && served.at(-1)?.[0] !== second!.id; round++) await read();
      served.length = 0;
    }

    const addressOf = ({ id, address }: { id: string; address: string }) => ({ nodeId: id, clientAddress: address });

    /** Slowly, for fake nodes send everything that they have at once. */
    async function read(): Promise<string[]> {
      const found: string[] = [];
      for await (const { messages } of client.consumeBatches({ topic: 't', queues: [0], untilEnd: true })) {
        found.push(...messages.map(({ body }) => String(body)));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return found;
    }

    const everything = Array.from({ length: count }, (_, at) => `m${at}`);

    it('goes there, and back when it is told to, and misses nothing', async () => {
      const [leader, follower] = group.nodes;
      group.adviseFrom = (node, offset) => {
        if (node === leader) return offset >= 6 && offset < 20 ? addressOf(follower!) : null;
        return offset >= 20 ? addressOf(leader!) : null;
      };
      expect(await read()).to.deep.equal(everything);
      expect(served.map(([id]) => id)).to.deep.equal([leader!.id, follower!.id, leader!.id]);
    });

    it('goes back by itself when the member fails, and is not sent there again at once', async () => {
      const [leader, follower] = group.nodes;
      group.adviseFrom = (node) => (node === leader ? addressOf(follower!) : null);
      const note = group.onConsume;
      let refused = 0;
      group.onConsume = (node, sent) => {
        if (node === follower) return ++refused > 0 ? 'STORAGE_FAILED' : 'go on';
        return note(node, sent);
      };
      expect(await read()).to.deep.equal(everything);
      expect(refused).to.equal(1);
      expect(served.map(([id]) => id)).to.deep.equal([leader!.id]);
    });

    it('stays where it is when nobody is there', async () => {
      group.adviseFrom = () => ({ nodeId: 'n7', clientAddress: '127.0.0.1:1' });
      expect(await read()).to.deep.equal(everything);
      group.adviseFrom = () => ({ nodeId: 'n7', clientAddress: group.nodes[1]!.address });
      expect(await read(), 'somebody else answers there').to.deep.equal(everything);
      expect(served.map(([id]) => id)).to.deep.equal([group.nodes[0]!.id]);
    });
  });

  it('ends quietly when aborted', async () => {
    await start();
    fill(10, 1);
    const abort = new AbortController();
    const found: string[] = [];
    for await (const message of client.consume({ topic: 't', signal: abort.signal })) {
      found.push(String(message.body));
      if (found.length === 10) setTimeout(() => abort.abort(), 10);
    }
    expect(found).to.have.length(10);
  });

  it('pulls a part of a queue', async () => {
    await start();
    fill(40);
    const { messages, ...rest } = await client.pull({ topic: 't', queue: 1, offset: 8 });
    expect(messages.map(({ body }) => String(body))).to.deep.equal(['m33', 'm37']);
    expect(rest).to.deep.equal({ nextOffset: 10, minOffset: 0, maxOffset: 10 });
    const beyond = client.pull({ topic: 't', queue: 1, offset: 11 });
    expect(await beyond.catch((error: TLedgerError) => error.code)).to.equal('OFFSET_OUT_OF_RANGE');
  });
});
