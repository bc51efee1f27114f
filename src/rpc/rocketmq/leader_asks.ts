// What only the leader can do, asked again until the client's time is over: a change of leaders is nothing that clients of
// RocketMQ should hear of. Only for what may be said twice: sends (their message ids are remembered), verdicts, pops.
import type { Clock } from '../../base/clock.ts';
import { type ErrorCode, TLedgerError } from '../../base/errors.ts';
import type { CallContext } from '../calls.ts';
import type { AtLeaderOptions, Gateway } from '../gateway.ts';
import type { LeaderCall } from '../leader_calls.ts';

/** Nothing is wrong with the request: the way to the leader, or the leader itself, was lost. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NOT_LEADER',
  'NO_LEADER',
  'UNREACHABLE',
  'TRANSFERRING',
  'OUTCOME_UNKNOWN',
]);
const PAUSE_MS_MIN = 10;
const PAUSE_MS_MAX = 200;

/** An answer, and whether an earlier asking may have been heard, too. */
export interface Answered<Result> {
  readonly result: Result;
  readonly isRepeat: boolean;
}

/** Asks the leader for one node. */
export class LeaderAsks {
  readonly #gateway: Gateway;
  readonly #context: CallContext;

  constructor(gateway: Gateway, context: CallContext) {
    this.#gateway = gateway;
    this.#context = context;
  }

  /**
   * Whether nothing is wrong with what was asked, just with the way to the leader. One that shuts down is as good as none; a
   * node that does has nobody to ask for.
   */
  isPassing(error: unknown): error is TLedgerError {
    if (!(error instanceof TLedgerError)) return false;
    return PASSING.has(error.code) || (error.code === 'SHUTTING_DOWN' && !this.#context.calls.isClosing);
  }

  /**
   * @param request made anew each time it is sent: whoever gets it may keep it.
   * @throws TLedgerError what the call says; of the way there only what holds until the deadline.
   */
  async ask<Request, Result>(
    call: LeaderCall<Request, Result>,
    request: (nowMs: number) => Request,
    options: AtLeaderOptions,
  ): Promise<Result> {
    return (await this.askKnowing(call, request, options)).result;
  }

  /**
   * The same for those who must know whether they were heard twice.
   * @param onRefusal the answer to a refusal that an earlier, lost asking may be the reason of; undefined when it stands.
   */
  async askKnowing<Request, Result>(
    call: LeaderCall<Request, Result>,
    request: (nowMs: number) => Request,
    { sizeBytes, deadlineMs, signal }: AtLeaderOptions,
    onRefusal: (error: unknown) => Result | undefined = () => undefined,
  ): Promise<Answered<Result>> {
    const { clock } = this.#context;
    let isRepeat = false;
    let pauseMs = PAUSE_MS_MIN;
    for (;;) {
      const nowMs = clock.monotonicMs();
      try {
        const result = await this.#gateway.atLeader(call, request(nowMs), { sizeBytes, deadlineMs, signal });
        return { result, isRepeat };
      } catch (error) {
        if (!this.isPassing(error)) {
          const result = isRepeat ? onRefusal(error) : undefined;
          if (result === undefined) throw error;
          return { result, isRepeat };
        }
        const leftMs = deadlineMs - clock.monotonicMs();
        if (leftMs <= pauseMs || signal?.aborted === true) throw error;
        isRepeat ||= error.code === 'OUTCOME_UNKNOWN';
        await pause(clock, pauseMs);
        pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
      }
    }
  }
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}
