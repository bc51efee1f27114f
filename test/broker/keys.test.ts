// Messages found by key: everything that was applied is found, nothing else is, newest first, in bounded steps, whatever
// happened to the files.
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { offsetByTime } from '../../src/broker/offset_by_time.ts';
import type { KeyQuery, KeyQueryResult } from '../../src/broker/types.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { messageIdOf } from '../../src/format/message_id.ts';
import { keyHash } from '../../src/format/message_keys.ts';
import { physicalOffset } from '../../src/format/record.ts';
import { codeOf, FakeLog, Harness, KEY_DIRECTORY, message, messagesOf, START_MS } from './fixture.ts';

const LAYOUT = { slots: 7, entriesMax: 5 };
const SEGMENT_BYTES = 1_024;

interface Sent {
  readonly body: string;
  readonly keys: readonly string[];
  readonly uniqueKey?: string;
  readonly topic?: string;
}

function start(some: { layout?: typeof LAYOUT; segmentSizeBytes?: number } = {}): Promise<Harness> {
  const log = new FakeLog(some.segmentSizeBytes ?? SEGMENT_BYTES);
  return Harness.start({ log, keyLayout: some.layout ?? LAYOUT });
}

function send(harness: Harness, ...messages: Sent[]): void {
  for (const { body, keys, uniqueKey, topic = 'T' } of messages) {
    const record = encodeMessageRecord(message({ topic, body: Buffer.from(body), keys, uniqueKey }));
    harness.append({ topic, queueId: 0, producerId: '', sequence: 1, records: record });
  }
}

/** `count` messages with the bodies p0, p1 …; message n has the keys `all`, `k<n mod 5>` and the unique id `u<n>`. */
function sendMany(harness: Harness, count: number, prefix = 'p'): void {
  for (let number = 0; number < count; number++) {
    send(harness, { body: `${prefix}${number}`, keys: ['all', `k${number % 5}`], uniqueKey: `u${prefix}${number}` });
    harness.nowMs += 100;
  }
}

const query = (some: Partial<KeyQuery>): KeyQuery => ({
  topic: 'T',
  by: 'key',
  key: 'all',
  beginMs: 0,
  endMs: Number.MAX_SAFE_INTEGER,
  countMax: 1_000,
  bytesMax: 1 << 20,
  cursor: '',
  ...some,
});

const bodiesOf = (result: KeyQueryResult): string[] => messagesOf({ ...result } as never).map((one) => `${one.body}`);

/** Bodies of all that is found, page by page. */
function find(harness: Harness, some: Partial<KeyQuery>): string[] {
  const found: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const result: KeyQueryResult = harness.broker.keys.query(query({ ...some, cursor }));
    found.push(...bodiesOf(result));
    cursor = result.cursor;
  }
  return found;
}

const numbered = (count: number, prefix = 'p', step = 1, first = 0): string[] =>
  Array.from({ length: count }, (_, number) => `${prefix}${number}`)
    .filter((_, number) => number % step === first)
    .reverse();

/** What the log says about messages 0 … count - 1 of `sendMany` is what is found. */
function expectAll(harness: Harness, count: number): void {
  expect(find(harness, { key: 'all' })).to.deep.equal(numbered(count));
  for (let key = 0; key < 5; key++)
    expect(find(harness, { key: `k${key}` })).to.deep.equal(numbered(count, 'p', 5, key));
  for (let number = 0; number < count; number++) {
    expect(find(harness, { by: 'unique id', key: `up${number}` })).to.deep.equal([`p${number}`]);
  }
  for (const key of ['k', 'k5', 'al', 'T#all', '']) expect(find(harness, { key })).to.deep.equal([]);
}

async function buildAll(harness: Harness): Promise<void> {
  while (await harness.broker.keys.index!.build());
}

function keyFiles(harness: Harness): Record<string, string> {
  const files = harness.disk.files().filter((path) => path.startsWith(`${KEY_DIRECTORY}/`));
  return Object.fromEntries(
    files.map((path) => [path.slice(KEY_DIRECTORY.length + 1), harness.disk.bytes(path).toString('hex')]),
  );
}

