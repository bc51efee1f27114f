// A group of real processes: started, killed, restarted and ended as users of it will.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/client.ts';
import { programArguments } from '../../src/server/child_node.ts';
import { type ClusterEvent, LocalCluster } from '../../src/server/local_cluster.ts';
import { freePorts } from '../../src/server/ports.ts';
import { until as holds } from '../chaos/pause.ts';

const settings = { segmentSizeBytes: '8MiB' };
/** A machine that stalls for a moment changes no leader: what is tested here is processes, not elections. */
const steady = { ...settings, electionTimeoutMsMin: 4_000, electionTimeoutMsMax: 6_000 };

async function refusal(promise: Promise<unknown>): Promise<TLedgerError> {
  const error = await promise.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  expect(error).to.be.instanceOf(TLedgerError);
  return error as TLedgerError;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean | Promise<boolean>, what: string, timeoutMs = 40_000): Promise<void> {
  expect(await holds(condition, timeoutMs), what).to.equal(true);
}

describe('local cluster', function () {
  this.timeout(180_000);

  it('survives the death of its leader, takes the dead node back, and leaves nothing behind', async () => {
    const events: ClusterEvent[] = [];
    const cluster = await LocalCluster.start({ settings: steady, onEvent: (event) => events.push(event) });
    const { dataDir } = cluster;
    const pids = cluster.members.map(({ nodeId }) => cluster.pidOf(nodeId));
    const client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 30_000 });
    try {
      const first = await cluster.waitForLeader();
      await client.admin.createTopic('orders', { queues: 1 });
      const producer = client.producer();
      await producer.send({ topic: 'orders', body: Buffer.from('before') });
      await cluster.kill(first.nodeId);
      expect(cluster.isRunning(first.nodeId)).to.equal(false);
      expect(cluster.leader).to.equal(null);
      await producer.send({ topic: 'orders', body: Buffer.from('after') });
      const second = await cluster.waitForLeader();
      expect(second.nodeId).to.not.equal(first.nodeId);
      expect(second.term).to.be.greaterThan(first.term);
      await cluster.restart(first.nodeId);
      const bodies: string[] = [];
      for await (const message of client.consume({ topic: 'orders', untilEnd: true }))
        bodies.push(String(message.body));
      expect(bodies).to.deep.equal(['before', 'after']);
      const kinds = events.map(
        (event) => `${event.kind}${'nodeId' in event && event.kind !== 'started' ? ` ${event.nodeId}` : ''}`,
      );
      expect(kinds.filter((kind) => kind !== 'started').slice(0, 4)).to.deep.equal([
        `leader ${first.nodeId}`,
        `exited ${first.nodeId}`,
        'leaderless',
        `leader ${second.nodeId}`,
      ]);
      expect(events.find((event) => event.kind === 'exited')).to.include({ signal: 'SIGKILL' });
    } finally {
      await client.close();
      await cluster.stop();
    }
    expect(pids.filter(isAlive)).to.deep.equal([]);
    expect(existsSync(dataDir)).to.equal(false);
  });

  it('names a port that is taken, and starts nothing', async () => {
    const [client, peer] = await freePorts(2);
    const server = createServer().listen(peer, '127.0.0.1');
    const dataDir = mkdtempSync(join(tmpdir(), 'tledger-test-'));
    try {
      const ports = { client: client!, peer: peer! };
      const error = await refusal(LocalCluster.start({ nodes: 1, dataDir, ports, settings }));
      expect(error.code).to.equal('PORT_IN_USE');
      expect(error.message).to.contain(`port ${peer} on 127.0.0.1`);
      expect(existsSync(join(dataDir, 'n0'))).to.equal(false);
    } finally {
      server.close();
      rmSync(dataDir, { recursive: true, force: true });
    }
  });

  it('names a data directory that is in use, and by whom; keeps data that it was told where to put', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'tledger-test-'));
    try {
      const cluster = await LocalCluster.start({ nodes: 1, dataDir, settings });
      const error = await refusal(LocalCluster.start({ nodes: 1, dataDir, settings }));
      expect(error.code).to.equal('DATA_DIR_LOCKED');
      expect(error.message)
        .to.contain(join(dataDir, 'n0'))
        .and.contain(`process ${cluster.pidOf('n0')}`);
      expect(cluster.isRunning('n0')).to.equal(true);
      await cluster.stop();
      expect(existsSync(join(dataDir, 'n0', 'g0'))).to.equal(true);
      expect(readFileSync(join(dataDir, 'n0', 'node.log'), 'utf8')).to.contain('stopped');
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });

  it('starts a node that waits to be added: it serves nobody, keeps waiting over a restart, and is forgotten', async () => {
    const cluster = await LocalCluster.start({ nodes: 1, settings });
    try {
      await cluster.waitForLeader();
      const { clientAddress, dataDir } = await cluster.startJoining('n1');
      expect((await refusal(cluster.startJoining('n1'))).code).to.equal('INVALID_ARGUMENT');
      expect((await refusal(cluster.startJoining('n0'))).code).to.equal('INVALID_ARGUMENT');
      expect(cluster.members.map(({ nodeId }) => nodeId)).to.deep.equal(['n0', 'n1']);
      for (let start = 0; start < 2; start++) {
        const alone = new TLedgerClient({ endpoints: [clientAddress], timeoutMs: 5_000 });
        const { nodes, membership } = await alone.admin.clusterStatus({ localOnly: true });
        expect(nodes[0]).to.include({ nodeId: 'n1', membershipRole: 'joining', clientAddress });
        expect(membership?.members).to.deep.equal([]);
        // A client asks on until its time is over: what cut its last attempt short may be all that it can tell.
        const code = async () => (await refusal(alone.admin.createTopic('orders', { timeoutMs: 1_000 }))).code;
        await until(async () => (await code()) === 'NODE_REMOVED', 'it refuses what only a member can do');
        await alone.close();
        await cluster.kill('n1', 'SIGTERM');
        await cluster.restart('n1');
      }
      expect(readFileSync(join(dataDir, 'node.log'), 'utf8')).to.contain('waiting to be added to a group');
      await cluster.forget('n1');
      expect(cluster.members.map(({ nodeId }) => nodeId)).to.deep.equal(['n0']);
      expect(existsSync(dataDir)).to.equal(false);
    } finally {
      await cluster.stop();
    }
  });

  it('refuses data of a group that other members founded', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'tledger-test-'));
    try {
      await (await LocalCluster.start({ nodes: 3, dataDir, settings })).stop();
      const error = await refusal(LocalCluster.start({ nodes: 2, dataDir, settings }));
      expect(error.code).to.equal('DATA_DIR_FOREIGN');
      expect(error.message).to.contain('belongs to the group that n0, n1, n2 founded, not n0, n1');
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });

  it('restarts a node that was killed from outside, if asked to', async () => {
    const events: ClusterEvent[] = [];
    const options = { nodes: 1, restart: true, settings, onEvent: (event: ClusterEvent) => events.push(event) };
    const cluster = await LocalCluster.start(options);
    try {
      const before = cluster.pidOf('n0');
      process.kill(before, 'SIGKILL');
      await until(() => cluster.isRunning('n0') && cluster.pidOf('n0') !== before, 'it runs again');
      await cluster.waitForLeader();
    } finally {
      await cluster.stop();
    }
  });

  it('`tledger up` killed with -9 takes its nodes with it', async () => {
    const [client, peer] = await freePorts(2);
    const dataDir = mkdtempSync(join(tmpdir(), 'tledger-test-'));
    const flags = ['--nodes', '1', '--data-dir', dataDir, '--client-port', String(client), '--peer-port', String(peer)];
    const args = [...programArguments(), 'up', '--format', 'json', ...flags];
    const env = { ...process.env, TLEDGER_SEGMENT_SIZE_BYTES: '8MiB' };
    const parent = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
    try {
      let text = '';
      parent.stdout.on('data', (chunk) => {
        text += String(chunk);
      });
      await until(() => text.includes('"kind":"leader"'), 'it leads', 40_000);
      const up = JSON.parse(text.split('\n')[0]!) as { nodes: { pid: number }[] };
      const { pid } = up.nodes[0]!;
      expect(isAlive(pid)).to.equal(true);
      parent.kill('SIGKILL');
      await until(() => !isAlive(pid), 'the node is gone');
    } finally {
      parent.kill('SIGKILL');
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
