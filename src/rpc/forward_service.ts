// The leader's end of the forwarding stream: calls that clients made on other members. They are done here or refused,
// never forwarded again, and answered several at a time. When the stream ends, what waits on it ends with it, and what was
// done for a caller that can no longer be told is taken back, as far as its kind of call can be.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Replica } from '../replica/replica.ts';
import type { ForwardCall, ForwardRequest, ForwardResponse, ForwardResult } from '../wire/peer_messages.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import { statusOf } from '../wire/status.ts';
import { leaderCallOf } from './leader_call_table.ts';
import type { Hurry } from './leader_calls.ts';

type Stream = ServerDuplexStream<Incoming<ForwardRequest>, ForwardResponse>;

const NOTHING = Buffer.alloc(0);
/** Responses gathered into one frame; one response may exceed it. */
const FRAME_BYTES_MAX = 1024 * 1024;

/** What serving a stream stands on. */
interface ForwardDesk {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly report: (where: string, error: unknown) => void;
}

/** Serves `Peer.Forward`. */
export class ForwardService {
  readonly #desk: ForwardDesk;

  /** @param report told of what should not have happened; the caller only learns INTERNAL. */
  constructor(replica: Replica, clock: Clock, report: (where: string, error: unknown) => void) {
    this.#desk = { replica, clock, report };
  }

  /** Takes calls from a member's stream until it ends. */
  serve(stream: Stream): void {
    const calls = new ForwardedCalls(this.#desk, stream);
    stream.on('data', (incoming: Incoming<ForwardRequest>) => {
      try {
        calls.take(wellFormed(incoming));
      } catch (error) {
        calls.end();
        stream.emit('error', statusOf(error));
      }
    });
    stream.on('cancelled', () => calls.end());
    stream.on('end', () => {
      calls.end();
      stream.end();
    });
    stream.on('error', () => calls.end());
  }
}

/** The calls of one stream. */
class ForwardedCalls {
  readonly #desk: ForwardDesk;
  readonly #stream: Stream;
  /** Calls that may wait, by id. */
  readonly #hurries = new Map<string, Hurry>();
  #results: ForwardResult[] = [];
  #isOver = false;

  constructor(desk: ForwardDesk, stream: Stream) {
    this.#desk = desk;
    this.#stream = stream;
  }

  take({ calls, hurried }: ForwardRequest): void {
    for (const call of calls) this.#take(call);
    for (const id of hurried) this.#hurries.get(id)?.();
  }

  /** Nobody hears of the answers any more. */
  end(): void {
    this.#isOver = true;
    for (const hurry of [...this.#hurries.values()]) hurry();
  }

  #take({ id, kind, request: bytes, timeoutMs }: ForwardCall): void {
    const { replica, clock, report } = this.#desk;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const fail = (error: unknown): void => {
      if (!(error instanceof TLedgerError)) report(`Forward ${kind}`, error);
      const { code, message } = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL');
      this.#answer({ id, response: NOTHING, errorCode: code, errorMessage: message });
    };
    try {
      const call = leaderCallOf(kind);
      if (call === undefined) throw new TLedgerError('INVALID_ARGUMENT', `calls of kind ${kind} are not known here`);
      const request = call.decodeRequest(bytes);
      let isDone = false;
      const done = (error: Error | null, result: unknown): void => {
        isDone = true;
        this.#hurries.delete(id);
        if (error !== null) fail(error);
        else if (this.#isOver) call.undo?.(replica, request, result);
        else this.#answer({ id, response: call.encodeResult(result), errorCode: '', errorMessage: '' });
      };
      call.run(replica, request, deadlineMs, done, (hurry) => {
        if (!isDone) this.#hurries.set(id, hurry);
      });
    } catch (error) {
      fail(error);
    }
  }

  /** Gathers the results of one turn. */
  #answer(result: ForwardResult): void {
    if (this.#isOver) return;
    if (this.#results.length === 0) this.#desk.clock.defer(() => this.#flush());
    this.#results.push(result);
  }

  /** In frames that the other side takes, however much was answered in one turn. */
  #flush(): void {
    const gathered = this.#results;
    this.#results = [];
    if (this.#isOver) return;
    let results: ForwardResult[] = [];
    let sizeBytes = 0;
    for (const result of gathered) {
      if (results.length > 0 && sizeBytes + result.response.length > FRAME_BYTES_MAX) {
        this.#stream.write({ results });
        results = [];
        sizeBytes = 0;
      }
      results.push(result);
      sizeBytes += result.response.length;
    }
    if (results.length > 0) this.#stream.write({ results });
  }
}
