// A node from its start to its end: it serves; when its data turn out to be damaged, it stops serving, repairs them, and
// serves again, in the same process. What is derived from the log is made anew by opening it: that needs no repair.
//
//   start ──► serve ──────────────────────► stop, failed
//              │  ▲
//      damage  ▼  │ whole again
//             repair ─────────────────────► stop, failed
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import type { Membership } from '../raft/types.ts';
import { type Damage, damageOf, describeDamage } from '../storage/damage.ts';

/** So often in a row, each soon after the one before, the same damage is repaired; found again then, the disk is to blame. */
const REPAIRS_MAX = 3;
const REPAIRED_FOR_GOOD_MS = 3_600_000;

/** What made a node stop serving. */
export interface Found {
  readonly damage: Damage;
  /** Who the members were; null when the node never got to know. */
  readonly membership: Membership | null;
  /** The node can serve without what is damaged. */
  readonly isDispensable: boolean;
}

/** How a phase ended by itself. */
export type PhaseEnd =
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'damaged'; readonly found: Found }
  | { readonly kind: 'repaired' };

/** A phase that is under way; its end never rejects. */
export interface Phase {
  readonly ended: Promise<PhaseEnd>;
}

/** What a node does; each phase attaches what it opens, and is closed before the next one begins. */
export interface Phases {
  /** @param damage of derived data, which is made anew; null: none is known. */
  serve(lifecycle: Lifecycle, damage: Damage | null): Promise<Phase>;
  repair(lifecycle: Lifecycle, found: Found): Promise<Phase>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Told of what happens, for the log. */
  readonly onTurn: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** See the head of the file. */
export class NodeRun {
  /** Resolves when the node cannot go on. */
  readonly failed: Promise<Error>;
  readonly #phases: Phases;
  #fail: (error: Error) => void = () => {};
  #lifecycle = new Lifecycle();
  #phase: Phase | null = null;
  #turn: Promise<void> = Promise.resolve();
  #isStopping = false;
  /** Damage that was repaired last, and how often in a row. */
  #repaired = { what: '', count: 0, atMs: 0 };

  private constructor(phases: Phases) {
    this.#phases = phases;
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /** Resolves when the first phase is under way. @throws whatever keeps both phases from beginning. */
  static async start(phases: Phases): Promise<NodeRun> {
    const run = new NodeRun(phases);
    await run.#begin(null);
    void run.#follow();
    return run;
  }

  /** Ends the phase under way. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#turn.catch(() => {});
    await this.#lifecycle.close();
  }

  async #begin(cause: Found | null): Promise<void> {
    const { serve, repair, onTurn } = this.#phases;
    for (let found = cause; ; ) {
      const lifecycle = new Lifecycle();
      this.#lifecycle = lifecycle;
      try {
        const isRepair = found !== null && found.damage.kind !== 'derived';
        this.#phase = isRepair ? await repair(lifecycle, found!) : await serve(lifecycle, found?.damage ?? null);
        return;
      } catch (error) {
        await lifecycle.close().catch(() => {});
        const damage = found === null || found.damage.kind === 'derived' ? damageOf(error) : null;
        if (damage === null || damage.kind === 'derived' || this.#isInVain(damage)) throw error;
        onTurn('the data are damaged: they are repaired before this node takes part', { damage: messageOf(error) });
        found = { damage, membership: null, isDispensable: false };
      }
    }
  }

  async #follow(): Promise<void> {
    while (this.#phase !== null) {
      const end = await this.#phase.ended;
      if (this.#isStopping) return;
      if (end.kind === 'failed') return this.#fail(end.error);
      const found = end.kind === 'damaged' ? end.found : null;
      if (found !== null && !found.isDispensable && this.#isInVain(found.damage)) {
        return this.#fail(new Error(`damaged again and again: ${describeDamage(found.damage)}`));
      }
      this.#turn = this.#turnTo(found);
      try {
        await this.#turn;
      } catch (error) {
        return this.#fail(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  async #turnTo(found: Found | null): Promise<void> {
    const { onTurn } = this.#phases;
    if (found !== null) onTurn('stopping to repair damaged data', { damage: describeDamage(found.damage) });
    else onTurn('the data are whole again', {});
    await this.#lifecycle.close();
    this.#phase = null;
    if (!this.#isStopping) await this.#begin(found);
  }

  #isInVain(damage: Damage): boolean {
    const what = describeDamage(damage);
    const { what: before, count, atMs } = this.#repaired;
    const nowMs = this.#phases.clock.monotonicMs();
    const isAgain = what === before && nowMs - atMs < REPAIRED_FOR_GOOD_MS;
    this.#repaired = { what, count: isAgain ? count + 1 : 1, atMs: nowMs };
    return this.#repaired.count > REPAIRS_MAX;
  }
}
