// Protobuf's times and durations, and milliseconds.
import { TLedgerError } from '../../base/errors.ts';
import { int64ToNumber } from '../../wire/int64.ts';
import type { Duration, Timestamp } from '../../wire/rocketmq/definitions.ts';

const NANOS_PER_MS = 1_000_000;
const MS_PER_SECOND = 1_000;

/** Milliseconds since the epoch, as the protocol writes them. */
export function timestampOf(ms: number): Timestamp {
  const seconds = Math.floor(ms / MS_PER_SECOND);
  return { seconds: String(seconds), nanos: Math.round((ms - seconds * MS_PER_SECOND) * NANOS_PER_MS) };
}

/** A duration in milliseconds, as the protocol writes it. */
export const durationOf: (ms: number) => Duration = timestampOf;

/**
 * Milliseconds of a time; parts of one count as a whole one, so that nothing happens early.
 * @throws TLedgerError INVALID_ARGUMENT when it is beyond 2^53.
 */
export function millisOf(time: Timestamp, field: string): number {
  const ms = int64ToNumber(time.seconds, field) * MS_PER_SECOND + Math.ceil(time.nanos / NANOS_PER_MS);
  if (Number.isSafeInteger(ms)) return ms;
  throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${time.seconds} s is out of range`);
}
