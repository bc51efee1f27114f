// What a producer has handed over and not heard of yet, and what may be done with it when something fails. Pure: no IO,
// no time of its own.
//
//   frames, oldest first      A:1-5   A:6-9   A:10-12   A:13-20        (producer id : sequences)
//                             ------ written ------     not written
//
// A node recognises a repeated frame by (producer id, sequence) and refuses a sequence that leaves a gap
// (ledger.proto). Exactly-once rests on that and on these rules:
//
// 0. A stream carries frames of one id only (a node refuses others): a new id waits until the frames of the old one are
//    answered, and begins a new stream.
// 1. Frames are written in order, and after any failure written again from the oldest on, unchanged. Whatever of them
//    is in the log already is recognised; the rest is appended.
// 2. A frame that was on a stream which ended without an answer to it has left a *copy* there, which may arrive late. It
//    is *doubtful* when that copy may be appended: unless the frame before it, of the same id, provably never was, so
//    that the gap keeps the copy out. Doubt therefore spreads from frame to frame, and when a gap closes. Only a frame
//    that is neither doubtful nor on the current stream may be said to have had no effect.
// 3. A frame that is given up (refused for good, or past its deadline) leaves a hole in its producer id's sequence.
//    Later frames of that id can then never be appended under it, provided the frame itself never was: so they move to
//    a fresh id. Keeping the id and closing the hole by renumbering would be unsafe: a copy of a later frame, late in
//    the network between two nodes, could fit the new numbering and be appended twice. Under the old id it finds the
//    hole for ever.
// 4. If the frame given up may have been appended, so may the doubtful ones behind it: those keep id and sequence. A
//    doubtful frame past its deadline is therefore still written again while a later doubtful frame of its id waits;
//    its caller has been told OUTCOME_UNKNOWN, which remains true.
import { assert } from '../base/assert.ts';
import { type ErrorCode, TLedgerError } from '../base/errors.ts';

/** What the window needs to know of a frame's load. */
export interface Sendable {
  /** Number of messages. */
  readonly count: number;
  readonly sizeBytes: number;
  /** When its senders stop waiting. */
  readonly deadlineMs: number;
}

/** A load with its place in the producer's sequence. */
export interface Frame<Load> {
  readonly load: Load;
  readonly producerId: string;
  /** Of the first message. */
  readonly sequence: number;
}

interface Entry<Load> extends Frame<Load> {
  producerId: string;
  sequence: number;
  /** On the current stream. */
  isWritten: boolean;
  /** An ended stream may still deliver it (rule 2). */
  hasCopy: boolean;
  /** May be in the log; has a copy. */
  isDoubtful: boolean;
  /** Its senders know the outcome; kept only for the sake of those behind it (rule 4). */
  isSettled: boolean;
}

/** Limits and ways out of a window. */
export interface SendWindowOptions<Load> {
  readonly countMax: number;
  readonly bytesMax: number;
  /** 16 hex digits, different each time. */
  readonly newProducerId: () => string;
  /** Tells a load's senders that it failed. Called at most once a load. */
  readonly fail: (load: Load, error: TLedgerError) => void;
}

/**
 * Refusals that depend on nothing but the frame's own bytes: every node gives them every time, so that a frame refused
 * so was never appended, even if it had been sent before. MESSAGE_CORRUPTED is none of them: bytes may have been damaged
 * on the way to one node and not to another.
 */
const byContent: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'INVALID_ARGUMENT',
  'ILLEGAL_TOPIC',
  'ILLEGAL_TAG',
  'ILLEGAL_KEY',
  'ILLEGAL_PROPERTY',
  'BODY_EMPTY',
  'BODY_TOO_LARGE',
  'PROPERTIES_TOO_LARGE',
  'BATCH_TOO_LARGE',
]);

/** Frames under way of one producer. */
export class SendWindow<Load extends Sendable> {
  readonly #options: SendWindowOptions<Load>;
  #entries: Entry<Load>[] = [];
  #bytes = 0;
  #producerId: string;
  #nextSequence = 1;
  /** The id of the frames on the current stream; undefined before the first. */
  #streamId: string | undefined;

