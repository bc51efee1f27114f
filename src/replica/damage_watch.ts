// What becomes of damage that is found while a replica runs, whoever finds it.
import type { Clock } from '../base/clock.ts';
import type { LogIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { type Damage, DamageError, damageOf, describeDamage } from '../storage/damage.ts';

interface DamageWatchOptions {
  readonly log: CommitLog;
  readonly clock: Clock;
  /** Told once, when the replica is to be stopped, repaired and opened anew; without it such damage is a failure. */
  readonly onDamage?: (damage: Damage) => void;
  readonly onWarning: (message: string) => void;
  readonly isUp: () => boolean;
  /** Removes a snapshot. */
  readonly drop: (index: LogIndex) => void;
  readonly onFailure: (error: unknown) => void;
}

/** See the head of the file. */
export class DamageWatch {
  readonly #options: DamageWatchOptions;
  #isTold = false;

  constructor(options: DamageWatchOptions) {
    this.#options = options;
  }

  /** See `Replica.damaged`. */
  found(damage: Damage): void {
    const { log, onDamage, onWarning, isUp, drop, onFailure } = this.#options;
    if (!isUp() || this.#isTold) return;
    const isNeeded = damage.kind === 'snapshot' && damage.index === log.base.index;
    // The key index makes itself anew, piece by piece, and answers meanwhile that something may be missing.
    const isMadeAnew = damage.kind === 'derived' && damage.what !== 'key index';
    if (damage.kind === 'log' || ((isNeeded || isMadeAnew) && onDamage !== undefined)) {
      this.#isTold = true;
      if (onDamage === undefined) onFailure(new DamageError(damage));
      else onDamage(damage);
      return;
    }
    onWarning(describeDamage(damage));
    // It stands for nothing, and there will be others.
    if (damage.kind === 'snapshot') drop(damage.index);
  }

  /** The same, after what is in hand: for damage that is found in the middle of a turn. */
  readonly later = (damage: Damage): void => {
    this.#options.clock.defer(() => this.found(damage));
  };

  /** Looks at records for somebody else: damage that shows is told, too. */
  looking<T>(look: () => T): T {
    try {
      return look();
    } catch (error) {
      const damage = damageOf(error);
      if (damage !== null) this.later(damage);
      throw error;
    }
  }
}
