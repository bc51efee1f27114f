// What callers who wait for another membership are told by what is committed.
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import { logIndex, type Term, term } from '../../src/raft/types.ts';
import { MembershipChanges } from '../../src/replica/membership_changes.ts';

const addresses = Object.fromEntries(['n0', 'n1', 'n2'].map((id) => [id, { peer: `${id}:1`, client: `${id}:2` }]));
const membership = bootstrap(addresses);

describe('a member that was to leave and is there', () => {
  const cases: readonly [string, Term | null, string][] = [
    ['on the leader that wrote the record, which saw all since: it was cancelled', term(3), 'INVALID_ARGUMENT'],
    ['on a follower, which may have skipped memberships: nobody knows', null, 'OUTCOME_UNKNOWN'],
    ['on a leader that another led in between: nobody knows', term(5), 'OUTCOME_UNKNOWN'],
  ];
  for (const [what, leadingTerm, code] of cases) {
    it(what, async () => {
      const changes = new MembershipChanges();
      const told = changes
        .begin({ type: 'remove', id: 'n2' }, 1_000, (accepted) => accepted({ index: logIndex(7), term: term(3) }))
        .then(
          () => 'done',
          (error: TLedgerError) => error.code,
        );
      const committedMembership = { index: logIndex(9), membership };
      changes.onCommitted({ commit: logIndex(9), committedMembership, leadingTerm, termAt: () => term(3) });
      expect(await told).to.equal(code);
      expect(changes.length).to.equal(0);
    });
  }
});
