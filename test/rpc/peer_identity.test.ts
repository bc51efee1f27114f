// Who is let in among the members, and which group a node joins that was told of none.
import { Metadata } from '@grpc/grpc-js';
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { identify, introduce, type PeerIdentity } from '../../src/rpc/peer_identity.ts';

const GROUP = '0123456789abcdef';

class Belonging {
  groupId: string | null;
  adopted = 0;

  constructor(groupId: string | null) {
    this.groupId = groupId;
  }

  adopt(groupId: string): void {
    this.groupId = groupId;
    this.adopted++;
  }
}

const nodeOf = (
  nodeId: string,
  changed: Partial<Omit<PeerIdentity, 'belonging'>> = {},
  groupId: string | null = GROUP,
) => {
  const belonging = new Belonging(groupId);
  const settings = 'segmentSizeBytes=8388608';
  return { cluster: 'c', group: 'g0', nodeId, settings, belonging, ...changed };
};
const call = (from: PeerIdentity, to: string): Metadata => introduce(from, to, { waitForReady: false });
const refusal = (self: PeerIdentity, metadata: Metadata): TLedgerError => {
  try {
    identify(self, metadata);
  } catch (error) {
    return error as TLedgerError;
  }
  throw new Error('expected a refusal');
};

describe('the introduction between nodes', () => {
  it('names the caller', () => {
    expect(identify(nodeOf('n0'), call(nodeOf('n1'), 'n0'))).to.equal('n1');
  });

  it('lets in whom this node has not heard of yet: the caller may know of later members', () => {
    expect(identify(nodeOf('n0'), call(nodeOf('n77'), 'n0'))).to.equal('n77');
  });

  const cases: readonly (readonly [string, Metadata, string, RegExp])[] = [
    ['nobody', new Metadata(), 'WRONG_CLUSTER', /^node "n0" is of cluster "c", the caller of ""$/],
    ['another cluster', call(nodeOf('n1', { cluster: 'x' }), 'n0'), 'WRONG_CLUSTER', /the caller of "x"/],
    [
      'another group',
      call(nodeOf('n1', { group: 'g9' }), 'n0'),
      'UNKNOWN_GROUP',
      /^node "n0" serves group "g0", not "g9"$/,
    ],
    ['itself', call(nodeOf('n0'), 'n0'), 'NOT_A_MEMBER', /"n0" is not another node/],
    ['a name that is none', call(nodeOf('../n1'), 'n0'), 'NOT_A_MEMBER', /not another node/],
    ['a name that is too long', call(nodeOf('n'.repeat(64)), 'n0'), 'NOT_A_MEMBER', /not another node/],
    ['a caller for somebody else', call(nodeOf('n1'), 'n2'), 'WRONG_CLUSTER', /meant for "n2"/],
    [
      'other settings',
      call(nodeOf('n1', { settings: 'segmentSizeBytes=1' }), 'n0'),
      'WRONG_CLUSTER',
      /^node "n1" has segmentSizeBytes=1, node "n0" has segmentSizeBytes=8388608: they must be equal$/,
    ],
    [
      'a group of the same name',
      call(nodeOf('n1', {}, 'fedcba9876543210'), 'n0'),
      'WRONG_CLUSTER',
      /"n1" is of another group named "g0" \(id fedcba9876543210, "n0" of 0123456789abcdef\).*: delete its data and start it with --join$/,
    ],
    ['a node that joins itself', call(nodeOf('n1', {}, null), 'n0'), 'NOT_A_MEMBER', /waits itself to be added/],
    ['a group id that is none', call(nodeOf('n1', {}, 'x'), 'n0'), 'NOT_A_MEMBER', /waits itself/],
  ];
  for (const [who, metadata, code, text] of cases) {
    it(`refuses ${who}`, () => {
      const error = refusal(nodeOf('n0'), metadata);
      expect(error.code).to.equal(code);
      expect(error.message).to.match(text);
    });
    it(`does not join because of ${who}`, () => {
      const joining = nodeOf('n0', {}, null);
      if (who === 'a group of the same name') return;
      refusal(joining, metadata);
      expect(joining.belonging.adopted).to.equal(0);
    });
  }

  it('makes a node that waits join the group of the first member that calls, and no other', () => {
    const joining = nodeOf('n3', {}, null);
    expect(identify(joining, call(nodeOf('n1'), 'n3'))).to.equal('n1');
    expect(identify(joining, call(nodeOf('n2'), 'n3'))).to.equal('n2');
    expect([joining.belonging.groupId, joining.belonging.adopted]).to.deep.equal([GROUP, 1]);
    expect(refusal(joining, call(nodeOf('n1', {}, 'fedcba9876543210'), 'n3')).code).to.equal('WRONG_CLUSTER');
    expect(identify(nodeOf('n0'), call(joining, 'n0')), 'and calls as one of it from then on').to.equal('n3');
  });
});
