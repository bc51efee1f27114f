import { expect } from 'chai';
import { readInt32, readUint32, writeUint32 } from '../../src/format/uint32.ts';
import { writeUint64 } from '../../src/format/uint64.ts';

const values = [0, 1, 0x7f, 0x80, 0xff_ff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, -1, -0x8000_0000];

describe('32-bit integers', () => {
  for (const value of values) {
    it(`writes and reads ${value} as Buffer does`, () => {
      const ours = Buffer.alloc(12, 0xaa);
      const theirs = Buffer.alloc(12, 0xaa);
      writeUint32(ours, value, 5);
      if (value < 0) theirs.writeInt32BE(value, 5);
      else theirs.writeUInt32BE(value, 5);
      expect(ours).to.deep.equal(theirs);
      expect(readUint32(ours, 5)).to.equal(theirs.readUInt32BE(5));
      expect(readInt32(ours, 5)).to.equal(theirs.readInt32BE(5));
    });
  }

  for (const at of [-1, 9, 12, 100, Number.NaN]) {
    it(`refuses the place ${at} in 12 bytes, reading and writing`, () => {
      const buffer = Buffer.alloc(12, 0xaa);
      expect(() => readUint32(buffer, at)).to.throw(RangeError, 'outside');
      expect(() => readInt32(buffer, at)).to.throw(RangeError, 'outside');
      expect(() => writeUint32(buffer, 1, at)).to.throw(RangeError, 'outside');
      expect(buffer).to.deep.equal(Buffer.alloc(12, 0xaa));
    });
  }

  for (const value of [0x1_0000_0000, -0x8000_0001, Number.NaN]) {
    it(`does not cut off what is no 32-bit integer: ${value}`, () => {
      expect(() => writeUint32(Buffer.alloc(4), value, 0)).to.throw(RangeError, 'not a 32-bit integer');
    });
  }

  for (const value of [-1, 2 ** 53, Number.NaN]) {
    it(`does not cut off what is no safe 64-bit integer: ${value}`, () => {
      expect(() => writeUint64(Buffer.alloc(8), value, 0)).to.throw(RangeError, 'not a 64-bit integer');
    });
  }
});
