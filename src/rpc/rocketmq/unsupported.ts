// What this node does not do (yet): said inside the answer, so that clients hear it as they hear everything else.
import type { ServerWritableStream } from '@grpc/grpc-js';
import { TLedgerError } from '../../base/errors.ts';
import type { Status } from '../../wire/rocketmq/definitions.ts';
import type { CallContext } from '../calls.ts';
import { failureStatus } from './answering.ts';

/** @throws TLedgerError NOT_IMPLEMENTED */
export function notImplemented(): never {
  throw new TLedgerError('NOT_IMPLEMENTED');
}

/** The same for a call whose answer is a stream. */
export function notImplementedStream<Request>(context: CallContext) {
  return (call: ServerWritableStream<Request, { readonly status?: Status | undefined }>): void => {
    call.write({ status: failureStatus(context, 'stream', new TLedgerError('NOT_IMPLEMENTED')) });
    call.end();
  };
}
