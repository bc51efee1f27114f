// Operating a group of real nodes while official clients are connected to it.
import { expect } from 'chai';
import { run } from '../cli/harness.ts';
import { RawClient } from '../rpc/rocketmq/client.ts';
import { ConsumeResult, drain, type MessageView, texts, until } from './clients.ts';
import { cases, useStage } from './shared_stage.ts';

/** What a client keeps of its settings. */
interface Followed {
  getSettings(): { isFifo(): boolean; getRetryPolicy(): { getMaxAttempts(): number } | undefined };
}

describe('managing a group with official clients on it', function () {
  this.timeout(180_000);
  const { it } = cases;
  const stage = useStage();

  /** What a command prints for programs. */
  async function told(...argv: readonly string[]) {
    const endpoints = stage().cluster.endpoints.join(',');
    const { stdout, stderr, exitCode } = await run([...argv, '--endpoints', endpoints, '--format', 'json']);
    expect(exitCode, stderr).to.equal(0);
    return JSON.parse(String(stdout));
  }

  it('a topic gets more queues, which clients of all kinds find by themselves', async () => {
    const topic = await stage().topic('mixed', 1);
    const fifo = await stage().group({ fifo: true });
    const inOrder: string[] = [];
    const any: string[] = [];
    const native: string[] = [];
    const heard = (into: string[]) => async (message: MessageView) => {
      into.push(message.body.toString());
      return ConsumeResult.SUCCESS;
    };
    const over = new AbortController();
    const reading = (async () => {
      for await (const { body, queueId } of stage().admin.consume({ topic, signal: over.signal })) {
        native.push(`${queueId}: ${body}`);
      }
    })();
    await stage().push(topic, heard(inOrder), { consumerGroup: fifo });
    await stage().push(topic, heard(any));
    const simple = await stage().simple(topic);
    const producer = await stage().producer();
    await producer.send({ topic, body: Buffer.from('before') });
    await until('the first', () => inOrder.length + any.length === 2);

    expect(await told('topic', 'update', topic, '--queues', '3')).to.deep.include({ changed: true, queues: 3 });
    expect(await told('topic', 'update', topic, '--queues', '3')).to.deep.include({ changed: false, queues: 3 });
    const fewer = await run(['topic', 'update', topic, '--queues', '2', '--endpoints', stage().endpoint()]);
    expect(fewer).to.deep.include({ exitCode: 1 });
    expect(fewer.stderr).to.contain('has 3 queues and never fewer');
    const raw = new RawClient(stage().endpoint(), 'an operator');
    const { messageQueues } = await raw.ask('queryRoute', { topic: { name: topic } });
    expect(messageQueues.map(({ id }) => id)).to.deep.equal([0, 1, 2]);
    await raw[Symbol.asyncDispose]();
    const sent = ['before'];
    for (let count = 0; count < 12; count++) {
      const text = `after ${count}`;
      sent.push(text);
      await producer.send({ topic, body: Buffer.from(text), ...(count < 6 ? {} : { messageGroup: `group ${count}` }) });
    }
    await until('all to push consumers', () => inOrder.length === 13 && any.length === 13, 30_000);
    expect(inOrder).to.have.members(sent);
    expect(any).to.have.members(sent);
    expect(texts(await drain(simple, 13))).to.have.members(sent);
    await until('all to a stream', () => native.length === 13);
    expect(new Set(native.map((line) => line.split(':')[0]))).to.deep.equal(new Set(['0', '1', '2']));
    over.abort();
    await reading;
    const { ranges } = await told('topic', 'describe', topic);
    expect(ranges.map((one: { maxOffset: number }) => one.maxOffset > 0)).to.deep.equal([true, true, true]);
  });

  it('a push consumer is told when its group becomes another one, whichever node it is connected to', async () => {
    const topic = await stage().topic();
    const group = await stage().group({ maxAttempts: 5 });
    const nodes = stage().isKilling ? [0] : [0, 1];
    const consumers = await Promise.all(
      nodes.map((node) => {
        const own = { consumerGroup: group, endpoints: stage().cluster.endpoints[node]! };
        return stage().push(topic, async () => ConsumeResult.SUCCESS, own);
      }),
    );
    const known = () => consumers.map((one) => (one as unknown as Followed).getSettings());
    const attempts = () => known().map((settings) => settings.getRetryPolicy()?.getMaxAttempts());
    expect(attempts()).to.deep.equal(nodes.map(() => 5));
    expect(known().map((settings) => settings.isFifo())).to.deep.equal(nodes.map(() => false));
    await told('group', 'create', group, '--fifo', '--max-attempts', '9');
    await until('all are told', () => attempts().every((count) => count === 9));
    expect(known().map((settings) => settings.isFifo())).to.deep.equal(nodes.map(() => true));
    await told('group', 'create', group);
    await until('all are told again', () => attempts().every((count) => count === 17));
    expect(known().map((settings) => settings.isFifo())).to.deep.equal(nodes.map(() => false));
  });

  it('its clients are listed whichever node they are connected to, and who subscribes differently is warned of', async () => {
    const topic = await stage().topic();
    const group = await stage().group();
    const startedAtMs = Date.now();
    const [spared, other] = stage().cluster.endpoints as [string, string];
    await stage().push(topic, async () => ConsumeResult.SUCCESS, { consumerGroup: group });
    const second = { consumerGroup: group, filter: 'red', endpoints: stage().isKilling ? spared : other };
    await stage().simple(topic, second);
    await stage().producer({ topic });

    const { clients } = await told('client', 'list', '--group', group);
    expect(clients).to.have.length(2);
    const push = clients.find((one: { kind: string }) => one.kind === 'PUSH_CONSUMER');
    const simple = clients.find((one: { kind: string }) => one.kind === 'SIMPLE_CONSUMER');
    expect(push).to.deep.include({ nodeId: 'n0', group, language: 'NODE_JS' });
    expect(push.topics).to.deep.equal([{ name: topic, filterType: 'TAG', filter: '*' }]);
    expect(simple.topics).to.deep.equal([{ name: topic, filterType: 'TAG', filter: 'red' }]);
    expect(simple.nodeId).to.equal(stage().isKilling ? 'n0' : 'n1');
    for (const { clientId, version, address, connectedTimestamp, lastSeenTimestamp } of clients) {
      expect(clientId).to.contain('@');
      expect(version).to.match(/^\d+\.\d+/);
      expect(address).to.match(/:\d+$/);
      expect(connectedTimestamp).to.be.within(startedAtMs - 1_000, Date.now());
      expect(lastSeenTimestamp).to.be.within(connectedTimestamp - 1_000, Date.now());
    }
    const all = (await told('client', 'list')).clients as { kind: string; topics: { name: string }[] }[];
    expect(all.filter(({ kind, topics }) => kind === 'PRODUCER' && topics[0]?.name === topic)).to.have.length(1);

    const described = await told('group', 'describe', group);
    expect(described.clients.map((one: { clientId: string }) => one.clientId)).to.have.members(
      clients.map((one: { clientId: string }) => one.clientId),
    );
    expect(described.differingSubscriptions).to.have.length(1);
    expect(described.differingSubscriptions[0]).to.match(new RegExp(`^${topic}: `));
    const text = await run(['group', 'describe', group, '--endpoints', spared]);
    expect(String(text.stdout)).to.match(/warning: .*\n.*: tags (\*|red) \(.*; tags (\*|red) \(/);
  });
});
