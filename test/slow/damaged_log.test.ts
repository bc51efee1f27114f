// Real processes whose disks lie: bits flip in what was acknowledged. Nothing damaged is served, what was acknowledged
// stays, and each node makes its log whole again with the help of the others, byte for byte.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause, until } from '../chaos/pause.ts';
import { verifyReplicas } from '../chaos/replicas.ts';

const TOPIC = 'orders';
const COUNT = 40;
const bodyOf = (number: number): string => `message ${String(number).padStart(4, '0')} of many`;
const BODIES = Array.from({ length: COUNT }, (_, number) => bodyOf(number));

describe('a log with flipped bits', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let leader: string;
  let followers: string[];

  beforeEach(async () => {
    cluster = await LocalCluster.start({ settings: { segmentSizeBytes: '8MiB' } });
    client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
    leader = (await cluster.waitForLeader()).nodeId;
    followers = cluster.members.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== leader);
    await client.admin.createTopic(TOPIC, { queues: 1 });
    const producer = client.producer();
    for (const body of BODIES) await producer.send({ topic: TOPIC, queue: 0, body: Buffer.from(body) });
    await producer.close();
    // What a node has not flushed may be cut at its start like a torn write; only what it vouched for is damage.
    expect(await until(hasFlushedAll, 60_000), 'all nodes have flushed everything').to.equal(true);
  });
  afterEach(async () => {
    await client.close();
    await cluster.stop();
  });

  const hasFlushedAll = async (): Promise<boolean> => {
    const { nodes } = await client.admin.clusterStatus();
    const ends = new Set(nodes.flatMap(({ lastIndex, flushedIndex }) => [lastIndex, flushedIndex]));
    return nodes.length === 3 && ends.size === 1;
  };
  const groupOf = (nodeId: string): string =>
    join(cluster.members.find((member) => member.nodeId === nodeId)!.dataDir, 'g0');
  const segmentsOf = (nodeId: string): string[] => {
    const directory = join(groupOf(nodeId), 'commitlog');
    return readdirSync(directory).map((name) => join(directory, name));
  };
  const textOf = (nodeId: string): string => readFileSync(join(groupOf(nodeId), '..', 'node.log'), 'utf8');

  /** Flips a bit of a message where it lies in the log of a stopped node. */
  function flip(nodeId: string, number: number): void {
    const [path] = segmentsOf(nodeId);
    const bytes = readFileSync(path!);
    const at = bytes.indexOf(bodyOf(number));
    expect(at).to.be.greaterThan(0);
    bytes[at + 10]! ^= 0x10;
    writeFileSync(path!, bytes);
  }

  /** Flips a bit of the last record, whatever it is: the checkpoint names it, so that the next start looks at it. */
  function flipLast(nodeId: string): void {
    const [path] = segmentsOf(nodeId);
    const bytes = readFileSync(path!);
    let last = 0;
    for (let at = 0; bytes.readInt32BE(at) !== 0; at += bytes.readUInt32BE(at + 4)) last = at;
    bytes[last + 40]! ^= 0x10;
    writeFileSync(path!, bytes);
  }

  async function expectAll(...more: string[]): Promise<void> {
    const found: string[] = [];
    for await (const { body } of client.consume({ topic: TOPIC, untilEnd: true })) found.push(body.toString());
    expect(found).to.deep.equal([...BODIES, ...more]);
  }

  async function expectIdentical(): Promise<void> {
    const { identical, why } = await verifyReplicas(client, 10_000);
    expect(identical, why).to.equal(true);
    const [first, ...others] = cluster.members.map(({ nodeId }) =>
      segmentsOf(nodeId).map((path) => readFileSync(path)),
    );
    for (const files of others) {
      expect(files.length).to.equal(first!.length);
      for (const [at, bytes] of files.entries()) {
        expect(bytes.equals(first![at]!), 'the segments are the same').to.equal(true);
      }
    }
  }

  async function send(body: string): Promise<void> {
    const producer = client.producer();
    await producer.send({ topic: TOPIC, queue: 0, body: Buffer.from(body) });
    await producer.close();
  }

  const roleOf = async (nodeId: string): Promise<string> =>
    (await client.admin.clusterStatus()).nodes.find((node) => node.nodeId === nodeId)?.role ?? '';
  const isWhole = (nodeId: string) => async (): Promise<boolean> =>
    ['follower', 'leader'].includes(await roleOf(nodeId));

  it('of a follower is repaired when it starts, while the others go on', async () => {
    const [damaged] = followers as [string];
    await cluster.kill(damaged);
    flipLast(damaged);
    await send('meanwhile');
    await cluster.restart(damaged);
    expect(await until(isWhole(damaged), 60_000), 'it takes part again').to.equal(true);
    expect(textOf(damaged)).to.include('is damaged at position').and.include('in the place of damaged ones');
    await send('afterwards');
    await expectAll('meanwhile', 'afterwards');
    await expectIdentical();
  });

  it('of the old leader, in several places, is repaired when it starts', async () => {
    await cluster.kill(leader);
    for (const number of [3, 20]) flip(leader, number);
    flipLast(leader);
    await cluster.waitForLeader();
    await send('meanwhile');
    await cluster.restart(leader);
    expect(await until(isWhole(leader), 60_000), 'it takes part again').to.equal(true);
    await send('afterwards');
    await expectAll('meanwhile', 'afterwards');
    await expectIdentical();
  });

  it('on two nodes in different places is repaired by each other, once the third has what neither has', async () => {
    for (const { nodeId } of cluster.members) await cluster.kill(nodeId);
    const [one, two] = followers as [string, string];
    flipLast(one);
    flipLast(two);
    flip(two, 5);
    await cluster.restart(one);
    await cluster.restart(two);
    for (const nodeId of [one, two]) {
      expect(await until(async () => (await roleOf(nodeId)) === 'repairing', 60_000)).to.equal(true);
    }
    await cluster.restart(leader);
    for (const nodeId of [one, two]) {
      expect(await until(isWhole(nodeId), 60_000), `${nodeId} takes part again`).to.equal(true);
    }
    await send('afterwards');
    await expectAll('afterwards');
    await expectIdentical();
  });

  it('of all three in the same record is refused by name, and nothing else is lost', async () => {
    for (const { nodeId } of cluster.members) await cluster.kill(nodeId);
    for (const { nodeId } of cluster.members) flipLast(nodeId);
    const before = cluster.members.map(({ nodeId }) => segmentsOf(nodeId).map((path) => readFileSync(path)));
    for (const { nodeId } of cluster.members) await cluster.restart(nodeId);
    const isRepairing = async (): Promise<boolean> =>
      (await client.admin.clusterStatus()).nodes.every(({ role }) => role === 'repairing');
    expect(await until(isRepairing, 60_000)).to.equal(true);
    await pause(2_000);
    expect(await isRepairing()).to.equal(true);
    const hasty = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 1_500 });
    const refusal = await hasty.admin.createTopic('more').catch((error: Error) => error);
    await hasty.close();
    expect(refusal).to.be.instanceOf(Error).and.have.property('code', 'REPAIRING');
    for (const { nodeId } of cluster.members) {
      expect(textOf(nodeId)).to.include('is asked for again until somebody has it').and.include('restore a backup');
    }
    const after = cluster.members.map(({ nodeId }) => segmentsOf(nodeId).map((path) => readFileSync(path)));
    expect(after.flat().every((bytes, at) => bytes.equals(before.flat()[at]!))).to.equal(true);
  });
});
