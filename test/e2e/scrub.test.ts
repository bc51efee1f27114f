// Three real processes check what they have stored, because a command asks them to.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { run } from '../cli/harness.ts';

describe('log verify --deep, on a group that runs', function () {
  this.timeout(120_000);
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
});
