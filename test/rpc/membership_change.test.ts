// Beginning a change of members on the leader: when it is refused, when it counts as begun, what is unknown.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import { type LogIndex, logIndex, type MembershipChange, type MembershipEntry } from '../../src/raft/types.ts';
import { beginChange, type ChangingReplica } from '../../src/rpc/membership_change.ts';
import { addressOf, batchOf, Group } from '../replica/group.ts';
import { outcome } from '../replica/load.ts';

const founders = bootstrap(
  Object.fromEntries(['n0', 'n1', 'n2'].map((id) => [id, { peer: `${id}:1`, client: `${id}:2` }])),
);
const remove: MembershipChange = { type: 'remove', id: 'n1' };

class FakeReplica implements ChangingReplica {
  isLeader = true;
  membership: MembershipEntry = { index: logIndex(4), membership: founders };
  connectedPeers: string[] = ['n1', 'n2'];
  /** What consensus says to a change. */
  refusal: TLedgerError | null = null;
  asked: MembershipChange[] = [];
  commit: () => void = () => {};
  lose: (error: Error) => void = () => {};

  status() {
    return { nodeId: 'n0' };
  }

  changeMembership(change: MembershipChange): Promise<unknown> {
    this.asked.push(change);
    if (this.refusal !== null) return Promise.reject(this.refusal);
    this.membership = { index: logIndex(9), membership: founders };
    return new Promise(() => {});
  }

  whenApplied(index: LogIndex): Promise<void> {
    expect(index).to.equal(9);
    return new Promise((resolve, reject) => {
      this.commit = resolve;
      this.lose = reject;
    });
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: TLedgerError) => error.code,
  );

describe('a change of members at the leader', () => {
  it('has begun when its first record is committed, not when it is done', async () => {
    const replica = new FakeReplica();
    let index: number | undefined;
    const begun = beginChange(replica, { change: remove, force: false }, 1_000).then((at) => {
      index = at;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(index).to.equal(undefined);
    replica.commit();
    await begun;
    expect(index).to.equal(9);
  });

  it('is unknown when leadership is lost, or the time is up, before that', async () => {
    const replica = new FakeReplica();
    const code = codeOf(beginChange(replica, { change: remove, force: false }, 1_000));
    await new Promise((resolve) => setImmediate(resolve));
    replica.lose(new TLedgerError('DEADLINE_EXCEEDED'));
    expect(await code).to.equal('OUTCOME_UNKNOWN');
  });

  it('is refused by whoever does not lead', async () => {
    const replica = new FakeReplica();
    replica.isLeader = false;
    expect(await codeOf(beginChange(replica, { change: remove, force: true }, 1_000))).to.equal('NOT_LEADER');
    expect(replica.asked).to.deep.equal([]);
  });

  for (const code of ['INVALID_ARGUMENT', 'UNKNOWN_NODE', 'MEMBERSHIP_CHANGING'] as const) {
    it(`is refused with ${code} as consensus says`, async () => {
      const replica = new FakeReplica();
      replica.refusal = new TLedgerError(code);
      expect(await codeOf(beginChange(replica, { change: remove, force: false }, 1_000))).to.equal(code);
    });
  }

  it('is refused when the members left would not answer, unless it is forced', async () => {
    const replica = new FakeReplica();
    replica.connectedPeers = ['n1'];
    expect(await codeOf(beginChange(replica, { change: remove, force: false }, 1_000))).to.equal('NO_HEALTHY_MAJORITY');
    expect(replica.asked).to.deep.equal([]);
    const forced = beginChange(replica, { change: remove, force: true }, 1_000);
    await new Promise((resolve) => setImmediate(resolve));
    replica.commit();
    expect(await forced).to.equal(9);
  });

  it('has not begun when a record of the next leader has the place of its own', async () => {
    const group = await Group.started({ spares: 1 });
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    group.isolate(leader);
    const change: MembershipChange = { type: 'add', id: 'n3', address: addressOf('n3'), promote: true, replaces: null };
    let code = '';
    void codeOf(beginChange(group.replica(leader), { change, force: true }, 60_000)).then((told) => {
      code = told;
    });
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    void outcome(group.append(group.leader()!, batchOf('T', ['instead'])));
    await group.run(100);
    expect(code).to.equal('');
    group.cut.clear();
    await group.until('the answer', () => code !== '');
    expect(code).to.equal('NOT_LEADER');
  });
});
