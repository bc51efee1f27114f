// The rule that sends who is far behind to a follower, and back.
import { expect } from 'chai';
import type { Gateway } from '../../src/rpc/gateway.ts';
import { backlogBytesOfMemory, ReadAdvice } from '../../src/rpc/read_from.ts';
import { FakeGateway } from './fake_gateway.ts';

const BACKLOG = 1_000;

/** The gateway of `nodeId` in a group of n0 (leads), n1, n2. */
function gatewayOf(nodeId: string, states: Record<string, string> = {}, leaderId: string | null = 'n0'): Gateway {
  const fake = new FakeGateway();
  const clientAddress = fake.members.members.find((member) => member.nodeId === leaderId)?.clientAddress ?? '';
  const leader = leaderId === null ? null : { nodeId: leaderId, clientAddress, term: fake.leader()!.term };
  return Object.assign(fake, { nodeId, leader: () => leader, replication: () => new Map(Object.entries(states)) });
}

const both = { n1: 'replicate', n2: 'replicate' };

describe('ReadAdvice', () => {
  it('is to stay, for who is not beyond the backlog', () => {
    for (const node of ['n0', 'n1']) {
      const reader = new ReadAdvice(gatewayOf(node, both), BACKLOG).reader();
      for (const backlog of [0, 1, 500, 1_000]) expect(reader.after(0, backlog), node).to.equal(null);
    }
  });

  it('sends who is far behind to a follower: the same one each time, another one than other readers', () => {
    const advice = new ReadAdvice(gatewayOf('n0', both), BACKLOG);
    const readers = Array.from({ length: 4 }, () => advice.reader());
    for (let round = 0; round < 3; round++) {
      const ids = readers.map((reader) => reader.after(0, 1_001)?.nodeId);
      expect(ids).to.deep.equal(['n1', 'n2', 'n1', 'n2']);
    }
    expect(readers[0]!.after(0, 5_000)).to.deep.equal({ nodeId: 'n1', clientAddress: '127.0.0.1:8082' });
  });

  it('names only followers that get every record as it comes', () => {
    const onlyN2 = new ReadAdvice(gatewayOf('n0', { n1: 'snapshot', n2: 'replicate' }), BACKLOG);
    for (let round = 0; round < 3; round++) expect(onlyN2.reader().after(0, 9_999)?.nodeId).to.equal('n2');
    for (const states of [{}, { n1: 'probe', n2: 'snapshot' }]) {
      expect(new ReadAdvice(gatewayOf('n0', states), BACKLOG).reader().after(0, 9_999)).to.equal(null);
    }
  });

  it('sends back who has caught up to three quarters of it in all queues, and nobody who never was behind', () => {
    const reader = new ReadAdvice(gatewayOf('n1'), BACKLOG).reader();
    expect(reader.after(0, 2_000), 'a follower sends nobody away').to.equal(null);
    expect(reader.after(1, 900)).to.equal(null);
    expect(reader.after(0, 0)).to.equal(null);
    expect(reader.after(1, 751)).to.equal(null);
    expect(reader.after(1, 750)).to.deep.equal({ nodeId: 'n0', clientAddress: '127.0.0.1:8081' });
  });

  it('is to stay at a follower that knows of no leader', () => {
    const reader = new ReadAdvice(gatewayOf('n1', {}, null), BACKLOG).reader();
    expect([2_000, 10].map((backlog) => reader.after(0, backlog))).to.deep.equal([null, null]);
  });

  it('remembers nothing of a single read', () => {
    const atLeader = new ReadAdvice(gatewayOf('n0', both), BACKLOG);
    expect([0, 1_000, 1_001, 1_001].map((backlog) => atLeader.once(backlog)?.nodeId)).to.deep.equal([
      undefined,
      undefined,
      'n1',
      'n2',
    ]);
    const atFollower = new ReadAdvice(gatewayOf('n2'), BACKLOG);
    expect([2_000, 751, 750, 0].map((backlog) => atFollower.once(backlog)?.nodeId)).to.deep.equal([
      undefined,
      undefined,
      'n0',
      'n0',
    ]);
  });

  it('goes by a share of the memory that there is', () => {
    expect(backlogBytesOfMemory()).to.be.within(16 * 1024 * 1024, 2 ** 50);
  });
});
