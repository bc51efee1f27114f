// Calls that find their way: to any node that answers, to the leader if it is known, until the deadline.
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { Backoff } from '../../src/client/backoff.ts';
import { TLedgerClient } from '../../src/client/client.ts';
import { type CallOptions, Cluster } from '../../src/client/cluster.ts';
import { checkEndpoints, producerSettings } from '../../src/client/options.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { until } from '../chaos/pause.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { FakeGroup } from './fake_server.ts';

describe('client: options', () => {
  for (const endpoint of ['localhost', ':8081', 'a:0', 'a:65536', 'a b:1', 'http://a:1', '[::1:8081']) {
    it(`refuses the endpoint ${JSON.stringify(endpoint)}`, () => {
      expect(() => checkEndpoints([endpoint]))
        .to.throw('host:port')
        .with.property('code', 'INVALID_ARGUMENT');
    });
  }

  it('takes names, addresses and IPv6, each once', () => {
    expect(checkEndpoints(['a.b:1', ' a.b:1', '10.0.0.1:65535', '[::1]:8081'])).to.deep.equal([
      'a.b:1',
      '10.0.0.1:65535',
      '[::1]:8081',
    ]);
    expect(() => checkEndpoints([])).to.throw('1 to 64 endpoints');
  });

  it('refuses a producer window that would endanger exactly-once', () => {
    expect(producerSettings({ windowFramesMax: 64 }).windowFramesMax).to.equal(64);
    expect(() => producerSettings({ windowFramesMax: 65 }))
      .to.throw('windowFramesMax')
      .with.property('code', 'INVALID_ARGUMENT');
  });
});

describe('client: back-off', () => {
  it('doubles from 20 to 500 ms with jitter, and begins anew', () => {
    const longest = new Backoff({ next: () => 1, between: () => 0 });
    expect(Array.from({ length: 7 }, () => longest.next())).to.deep.equal([20, 40, 80, 160, 320, 500, 500]);
    longest.reset();
    expect(longest.next()).to.equal(20);
    const shortest = new Backoff({ next: () => 0, between: () => 0 });
    expect([shortest.next(), shortest.next()]).to.deep.equal([10, 20]);
  });
});

