// Numbers of requests that end up in commands: every replica must be able to hold them.
import { TLedgerError } from '../../base/errors.ts';
import { consumingLimits, type MoveRequest, type PopRequest, type SettleRequest } from './types.ts';

/** Lower numbers than these fit into every sum of times. */
const NUMBER_MAX = 2 ** 48;

/** @throws TLedgerError INVALID_ARGUMENT */
export function checkPop({ invisibleMs, countMax, waitMs, attemptId }: PopRequest): void {
  checkNumber('the invisible time', invisibleMs);
  checkNumber('the number of messages', countMax);
  checkNumber('the time to wait', waitMs);
  if (attemptId.length > consumingLimits.attemptIdMax) {
    throw new TLedgerError('INVALID_ARGUMENT', `the id of an attempt has ${attemptId.length} characters`);
  }
}

/** @throws TLedgerError INVALID_ARGUMENT */
export function checkVerdicts({ verdicts }: SettleRequest): void {
  for (const { verdict } of verdicts) {
    if (verdict.kind === 'change') checkNumber('the time until a message comes back', verdict.invisibleMs);
  }
}

/** @throws TLedgerError INVALID_ARGUMENT */
export function checkMove({ positions }: MoveRequest): void {
  for (const { offset } of positions) checkNumber('an offset', offset);
}

function checkNumber(what: string, value: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= NUMBER_MAX) return;
  throw new TLedgerError('INVALID_ARGUMENT', `${what} is a whole number, not ${value}`);
}
