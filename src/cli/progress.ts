// A line on stderr that says how far a long command is.
import type { CliContext } from './context.ts';

const TERMINAL_MS = 200;
const PLAIN_MS = 1_000;

/** Redraws one line on a terminal, writes a line a second elsewhere; says nothing if it is not wanted. */
export class ProgressLine {
  readonly #context: CliContext;
  readonly #text: () => string;
  readonly #timer: NodeJS.Timeout | undefined;
  #isDrawn = false;

  constructor(context: CliContext, isWanted: boolean, text: () => string) {
    this.#context = context;
    this.#text = text;
    if (!isWanted) return;
    this.#timer = setInterval(() => this.#draw(), context.isStderrTerminal ? TERMINAL_MS : PLAIN_MS);
    this.#timer.unref();
  }

  /** Ends it; a terminal's line is left empty for what comes next. */
  stop(): void {
    clearInterval(this.#timer);
    if (this.#isDrawn && this.#context.isStderrTerminal) this.#context.stderr.write('\r\u001b[K');
  }

  #draw(): void {
    this.#isDrawn = true;
    const { stderr, isStderrTerminal } = this.#context;
    stderr.write(isStderrTerminal ? `\r\u001b[K${this.#text()}` : `${this.#text()}\n`);
  }
}
