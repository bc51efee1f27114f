// How a command ends: its exit code, and what is said about a failure.
import { type ErrorCode, isErrorCode } from '../base/errors.ts';

/** Exit codes of every command; `interrupted` is what a shell makes of SIGINT: 128 + 2. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unavailable: 3, interrupted: 130 } as const;

/** Ends a command with an exit code, having said already what there is to say. */
export class QuietExit extends Error {
  override readonly name = 'QuietExit';
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

const unavailable: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNREACHABLE',
  'NO_LEADER',
  'NOT_LEADER',
  'SHUTTING_DOWN',
  'DEADLINE_EXCEEDED',
]);

/** The exit code for a failure. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof QuietExit) return error.exitCode;
  return unavailable.has(codeOf(error)) ? exitCodes.unavailable : exitCodes.failed;
}

/** Errors are recognised by their code: they may come from another copy of the client. */
function codeOf(error: unknown): ErrorCode {
  const code = (error as { readonly code?: unknown } | undefined)?.code;
  return isErrorCode(code) ? code : 'INTERNAL';
}

/** One line for stderr; in JSON for programs. */
export function describeFailure(error: unknown, format: 'text' | 'json'): string {
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (format === 'json') return JSON.stringify({ error: { code, message } });
  return `tledger: ${message} (${code})`;
}
