// Values of enums that a newer client may send: what this definition has no name for arrives as a number (wire/proto.ts).
import { TLedgerError } from '../../base/errors.ts';

/** Whether the value has a name here. */
export function isNamed(value: string): boolean {
  return typeof value === 'string';
}

/** @throws TLedgerError INVALID_ARGUMENT when nobody here knows what the value asks for. */
export function named<Value extends string>(value: Value, field: string): Value {
  if (isNamed(value)) return value;
  throw new TLedgerError('INVALID_ARGUMENT', `${field}: ${value} has no meaning here`);
}
