// Carrying stores over into a group in memory that fails in all the ways a group can: what arrives, and that nothing is
// lost or doubled whatever happens to either side.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { decodeMessageRecord, importProperty, type StoredMessage } from '../../src/format/message.ts';
import { run } from '../cli/harness.ts';
import { FakeGroup } from '../client/fake_server.ts';
import type { ReferenceMessage } from '../format/rocketmq_reference.ts';
import { makeStore, type StoreFixture, type StoreMessage, type StoreOptions, someMessages } from './fixture.ts';

describe('import: into a group', () => {
  let group: FakeGroup;
  let store: StoreFixture;
  let directory: string;

  beforeEach(async () => {
    group = await FakeGroup.start(3, {});
    directory = mkdtempSync(join(tmpdir(), 'tledger-import-'));
  });
  afterEach(async () => {
    await group.stop();
    rmSync(directory, { recursive: true });
    store.remove();
  });

  const make = (messages: readonly StoreMessage[], options: StoreOptions = {}) => {
    store = makeStore(messages, options);
    return store;
  };
  const at = (name: string) => join(directory, name);
  const cli = async (flags: readonly string[] = [], interrupted?: AbortSignal) => {
    const files = ['--progress-file', at('progress'), '--offsets', at('offsets')];
    const global = ['--endpoints', group.endpoints.join(','), '--format', 'json', '--no-progress', '--timeout', '5000'];
    return run(['import', store.directory, ...files, ...global, ...flags], interrupted && { interrupted });
  };
  const done = async (...flags: string[]) => {
    const { exitCode, stdout, stderr } = await cli(flags);
    expect(stderr.split('\n').filter((line) => !line.startsWith('waiting: '))).to.deep.equal(['']);
    expect(exitCode).to.equal(0);
    return JSON.parse(stdout.toString());
  };
  const failed = async (...flags: string[]) => {
    const { exitCode, stderr } = await cli(flags);
    expect(exitCode).to.be.greaterThan(0);
    const { error } = JSON.parse(stderr);
    return `${error.code}: ${error.message}`;
  };
  const held = (topic: string, queue: number): StoredMessage[] =>
    group.entries(topic, queue).map(({ record, offset }) => {
      const message = decodeMessageRecord(record, 0, record.length)!;
      expect(message.queueOffset).to.equal(offset);
      return message;
    });
  const queuesOf = (messages: readonly ReferenceMessage[]) => [
    ...new Set(messages.map((one) => `${one.topic} ${one.queueId}`)),
  ];
  /** Every message of the store is in the group once, in its queue, in order. */
  const expectAll = (messages: readonly ReferenceMessage[] = store.messages) => {
    for (const name of queuesOf(messages)) {
      const [topic, queue] = name.split(' ') as [string, string];
      const wanted = messages.filter((one) => one.topic === topic && one.queueId === Number(queue));
      expect(
        held(topic, Number(queue)).map(({ body }) => String(body)),
        name,
      ).to.deep.equal(wanted.map(({ body }) => String(body)));
    }
    expect(group.log).to.have.length(messages.length);
  };

  for (const framing of ['rocketmq', 'dledger'] as const) {
    it(`carries everything over from ${framing}, each field`, async () => {
      make(someMessages(40), { framing, fileBytes: 4_096, topics: { orders: 4, payments: 2, empty: 3 } });
      const report = await done();
      expect(report).to.deep.include({ complete: true, appended: 40, alreadyThere: 0, messages: 40 });
      expect(report.leftOut).to.deep.equal({});
      expect([...group.topics]).to.have.deep.members([
        ['orders', 4],
        ['payments', 2],
        ['empty', 3],
      ]);
      expectAll();
      const original = store.messages.find(({ topic, queueId }) => topic === 'orders' && queueId === 1)!;
      const message = held('orders', 1)[0]!;
      expect(message).to.deep.include({
        tag: 'tag1',
        keys: ['key1', 'other'],
        bornAtMs: Number(original.bornTimestamp),
      });
      expect(Object.fromEntries(message.properties)).to.deep.equal({
        UNIQ_KEY: '0A0B0C0D000000000000000000000001',
        colour: 'blau 1',
        RMQ_CLUSTER: 'DefaultCluster',
        [importProperty.origin]: `${report.storeId}.${original.physicalOffset}`,
        [importProperty.queueOffset]: '0',
        [importProperty.storeTimestamp]: String(original.storeTimestamp),
      });
      expect(readFileSync(store.fileAt(0)).length).to.equal(4_096);
    });
  }

  it('keeps flag, born host and several tags; an IPv6 host and attempts become properties', async () => {
    const bornHost = { address: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], port: 99 };
    make([
      { topic: 't', flag: 7, sysFlag: 0x2 | 0x8, bornHost: { address: [10, 1, 2, 3], port: 50_000 } },
      { topic: 't', bornHost, reconsumeTimes: 3, body: Buffer.from('two') },
    ]);
    await done();
    const record = group.entries('t', 0)[0]!.record;
    expect(record.readInt32BE(48 + 16)).to.equal(7);
    expect(record.readInt32BE(48 + 36)).to.equal(0x2);
    expect([...record.subarray(48 + 48, 48 + 52)]).to.deep.equal([10, 1, 2, 3]);
    const second = held('t', 0)[1]!.properties;
    expect(second.get('RMQ_BORN_HOST')).to.equal('[2001:db8::7]:99');
    expect(second.get('RMQ_RECONSUME_TIMES')).to.equal('3');
  });

  it('a second run appends nothing, with and without its progress file, from another place and another member', async () => {
    make(someMessages(30));
    const first = await done();
    expect(await done()).to.deep.include({ appended: 0, alreadyThere: 30 });
    const offsets = readFileSync(at('offsets'), 'utf8');
    rmSync(at('progress'));
    expect(await done()).to.deep.include({ appended: 0, alreadyThere: 30, storeId: first.storeId });
    expect(readFileSync(at('offsets'), 'utf8')).to.equal(offsets);
    group.producers.clear();
    expect(await done()).to.deep.include({ appended: 0, alreadyThere: 30 });
    expectAll();
  });

  it('messages that came to the store later are added, even when the group has forgotten the producer', async () => {
    const all = someMessages(50);
    make(all.slice(0, 30));
    await done();
    store.remove();
    make(all);
    group.producers.clear();
    expect(await done()).to.deep.include({ appended: 20, alreadyThere: 30 });
    expectAll();
    rmSync(at('progress'));
    expect(await done()).to.deep.include({ appended: 0, alreadyThere: 50 });
  });

  it('lost answers, refusals and changes of leader neither lose nor double anything', async () => {
    for (const seed of [1, 2, 3]) {
      const random = new SeededRandom(seed);
      make(
        someMessages(120, (number) => ({ queueId: number % 7, body: Buffer.alloc(90_000, `${number} `) })),
        { fileBytes: 1 << 21 },
      );
      group.onAppend = () => {
        const roll = random.between(0, 5);
        group.leaderAt = random.between(0, 2);
        return (['go on', 'apply, then drop', 'drop', 'NOT_LEADER', 'go on', 'go on'] as const)[roll]!;
      };
      const report = await done('--timeout', '20000');
      expect(report.appended).to.equal(120);
      expectAll();
      group.log.length = 0;
      group.topics.clear();
      group.producers.clear();
      rmSync(at('progress'));
      store.remove();
    }
    make(someMessages(1));
  });

  it('a lost answer, and a group that forgets who it was for before it is asked again', async () => {
    make(
      someMessages(30, (number) => ({ topic: 't', queueId: 0, body: Buffer.alloc(100_000, `${number} `) })),
      { fileBytes: 1 << 22 },
    );
    let appends = 0;
    group.onAppend = () => {
      if (++appends === 3) group.producers.clear();
      return appends === 2 ? 'apply, then drop' : 'go on';
    };
    expect((await done()).messages).to.equal(30);
    expectAll();
    expect(new Set(group.producers.keys()).size).to.equal(1);
  });

  it('interrupted anywhere, and begun again with or without its file: everything once', async () => {
    const random = new SeededRandom(7);
    make(
      someMessages(60, (number) => ({ queueId: number % 3, body: Buffer.alloc(100_000, `${number} `) })),
      { fileBytes: 1 << 22 },
    );
    for (let attempt = 0; attempt < 6; attempt++) {
      const abort = new AbortController();
      let left = random.between(0, 5);
      group.onAppend = () => {
        if (left-- <= 0) abort.abort();
        return random.between(0, 1) === 0 ? 'go on' : 'apply, then drop';
      };
      const { exitCode, stdout, stderr } = await cli([], abort.signal);
      expect([0, 130], stderr).to.include(exitCode);
      expect(JSON.parse(stdout.toString()).complete).to.equal(exitCode === 0);
      if (random.between(0, 1) === 0) rmSync(at('progress'), { force: true });
    }
    group.onAppend = () => 'go on';
    await done();
    expectAll();
  });

  it('says which offsets became which, and where each group goes on', async () => {
    const messages = someMessages(10, () => ({ topic: 'orders', queueId: 0 }));
    const skipped = { ...messages[4]!, sysFlag: 0x80 };
    const all = messages.map((one, number) => (number === 4 ? skipped : one));
    const groups = {
      'orders@early': { 0: 90 },
      'orders@middle': { 0: 103 },
      'orders@hole': { 0: 104 },
      'orders@end': { 0: 110 },
      'orders@beyond': { 0: 200, 1: 5 },
    };
    make(
      all.map((one, number) => ({ ...one, queueOffset: BigInt(100 + number) })),
      { groups },
    );
    const { groups: positions, leftOut } = await done();
    expect(leftOut['inner-batch']).to.deep.include({ count: 1, topics: { orders: 1 } });
    const document = JSON.parse(readFileSync(at('offsets'), 'utf8'));
    expect(document.queues).to.deep.equal({
      orders: {
        0: [
          [100, 0, 4],
          [105, 4, 5],
        ],
      },
    });
    const told = positions.map((one: { group: string; newOffset: number; exact: boolean }) => [
      one.group,
      one.newOffset,
      one.exact,
    ]);
    expect(told).to.deep.equal([
      ['early', 0, false],
      ['middle', 3, true],
      ['hole', 4, false],
      ['end', 9, true],
      ['beyond', 9, false],
      ['beyond', null, false],
    ]);
    expect(document.groups.middle).to.deep.equal([
      { topic: 'orders', queue: 0, oldOffset: 103, newOffset: 3, exact: true },
    ]);
  });

  it('names and counts what stays behind, and takes along what is chosen', async () => {
    make([
      ...someMessages(3, () => ({ topic: 'orders', queueId: 0 })),
      { topic: 'SCHEDULE_TOPIC_XXXX', queueId: 2 },
      { topic: 'rmq_sys_wheel_timer' },
      { topic: 'RMQ_SYS_TRANS_HALF_TOPIC', sysFlag: 0x4 },
      { topic: 'orders', sysFlag: 0xc },
      { topic: '%RETRY%g1' },
      { topic: '%DLQ%g1' },
      { topic: '%DLQ%g1' },
    ]);
    const count = ({ leftOut }: { leftOut: Record<string, { count: number }> }) =>
      Object.fromEntries(Object.entries(leftOut).map(([reason, { count: some }]) => [reason, some]));
    const left = { system: 3, transaction: 1, retry: 1, 'dead-letter': 2 };
    expect(count(await done('--dry-run'))).to.deep.equal(left);
    expect(group.topics.size).to.equal(0);
    const report = await done();
    expect(count(report)).to.deep.equal(left);
    expect(report.leftOut.system.topics).to.deep.equal({
      SCHEDULE_TOPIC_XXXX: 1,
      rmq_sys_wheel_timer: 1,
      RMQ_SYS_TRANS_HALF_TOPIC: 1,
    });
    expect(group.log).to.have.length(3);
    expect(count(await done('--include-retry', '--include-dlq'))).to.deep.equal({ system: 3, transaction: 1 });
    expect(held('%DLQ%g1', 0)).to.have.length(2);
    expect(count(await done('--topic', '%RETRY%g1'))).to.deep.equal({ system: 3, 'not-chosen': 6 });
    expect(group.log).to.have.length(6);
  });

  it('bodies in zlib are decompressed; LZ4 and ZSTD stop it, are kept or left', async () => {
    const text = Buffer.from('a body '.repeat(100));
    make([
      { topic: 't', body: deflateSync(text), sysFlag: 0x1 },
      { topic: 't', body: deflateSync(text), sysFlag: 0x301 },
      { topic: 't', body: Buffer.from('lz4'), sysFlag: 0x101 },
    ]);
    expect(await failed()).to.match(
      /INVALID_ARGUMENT: the message at position \d+ \(t, queue 0, offset 2\) has a body in LZ4/,
    );
    expect(await done('--compressed', 'skip')).to.deep.include({ appended: 2 });
    expect(held('t', 0).map(({ body }) => body)).to.deep.equal([text, text]);
    expect(await done('--compressed', 'keep')).to.deep.include({ appended: 1 });
    expect(group.entries('t', 0)[2]!.record.readInt32BE(48 + 36)).to.equal(0x101);
  });

  const refusals: readonly [string, Partial<StoreMessage>, RegExp][] = [
    ['an empty body', { body: Buffer.alloc(0) }, /BODY_EMPTY/],
    ['no zlib', { body: Buffer.from('none'), sysFlag: 1 }, /said to be in zlib format and is not/],
    [
      'a body that grows too large',
      { body: deflateSync(Buffer.alloc(5 << 20)), sysFlag: 1 },
      /more than 4194304 bytes when decompressed/,
    ],
    ['a control character in a property', { properties: [['json', '{\n}']] }, /ILLEGAL_PROPERTY/],
    ['several tags in one', { properties: [['TAGS', 'a||b']] }, /ILLEGAL_TAG/],
    ['properties that are too large', { properties: [['p', 'x'.repeat(17_000)]] }, /PROPERTIES_TOO_LARGE/],
    ['a topic that is too long', { topic: 'x'.repeat(200) }, /ILLEGAL_TOPIC/],
    ['a topic with other letters', { topic: 'a.b' }, /ILLEGAL_TOPIC/],
  ];
  for (const [what, some, reason] of refusals) {
    it(`${what}: named with its position, or left with --skip-refused`, async () => {
      make([...someMessages(2, () => ({ topic: 't', queueId: 0 })), { topic: 't', ...some }], { fileBytes: 1 << 17 });
      const text = await failed();
      expect(text).to.match(reason);
      expect(text).to.include(`the message at position ${store.places[2]!.position} (`);
      const report = await done('--skip-refused');
      expect(report.leftOut.refused.count).to.equal(1);
      expect(report.leftOut.refused.first.position).to.equal(store.places[2]!.position);
      expect(group.log).to.have.length(2);
    });
  }

  it('goes on behind damage when told so, and reports it', async () => {
    make(someMessages(20));
    const { position, sizeBytes } = store.places[5]!;
    store.harm(position, (bytes) => bytes.fill(1, 0, 50));
    expect(await failed()).to.match(/DATA_CORRUPTED: .*position \d+ has the unknown magic/);
    const report = await done('--skip-damaged');
    expect(report.damaged).to.deep.include({ count: 1, bytes: sizeBytes });
    expectAll(store.messages.filter((_, number) => number !== 5));
    const { stdout } = await run(['import', store.directory, '--dry-run', '--no-progress']);
    expect(stdout.toString()).to.match(/damaged: .*position \d+ has the unknown magic/);
  });

  it('does not mix with the messages of others, unless told so', async () => {
    group.topics.set('orders', 4);
    group.put('orders', 0, 'of others');
    make(someMessages(9, () => ({ topic: 'orders', queueId: 0 })));
    expect(await failed()).to.include(
      'INVALID_ARGUMENT: topic "orders", queue 0 holds 1 messages and none of this store: --merge',
    );
    expect(group.log).to.have.length(1);
    expect(await done('--merge')).to.deep.include({ appended: 9 });
    group.put('orders', 0, 'of others, behind');
    rmSync(at('progress'));
    expect(await done()).to.deep.include({ appended: 0, alreadyThere: 9 });
    expect(JSON.parse(readFileSync(at('offsets'), 'utf8')).queues.orders[0]).to.deep.equal([[0, 1, 9]]);
  });

  it('topics that are there with fewer queues, and queues that the store did not tell of', async () => {
    group.topics.set('orders', 1);
    make(someMessages(6), { topics: { orders: 4 }, consumeQueues: false });
    expect(await failed()).to.match(/TOPIC_EXISTS: the topic "orders" exists with 1 queues, and the store has 4/);
    group.topics.clear();
    expect(await failed()).to.match(
      /QUEUE_OUT_OF_RANGE: .* in queue 1 of topic "payments", which has 1 queues: --queues payments=2/,
    );
    group.topics.delete('payments');
    expect(await done('--queues', 'payments=2')).to.deep.include({ messages: 6 });
    expectAll();
  });

  it('a progress file of another store, and one that knows more than the group', async () => {
    make(someMessages(10));
    await done();
    const text = readFileSync(at('progress'), 'utf8');
    writeFileSync(at('progress'), text.replace(/"storeId":"[0-9a-f]*"/, '"storeId":"0000000000000000"'));
    expect(await failed()).to.match(/INVALID_ARGUMENT: the progress file .* is of storeId "0{16}", not/);
    writeFileSync(at('progress'), '{');
    expect(await failed()).to.match(/INVALID_ARGUMENT: the progress file .* cannot be read/);
    writeFileSync(at('progress'), text);
    group.log.length = 0;
    expect(await failed()).to.match(
      /DATA_LOST: topic "payments", queue 0 ends at 0, but the progress file knows messages up to/,
    );
  });

  it('two imports at once do not double anything: one of them is told', async () => {
    make(
      someMessages(40, (number) => ({ queueId: 0, topic: 't', body: Buffer.alloc(150_000, `${number} `) })),
      { fileBytes: 1 << 23 },
    );
    group.topics.set('t', 1);
    const files = ['--progress-file', at('other'), '--offsets', at('other-offsets')];
    const both = await Promise.all([cli(), cli(files)]);
    expect(both.map(({ exitCode }) => exitCode)).to.include(0);
    expectAll();
  });

  it('text for people', async () => {
    make(someMessages(3), { abort: true, groups: { 'orders@g': { 0: 1 } } });
    const { stdout } = await run(['import', store.directory, '--dry-run', '--no-progress']);
    expect(stdout.toString()).to.equal(
      `${store.directory}: a store of RocketMQ, not stopped cleanly, offsets of 1 consumer groups\n` +
        'TOPIC     QUEUE  MESSAGES  OFFSETS\npayments      0         1      0-0\norders        0         1      0-0\norders        1         1      0-0\n',
    );
    const global = ['--endpoints', group.endpoints.join(','), '--no-progress'];
    const files = ['--progress-file', at('p'), '--offsets', at('o')];
    const imported = await run(['import', store.directory, ...global, ...files]);
    expect(imported.stdout.toString()).to.match(/^3 appended, 0 were there, \d+ m?s, [\d,]+ messages\/s\nTOPIC/);
    expect(imported.stdout.toString()).to.include(`offsets: ${at('o')}\n`);
    expect(existsSync(at('p'))).to.equal(true);
  });
});
