import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { mutants } from './mutants_list.ts';

describe('deliberate breaks of what official clients see', () => {
  const read = (...path: string[]): string => readFileSync(join(import.meta.dirname, ...path), 'utf8');

  it('are of lines that are there, once, and name cases that are there', () => {
    for (const { name, file, original, test, case: of } of mutants) {
      expect(read('../..', file).split(original), name).to.have.length(2);
      expect(read(`${test}.test.ts`), name).to.include(of.replace(/^(\d+: |is refused )/, ''));
    }
  });
});
