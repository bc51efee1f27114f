import { expect } from 'chai';
import fc from 'fast-check';
import {
  decodeMembership,
  decodeMembershipEntry,
  encodeMembership,
  encodeMembershipEntry,
  membershipLimits,
  membershipsIn,
} from '../../src/format/membership.ts';
import { blankRecord, physicalOffset, recordMagic, sealRecord } from '../../src/format/record.ts';
import { membersMax } from '../../src/raft/limits.ts';
import { checkMembership, membersOf } from '../../src/raft/membership.ts';
import { logIndex, type Membership, term } from '../../src/raft/types.ts';

const address = (id: string) => ({ peer: `${id}.test:1`, client: `${id}.test:2` });

function group(some: Partial<Membership>): Membership {
  const lists = { voters: [], outgoing: [], learners: [], ...some };
  const members = membersOf({ ...lists, addresses: {} });
  return { addresses: Object.fromEntries(members.map((id) => [id, address('h')])), ...lists };
}

const three = group({ voters: ['a', 'b', 'c'] });
const joint = group({
  voters: ['a', 'b', 'd'],
  outgoing: ['a', 'b', 'c'],
  learners: [
    { id: 'e', promote: true, replaces: 'b' },
    { id: 'f', promote: false, replaces: null },
  ],
});

describe('a membership', () => {
  it('looks like this', () => {
    expect(
      encodeMembership(group({ voters: ['a'], learners: [{ id: 'b', promote: true, replaces: 'a' }] })).toString(),
    ).to.equal(
      '{"v":1,"voters":["a"],"outgoing":[],"learners":[{"id":"b","promote":true,"replaces":"a"}],' +
        '"addresses":{"a":{"peer":"h.test:1","client":"h.test:2"},"b":{"peer":"h.test:1","client":"h.test:2"}}}',
    ); // prettier-ignore
  });

  it('comes back as it was, alone and with its index, whatever the members are called', () => {
    const name = fc.oneof(
      fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', '0', '10', '9', 'ä', '\ud800', '"\\'),
      fc.string({ minLength: 1, maxLength: 63 }),
    );
    const names = fc.uniqueArray(name, { minLength: 1, maxLength: 15 });
    fc.assert(
      fc.property(names, fc.nat(), fc.nat(), (ids, cut, index) => {
        const learners = ids.slice(1 + (cut % ids.length)).sort();
        const voters = ids.slice(0, 1 + (cut % ids.length)).sort();
        const outgoing = voters.slice(1);
        const membership = group({
          voters,
          outgoing,
          learners: learners.map((id, at) => ({
            id,
            promote: at % 2 === 0,
            replaces: at % 2 === 0 ? voters[0]! : null,
            ...(at % 4 === 0 ? { stays: true as const } : {}),
          })),
        });
        checkMembership(membership);
        expect(decodeMembership(encodeMembership(membership))).to.deep.equal(membership);
        const entry = { index: logIndex(index), membership };
        expect(decodeMembershipEntry(encodeMembershipEntry(entry))).to.deep.equal(entry);
        const read = decodeMembership(encodeMembership(membership)).addresses;
        for (const id of ids) expect(Object.hasOwn(read, id)).to.equal(true);
      }),
    );
  });

  it('has one encoding, however it was put together', () => {
    const { c, b, a } = three.addresses as Record<string, { peer: string; client: string }>;
    const turned = { addresses: { c, b, a }, learners: [], outgoing: [], voters: ['a', 'b', 'c'] } as Membership;
    expect(encodeMembership(turned)).to.deep.equal(encodeMembership(three));
  });

  it('of none is no bytes', () => {
    expect(decodeMembershipEntry(Buffer.alloc(0))).to.equal(null);
  });

  it('has the limit of members that consensus has, and fits at its largest', () => {
    expect(membershipLimits.membersMax).to.equal(membersMax);
    const ids = Array.from({ length: 15 }, (_, at) => String.fromCharCode(0x4e00 + at).repeat(63)).sort();
    const longest = { peer: 'h'.repeat(300), client: 'h'.repeat(300) };
    const voters = ids.slice(0, 10);
    const learners = ids.slice(10).map((id) => ({ id, promote: true, replaces: voters[0]! }));
    const addresses = Object.fromEntries(ids.map((id) => [id, longest]));
    const membership = { voters, outgoing: voters.slice(1), learners, addresses };
    expect(decodeMembership(encodeMembership(membership))).to.deep.equal(membership);
  });

  const lists = (some: Partial<Membership>): Partial<Membership> => some;
  const illFormed: [string, Partial<Membership>][] = [
    ['voters out of order', lists({ voters: ['b', 'a', 'c'] })],
    ['a voter twice', lists({ voters: ['a', 'a', 'b', 'c'] })],
    [
      'no voter',
      lists({ voters: [], learners: ['a', 'b', 'c'].map((id) => ({ id, promote: false, replaces: null })) }),
    ],
    ['a learner that votes', lists({ learners: [{ id: 'a', promote: false, replaces: null }] })],
    ['a learner that replaces nobody known', lists({ learners: [{ id: 'd', promote: true, replaces: 'x' }] })],
    ['no address', lists({ addresses: { a: address('a'), b: address('b') } })],
    ['an address too many', lists({ addresses: { ...three.addresses, d: address('d') } })],
    ['an empty address', lists({ addresses: { ...three.addresses, a: { peer: '', client: 'h:1' } } })],
    ['a long address', lists({ addresses: { ...three.addresses, a: { peer: 'h'.repeat(301), client: 'h:1' } } })],
    ['an address with a space', lists({ addresses: { ...three.addresses, a: { peer: 'h :1', client: 'h:1' } } })],
    ['a nameless member', group({ voters: ['', 'a'] })],
    ['a long name', group({ voters: ['a'.repeat(64)] })],
    ['16 members', group({ voters: [...'abcdefghijklmnop'] })],
  ];
  for (const [what, some] of illFormed) {
    it(`with ${what} is neither written nor read`, () => {
      const membership = { ...three, ...some };
      expect(() => encodeMembership(membership)).to.throw();
      expect(() => decodeMembership(Buffer.from(JSON.stringify({ v: 1, ...membership })))).to.throw(
        'a membership cannot be read',
      );
    });
  }

  const text = encodeMembership(joint).toString();
  const damaged: [string, string][] = [
    ['nothing', ''],
    ['no JSON', text.slice(1)],
    ['another version', text.replace('"v":1', '"v":2')],
    ['no version', text.replace('"v":1,', '')],
    ['white space', `${text} `],
    [
      'another order',
      text
        .replace('"v":1,', '')
        .replace('{', '{"v":1,')
        .replace(/("voters":\[.*?\]),("outgoing":\[.*?\])/, '$2,$1'),
    ],
    ['a field too many', text.replace('"v":1', '"v":1,"w":1')],
    ['a field twice', text.replace('"v":1', '"v":1,"v":1')],
    ['an entry', encodeMembershipEntry({ index: logIndex(1), membership: joint }).toString()],
    ['a list', '[]'],
    ['null', 'null'],
    ['a number for a name', text.replace('["a","b","d"]', '["a","b",4]')],
    ['text for a list', text.replace('["a","b","d"]', '"abd"')],
    ['text for a flag', text.replace('"promote":true', '"promote":"true"')],
    ['a learner that stays and is not promoted', text.replace('"promote":false', '"promote":false,"stays":true')],
    ['a learner with more to it', text.replace('"promote":true', '"promote":true,"x":1')],
    ['an address with more to it', text.replace('"client"', '"other":"x","client"')],
    ['an address of numbers', text.replace('"peer":"h.test:1"', '"peer":1')],
    ['lists for addresses', text.replace(/"addresses":.*/, '"addresses":[]}')],
    ['too much', `${text.slice(0, -1)},"x":"${'x'.repeat(32 * 1024)}"}`],
  ]; // prettier-ignore
  for (const [what, bytes] of damaged) {
    it(`(${what}) is refused as damaged`, () => {
      expect(bytes).not.to.equal(text);
      expect(() => decodeMembership(Buffer.from(bytes)))
        .to.throw('a membership cannot be read')
        .with.property('code', 'DATA_CORRUPTED');
    });
  }

  for (const index of ['-1', '1.5', '"1"', '9007199254740992', 'null']) {
    it(`with the index ${index} is refused as damaged`, () => {
      const bytes = encodeMembershipEntry({ index: logIndex(7), membership: three }).toString();
      expect(() => decodeMembershipEntry(Buffer.from(bytes.replace('7', index)))).to.throw('cannot be read');
    });
  }
});

