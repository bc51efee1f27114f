// Which faults come when: all from the seed. What they meet when they come depends on the machine, so a seed repeats the
// faults, not the run.
import { SeededRandom } from '../../src/base/random.ts';
import { type FaultKind, shuffle } from './faults.ts';

/** One or two faults side by side, then quiet. */
export interface Step {
  readonly faults: readonly { readonly kind: FaultKind; readonly seed: number }[];
  readonly quietMs: number;
}

const PAIR_SHARE = 0.2;
const SEED_MAX = 2 ** 31;
const QUIET_MS_MIN = 300;
const QUIET_MS_MAX = 2_500;

/** Endless steps. Every kind comes once before any comes again, so that short runs meet them all. */
export function* planOf(seed: number, kinds: readonly FaultKind[]): Generator<Step, never> {
  const random = new SeededRandom(seed);
  const drawn = (kind: FaultKind) => ({ kind, seed: random.between(0, SEED_MAX) });
  for (;;) {
    for (const kind of shuffle(kinds, random)) {
      const faults = [drawn(kind)];
      if (random.next() < PAIR_SHARE) faults.push(drawn(kinds[random.between(0, kinds.length - 1)]!));
      yield { faults, quietMs: random.between(QUIET_MS_MIN, QUIET_MS_MAX) };
    }
  }
}
