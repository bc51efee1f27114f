// Reading stores: what is there, how they end, and what is damaged.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { readGroupOffsets, readTopics } from '../../src/import/config_files.ts';
import { storeIdOf } from '../../src/import/importer.ts';
import { openLayout } from '../../src/import/layout.ts';
import { assertNotRunning, heldLocks } from '../../src/import/running.ts';
import type { SourceDamage, SourceEnd } from '../../src/import/scanner.ts';
import { Source } from '../../src/import/source.ts';
import { until } from '../chaos/pause.ts';
import { javaHash, referenceMessage, writeMessage } from '../format/rocketmq_reference.ts';
import { FIRST_STORED_MS, makeStore, nameOf, type StoreFixture, type StoreOptions, someMessages } from './fixture.ts';

interface Read {
  readonly bodies: string[];
  readonly positions: number[];
  readonly damages: SourceDamage[];
  readonly torn: SourceEnd[];
}

async function readAll(directory: string, skipDamaged = false): Promise<Read> {
  const read: Read = { bodies: [], positions: [], damages: [], torn: [] };
  for await (const event of new Source(openLayout(directory)).read(skipDamaged)) {
    if (event.kind === 'damage') read.damages.push(event.damage);
    else if (event.kind === 'torn') read.torn.push(event.end);
    else {
      for (const { message, buffer } of event.messages) {
        read.bodies.push(buffer.toString('utf8', message.bodyStart, message.bodyEnd));
        read.positions.push(message.physicalOffset);
      }
    }
  }
  return read;
}

async function failure(call: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await call();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('nothing failed');
}

/** Every file below a directory with its bytes and times. */
function picture(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { mtimeMs, size } = statSync(join(directory, name));
      const isFile = statSync(join(directory, name)).isFile();
      return `${name} ${mtimeMs} ${size} ${isFile ? javaHash(readFileSync(join(directory, name), 'latin1')) : ''}`;
    });
}