describe('the memberships among records', () => {
  const fillers = Buffer.alloc(24);
  fillers.writeInt32BE(recordMagic.filler, 0);
  fillers.writeUInt32BE(24, 4);

  /** Records from index 1 on, `filler`s between them. */
  function log(...bodies: (Membership | 'noop' | 'filler')[]): Buffer {
    let index = 0;
    const records = bodies.map((body) => {
      if (body === 'filler') return fillers;
      const record =
        body === 'noop'
          ? blankRecord(recordMagic.noop, Buffer.alloc(0))
          : blankRecord(recordMagic.membership, encodeMembership(body));
      const place = { index: logIndex(++index), term: term(1), position: physicalOffset(0), prevChain: 0 };
      sealRecord(record, 0, place);
      return record;
    });
    return Buffer.concat([Buffer.alloc(5), ...records]);
  }

  it('are found in their order, within the bounds only', () => {
    const bytes = log('noop', three, 'filler', 'noop', joint, 'noop');
    expect(membershipsIn(bytes, 5, bytes.length)).to.deep.equal([
      { index: 2, membership: three },
      { index: 4, membership: joint },
    ]);
    expect(membershipsIn(bytes, 5, 5 + 48)).to.deep.equal([]);
    expect(membershipsIn(bytes, 5, 5)).to.deep.equal([]);
  });

  it('are refused when one cannot be read, and when a record is cut off', () => {
    const bytes = log('noop', three);
    const broken = Buffer.from(bytes);
    broken[broken.length - 1] = 0;
    for (const [buffer, end] of [
      [broken, bytes.length],
      [bytes, bytes.length - 1],
      [bytes, 5 + 20],
    ] as const) {
      expect(() => membershipsIn(buffer, 5, end))
        .to.throw()
        .with.property('code', 'DATA_CORRUPTED');
    }
    const short = Buffer.from(fillers);
    short.writeUInt32BE(7, 4);
    expect(() => membershipsIn(short, 0, short.length))
      .to.throw()
      .with.property('code', 'DATA_CORRUPTED');
  });
});
