// One AppendStream to one node, from its first frame to its end.
import type { ClientDuplexStream, StatusObject } from '@grpc/grpc-js';
import { type ErrorCode, TLedgerError } from '../base/errors.ts';
import { gatherAppendRequest, type OutgoingAppend } from '../wire/append_codec.ts';
import type { AppendStreamResponse, Leader } from '../wire/ledger_messages.ts';
import { ledgerService } from '../wire/services.ts';
import { acknowledgedCount, answeredCode, errorOf } from '../wire/status.ts';
import type { Endpoint } from './endpoint.ts';

/**
 * How a stream ended. `answered` is the code that the node gave to the oldest frame without an answer; undefined when the
 * connection was lost, or acknowledgements were, so that nobody can tell which frame the code is for.
 */
export interface PipeEnd {
  readonly error: TLedgerError;
  readonly answered: ErrorCode | undefined;
}

/** What a stream tells its owner. Nothing follows `onEnd`, which comes exactly once. */
export interface PipeEvents {
  /** One answer for each frame, in the order in which they were written. */
  onAcknowledged(queueOffset: number): void;
  /** After the acknowledgements that came together. */
  onProgress(leader: Leader | null): void;
  onEnd(end: PipeEnd): void;
}

/** A stream of frames to one node. */
export class AppendPipe {
  readonly endpoint: Endpoint;
  readonly #call: ClientDuplexStream<OutgoingAppend, AppendStreamResponse>;
  readonly #events: PipeEvents;
  #status: StatusObject | undefined;
  #acknowledged = 0;
  #isDrained = false;
  #isEnded = false;

  constructor(endpoint: Endpoint, events: PipeEvents) {
    this.endpoint = endpoint;
    this.#events = events;
    const { path, responseDeserialize } = ledgerService.appendStream;
    this.#call = endpoint.client.makeBidiStreamRequest(path, gatherAppendRequest, responseDeserialize);
    this.#call.on('data', (response) => this.#onResponse(response));
    // The status event says the same and comes for every ending.
    this.#call.on('error', () => {});
    this.#call.on('end', () => {
      this.#isDrained = true;
      this.#finish();
    });
    this.#call.on('status', (status) => {
      this.#status = status;
      this.#finish();
    });
  }

  /** Sends a frame. The owner bounds how much is under way, so nothing is said about what the socket holds. */
  write(request: OutgoingAppend): void {
    this.#call.write(request);
  }

  /** Says that nothing more will come; ends with `onEnd` after the last answer. */
  close(): void {
    this.#call.end();
  }

  /** Ends at once, with `onEnd`, as if the connection were lost. */
  abort(reason: TLedgerError): void {
    this.#end({ error: reason, answered: undefined });
    this.#call.cancel();
  }

  #onResponse(response: AppendStreamResponse): void {
    if (this.#isEnded) return;
    for (const { queueOffset } of response.acknowledged) {
      this.#acknowledged++;
      this.#events.onAcknowledged(queueOffset);
      if (this.#isEnded) return;
    }
    this.#events.onProgress(response.leader);
  }

  /** Waits for both, so that no acknowledgement is overtaken by the status. */
  #finish(): void {
    if (this.#status === undefined || !this.#isDrained) return;
    const isOk = this.#status.code === 0;
    const error = isOk ? new TLedgerError('UNREACHABLE', 'the node ended the stream') : errorOf(this.#status);
    const isForTheOldest = !isOk && acknowledgedCount(this.#status) === this.#acknowledged;
    this.#end({ error, answered: isForTheOldest ? answeredCode(this.#status) : undefined });
  }

  #end(end: PipeEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#events.onEnd(end);
  }
}
