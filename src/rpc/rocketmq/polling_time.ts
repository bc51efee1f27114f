// How long a poll waits (ROCKETMQ §4.9): as long as the client asks, but not longer than it will listen.
import { TLedgerError } from '../../base/errors.ts';
import type { Settings } from '../../wire/rocketmq/definitions.ts';
import { POLLING_MS_MAX } from './settings.ts';
import { millisOf } from './times.ts';

/** A client that listens for less than this, and less than it asks to wait, has its times mixed up. */
export const POLLING_MS_MIN = 5_000;
/** So long before the client's deadline the answer must be on its way. */
const MARGIN_MS = 300;
const REQUEST_TIMEOUT_MS_DEFAULT = 3_000;
/** From this version on clients know the code that says so. */
const VERSION_KNOWING = '5.0.3';

/** What decides. */
export interface PollingTerms {
  /** Null when the client leaves it to its deadline. */
  readonly askedMs: number | null;
  /** Until the call's deadline; Infinity without one. */
  readonly leftMs: number;
  readonly settings: Settings | undefined;
  readonly version: string;
}

/** @throws TLedgerError ILLEGAL_POLLING_TIME, or INVALID_ARGUMENT for clients that do not know the former. */
export function pollingTime({ askedMs, leftMs, settings, version }: PollingTerms): { readonly waitMs: number } {
  const wishMs = askedMs ?? leftMs - requestTimeoutMs(settings) / 2;
  const waitMs = Math.min(Math.max(1, wishMs), POLLING_MS_MAX);
  if (waitMs > leftMs && leftMs < POLLING_MS_MIN) {
    const code = version >= VERSION_KNOWING ? 'ILLEGAL_POLLING_TIME' : 'INVALID_ARGUMENT';
    throw new TLedgerError(
      code,
      `the deadline time remaining is not enough for polling: ${Math.floor(leftMs)} ms are left, ${waitMs} ms to wait`,
    );
  }
  return { waitMs: Math.max(1, Math.min(waitMs, leftMs - MARGIN_MS)) };
}

function requestTimeoutMs(settings: Settings | undefined): number {
  const timeout = settings?.requestTimeout;
  return timeout === undefined ? REQUEST_TIMEOUT_MS_DEFAULT : millisOf(timeout, 'request_timeout');
}
