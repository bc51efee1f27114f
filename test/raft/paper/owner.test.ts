// What a member asks of its owner, and of its configuration.
import { assert, expect } from 'chai';
import { Group } from '../harness/group.ts';
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
    'no room in a message': { appendBytesMax: 0 },
  })) {
    it(`a configuration with ${name} is refused`, () => {
      expect(() => new Group({ config }).start()).to.throw();
    });
  }
});
