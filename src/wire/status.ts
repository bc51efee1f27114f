// Between the table of errors and gRPC's statuses. The code of the table travels in the trailing metadata as
// `tledger-code`, so that nothing is lost in the coarser gRPC status; the message travels as the status details.
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, errorTable, isErrorCode, messageOf, TLedgerError } from '../base/errors.ts';

/** Metadata key of an error's code. */
export const CODE_METADATA = 'tledger-code';

/**
 * Metadata key that comes with the error which ends an AppendStream: how many requests were acknowledged on it, in
 * decimal. Clients need it because grpc-js may drop messages that arrive just before an error
 * (https://github.com/grpc/grpc-node/issues/2764): the error belongs to the first request behind those.
 */
export const ACKNOWLEDGED_METADATA = 'tledger-acknowledged';

/** What ends a call on the server: hand it to the callback of a unary call or to `emit('error', …)` of a stream. */
export interface FailureStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** The status of an error. Anything but a `TLedgerError` is INTERNAL, and its text stays inside the node. */
export function statusOf(error: unknown): FailureStatus {
  const known = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL');
  const metadata = new Metadata();
  metadata.set(CODE_METADATA, known.code);
  return { code: errorTable[known.code].grpcStatus, details: known.message, metadata };
}

/** The code that the node itself put into its answer; undefined when the failure arose on the way. */
export function answeredCode(error: unknown): ErrorCode | undefined {
  const code = (error as Partial<ServiceError> | undefined)?.metadata?.get?.(CODE_METADATA)[0];
  return isErrorCode(code) ? code : undefined;
}

/** How many requests of an AppendStream the node says it acknowledged before the error; undefined when it does not say. */
export function acknowledgedCount(error: unknown): number | undefined {
  const count = (error as Partial<ServiceError> | undefined)?.metadata?.get?.(ACKNOWLEDGED_METADATA)[0];
  return typeof count === 'string' && /^\d{1,15}$/.test(count) ? Number(count) : undefined;
}

/**
 * The error a failed call stands for. What the node answered keeps its code. What arose on the way becomes the code
 * that is right for a request without effects; whoever sent something with effects asks `answeredCode` first, and calls
 * the outcome unknown when there was no answer.
 */
export function errorOf(error: unknown): TLedgerError {
  if (error instanceof TLedgerError) return error;
  const { code, details } = error as Partial<ServiceError>;
  const text = details !== undefined && details !== '' ? details : messageOf(error);
  return new TLedgerError(answeredCode(error) ?? codeOfStatus(code, text), text, error);
}

function codeOfStatus(code: status | undefined, text: string): ErrorCode {
  switch (code) {
    case status.UNAVAILABLE:
    // A node that goes down resets its streams.
    case status.CANCELLED:
      return 'UNREACHABLE';
    case status.DEADLINE_EXCEEDED:
      return 'DEADLINE_EXCEEDED';
    case status.INVALID_ARGUMENT:
    case status.UNIMPLEMENTED:
      return 'INVALID_ARGUMENT';
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      return 'NOT_A_MEMBER';
    case status.RESOURCE_EXHAUSTED:
      return /larger than max/i.test(text) ? 'BATCH_TOO_LARGE' : 'OVERLOADED';
    default:
      return 'INTERNAL';
  }
}
