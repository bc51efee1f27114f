import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { blankRecord, physicalOffset, type RecordMagic, sealRecord, sizeAt } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { offsetOfRecord, verifyRecords } from '../../src/storage/verify.ts';

const none = { prevIndex: logIndex(0), prevTerm: term(0), prevChain: 0 };

/** Sealed records with the given terms and bodies, as a leader would make them. */
function sealed(terms: readonly number[], bodies: readonly Buffer[] = [], gapAt = -1): Buffer {
  let chain = 0;
  let position = 0;
  return Buffer.concat(
    terms.map((ofTerm, number) => {
      const record = blankRecord(((number % 3) + 2) as RecordMagic, bodies[number] ?? Buffer.from(`body ${number}`));
      if (number === gapAt) position += 500;
      const place = {
        index: logIndex(number + 1),
        term: term(ofTerm),
        position: physicalOffset(position),
        prevChain: chain,
      };
      chain = sealRecord(record, 0, place);
      position += sizeAt(record, 0);
      return record;
    }),
  );
}

describe('verifying records', () => {
  it('accepts what a leader sealed, tells the terms as runs, and allows gaps in position', () => {
    const records = sealed([1, 1, 3, 3, 4], [], 3);
    const { lastIndex, lastTerm, runs, count, lastChain } = verifyRecords(records, 0, records.length, none);
    expect({ lastIndex, lastTerm, count }).to.deep.equal({ lastIndex: 5, lastTerm: 4, count: 5 });
    expect(runs).to.deep.equal([
      { term: 1, firstIndex: 1 },
      { term: 3, firstIndex: 3 },
      { term: 4, firstIndex: 5 },
    ]);
    expect(lastChain).to.be.greaterThan(0);
  });

  it('accepts a continuation, whose first run begins right behind the predecessor', () => {
    const records = sealed([2, 2, 2, 5]);
    const at = offsetOfRecord(records, 0, records.length, logIndex(3));
    const first = verifyRecords(records, 0, at, none);
    const previous = { prevIndex: first.lastIndex, prevTerm: first.lastTerm, prevChain: first.lastChain };
    expect(verifyRecords(records, at, records.length, previous).runs).to.deep.equal([
      { term: 2, firstIndex: 3 },
      { term: 5, firstIndex: 4 },
    ]);
    expect(verifyRecords(records, 0, 0, previous)).to.deep.include({ lastIndex: 2, lastTerm: 2, count: 0 });
  });

  for (const [reason, previous] of [
    ['wrong index', { ...none, prevIndex: logIndex(1) }],
    ['the term falls', { ...none, prevTerm: term(9) }],
    ['the chain is broken', { ...none, prevChain: 1 }],
  ] as const) {
    it(`refuses records behind another predecessor: ${reason}`, () => {
      const records = sealed([1, 2]);
      expect(() => verifyRecords(records, 0, records.length, previous)).to.throw(TLedgerError, reason);
    });
  }

  it('refuses a falling position, even if everything else was sealed that way', () => {
    const first = sealed([1]);
    const chain = verifyRecords(first, 0, first.length, none).lastChain;
    const second = blankRecord(2, Buffer.alloc(0));
    sealRecord(second, 0, { index: logIndex(2), term: term(1), position: physicalOffset(10), prevChain: chain });
    const both = Buffer.concat([first, second]);
    expect(() => verifyRecords(both, 0, both.length, none)).to.throw(TLedgerError, 'record 2: the position falls');
  });

  it('refuses every single flipped bit, naming the record', () => {
    const records = sealed([1, 1, 2]);
    const starts = [1, 2, 3].map((index) => offsetOfRecord(records, 0, records.length, logIndex(index)));
    for (let bit = 0; bit < records.length * 8; bit++) {
      const damaged = Buffer.from(records);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const index = starts.findLastIndex((start) => start <= bit >> 3) + 1;
      expect(() => verifyRecords(damaged, 0, damaged.length, none), `bit ${bit}`).to.throw(
        TLedgerError,
        new RegExp(`^record ${index}: `),
      );
    }
  });

  it('refuses every cut that does not fall between two records', () => {
    const records = sealed([1, 1, 2]);
    const whole = [0, 1, 2, 3].map((count) => offsetOfRecord(records, 0, records.length, logIndex(count + 1)));
    for (let length = 0; length <= records.length; length++) {
      const verify = () => verifyRecords(records, 0, length, none);
      if (whole.includes(length)) expect(verify().count).to.equal(whole.indexOf(length));
      else expect(verify).to.throw(TLedgerError, 'no whole record');
    }
  });

  it('throws nothing but MESSAGE_CORRUPTED, whatever the bytes', () => {
    const check = (bytes: Buffer, prevChain: number): void => {
      try {
        verifyRecords(bytes, 0, bytes.length, { prevIndex: logIndex(0), prevTerm: term(0), prevChain });
      } catch (error) {
        expect(error).to.be.instanceOf(TLedgerError).and.have.property('code', 'MESSAGE_CORRUPTED');
      }
    };
    const base = sealed([1, 1, 2], [Buffer.alloc(0), Buffer.alloc(300, 1), Buffer.alloc(5)]);
    const edit = fc.record({ at: fc.nat(base.length - 1), value: fc.uint8Array({ minLength: 1, maxLength: 9 }) });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, chain) => check(Buffer.from(bytes), chain)),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const bytes = Buffer.from(base);
        for (const { at, value } of edits) bytes.set(value.subarray(0, bytes.length - at), at);
        check(bytes, 0);
      }),
      { numRuns: 5000 },
    );
  });

  it('finds a record by index, the end for the one after the last, and nothing else', () => {
    const records = sealed([1, 1, 1]);
    expect(offsetOfRecord(records, 0, records.length, logIndex(1))).to.equal(0);
    expect(offsetOfRecord(records, 0, records.length, logIndex(4))).to.equal(records.length);
    for (const missing of [0, 5, 100]) {
      expect(() => offsetOfRecord(records, 0, records.length, logIndex(missing))).to.throw(TLedgerError, 'not among');
    }
  });
});
