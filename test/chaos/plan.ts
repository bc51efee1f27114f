// Which faults come when: all from the seed. What they meet when they come depends on the machine, so a seed repeats the
// faults, not the run.
import { SeededRandom } from '../../src/base/random.ts';
import type { FaultKind } from './faults.ts';
import { shuffle } from './harm.ts';
import { membershipFaults } from './membership_faults.ts';

/** One or two faults side by side, then quiet. */
export interface Step {
  readonly faults: readonly { readonly kind: FaultKind; readonly seed: number }[];
  readonly quietMs: number;
}

const PAIR_SHARE = 0.2;
/** A change of members is at its hardest while something else goes wrong. */
const MEMBERSHIP_PAIR_SHARE = 0.6;
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
      const isOfMembers = changesMembers(kind);
      // Only one change of members at a time: two of them would be none.
      const others = isOfMembers ? kinds.filter((other) => !changesMembers(other)) : kinds;
      const isPair = random.next() < (isOfMembers ? MEMBERSHIP_PAIR_SHARE : PAIR_SHARE);
      if (isPair && others.length > 0) faults.push(drawn(others[random.between(0, others.length - 1)]!));
      yield { faults, quietMs: random.between(QUIET_MS_MIN, QUIET_MS_MAX) };
    }
  }
}

function changesMembers(kind: FaultKind): boolean {
  return Object.hasOwn(membershipFaults, kind);
}
