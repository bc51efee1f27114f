// What callers asked for and the leader has not yet put into the log: a queue bounded in count and in bytes.
import { TLedgerError } from '../base/errors.ts';
import type { StoreRequest, TopicWish } from '../broker/types.ts';
import type { LogIndex } from '../raft/types.ts';
import type { AppendDone, PackedAppend, TopicInfo } from './types.ts';

/** A batch of messages. */
export interface PendingAppend {
  readonly kind: 'append';
  readonly request: PackedAppend;
  /** Monotonic; past it nobody waits for the answer any more. */
  readonly deadlineMs: number;
  readonly done: AppendDone;
}

/** A topic to create. */
export interface PendingTopic {
  readonly kind: 'topic';
  readonly wish: TopicWish;
  readonly deadlineMs: number;
  readonly done: (error: Error | null, result: { topic: TopicInfo; created: boolean } | null) => void;
}

/** Messages that a node made. */
export interface PendingStore {
  readonly kind: 'store';
  readonly request: StoreRequest;
  readonly deadlineMs: number;
  readonly done: AppendDone;
}

/** A command record. */
export interface PendingCommand {
  readonly kind: 'command';
  /** Encoded. */
  readonly body: Buffer;
  readonly deadlineMs: number;
  /** Told the index of the record once it is applied. */
  readonly done: (error: Error | null, index: LogIndex | null) => void;
}

/** What may wait for the leader. */
export type Pending = PendingAppend | PendingTopic | PendingStore | PendingCommand;

/** Bounds of the queue: requests, and bytes of their records. */
export interface PendingLimits {
  readonly countMax: number;
  readonly bytesMax: number;
}

/** About what a small command takes. */
const COMMAND_BYTES = 256;
/** Taken requests are forgotten this many at a time. */
const COMPACT_COUNT = 1_024;

/** First in, first out. */
export class PendingQueue {
  readonly #limits: PendingLimits;
  /** Those before `#head` were taken and are let go of. */
  #items: (Pending | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(limits: PendingLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** @throws TLedgerError OVERLOADED at either limit; an item larger than the byte limit is taken when nothing waits. */
  push(item: Pending): void {
    const size = sizeOf(item);
    if (this.length >= this.#limits.countMax || (this.length > 0 && this.#bytes + size > this.#limits.bytesMax)) {
      throw new TLedgerError('OVERLOADED', `${this.length} requests of ${this.#bytes} bytes wait already`);
    }
    this.#items.push(item);
    this.#bytes += size;
  }

  peek(): Pending | undefined {
    return this.#items[this.#head];
  }

  shift(): Pending | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#bytes -= sizeOf(item);
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length || this.#head > COMPACT_COUNT) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Refuses everything that waits; nothing of it had any effect. */
  failAll(error: TLedgerError): void {
    for (let item = this.shift(); item !== undefined; item = this.shift()) item.done(error, null);
  }

  /** Refuses what nobody waits for any more. */
  expire(nowMs: number): void {
    const kept: Pending[] = [];
    let bytes = 0;
    const late: Pending[] = [];
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at]!;
      if (item.deadlineMs <= nowMs) {
        late.push(item);
      } else {
        kept.push(item);
        bytes += sizeOf(item);
      }
    }
    if (late.length === 0) return;
    this.#items = kept;
    this.#head = 0;
    this.#bytes = bytes;
    for (const item of late) {
      item.done(new TLedgerError('NO_LEADER', 'the leader could not take the request before its deadline'), null);
    }
  }
}

/** Bytes an item will add to a batch, about. */
export function sizeOf(item: Pending): number {
  if (item.kind === 'topic') return COMMAND_BYTES;
  return item.kind === 'command' ? COMMAND_BYTES + item.body.length : item.request.records.length;
}
