import { expect } from 'chai';
import { compileFilter } from '../../../src/broker/filter/filter.ts';
import { tagHash } from '../../../src/format/message.ts';

const takes = (expression: string, tag?: string): boolean => {
  const filter = compileFilter({ type: 'tag', expression });
  const hash = tag === undefined ? 0 : tagHash(tag);
  return filter.mayMatch(hash) && filter.matches((name) => (name === 'TAGS' ? tag : undefined));
};

describe('broker: tag filters (ROCKETMQ §5.3)', () => {
  for (const [expression, tag, expected] of [
    ['*', undefined, true],
    ['', 'a', true],
    [' * ', 'a', true],
    ['a || *', 'b', true],
    ['a', 'a', true],
    ['a', 'A', false],
    ['a', undefined, false],
    [' a||b  ||c ', 'b', true],
    ['a || b', 'c', false],
    ['a || || b', 'b', true],
    ['Aa', 'BB', false],
  ] as const) {
    it(`${JSON.stringify(expression)} ${expected ? 'takes' : 'leaves'} ${String(tag)}`, () => {
      expect(takes(expression, tag)).to.equal(expected);
    });
  }

  it('tells by the hash alone what need not be read', () => {
    const filter = compileFilter({ type: 'tag', expression: 'Aa' });
    expect([filter.takesAll, filter.mayMatch(tagHash('x')), filter.mayMatch(tagHash('BB'))]).to.deep.equal([
      false,
      false,
      true,
    ]);
    expect(compileFilter({ type: 'tag', expression: '*' }).takesAll).to.equal(true);
  });

  it('refuses what names no tag', () => {
    expect(() => compileFilter({ type: 'tag', expression: '||' })).to.throw('names no tag');
  });
});
