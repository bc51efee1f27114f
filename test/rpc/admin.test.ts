// Admin and Metadata: questions about the group.
import { status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { physicalOffset } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { codecs } from '../../src/wire/services.ts';
import { adminService, ask, type Harness, ledgerService, refusal, startHarness } from './harness.ts';

describe('Admin', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  it('tells the state of all members, and why one cannot be asked', async () => {
    const answer = await ask(harness.client, adminService.clusterStatus, { localOnly: false });
    expect(answer.outside).to.equal('');
    expect(answer).to.deep.include({ cluster: 'tledger', group: 'g0', leaderId: 'n1' });
    expect(answer.nodes.map((node) => [node.nodeId, node.reachable, node.error])).to.deep.equal([
      ['n0', true, ''],
      ['n1', true, ''],
      ['n2', false, 'gone'],
    ]);
    expect(answer.nodes.map((node) => node.replication)).to.deep.equal(['', 'snapshot', '']);
    expect(answer.nodes[0]).to.include({ role: 'follower', term: '3', uptimeMs: '5', clientAddress: '127.0.0.1:8081' });
  });

  it('tells the state of one node alone', async () => {
    const answer = await ask(harness.client, adminService.clusterStatus, { localOnly: true });
    expect(answer.nodes.map((node) => node.nodeId)).to.deep.equal(['n0']);
  });

  it('creates a topic, with four queues unless told otherwise, and says if it was there', async () => {
    const create = (topic: string, queues: number) => ask(harness.client, adminService.createTopic, { topic, queues });
    expect((await create('a', 0)).topic).to.deep.include({ name: 'a', queues: 4 });
    expect((await create('b', 9)).topic?.ranges).to.have.length(9);
    expect((await create('a', 4)).created).to.equal(false);
    expect(await refusal(create('a', 5))).to.include({ status: status.ALREADY_EXISTS, code: 'TOPIC_EXISTS' });
    expect(await refusal(create('c', -1))).to.include({ status: status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT' });
  });

  it('hands over leadership, and names who leads then', async () => {
    const transfer = (target: string) => ask(harness.client, adminService.transferLeadership, { target });
    expect((await transfer('')).leader).to.include({ nodeId: 'n2', term: '4' });
    expect((await transfer('n0')).leader).to.include({ nodeId: 'n0' });
    expect(await refusal(transfer('n9'))).to.include({ status: status.NOT_FOUND, code: 'UNKNOWN_NODE' });
  });

  const digest = (chainCrc: number, end = 100) => ({ index: logIndex(7), chainCrc, endPosition: physicalOffset(end) });
  const verdicts: readonly [string, (ReturnType<typeof digest> | null)[], boolean][] = [
    ['three equal replicas', [digest(5), digest(5), digest(5)], true],
    ['another checksum', [digest(5), digest(6), digest(5)], false],
    ['another end', [digest(5), digest(5), digest(5, 101)], false],
    ['a member that does not answer', [digest(5), null, digest(5)], false],
    ['nobody who answers', [null, null, null], false],
  ];
  for (const [what, digests, identical] of verdicts) {
    it(`calls the logs ${identical ? '' : 'not '}identical with ${what}`, async () => {
      harness.gateway.digests = harness.gateway.members.members.map((member, at) => {
        const one = digests[at] ?? null;
        return one === null
          ? { member, isReachable: false, digest: null, error: 'gone' }
          : { member, isReachable: true, digest: one, error: null };
      });
      const answer = await ask(harness.client, adminService.verifyLog, { index: '0' });
      expect(answer.identical).to.equal(identical);
      expect(answer.replicas.map((replica) => replica.reachable)).to.deep.equal(digests.map((one) => one !== null));
      expect(answer.replicas.find((replica) => replica.reachable)?.chainCrc ?? 5).to.equal(5);
    });
  }

  it('tells who belongs to the group, by which record', async () => {
    const { gateway, client } = harness;
    gateway.members = { ...gateway.members, index: logIndex(12), isChangingOver: true };
    const { membership } = await ask(client, adminService.clusterStatus, { localOnly: true });
    expect(membership).to.deep.include({ index: '12', committed: true, changingOver: true });
    expect(membership?.members.map(({ nodeId, role }) => `${nodeId} ${role}`)).to.deep.equal([
      'n0 voter',
      'n1 voter',
      'n2 voter',
    ]);
    gateway.isOutside = true;
    const { outside } = await ask(client, adminService.clusterStatus, { localOnly: false });
    expect(outside).to.match(/does not belong to the group/);
    gateway.isOutside = false;
    const metadata = await ask(client, ledgerService.metadata, { topics: ['orders'] });
    expect(metadata.membershipIndex).to.equal('12');
    expect(metadata.members[2]).to.deep.equal({
      ...{ nodeId: 'n2', clientAddress: '127.0.0.1:8083', peerAddress: '127.0.0.1:40913', role: 'voter' },
    });
  });

  it('passes on what is to be changed of the members, and refuses what is no change', async () => {
    const { gateway, client } = harness;
    const request = codecs.changeMembershipRequest.decode(Buffer.alloc(0));
    const change = (fields: object) => ask(client, adminService.changeMembership, { ...request, ...fields });
    expect(await change({ kind: 'REMOVE', nodeId: 'n1', force: true })).to.deep.equal({ index: '42' });
    expect(gateway.orders).to.deep.equal([{ change: { type: 'remove', id: 'n1' }, force: true }]);
    for (const fields of [{}, { kind: 'REMOVE' }, { kind: 'ADD', nodeId: 'n3' }]) {
      expect(await refusal(change(fields))).to.include({ status: status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT' });
    }
    expect(gateway.orders).to.have.length(1);
  });

  it('refuses an index beyond 2^53', async () => {
    const answer = await refusal(ask(harness.client, adminService.verifyLog, { index: '18446744073709551615' }));
    expect(answer).to.include({ status: status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT' });
  });

  it('Metadata tells of all topics, or of those asked for', async () => {
    harness.gateway.fake.addTopic('other', 1);
    const names = async (topics: string[]) =>
      (await ask(harness.client, ledgerService.metadata, { topics })).topics.map((topic) => topic.name);
    expect(await names([])).to.deep.equal(['orders', 'other']);
    expect(await names(['other', 'nobody'])).to.deep.equal(['other']);
    expect(harness.gateway.barriers).to.equal(1);
  });

  it('tells each topic once, however often it is named, and refuses too many names and illegal ones', async () => {
    const metadata = (topics: readonly string[]) => ask(harness.client, ledgerService.metadata, { topics });
    const many = Array.from({ length: 1_000 }, () => 'orders');
    expect((await metadata(many)).topics.map(({ name }) => name)).to.deep.equal(['orders']);
    expect(await refusal(metadata([...many, 'orders']))).to.include({ code: 'INVALID_ARGUMENT' });
    expect(await refusal(metadata(['../orders']))).to.include({ code: 'ILLEGAL_TOPIC' });
  });

  it('catches up first when it is asked for what is current, and only then', async () => {
    const { gateway, client } = harness;
    const before = gateway.barriers;
    await ask(client, ledgerService.metadata, { topics: ['orders'] });
    expect(gateway.barriers).to.equal(before);
    await ask(client, ledgerService.metadata, { topics: ['orders'], current: true });
    await ask(client, ledgerService.metadata, { topics: ['nobody', 'neither', 'orders'] });
    expect(gateway.barriers).to.equal(before + 2);
  });

  it('Metadata answers without a leader, but does not call a topic missing then', async () => {
    harness.gateway.setLeader(null);
    const answer = await ask(harness.client, ledgerService.metadata, { topics: ['orders'] });
    expect(answer.leader).to.equal(null);
    expect(answer.topics).to.have.length(1);
    expect(await refusal(ask(harness.client, ledgerService.metadata, { topics: ['nobody'] }))).to.include({
      code: 'NO_LEADER',
    });
  });
});
