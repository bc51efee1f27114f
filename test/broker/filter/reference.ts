// Filter expressions as trees, with the plainest reading of what they mean: to hold the compiler against.
import fc from 'fast-check';
import type { PropertyLookup, Verdict } from '../../../src/broker/filter/sql92.ts';

/** One expression. */
export type Test =
  | { readonly kind: 'or' | 'and'; readonly left: Test; readonly right: Test }
  | { readonly kind: 'not'; readonly inner: Test }
  | { readonly kind: 'number'; readonly name: string; readonly operator: string; readonly value: number }
  | { readonly kind: 'string'; readonly name: string; readonly operator: string; readonly value: string }
  | { readonly kind: 'null'; readonly name: string; readonly isNot: boolean }
  | {
      readonly kind: 'between';
      readonly name: string;
      readonly low: number;
      readonly high: number;
      readonly isNot: boolean;
    }
  | { readonly kind: 'in'; readonly name: string; readonly values: readonly string[]; readonly isNot: boolean };

const name = fc.constantFrom('a', 'b', 'c', 'd');
const value = fc.integer({ min: -5, max: 12 });
const text = fc.constantFrom('1', 'x', 'y', "o'clock", '');
const isNot = fc.boolean();

/** Expressions of some depth. */
export const testArbitrary: fc.Arbitrary<Test> = fc.letrec<{ test: Test }>((tie) => ({
  test: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      kind: fc.constant('number' as const),
      name,
      operator: fc.constantFrom('=', '<>', '<', '<=', '>', '>='),
      value,
    }),
    fc.record({
      kind: fc.constant('string' as const),
      name,
      operator: fc.constantFrom('=', '<>', 'CONTAINS', 'NOT CONTAINS', 'STARTSWITH', 'ENDSWITH', 'NOT ENDSWITH'),
      value: text,
    }),
    fc.record({ kind: fc.constant('null' as const), name, isNot }),
    fc.record({ kind: fc.constant('between' as const), name, low: value, high: value, isNot }),
    fc.record({
      kind: fc.constant('in' as const),
      name,
      values: fc.array(text, { minLength: 1, maxLength: 3 }),
      isNot,
    }),
    fc.record({ kind: fc.constantFrom('or' as const, 'and' as const), left: tie('test'), right: tie('test') }),
    fc.record({ kind: fc.constant('not' as const), inner: tie('test') }),
  ),
})).test;

/** How it is written. */
export function textOf(test: Test): string {
  switch (test.kind) {
    case 'or':
    case 'and':
      return `(${textOf(test.left)} ${test.kind} ${textOf(test.right)})`;
    case 'not':
      return `NOT ${textOf(test.inner)}`;
    case 'number':
      return `${test.name}${test.operator}${test.value}`;
    case 'string':
      return `${test.name} ${test.operator} ${quoted(test.value)}`;
    case 'null':
      return `${test.name} IS ${test.isNot ? 'NOT ' : ''}NULL`;
    case 'between':
      return `${test.name} ${test.isNot ? 'NOT ' : ''}BETWEEN ${test.low} AND ${test.high}`;
    case 'in':
      return `${test.name} ${test.isNot ? 'NOT ' : ''}IN (${test.values.map(quoted).join(', ')})`;
  }
}

/** What it means. */
export function verdictOf(test: Test, lookup: PropertyLookup): Verdict {
  switch (test.kind) {
    case 'or':
      return not(both(not(verdictOf(test.left, lookup)), not(verdictOf(test.right, lookup))));
    case 'and':
      return both(verdictOf(test.left, lookup), verdictOf(test.right, lookup));
    case 'not':
      return not(verdictOf(test.inner, lookup));
    case 'null':
      return (lookup(test.name) === undefined) !== test.isNot;
    default: {
      const found = lookup(test.name);
      return found === undefined ? null : ofProperty(test, found);
    }
  }
}

function ofProperty(test: Exclude<Test, { kind: 'or' | 'and' | 'not' | 'null' }>, found: string): Verdict {
  if (test.kind === 'in') return test.values.includes(found) !== test.isNot;
  if (test.kind === 'string') {
    const isNot = test.operator.startsWith('NOT ') || test.operator === '<>';
    const operator = test.operator.replace('NOT ', '');
    if (operator === 'CONTAINS') return found.includes(test.value) !== isNot;
    if (operator === 'STARTSWITH') return found.startsWith(test.value) !== isNot;
    if (operator === 'ENDSWITH') return found.endsWith(test.value) !== isNot;
    return (found === test.value) !== isNot;
  }
  if (!/^-?\d+(e\d+)?$/.test(found)) return null;
  const number = Number(found);
  if (test.kind === 'between') return (test.low <= number && number <= test.high) !== test.isNot;
  if (test.operator === '=') return number === test.value;
  if (test.operator === '<>') return number !== test.value;
  if (test.operator === '<') return number < test.value;
  if (test.operator === '<=') return number <= test.value;
  return test.operator === '>' ? number > test.value : number >= test.value;
}

function both(left: Verdict, right: Verdict): Verdict {
  if (left === false || right === false) return false;
  return left === null || right === null ? null : true;
}

function not(verdict: Verdict): Verdict {
  return verdict === null ? null : !verdict;
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
