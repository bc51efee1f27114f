// Unary calls without the writable stream that grpc-js puts around each of them and never writes to, a fifth of its price: an
// interceptor, which is grpc-js's public interface, hands the call to the handler itself. Framing, limits, deadlines,
// metadata and statuses remain grpc-js's.
//
//   HTTP/2 ──► grpc-js's call ──► LeanCall ──► handler
//                           └───► (streams) ─► grpc-js's own
import {
  type Metadata,
  type ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js';
import type { FailureStatus } from './status.ts';

/** What a unary handler may use of its call. */
export interface UnaryCall<Request> {
  readonly request: Request;
  readonly metadata: Metadata;
  /** Whether nobody waits for the answer any more. */
  readonly cancelled: boolean;
  /** Wall clock; Infinity without one. */
  getDeadline(): Date | number;
  /** `address:port` of the client. */
  getPeer(): string;
  /** What the client believes to have dialled. */
  getHost(): string;
  on(event: 'cancelled', listener: () => void): unknown;
  off(event: 'cancelled', listener: () => void): unknown;
}

/** Ends a call, once: with a failure, or with its response. */
export type Answer<Response> = (failure: FailureStatus | null, response?: Response) => void;

/** Serves a unary method. */
export type UnaryHandler = (call: UnaryCall<unknown>, answer: Answer<unknown>) => void;

/** Serves the methods of these paths; must be the last interceptor of its server, as it ends their calls. */
export function leanUnary(handlers: ReadonlyMap<string, UnaryHandler>): ServerInterceptor {
  return ({ path }, call) => {
    const handle = handlers.get(path);
    const lean = handle === undefined ? call : new LeanCall(path, call, handle);
    // Only the interface of a call is asked for; its class would be the wrapper that is saved here.
    return lean as unknown as ServerInterceptingCall;
  };
}

const NOBODY: readonly (() => void)[] = [];
const nothing = (): void => {};
const ok = { code: status.OK, details: 'OK', metadata: null } as const;

/** A call, and its own listener: all that grpc-js does with it is to start it. */
class LeanCall implements UnaryCall<unknown> {
  metadata!: Metadata;
  request: unknown = null;
  cancelled = false;
  readonly #path: string;
  readonly #call: ServerInterceptingCallInterface;
  readonly #handle: UnaryHandler;
  #listeners = NOBODY;

  constructor(path: string, call: ServerInterceptingCallInterface, handle: UnaryHandler) {
    this.#path = path;
    this.#call = call;
    this.#handle = handle;
  }

  start(): void {
    this.#call.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.metadata = metadata;
    this.#call.startRead();
  }

  onReceiveMessage(message: unknown): void {
    if (this.request !== null) return this.#fail(status.UNIMPLEMENTED, `${this.#path} takes one request, not several`);
    this.request = message;
    this.#call.startRead();
  }

  onReceiveHalfClose(): void {
    if (this.request === null) return this.#fail(status.UNIMPLEMENTED, `${this.#path} takes a request`);
    try {
      this.#handle(this, (failure, response) => this.#answer(failure, response));
    } catch {
      this.#fail(status.UNKNOWN, 'Unknown error');
    }
  }

  onCancel(): void {
    this.cancelled = true;
    for (const listener of this.#listeners) listener();
  }

  on(_event: 'cancelled', listener: () => void): void {
    this.#listeners = [...this.#listeners, listener];
  }

  off(_event: 'cancelled', listener: () => void): void {
    this.#listeners = this.#listeners.filter((one) => one !== listener);
  }

  getDeadline(): Date | number {
    return this.#call.getDeadline();
  }

  getPeer(): string {
    return this.#call.getPeer();
  }

  getHost(): string {
    return this.#call.getHost();
  }

  #answer(failure: FailureStatus | null, response: unknown): void {
    this.request = null;
    if (failure !== null) return this.#call.sendStatus(failure);
    this.#call.sendMessage(response, nothing);
    this.#call.sendStatus(ok);
  }

  #fail(code: status, details: string): void {
    this.#call.sendStatus({ code, details, metadata: null });
  }
}
