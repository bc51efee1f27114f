import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../../src/base/errors.ts';
import { compileSql92, filterLimits, type Verdict } from '../../../src/broker/filter/sql92.ts';
import { type Test, testArbitrary, textOf, verdictOf } from './reference.ts';

const properties = new Map([
  ['a', '5'],
  ['b', '-1.5'],
  ['name', "it's"],
  ['on', 'TRUE'],
  ['text', 'abcdef'],
  ['$x_1', 'x'],
  ['empty', ''],
]);
const lookup = (name: string): string | undefined => properties.get(name);

const verdicts: readonly (readonly [string, Verdict])[] = [
  ['a = 5', true],
  ["a = '5'", true],
  ['a = 5.0', true],
  ['a = 5e0', true],
  ['a = 5L', true],
  ['a <> 5', false],
  ['a > 4 AND a < 6', true],
  ['a >= 5 and a <= 5', true],
  ['b = -1.5', true],
  ['b < +0', true],
  ['.5 < a', true],
  ['name > 1', null],
  ['empty = 0', null],
  ["name = 'it''s'", true],
  ['a BETWEEN 5 AND 6', true],
  ['a NOT BETWEEN 5 AND 6', false],
  ['a between 6 and 5', false],
  ["text IN ('x', 'abcdef')", true],
  ["text NOT IN ('x')", true],
  ["gone IN ('x')", null],
  ["text CONTAINS 'cd'", true],
  ["text STARTSWITH 'abc' AND text ENDSWITH 'def'", true],
  ["text NOT STARTSWITH 'b'", true],
  ["gone CONTAINS 'x'", null],
  ['gone IS NULL', true],
  ['gone IS NOT NULL', false],
  ['a IS NOT NULL', true],
  ['gone = 1', null],
  ['NOT gone = 1', null],
  ['gone = 1 OR a = 5', true],
  ['gone = 1 AND a = 5', null],
  ['gone = 1 AND a = 6', false],
  ['a = NULL', null],
  ['on', true],
  ['on = TRUE', true],
  ['on <> false', true],
  ['TRUE', true],
  ['NOT FALSE', true],
  ['a = 5 OR a = 6 AND FALSE', true],
  ['(a = 5 OR a = 6) AND FALSE', false],
  ['NOT a = 6 AND a = 5', true],
  ["$x_1 = 'x' -- what follows is no expression (", true],
  ["/* nor ' this */ a /**/ = 5", true],
  ['A = 5', null],
];

const malformed: readonly (readonly [string, string])[] = [
  ['', 'is empty'],
  [' \n ', 'is empty'],
  ['a =', 'ends too early'],
  ['= 5', 'position 0'],
  ['a = 5 b', 'position 6'],
  ['(a = 5', ') is missing'],
  ['a = 5)', 'position 5'],
  ["a > 'x'", 'no number at position 4'],
  ['a > TRUE', 'no number'],
  ["a BETWEEN 'x' AND 'y'", 'no number'],
  ['a BETWEEN 1', 'AND is missing'],
  ['a IN ()', 'position 6'],
  ['a IN (1)', 'position 6'],
  ["a IN ('x'", ') is missing'],
  ['a CONTAINS 5', 'position 11'],
  ['a NOT = 5', 'position 6'],
  ['a NOT', 'ends too early'],
  ['a IS 5', 'NULL is missing'],
  ["a = 'open", 'position 4'],
  ['a = 1a', 'malformed number at position 4'],
  ['a # 5', 'position 2'],
  ['a = - b', 'position 4'],
  ['/* open', 'position 0'],
  ['AND', 'position 0'],
];

function refusalOf(text: string): string {
  try {
    compileSql92(text);
  } catch (error) {
    if (error instanceof TLedgerError && error.code === 'ILLEGAL_FILTER') return error.message;
    throw error;
  }
  return 'none';
}

describe('broker: SQL92 filters (ROCKETMQ §5.3)', () => {
  for (const [text, verdict] of verdicts) {
    it(`finds ${text} ${String(verdict)}`, () => {
      expect(compileSql92(text)(lookup)).to.equal(verdict);
    });
  }

  for (const [text, why] of malformed) {
    it(`refuses ${JSON.stringify(text)}: ${why}`, () => {
      expect(refusalOf(text)).to.include(why);
    });
  }

  it('judges as a plain reading of the rules does', () => {
    const message = fc.dictionary(
      fc.constantFrom('a', 'b', 'c', 'd'),
      fc.constantFrom('1', '2', '-3', 'x', 'xy', 'true', '', '1e1'),
    );
    fc.assert(
      fc.property(testArbitrary, message, (test: Test, given) => {
        const read = (name: string): string | undefined => (Object.hasOwn(given, name) ? given[name] : undefined);
        expect(compileSql92(textOf(test))(read), textOf(test)).to.equal(verdictOf(test, read));
      }),
      { numRuns: 3_000 },
    );
  });

  it('compiles or refuses whatever it is given', () => {
    const piece = fc.constantFrom(
      'a',
      ' ',
      '(',
      ')',
      'NOT ',
      'AND ',
      'OR ',
      "'",
      '=',
      '<',
      '1',
      '.',
      '--',
      '/*',
      '*/',
      'IN',
      'BETWEEN ',
      'IS ',
      'NULL',
      ',',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
        ),
        (text) => {
          const refusal = refusalOf(text);
          if (refusal === 'none') compileSql92(text)(lookup);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  const nested = (depth: number): string => `${'('.repeat(depth)}a = 5${')'.repeat(depth)}`;
  const words = (count: number): string => `a IN (${Array.from({ length: (count - 3) / 2 }, () => "'x'").join(',')})`;
  const long = (length: number): string => `a = '${'x'.repeat(length - 6)}'`;
  const { depthMax, wordsMax, lengthMax } = filterLimits;
  for (const [what, fits, breaks] of [
    ['depth', nested(depthMax), nested(depthMax + 1)],
    ['words', words(wordsMax - 1), words(wordsMax + 1)],
    ['length', long(lengthMax), long(lengthMax + 1)],
  ] as const) {
    it(`bounds the ${what} of an expression`, () => {
      expect(refusalOf(fits)).to.equal('none');
      expect(refusalOf(breaks)).not.to.equal('none');
    });
  }
});
