import { crc32 as zlibCrc32 } from 'node:zlib';
import { expect } from 'chai';
import { crc32, TABLE_BYTES_MAX } from '../../src/base/crc.ts';

describe('CRC-32', () => {
  const bytes = Buffer.from(Array.from({ length: 1_200 }, (_, at) => (at * 2_654_435_761) >>> 13));
  const SIZES = [...Array(41).keys(), TABLE_BYTES_MAX - 1, TABLE_BYTES_MAX, TABLE_BYTES_MAX + 1, 1_024];

  it('gives the number that zlib gives, by the tables and natively', () => {
    for (const size of SIZES) {
      for (const start of [0, 1, 7]) {
        for (const seed of [0, 1, 0xffff_ffff]) {
          const expected = zlibCrc32(bytes.subarray(start, start + size), seed);
          expect(crc32(bytes, start, start + size, seed), `${size} bytes from ${start}`).to.equal(expected);
        }
      }
    }
    expect(crc32(Buffer.from('123456789')), 'the check value of CRC-32/ISO-HDLC').to.equal(0xcbf4_3926);
  });

  it('goes on from what came before', () => {
    for (const size of SIZES) {
      expect(crc32(bytes, size, bytes.length, crc32(bytes, 0, size)), `cut at ${size}`).to.equal(crc32(bytes));
    }
  });
});
