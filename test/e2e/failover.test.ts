// Real processes, real files, real sockets: what must survive the death of leaders, of majorities and of everybody.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { clean, faultsOf, Load, pause } from './history.ts';

const LEADER_WITHIN_MS = 5_000;
const TOPIC = 'orders';
const QUEUES = 3;

describe('a group of three processes', function () {
  this.timeout(120_000);
  let cluster: LocalCluster;
  let load: Load;

  beforeEach(async () => {
    cluster = await LocalCluster.start();
    const begunMs = performance.now();
    await cluster.waitForLeader();
    expect(performance.now() - begunMs).to.be.lessThan(LEADER_WITHIN_MS);
    load = new Load(cluster.endpoints, TOPIC, QUEUES);
    await load.client.admin.createTopic(TOPIC, { queues: QUEUES });
  });

  afterEach(async () => {
    await load.stop();
    await load.close();
    await cluster.stop();
  });

  async function expectClean(): Promise<void> {
    await load.stop();
    const findings = await load.check();
    expect(faultsOf(findings)).to.deep.equal(clean);
    expect(findings.read).to.be.at.least(findings.acknowledged);
    expect(findings.acknowledged).to.be.greaterThan(100);
  }

  async function expectIdentical(): Promise<void> {
    let { identical, replicas } = await load.client.admin.verifyLog();
    // A node that has just come back is dialled again within a second.
    for (let attempt = 0; attempt < 20 && replicas.some(({ error }) => error !== ''); attempt++) {
      await pause(250);
      ({ identical, replicas } = await load.client.admin.verifyLog());
    }
    expect(replicas.map(({ error }) => error)).to.deep.equal(['', '', '']);
    expect(identical, JSON.stringify(replicas)).to.equal(true);
  }

  it('loses, doubles and reorders nothing when the leader is killed under load, twice', async () => {
    load.start(2, 32);
    for (let round = 0; round < 2; round++) {
      await pause(700);
      const { nodeId } = await cluster.waitForLeader();
      const before = load.acknowledged;
      await cluster.kill(nodeId);
      const next = await cluster.waitForLeader();
      expect(next.nodeId).not.to.equal(nodeId);
      await pause(700);
      expect(load.acknowledged, 'the load goes on').to.be.greaterThan(before);
      await cluster.restart(nodeId);
    }
    await expectClean();
    await expectIdentical();
  });

  it('refuses writes with a retryable error while two of three are dead, and serves on when one returns', async () => {
    load.start(1, 8);
    await pause(300);
    await load.stop();
    const { nodeId: leader } = await cluster.waitForLeader();
    const dead = ['n0', 'n1', 'n2'].filter((id) => id !== leader);
    for (const id of dead) await cluster.kill(id);

    const survivor = new TLedgerClient({ endpoints: cluster.endpoints });
    // For a moment the survivor still thinks that it leads: what it takes then has an unknown outcome.
    const first = survivor.producer({ sendTimeoutMs: 2_000 });
    await first.send({ topic: TOPIC, body: Buffer.from('0:-1') }).catch(() => {});
    const producer = survivor.producer({ sendTimeoutMs: 2_500 });
    const begunMs = performance.now();
    const refusal = await producer.send({ topic: TOPIC, body: Buffer.from('0:-2') }).then(
      () => null,
      (error: unknown) => error as TLedgerError,
    );
    expect(refusal).to.be.instanceOf(TLedgerError);
    expect(refusal!.retryable, refusal!.code).to.equal(true);
    expect(performance.now() - begunMs).to.be.lessThan(4_000);

    const { nodes } = await survivor.admin.clusterStatus();
    expect(nodes.filter((node) => node.reachable).map((node) => node.nodeId)).to.deep.equal([leader]);
    expect(nodes.filter((node) => !node.reachable)).to.have.length(2);

    await cluster.restart(dead[0]!);
    const patient = survivor.producer({ sendTimeoutMs: 15_000 });
    await patient.send({ topic: TOPIC, body: Buffer.from('0:1000000') });
    await survivor.close();
    await cluster.restart(dead[1]!);
  });

  it('keeps everything acknowledged when all three are killed at once under load', async () => {
    load.start(2, 32);
    await pause(1_000);
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.kill(id)));
    const acknowledged = load.acknowledged;
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.restart(id)));
    await cluster.waitForLeader();
    await pause(1_500);
    expect(load.acknowledged, 'the load goes on').to.be.greaterThan(acknowledged);
    await expectClean();
    await expectIdentical();
  });

  it('hands leadership over without an error', async () => {
    load.start(2, 16);
    await pause(300);
    const { nodeId } = await cluster.waitForLeader();
    const { leader } = await load.client.admin.transferLeadership();
    expect(leader?.nodeId).not.to.equal(nodeId);
    await pause(300);
    await expectClean();
    expect([...load.codes.keys()]).to.deep.equal([]);
    await expectIdentical();
  });
});
