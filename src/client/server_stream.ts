// A server stream as an async iterable that can be aborted and never leaves its call behind.
import type { Method } from '../wire/services.ts';
import type { Endpoint } from './endpoint.ts';

/** The responses of one call to one node. Leaving the loop or aborting any of `signals` cancels the call. */
export async function* serverStream<Out, In, Response>(
  endpoint: Endpoint,
  method: Method<Out, In, Response>,
  request: Out,
  signals: readonly (AbortSignal | undefined)[],
): AsyncGenerator<Response, void, void> {
  const { path, requestSerialize, responseDeserialize } = method;
  const call = endpoint.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  // The iteration throws the same error; without a listener a late one would end the process.
  call.on('error', () => {});
  const abort = () => call.cancel();
  for (const signal of signals) {
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
  }
  try {
    yield* call;
  } finally {
    for (const signal of signals) signal?.removeEventListener('abort', abort);
    call.cancel();
  }
}
