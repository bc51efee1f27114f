// How a call ended, as RocketMQ's clients are told: inside the answer. The gRPC call itself ends with OK (ROCKETMQ §1.6).
import { errorTable, TLedgerError } from '../../base/errors.ts';
import { type Code, codeNumbers, type Status } from '../../wire/rocketmq/definitions.ts';

const codeByNumber: ReadonlyMap<number, Code> = new Map(
  Object.entries(codeNumbers).map(([name, number]) => [number, name as Code]),
);

/** A status; the message is the name of the code unless there is more to say. */
export function statusOfCode(code: Code, message: string = code): Status {
  // Half a surrogate pair cannot be sent.
  return { code, message: Buffer.from(message).toString() };
}

/** It was done. */
export const okStatus: Status = statusOfCode('OK');

/** What an error is called in RocketMQ's protocol. Anything but a `TLedgerError` keeps its text to itself. */
export function statusOfError(error: unknown): Status {
  const known = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL');
  return statusOfCode(codeByNumber.get(errorTable[known.code].rocketmqCode) ?? 'INTERNAL_SERVER_ERROR', known.message);
}

/** The status of an answer that has entries (ROCKETMQ §3.4): what all of them say, or that they differ. */
export function statusOfEntries(entries: readonly { readonly status: Status | null }[]): Status {
  const first = entries[0]?.status ?? undefined;
  if (first === undefined) return statusOfCode('INTERNAL_SERVER_ERROR');
  const isSame = entries.every(({ status }) => status?.code === first.code);
  if (!isSame) return statusOfCode('MULTIPLE_RESULTS');
  return entries.length === 1 ? first : statusOfCode(first.code);
}
