// Three real processes check what they have stored, because a command asks them to.
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { until } from '../chaos/pause.ts';
import { run } from '../cli/harness.ts';

describe('log verify --deep, on a group that runs', function () {
  this.timeout(300_000);
  let dataDir: string;
  let cluster: LocalCluster;

  before(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'tledger-deep-'));
    cluster = await LocalCluster.start({ dataDir });
    await cluster.waitForLeader();
    const client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
    await client.admin.createTopic('orders', { queues: 1 });
    const producer = client.producer();
    for (let number = 0; number < 100; number++) {
      await producer.send({ topic: 'orders', body: Buffer.from(`message ${number}`) });
    }
    await client.close();
  });
  after(async () => {
    await cluster.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const verify = (...more: string[]) => run(['log', 'verify', '--endpoints', cluster.endpoints.join(','), ...more]);

  it('has all members read everything, finds what is wrong with one of them, and nothing the next time', async () => {
    const never = await verify();
    expect(never.exitCode, never.stderr).to.equal(0);
    expect(never.stdout.toString().match(/ never/g)).to.have.length(3);
    const sound = await verify('--deep', '--rate', '1GiB');
    expect(sound.exitCode, sound.stdout.toString() + sound.stderr).to.equal(0);
    expect(sound.stdout.toString()).to.match(/\nall replicas are byte-identical up to record \d+\n$/);
    expect(sound.stdout.toString().match(/ ago/g)).to.have.length(3);

    const [damaged] = cluster.members.filter(({ nodeId }) => nodeId === 'n1');
    const path = join(dataDir, damaged!.nodeId, 'g0', 'consumequeue', 'orders', '0', '0'.repeat(20));
    const bytes = readFileSync(path);
    bytes[205] = bytes[205]! ^ 1;
    writeFileSync(path, bytes);
    const found = await verify('--deep', '--format', 'json');
    expect(found.exitCode).to.equal(1);
    const { replicas, identical } = JSON.parse(found.stdout.toString());
    expect(identical).to.equal(true);
    for (const { nodeId, scrub } of replicas) {
      expect(scrub).to.include({ running: false, pass: 2, lastPass: 2 });
      expect(scrub.faults.map(({ file }: { file: string }) => file)).to.deep.equal(nodeId === 'n1' ? [path] : []);
    }
    const again = await verify('--deep');
    expect(again.exitCode, again.stdout.toString()).to.equal(0);
    expect(readFileSync(path)[205]).to.equal(bytes[205]! ^ 1);
  });

  it('shows the records of a node that runs: by index, position and queue', async () => {
    const dump = async (...more: string[]) => {
      const endpoints = cluster.members[2]!.clientAddress;
      const { exitCode, stdout, stderr } = await run([
        ...['log', 'dump', '--endpoints', endpoints, '--format', 'json', ...more],
      ]);
      expect(exitCode, stderr).to.equal(0);
      const lines = stdout.toString().trim().split('\n');
      return lines.filter((line) => line !== '').map((line) => JSON.parse(line).record);
    };
    const all = await dump('--max', '1000');
    expect(all.map(({ index }) => index)).to.deep.equal(Array.from({ length: all.length }, (_, at) => at + 1));
    const messages = all.filter(({ kind }) => kind === 'message');
    expect(messages.map(({ preview }) => preview)).to.deep.equal(
      Array.from({ length: 100 }, (_, at) => `message ${at}`),
    );
    expect(await dump('--topic', 'orders', '--queue', '0', '--offset', '40', '--max', '2')).to.deep.equal(
      messages.slice(40, 42),
    );
    const { position, index } = messages[60];
    expect(await dump('--position', String(position - 1), '--max', '1')).to.deep.equal([messages[60]]);
    expect(await dump('--from', String(index), '--to', String(index + 1))).to.deep.equal(messages.slice(60, 62));
  });

  it('finds a flipped bit in a log, which that member then gets repaired by the others', async () => {
    const damaged = cluster.members.find(({ nodeId }) => nodeId === 'n2')!;
    const path = join(dataDir, damaged.nodeId, 'g0', 'commitlog', '0'.repeat(20));
    const segment = openSync(path, 'r+');
    const bytes = Buffer.alloc(20_000);
    readSync(segment, bytes, 0, bytes.length, 0);
    const at = bytes.indexOf('message 50');
    writeSync(segment, Buffer.of(bytes[at]! ^ 4), 0, 1, at);
    const found = await verify('--deep');
    expect(found.exitCode, found.stdout.toString()).to.equal(1);
    expect(found.stderr).to.include('n2 has not come to the end of its check');
    const repaired = await until(async () => {
      readSync(segment, bytes, 0, bytes.length, 0);
      return bytes[at] === 'm'.charCodeAt(0) && (await verify()).exitCode === 0;
    }, 30_000);
    closeSync(segment);
    expect(repaired, 'the record is there again').to.equal(true);
    const again = await verify('--deep');
    expect(again.exitCode, again.stdout.toString() + again.stderr).to.equal(0);
  });
});
