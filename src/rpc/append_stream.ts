// Ledger.AppendStream: batches in, acknowledgements out, both in order and pipelined.
//
//   frame -> [slot][slot][slot] -> gateway      at most INFLIGHT_* per stream; beyond it the stream is not read
//             done  done  waiting
//   <-------- acknowledged together, once a turn of the event loop; at once when nothing else is under way
//
// The first failure ends the stream after the acknowledgements before it, and says how many these were. That nothing
// behind it took effect is kept by the producer's sequence; a producer without one gets a window of one batch instead.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { AppendResult } from '../broker/types.ts';
import type { AppendRequest, AppendStreamResponse, Leader } from '../wire/ledger_messages.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import { ACKNOWLEDGED_METADATA } from '../wire/status.ts';
import { packedAppendOf } from './append_request.ts';
import { type CallContext, endWith, failureOf, OpenCall } from './calls.ts';
import type { Gateway, LeaderInfo } from './gateway.ts';
import { toLeader } from './replies.ts';

/** Batches of one stream that may wait for their acknowledgement. */
export const INFLIGHT_COUNT_MAX = 256;
/** Bytes of them; one batch may exceed it. */
export const INFLIGHT_BYTES_MAX = 16 * 1024 * 1024;

type Call = ServerDuplexStream<Incoming<AppendRequest>, AppendStreamResponse>;

/** One batch from its arrival to its acknowledgement. */
interface Slot {
  sizeBytes: number;
  /** Null until the outcome is known. */
  outcome: AppendResult | Error | null;
}

/** One stream. It lives by its events; nothing holds it but the call. */
export class AppendStream {
  readonly #call: Call;
  readonly #open: OpenCall;
  readonly #context: CallContext;
  readonly #gateway: Gateway;
  /** Unanswered batches, oldest first; those before `#head` are answered. */
  readonly #slots: Slot[] = [];
  #head = 0;
  /** Acknowledgements written so far. */
  #acknowledged = 0;
  #inflightBytes = 0;
  #producerId: string | undefined;
  #blocked = false;
  #paused = false;
  #reading = true;
  #answering = false;
  #leaderTold: LeaderInfo | null = null;

