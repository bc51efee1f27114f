// The log's shape, held against the obvious model: an array with one term a record.
import { expect } from 'chai';
import fc from 'fast-check';
import { TermLog } from '../../src/raft/term_log.ts';
import { logIndex, type TermRun, term } from '../../src/raft/types.ts';

/** Runs of an array of terms whose first record has index `first`. */
function runsOf(terms: readonly number[], first = 1): TermRun[] {
  return terms
    .map((value, at) => ({ term: term(value), firstIndex: logIndex(first + at) }))
    .filter((run, at) => run.term !== terms[at - 1]);
}

function logOf(terms: readonly number[], base = 0, baseTerm = 0): TermLog {
  const lastIndex = logIndex(base + terms.length);
  return new TermLog({
    baseIndex: logIndex(base),
    baseTerm: term(baseTerm),
    lastIndex,
    runs: runsOf(terms, base + 1),
  });
}

function termsOf(log: TermLog): number[] {
  const terms: number[] = [];
  for (let index = log.baseIndex + 1; index <= log.lastIndex; index++) terms.push(log.termAt(index));
  return terms;
}

/** Terms that never fall. */
const risingTerms = fc
  .array(fc.integer({ min: 1, max: 6 }), { maxLength: 30 })
  .map((terms) => terms.sort((a, b) => a - b));