  constructor(options: SendWindowOptions<Load>) {
    this.#options = options;
    this.#producerId = options.newProducerId();
  }

  get length(): number {
    return this.#entries.length;
  }

  /** The id that the next frame gets. */
  get producerId(): string {
    return this.#producerId;
  }

  /** Whether any frame is on the current stream. */
  get hasWritten(): boolean {
    return this.#entries[0]?.isWritten === true;
  }

  /** The load whose answer is due next. */
  get oldest(): Load | undefined {
    return this.#entries[0]?.load;
  }

  /** Whether a load of that size may be pushed. An empty window takes any. */
  hasRoom(sizeBytes: number): boolean {
    if (this.#entries.length === 0) return true;
    return this.#entries.length < this.#options.countMax && this.#bytes + sizeBytes <= this.#options.bytesMax;
  }

  /** Gives `load` its place behind all others. */
  push(load: Load): void {
    assert(load.count > 0, 'a frame holds at least one message');
    this.#entries.push({
      load,
      producerId: this.#producerId,
      sequence: this.#nextSequence,
      isWritten: false,
      hasCopy: false,
      isDoubtful: false,
      isSettled: false,
    });
    this.#nextSequence += load.count;
    this.#bytes += load.sizeBytes;
  }

  /** The oldest frame that is not on the current stream, now taken to be on it; none if it needs a new stream. */
  takeNext(): Frame<Load> | undefined {
    const next = this.#entries.find((entry) => !entry.isWritten);
    this.#streamId ??= next?.producerId;
    if (next === undefined || next.producerId !== this.#streamId) return undefined;
    next.isWritten = true;
    return next;
  }

  /** Whether the next frame cannot go on the current stream, as it has another id (rule 0). */
  get needsNewStream(): boolean {
    if (this.#streamId === undefined) return false;
    const next = this.#entries.find((entry) => !entry.isWritten);
    return (next?.producerId ?? this.#producerId) !== this.#streamId;
  }

  /** The current stream was ended in good order, with nothing unanswered on it. */
  closed(): void {
    assert(!this.hasWritten, 'a stream with unanswered frames is lost, not closed');
    this.#streamId = undefined;
  }

  /**
   * The oldest frame was answered: it is in the log.
   * @returns its load, or undefined when its senders were told before that the outcome is unknown.
   */
  acknowledge(): Load | undefined {
    const entry = this.#entries.shift();
    assert(entry?.isWritten === true, 'only a frame on the current stream can be acknowledged');
    this.#bytes -= entry.load.sizeBytes;
    this.#spreadDoubt(entry.producerId);
    return entry.isSettled ? undefined : entry.load;
  }

  /** The stream ended without an answer: what was on it may or may not be in the log. */
  lost(): void {
    this.#streamId = undefined;
    for (const entry of this.#entries) {
      entry.hasCopy ||= entry.isWritten;
      entry.isDoubtful ||= entry.isWritten;
      entry.isWritten = false;
    }
    this.#spreadDoubt();
    this.#dropSettled();
  }

  /** The node ended the stream because it cannot serve now: the oldest frame had no effect on this stream. */
  refusedForNow(): void {
    const head = this.#entries[0];
    this.#streamId = undefined;
    if (head !== undefined) this.#endBehind(head);
    this.#dropSettled();
  }

  /** The node refused the oldest frame for good. */
  refused(error: TLedgerError): void {
    const head = this.#entries[0];
    assert(head?.isWritten === true, 'only a frame on the current stream can be refused');
    const hadNoEffect = !head.isDoubtful || byContent.has(error.code);
    this.#endBehind(head);
    const isForgotten = error.code === 'UNKNOWN_PRODUCER' || error.code === 'OUT_OF_ORDER_SEQUENCE';
    // A producer that the group has forgotten begins anew: nothing of what waits was sent before.
    const isRefused = !(isForgotten && hadNoEffect && head.sequence > 1);
    this.#remove((entry) => {
      if (entry.producerId !== head.producerId) return false;
      if (entry === head) return isRefused && this.#settle(entry, hadNoEffect ? error : unknownOutcome(error));
      if (hadNoEffect) entry.isDoubtful = false;
      return entry.isDoubtful && this.#settle(entry, unknownOutcome(error));
    });
    this.#moveToFreshId(head.producerId);
    this.#dropSettled();
  }

  /**
   * Settles what is past its deadline.
   * @param reason why nothing was sent, if known; a deadline without a reason otherwise.
   */
  expire(nowMs: number, reason: TLedgerError | undefined): void {
    const holed = new Set<string>();
    for (const entry of this.#entries) {
      if (entry.load.deadlineMs > nowMs || entry.isSettled) continue;
      entry.isDoubtful ||= entry.hasCopy && !holed.has(entry.producerId);
      const mayBeInTheLog = entry.isWritten || entry.isDoubtful;
      if (!mayBeInTheLog) holed.add(entry.producerId);
      this.#settle(entry, mayBeInTheLog ? unknownOutcome(reason) : (reason ?? new TLedgerError('DEADLINE_EXCEEDED')));
    }
    this.#spreadDoubt();
    this.#dropSettled();
  }

  /**
   * The stream ended with an answer to `head`. Frames behind it had no effect, says ledger.proto; but where requests
   * are forwarded, that is only certain for those which the gap left by `head` keeps out (rule 3).
   */
  #endBehind(head: Entry<Load>): void {
    this.#streamId = undefined;
    for (const entry of this.#entries) {
      if (entry !== head && entry.isWritten) entry.hasCopy = true;
      entry.isWritten = false;
    }
    this.#spreadDoubt();
  }

  /**
   * Makes frames doubtful whose copies no gap keeps out any more: those behind a doubtful one of their id.
   * @param appendedId the id whose oldest frame has just been appended.
   */
  #spreadDoubt(appendedId?: string): void {
    const open = new Set<string | undefined>([appendedId]);
    for (const entry of this.#entries) {
      if (entry.hasCopy && open.has(entry.producerId)) entry.isDoubtful = true;
      if (entry.isDoubtful) open.add(entry.producerId);
    }
  }

  /** Removes settled frames, unless they are on the stream or a doubtful frame of their id needs them (rule 4). */
  #dropSettled(): void {
    if (this.#entries.every((entry) => !entry.isSettled)) return;
    const needed = new Set<string>();
    for (const entry of this.#entries) {
      if (entry.isWritten || (entry.isDoubtful && !entry.isSettled)) needed.add(entry.producerId);
    }
    const holed = new Set<string>();
    this.#remove((entry) => {
      if (!entry.isSettled || entry.isWritten) return false;
      if (entry.isDoubtful && needed.has(entry.producerId)) return false;
      holed.add(entry.producerId);
      return true;
    });
    for (const producerId of holed) this.#moveToFreshId(producerId);
  }

  /** Moves what waits under `producerId` and provably had no effect to a fresh id, and retires the old one (rule 3). */
  #moveToFreshId(producerId: string): void {
    const fresh = this.#options.newProducerId();
    let sequence = 1;
    for (const entry of this.#entries) {
      if (entry.producerId !== producerId || entry.isWritten || entry.isDoubtful) continue;
      entry.producerId = fresh;
      entry.sequence = sequence;
      // Copies under the old id find the gap for ever.
      entry.hasCopy = false;
      sequence += entry.load.count;
    }
    if (producerId !== this.#producerId) return;
    this.#producerId = fresh;
    this.#nextSequence = sequence;
  }

  #settle(entry: Entry<Load>, error: TLedgerError): true {
    if (!entry.isSettled) {
      entry.isSettled = true;
      this.#options.fail(entry.load, error);
    }
    return true;
  }

  #remove(isGone: (entry: Entry<Load>) => boolean): void {
    this.#entries = this.#entries.filter((entry) => {
      const gone = isGone(entry);
      if (gone) this.#bytes -= entry.load.sizeBytes;
      return !gone;
    });
  }
}

function unknownOutcome(cause: TLedgerError | undefined): TLedgerError {
  const why = cause === undefined ? '' : ` (${cause.message})`;
  return new TLedgerError('OUTCOME_UNKNOWN', `the message was sent, but its outcome is unknown${why}`, cause);
}
