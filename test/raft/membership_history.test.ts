// What is in force and what is committed, held against the obvious model: all entries in a list, looked through anew.
import { expect } from 'chai';
import fc from 'fast-check';
import { MembershipHistory } from '../../src/raft/membership_history.ts';
import { logIndex, type MembershipEntry } from '../../src/raft/types.ts';
import { founded } from './harness/group.ts';

const entry = (index: number, ...voters: string[]): MembershipEntry => ({
  index: logIndex(index),
  membership: founded(voters.length === 0 ? [`n${index}`] : voters),
});

describe('raft/membership_history', () => {
  it('goes by the last one in the log, whatever is appended, removed and committed', () => {
    const step = fc.tuple(fc.constantFrom('append', 'truncate', 'commit'), fc.integer({ min: 1, max: 8 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const history = new MembershipHistory([entry(0)], logIndex(0));
        let model = [entry(0)];
        let commit = 0;
        for (const [what, by] of steps) {
          const last = model.at(-1)!.index;
          if (what === 'append') {
            const added = entry(Math.max(last, commit) + by);
            history.append(added);
            model.push(added);
          } else if (what === 'truncate') {
            const index = Math.max(commit, last - by);
            expect(history.truncateAfter(logIndex(index))).to.equal(last > index);
            model = model.filter((known) => known.index <= index);
          } else {
            commit += by;
            history.commit(logIndex(commit));
          }
          const committed = model.filter(({ index }) => index <= commit).at(-1);
          expect(history.current).to.deep.equal(model.at(-1));
          expect(history.committed).to.deep.equal(committed);
          expect(history.isSettled).to.equal(history.current.index === history.committed.index);
          expect(history.quorum.voters).to.deep.equal(model.at(-1)!.membership.voters);
          const named = model.filter(({ index }) => index >= committed!.index).map(({ index }) => `n${index}`);
          expect([...history.members]).to.have.members(named);
        }
      }),
    );
  });

  it('knows those who are leaving until that is committed', () => {
    const history = new MembershipHistory([entry(0, 'a', 'b')], logIndex(0));
    history.append(entry(5, 'a'));
    expect([...history.members]).to.have.members(['a', 'b']);
    const { version } = history;
    history.commit(logIndex(4));
    expect(history.version).to.equal(version);
    history.commit(logIndex(5));
    expect(history.version).to.be.above(version);
    expect([...history.members]).to.deep.equal(['a']);
  });

  it('refuses to remove what is committed, and to go back', () => {
    const history = new MembershipHistory([entry(3)], logIndex(4));
    expect(() => history.append(entry(3))).to.throw('follow each other');
    expect(() => history.truncateAfter(logIndex(2))).to.throw('never removed');
  });
});
