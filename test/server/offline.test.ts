// The tools for the files of a stopped node, by their commands: what they find, what they repair, what they refuse.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/client.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Logger } from '../../src/observe/logger.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { startNode } from '../../src/server/node.ts';
import { freePorts } from '../../src/server/ports.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { saveRepairMark } from '../../src/storage/repair_mark.ts';
import { type Run, run } from '../cli/harness.ts';

const COUNT = 60;
const quiet: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  isEnabled: () => false,
  child: () => quiet,
};

/** A data directory with some messages in it, left by a node that was stopped. */
async function leaveDirectory(dataDir: string): Promise<void> {
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const { config } = loadConfig({
    env: {},
    flags: {
      ...{ dataDir, clientListen: `127.0.0.1:${clientPort}`, peerListen: `127.0.0.1:${peerPort}` },
      segmentSizeBytes: '8MiB',
    },
  });
  const node = await startNode(config, quiet);
  const client = new TLedgerClient({ endpoints: [`127.0.0.1:${clientPort}`], timeoutMs: 60_000 });
  await client.admin.createTopic('orders', { queues: 1 });
  const producer = client.producer();
  for (let number = 0; number < COUNT; number++) {
    const body = Buffer.from(`message ${number}`);
    await producer.send({ topic: 'orders', body, keys: [`k${number}`], properties: { colour: 'red' } });
  }
  await client.close();
  await node.stop();
}

/** Where the record that holds `text` begins, and its index. */
function recordWith(
  segment: Buffer,
  text: string,
): { readonly at: number; readonly index: number; readonly bodyAt: number } {
  for (let at = 0; segment.readInt32BE(at) > 0; at += segment.readUInt32BE(at + 4)) {
    const end = at + segment.readUInt32BE(at + 4);
    const bodyAt = segment.subarray(at, end).indexOf(text);
    if (bodyAt >= 0) return { at, index: Number(segment.readBigUInt64BE(at + 8)), bodyAt: at + bodyAt };
  }
  throw new Error(`no record holds ${text}`);
}

/** The files of a directory with their bytes, without what says who was there. */
function contentOf(directory: string): Record<string, string> {
  const content: Record<string, string> = {};
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const path = join(directory, name);
    if (statSync(path).isFile() && !name.startsWith('commitlog')) content[name] = readFileSync(path, 'latin1');
  }
  return content;
}

