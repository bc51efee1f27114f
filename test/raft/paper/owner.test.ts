// What a member asks of its owner, and of its configuration.
import { assert, expect } from 'chai';
import { SeededRandom } from '../../../src/base/random.ts';
import type { RaftOptions } from '../../../src/raft/options.ts';
import { Raft } from '../../../src/raft/raft.ts';
import { logIndex, term } from '../../../src/raft/types.ts';
import { defaultConfig, founded, Group } from '../harness/group.ts';
import { append, follower } from './messages.ts';

describe("the owner's side of the contract", () => {
  it('an input before the records of the last one were taken over is refused', () => {
    const group = follower([]);
    const raft = group.raft('n0');
    raft.step(append('n1', 'n0', 1, [0, 0], [1]).message, 0);
    expect(() => raft.tick(1)).to.throw('taken over');
    raft.ready();
    raft.tick(1);
  });

  it('a Ready hands out each thing once', () => {
    const group = follower([]);
    const raft = group.raft('n0');
    raft.step(append('n1', 'n0', 1, [0, 0], [1]).message, 0);
    assert.isTrue(raft.ready().stateChanged);
    const { hardState, append: written, messages, stateChanged } = raft.ready();
    expect({ hardState, written, messages, stateChanged }).to.deep.equal({
      hardState: null,
      written: null,
      messages: [],
      stateChanged: false,
    });
  });

  for (const [name, config] of Object.entries({
    'heartbeats slower than elections': { heartbeatIntervalMs: 600 },
    'a longest timeout below the shortest': { electionTimeoutMsMax: 400 },
    'an idle group louder than a busy one': { idleHeartbeatIntervalMs: 50 },
    'an idle interval that lets elections happen': { idleHeartbeatIntervalMs: 500 },
    'no room in a message': { appendBytesMax: 0 },
  })) {
    it(`a configuration with ${name} is refused`, () => {
      expect(() => new Group({ config }).start()).to.throw();
    });
  }
});

describe('what a member starts from', () => {
  const options = (over: Partial<RaftOptions>): RaftOptions => ({
    config: { ...defaultConfig, id: 'n0' },
    hardState: { term: term(1), vote: null },
    log: {
      baseIndex: logIndex(2),
      baseTerm: term(1),
      lastIndex: logIndex(4),
      runs: [{ term: term(1), firstIndex: logIndex(3) }],
    },
    memberships: [{ index: logIndex(0), membership: founded(['n0', 'n1', 'n2']) }],
    sizer: { fit: (lastIndex) => ({ lastIndex, sizeBytes: 1 }) },
    random: new SeededRandom(1),
    nowMs: 0,
    ...over,
  });
  const at = (index: number) => ({ index: logIndex(index), membership: founded(['n0', 'n1']) });

  it('the membership at its commit index, and those above it in its log', () => {
    const raft = new Raft(options({ memberships: [at(1), at(3), at(4)], commit: logIndex(3) }));
    expect([raft.committedMembership.index, raft.membership.index]).to.deep.equal([3, 4]);
    expect([raft.commit, raft.flushedIndex, raft.lastIndex]).to.deep.equal([3, 4, 4]);
  });

  for (const [name, over] of Object.entries({
    'no membership': { memberships: [] },
    'a membership from above its commit index only': { memberships: [at(4)] },
    'a membership beyond its log': { memberships: [at(1), at(5)] },
    'memberships out of order': { memberships: [at(1), at(4), at(3)] },
    'a commit index beyond its log': { commit: logIndex(5) },
    'a commit index below its base': { commit: logIndex(1) },
    'a hard state older than its log': { hardState: { term: term(0), vote: null } },
  } satisfies Record<string, Partial<RaftOptions>>)) {
    it(`never ${name}`, () => {
      expect(() => new Raft(options(over))).to.throw();
    });
  }
});
