import { expect } from 'chai';
import fc from 'fast-check';
import { Quorum } from '../../src/raft/quorum.ts';

const voters = (count: number): string[] => Array.from({ length: count }, (_, at) => `n${at}`);

describe('raft/quorum', () => {
  it('agrees on the highest value that a majority has reached', () => {
    const values = fc.array(fc.nat(20), { minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(values, (reached) => {
        const quorum = new Quorum(voters(reached.length));
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
      expect(new Quorum(voters(of)).outcome(votes)).to.equal(outcome);
    });
  }

  it('counts voters only', () => {
    const quorum = new Quorum(voters(3));
    const strangers = new Map([
      ['x', true],
      ['y', true],
    ]);
    expect(quorum.outcome(strangers)).to.equal('pending');
    expect([quorum.isVoter('n2'), quorum.isVoter('x')]).to.deep.equal([true, false]);
  });

  it('has at least one voter, and no voter twice', () => {
    expect(() => new Quorum([])).to.throw('at least one voter');
    expect(() => new Quorum(['n0', 'n0'])).to.throw('distinct');
  });
});