describe('tools for a stopped node', function () {
  this.timeout(180_000);
  let scratch: string;
  let original: string;
  let dataDir: string;
  let directory: string;
  let segmentPath: string;

  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'tledger-tools-'));
    original = join(scratch, 'original');
    await leaveDirectory(original);
  });
  after(() => rmSync(scratch, { recursive: true, force: true }));
  beforeEach(() => {
    dataDir = mkdtempSync(join(scratch, 'copy-'));
    cpSync(original, dataDir, { recursive: true });
    directory = join(dataDir, 'g0');
    segmentPath = join(directory, 'commitlog', '0'.repeat(20));
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

  const verify = (...more: string[]) => run(['log', 'verify', '--deep', '--data-dir', dataDir, ...more]);
  const repair = (...more: string[]) => run(['log', 'repair', '--data-dir', dataDir, ...more]);
  const dump = (...more: string[]) => run(['log', 'dump', '--data-dir', dataDir, ...more]);
  // biome-ignore lint/suspicious/noExplicitAny: the documents are what is tested.
  const json = ({ stdout }: Run): any => JSON.parse(stdout.toString());

  function flip(path: string, at: number, bit = 3): void {
    const bytes = readFileSync(path);
    bytes[at] = bytes[at]! ^ (1 << bit);
    writeFileSync(path, bytes);
  }

  describe('log verify --deep --data-dir', () => {
    it('finds nothing in what a node left, and changes nothing', async () => {
      const before = contentOf(directory);
      const found = await verify();
      expect(found.exitCode, found.stdout.toString() + found.stderr).to.equal(0);
      expect(found.stdout.toString()).to.match(/\nnothing is damaged\n$/);
      expect(contentOf(directory)).to.deep.equal(before);
      const document = json(await verify('--format', 'json'));
      expect(document).to.include({ nodeId: 'n0', group: 'g0', messages: COUNT, sound: true, firstIndex: 1 });
      expect(document.wholeIndex).to.equal(document.lastIndex);
      expect(document.flushedIndex).to.equal(document.lastIndex);
    });

    it('finds damage of each kind, all of it, and goes on behind it', async () => {
      const segment = readFileSync(segmentPath);
      const bad = recordWith(segment, 'message 20');
      const headless = recordWith(segment, 'message 40');
      flip(segmentPath, bad.bodyAt);
      flip(segmentPath, headless.at + 16);
      flip(join(directory, 'index', '0'.repeat(20)), 32 * 5 + 9);
      flip(join(directory, 'consumequeue', 'orders', '0', '0'.repeat(20)), 20 * 7 + 6);
      flip(join(directory, 'hardstate'), 30);
      const found = await verify('--format', 'json');
      expect(found.exitCode).to.equal(1);
      const { gaps, findings, records, lastIndex, wholeIndex } = json(found);
      expect(gaps).to.have.length(2);
      expect(gaps[0]).to.include({ firstIndex: bad.index, lastIndex: bad.index, position: bad.at, isVouched: true });
      expect(gaps[1]).to.include({ firstIndex: headless.index, lastIndex: headless.index, position: headless.at });
      expect(records).to.equal(lastIndex - 2);
      expect(wholeIndex).to.equal(bad.index - 1);
      const what = findings.map((finding: { what: string }) => finding.what).sort();
      expect(what).to.deep.equal(['consume queue', 'file', 'log index']);
      expect((await verify()).stdout.toString()).to.include(`DAMAGED         log: record ${bad.index}: `);
    });

    it('tells an unfinished write from damage', async () => {
      const segment = readFileSync(segmentPath);
      const { lastIndex } = json(await verify('--format', 'json'));
      let at = 0;
      while (segment.readInt32BE(at) > 0) at += segment.readUInt32BE(at + 4);
      segment.fill(0x55, at, at + 100);
      writeFileSync(segmentPath, segment);
      const found = await verify('--format', 'json');
      expect(found.exitCode).to.equal(0);
      expect(json(found).gaps[0]).to.include({ firstIndex: lastIndex + 1, lastIndex: null, isVouched: false });
    });
  });

  describe('log dump', () => {
    it('shows headers and messages, in ranges of index, position and queue', async () => {
      const shown = (await dump('--from', '5', '--to', '8', '--format', 'json')).stdout.toString().trim().split('\n');
      const records = shown.map((line) => JSON.parse(line).record);
      expect(records.map(({ index }) => index)).to.deep.equal([5, 6, 7, 8]);
      for (const record of records) {
        expect(record).to.include({ term: 1, chain: 'ok', kind: 'message' });
        const { topic, queueId, queueOffset, keys, properties } = record.message;
        expect({ topic, queueId, properties }).to.deep.equal({
          topic: 'orders',
          queueId: 0,
          properties: { colour: 'red' },
        });
        expect(keys).to.deep.equal([`k${queueOffset}`]);
        expect(record.preview).to.equal(`message ${queueOffset}`);
      }
      const queue = await dump('--topic', 'orders', '--queue', '0', '--offset', '30', '--max', '2', '--format', 'json');
      const offsets = queue.stdout
        .toString()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).record.message.queueOffset);
      expect(offsets).to.deep.equal([30, 31]);
      const { position } = records[2];
      const placed = json(await dump('--position', String(position), '--max', '1', '--format', 'json'));
      expect(placed.record.index).to.equal(7);
      const text = (await dump('--from', '5', '--max', '1', '--preview', '4')).stdout.toString();
      expect(text).to.match(
        /^5 term 1 at \d+ \(\d+ bytes\) chain ok message orders\/0\/\d+ keys=k\d+ colour=red: mess…\n$/,
      );
      const all = (await dump('--max', '3')).stdout.toString();
      expect(all).to.match(/^1 term 1 at 0 .* no-op/);
    });

    it('marks damage, and goes on behind it', async () => {
      const bad = recordWith(readFileSync(segmentPath), 'message 20');
      flip(segmentPath, bad.at + 10);
      const lines = (await dump('--from', String(bad.index - 1), '--max', '3')).stdout.toString().trim().split('\n');
      expect(lines[1]).to.match(new RegExp(`^!! DAMAGED: records ${bad.index} to ${bad.index}: .*: `));
      expect(lines[2])
        .to.include(`${bad.index + 1} term 1`)
        .and.include('chain unknown');
      expect(lines[3])
        .to.include(`${bad.index + 2} term 1`)
        .and.include('chain ok');
    });
  });

  describe('log repair', () => {
    it('repairs what is derived and one bad slot, after saying so', async () => {
      flip(join(directory, 'index', '0'.repeat(20)), 32 * 5 + 9);
      flip(join(directory, 'consumequeue', 'orders', '0', '0'.repeat(20)), 20 * 7 + 6);
      flip(join(directory, 'hardstate'), 30);
      flip(join(directory, 'checkpoint'), 4096 + 30);
      const before = contentOf(directory);
      const dry = await repair('--dry-run');
      expect(dry.exitCode).to.equal(1);
      expect(dry.stderr).to.include('rebuild         the log index').and.include('rewrite         ');
      expect(contentOf(directory)).to.deep.equal(before);
      const done = await repair();
      expect(done.exitCode, done.stderr).to.equal(0);
      expect(done.stdout.toString()).to.equal('repaired: nothing is damaged any more\n');
      expect((await verify()).exitCode).to.equal(0);
      expect((await repair()).stdout.toString()).to.equal('nothing to repair\n');
    });

    it('makes a damaged state anew', async () => {
      for (const name of readdirSync(join(directory, 'state'))) {
        if (name.startsWith('MANIFEST')) writeFileSync(join(directory, 'state', name), 'not a manifest');
      }
      expect(json(await verify('--format', 'json')).findings[0]).to.include({ what: 'state' });
      const { steps, changed, sound } = json(await repair('--format', 'json'));
      expect(steps.map(({ action }: { action: string }) => action)).to.deep.equal(['rebuild']);
      expect({ changed, sound }).to.deep.equal({ changed: true, sound: true });
    });

    it('never cuts what was vouched for unless told the very record, and says before what is lost', async () => {
      const bad = recordWith(readFileSync(segmentPath), 'message 20');
      flip(segmentPath, bad.bodyAt);
      const before = readFileSync(segmentPath);
      const { lastIndex } = json(await verify('--format', 'json'));
      const refused = await repair();
      expect(refused.exitCode).to.equal(1);
      expect(refused.stdout.toString()).to.equal('nothing was changed\n');
      const lost = `- of these, ${COUNT - 21} messages of topic orders, queue 0: offsets 21 to ${COUNT - 1}`;
      expect(refused.stderr).to.include(`(--cut-from ${bad.index}) loses for good`).and.include(lost);
      const wrong = await repair('--cut-from', String(bad.index + 1));
      expect(wrong.exitCode).to.equal(1);
      expect(wrong.stderr).to.include(`the first damaged record is ${bad.index}`);
      expect(readFileSync(segmentPath).equals(before)).to.equal(true);
      linkSync(segmentPath, join(dataDir, 'backup'));
      const cut = await repair('--cut-from', String(bad.index), '--format', 'json');
      expect(readFileSync(join(dataDir, 'backup')).equals(before), 'a backup keeps what it holds').to.equal(true);
      expect(cut.exitCode, cut.stderr).to.equal(0);
      const { after, loss } = json(cut);
      expect(after).to.include({ lastIndex: bad.index - 1, flushedIndex: bad.index - 1, appliedIndex: bad.index - 1 });
      expect(loss).to.include({ fromIndex: bad.index, lastIndex, unreadable: 1, readable: lastIndex - bad.index });
      expect((await verify()).exitCode).to.equal(0);
      expect((await repair('--cut-from', '5')).stderr).to.include('no record that was vouched for is damaged');
    });
  });

  describe('index rebuild', () => {
    it('gives the very files back', async () => {
      const units = (): Record<string, string> =>
        Object.fromEntries(
          Object.entries(contentOf(directory)).filter(([name]) => /^(index|consumequeue|keyindex)/.test(name)),
        );
      const before = units();
      expect(Object.keys(before).some((name) => name.startsWith('keyindex'))).to.equal(true);
      for (const folder of ['index', 'consumequeue']) rmSync(join(directory, folder), { recursive: true });
      for (const name of readdirSync(join(directory, 'keyindex'))) {
        writeFileSync(join(directory, 'keyindex', name), Buffer.alloc(1_000, 7));
      }
      const { lastIndex } = json(await verify('--format', 'json'));
      const rebuilt = await run(['index', 'rebuild', '--data-dir', dataDir, '--format', 'json']);
      expect(rebuilt.exitCode, rebuilt.stderr).to.equal(0);
      expect(json(rebuilt)).to.include({ firstIndex: 1, lastIndex, topics: 1, bytesCut: 0 });
      expect(units()).to.deep.equal(before);
      expect((await verify()).exitCode).to.equal(0);
    });

    it('and all other tools, leave alone what a repair has left half-way', async () => {
      saveRepairMark(new RealDisk(), directory, { index: logIndex(1_000), term: term(1) });
      const before = contentOf(directory);
      const said = 'a repair of this log has not ended';
      for (const outcome of [await run(['index', 'rebuild', '--data-dir', dataDir]), await verify(), await repair()]) {
        expect(outcome.exitCode).to.equal(1);
        expect(outcome.stdout.toString() + outcome.stderr)
          .to.include(said)
          .and.not.include('nothing is damaged');
        expect(contentOf(directory)).to.deep.equal(before);
      }
      const { steps } = json(await repair('--dry-run', '--format', 'json'));
      expect(steps).to.have.length(1);
      expect(steps[0].action).to.equal('none');
      expect(steps[0].why).to.include('start the node');
    });

    it('changes nothing when the log is damaged', async () => {
      flip(segmentPath, recordWith(readFileSync(segmentPath), 'message 20').bodyAt);
      const before = contentOf(directory);
      const refused = await run(['index', 'rebuild', '--data-dir', dataDir]);
      expect(refused.exitCode).to.equal(1);
      expect(refused.stderr).to.include('the log is damaged from record');
      expect(contentOf(directory)).to.deep.equal(before);
    });
  });

  describe('what is refused', () => {
    let child: ChildProcess;
    afterEach(() => child?.kill('SIGKILL'));

    it('a directory that a node uses, without touching it', async () => {
      const open = `import { lockDirectory } from './src/server/data_directory.ts';
        await lockDirectory(${JSON.stringify(directory)}); console.log('open'); setInterval(() => {}, 1000);`;
      child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', open], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout!, 'data');
      const before = contentOf(directory);
      for (const tool of [
        verify,
        repair,
        dump,
        (...more: string[]) => run(['index', 'rebuild', '--data-dir', dataDir, ...more]),
      ]) {
        const refused = await tool('--format', 'json');
        expect(refused.exitCode).to.equal(1);
        expect(JSON.parse(refused.stderr).error).to.deep.equal({
          code: 'DATA_DIR_LOCKED',
          message: `${directory} is in use by process ${child.pid}`,
        });
      }
      expect(contentOf(directory)).to.deep.equal(before);
    });

    it('a directory of something else, of a newer version, or of nothing', async () => {
      const empty = join(dataDir, 'empty');
      mkdirSync(empty);
      const none = await run(['log', 'dump', '--data-dir', empty]);
      expect(none.stderr).to.include('holds no data of a node');
      expect(readdirSync(empty)).to.deep.equal([]);
      const path = join(directory, 'identity');
      const newer = readFileSync(path, 'utf8').slice(9, -1).replace('"formatVersion":3', '"formatVersion":9');
      const { crc32 } = await import('../../src/base/crc.ts');
      writeFileSync(path, `${crc32(Buffer.from(newer)).toString(16).padStart(8, '0')} ${newer}\n`);
      expect((await verify()).stderr).to.include('was written in format version 9');
    });

    it('options that make no sense together', async () => {
      expect((await run(['log', 'verify', '--data-dir', dataDir])).exitCode).to.equal(2);
      expect((await run(['log', 'verify', '--rate', '1MiB'])).exitCode).to.equal(2);
      expect((await dump('--queue', '0')).exitCode).to.equal(2);
      expect((await dump('--topic', 'orders', '--offset', '0')).exitCode).to.equal(2);
    });
  });
});