for (const framing of ['rocketmq', 'dledger'] as const) {
  describe(`import: reading a store of ${framing}`, () => {
    let store: StoreFixture;
    const make = (count = 30, options: StoreOptions = {}, fileBytes = 2_048) => {
      store = makeStore(someMessages(count), { framing, fileBytes, ...options });
      return store;
    };
    const bodies = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => `message ${from + at}`);
    afterEach(() => store.remove());

    it('gives every message in order, over several files, and touches nothing', async () => {
      make();
      const before = picture(store.directory);
      const read = await readAll(store.directory);
      expect(read.bodies).to.deep.equal(bodies(0, 30));
      expect(read.positions).to.deep.equal(store.messages.map(({ physicalOffset }) => Number(physicalOffset)));
      expect(read.damages.length + read.torn.length).to.equal(0);
      expect(picture(store.directory)).to.deep.equal(before);
      expect(readdirSync(store.logDirectory).length).to.be.greaterThan(3);
    });

    it('begins where the oldest file begins, once older ones were deleted', async () => {
      make(20, { start: 2_048 * 7 });
      expect((await readAll(store.directory)).bodies).to.deep.equal(bodies(0, 20));
    });

    it('records that fill a file to the last byte but eight', async () => {
      // Found by trying: a body of that size leaves exactly the smallest blank.
      const empty = writeMessage(referenceMessage({ ...makeOne('') })).length + (framing === 'dledger' ? 48 : 0);
      const exact = 'x'.repeat(2_048 - 8 - empty);
      store = makeStore([makeOne(exact), makeOne('next')], { framing, fileBytes: 2_048 });
      expect(store.places[1]!.position).to.equal(2_048);
      expect((await readAll(store.directory)).bodies).to.deep.equal([exact, 'next']);
    });

    it('a torn end of a killed broker is no damage', async () => {
      make(30, { abort: true, consumeQueues: false });
      const last = store.places.at(-1)!;
      store.harm(last.position + last.sizeBytes - 20, (bytes) => bytes.fill(0, 0, 20));
      const read = await readAll(store.directory);
      expect(read.bodies).to.deep.equal(bodies(0, 29));
      expect(read.torn).to.have.length(1);
      expect(read.torn[0]).to.deep.include({ position: last.position, leftoverBytes: last.sizeBytes - 20 });
    });

    it('the same end is damage where the checkpoint vouches for it', async () => {
      make(30, { abort: true, consumeQueues: false, flushedMs: FIRST_STORED_MS + 10_000 });
      const error = await failure(() => readAll(store.directory));
      expect(error.code).to.equal('DATA_CORRUPTED');
      expect(error.message).to.match(/checkpoint knows messages of 2023-11-14T22:13:30/);
    });

    it('a clean stop and consume queues that know more than the log: its end is missing', async () => {
      make();
      const last = store.places.at(-1)!;
      store.harm(last.position, (bytes) => bytes.fill(0, 0, last.sizeBytes));
      const error = await failure(() => readAll(store.directory));
      expect(error.code).to.equal('DATA_CORRUPTED');
      expect(error.message).to.include(
        `position ${last.position} is the end, but the consume queues know messages up to`,
      );
      const read = await readAll(store.directory, true);
      expect(read.bodies).to.deep.equal(bodies(0, 29));
      expect(read.damages).to.have.length(1);
    });

    it('old bytes behind the end of a log that was stopped cleanly are no damage', async () => {
      make(30, { consumeQueues: true });
      // A record that was cut off after a crash, and one behind it that still looks good.
      const shorter = makeStore(someMessages(28), { framing, fileBytes: 2_048 });
      renameSync(join(store.directory, 'consumequeue'), join(store.directory, 'unused'));
      renameSync(join(shorter.directory, 'consumequeue'), join(store.directory, 'consumequeue'));
      shorter.remove();
      store.harm(store.places[28]!.position, (bytes) => bytes.fill(0xab, 0, 40));
      const read = await readAll(store.directory);
      expect(read.bodies).to.deep.equal(bodies(0, 28));
      expect(read.torn[0]!.position).to.equal(store.places[28]!.position);
    });

    const BODY_AT = framing === 'dledger' ? 48 + 88 : 88;
    const harms: readonly [string, (bytes: Buffer, sizeBytes: number) => unknown][] = [
      ['a flipped bit in a body', (bytes) => bytes.writeUInt8(bytes[BODY_AT]! ^ 4, BODY_AT)],
      ['a wrong magic', (bytes) => bytes.writeUInt8(0, framing === 'dledger' ? 3 : 7)],
      ['a size that is too large', (bytes) => bytes.writeUInt32BE(0x7fff_ffff, framing === 'dledger' ? 4 : 0)],
      ['zeros', (bytes, size) => bytes.fill(0, 0, size)],
      ['noise', (bytes, size) => bytes.fill(0xda, 0, size)],
    ];
    for (const [what, harm] of harms) {
      for (const index of [0, 7, 8, 15]) {
        it(`${what} in record ${index}: named with its position; with skipDamaged the rest is read`, async () => {
          make();
          const { position, sizeBytes } = store.places[index]!;
          store.harm(position, (bytes) => harm(bytes, sizeBytes));
          const error = await failure(() => readAll(store.directory));
          expect(error.code).to.equal('DATA_CORRUPTED');
          expect(error.message).to.include(`${store.fileAt(position)}: position ${position} `);
          expect(error.message).to.include('--skip-damaged');
          const read = await readAll(store.directory, true);
          expect(read.bodies).to.deep.equal([...bodies(0, index), ...bodies(index + 1, 30)]);
          expect(read.damages).to.have.length(1);
          expect(read.damages[0]).to.deep.include({ position, endPosition: store.places[index + 1]!.position });
        });
      }
    }

    it('a flipped bit at any place of a message changes nothing unseen', async () => {
      make(6, {}, 65_536);
      const { position, sizeBytes } = store.places[2]!;
      const original = readFileSync(store.fileAt(position));
      for (let at = 0; at < sizeBytes; at++) {
        const bytes = Buffer.from(original);
        bytes[position + at]! ^= 0x10;
        writeFileSync(store.fileAt(position), bytes);
        const read = await readAll(store.directory, true);
        // What no checksum protects (times, properties …) may differ; messages never vanish without being named.
        const isLost = read.damages.some(({ position: from, endPosition }) => endPosition > from);
        const expected = isLost ? [...bodies(0, 2), ...bodies(3, 6)] : bodies(0, 6);
        expect(read.bodies, `byte ${at}`).to.deep.equal(expected);
      }
    });

    it('a file that is missing, one that is cut short, and one that is empty', async () => {
      make();
      const files = readdirSync(store.logDirectory).sort();
      const second = join(store.logDirectory, files[1]!);
      const bytes = readFileSync(second);
      const inSecond = store.places.filter(({ position }) => position >= 2_048 && position < 4_096);
      const before = store.places.filter(({ position }) => position < 2_048).length;
      for (const [how, kept] of [
        ['missing', -1],
        ['cut', inSecond[1]!.position - 2_048 + 30],
        ['empty', 0],
      ] as const) {
        rmSync(second);
        if (kept >= 0) writeFileSync(second, bytes.subarray(0, kept));
        const error = await failure(() => readAll(store.directory));
        expect(error.code, how).to.equal('DATA_CORRUPTED');
        expect(error.message, how).to.match(/lies behind the end of file \d{20}, which has \d+ bytes/);
        const read = await readAll(store.directory, true);
        const lost = how === 'cut' ? inSecond.length - 1 : inSecond.length;
        expect(read.bodies.length, how).to.equal(30 - lost);
        expect(read.damages[0]!.endPosition, how).to.equal(4_096);
        writeFileSync(second, bytes);
      }
      expect(before).to.be.greaterThan(0);
    });

    it('the last file cut short', async () => {
      make();
      const last = join(store.logDirectory, readdirSync(store.logDirectory).sort().at(-1)!);
      truncateSync(last, store.places.at(-1)!.position % 2_048);
      const error = await failure(() => readAll(store.directory));
      expect(error.code).to.equal('DATA_CORRUPTED');
      expect(error.message).to.match(/is the end of a file that lacks \d+ bytes/);
      expect((await readAll(store.directory, true)).bodies).to.deep.equal(bodies(0, 29));
    });

    it('the id of a store is the same wherever it lies', async () => {
      make();
      const id = await storeIdOf(new Source(openLayout(store.directory)));
      const moved = `${store.directory}-moved`;
      renameSync(store.directory, moved);
      expect(await storeIdOf(new Source(openLayout(moved)))).to.equal(id);
      renameSync(moved, store.directory);
      expect(id).to.match(/^[0-9a-f]{16}$/);
    });

    it('somebody who writes meanwhile is noticed', async () => {
      make();
      const source = new Source(openLayout(store.directory));
      const error = await failure(async () => {
        for await (const _ of source.read(false)) {
          const last = store.fileAt(store.endPosition);
          const bytes = readFileSync(last);
          await new Promise((resolve) => setTimeout(resolve, 20));
          writeFileSync(last, bytes);
        }
      });
      expect(error.code).to.equal('DATA_DIR_LOCKED');
      expect(error.message).to.include('was written to meanwhile');
    });
  });
}