describe('messages by key', () => {
  it('are found over many files, newest first', async () => {
    const harness = await start();
    sendMany(harness, 60);
    expectAll(harness, 60);
    expect(Object.keys(keyFiles(harness)).length).to.be.greaterThan(10);
  });

  it('are found whatever the size of the pages, each once', async () => {
    const harness = await start();
    sendMany(harness, 40);
    for (const countMax of [1, 2, 3, 7, 39, 40, 41]) {
      expect(find(harness, { countMax }), `${countMax} a page`).to.deep.equal(numbered(40));
      const first = harness.broker.keys.query(query({ countMax }));
      expect(first.count).to.equal(Math.min(countMax, 40));
      expect(first.cursor === null, 'more').to.equal(countMax >= 40);
    }
    expect(find(harness, { bytesMax: 1 })).to.deep.equal(numbered(40));
  });

  it('are found within a time range, both ends included', async () => {
    const harness = await start();
    sendMany(harness, 40);
    const at = (number: number): number => START_MS + 100 * number;
    expect(find(harness, { beginMs: at(10), endMs: at(19) })).to.deep.equal(numbered(20).slice(0, 10));
    expect(find(harness, { beginMs: at(10), endMs: at(10) })).to.deep.equal(['p10']);
    expect(find(harness, { beginMs: at(10) + 1, endMs: at(11) - 1 })).to.deep.equal([]);
    expect(find(harness, { endMs: at(0) - 1 })).to.deep.equal([]);
    expect(find(harness, { beginMs: at(40) })).to.deep.equal([]);
  });

  it('are not mistaken for others whose keys have the same hash', async () => {
    const harness = await start();
    expect(keyHash('T', 'Aa')).to.equal(keyHash('T', 'BB'));
    harness.createTopic('U', 1);
    send(harness, { body: 'one', keys: ['Aa'] }, { body: 'two', keys: ['BB'] }, { body: 'both', keys: ['Aa', 'BB'] });
    send(harness, { body: 'other topic', keys: ['Aa'], topic: 'U' });
    expect(find(harness, { key: 'Aa' })).to.deep.equal(['both', 'one']);
    expect(find(harness, { key: 'BB' })).to.deep.equal(['both', 'two']);
    expect(find(harness, { key: 'BB', countMax: 1 })).to.deep.equal(['both', 'two']);
    expect(find(harness, { key: 'AaAa' })).to.deep.equal([]);
  });

  it('are found by keys in any script, by keys that are there twice, and by the first 64 keys', async () => {
    const harness = await start({ segmentSizeBytes: 1 << 16 });
    send(harness, { body: 'one', keys: ['Schlüssel', '鍵', '🔑'] }, { body: 'two', keys: ['twice', 'twice', 'once'] });
    send(harness, { body: 'many', keys: Array.from({ length: 70 }, (_, key) => `m${key}`) });
    for (const key of ['Schlüssel', '鍵', '🔑']) expect(find(harness, { key }), key).to.deep.equal(['one']);
    expect(find(harness, { key: 'twice' })).to.deep.equal(['two']);
    expect(find(harness, { key: 'm63' })).to.deep.equal(['many']);
    expect(find(harness, { key: 'm64' })).to.deep.equal([]);
  });

  it('tells unique ids from keys, and finds both by key', async () => {
    const harness = await start();
    send(harness, { body: 'key', keys: ['x'] }, { body: 'id', keys: [], uniqueKey: 'x' });
    expect(find(harness, { by: 'unique id', key: 'x' })).to.deep.equal(['id']);
    expect(find(harness, { key: 'x' })).to.deep.equal(['id', 'key']);
  });

  it('are found by message id, and nothing else is', async () => {
    const harness = await start();
    sendMany(harness, 20);
    const { keys } = harness.broker;
    const stored = messagesOf(harness.pull(0, 0));
    for (const one of stored) {
      const found = keys.byId('T', messageIdOf(one.physicalOffset));
      expect(messagesOf({ records: found } as never).map(({ body }) => `${body}`)).to.deep.equal([`${one.body}`]);
      expect(keys.byId('', messageIdOf(one.physicalOffset).toLowerCase())).to.have.length(found.length);
      expect(keys.byId('U', messageIdOf(one.physicalOffset))).to.have.length(0);
    }
    for (const offset of [0, 1, 47, 48, stored[3]!.physicalOffset + 1, harness.log.end, harness.log.end + 1_000_000]) {
      expect(keys.byId('T', messageIdOf(physicalOffset(offset))), `${offset}`).to.have.length(0);
    }
    const elsewhere = `7F00000100002A9F${messageIdOf(stored[0]!.physicalOffset).slice(16)}`;
    expect(keys.byId('T', elsewhere)).to.have.length(0);
    expect(keys.byId('T', 'F'.repeat(56))).to.have.length(0);
    for (const id of ['', 'x', '0'.repeat(31), '0'.repeat(33), `${'0'.repeat(31)}g`]) {
      expect(
        codeOf(() => keys.byId('T', id)),
        id,
      ).to.equal('INVALID_ARGUMENT');
    }
  });

  it('by id are found only once they are applied', async () => {
    const harness = await start();
    const record = encodeMessageRecord(message({ keys: ['x'] }));
    harness.admit({ topic: 'T', queueId: 0, producerId: '', sequence: 1, records: record });
    const offset = harness.log.starts.at(-1)! + 48;
    expect(harness.broker.keys.byId('T', messageIdOf(physicalOffset(offset)))).to.have.length(0);
    harness.applyTo();
    expect(harness.broker.keys.byId('T', messageIdOf(physicalOffset(offset)))).to.have.length(record.length);
  });

  it('a cursor of another query is refused', async () => {
    const harness = await start({ layout: { slots: 1_000, entriesMax: 1_000 }, segmentSizeBytes: 1 << 20 });
    sendMany(harness, 20);
    const { cursor } = harness.broker.keys.query(query({ countMax: 3 }));
    const { keys } = harness.broker;
    expect(bodiesOf(keys.query(query({ countMax: 1, cursor: cursor! })))).to.deep.equal(['p16']);
    for (const text of ['x', '1', '1.2', '-1.0.1', '0.0.1.2', '9'.repeat(17), ' ']) {
      expect(
        codeOf(() => keys.query(query({ cursor: text }))),
        text,
      ).to.equal('INVALID_ARGUMENT');
    }
    expect(codeOf(() => keys.query(query({ key: 'k1', cursor: cursor! })))).to.equal('INVALID_ARGUMENT');
    // Of a replica that has come further.
    expect(bodiesOf(keys.query(query({ countMax: 1, cursor: '0.0.99999' })))).to.deep.equal(['p19']);
    expect(bodiesOf(keys.query(query({ countMax: 1, cursor: '1048576.3.7' })))).to.deep.equal(['p19']);
  });

  it('bounds what one query looks at, and says where to go on', async () => {
    const harness = await start({ layout: { slots: 1, entriesMax: 100_000 }, segmentSizeBytes: 1 << 22 });
    // One slot: everything is in one chain.
    const records = (count: number, keys: string[]) =>
      Buffer.concat(Array.from({ length: count }, () => encodeMessageRecord(message({ keys }))));
    const append = (count: number, ...keys: string[]) =>
      harness.append({ topic: 'T', queueId: 0, producerId: '', sequence: 1, records: records(count, keys) });
    append(1, 'rare');
    for (let round = 0; round < 5; round++) append(1_000, 'BB');
    const first = harness.broker.keys.query(query({ key: 'rare' }));
    expect(first).to.include({ count: 0 });
    expect(first.cursor).to.be.a('string');
    expect(find(harness, { key: 'rare' })).to.deep.equal(['body']);
    // Messages of another key with the same hash are read, too: fewer of them.
    const second = harness.broker.keys.query(query({ key: 'Aa' }));
    expect(second).to.include({ count: 0 });
    expect(second.cursor).to.be.a('string');
    expect(find(harness, { key: 'Aa' })).to.deep.equal([]);
    expect(find(harness, { key: 'BB' })).to.have.length(5_000);
  });

  it('are not found without an index, which is refused', async () => {
    const harness = await Harness.start();
    expect(codeOf(() => harness.broker.keys.query(query({})))).to.equal('KEY_INDEX_OFF');
    expect(codeOf(() => harness.broker.keys.byId('', '0'.repeat(32)))).to.equal('KEY_INDEX_OFF');
  });
});

