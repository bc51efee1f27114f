// The frame around each call of RocketMQ's protocol: who calls, how long there is, and a status inside the answer however
// it ends. What goes wrong never becomes a gRPC error.
import { TLedgerError } from '../../base/errors.ts';
import type { Answer, UnaryCall } from '../../wire/lean_unary.ts';
import type { Status } from '../../wire/rocketmq/definitions.ts';
import { type Incoming, wellFormed } from '../../wire/services.ts';
import { type CallContext, OpenCall } from '../calls.ts';
import { type Caller, callerOf } from './caller.ts';
import { statusOfError } from './status.ts';

/** So long before the client's deadline an answer must be on its way. */
const ANSWER_MARGIN_MS = 150;

/** What a handler knows of its call. */
export interface Asked {
  readonly caller: Caller;
  readonly open: OpenCall;
  /** Monotonic: what takes longer is answered with an error. */
  readonly deadlineMs: number;
}

/** When work for a call must be done, on the monotonic clock. */
export function workDeadlineMs(open: OpenCall, nowMs: number): number {
  const leftMs = open.stepDeadlineMs - nowMs;
  return nowMs + Math.max(0, leftMs - Math.min(ANSWER_MARGIN_MS, leftMs / 4));
}

/** The status of whatever was thrown; what is unexpected is reported first. */
export function failureStatus(context: CallContext, where: string, error: unknown): Status {
  if (!(error instanceof TLedgerError) || error.code === 'INTERNAL') context.report(where, error);
  return statusOfError(error);
}

/**
 * A unary handler.
 * @param refused the answer that says nothing but a status.
 */
export function answering<Request, Response>(
  context: CallContext,
  name: string,
  handle: (request: Request, asked: Asked) => Response | Promise<Response>,
  refused: (status: Status, request: Request | null) => Response,
) {
  return (call: UnaryCall<Incoming<Request>>, callback: Answer<Response>): void => {
    let open: OpenCall | null = null;
    let request: Request | null = null;
    const run = async (): Promise<Response> => {
      open = new OpenCall(context, call);
      request = wellFormed(call.request);
      const caller = callerOf(call);
      return handle(request, { caller, open, deadlineMs: workDeadlineMs(open, context.clock.monotonicMs()) });
    };
    run()
      .catch((error: unknown) => refused(failureStatus(context, name, error), request))
      .then((response) => {
        const isOver = open?.isOver === true;
        open?.close();
        if (!isOver) callback(null, response);
      })
      .catch((error: unknown) => context.report(name, error));
  };
}
