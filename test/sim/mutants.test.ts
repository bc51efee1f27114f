import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { mutants } from './mutants/all.ts';

const root = resolve(import.meta.dirname, '../..');

describe('deliberate breaks', () => {
  it('are many, of every kind, and differ', () => {
    const names = mutants.map(({ name }) => name);
    expect(new Set(names).size).to.equal(names.length);
    expect(names.length).to.be.at.least(25);
    for (const folder of ['raft', 'storage', 'replica']) {
      expect(mutants.some(({ file }) => file.startsWith(`src/${folder}/`))).to.equal(true);
    }
  });

  for (const { name, file, original, replacement } of mutants) {
    it(`${name} still has a place in ${file}`, () => {
      const parts = readFileSync(join(root, file), 'utf8').split(original);
      expect(parts.length - 1, 'occurrences').to.equal(1);
      expect(replacement).not.to.equal(original);
    });
  }
});
