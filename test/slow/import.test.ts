// README, "Moving over from RocketMQ", on real processes: an importer that is killed, a leader that is killed, and the
// files of the nodes held against the independent reader afterwards.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { programArguments } from '../../src/server/child_node.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { defaultKeyIndexLayout } from '../../src/storage/key_index.ts';
import { pause } from '../chaos/pause.ts';
import { javaHash, readEntries, readIndexFile, readMessage, readUnits } from '../format/rocketmq_reference.ts';
import { makeStore, type StoreFixture, someMessages } from '../import/fixture.ts';

/** Enough for two segments. */
const COUNT = 8_000;
const SEGMENT_BYTES = 8 << 20;
const QUEUES = 4;

describe('moving over from RocketMQ', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let store: StoreFixture;
  let directory: string;
  let killed: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tledger-import-'));
    store = makeStore(
      someMessages(COUNT, (number) => ({
        topic: 'orders',
        queueId: number % QUEUES,
        body: Buffer.from(`${number} ${'x'.repeat(1_400)}`),
      })),
      { framing: 'dledger', fileBytes: 1 << 22, groups: { 'orders@billing': { 0: 100, 1: 2_000 } } },
    );
  });
  after(async () => {
    await cluster?.stop();
    store.remove();
    rmSync(directory, { recursive: true });
  });

  function tledger(...argv: string[]): {
    child: ChildProcess;
    ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  } {
    const options = { cwd: directory, env: { ...process.env, TLEDGER_ENDPOINTS: cluster.endpoints.join(',') } };
    const child = spawn(process.execPath, [...programArguments(), ...argv], options);
    const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk) => {
        stdout += chunk;
      });
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      child.on('close', (code) => resolve({ code, stdout, stderr }));
    });
    return { child, ended };
  }

  it('the importer is killed, then the leader, and every message is there once, in order', async () => {
    cluster = await LocalCluster.start({
      dataDir: join(directory, 'nodes'),
      restart: true,
      settings: { segmentSizeBytes: SEGMENT_BYTES },
    });
    await cluster.waitForLeader();
    const dry = await tledger('import', store.directory, '--dry-run', '--format', 'json').ended;
    expect(JSON.parse(dry.stdout)).to.deep.include({ kind: 'dledger', messages: COUNT, groups: ['billing'] });

    let rounds = 0;
    for (const killAfterMs of [250, 500]) {
      const { child, ended } = tledger('import', store.directory, '--no-progress');
      await pause(killAfterMs + 400);
      child.kill('SIGKILL');
      if ((await ended).code === null) rounds++;
    }
    expect(rounds, 'an importer was killed').to.be.greaterThan(0);
    const { ended } = tledger('import', store.directory, '--format', 'json', '--no-progress');
    await pause(500);
    const { nodeId } = await cluster.waitForLeader();
    await cluster.kill(nodeId);
    killed = nodeId;
    const last = await ended;
    expect(last.code, last.stderr).to.equal(0);
    const report = JSON.parse(last.stdout);
    expect(report.appended + report.alreadyThere).to.equal(COUNT);
    const billing = report.groups.map((one: { queue: number; newOffset: number; exact: boolean }) => [
      one.queue,
      one.newOffset,
      one.exact,
    ]);
    expect(billing).to.deep.equal([
      [0, 100, true],
      [1, 2_000, true],
    ]);
    const again = await tledger('import', store.directory, '--format', 'json', '--no-progress').ended;
    expect(JSON.parse(again.stdout)).to.deep.include({ appended: 0, alreadyThere: COUNT });

    await using client = new TLedgerClient({ endpoints: cluster.endpoints });
    const numbers = Array.from({ length: QUEUES }, (): number[] => []);
    for await (const message of client.consume({ topic: 'orders', untilEnd: true })) {
      const number = Number.parseInt(String(message.body), 10);
      expect(message.properties.get('UNIQ_KEY')).to.equal(`0A0B0C0D${String(number).padStart(24, '0')}`);
      numbers[message.queueId]!.push(number);
    }
    const wanted = Array.from({ length: QUEUES }, (_, queue) =>
      Array.from({ length: COUNT / QUEUES }, (_, at) => at * QUEUES + queue),
    );
    expect(numbers).to.deep.equal(wanted);
  });

  it("our own files are DLedger's entries with RocketMQ's messages, ConsumeQueue units and IndexFiles", async () => {
    await cluster.stop();
    // The one that was killed may have less of it.
    const member = cluster.members.find(({ nodeId }) => nodeId !== killed)!;
    const group = join(member.dataDir, 'g0');
    const files = readdirSync(join(group, 'commitlog')).sort();
    expect(files.length).to.be.greaterThan(1);
    const byOffset = new Map<string, { position: bigint; sizeBytes: number; tag: string; keys: string[] }>();
    for (const [number, name] of files.entries()) {
      const { entries, filler } = readEntries(readFileSync(join(group, 'commitlog', name)));
      expect(filler !== null, `${name} is closed by a filler`).to.equal(number < files.length - 1);
      for (const { magic, position, body } of entries) {
        if (magic !== 1) continue;
        const message = readMessage(body, 0);
        expect(message.sizeBytes).to.equal(body.length);
        expect(message.physicalOffset).to.equal(position + 48n);
        expect(message.storeTimestamp > 1_700_000_000_000n).to.equal(true);
        const tag = message.properties.find(([property]) => property === 'TAGS')![1];
        const keys = ['KEYS', 'UNIQ_KEY'].flatMap((name) =>
          message.properties.find(([one]) => one === name)![1].split(' '),
        );
        byOffset.set(`${message.queueId} ${message.queueOffset}`, {
          keys: keys.filter((key) => key !== 'other'),
          position: message.physicalOffset,
          sizeBytes: body.length,
          tag,
        });
      }
    }
    expect(byOffset.size).to.equal(COUNT);
    for (let queue = 0; queue < QUEUES; queue++) {
      const units = readUnits(readFileSync(join(group, 'consumequeue/orders', String(queue), '0'.repeat(20))));
      expect(units).to.have.length(COUNT / QUEUES);
      units.forEach(({ offset, sizeBytes, tagsCode }, at) => {
        const message = byOffset.get(`${queue} ${at}`)!;
        expect([offset, sizeBytes]).to.deep.equal([message.position, message.sizeBytes]);
        expect(tagsCode).to.equal(BigInt(javaHash(message.tag)));
      });
    }
    // The newest one gets its slots when it is closed; the others are of closed segments.
    const indexes = readdirSync(join(group, 'keyindex')).sort().slice(0, -1);
    expect(indexes.length).to.be.greaterThan(0);
    for (const name of indexes) {
      const index = readIndexFile(readFileSync(join(group, 'keyindex', name)), defaultKeyIndexLayout.slots);
      const within = [...byOffset.values()].filter(
        ({ position }) => position >= index.beginOffset && position <= index.endOffset,
      );
      expect(index.indexCount - 1, 'two keys and an id each').to.equal(within.length * 3);
      for (const { position, keys } of within) {
        for (const key of keys) {
          const found = index.find(`orders#${key}`);
          expect(found.map(({ offset }) => offset)).to.deep.equal([position]);
        }
        // Everything carries that one: it is looked at for some.
        if (Number(position) % 50 === 0) expect(index.find('orders#other')).to.have.length(within.length);
      }
    }
  });
});