describe('client: calls', () => {
  let group: FakeGroup;
  let client: TLedgerClient;

  async function start(nodes: number, timeoutMs = 20_000): Promise<void> {
    group = await FakeGroup.start(nodes);
    client = new TLedgerClient({ endpoints: group.endpoints, timeoutMs, attemptTimeoutMs: 5_000 });
  }

  afterEach(async () => {
    await group.stop();
    await client.close();
  });

  it('find a node that lives', async () => {
    await start(3);
    group.nodes[0]!.kill();
    group.nodes[2]!.kill();
    expect((await client.admin.clusterStatus()).nodes.map(({ nodeId }) => nodeId)).to.deep.equal(['n0', 'n1', 'n2']);
    expect(group.nodes[1]!.unaryCalls).to.deep.equal(['clusterStatus']);
  });

  it('fail with UNREACHABLE at the deadline, naming the endpoints, when none does', async () => {
    await start(2, 200);
    for (const node of group.nodes) node.kill();
    const time = new WorkingTime();
    const error = await client.admin.clusterStatus().catch((failure: TLedgerError) => failure);
    expect(error).to.have.property('code', 'UNREACHABLE');
    expect((error as TLedgerError).message).to.include(group.endpoints[0]);
    expect(time.end()).to.be.below(3_000);
  });

  it('go to the next node when one says NO_LEADER, and fail with it when all do', async () => {
    await start(2, 1_000);
    group.nodes[0]!.refuseAll = 'NO_LEADER';
    expect((await client.admin.createTopic('new')).created).to.equal(true);
    group.nodes[1]!.refuseAll = 'NO_LEADER';
    const failure = client.admin.createTopic('newer').catch((error: TLedgerError) => error.code);
    expect(await failure).to.equal('NO_LEADER');
  });

  for (const first of ['OUTCOME_UNKNOWN', 'drop', 'apply, then drop'] as const) {
    it(`with effects that may be repeated are asked again after ${first}`, async () => {
      await start(2);
      let calls = 0;
      group.onCreateTopic = () => (++calls === 1 ? first : 'go on');
      const { topic } = await client.admin.createTopic('new');
      expect(topic).to.deep.include({ name: 'new' });
      expect(calls).to.equal(2);
    });

    it(`with effects end as OUTCOME_UNKNOWN when NO_LEADER follows ${first} until the deadline`, async () => {
      await start(2, 1_000);
      let calls = 0;
      group.onCreateTopic = () => (++calls === 1 ? first : 'NO_LEADER');
      const error = await client.admin.createTopic('ghost').catch((failure: TLedgerError) => failure);
      expect(error).to.have.property('code', 'OUTCOME_UNKNOWN');
      expect(error).to.have.property('retryable', false);
      // The deadline may cut the last try of many.
      expect((error as TLedgerError).cause)
        .to.have.property('code')
        .that.is.oneOf(['NO_LEADER', 'DEADLINE_EXCEEDED']);
    });
  }

  it('with effects end with what was certain, rather than begin an attempt that the deadline will cut', async () => {
    await start(1);
    let calls = 0;
    let code: unknown;
    group.onCreateTopic = () => {
      calls++;
      return 'NO_LEADER';
    };
    // Again, should the machine be too slow for even one attempt.
    do {
      calls = 0;
      code = await client.admin.createTopic('ghost', { timeoutMs: 100 }).catch((error: TLedgerError) => error.code);
    } while (calls === 0 || code === 'OUTCOME_UNKNOWN');
    expect([code, calls]).to.deep.equal(['NO_LEADER', 1]);
  });

  describe('of a method that has effects', () => {
    /** Appends without a producer id: whoever does it twice has it twice. */
    async function append(options: CallOptions) {
      const records = encodeMessageRecord({ topic: 't', queueId: 0, body: Buffer.from('x'), bornAtMs: 1 });
      const request = { topic: 't', queue: 0, producerId: '', sequence: 0, records };
      const cluster = new Cluster({ endpoints: group.endpoints });
      try {
        await cluster.call(ledgerService.append, request, { timeoutMs: 1_000, ...options });
        return 'appended';
      } catch (error) {
        return (error as TLedgerError).code;
      } finally {
        cluster.close();
      }
    }

    it('are taken to happen once, though nobody says so: a lost answer ends them, and is unknown', async () => {
      await start(2);
      group.onAppend = () => 'apply, then drop';
      // An option that is not known, as callers without a type check may pass.
      const stray = { isRepeatable: false } as CallOptions;
      expect(await append(stray)).to.equal('OUTCOME_UNKNOWN');
      expect(group.bodies('t', 0)).to.deep.equal(['x']);
    });

    it('are unknown, whatever was said last, when an earlier answer was lost', async () => {
      for (const last of ['NO_LEADER', 'UNREACHABLE', 'DEADLINE_EXCEEDED', 'OVERLOADED'] as const) {
        await start(2);
        let calls = 0;
        group.onAppend = () => (++calls === 1 ? 'apply, then drop' : last);
        expect(await append({ effects: 'repeatable' }), last).to.equal('OUTCOME_UNKNOWN');
        expect(calls).to.be.greaterThan(1);
        await group.stop();
        await client.close();
      }
    });

    for (const code of ['INTERNAL', 'STORAGE_FAILED', 'DATA_CORRUPTED', 'OUTCOME_UNKNOWN'] as const) {
      it(`are unknown after ${code}, which says nothing about them`, async () => {
        await start(2);
        group.onAppend = () => code;
        expect(await append({})).to.equal('OUTCOME_UNKNOWN');
        expect(group.nodes.flatMap(({ unaryCalls }) => unaryCalls)).to.deep.equal(['append']);
      });
    }

    it('have failed for certain when every node said so', async () => {
      await start(2);
      group.onAppend = () => 'NO_LEADER';
      expect(await append({})).to.equal('NO_LEADER');
      expect(group.nodes.flatMap(({ unaryCalls }) => unaryCalls).length).to.be.greaterThan(1);
      expect(group.log).to.deep.equal([]);
    });
  });

  it('are not repeated after a refusal for good', async () => {
    await start(2);
    const failure = client.admin.createTopic('').catch((error: TLedgerError) => error.code);
    expect(await failure).to.equal('ILLEGAL_TOPIC');
    expect(group.nodes.flatMap(({ unaryCalls }) => unaryCalls)).to.deep.equal(['createTopic']);
  });

  it('prefer the leader once it is known', async () => {
    await start(3);
    group.lead(1);
    await client.admin.metadata();
    const isPreferred = async () => {
      await client.admin.clusterStatus();
      return group.nodes[1]!.unaryCalls.at(-1) === 'clusterStatus';
    };
    expect(await until(isPreferred, 20_000), 'it is known').to.equal(true);
    group.nodes[1]!.unaryCalls = [];
    await client.admin.clusterStatus();
    await client.admin.clusterStatus();
    expect(group.nodes[1]!.unaryCalls).to.deep.equal(['clusterStatus', 'clusterStatus']);
  });

  it('show all topics and offsets there are, though the node that answers lags', async () => {
    await start(1, 1_000);
    const [node] = group.nodes;
    group.put('t', 0, 'x');
    node!.lagsAt = 0;
    expect((await client.admin.metadata()).topics.map(({ name }) => name)).to.deep.equal(['t']);
    expect((await client.admin.topic('t')).ranges[0]!.maxOffset).to.equal('1');
    expect((await client.admin.metadata([], { stale: true })).topics).to.deep.equal([]);
    expect((await client.producer().send({ topic: 't', queue: 0, body: Buffer.from('y') })).queueOffset).to.equal(1);
    group.lead(undefined);
    const code = (error: TLedgerError) => error.code;
    expect(await client.admin.metadata().catch(code)).to.equal('NO_LEADER');
    expect(await client.admin.topic('nowhere').catch(code)).to.equal('NO_LEADER');
    expect(await client.admin.topic('nowhere', { stale: true }).catch(code)).to.equal('TOPIC_NOT_FOUND');
  });

  it('create, describe, transfer and verify', async () => {
    await start(3);
    const { topic, created } = await client.admin.createTopic('made', { queues: 2 });
    expect(created).to.equal(true);
    expect(topic).to.deep.include({ name: 'made', queues: 2 });
    expect((await client.admin.createTopic('made', { queues: 2 })).created).to.equal(false);
    expect((await client.admin.topic('made')).ranges).to.have.length(2);
    expect((await client.admin.transferLeadership('n2')).leader).to.deep.include({ nodeId: 'n2' });
    expect((await client.admin.verifyLog()).identical).to.equal(true);
    const unknown = client.admin.transferLeadership('n9').catch((error: TLedgerError) => error.code);
    expect(await unknown).to.equal('UNKNOWN_NODE');
  });

  it('watch the group, on another node when one dies', async () => {
    await start(3);
    const abort = new AbortController();
    const leaders: (string | undefined)[] = [];
    for await (const { leader, nodeId } of client.admin.watch({ signal: abort.signal })) {
      leaders.push(leader?.nodeId);
      const watched = group.nodes.findIndex(({ id }) => id === nodeId);
      if (leaders.length === 1) group.lead(1);
      else if (leaders.length === 2) {
        group.nodes[watched]!.kill();
        group.lead((watched + 1) % 3);
      } else abort.abort();
    }
    expect(leaders.slice(0, 2)).to.deep.equal(['n0', 'n1']);
    expect(leaders).to.have.length(3);
    expect(leaders[2]).to.equal(group.leader?.nodeId);
  });
});

