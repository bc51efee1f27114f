import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { int64ToNumber, numberToInt64, uint64ToNumber } from '../../src/wire/int64.ts';

describe('wire: 64-bit integers', () => {
  it('round-trips every safe integer', () => {
    fc.assert(fc.property(fc.maxSafeInteger(), (value) => int64ToNumber(numberToInt64(value, 'x'), 'x') === value));
  });

  for (const text of ['9007199254740992', '-9007199254740992', '9223372036854775807', '18446744073709551615']) {
    it(`refuses ${text}, naming the field`, () => {
      expect(() => int64ToNumber(text, 'offset'))
        .to.throw(TLedgerError, `offset: ${text} is out of range`)
        .with.property('code', 'INVALID_ARGUMENT');
    });
  }

  for (const text of ['', ' 1', '1.5', '1e3', '0x10', 'NaN', '１']) {
    it(`refuses ${JSON.stringify(text)} as no integer`, () => {
      expect(() => int64ToNumber(text, 'offset')).to.throw(TLedgerError);
    });
  }

  it('refuses negative numbers where none can be', () => {
    expect(() => uint64ToNumber('-1', 'term')).to.throw(TLedgerError, 'term: -1 is negative');
    expect(uint64ToNumber('0', 'term')).to.equal(0);
  });

  it('refuses to write what is no safe integer', () => {
    for (const value of [2 ** 53, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => numberToInt64(value, 'offset')).to.throw(TLedgerError, 'offset');
    }
  });
});
