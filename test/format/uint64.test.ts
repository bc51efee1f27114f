import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { isUint64Safe, readUint64, writeUint64 } from '../../src/format/uint64.ts';

describe('64-bit integers as numbers', () => {
  const values = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 48 - 1, 2 ** 53 - 1];

  for (const value of values) {
    it(`writes ${value} as BigInt would, and reads it back`, () => {
      const bytes = Buffer.alloc(10, 0xee);
      writeUint64(bytes, value, 1);
      expect(bytes.readBigUInt64BE(1)).to.equal(BigInt(value));
      expect([bytes[0], bytes[9]]).to.deep.equal([0xee, 0xee]);
      expect(isUint64Safe(bytes, 1)).to.equal(true);
      expect(readUint64(bytes, 1)).to.equal(value);
    });
  }

  for (const value of [2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    it(`refuses to read ${value}, which no number can hold`, () => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(value);
      expect(isUint64Safe(bytes, 0)).to.equal(false);
      expect(() => readUint64(bytes, 0)).to.throw(InvariantError);
    });
  }
});
