// Who is let in among the members, and which group a node joins that was told of none.
import { Metadata } from '@grpc/grpc-js';
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { heedAnswer, identify, introduce, introduceBack, type PeerIdentity } from '../../src/rpc/peer_identity.ts';

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

class Memory {
  readonly isBlank: boolean;
  readonly promised: string[];
  readonly lost: string[] = [];

  constructor(isBlank = true, ...promised: string[]) {
    this.isBlank = isBlank;
    this.promised = promised;
  }

  hasPromised(peer: string): boolean {
    return this.promised.includes(peer);
  }

  notePromised(peer: string): void {
    this.promised.push(peer);
  }

  onDataLost(says: string): void {
    this.lost.push(says);
  }
}

const nodeOf = (
  nodeId: string,
  changed: Partial<Omit<PeerIdentity, 'belonging' | 'memory'>> = {},
  groupId: string | null = GROUP,
  memory = new Memory(),
) => {
  const belonging = new Belonging(groupId);
  const settings = 'segmentSizeBytes=8388608';
  return { cluster: 'c', group: 'g0', nodeId, settings, belonging, memory, ...changed };
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

describe('the introduction of nodes that promised something', () => {
  const node = (nodeId: string, memory: Memory, groupId: string | null = GROUP) => nodeOf(nodeId, {}, groupId, memory);

  // Blank or not, caller and callee; whether each knows that the other is not.
  for (const isBlank of [true, false]) {
    for (const isBlankHere of [true, false]) {
      for (const isKnown of [true, false]) {
        for (const isKnownHere of [true, false]) {
          const who = `a ${isBlank ? 'blank' : 'settled'} caller that is ${isKnownHere ? '' : 'un'}known here`;
          const whom = `a ${isBlankHere ? 'blank' : 'settled'} node that it ${isKnown ? 'knows' : 'does not know'}`;
          const lost = isBlankHere && isKnown ? 'n0' : isBlank && isKnownHere ? 'n1' : null;
          it(`${who}, and ${whom}: ${lost === null ? 'heard' : `${lost} has lost its data`}`, () => {
            const caller = node('n1', isKnown ? new Memory(isBlank, 'n0') : new Memory(isBlank));
            const callee = node('n0', isKnownHere ? new Memory(isBlankHere, 'n1') : new Memory(isBlankHere));
            if (lost === null) {
              expect(identify(callee, call(caller, 'n0'))).to.equal('n1');
              expect(callee.memory.promised.includes('n1')).to.equal(isKnownHere || !isBlank);
            } else {
              const { code, message } = refusal(callee, call(caller, 'n0'));
              expect(code).to.equal('DATA_LOST');
              expect(message).to.match(
                new RegExp(`^${lost} has lost its data: .*member remove ${lost}.*member add ${lost}`),
              );
              expect(callee.memory.promised, 'nothing is noted').to.deep.equal(isKnownHere ? ['n1'] : []);
            }
            expect(callee.memory.lost, 'it stops').to.have.length(lost === 'n0' ? 1 : 0);
          });
        }
      }
    }
  }

  it('does not let a node join that the caller knows as a member with data', () => {
    const joining = node('n1', new Memory(), null);
    expect(refusal(joining, call(node('n0', new Memory(false, 'n1')), 'n1')).code).to.equal('DATA_LOST');
    expect([joining.belonging.adopted, joining.memory.promised]).to.deep.equal([0, []]);
    expect(identify(joining, call(node('n0', new Memory(false)), 'n1')), 'forgotten meanwhile').to.equal('n0');
    expect(joining.belonging.groupId).to.equal(GROUP);
  });

  it('counts for nothing across groups', () => {
    const other = node('n1', new Memory(false, 'n0'), 'fedcba9876543210');
    const self = node('n0', new Memory());
    expect(refusal(self, call(other, 'n0')).code).to.equal('WRONG_CLUSTER');
    expect([self.memory.lost, self.memory.promised]).to.deep.equal([[], []]);
  });

  it('handles no call that could not be noted', () => {
    const self = node('n0', new Memory());
    self.memory.notePromised = () => {
      throw new Error('disk full');
    };
    expect(() => identify(self, call(node('n1', new Memory(false)), 'n0'))).to.throw('disk full');
  });

  it('concludes nothing from software that does not say', () => {
    const self = node('n0', new Memory(true));
    const metadata = call(node('n1', new Memory(false)), 'n0');
    metadata.remove('tledger-blank');
    expect(identify(self, metadata)).to.equal('n1');
    expect(heedAnswer(self, 'n1', new Metadata())).to.equal('blank');
    expect(self.memory.promised).to.deep.equal([]);
  });

  it('goes both ways: the answer to a stream says it, too', () => {
    const self = node('n0', new Memory());
    const answer = (isBlank: boolean) => heedAnswer(self, 'n1', introduceBack(node('n1', new Memory(isBlank))));
    expect(answer(true)).to.equal('blank');
    expect(answer(false)).to.equal('promised');
    expect(self.memory.promised).to.deep.equal(['n1']);
    expect(answer(true), 'it must be told before anything is sent').to.equal('lost');
  });
});
