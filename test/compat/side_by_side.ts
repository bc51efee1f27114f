// Cases that wait most of their time, run at once, each reported as a test of its own.
import { pause } from '../chaos/pause.ts';

/** Set by `npm run test:compat:mutants`: only cases with such names are there. */
const wanted = new RegExp(process.env.COMPAT_CASES ?? '');

/** Cases of one suite, begun together. */
export class SideBySide {
  readonly #cases: { readonly run: () => Promise<void>; begin: (outcome: Promise<void>) => void }[] = [];
  readonly #outcomes: Promise<void>[] = [];
  readonly #spacingMs: number;

  /** @param spacingMs from one's begin to the next, so that not all start up at the same moment. */
  constructor(spacingMs = 100) {
    this.#spacingMs = spacingMs;
  }

  /** Registers a test. A second try of mocha's runs the case again, alone. */
  readonly it = (name: string, run: () => Promise<void>): void => {
    if (!wanted.test(name)) return;
    let begin: (outcome: Promise<void>) => void = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    this.#cases.push({ run, begin });
    let tries = 0;
    it(name, () => (tries++ === 0 ? begun : run()));
  };

  /** Begins all that were registered since the last time; in the `before` of the suite. */
  begin(): void {
    void this.#beginAll();
  }

  /** Resolves when all that began have ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#outcomes);
  }

  async #beginAll(): Promise<void> {
    for (const { run, begin } of this.#cases.splice(0)) {
      const outcome = run();
      // Mocha hears of it when the test's turn comes.
      outcome.catch(() => {});
      this.#outcomes.push(outcome);
      begin(outcome);
      await pause(this.#spacingMs);
    }
  }
}
