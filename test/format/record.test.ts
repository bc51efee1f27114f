import { expect } from 'chai';
import fc from 'fast-check';
import { crc32 } from '../../src/base/crc.ts';
import {
  blankRecord,
  bodySizeAt,
  chainCrcAt,
  chainCrcOf,
  indexAt,
  isBodyIntact,
  isRecordWhole,
  magicAt,
  physicalOffset,
  positionAt,
  recordMagic,
  sealRecord,
  sizeAt,
  termAt,
} from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';

const place = { index: logIndex(7), term: term(3), position: physicalOffset(2 ** 33 + 5), prevChain: 0x1234_5678 };

function sealed(body = Buffer.from('a body')): Buffer {
  const record = blankRecord(recordMagic.noop, body);
  sealRecord(record, 0, place);
  return record;
}

describe('a log record', () => {
  it('has the header that DESIGN.md draws', () => {
    const body = Buffer.from('a body');
    const record = sealed(body);
    expect(record.length).to.equal(48 + 6);
    expect(record.readInt32BE(0), 'magic').to.equal(2);
    expect(record.readUInt32BE(4), 'size').to.equal(54);
    expect(record.readBigUInt64BE(8), 'index').to.equal(7n);
    expect(record.readBigUInt64BE(16), 'term').to.equal(3n);
    expect(record.readBigUInt64BE(24), 'position').to.equal(2n ** 33n + 5n);
    expect(record.readUInt32BE(32), 'channel').to.equal(0);
    expect(record.readUInt32BE(40), 'bodyCrc').to.equal(crc32(body));
    expect(record.readUInt32BE(44), 'bodySize').to.equal(6);
    expect(record.subarray(48)).to.deep.equal(body);
  });

  it('chains: chainCrc is the CRC of bytes 0-35 and 40-43 seeded with the chain before', () => {
    const record = sealed();
    const covered = Buffer.concat([record.subarray(0, 36), record.subarray(40, 44)]);
    expect(chainCrcAt(record, 0)).to.equal(crc32(covered, 0, covered.length, place.prevChain));
    expect(chainCrcOf(record, 0, place.prevChain)).to.equal(chainCrcAt(record, 0));
    expect(chainCrcOf(record, 0, place.prevChain + 1)).not.to.equal(chainCrcAt(record, 0));
  });

  it('reads back what was sealed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(2 ** 30), fc.maxSafeNat(), (bytes, index, position) => {
        const record = blankRecord(recordMagic.command, Buffer.from(bytes));
        const at = { index: logIndex(index), term: term(9), position: physicalOffset(position), prevChain: 1 };
        const chain = sealRecord(record, 0, at);
        expect(isRecordWhole(record, 0, record.length)).to.equal(true);
        expect(isBodyIntact(record, 0)).to.equal(true);
        expect(magicAt(record, 0)).to.equal(recordMagic.command);
        expect(sizeAt(record, 0)).to.equal(48 + bytes.length);
        expect(bodySizeAt(record, 0)).to.equal(bytes.length);
        expect([indexAt(record, 0), termAt(record, 0), positionAt(record, 0)]).to.deep.equal([index, 9, position]);
        expect(chainCrcAt(record, 0)).to.equal(chain);
      }),
    );
  });

  it('notices every flipped bit: the header does not add up, or a checksum differs', () => {
    const record = sealed();
    for (let bit = 0; bit < record.length * 8; bit++) {
      // The channel is 0 in every record and inside the chain; its bits are covered, too.
      const copy = Buffer.from(record);
      copy[bit >> 3]! ^= 1 << (bit & 7);
      const isGood =
        isRecordWhole(copy, 0, copy.length) &&
        isBodyIntact(copy, 0) &&
        chainCrcOf(copy, 0, place.prevChain) === chainCrcAt(copy, 0);
      expect(isGood, `bit ${bit}`).to.equal(false);
    }
  });

  it('is not whole when cut at any byte', () => {
    const record = sealed();
    for (let end = 0; end < record.length; end++) {
      expect(isRecordWhole(record, 0, end), `cut at ${end}`).to.equal(false);
      expect(isRecordWhole(record.subarray(0, end), 0, end), `cut at ${end}`).to.equal(false);
    }
  });

  it('never throws over arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        isRecordWhole(Buffer.from(bytes), 0, bytes.length);
      }),
    );
  });

  it('is not whole with a foreign magic, a filler, sizes that disagree or numbers above 2^53', () => {
    const spoil: [string, (record: Buffer) => void][] = [
      ['magic 0', (record) => record.writeInt32BE(0, 0)],
      ['magic 5', (record) => record.writeInt32BE(5, 0)],
      ['filler', (record) => record.writeInt32BE(-1, 0)],
      ['size too small', (record) => record.writeUInt32BE(53, 4)],
      ['size too large', (record) => record.writeUInt32BE(55, 4)],
      ['body size', (record) => record.writeUInt32BE(7, 44)],
      ['index', (record) => record.writeBigUInt64BE(2n ** 53n, 8)],
      ['term', (record) => record.writeBigUInt64BE(2n ** 53n, 16)],
      ['position', (record) => record.writeBigUInt64BE(2n ** 53n, 24)],
    ];
    for (const [name, change] of spoil) {
      const record = sealed();
      change(record);
      expect(isRecordWhole(record, 0, record.length), name).to.equal(false);
    }
  });
});