describe('the key index on disk', () => {
  it('is the same however the log is cut into calls, crashes and checkpoints', async () => {
    const straight = await start();
    sendMany(straight, 60);
    for (let seed = 1; seed <= 8; seed++) {
      const random = new SeededRandom(seed);
      const harness = new Harness({ log: straight.log.replica(), keyLayout: LAYOUT });
      await harness.open();
      while (harness.broker.appliedIndex < harness.log.lastIndex) {
        harness.applyTo(Math.min(harness.log.lastIndex, harness.broker.appliedIndex + random.between(1, 9)));
        if (random.next() < 0.3) await harness.broker.checkpoint();
        if (random.next() < 0.2) await harness.crash(seed, harness.broker.appliedIndex);
      }
      expect(harness.broker.keys.index!.missing, `seed ${seed}`).to.deep.equal([]);
      expectAll(harness, 60);
      expect(keyFiles(harness), `seed ${seed}`).to.deep.equal(keyFiles(straight));
    }
  });

  it('is made anew, the same byte for byte, when all or some of it is lost', async () => {
    const harness = await start();
    sendMany(harness, 60);
    await harness.broker.checkpoint();
    const before = keyFiles(harness);
    const names = Object.keys(before);
    for (const lost of [names, ...names.filter((_, number) => number % 3 === 0).map((name) => [name])]) {
      for (const name of lost) harness.disk.lose(`${KEY_DIRECTORY}/${name}`);
      await harness.crash(1);
      await buildAll(harness);
      expect(keyFiles(harness), `${lost}`).to.deep.equal(before);
      expectAll(harness, 60);
      await harness.broker.checkpoint();
    }
    expect(harness.warnings).to.not.deep.equal([]);
  });

  it('finds what it can while it is being made, and says that it is not complete', async () => {
    const harness = await start();
    sendMany(harness, 60);
    await harness.broker.checkpoint();
    const [first] = Object.keys(keyFiles(harness));
    harness.disk.lose(`${KEY_DIRECTORY}/${first}`);
    await harness.crash(1);
    const result = harness.broker.keys.query(query({}));
    expect(result.isComplete).to.equal(false);
    expect(bodiesOf(result)).to.deep.equal(numbered(60).slice(0, result.count));
    expect(result.count).to.be.within(40, 59);
    await buildAll(harness);
    expect(harness.broker.keys.query(query({})).isComplete).to.equal(true);
  });

  it('is taken away when it is not wanted, and made anew when it is wanted again or laid out otherwise', async () => {
    const harness = await start();
    sendMany(harness, 30);
    await harness.broker.checkpoint();
    const before = keyFiles(harness);
    harness.keyLayout = undefined;
    await harness.crash(1);
    harness.broker.startLeading();
    sendMany(harness, 30, 'q');
    await harness.broker.checkpoint();
    for (const layout of [LAYOUT, { slots: 3, entriesMax: 4 }, LAYOUT]) {
      harness.keyLayout = layout;
      await harness.crash(1);
      await buildAll(harness);
      expect(find(harness, {})).to.deep.equal([...numbered(30, 'q'), ...numbered(30)]);
      await harness.broker.checkpoint();
    }
    const closed = Object.keys(before).slice(0, -3);
    for (const name of closed) expect(keyFiles(harness)[name], name).to.equal(before[name]);
  });

  it('is trimmed when the log is cut: whole segments, the others stay as they are', async () => {
    const harness = await start();
    sendMany(harness, 60);
    const before = keyFiles(harness);
    const boundary = lastOfSegment(harness.log, 3);
    const replica = new Harness({ log: harness.log.replica(), keyLayout: LAYOUT });
    await replica.open();
    replica.applyTo(boundary);
    await replica.snapshot();
    replica.applyTo();
    await replica.broker.checkpoint();
    replica.cutTo(boundary);
    const kept = Object.keys(before).filter((name) => Number(name.slice(0, 20)) >= 4 * SEGMENT_BYTES);
    const found = find(replica, {});
    expect(found).to.deep.equal(numbered(60).slice(0, found.length));
    expect(found.length).to.be.within(20, 59);
    expect(Object.keys(keyFiles(replica))).to.deep.equal(Object.keys(before));
    // The log is cut, and the checkpoint that knows of it never came.
    await replica.crash(4);
    expect(find(replica, {})).to.deep.equal(found);
    await replica.broker.checkpoint();
    expect(Object.keys(keyFiles(replica))).to.deep.equal(kept);
    await replica.crash(2);
    expect(find(replica, {})).to.deep.equal(found);
    // And from nothing but the log that is left.
    for (const name of kept) replica.disk.lose(`${KEY_DIRECTORY}/${name}`);
    await replica.crash(3);
    await buildAll(replica);
    expect(find(replica, {})).to.deep.equal(found);
    for (const name of kept) expect(keyFiles(replica)[name], name).to.equal(before[name]);
  });

  it('begins anew behind an installed snapshot', async () => {
    const harness = await start();
    sendMany(harness, 40);
    const boundary = lastOfSegment(harness.log, 5);
    const source = new Harness({ log: harness.log.replica(), keyLayout: LAYOUT });
    await source.open();
    source.applyTo(boundary);
    const bytes = await source.snapshot();
    const behind = new Harness({ log: harness.log.replica(0, 20), keyLayout: LAYOUT });
    await behind.open();
    behind.applyTo();
    await behind.broker.checkpoint();
    await behind.receive(boundary, bytes);
    const snapshot = behind.snapshots.open(behind.snapshots.list().at(-1)!);
    await behind.broker.install(snapshot, () => {
      behind.log = harness.log.replica(boundary);
    });
    snapshot.close();
    behind.applyTo();
    const found = find(behind, {});
    expect(found).to.deep.equal(numbered(40).slice(0, found.length));
    expect(found.length).to.be.within(5, 39);
    await behind.broker.checkpoint();
    for (const [name, file] of Object.entries(keyFiles(behind))) expect(file, name).to.equal(keyFiles(harness)[name]);
    await behind.crash(1);
    expect(find(behind, {})).to.deep.equal(found);
  });
});

