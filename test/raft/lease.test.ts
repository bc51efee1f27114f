import { expect } from 'chai';
import { Lease } from '../../src/raft/lease.ts';
import { leaseRoundsMax } from '../../src/raft/limits.ts';

/** 450 ms long. */
const lease = (): Lease => new Lease(500);

describe('raft/lease', () => {
  it('is held from the beginning of the last round that a majority echoed', () => {
    const held = lease();
    expect(held.isHeld(0)).to.equal(false);
    held.begin(1, 100);
    held.begin(2, 200);
    expect(held.isHeld(200), 'nobody has echoed anything').to.equal(false);
    held.confirm(1);
    expect([held.isHeld(549), held.isHeld(550)]).to.deep.equal([true, false]);
    held.confirm(2);
    expect([held.isHeld(649), held.isHeld(650)]).to.deep.equal([true, false]);
  });

  it('a later round confirms the earlier ones, one before them none', () => {
    const held = lease();
    held.begin(4, 100);
    held.confirm(3);
    expect(held.isHeld(101)).to.equal(false);
    held.begin(5, 200);
    held.confirm(Number.POSITIVE_INFINITY);
    expect(held.isHeld(649)).to.equal(true);
  });

  it('remembers so many rounds; one that is not noted counts as an earlier one', () => {
    const held = lease();
    for (let round = 1; round <= leaseRoundsMax + 10; round++) held.begin(round, round);
    held.confirm(leaseRoundsMax + 10);
    expect([held.isHeld(449 + leaseRoundsMax), held.isHeld(450 + leaseRoundsMax)]).to.deep.equal([true, false]);
  });

  it('begins anew with other majorities, and ends for good when somebody is asked to campaign', () => {
    const held = lease();
    held.begin(1, 0);
    held.confirm(1);
    held.restart();
    expect(held.isHeld(1)).to.equal(false);
    held.confirm(1);
    expect(held.isHeld(1), 'that round was of the others').to.equal(false);
    held.begin(2, 10);
    held.confirm(2);
    expect(held.isHeld(11)).to.equal(true);
    held.revoke();
    held.begin(3, 20);
    held.confirm(3);
    expect(held.isHeld(21)).to.equal(false);
  });
});
