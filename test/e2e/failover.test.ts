// Real processes, real files, real sockets: what must survive the death of leaders, of majorities and of everybody.
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { History } from '../chaos/history.ts';
import { clean, isFaultless, judge } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';

const SERVED_WITHIN_MS = 30_000;
const CONVERGED_WITHIN_MS = 30_000;
const TOPIC = 'orders';
const QUEUES = 3;

describe('a group of three processes', function () {
  this.timeout(240_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let history: History;
  let load: Load;
  let test: Mocha.Runnable;

  beforeEach(async function () {
    test = this.currentTest!;
    cluster = await LocalCluster.start();
    await cluster.waitForLeader();
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

  async function startLoad(producers: number, window: number): Promise<void> {
    for (let at = 0; at < producers; at++) load.startProducer({ window, sendTimeoutMs: 20_000 });
    await served();
  }

  /** Resolves when some more messages were acknowledged. */
  async function served(): Promise<void> {
    const enough = history.acknowledged + 200;
    expect(await until(() => history.acknowledged >= enough, SERVED_WITHIN_MS), 'the load goes on').to.equal(true);
  }

  async function expectClean(): Promise<void> {
    await load.stop();
    const verdict = judge(history, await readLog(client, TOPIC, QUEUES));
    // What is lost is lost, however well it goes the next time.
    if (!isFaultless(verdict)) test.retries(0);
    expect(verdict.faults, verdict.examples.join('\n')).to.deep.equal(clean);
    expect(verdict.read).to.be.at.least(verdict.acknowledged);
    expect(verdict.acknowledged).to.be.greaterThan(100);
  }

  async function expectIdentical(): Promise<void> {
    const { identical, why } = await verifyReplicas(client, CONVERGED_WITHIN_MS);
    if (!identical) test.retries(0);
    expect(identical, why).to.equal(true);
  }

  /** @returns who leads now. A transfer is given up when the other one does not lead in time, and may be asked for again. */
  async function handOver(): Promise<string | undefined> {
    let nodeId: string | undefined;
    const isDone = async () => {
      const answer = await client.admin.transferLeadership().catch(() => undefined);
      nodeId = answer?.leader?.nodeId;
      return answer !== undefined;
    };
    expect(await until(isDone, SERVED_WITHIN_MS), 'leadership is handed over').to.equal(true);
    return nodeId;
  }

  it('loses, doubles and reorders nothing when the leader is killed under load, twice', async () => {
    await startLoad(2, 32);
    for (let round = 0; round < 2; round++) {
      await served();
      const { nodeId } = await cluster.waitForLeader();
      await cluster.kill(nodeId);
      const next = await cluster.waitForLeader();
      expect(next.nodeId).not.to.equal(nodeId);
      await served();
      await cluster.restart(nodeId);
    }
    await expectClean();
    await expectIdentical();
  });

  it('refuses writes with a retryable error while two of three are dead, and serves on when one returns', async () => {
    await startLoad(1, 8);
    await load.stop();
    const { nodeId: leader } = await cluster.waitForLeader();
    const dead = ['n0', 'n1', 'n2'].filter((id) => id !== leader);
    for (const id of dead) await cluster.kill(id);

    const survivor = new TLedgerClient({ endpoints: cluster.endpoints });
    // For a moment the survivor still thinks that it leads: what it takes then has an unknown outcome.
    const first = survivor.producer({ sendTimeoutMs: 2_000 });
    await first.send({ topic: TOPIC, body: Buffer.from('0:-1') }).catch(() => {});
    const producer = survivor.producer({ sendTimeoutMs: 2_500 });
    const codes: unknown[] = [];
    const isRefused = async () => {
      const error = await producer.send({ topic: TOPIC, body: Buffer.from('0:-2') }).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(TLedgerError);
      codes.push((error as TLedgerError).code);
      return (error as TLedgerError).retryable;
    };
    expect(await until(isRefused, 15_000), codes.join()).to.equal(true);

    let seen = '';
    const isSeen = async () => {
      const { nodes } = await survivor.admin.clusterStatus();
      seen = nodes.map(({ nodeId, reachable }) => `${nodeId} ${reachable}`).join();
      return seen === ['n0', 'n1', 'n2'].map((nodeId) => `${nodeId} ${nodeId === leader}`).join();
    };
    expect(await until(isSeen, 15_000), seen).to.equal(true);

    await cluster.restart(dead[0]!);
    const patient = survivor.producer({ sendTimeoutMs: 30_000 });
    await patient.send({ topic: TOPIC, body: Buffer.from('0:1000000') });
    await survivor.close();
    await cluster.restart(dead[1]!);
  });

  it('keeps everything acknowledged when all three are killed at once under load', async () => {
    await startLoad(2, 32);
    await served();
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.kill(id)));
    await Promise.all(['n0', 'n1', 'n2'].map((id) => cluster.restart(id)));
    await cluster.waitForLeader();
    await served();
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
      if ((await cluster.waitForLeader()).nodeId === pinned) await handOver();
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
    await startLoad(2, 16);
    const { nodeId } = await cluster.waitForLeader();
    expect(await handOver()).not.to.equal(nodeId);
    await served();
    await expectClean();
    expect([...load.codes.keys()]).to.deep.equal([]);
    await expectIdentical();
  });
});
