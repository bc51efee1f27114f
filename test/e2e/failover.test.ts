// Real processes, real files, real sockets: what must survive the death of leaders, of majorities and of everybody.
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { History } from '../chaos/history.ts';
import { clean, judge } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { pause } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';

const LEADER_WITHIN_MS = 5_000;
const CONVERGED_WITHIN_MS = 5_000;
const TOPIC = 'orders';
const QUEUES = 3;

describe('a group of three processes', function () {
  this.timeout(120_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let history: History;
  let load: Load;

  beforeEach(async () => {
    cluster = await LocalCluster.start();
    const begunMs = performance.now();
    await cluster.waitForLeader();
    expect(performance.now() - begunMs).to.be.lessThan(LEADER_WITHIN_MS);
    client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    history = new History(QUEUES);
    load = new Load({ endpoints: cluster.endpoints, topic: TOPIC, history });
  });

  afterEach(async () => {
    await load.stop();
    await client.close();
    await cluster.stop();
  });

  function startLoad(producers: number, window: number): void {
    for (let at = 0; at < producers; at++) load.startProducer({ window, sendTimeoutMs: 20_000 });
  }

  async function expectClean(): Promise<void> {
    await load.stop();
    const verdict = judge(history, await readLog(client, TOPIC, QUEUES));
    expect(verdict.faults, verdict.examples.join('\n')).to.deep.equal(clean);
    expect(verdict.read).to.be.at.least(verdict.acknowledged);
    expect(verdict.acknowledged).to.be.greaterThan(100);
  }

  async function expectIdentical(): Promise<void> {
    // A node that has just come back is dialled again within a second.
    const { identical, why } = await verifyReplicas(client, CONVERGED_WITHIN_MS);
    expect(identical, why).to.equal(true);
  }

  it('loses, doubles and reorders nothing when the leader is killed under load, twice', async () => {
    startLoad(2, 32);
    for (let round = 0; round < 2; round++) {
      await pause(700);
      const { nodeId } = await cluster.waitForLeader();
      const before = history.acknowledged;
      await cluster.kill(nodeId);
      const next = await cluster.waitForLeader();
      expect(next.nodeId).not.to.equal(nodeId);
      await pause(700);
      expect(history.acknowledged, 'the load goes on').to.be.greaterThan(before);
      await cluster.restart(nodeId);
    }
    await expectClean();
    await expectIdentical();
  });

  it('refuses writes with a retryable error while two of three are dead, and serves on when one returns', async () => {
    startLoad(1, 8);
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
    startLoad(2, 32);
    await pause(1_000);
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.kill(id)));
    const acknowledged = history.acknowledged;
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.restart(id)));
    await cluster.waitForLeader();
    await pause(1_500);
    expect(history.acknowledged, 'the load goes on').to.be.greaterThan(acknowledged);
    await expectClean();
    await expectIdentical();
  });

  it('serves a client that stays at one node through it: forwarded, exactly once, in order', async () => {
    const pinned = 'n0';
    await cluster.waitForLeader();
    const { clientAddress } = cluster.members.find(({ nodeId }) => nodeId === pinned)!;
    const socket = new Client(clientAddress, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = ledgerService.append;
    const append = (sequence: number): Promise<ServiceError | null> => {
      const record = { topic: TOPIC, queueId: 0, body: Buffer.from(String(sequence)), bornAtMs: 1 };
      const records = encodeMessageRecord(record);
      const request = { topic: TOPIC, queue: 0, producerId: '00000000000000ff', sequence, records };
      const deadline = { deadline: Date.now() + 3_000 };
      return new Promise((resolve) => {
        socket.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, deadline, (error) =>
          resolve(error),
        );
      });
    };
    let sequence = 1;
    for (let round = 0; round < 3; round++) {
      // Leadership away from the pinned node first, so that it has to forward.
      if ((await cluster.waitForLeader()).nodeId === pinned) await client.admin.transferLeadership();
      for (let count = 0; count < 100; count++) if ((await append(sequence)) === null) sequence++;
      const { nodeId } = await cluster.waitForLeader();
      if (nodeId !== pinned) await cluster.kill(nodeId);
      for (let count = 0; count < 100; ) {
        if ((await append(sequence)) !== null) continue;
        sequence++;
        count++;
      }
      if (nodeId !== pinned) await cluster.restart(nodeId);
    }
    socket.close();
    const bodies: string[] = [];
    for await (const message of client.consume({ topic: TOPIC, queues: [0], untilEnd: true })) {
      bodies.push(message.body.toString());
    }
    expect(bodies).to.deep.equal(Array.from({ length: sequence - 1 }, (_, at) => String(at + 1)));
    await expectIdentical();
  });

  it('hands leadership over without an error', async () => {
    startLoad(2, 16);
    await pause(300);
    const { nodeId } = await cluster.waitForLeader();
    const { leader } = await client.admin.transferLeadership();
    expect(leader?.nodeId).not.to.equal(nodeId);
    await pause(300);
    await expectClean();
    expect([...load.codes.keys()]).to.deep.equal([]);
    await expectIdentical();
  });
});
