// Operating a group of real nodes while official clients are connected to it.
import { expect } from 'chai';
import { run } from '../cli/harness.ts';
import { ConsumeResult } from './clients.ts';
import { cases, useStage } from './shared_stage.ts';

describe('managing a group with official clients on it', function () {
  this.timeout(60_000);
  const { it } = cases;
  const stage = useStage();

  /** What a command prints for programs. */
  async function told(...argv: readonly string[]) {
    const endpoints = stage().cluster.endpoints.join(',');
    const { stdout, stderr, exitCode } = await run([...argv, '--endpoints', endpoints, '--format', 'json']);
    expect(exitCode, stderr).to.equal(0);
    return JSON.parse(String(stdout));
  }

  it('its clients are listed whichever node they are connected to, and who subscribes differently is warned of', async () => {
    const topic = await stage().topic();
    const group = await stage().group();
    const startedAtMs = Date.now();
    const [spared, other] = stage().cluster.endpoints as [string, string];
    await stage().push(topic, async () => ConsumeResult.SUCCESS, { consumerGroup: group, filter: 'red || green' });
    const second = { consumerGroup: group, filter: 'red', endpoints: stage().isKilling ? spared : other };
    await stage().simple(topic, second);
    await stage().producer({ topic });

    const { clients } = await told('client', 'list', '--group', group);
    expect(clients).to.have.length(2);
    const push = clients.find((one: { kind: string }) => one.kind === 'PUSH_CONSUMER');
    const simple = clients.find((one: { kind: string }) => one.kind === 'SIMPLE_CONSUMER');
    expect(push).to.deep.include({ nodeId: 'n0', group, language: 'NODE_JS' });
    expect(push.topics).to.deep.equal([{ name: topic, filterType: 'TAG', filter: 'red || green' }]);
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
    expect(String(text.stdout)).to.match(
      /warning: .*\n.*tags red \|\| green \(.*tags red \(|warning: .*\n.*tags red \(/,
    );
  });
});
