import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { physicalOffset } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { type Damage, DamageError, damageOf } from '../../src/storage/damage.ts';

const cases: readonly (readonly [Damage, string])[] = [
  [
    {
      kind: 'log',
      file: 'g/commitlog/0',
      position: physicalOffset(648),
      index: logIndex(2),
      reason: 'no whole record',
    },
    'g/commitlog/0 is damaged at position 648, where record 2 should be: no whole record',
  ],
  [
    { kind: 'snapshot', file: 'g/snapshot/7', index: logIndex(7), reason: 'its header' },
    'the snapshot g/snapshot/7 is damaged: its header',
  ],
  [
    { kind: 'derived', file: 'g/keyindex/1', what: 'key index', reason: 'a checksum' },
    'the key index in g/keyindex/1 is damaged: a checksum',
  ],
];

describe('damage', () => {
  for (const [damage, says] of cases) {
    it(`of the ${damage.kind} is told by an error that carries it, also as the cause of another`, () => {
      const error = new DamageError(damage);
      expect(error).to.include({ code: 'DATA_CORRUPTED', message: says });
      expect(damageOf(error)).to.equal(damage);
      expect(damageOf(new TLedgerError('INTERNAL', 'more', new Error('yet more', { cause: error })))).to.equal(damage);
    });
  }

  it('is not what other errors tell of', () => {
    for (const error of [new TLedgerError('DATA_CORRUPTED'), new Error('x'), null, 'text']) {
      expect(damageOf(error)).to.equal(null);
    }
  });
});
