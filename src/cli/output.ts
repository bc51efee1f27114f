// What commands print: text for people or JSON for programs, on stdout; anything else goes to stderr.
import type { Writable } from 'node:stream';
import Table from 'cli-table3';

/** --format */
export type OutputFormat = 'text' | 'json';

/** Writes the result of one command. */
export class Output {
  readonly format: OutputFormat;
  readonly #stdout: Writable;

  constructor(stdout: Writable, format: OutputFormat) {
    this.#stdout = stdout;
    this.format = format;
  }

  /** The one result of a command: `document` as JSON, or `text`. */
  result(document: unknown, text: () => string): Promise<void> {
    return this.bytes(`${this.format === 'json' ? JSON.stringify(document) : text()}\n`);
  }

  /** Raw output; resolves when more may be written. */
  bytes(bytes: string | Buffer): Promise<void> {
    if (bytes.length === 0 || this.#stdout.write(bytes)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#stdout.off('drain', done);
        this.#stdout.off('close', done);
        resolve();
      };
      this.#stdout.on('drain', done);
      this.#stdout.on('close', done);
    });
  }
}

/** A table without lines, as wide as its content. Numbers stand on the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const isNumber = (column: number) => rows.length > 0 && rows.every((row) => /^[-0-9,.]*$/.test(String(row[column])));
  const none = Object.fromEntries(
    `top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid`
      .split(/\s+/)
      .map((edge) => [edge, '']),
  );
  const drawn = new Table({
    head: [...head],
    chars: { ...none, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, column) => (isNumber(column) ? 'right' : 'left')),
  });
  for (const row of rows) drawn.push([...row]);
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** 1234567 as 1,234,567. */
export function grouped(value: number | string): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** Milliseconds as people say them: 250 ms, 12 s, 5 min, 3 h, 2 d. */
export function duration(ms: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1_000, 's'],
  ];
  const unit = units.find(([size]) => ms >= size);
  return unit === undefined ? `${Math.round(ms)} ms` : `${Math.floor(ms / unit[0])} ${unit[1]}`;
}