const makeOne = (body: string) => ({ topic: 'orders', body: Buffer.from(body) });

describe('import: what a directory is', () => {
  let store: StoreFixture;
  beforeEach(() => {
    store = makeStore(someMessages(3));
  });
  afterEach(() => store.remove());

  const refused = async (directory: string) => {
    const { code, message } = await failure(() => readAll(directory));
    return `${code}: ${message.replaceAll(store.directory, 'STORE')}`;
  };

  it('no directory', async () => {
    expect(await refused(join(store.directory, 'none'))).to.equal('INVALID_ARGUMENT: STORE/none is no directory');
  });

  it('a directory of something else', async () => {
    expect(await refused(join(store.directory, 'config'))).to.match(
      /^DATA_DIR_FOREIGN: STORE\/config is no store that can be/,
    );
  });

  it('a part of a store', async () => {
    const text = await refused(join(store.directory, 'commitlog'));
    expect(text).to.equal('DATA_DIR_FOREIGN: STORE/commitlog is a part of a store: name the store itself, STORE');
  });

  it('a data directory of TLedger', async () => {
    for (const name of ['identity', 'hardstate']) writeFileSync(join(store.directory, name), '');
    expect(await refused(store.directory)).to.match(/^DATA_DIR_FOREIGN: STORE is a data directory of TLedger/);
    expect(await refused(dirname(store.directory))).to.match(/DATA_DIR_FOREIGN/);
  });

  it('a log in a format that nobody knows, by its first bytes', async () => {
    store.harm(0, (bytes) => bytes.fill('newer format! ', 0, 2_000));
    expect(await refused(store.directory)).to.match(
      /^DATA_DIR_FOREIGN: .*position 0 has the unknown magic 0x7220666f. No message/,
    );
  });

  it('DLedger entries that hold no messages of RocketMQ', async () => {
    store.remove();
    store = makeStore(someMessages(3), { framing: 'dledger' });
    for (const { position } of store.places) store.harm(position, (bytes) => bytes.writeUInt32BE(7, 52));
    expect(await refused(store.directory)).to.match(
      /DATA_DIR_FOREIGN: .* position 0 holds a message that has an unknown magic/,
    );
  });

  it('two members of a DLedger group in one store: one has to be named', async () => {
    store.remove();
    store = makeStore(someMessages(3), { framing: 'dledger' });
    mkdirSync(join(store.directory, 'dledger-n1/data'), { recursive: true });
    expect(await refused(store.directory)).to.match(
      /INVALID_ARGUMENT: STORE holds several stores \(dledger-n0, dledger-n1\)/,
    );
    expect((await readAll(join(store.directory, 'dledger-n0'))).bodies).to.have.length(3);
  });

  it('a log that went on in DLedger: the old files first', async () => {
    const dledger = makeStore(someMessages(5), { framing: 'dledger', start: 65_536 });
    renameSync(join(dledger.directory, 'dledger-n0'), join(store.directory, 'dledger-n0'));
    rmSync(join(store.directory, 'consumequeue'), { recursive: true });
    dledger.remove();
    expect((await readAll(store.directory)).bodies).to.have.length(8);
  });

  it('DLedger knew more entries than there are', async () => {
    store.remove();
    store = makeStore(someMessages(3), { framing: 'dledger', consumeQueues: false });
    writeFileSync(join(store.directory, 'dledger-n0/checkpoint'), '#\nendIndex=2\ncommittedIndex=2\n');
    expect((await readAll(store.directory)).bodies).to.have.length(3);
    writeFileSync(join(store.directory, 'dledger-n0/checkpoint'), '#\nendIndex=5\ncommittedIndex=2\n');
    expect(await refused(store.directory)).to.match(/is the end at entry 2, but DLedger had entries up to 5/);
  });

  it('files that overlap', async () => {
    writeFileSync(join(store.directory, 'commitlog', nameOf(1_000)), '');
    expect(await refused(store.directory)).to.match(
      /DATA_CORRUPTED: .* reaches into the next file, 00000000000000001000/,
    );
  });

  it('a running broker holds the lock file', async function () {
    if (!existsSync('/usr/bin/flock') || !existsSync('/proc/locks')) this.skip();
    const lockInode = () => statSync(join(store.directory, 'lock')).ino;
    const child = spawn('/usr/bin/flock', ['-x', join(store.directory, 'lock'), 'sh', '-c', 'echo held; sleep 30'], {
      detached: true,
    });
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      const text = await refused(store.directory);
      expect(text).to.match(/^DATA_DIR_LOCKED: STORE\/lock is held by (process \d+|a process): stop the broker first$/);
    } finally {
      process.kill(-child.pid!, 'SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
    }
    await until(
      () => !heldLocks(readFileSync('/proc/locks', 'latin1')).some(({ inode }) => inode === lockInode()),
      10_000,
    );
    expect((await readAll(store.directory)).bodies).to.have.length(3);
  });

  it('locks are told from the text of the system', () => {
    const text = [
      '1: POSIX  ADVISORY  WRITE 4711 08:02:1310737 0 EOF',
      '2: FLOCK  ADVISORY  WRITE 12 00:2f:99 0 EOF',
      '2: -> FLOCK  ADVISORY  WRITE 13 00:2f:98 0 EOF',
      '3: OFDLCK ADVISORY  READ -1 00:2f:97 0 EOF',
      '4: LEASE  ACTIVE    READ 5 00:2f:96 0 EOF',
    ].join('\n');
    expect(heldLocks(text)).to.deep.equal([
      { pid: 4711, inode: 1_310_737 },
      { pid: 12, inode: 99 },
      { pid: -1, inode: 97 },
    ]);
    const path = join(store.directory, 'lock');
    const line = (pid: number) => `1: POSIX  ADVISORY  WRITE ${pid} 08:02:${statSync(path).ino} 0 EOF\n`;
    // A process that is there and does not have the file open holds another disk's file of that number.
    expect(() => assertNotRunning(path, line(process.pid))).not.to.throw();
    expect(() => assertNotRunning(path, line(2 ** 30))).to.throw(/is held by process 1073741824/);
  });
});

