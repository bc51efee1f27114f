// Callers wait until their deadline; what they asked for goes on without them.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';

/**
 * What `decided` comes to, or OUTCOME_UNKNOWN at the deadline.
 * @param deadlineMs monotonic.
 */
export function withDeadline<T>(clock: Clock, decided: Promise<T>, deadlineMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(Math.max(0, deadlineMs - clock.monotonicMs()), () => {
      reject(new TLedgerError('OUTCOME_UNKNOWN', 'no majority confirmed the request before its deadline'));
    });
    decided.then(resolve, reject).finally(() => timer.cancel());
  });
}