  /** @throws TLedgerError SHUTTING_DOWN */
  constructor(context: CallContext, gateway: Gateway, call: Call) {
    this.#context = context;
    this.#gateway = gateway;
    this.#call = call;
    this.#open = new OpenCall(context, call);
    readNoFurtherAhead(call);
    this.#open.whenOver(gateway.onChange(() => this.#answerSoon()));
    this.#open.onDrain(() => this.#stopReading());
    call.on('data', (request: Incoming<AppendRequest>) => this.#guard(() => this.#take(request)));
    call.on('end', () => this.#stopReading());
    call.on('drain', () => this.#guard(() => this.#setBlocked(false)));
    this.#answerSoon();
  }

  #take(incoming: Incoming<AppendRequest>): void {
    if (!this.#reading || this.#open.isOver) return;
    const slot: Slot = { sizeBytes: 0, outcome: null };
    this.#slots.push(slot);
    try {
      const request = packedAppendOf(wellFormed(incoming), this.#clock.wallMs());
      this.#checkProducer(request.producerId);
      slot.sizeBytes = request.records.length;
      this.#inflightBytes += slot.sizeBytes;
      this.#gateway.append(request, this.#open.stepDeadlineMs, (error, result) => this.#settle(slot, error ?? result));
    } catch (error) {
      // Refused before it went anywhere: what came before is still answered first.
      this.#reading = false;
      this.#settle(slot, asError(error));
    }
    this.#regulate();
  }

  /** One producer a stream: only its own sequence keeps later batches from taking effect after a failed one. */
  #checkProducer(producerId: string): void {
    this.#producerId ??= producerId;
    if (this.#producerId === producerId) return;
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `the stream belongs to producer "${this.#producerId}", not "${producerId}"`,
    );
  }

  #settle(slot: Slot, outcome: AppendResult | Error | null): void {
    slot.outcome = outcome ?? new Error('an append was answered with nothing');
    this.#answerSoon();
  }

  /** Gathers what is settled in this turn into one response; at once when nothing else is under way. */
  #answerSoon(): void {
    if (this.#answering || this.#open.isOver) return;
    this.#answering = true;
    const answer = (): void => {
      this.#answering = false;
      this.#guard(() => this.#answer());
    };
    this.#clock.soon(() => {
      if (this.#slots.at(-1)?.outcome !== null) answer();
      else this.#clock.defer(answer);
    });
  }

  #answer(): void {
    if (this.#open.isOver) return;
    const acknowledged: AppendResult[] = [];
    let failure: Error | undefined;
    while (this.#head < this.#slots.length && failure === undefined) {
      const { outcome, sizeBytes } = this.#slots[this.#head]!;
      if (outcome === null) break;
      this.#head++;
      this.#inflightBytes -= sizeBytes;
      if (outcome instanceof Error) failure = outcome;
      else acknowledged.push(outcome);
    }
    this.#forgetAnswered();
    const leader = this.#newLeader();
    this.#acknowledged += acknowledged.length;
    if (acknowledged.length > 0 || leader !== null) {
      if (!this.#call.write({ acknowledged, leader })) this.#setBlocked(true);
    }
    if (failure !== undefined) return this.#fail(failure);
    this.#regulate();
    this.#endIfDone();
  }

  #forgetAnswered(): void {
    if (this.#head < INFLIGHT_COUNT_MAX && this.#head < this.#slots.length) return;
    this.#slots.splice(0, this.#head);
    this.#head = 0;
  }

  /** Who leads, if the producer does not know yet. */
  #newLeader(): Leader | null {
    const leader = this.#gateway.leader();
    const told = this.#leaderTold;
    if (leader === null || (leader.nodeId === told?.nodeId && leader.term === told.term)) return null;
    this.#leaderTold = leader;
    return toLeader(leader);
  }

  /** Reads on or stops reading, by what is under way. */
  #regulate(): void {
    const count = this.#slots.length - this.#head;
    const countMax = this.#producerId === '' ? 1 : INFLIGHT_COUNT_MAX;
    const full = this.#blocked || count >= countMax || this.#inflightBytes >= INFLIGHT_BYTES_MAX;
    if (full === this.#paused || this.#open.isOver) return;
    this.#paused = full;
    if (full) this.#call.pause();
    else this.#call.resume();
  }

  #setBlocked(blocked: boolean): void {
    this.#blocked = blocked;
    this.#regulate();
  }

  /** No further batches; the stream ends when those under way are answered. */
  #stopReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
    this.#answerSoon();
  }

  #endIfDone(): void {
    if (this.#reading || this.#head < this.#slots.length) return;
    if (this.#context.calls.isClosing) return this.#fail(new TLedgerError('SHUTTING_DOWN'));
    this.#open.close();
    this.#call.end();
  }

  #fail(error: unknown): void {
    if (this.#open.isOver) return;
    this.#open.close();
    refuseStream(this.#context, this.#call, error, this.#acknowledged);
    // What the client still sends is thrown away, so that its connection does not clog.
    this.#call.resume();
  }

  get #clock(): Clock {
    return this.#context.clock;
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** Ends an AppendStream with `error`, behind so many acknowledgements. */
export function refuseStream(context: CallContext, call: Call, error: unknown, acknowledged: number): void {
  const failure = failureOf(context, 'AppendStream', error);
  failure.metadata.set(ACKNOWLEDGED_METADATA, String(acknowledged));
  endWith(call, failure);
}

/**
 * grpc-js decodes up to 16 messages ahead of a paused stream, whatever their size; here one is plenty. A private field
 * of Node's streams: without it only the bound is looser.
 */
function readNoFurtherAhead(call: Call): void {
  const state = (call as unknown as { _readableState?: { highWaterMark?: number } })._readableState;
  if (typeof state?.highWaterMark === 'number') state.highWaterMark = 1;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