describe('raft/term_log', () => {
  it('gives every record its term, from any base', () => {
    fc.assert(
      fc.property(risingTerms, fc.nat(50), (terms, base) => {
        const log = logOf(terms, base, base === 0 ? 0 : 1);
        expect(termsOf(log)).to.deep.equal(terms);
        expect(log.lastIndex).to.equal(base + terms.length);
        expect(log.lastTerm).to.equal(terms.at(-1) ?? (base === 0 ? 0 : 1));
        expect(log.termAt(base)).to.equal(base === 0 ? 0 : 1);
      }),
    );
  });

  it('copies its shape', () => {
    fc.assert(
      fc.property(risingTerms, (terms) => {
        expect(new TermLog(logOf(terms).shape()).shape()).to.deep.equal(logOf(terms).shape());
        expect(logOf(terms).shape().runs).to.deep.equal(runsOf(terms));
      }),
    );
  });

  it('matches (index, term) where it holds that record, its base included', () => {
    const log = logOf([2, 2, 3], 5, 1);
    for (const [index, value, expected] of [
      [4, 1, false],
      [5, 1, true],
      [5, 0, false],
      [7, 2, true],
      [7, 3, false],
      [8, 3, true],
      [9, 3, false],
    ] as const) {
      expect(log.matches(logIndex(index), term(value)), `(${index}, ${value})`).to.equal(expected);
    }
  });

  it('grows by counts and by runs, and shrinks from the end', () => {
    fc.assert(
      fc.property(risingTerms, risingTerms, fc.nat(40), (first, second, keep) => {
        const log = logOf(first);
        const more = second.map((value) => value + 6);
        if (more.length > 0)
          log.append(runsOf(more, first.length + 1), logIndex(first.length + 1), logIndex(first.length + more.length));
        expect(log.extend(term(13), 2)).to.equal(first.length + more.length + 1);
        const all = [...first, ...more, 13, 13];
        expect(termsOf(log)).to.deep.equal(all);
        if (keep < all.length) log.truncateAfter(logIndex(keep));
        expect(termsOf(log)).to.deep.equal(all.slice(0, Math.max(keep, keep < all.length ? 0 : all.length)));
        log.extend(term(14), 1);
        expect(log.lastTerm).to.equal(14);
      }),
    );
  });

  it('appends from the middle of the runs that came with a message', () => {
    const log = logOf([1, 1, 2]);
    log.append(runsOf([1, 2, 2, 4, 4], 2), logIndex(4), logIndex(6));
    expect(termsOf(log)).to.deep.equal([1, 1, 2, 2, 4, 4]);
    expect(log.shape().runs).to.have.length(3);
  });

  it('finds the first record that differs from what a message says', () => {
    fc.assert(
      fc.property(risingTerms, risingTerms, (own, sent) => {
        fc.pre(sent.length > 0);
        const expected = sent.findIndex((value, at) => own[at] !== value);
        const found = logOf(own).firstDifference(runsOf(sent), logIndex(1), logIndex(sent.length));
        expect(found).to.equal((expected === -1 ? sent.length : expected) + 1);
      }),
    );
  });

  it('finds the last record whose term is at most a given one', () => {
    fc.assert(
      fc.property(risingTerms, fc.nat(40), fc.integer({ min: 0, max: 7 }), (terms, index, termMax) => {
        let expected = Math.min(index, terms.length);
        while (expected > 0 && terms[expected - 1]! > termMax) expected--;
        expect(logOf(terms).lastWithTermAtMost(index, term(termMax))).to.equal(expected);
      }),
    );
    expect(logOf([4, 4], 10, 3).lastWithTermAtMost(11, term(1)), 'never below the base').to.equal(10);
    expect(logOf([4, 4], 10, 3).lastWithTermAtMost(2, term(1))).to.equal(10);
  });

  it('gives the runs of any part', () => {
    fc.assert(
      fc.property(risingTerms, fc.nat(), fc.nat(), (terms, one, other) => {
        fc.pre(terms.length > 0);
        const [first, last] = [(one % terms.length) + 1, (other % terms.length) + 1].sort((a, b) => a - b) as [
          number,
          number,
        ];
        const runs = logOf(terms).runsBetween(logIndex(first), logIndex(last));
        expect(runs).to.deep.equal(runsOf(terms.slice(first - 1, last), first));
      }),
    );
  });

  it('compares by last term, then by length (§5.4.1)', () => {
    fc.assert(
      fc.property(risingTerms, risingTerms, (own, other) => {
        const [ownTerm, otherTerm] = [own.at(-1) ?? 0, other.at(-1) ?? 0];
        const expected = otherTerm > ownTerm || (otherTerm === ownTerm && other.length >= own.length);
        expect(logOf(own).isUpToDate(logIndex(other.length), term(otherTerm))).to.equal(expected);
      }),
    );
  });

  it('forgets what lies before a cut, and nothing else', () => {
    fc.assert(
      fc.property(risingTerms, fc.nat(), fc.nat(), (terms, one, other) => {
        fc.pre(terms.length > 0);
        const cuts = [one, other].map((value) => value % (terms.length + 1)).sort((a, b) => a - b);
        const log = logOf(terms);
        for (const cut of cuts) log.cutTo(logIndex(cut));
        const base = cuts.at(-1)!;
        const expected = logOf(terms.slice(base), base, terms[base - 1] ?? 0);
        expect(log.shape()).to.deep.equal(expected.shape());
        const next = log.extend(term(9), 2);
        expect([next, log.termAt(next), log.lastIndex]).to.deep.equal([terms.length + 1, 9, terms.length + 2]);
      }),
    );
  });

  it('begins anew after a snapshot', () => {
    const log = logOf([1, 2, 2]);
    log.restart(logIndex(7), term(3));
    expect(log.shape()).to.deep.equal({ baseIndex: 7, baseTerm: 3, lastIndex: 7, runs: [] });
    expect([log.lastTerm, log.matches(logIndex(7), term(3)), log.matches(logIndex(3), term(2))]).to.deep.equal([
      3,
      true,
      false,
    ]);
    log.append(runsOf([3, 4], 8), logIndex(8), logIndex(9));
    expect(termsOf(log)).to.deep.equal([3, 4]);
  });

  for (const [name, misuse] of Object.entries({
    'a term below the last one': (log: TermLog) => log.extend(term(1), 1),
    'no records at all': (log: TermLog) => log.extend(term(9), 0),
    'a gap': (log: TermLog) => log.append(runsOf([3], 9), logIndex(9), logIndex(9)),
    'records without runs': (log: TermLog) => log.append([], logIndex(4), logIndex(4)),
    'runs that begin too late': (log: TermLog) => log.append(runsOf([3], 5), logIndex(4), logIndex(5)),
    'falling terms': (log: TermLog) => log.append(runsOf([4, 3], 4), logIndex(4), logIndex(5)),
    'a truncation past the end': (log: TermLog) => log.truncateAfter(logIndex(3)),
    'a cut past the end': (log: TermLog) => log.cutTo(logIndex(4)),
    'a term past the end': (log: TermLog) => log.termAt(4),
    'runs past the end': (log: TermLog) => log.runsBetween(logIndex(2), logIndex(4)),
  })) {
    it(`refuses ${name}`, () => {
      expect(() => misuse(logOf([1, 2, 2])))
        .to.throw()
        .with.property('name', 'InvariantError');
    });
  }
});
