// The table of error codes as the README shows it.
import { errorTable } from '../base/errors.ts';

/** gRPC's names of the statuses that errors have (https://grpc.io/docs/guides/status-codes/). */
const statusNames: Readonly<Record<number, string>> = {
  2: 'UNKNOWN',
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'NOT_FOUND',
  6: 'ALREADY_EXISTS',
  7: 'PERMISSION_DENIED',
  8: 'RESOURCE_EXHAUSTED',
  9: 'FAILED_PRECONDITION',
  10: 'ABORTED',
  11: 'OUT_OF_RANGE',
  12: 'UNIMPLEMENTED',
  13: 'INTERNAL',
  14: 'UNAVAILABLE',
  15: 'DATA_LOSS',
};

/** A row for every code: meaning, gRPC status, and whether the same request may be sent again. */
export function errorTableMarkdown(): string {
  const rows = Object.entries(errorTable).map(([code, { meaning, grpcStatus, retryable }]) => {
    const status = statusNames[grpcStatus] ?? String(grpcStatus);
    return `| \`${code}\` | ${meaning} | ${status} | ${retryable ? 'yes' : 'no'} |`;
  });
  return ['| code | meaning | gRPC status | retryable |', '|---|---|---|---|', ...rows].join('\n');
}
