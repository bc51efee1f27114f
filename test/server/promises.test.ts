// What a node remembers of promises, and what it does when its own are lost.
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { Promises } from '../../src/server/promises.ts';
import { claimDirectory } from '../../src/storage/identity.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';

function fixture(founding: readonly string[]) {
  const address = { peer: 'p:1', client: 'c:1' };
  const claimed = claimDirectory({
    disk: new MemoryDisk(),
    directory: '/g',
    identity: { cluster: 'c', group: 'g', nodeId: 'n0', segmentSizeBytes: 4096 },
    founders: Object.fromEntries(founding.map((id) => [id, address])),
  });
  const hardState = { state: { term: 0 } };
  const log = { lastIndex: 0 };
  const warnings: string[] = [];
  const losses: TLedgerError[] = [];
  const promises = new Promises({
    claimed,
    hardState,
    log,
    members: () => ({ addresses: { n0: address, n1: address } }),
    onWarning: (message) => warnings.push(message),
    onLost: (error) => losses.push(error),
  });
  return { promises, claimed, hardState, log, warnings, losses };
}

describe('what a node knows of promises', () => {
  it('is blank until it takes part in a term, and never again', () => {
    const { promises, hardState, log } = fixture(['n0', 'n1']);
    expect(promises.isBlank).to.equal(true);
    hardState.state = { term: 1 };
    expect(promises.isBlank).to.equal(false);
    hardState.state = { term: 0 };
    log.lastIndex = 1;
    expect(promises.isBlank).to.equal(false);
  });

  it('notes members only: a removed one that still runs does not take its name back', () => {
    const { promises, claimed } = fixture(['n0', 'n1']);
    promises.notePromised('n1');
    promises.notePromised('n7');
    expect(claimed.promised).to.deep.equal(['n1']);
    expect([promises.hasPromised('n1'), promises.hasPromised('n7')]).to.deep.equal([true, false]);
  });

  it('ends a founder that lost its data, once', () => {
    const { promises, losses, warnings } = fixture(['n0', 'n1']);
    promises.check();
    promises.onDataLost('n0 has lost its data');
    promises.onDataLost('n0 has lost its data');
    expect(losses.map(({ code }) => code)).to.deep.equal(['DATA_LOST']);
    expect(() => promises.check()).to.throw('n0 has lost its data');
    expect(warnings).to.deep.equal([]);
  });

  it('lets a node go on waiting that waits to be taken in', () => {
    const { promises, losses, warnings } = fixture([]);
    promises.onDataLost('n0 has lost its data');
    promises.check();
    expect([losses, warnings]).to.deep.equal([[], ['n0 has lost its data']]);
  });
});