describe('damage of the key index', () => {
  it('is noticed by a check of its segment, every flipped bit of it, and made good', async () => {
    const harness = await start({ segmentSizeBytes: 600 });
    sendMany(harness, 12);
    await harness.broker.checkpoint();
    const index = harness.broker.keys.index!;
    const before = keyFiles(harness);
    const segments = [...new Set(Object.keys(before).map((name) => Number(name.slice(0, 20))))];
    const closed = segments.slice(0, -1);
    for (const segment of segments) expect(check(harness, segment), `${segment}`).to.equal(null);
    let flips = 0;
    for (const [name, hex] of Object.entries(before)) {
      const segment = Number(name.slice(0, 20));
      if (!closed.includes(segment)) continue;
      const path = `${KEY_DIRECTORY}/${name}`;
      for (let bit = 0; bit < hex.length * 4; bit += 23) {
        harness.disk.flip(path, bit >> 3, bit & 7);
        expect(check(harness, segment), `${name} bit ${bit}`).to.include({
          kind: 'derived',
          what: 'key index',
          file: path,
        });
        // Whatever a search finds is right, if not all.
        for (const body of find(harness, {})) expect(body).to.match(/^p\d+$/);
        harness.disk.flip(path, bit >> 3, bit & 7);
        flips++;
        if (index.missing.length > 0) await buildAll(harness);
      }
    }
    expect(flips).to.be.greaterThan(100);
    index.lost(physicalOffset(closed[0]!), 'a test');
    await buildAll(harness);
    expectAll(harness, 12);
    expect(keyFiles(harness)).to.deep.equal(before);
  });

  it('of entries of the newest segment is noticed at the start', async () => {
    const harness = await start({ layout: { slots: 16, entriesMax: 1_000 }, segmentSizeBytes: 1 << 20 });
    sendMany(harness, 20);
    await harness.broker.checkpoint();
    const path = `${KEY_DIRECTORY}/${'0'.repeat(20)}`;
    const { length } = harness.disk.bytes(path);
    for (let at = 40 + 4 * 16 + 20; at < length; at += 140) {
      for (const byte of [0, 3, 5, 16, 19]) {
        harness.disk.flip(path, at + byte, 3);
        await harness.crash(1);
        expectAll(harness, 20);
        await harness.broker.checkpoint();
      }
    }
  });

  it('of the newest segment that a search stumbles over is made good once the segment is closed', async () => {
    const harness = await start({ layout: { slots: 16, entriesMax: 1_000 }, segmentSizeBytes: 4_096 });
    sendMany(harness, 10);
    const path = `${KEY_DIRECTORY}/${'0'.repeat(20)}`;
    // The offset of every entry leads somewhere else.
    for (let at = 40 + 4 * 16 + 20; at < harness.disk.bytes(path).length; at += 20) harness.disk.flip(path, at + 11, 0);
    expect(harness.broker.keys.query(query({}))).to.include({ count: 0, isComplete: false });
    await harness.broker.checkpoint();
    await harness.crash(1);
    expectAll(harness, 10);
    for (let at = 40 + 4 * 16 + 20; at < harness.disk.bytes(path).length; at += 20) harness.disk.flip(path, at + 11, 0);
    expect(harness.broker.keys.query(query({}))).to.include({ count: 0, isComplete: false });
    harness.broker.startLeading();
    for (let number = 10; number < 40; number++) {
      send(harness, { body: `p${number}`, keys: ['all', `k${number % 5}`], uniqueKey: `up${number}` });
    }
    await buildAll(harness);
    expectAll(harness, 40);
  });

  it('does not hide damage of the log: a segment that cannot be read stays lacking, and the others are made', async () => {
    const harness = await start();
    sendMany(harness, 60);
    await harness.broker.checkpoint();
    for (const name of Object.keys(keyFiles(harness))) harness.disk.lose(`${KEY_DIRECTORY}/${name}`);
    const at = 2 * SEGMENT_BYTES + 100;
    harness.log.bytes[at] = harness.log.bytes[at]! ^ 1;
    await harness.crash(1);
    const errors: unknown[] = [];
    const { index } = harness.broker.keys;
    for (let step = 0; index!.missing.length > 1 && step < 100; step++) {
      await index!.build().catch((error) => errors.push(error));
    }
    expect(index!.missing).to.deep.equal([2 * SEGMENT_BYTES]);
    expect(
      await index!.build().then(
        () => 'none',
        (error) => error.code,
      ),
    ).to.equal('DATA_CORRUPTED');
    harness.log.bytes[at] = harness.log.bytes[at]! ^ 1;
    await buildAll(harness);
    expectAll(harness, 60);
  });
});

