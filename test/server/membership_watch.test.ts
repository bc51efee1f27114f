// What a node says and remembers about being a member, and about not being one any more.
import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import { logIndex, type MembershipEntry } from '../../src/raft/types.ts';
import { MembershipWatch } from '../../src/server/membership_watch.ts';

const entry = (index: number, ...voters: string[]): MembershipEntry => ({
  index: logIndex(index),
  membership: bootstrap(Object.fromEntries(voters.map((id) => [id, { peer: `${id}:1`, client: `${id}:2` }]))),
});

class Fixture {
  readonly clock = new ManualClock();
  readonly said: string[] = [];
  membership: MembershipEntry;
  committedIndex = 0;
  leaderId: string | null = null;
  wasMember: boolean;
  promised = ['n1', 'n2'];
  changes = 0;
  removals = 0;
  readonly watch: MembershipWatch;
  #memberListener: () => void = () => {};
  #stateListener: () => void = () => {};

  constructor(membership: MembershipEntry, wasMember: boolean) {
    this.membership = membership;
    this.wasMember = wasMember;
    const self = this;
    const belonging = {
      get wasMember() {
        return self.wasMember;
      },
      noteMember: () => {
        this.wasMember = true;
      },
      forgetAllBut: (isMember: (id: string) => boolean) => {
        this.promised = this.promised.filter(isMember);
      },
    };
    const say = (level: string) => (message: string, fields: object) =>
      void this.said.push(`${level}: ${message} ${JSON.stringify(fields)}`);
    const { clock } = this;
    const onRemoved = (): void => void this.removals++;
    const options = { nodeId: 'n0', clock, belonging, info: say('info'), warn: say('warn'), onRemoved };
    this.watch = new MembershipWatch(options);
    this.watch.onChange(() => this.changes++);
    this.watch.start({
      get membership() {
        return self.membership;
      },
      get leaderId() {
        return self.leaderId;
      },
      status: () => ({ committedIndex: this.committedIndex }),
      onMembership: (listener) => {
        this.#memberListener = listener;
        return () => {};
      },
      onChange: (listener) => {
        this.#stateListener = listener;
        return () => {};
      },
    });
  }

  change(membership: MembershipEntry): void {
    this.membership = membership;
    this.#memberListener();
  }

  lead(leaderId: string | null): void {
    this.leaderId = leaderId;
    this.#stateListener();
  }

  get warnings(): string[] {
    return this.said.filter((line) => line.startsWith('warn'));
  }
}

describe('what a node makes of the members', () => {
  it('says who they are, and remembers that it is one', () => {
    const node = new Fixture(entry(0), false);
    expect(node.said).to.deep.equal(['info: waiting to be added to a group {"node":"n0"}']);
    node.change(entry(5, 'n1', 'n2'));
    expect(node.wasMember, 'an old record that does not name it').to.equal(false);
    node.change(entry(9, 'n0', 'n1', 'n2'));
    expect(node.wasMember).to.equal(true);
    expect(node.said.at(-1)).to.equal('info: members {"record":9,"voters":"n0,n1,n2"}');
    expect(node.warnings).to.deep.equal([]);
  });

  it('says that it is out once that is final, and again after a restart', () => {
    const node = new Fixture(entry(0, 'n0', 'n1'), true);
    node.committedIndex = 8;
    node.change(entry(9, 'n1'));
    node.clock.advance(1_000);
    expect(node.warnings, 'it may yet be taken back').to.deep.equal([]);
    node.committedIndex = 9;
    node.clock.advance(1_000);
    expect(node.warnings).to.have.length(1);
    expect(node.warnings[0]).to.match(/removed from the group.*"record":9/);
    expect(node.changes).to.equal(1);
    node.clock.advance(10_000);
    expect(node.warnings, 'once').to.have.length(1);
    expect(node.removals).to.equal(1);
    const restarted = new Fixture(node.membership, true);
    expect(restarted.warnings).to.have.length(0);
    restarted.committedIndex = 9;
    restarted.clock.advance(1_000);
    expect(restarted.warnings).to.have.length(1);
  });

  it('frees the name of another that was removed once that is final', () => {
    const node = new Fixture(entry(0, 'n0', 'n1', 'n2'), true);
    node.committedIndex = 8;
    node.change(entry(9, 'n0', 'n1'));
    node.clock.advance(1_000);
    expect(node.promised, 'it may yet be taken back').to.deep.equal(['n1', 'n2']);
    node.committedIndex = 9;
    node.change(node.membership);
    expect(node.promised).to.deep.equal(['n1']);
  });

  it('takes it back when it is taken back, and says it anew when it is removed again', () => {
    const node = new Fixture(entry(0, 'n0', 'n1'), true);
    node.change(entry(9, 'n1'));
    node.change(entry(0, 'n0', 'n1'));
    node.committedIndex = 20;
    node.clock.advance(1_000);
    expect(node.warnings).to.deep.equal([]);
    node.change(entry(21, 'n1'));
    node.committedIndex = 21;
    node.clock.advance(1_000);
    node.change(entry(22, 'n0', 'n1'));
    node.change(entry(23, 'n1'));
    node.committedIndex = 23;
    node.clock.advance(1_000);
    expect(node.warnings).to.have.length(2);
  });

  it('believes a member that says so, until a leader turns to it', () => {
    const node = new Fixture(entry(0, 'n0', 'n1'), true);
    node.watch.onOutcast('n1 says: no');
    node.watch.onOutcast('n1 says: no');
    expect(node.watch.isOutcast).to.equal(true);
    expect(node.warnings).to.have.length(1);
    expect(node.warnings[0]).to.match(/n1 says: no/);
    node.lead(null);
    expect(node.watch.isOutcast).to.equal(true);
    node.lead('n1');
    expect(node.watch.isOutcast).to.equal(false);
    node.watch.onOutcast('n2 says: no');
    expect(node.watch.isOutcast, 'whoever has a leader is no outcast').to.equal(false);
    expect(node.removals, 'the word of one member is not enough to stop calling').to.equal(0);
    expect(node.changes).to.equal(2);
  });
});
