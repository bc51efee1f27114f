// What is damaged where, as a value: whoever finds stored bytes that are not what was vouched for says so with an error
// that carries it, and whoever repairs learns from it what to fetch.
import { TLedgerError } from '../base/errors.ts';
import type { PhysicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';

/** What is made anew from the log when it is damaged. */
export type DerivedData = 'log index' | 'consume queue' | 'key index' | 'state';

/** Something stored that is not what was vouched for. */
export type Damage =
  /** The first doubtful record of the log; `position` is where it lies, or should. */
  | {
      readonly kind: 'log';
      readonly file: string;
      readonly position: PhysicalOffset;
      readonly index: LogIndex;
      readonly reason: string;
    }
  /** The snapshot at `index` is missing or damaged; nothing else need be. */
  | { readonly kind: 'snapshot'; readonly file: string; readonly index: LogIndex; readonly reason: string }
  /** Derived from the log, and made anew from it. */
  | { readonly kind: 'derived'; readonly file: string; readonly what: DerivedData; readonly reason: string };

/** DATA_CORRUPTED that says what is damaged where. */
export class DamageError extends TLedgerError {
  readonly damage: Damage;

  constructor(damage: Damage, cause?: unknown) {
    super('DATA_CORRUPTED', describeDamage(damage), cause);
    this.damage = damage;
  }
}

/** The damage that an error tells of, itself or as the cause of another; null when it tells of none. */
export function damageOf(error: unknown): Damage | null {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof DamageError) return at.damage;
  return null;
}

/** A sentence for people: the file, the place, the reason. */
export function describeDamage(damage: Damage): string {
  const { file, reason } = damage;
  switch (damage.kind) {
    case 'log':
      return `${file} is damaged at position ${damage.position}, where record ${damage.index} should be: ${reason}`;
    case 'snapshot':
      return `the snapshot ${file} is damaged: ${reason}`;
    case 'derived':
      return `the ${damage.what} in ${file} is damaged: ${reason}`;
  }
}
