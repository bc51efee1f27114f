// The largest request of one method of a port. grpc-js knows one limit for all methods of a server only, so this reaches for
// private fields of its calls, checks that they look as expected, and says so when they do not.
import type { ServerInterceptingCall, ServerInterceptor } from '@grpc/grpc-js';

interface CallInternals {
  maxReceiveMessageSize?: unknown;
  decoder?: { maxReadMessageLength?: unknown };
}

/**
 * Lets requests of the method of that path be larger than the port's limit; those of the others stay below it.
 * @param warn told, once, when this grpc-js keeps its fields elsewhere: then the port's limit holds for all.
 */
export function allowLargerRequests(
  path: string,
  bytesMax: number,
  warn: (message: string) => void,
): ServerInterceptor {
  let isWarned = false;
  return (method, call) => {
    // Unwrapped: a wrapper around each call of every method costs them all. Only the interface of a call is asked for.
    const unwrapped = call as unknown as ServerInterceptingCall;
    if (method.path !== path) return unwrapped;
    const internals = call as unknown as CallInternals;
    const { decoder } = internals;
    if (typeof internals.maxReceiveMessageSize === 'number' && typeof decoder?.maxReadMessageLength === 'number') {
      internals.maxReceiveMessageSize = bytesMax;
      decoder.maxReadMessageLength = bytesMax;
    } else if (!isWarned) {
      isWarned = true;
      warn('grpc-js keeps its limits elsewhere: large requests of RocketMQ clients are refused by the transport');
    }
    return unwrapped;
  };
}
