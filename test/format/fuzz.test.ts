// A little of `npm run test:fuzz` every time.
import { fuzz, fuzzTargets } from './fuzz.ts';

describe('decoders of src/format, and bytes that were bent', () => {
  for (const target of fuzzTargets) {
    it(`${target.name} throws nothing but ${target.declared.join(', ') || 'nothing'}, and stays small`, () => {
      fuzz(target, Date.now() & 0x7fff_ffff, 400);
    });
  }
});