describe('client: addresses', () => {
  const groups: FakeGroup[] = [];
  const clients: TLedgerClient[] = [];

  async function startGroup(nodes: number, cluster = 'fake'): Promise<FakeGroup> {
    const group = await FakeGroup.start(nodes);
    group.cluster = cluster;
    groups.push(group);
    return group;
  }

  function connect(...endpoints: string[]): TLedgerClient {
    const client = new TLedgerClient({ endpoints, timeoutMs: 1_000 });
    clients.push(client);
    return client;
  }

  /** Sends until `isEnough`, for at most a second. */
  async function sendSome(client: TLedgerClient, isEnough: () => boolean = () => false): Promise<void> {
    const producer = client.producer();
    for (let at = 0; at < 100 && !isEnough(); at++) {
      await producer.send({ topic: 't', queue: 0, body: Buffer.from(`m${at}`) });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  afterEach(async () => {
    for (const group of groups.splice(0)) await group.stop();
    await Promise.all(clients.splice(0).map((client) => client.close()));
  });

  it('of a leader are learned when it says that it is the one that was named', async () => {
    const group = await startGroup(2);
    group.lead(1);
    await sendSome(connect(group.endpoints[0]!), () => group.nodes[1]!.seen.length > 0);
    expect(group.nodes[1]!.seen.length).to.be.greaterThan(0);
  });

  const lies: readonly (readonly [string, string, number])[] = [
    ['another cluster', 'other', 1],
    ['another node of a cluster of the same name', 'fake', 0],
  ];
  for (const [who, cluster, at] of lies) {
    it(`where ${who} answers instead of the leader are not used`, async () => {
      const group = await startGroup(2);
      const other = await startGroup(2, cluster);
      group.lead(1);
      group.leaderAddress = other.endpoints[at]!;
      await sendSome(connect(group.endpoints[0]!));
      expect(other.log).to.have.length(0);
      expect(other.nodes.flatMap(({ unaryCalls }) => unaryCalls)).to.deep.equal([]);
      expect(group.bodies('t', 0)).to.have.length(100);
    });
  }

  it('that were given for two clusters are refused, before anything goes to the second', async () => {
    const group = await startGroup(1);
    const other = await startGroup(1, 'other');
    const client = connect(group.endpoints[0]!, other.endpoints[0]!);
    await client.admin.metadata();
    const [used, unused] = group.nodes[0]!.unaryCalls.length > 0 ? [group, other] : [other, group];
    used.nodes[0]!.kill();
    const failure = await client.admin.metadata().catch((error: TLedgerError) => error);
    expect(failure).to.have.property('code', 'WRONG_CLUSTER');
    expect((failure as TLedgerError).message).to.include(`${unused.endpoints[0]} belongs to cluster`);
    expect(unused.nodes[0]!.unaryCalls).to.deep.equal([]);
  });
});
