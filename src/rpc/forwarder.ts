// What clients ask of a node that does not lead, on its way to the leader: everything submitted in one turn of the event
// loop travels as one frame on one stream. If the stream breaks, what was sent has an unknown outcome and is told so.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { isErrorCode, TLedgerError } from '../base/errors.ts';
import type { ForwardCall, ForwardRequest, ForwardResponse, ForwardResult } from '../wire/peer_messages.ts';

/** What to do there. */
export type ForwardedCall = Omit<ForwardCall, 'id'>;

/** The part of a peer link that forwarding needs. */
export interface ForwardingLink {
  readonly isUp: boolean;
  /** A new stream; its owner ends it. */
  openForward(): ClientDuplexStream<ForwardRequest, ForwardResponse>;
}

interface Outstanding {
  readonly sizeBytes: number;
  readonly deadlineMs: number;
  readonly done: (error: TLedgerError | null, response: Buffer | null) => void;
  sent: boolean;
}

/** Most calls and bytes on their way to the leader at once. */
const OUTSTANDING_COUNT_MAX = 8_192;
const OUTSTANDING_BYTES_MAX = 32 * 1024 * 1024;
/** Bytes of calls gathered into one frame. */
const FRAME_BYTES_MAX = 1024 * 1024;
const SWEEP_INTERVAL_MS = 100;

/** The way to one leader. */
export class Forwarder {
  readonly #link: ForwardingLink;
  readonly #clock: Clock;
  readonly #outstanding = new Map<string, Outstanding>();
  #outstandingBytes = 0;
  #queue: ForwardCall[] = [];
  /** Calls that nobody waits for any more. */
  #hurried: string[] = [];
  #stream: ClientDuplexStream<ForwardRequest, ForwardResponse> | null = null;
  #lastId = 0;
  #flushScheduled = false;
  #sweepScheduled = false;

  constructor(link: ForwardingLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /**
   * @param done called once: with the encoded response, or with an error that says whether the outcome is unknown.
   * @returns has the leader answer at once, if the call still waits there.
   */
  submit(call: ForwardedCall, deadlineMs: number, done: Outstanding['done']): () => void {
    const sizeBytes = call.request.length;
    if (this.#outstanding.size >= OUTSTANDING_COUNT_MAX || this.#outstandingBytes + sizeBytes > OUTSTANDING_BYTES_MAX) {
      done(
        new TLedgerError('OVERLOADED', `${this.#outstanding.size} calls are on their way to the leader already`),
        null,
      );
      return () => {};
    }
    const id = String(++this.#lastId);
    this.#outstanding.set(id, { sizeBytes, deadlineMs, done, sent: false });
    this.#outstandingBytes += sizeBytes;
    const { kind, request, timeoutMs } = call;
    this.#queue.push({ id, kind, request, timeoutMs });
    this.#scheduleFlush();
    this.#armSweep();
    return () => this.#hurry(id);
  }

  close(): void {
    this.#stream?.cancel();
    this.#loseAll();
  }

  #hurry(id: string): void {
    if (!this.#outstanding.has(id)) return;
    this.#hurried.push(id);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#clock.defer(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#queue.length === 0 && this.#hurried.length === 0) return;
    const stream = this.#stream ?? this.#open();
    let calls: ForwardCall[] = [];
    let bytes = 0;
    for (const call of this.#queue) {
      const outstanding = this.#outstanding.get(call.id);
      if (outstanding === undefined) continue;
      outstanding.sent = true;
      calls.push(call);
      bytes += outstanding.sizeBytes;
      if (bytes < FRAME_BYTES_MAX) continue;
      stream.write({ calls, hurried: [] });
      calls = [];
      bytes = 0;
    }
    this.#queue = [];
    // Behind the calls themselves.
    const hurried = this.#hurried.filter((id) => this.#outstanding.has(id));
    this.#hurried = [];
    if (calls.length + hurried.length > 0) stream.write({ calls, hurried });
  }

  #open(): ClientDuplexStream<ForwardRequest, ForwardResponse> {
    const stream = this.#link.openForward();
    this.#stream = stream;
    stream.on('data', (response: ForwardResponse) => {
      for (const result of response.results) this.#onResult(result);
    });
    const onLost = (): void => {
      if (this.#stream !== stream) return;
      this.#stream = null;
      this.#loseAll();
    };
    stream.on('error', onLost);
    stream.on('end', onLost);
    return stream;
  }

  #onResult(result: ForwardResult): void {
    const outstanding = this.#take(result.id);
    if (outstanding === undefined) return;
    if (result.errorCode === '') outstanding.done(null, result.response);
    else {
      const code = isErrorCode(result.errorCode) ? result.errorCode : 'INTERNAL';
      outstanding.done(new TLedgerError(code, result.errorMessage), null);
    }
  }

  #loseAll(): void {
    this.#queue = [];
    this.#hurried = [];
    for (const id of [...this.#outstanding.keys()]) this.#lose(id, 'the connection to the leader was lost');
  }

  #lose(id: string, why: string): void {
    const outstanding = this.#take(id);
    if (outstanding === undefined) return;
    const code = outstanding.sent ? 'OUTCOME_UNKNOWN' : 'UNREACHABLE';
    outstanding.done(new TLedgerError(code, outstanding.sent ? `${why} before its answer` : why), null);
  }

  #take(id: string): Outstanding | undefined {
    const outstanding = this.#outstanding.get(id);
    if (outstanding === undefined) return undefined;
    this.#outstanding.delete(id);
    this.#outstandingBytes -= outstanding.sizeBytes;
    return outstanding;
  }

  #armSweep(): void {
    if (this.#sweepScheduled) return;
    this.#sweepScheduled = true;
    this.#clock.after(SWEEP_INTERVAL_MS, () => {
      this.#sweepScheduled = false;
      const nowMs = this.#clock.monotonicMs();
      for (const [id, { deadlineMs }] of this.#outstanding) {
        if (deadlineMs <= nowMs) this.#lose(id, 'the deadline passed');
      }
      if (this.#outstanding.size > 0) this.#armSweep();
    });
  }
}
