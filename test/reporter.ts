// Dots, and at the end each test that passed only at its second try (`--retries`): a flake that is not seen is kept.
import Mocha from 'mocha';

const { EVENT_RUN_END, EVENT_TEST_FAIL, EVENT_TEST_PASS, EVENT_TEST_RETRY } = Mocha.Runner.constants;

/** A test that did not pass at once. */
interface SecondTry {
  readonly name: string;
  /** Of the first try. */
  readonly error: string;
}

/** Mocha's dots, and the list of second tries behind all else. Works with `--parallel` and without. */
// biome-ignore lint/style/noDefaultExport: mocha takes a reporter from there.
export default class Reporter extends Mocha.reporters.Dot {
  readonly #failedOnce = new Map<string, string>();
  readonly #secondTries: SecondTry[] = [];

  constructor(runner: Mocha.Runner, options?: Mocha.MochaOptions) {
    super(runner, options);
    runner.on(EVENT_TEST_RETRY, (test: Mocha.Test, error: unknown) => {
      const name = nameOf(test);
      if (!this.#failedOnce.has(name)) this.#failedOnce.set(name, textOf(error));
    });
    runner.on(EVENT_TEST_PASS, (test: Mocha.Test) => {
      const name = nameOf(test);
      const error = this.#failedOnce.get(name);
      if (error !== undefined) this.#secondTries.push({ name, error });
      this.#failedOnce.delete(name);
    });
    runner.on(EVENT_TEST_FAIL, (test: Mocha.Test) => void this.#failedOnce.delete(nameOf(test)));
    // Registered behind the summary of the dots.
    runner.once(EVENT_RUN_END, () => process.stdout.write(listOf(this.#secondTries)));
  }
}

function nameOf(test: Mocha.Test): string {
  return test.fullTitle();
}

function textOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: unknown };
  return String(message ?? error);
}

function listOf(secondTries: readonly SecondTry[]): string {
  if (secondTries.length === 0) return '';
  const title = `  ${secondTries.length} passed only at the second try, and should not have needed it:\n`;
  const entries = secondTries.map(({ name, error }, at) => {
    return `\n  ${at + 1}) ${name}\n     ${error.replaceAll('\n', '\n     ')}\n`;
  });
  return `${title}${entries.join('')}\n`;
}
