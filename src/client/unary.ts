// One question to one node.
import type { ServiceError } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import type { Method } from '../wire/services.ts';
import type { Endpoint } from './endpoint.ts';

/** How long to wait for the answer. */
export interface UnaryOptions {
  /** Milliseconds (Date.now). */
  readonly deadlineMs: number;
  /** Any of these ends the wait at once, as if the connection were lost. */
  readonly signals?: readonly (AbortSignal | undefined)[];
}

/** Sends `request` and resolves with the answer. Rejects with what grpc-js made of a failure; see `errorOf`. */
export function unary<Out, In, Response>(
  endpoint: Endpoint,
  method: Method<Out, In, Response>,
  request: Out,
  { deadlineMs, signals = [] }: UnaryOptions,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, response?: Response) => {
      for (const signal of signals) signal?.removeEventListener('abort', cancel);
      if (error !== null || response === undefined) reject(error ?? new TLedgerError('INTERNAL', 'no response'));
      else resolve(response);
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const options = { deadline: deadlineMs };
    const call = endpoint.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done);
    const cancel = () => call.cancel();
    for (const signal of signals) {
      if (signal?.aborted) cancel();
      signal?.addEventListener('abort', cancel);
    }
  });
}
