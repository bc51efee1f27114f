import { expect } from 'chai';
import fc from 'fast-check';
import { Quorum } from '../../src/raft/quorum.ts';

const voters = (count: number): string[] => Array.from({ length: count }, (_, at) => `n${at}`);

const simple = (count: number): Quorum => new Quorum({ voters: voters(count), outgoing: [] });

describe('raft/quorum', () => {
  it('agrees on the highest value that a majority has reached', () => {
    const values = fc.array(fc.nat(20), { minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(values, (reached) => {
        const quorum = simple(reached.length);
        const agreed = quorum.agreed((voter) => reached[Number(voter.slice(1))]!);
        const count = (least: number): number => reached.filter((value) => value >= least).length;
        expect(count(agreed) * 2).to.be.above(reached.length);
        expect(count(agreed + 1) * 2).to.be.at.most(reached.length);
      }),
    );
  });

  for (const { of, yes, no, outcome } of [
    { of: 1, yes: 1, no: 0, outcome: 'won' },
    { of: 2, yes: 1, no: 0, outcome: 'pending' },
    { of: 2, yes: 1, no: 1, outcome: 'lost' },
    { of: 3, yes: 2, no: 0, outcome: 'won' },
    { of: 3, yes: 1, no: 1, outcome: 'pending' },
    { of: 3, yes: 1, no: 2, outcome: 'lost' },
    { of: 4, yes: 2, no: 1, outcome: 'pending' },
    { of: 4, yes: 2, no: 2, outcome: 'lost' },
    { of: 5, yes: 3, no: 0, outcome: 'won' },
    { of: 5, yes: 2, no: 2, outcome: 'pending' },
    { of: 5, yes: 2, no: 3, outcome: 'lost' },
  ]) {
    it(`${yes} for and ${no} against of ${of}: ${outcome}`, () => {
      const votes = new Map(voters(yes + no).map((voter, at) => [voter, at < yes]));
      expect(simple(of).outcome(votes)).to.equal(outcome);
    });
  }

  it('counts voters only', () => {
    const quorum = simple(3);
    const strangers = new Map([
      ['x', true],
      ['y', true],
    ]);
    expect(quorum.outcome(strangers)).to.equal('pending');
    expect([quorum.isVoter('n2'), quorum.isVoter('x')]).to.deep.equal([true, false]);
  });

  it('decides nothing without voters, and has no voter twice', () => {
    const blank = new Quorum({ voters: [], outgoing: [] });
    expect(() => blank.agreed(() => 1)).to.throw('only a group with voters');
    expect(() => blank.outcome(new Map())).to.throw('only a group with voters');
    expect(blank.isVoter('n0')).to.equal(false);
    expect(() => new Quorum({ voters: ['n0', 'n0'], outgoing: [] })).to.throw('distinct');
  });
});

describe('raft/quorum: joint consensus (paper §6)', () => {
  const sides = fc.tuple(
    fc.uniqueArray(fc.nat(6), { minLength: 1, maxLength: 5 }),
    fc.uniqueArray(fc.nat(6), { minLength: 1, maxLength: 5 }),
  );
  const named = (ids: readonly number[]): string[] => ids.map((id) => `n${id}`).sort();

  it('agrees on what both majorities have reached, and on no more', () => {
    fc.assert(
      fc.property(sides, fc.array(fc.nat(20), { minLength: 7, maxLength: 7 }), ([incoming, outgoing], reached) => {
        const joint = new Quorum({ voters: named(incoming), outgoing: named(outgoing) });
        const agreed = joint.agreed((voter) => reached[Number(voter.slice(1))]!);
        const isReached = (least: number): boolean =>
          [incoming, outgoing].every((side) => side.filter((id) => reached[id]! >= least).length * 2 > side.length);
        expect([isReached(agreed), isReached(agreed + 1)]).to.deep.equal([true, false]);
      }),
    );
  });

  it('an election is won in both, lost in one', () => {
    const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(sides, votes, ([incoming, outgoing], answers) => {
        const given = new Map(
          answers.flatMap((answer, id) => (answer === undefined ? [] : [[`n${id}`, answer] as const])),
        );
        const outcomes = [incoming, outgoing].map((side) =>
          new Quorum({ voters: named(side), outgoing: [] }).outcome(given),
        );
        const joint = new Quorum({ voters: named(incoming), outgoing: named(outgoing) }).outcome(given);
        if (outcomes.includes('lost')) expect(joint).to.equal('lost');
        else expect(joint).to.equal(outcomes.includes('pending') ? 'pending' : 'won');
      }),
    );
  });

  it('whoever is in one of the two is a voter', () => {
    const joint = new Quorum({ voters: ['a', 'b'], outgoing: ['b', 'c'] });
    expect(joint.voters).to.deep.equal(['a', 'b', 'c']);
    expect(['a', 'c', 'd'].map((id) => joint.isVoter(id))).to.deep.equal([true, true, false]);
  });
});
