// The leader's end of the forwarding stream: calls that clients made on other members. They are done here or refused,
// never forwarded again, and answered several at a time.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Replica } from '../replica/replica.ts';
import type { ForwardCall, ForwardRequest, ForwardResponse, ForwardResult } from '../wire/peer_messages.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import { statusOf } from '../wire/status.ts';
import { leaderCallOf } from './leader_call_table.ts';

type Stream = ServerDuplexStream<Incoming<ForwardRequest>, ForwardResponse>;

const NOTHING = Buffer.alloc(0);

/** Serves `Peer.Forward`. */
export class ForwardService {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #report: (where: string, error: unknown) => void;

  /** @param report told of what should not have happened; the caller only learns INTERNAL. */
  constructor(replica: Replica, clock: Clock, report: (where: string, error: unknown) => void) {
    this.#replica = replica;
    this.#clock = clock;
    this.#report = report;
  }

  /** Takes calls from a member's stream until it ends. */
  serve(stream: Stream): void {
    const answer = this.#answers(stream);
    stream.on('data', (incoming: Incoming<ForwardRequest>) => {
      try {
        for (const call of wellFormed(incoming).calls) this.#take(call, answer);
      } catch (error) {
        stream.emit('error', statusOf(error));
      }
    });
    stream.on('end', () => stream.end());
    stream.on('error', () => {});
  }

  /** Gathers the results of one turn into one message. */
  #answers(stream: Stream): (result: ForwardResult) => void {
    let results: ForwardResult[] = [];
    return (result) => {
      if (results.length === 0) {
        this.#clock.defer(() => {
          const gathered = results;
          results = [];
          if (!stream.cancelled) stream.write({ results: gathered });
        });
      }
      results.push(result);
    };
  }

  #take({ id, kind, request, timeoutMs }: ForwardCall, answer: (result: ForwardResult) => void): void {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    const fail = (error: unknown): void => {
      if (!(error instanceof TLedgerError)) this.#report(`Forward ${kind}`, error);
      const { code, message } = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL');
      answer({ id, response: NOTHING, errorCode: code, errorMessage: message });
    };
    try {
      const call = leaderCallOf(kind);
      if (call === undefined) throw new TLedgerError('INVALID_ARGUMENT', `calls of kind ${kind} are not known here`);
      call.run(this.#replica, call.decodeRequest(request), deadlineMs, (error, result) => {
        if (error !== null) fail(error);
        else answer({ id, response: call.encodeResult(result), errorCode: '', errorMessage: '' });
      });
    } catch (error) {
      fail(error);
    }
  }
}
