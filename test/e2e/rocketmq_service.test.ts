// RocketMQ's service of real nodes, asked by hand: that what one node is told holds on all of them.
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause, until } from '../chaos/pause.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';

const soon = (ms: number) => {
  const at = Date.now() + ms;
  return { seconds: String(Math.floor(at / 1_000)), nanos: (at % 1_000) * 1_000_000 };
};

describe("RocketMQ's service of real nodes", function () {
  this.timeout(180_000);
  let cluster: LocalCluster;
  let clients: RawClient[];

  before(async () => {
    cluster = await LocalCluster.start({ settings: { segmentSizeBytes: '8MiB' } });
    const client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic('orders', { queues: 4 });
    await client.close();
    clients = cluster.endpoints.map((endpoint, at) => new RawClient(endpoint, `c${at}`));
  });

  after(async () => {
    for (const client of clients ?? []) await client[Symbol.asyncDispose]();
    await cluster?.stop();
  });

  let tries = 0;
  /** A message id that no earlier try of a test has used: what is stored already is stored once. */
  const id = (name: string) => `${name}-${tries}`;
  beforeEach(() => {
    tries++;
  });
  /** A second try finds all nodes there. */
  afterEach(async function () {
    if (this.currentTest?.state === 'passed') return;
    await restarting?.done.catch(() => {});
    restarting = null;
    for (const { nodeId } of cluster.members) if (!cluster.isRunning(nodeId)) await cluster.restart(nodeId);
  });

  /** A node that starts again. */
  let restarting: { readonly nodeId: string; readonly done: Promise<unknown> } | null = null;

  it('stores messages of all kinds through any node, and hands each out once, through any other', async () => {
    const dueMs = Date.now() + 700;
    const kinds = [
      messageOf(id('normal')),
      messageOf(id('fifo'), { messageGroup: 'g' }),
      messageOf(id('delay'), { deliveryTimestamp: soon(700) }),
      messageOf(id('half'), { messageType: 'TRANSACTION' }),
      messageOf(id('dropped'), { messageType: 'TRANSACTION' }),
    ];
    for (const [at, message] of kinds.entries()) {
      const { status, entries } = await clients[at % 3]!.send(message);
      expect(status?.code).to.equal('OK');
      expect(entries[0]?.transactionId).to.equal(entries[0]?.messageId);
    }
    for (const [half, resolution] of [
      [id('half'), 'COMMIT'],
      [id('dropped'), 'ROLLBACK'],
    ] as const) {
      const request = { topic: { name: 'orders' }, messageId: half, transactionId: half, resolution };
      for (const client of clients) expect((await client.ask('endTransaction', request)).status?.code).to.equal('OK');
    }
    const seen = new Map<string, number>();
    for (let at = 0; seen.size < 4; at++) {
      const client = clients[at % 3]!;
      for (const { systemProperties } of await client.messages({ longPollingTimeout: { seconds: '1' } })) {
        const { messageId, receiptHandle } = systemProperties!;
        if (messageId === id('delay')) expect(Date.now()).to.be.at.least(dueMs);
        const isOfThisTry = messageId.endsWith(`-${tries}`);
        if (isOfThisTry) seen.set(messageId, (seen.get(messageId) ?? 0) + 1);
        const ack = { group: { name: 'billing' }, topic: { name: 'orders' }, entries: [{ messageId, receiptHandle }] };
        expect((await client.ask('ackMessage', ack)).status?.code).to.equal('OK');
      }
    }
    expect([...seen].sort()).to.deep.equal(['delay', 'fifo', 'half', 'normal'].map((name) => [id(name), 1]));
    const [status] = await clients[0]!.receive();
    expect(status?.status?.code).to.equal('MESSAGE_NOT_FOUND');
  });

  it('stores a message once that is sent to several nodes, and answers each with the same place', async () => {
    const answers = await Promise.all(clients.map((client) => client.send(messageOf(id('again')))));
    const offsets = new Set(answers.map(({ entries }) => entries[0]?.offset));
    expect(offsets.size).to.equal(1);
  });

  /** The clients of a node that does not lead, and of another one that runs. */
  const follower = async () => {
    const { nodeId: leader } = await cluster.waitForLeader();
    const running = clients.filter((_, at) => `n${at}` !== restarting?.nodeId);
    const client = running.find((one) => one !== clients[Number(leader.slice(1))])!;
    return { leader, client, other: running.find((one) => one !== client)! };
  };
  /** Hands a group all that is there already. */
  const drain = async (client: RawClient, name: string): Promise<void> => {
    const request = { group: { name }, longPollingTimeout: { seconds: '0', nanos: 500_000_000 } };
    while ((await client.messages(request)).length > 0);
  };
  const group = (name: string) => ({ group: { name }, longPollingTimeout: { seconds: '20' } });

  it('leaves nothing with a consumer that went while it waited', async () => {
    const { client, other } = await follower();
    await drain(client, 'leaving');
    const polls = Array.from({ length: 4 }, () => client.openReceive(group('leaving')));
    for (const poll of polls) poll.on('error', () => {});
    await pause(200);
    for (const poll of polls) poll.cancel();
    await pause(100);
    await other.send(messageOf(id('after')));
    const time = new WorkingTime();
    const [message] = await other.messages(group('leaving'));
    expect(message?.systemProperties).to.include({ messageId: id('after'), deliveryAttempt: 1 });
    expect(time.end(), 'at once').to.be.below(2_000);
  });

  it('leaves nothing with a node that died while its consumers waited', async () => {
    const { client, other } = await follower();
    await drain(other, 'dying');
    const polls = Array.from({ length: 4 }, () => client.openReceive(group('dying')));
    for (const poll of polls) poll.on('error', () => {});
    await pause(200);
    const nodeId = `n${cluster.endpoints.indexOf(client.address)}`;
    await cluster.kill(nodeId);
    await pause(100);
    await other.send(messageOf(id('orphan')));
    const time = new WorkingTime();
    const [message] = await other.messages(group('dying'));
    expect(message?.systemProperties).to.include({ messageId: id('orphan'), deliveryAttempt: 1 });
    expect(time.end(), 'at once').to.be.below(2_000);
    restarting = { nodeId, done: cluster.restart(nodeId) };
  });

  it('asks a producer about a transaction that it left open, on whatever node it is', async () => {
    const { client, other } = await follower();
    const telemetry = other.openTelemetry();
    telemetry.tell({ clientType: 'PRODUCER', publishing: { topics: [{ name: 'orders' }] } });
    const recovery = { orphanedTransactionRecoveryDuration: { seconds: '1', nanos: 0 } };
    await client.send(messageOf(id('open'), { messageType: 'TRANSACTION', ...recovery }));
    const check = () => telemetry.commands.find((command) => command.recoverOrphanedTransactionCommand !== undefined);
    await until(() => check() !== undefined, 30_000);
    const { transactionId, message } = check()!.recoverOrphanedTransactionCommand!;
    expect(transactionId).to.equal(id('open'));
    expect(message!.body.toString()).to.equal(`body of ${id('open')}`);
    const request = {
      topic: { name: 'orders' },
      transactionId,
      messageId: transactionId,
      resolution: 'COMMIT',
    } as const;
    expect((await other.ask('endTransaction', request)).status?.code).to.equal('OK');
    telemetry.cancel();
  });

  it('goes on with a poll, and with all else, when the leader dies', async () => {
    await restarting?.done;
    restarting = null;
    const { leader, client, other } = await follower();
    await drain(client, 'lasting');
    const alive = [client, other].filter((one) => one.address !== cluster.endpoints[Number(leader.slice(1))]);
    const poll = client.messages({ ...group('lasting'), longPollingTimeout: { seconds: '20' } }, 25_000);
    await pause(200);
    await cluster.kill(leader);
    const { status } = await alive.at(-1)!.send(messageOf(id('survivor')));
    expect(status?.code).to.equal('OK');
    const [message] = await poll;
    expect(message?.systemProperties).to.include({ messageId: id('survivor'), deliveryAttempt: 1 });
    const { receiptHandle } = message!.systemProperties!;
    const named = { group: { name: 'lasting' }, topic: { name: 'orders' } };
    const change = { ...named, receiptHandle, invisibleDuration: { seconds: '20' } } as const;
    const changed = await client.ask('changeInvisibleDuration', change as never);
    expect(changed.status?.code).to.equal('OK');
    const ack = async (handle: string) =>
      (
        await client.ask('ackMessage', {
          ...named,
          entries: [{ messageId: id('survivor'), receiptHandle: handle }],
        } as never)
      ).status?.code;
    expect(await ack(receiptHandle!)).to.equal('INVALID_RECEIPT_HANDLE');
    expect(await ack(changed.receiptHandle)).to.equal('OK');
    expect(await ack(changed.receiptHandle), 'again').to.equal('OK');
  });
});