describe('store times', () => {
  it('never go back: not when the clock does, nor with a new leader, a restart or an installed snapshot', async () => {
    const harness = await start();
    const times = (): number[] => messagesOf(harness.pull(0, 0)).map(({ storedAtMs }) => storedAtMs - START_MS);
    for (const nowMs of [5, 3, 3, 9, 0]) {
      harness.nowMs = START_MS + nowMs;
      send(harness, { body: 'x', keys: [] });
    }
    expect(times()).to.deep.equal([5, 5, 5, 9, 9]);
    await harness.broker.checkpoint();
    await harness.crash(1);
    harness.broker.startLeading();
    send(harness, { body: 'x', keys: [] });
    expect(times()).to.deep.equal([5, 5, 5, 9, 9, 9]);
    const bytes = await harness.snapshot();
    const behind = new Harness({ log: harness.log.replica(0, 1) });
    await behind.open();
    await behind.receive(harness.broker.appliedIndex, bytes);
    const snapshot = behind.snapshots.open(harness.broker.appliedIndex);
    await behind.broker.install(snapshot, () => {
      behind.log = harness.log.replica(harness.log.lastIndex);
    });
    snapshot.close();
    behind.broker.startLeading();
    send(behind, { body: 'x', keys: [] });
    expect(messagesOf(behind.pull(0, 6))[0]!.storedAtMs - START_MS).to.equal(9);
  });

  it('lead to offsets: the first message stored then or later, the end when there is none', async () => {
    const harness = await start({ segmentSizeBytes: 1 << 16 });
    expect(await offsetByTime(harness.broker, 'T', 0, START_MS)).to.equal(0);
    const at = [10, 20, 20, 20, 30, 50, 50];
    for (const time of at) {
      harness.nowMs = START_MS + time;
      send(harness, { body: 'x', keys: [] });
    }
    for (let time = 0; time <= 60; time++) {
      const expected = at.filter((one) => one < time).length;
      expect(await offsetByTime(harness.broker, 'T', 0, START_MS + time), `${time}`).to.equal(expected);
    }
    expect(await offsetByTime(harness.broker, 'T', 0, 0)).to.equal(0);
    expect(await offsetByTime(harness.broker, 'T', 0, Number.MAX_SAFE_INTEGER)).to.equal(7);
    expect(await offsetByTime(harness.broker, 'T', 1, START_MS)).to.equal(0);
  });
});

/** Index of the last record of the segment with that number. */
function lastOfSegment(log: FakeLog, number: number): number {
  return log.starts.findLastIndex((start) => Math.floor(start / log.segmentSizeBytes) === number);
}

function check(harness: Harness, segment: number): unknown {
  const started = harness.broker.keys.index!.verify(physicalOffset(segment));
  if (started === null) return null;
  const { bytes, end, segmentSizeBytes } = harness.log;
  const first = harness.log.starts.findIndex((start) => start >= segment);
  started.add(bytes, harness.log.starts[first]!, Math.min(end, segment + segmentSizeBytes));
  return started.finish();
}