describe("import: the broker's config files", () => {
  let store: StoreFixture;
  afterEach(() => store.remove());

  it('names without quotes, topics and groups', () => {
    const groups = { 'orders@g1': { 0: 17, 1: 20 }, 'payments@g{2:3}': { 0: 1 }, '%RETRY%g1@g1': { 0: 4 } };
    store = makeStore(someMessages(1), { topics: { orders: 4, TBW102: 8 }, groups });
    const config = join(store.directory, 'config');
    expect(readTopics(config)?.get('orders')).to.deep.equal({ queues: 4, isBrokers: false });
    expect(readGroupOffsets(config)).to.deep.equal([
      { group: 'g1', topic: 'orders', queue: 0, offset: 17 },
      { group: 'g1', topic: 'orders', queue: 1, offset: 20 },
      { group: 'g{2:3}', topic: 'payments', queue: 0, offset: 1 },
      { group: 'g1', topic: '%RETRY%g1', queue: 0, offset: 4 },
    ]);
  });

  it('a torn file is replaced by the version before; without one that is said', () => {
    store = makeStore(someMessages(1), { topics: { orders: 4 } });
    const path = join(store.directory, 'config/topics.json');
    const text = readFileSync(path);
    writeFileSync(path, text.subarray(0, 50));
    expect(() => readTopics(dirname(path))).to.throw(/topics.json cannot be read/);
    writeFileSync(`${path}.bak`, text);
    expect(readTopics(dirname(path))?.get('orders')?.queues).to.equal(4);
  });

  it('no files', () => {
    store = makeStore(someMessages(1));
    expect(readTopics(join(store.directory, 'config'))).to.equal(null);
    expect(readGroupOffsets(join(store.directory, 'nowhere'))).to.equal(null);
  });
});
