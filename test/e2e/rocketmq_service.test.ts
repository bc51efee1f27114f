// RocketMQ's service of real nodes, asked by hand: that what one node is told holds on all of them.
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';

const soon = (ms: number) => {
  const at = Date.now() + ms;
  return { seconds: String(Math.floor(at / 1_000)), nanos: (at % 1_000) * 1_000_000 };
};

describe("RocketMQ's service of real nodes", function () {
  this.timeout(60_000);
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

  it('stores messages of all kinds through any node, and hands each out once, through any other', async () => {
    const dueMs = Date.now() + 700;
    const kinds = [
      messageOf('normal'),
      messageOf('fifo', { messageGroup: 'g' }),
      messageOf('delay', { deliveryTimestamp: soon(700) }),
      messageOf('half', { messageType: 'TRANSACTION' }),
      messageOf('dropped', { messageType: 'TRANSACTION' }),
    ];
    for (const [at, message] of kinds.entries()) {
      const { status, entries } = await clients[at % 3]!.send(message);
      expect(status?.code).to.equal('OK');
      expect(entries[0]?.transactionId).to.equal(entries[0]?.messageId);
    }
    for (const [id, resolution] of [
      ['half', 'COMMIT'],
      ['dropped', 'ROLLBACK'],
    ] as const) {
      const request = { topic: { name: 'orders' }, messageId: id, transactionId: id, resolution };
      for (const client of clients) expect((await client.ask('endTransaction', request)).status?.code).to.equal('OK');
    }
    const seen = new Map<string, number>();
    for (let at = 0; seen.size < 4; at++) {
      const client = clients[at % 3]!;
      for (const { systemProperties } of await client.messages({ longPollingTimeout: { seconds: '1' } })) {
        const { messageId, receiptHandle } = systemProperties!;
        if (messageId === 'delay') expect(Date.now()).to.be.at.least(dueMs);
        seen.set(messageId, (seen.get(messageId) ?? 0) + 1);
        const ack = { group: { name: 'billing' }, topic: { name: 'orders' }, entries: [{ messageId, receiptHandle }] };
        expect((await client.ask('ackMessage', ack)).status?.code).to.equal('OK');
      }
    }
    expect([...seen].sort()).to.deep.equal([
      ['delay', 1],
      ['fifo', 1],
      ['half', 1],
      ['normal', 1],
    ]);
    const [status] = await clients[0]!.receive();
    expect(status?.status?.code).to.equal('MESSAGE_NOT_FOUND');
  });

  it('stores a message once that is sent to several nodes, and answers each with the same place', async () => {
    const answers = await Promise.all(clients.map((client) => client.send(messageOf('again'))));
    const offsets = new Set(answers.map(({ entries }) => entries[0]?.offset));
    expect(offsets.size).to.equal(1);
  });
});
