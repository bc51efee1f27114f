// 64-bit integers of the protocol. proto-loader hands them over as decimal text, because a JavaScript number silently
// changes beyond 2^53 - 1; here the text becomes a number, or a refusal that names the field.
import { TLedgerError } from '../base/errors.ts';

/** A 64-bit integer as proto-loader gives and takes it. */
export type Int64 = string;

const DECIMAL = /^-?[0-9]{1,20}$/;

/**
 * The number that `text` stands for.
 * @param field named in the error.
 * @throws TLedgerError INVALID_ARGUMENT when it is no integer between -(2^53 - 1) and 2^53 - 1.
 */
export function int64ToNumber(text: Int64, field: string): number {
  const value = DECIMAL.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${text} is out of range`);
  return value;
}

/** Like `int64ToNumber`, for what cannot be negative. */
export function uint64ToNumber(text: Int64, field: string): number {
  const value = int64ToNumber(text, field);
  if (value < 0) throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${text} is negative`);
  return value;
}

/** The text of a safe integer. @throws TLedgerError INVALID_ARGUMENT for anything else. */
export function numberToInt64(value: number, field: string): Int64 {
  if (!Number.isSafeInteger(value)) throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${value} is out of range`);
  return String(value);
}
