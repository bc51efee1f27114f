// What every client-facing handler needs: its deadline, an end that comes exactly once (answer, cancellation or
// shutdown), and a net under it, so that no exception leaves a handler.
import type { Deadline, ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Answer, UnaryCall } from '../wire/lean_unary.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import { type FailureStatus, statusOf } from '../wire/status.ts';

/** How long one step of a call (an append, a read) may take when the caller set no earlier deadline. */
export const CALL_TIMEOUT_MS_DEFAULT = 30_000;

/** What the handlers of one server share. */
export interface CallContext {
  readonly clock: Clock;
  readonly calls: OpenCalls;
  /** Told of what should not have happened; the caller only learns INTERNAL. */
  readonly report: (where: string, error: unknown) => void;
}

/** The part of a grpc-js call that is used here. */
export interface AnyCall {
  readonly cancelled: boolean;
  getDeadline(): Deadline;
  on(event: 'cancelled', listener: () => void): unknown;
  off(event: 'cancelled', listener: () => void): unknown;
}

/** Streams and waiting calls that are open, so that a stopping server can end them and wait for the rest. */
export class OpenCalls {
  readonly #open = new Set<OpenCall>();
  readonly #idle: (() => void)[] = [];
  #closing = false;

  get count(): number {
    return this.#open.size;
  }

  /** Whether the server is stopping: new calls are refused. */
  get isClosing(): boolean {
    return this.#closing;
  }

  /** @throws TLedgerError SHUTTING_DOWN when the server is stopping. */
  add(call: OpenCall): void {
    if (this.#closing) throw new TLedgerError('SHUTTING_DOWN');
    this.#open.add(call);
  }

  delete(call: OpenCall): void {
    this.#open.delete(call);
    if (this.#open.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Asks every open call to end; new ones are welcome. */
  drain(): void {
    for (const call of [...this.#open]) call.drain();
  }

  /** Asks every open call to end; resolves when all have. */
  close(): Promise<void> {
    this.#closing = true;
    this.drain();
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}

/** One call from its start until it was answered, cancelled or ended by shutdown. */
export class OpenCall {
  /** The caller's own deadline on the monotonic clock; Infinity without one. */
  readonly deadlineMs: number;
  readonly #clock: Clock;
  /** Null once it is over. */
  #call: AnyCall | null;
  readonly #calls: OpenCalls;
  /** Made when it is needed: most calls hold nothing. */
  #cleanups: (() => void)[] | undefined;
  readonly #onCancel = (): void => this.close();
  #drain: (() => void) | undefined;
  #over = false;

  /** @throws TLedgerError SHUTTING_DOWN */
  constructor(context: CallContext, call: AnyCall) {
    this.#call = call;
    this.#calls = context.calls;
    this.#clock = context.clock;
    this.deadlineMs = deadlineOf(call, context.clock);
    this.#calls.add(this);
    call.on('cancelled', this.#onCancel);
    if (call.cancelled) this.close();
  }

  /** When something begun now must be done: the caller's deadline, or the default time from now if that is earlier. */
  get stepDeadlineMs(): number {
    return Math.min(this.deadlineMs, this.#clock.monotonicMs() + CALL_TIMEOUT_MS_DEFAULT);
  }

  /** Whether nobody waits for an answer any more. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Runs `cleanup` when the call is over, however it ends; at once if it is. */
  whenOver(cleanup: () => void): void {
    if (this.#over) cleanup();
    else if (this.#cleanups === undefined) this.#cleanups = [cleanup];
    else this.#cleanups.push(cleanup);
  }

  /** What to do when the server stops; without it the call is left to finish by itself. */
  onDrain(drain: () => void): void {
    this.#drain = drain;
    if (this.#calls.isClosing) drain();
  }

  /** The server stops. */
  drain(): void {
    this.#drain?.();
  }

  /** Marks the call as over and releases what it held. Idempotent. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#call?.off('cancelled', this.#onCancel);
    this.#call = null;
    this.#calls.delete(this);
    const cleanups = this.#cleanups ?? [];
    this.#cleanups = undefined;
    for (const cleanup of cleanups) cleanup();
  }
}

/** When a call must be answered, on the monotonic clock; gRPC itself reckons by the wall clock. */
function deadlineOf(call: Pick<AnyCall, 'getDeadline'>, clock: Clock): number {
  const deadline = call.getDeadline();
  const epochMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  return Number.isFinite(epochMs) ? clock.monotonicMs() + epochMs - Date.now() : Number.POSITIVE_INFINITY;
}

/** A unary handler around `handle`, which answers by its promise. */
export function unary<Request, Response>(
  context: CallContext,
  name: string,
  handle: (request: Request, open: OpenCall) => Promise<Response>,
) {
  return (call: UnaryCall<Incoming<Request>>, callback: Answer<Response>): void => {
    let open: OpenCall;
    try {
      open = new OpenCall(context, call);
    } catch (error) {
      callback(failureOf(context, name, error));
      return;
    }
    const settle = (respond: () => void): void => {
      const wasOver = open.isOver;
      open.close();
      if (!wasOver) respond();
    };
    invoke(() => handle(wellFormed(call.request), open)).then(
      (response) => settle(() => callback(null, response)),
      (error: unknown) => settle(() => callback(failureOf(context, name, error))),
    );
  };
}

/** A streaming handler around `serve`; whatever it throws, now or later, ends the stream with a status. */
export function streaming<Request, Response>(
  context: CallContext,
  name: string,
  serve: (call: ServerWritableStream<Incoming<Request>, Response>, open: OpenCall) => Promise<void>,
) {
  return (call: ServerWritableStream<Incoming<Request>, Response>): void => {
    let open: OpenCall;
    try {
      open = new OpenCall(context, call);
    } catch (error) {
      endWith(call, failureOf(context, name, error));
      return;
    }
    invoke(() => serve(call, open)).then(
      () => {
        if (!open.isOver) call.end();
        open.close();
      },
      (error: unknown) => {
        if (!open.isOver) endWith(call, failureOf(context, name, error));
        open.close();
      },
    );
  };
}

/** Ends a stream with a status that is not OK. */
export function endWith(
  call:
    | ServerWritableStream<never, never>
    | ServerDuplexStream<never, never>
    | { emit(event: 'error', error: unknown): unknown },
  failure: FailureStatus,
): void {
  call.emit('error', failure);
}

/** The status of `error`; anything unexpected is reported first. */
export function failureOf(context: CallContext, where: string, error: unknown): FailureStatus {
  if (!(error instanceof TLedgerError) || error.code === 'INTERNAL') context.report(where, error);
  const failure = statusOf(error);
  // grpc-js percent-encodes the text and throws over half a surrogate pair, which text from outside may hold.
  return { ...failure, details: Buffer.from(failure.details).toString() };
}

async function invoke<T>(task: () => Promise<T>): Promise<T> {
  return task();
}
