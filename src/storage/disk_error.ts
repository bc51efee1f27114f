// How a failing file operation is told: one error for all of storage, naming what was tried, where, and the errno.
import { TLedgerError } from '../base/errors.ts';

/** STORAGE_FAILED naming the operation, the path and the errno, with the system's error as `cause`. */
export function diskError(operation: string, path: string, cause: unknown): TLedgerError {
  const errno = errnoOf(cause) ?? String(cause);
  return new TLedgerError('STORAGE_FAILED', `cannot ${operation} ${path}: ${errno}`, cause);
}

/** The errno name of a system error (`ENOSPC`), or undefined if it is something else. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
