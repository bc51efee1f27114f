// What the scripts of this folder have in common: a report as a file, and an end that leaves nothing running.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Writes `document` as JSON; folders on the way are made. */
export function writeReport(path: string, document: unknown, indent = 2): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(document, null, indent)}\n`);
}

/** When the script is interrupted or told to end, it does so after `cleanUp`, with exit code 130. */
export function endAfter(cleanUp: () => Promise<unknown>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void cleanUp().finally(() => process.exit(130)));
  }
}
