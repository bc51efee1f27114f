// Real processes that have lost what they need: records that were deleted meanwhile, and a majority.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { programArguments } from '../../src/server/child_node.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { until } from '../chaos/pause.ts';
import { verifyReplicas } from '../chaos/replicas.ts';

const MIB = 1024 * 1024;
const TOPIC = 'orders';

interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function tledger(...argv: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [...programArguments(), ...argv]);
  return new Promise((resolve) => {
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

describe('nodes that lost what they need', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;

  afterEach(async () => {
    await client?.close();
    await cluster?.stop();
  });

  async function start(settings: Readonly<Record<string, string>>): Promise<void> {
    cluster = await LocalCluster.start({ settings });
    client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 60_000 });
    await cluster.waitForLeader();
    await client.admin.createTopic(TOPIC, { queues: 1 });
  }

  async function send(count: number, sizeBytes: number, first = 0): Promise<void> {
    const producer = client.producer();
    const filler = randomBytes(sizeBytes);
    const sent: Promise<unknown>[] = [];
    for (let at = 0; at < count; at++) {
      await producer.ready();
      const body = Buffer.concat([Buffer.from(`${first + at} `), filler]);
      sent.push(producer.send({ topic: TOPIC, queue: 0, body }));
    }
    await Promise.all(sent);
    await producer.close();
  }

  /** Numbers of the messages that one node shows, asked alone. */
  async function shownBy(nodeId: string, stale: boolean): Promise<number[]> {
    const { clientAddress } = cluster.members.find((member) => member.nodeId === nodeId)!;
    const alone = new TLedgerClient({ endpoints: [clientAddress] });
    const numbers: number[] = [];
    try {
      for await (const { body } of alone.consume({ topic: TOPIC, untilEnd: true, stale })) {
        numbers.push(Number.parseInt(body.toString('latin1', 0, 20), 10));
      }
    } finally {
      await alone.close();
    }
    return numbers;
  }

  const statusOf = async (nodeId: string) =>
    (await client.admin.clusterStatus()).nodes.find((one) => one.nodeId === nodeId)!;

  it('a follower that was away while retention passed it comes back by a snapshot, and serves', async () => {
    await start({ segmentSizeBytes: '8MiB', retentionBytes: '8MiB' });
    await send(50, 1_000);
    const { nodeId: leader } = await cluster.waitForLeader();
    const away = cluster.members.map(({ nodeId }) => nodeId).find((id) => id !== leader)!;
    const { lastIndex } = await statusOf(away);
    await cluster.kill(away);
    await send(400, 0.1 * MIB, 50);
    const passed = await until(async () => Number((await statusOf(leader)).firstIndex) > Number(lastIndex) + 1, 60_000);
    expect(passed, 'retention has passed it').to.equal(true);
    await cluster.restart(away);
    const begunMs = performance.now();
    const caughtUp = await until(async () => {
      const [one, other] = [await statusOf(leader), await statusOf(away)];
      return other.reachable && other.appliedIndex === one.appliedIndex;
    }, 60_000);
    expect(caughtUp).to.equal(true);
    const took = Math.round(performance.now() - begunMs);
    expect(Number((await statusOf(away)).firstIndex), 'by a snapshot').to.be.greaterThan(Number(lastIndex) + 1);
    console.log(`    back by a snapshot within ${took} ms`);
    const { identical, why } = await verifyReplicas(client, 30_000);
    expect(identical, why).to.equal(true);
    await send(10, 10, 450);
    const shown = await shownBy(away, false);
    expect(shown.at(-1)).to.equal(459);
    expect(shown).to.deep.equal(Array.from({ length: shown.length }, (_, at) => 460 - shown.length + at));
    expect(shown, 'the same as the leader shows').to.deep.equal(await shownBy(leader, false));
    await cluster.kill(leader);
    await send(10, 10, 460);
    expect((await shownBy(away, false)).at(-1)).to.equal(469);
    // And it is not sent another one when it starts again.
    await cluster.restart(leader);
    await cluster.kill(away);
    await cluster.restart(away);
    await send(1, 10, 470);
    const after = await verifyReplicas(client, 30_000);
    expect(after.identical, after.why).to.equal(true);
  });

  it('a survivor of a lost majority becomes a group of one by force, and nobody of the old one gets in', async () => {
    await start({ segmentSizeBytes: '8MiB' });
    await send(100, 100);
    const { nodeId: leader } = await cluster.waitForLeader();
    const survivor = cluster.members.find(({ nodeId }) => nodeId !== leader)!;
    const { nodeId } = survivor;
    const others = cluster.members.filter((member) => member !== survivor);
    for (const lost of others) await cluster.kill(lost.nodeId);

    const where = ['node', 'force-recover', '--data-dir', survivor.dataDir];
    const locked = await tledger(...where);
    expect([locked.exitCode, locked.stdout]).to.deep.equal([1, '']);
    expect(locked.stderr).to.match(/\(DATA_DIR_LOCKED\)\n$/);
    await cluster.kill(nodeId, 'SIGTERM');

    const identity = () => readFileSync(join(survivor.dataDir, 'g0', 'identity'), 'utf8');
    const before = identity();
    const told = await tledger(...where);
    expect([told.exitCode, told.stderr]).to.deep.equal([1, '']);
    expect(told.stdout).to.match(
      new RegExp(`^node +${nodeId} of cluster tledger, group g0 \\(id [0-9a-f]{16}\\)$`, 'm'),
    );
    expect(told.stdout).to.match(/^members +n0, n1, n2, who founded the group$/m);
    expect(told.stdout).to.match(/^last record +term \d+, index \d+: compare/m);
    expect(told.stdout).to.match(/^applied +index \d+/m);
    expect(told.stdout).to.include(`only ${others.map((one) => one.nodeId).join(', ')} held are lost for good`);
    expect(told.stdout).to.match(/\nNothing was changed\. /);
    expect(identity(), 'nothing was changed').to.equal(before);
    const again = JSON.parse((await tledger(...where, '--format', 'json')).stdout);
    expect(again).to.include({ recovered: false, nodeId, firstIndex: 1 });
    expect(again.lastIndex).to.be.at.least(101);

    const forced = await tledger(...where, '--accept-data-loss');
    expect(forced.exitCode, forced.stderr).to.equal(0);
    expect(forced.stdout).to.match(
      new RegExp(
        `^${nodeId} is a group of one \\(id [0-9a-f]{16}\\), by record \\d+ of term \\d+, at ${survivor.peerAddress}\n`,
      ),
    );
    expect(forced.stderr, 'told before').to.include('lost for good');
    await cluster.restart(nodeId);
    await until(async () => (await statusOf(nodeId)).role === 'leader', 30_000);
    await send(50, 100, 100);
    expect(await shownBy(nodeId, false)).to.deep.equal(Array.from({ length: 150 }, (_, at) => at));

    // Old members find each other again, but not the survivor; both groups go on apart from each other.
    for (const old of others) await cluster.restart(old.nodeId);
    const log = () => readFileSync(join(others[0]!.dataDir, 'node.log'), 'utf8');
    const isRefused = () => /refuses this node: .*of another group named "g0"/.test(log());
    expect(await until(isRefused, 30_000), 'they are refused').to.equal(true);
    const alone = new TLedgerClient({ endpoints: [survivor.clientAddress] });
    const { nodes, leaderId } = await alone.admin.clusterStatus();
    expect([leaderId, nodes.map((one) => one.nodeId)]).to.deep.equal([nodeId, [nodeId]]);
    for (const old of others) {
      await cluster.kill(old.nodeId);
      rmSync(join(old.dataDir, 'g0'), { recursive: true });
    }
    const { clientAddress, peerAddress } = await cluster.startJoining('n3');
    const addresses = { client: clientAddress, peer: peerAddress };
    await alone.admin.changeMembers({ kind: 'add', nodeId: 'n3', addresses }, { timeoutMs: 60_000 });
    const { identical, why } = await verifyReplicas(alone, 30_000);
    await alone.close();
    expect(identical, why).to.equal(true);
    expect(await shownBy('n3', false)).to.have.length(150);
  });
});
