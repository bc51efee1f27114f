// One queue on its way into the group. Who writes (a producer id made of store and queue) and how far it has come are
// told by the group's own records: each carries where it comes from, and the sequence under which it was appended. So an
// importer that was killed, with answers under way or not, goes on exactly behind the last record that is there; and a
// copy of its own that arrives late is recognised by its sequence, or finds that the sequence was used.
//
//   source  m1 m2 m3 m4 m5 m6          read again from the beginning; m1 to m3 are skipped
//   group   m1 m2 m3                   the last record says: from store S, position of m3, producer P, sequence 3
//   next             m4 (P, 4)
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLedgerError } from '../base/errors.ts';
import type { TLedgerClient } from '../client/client.ts';
import {
  decodeMessageRecord,
  hasProducerStamp,
  importProperty,
  locateParts,
  newParts,
  PRODUCER_ID_DIGITS,
  producerIdOf,
  sequenceOf,
} from '../format/message.ts';
import { RECORD_HEADER_BYTES } from '../format/record.ts';
import { parseOrigin } from './carrying.ts';
import { type OffsetRun, OffsetRuns } from './offset_runs.ts';

/** What a lane needs to go on later. */
export interface LaneState {
  readonly producerId: string;
  readonly nextSequence: number;
  /** Physical offset, in the source, of the last message in the group; -1 before the first. */
  readonly position: number;
  /** Offset, in the group's queue, behind the last message. */
  readonly nextOffset: number;
  readonly runs: readonly OffsetRun[];
}

/** Messages that travel together. */
export interface Frame {
  readonly records: Buffer[];
  readonly positions: number[];
  readonly oldOffsets: number[];
  sizeBytes: number;
}

/** How long a record that the group says it has may take to be read. */
const READ_BACK_MS = 30_000;
const READ_BACK_STEP_MS = 50;

/** One queue of the group, as one store fills it. */
export class Lane {
  readonly topic: string;
  readonly queue: number;
  readonly #client: TLedgerClient;
  readonly #storeId: string;
  #producerId: string;
  #nextSequence = 1;
  #position = -1;
  #nextOffset = 0;
  #runs = new OffsetRuns();
  /** Frames that wait, oldest first; one is under way at a time. */
  readonly waiting: Frame[] = [];
  open: Frame | undefined;
  isBusy = false;

  private constructor(client: TLedgerClient, storeId: string, topic: string, queue: number) {
    this.#client = client;
    this.#storeId = storeId;
    this.topic = topic;
    this.queue = queue;
    this.#producerId = this.#freshId();
  }

  /**
   * Finds out how far the queue has come.
   * @param saved what an earlier run knew; the rest is read from the group.
   * @throws TLedgerError INVALID_ARGUMENT when the queue holds messages and none of this store, unless `merge`;
   * FAILED states of the group as `TLedgerClient.pullRecords`; DATA_LOST when the group lacks what it acknowledged.
   */
  static async open(
    where: { readonly client: TLedgerClient; readonly storeId: string; readonly topic: string; readonly queue: number },
    range: { readonly min: number; readonly max: number },
    saved: LaneState | undefined,
    merge: boolean,
  ): Promise<Lane> {
    const lane = new Lane(where.client, where.storeId, where.topic, where.queue);
    if (saved !== undefined) await lane.#restore(saved, range);
    const from = Math.max(lane.#nextOffset, range.min);
    if (range.max <= from) return lane;
    lane.#nextOffset = from;
    const own = await lane.#catchUp();
    if (own === 0 && saved === undefined && !merge) {
      const held = `${range.max - range.min} messages`;
      throw new TLedgerError(
        'INVALID_ARGUMENT',
        `${lane} holds ${held} and none of this store: --merge appends behind them`,
      );
    }
    return lane;
  }

  /** Whether the message at that position of the source is in the group. */
  has(position: number): boolean {
    return position <= this.#position;
  }

  get state(): LaneState {
    const { runs } = this.#runs;
    return {
      producerId: this.#producerId,
      nextSequence: this.#nextSequence,
      position: this.#position,
      nextOffset: this.#nextOffset,
      runs,
    };
  }

  get runs(): OffsetRuns {
    return this.#runs;
  }

  /** Appends a frame; resolves when it is committed. @throws TLedgerError as `TLedgerClient.appendRecords`. */
  async append(
    { records, positions, oldOffsets }: Frame,
    call: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const { timeoutMs, signal } = call;
    const batch = { topic: this.topic, queue: this.queue, records: Buffer.concat(records), timeoutMs, signal };
    const send = () =>
      this.#client.appendRecords({ ...batch, producerId: this.#producerId, sequence: this.#nextSequence });
    const last = positions.at(-1)!;
    const appended = await send().catch(async (error: TLedgerError) => {
      if (error.code !== 'UNKNOWN_PRODUCER' || this.#nextSequence === 1) throw this.#explained(error);
      // The group forgets producers that were silent for long. Nothing under the old id is taken any more, so what is
      // in the queue now is all there will ever be of it.
      await this.#catchUp();
      if (this.#position >= positions[0]!) return { queueOffset: null, repeated: true };
      this.#producerId = this.#freshId();
      this.#nextSequence = 1;
      return send();
    });
    if (appended.queueOffset === null || appended.repeated) return this.#readBack(last);
    for (const [at, old] of oldOffsets.entries()) this.#runs.add(old, appended.queueOffset + at);
    this.#nextSequence += records.length;
    this.#position = last;
    this.#nextOffset = appended.queueOffset + records.length;
  }

  toString(): string {
    return `topic "${this.topic}", queue ${this.queue}`;
  }

  /** The group says that it had the frame: what it had has to be the frame. */
  async #readBack(last: number): Promise<void> {
    for (const untilMs = Date.now() + READ_BACK_MS; ; await sleep(READ_BACK_STEP_MS)) {
      await this.#catchUp();
      if (this.#position === last) return;
      if (this.#position > last || Date.now() >= untilMs) break;
    }
    const found = `position ${this.#position} of the store where ${last} was sent`;
    throw new TLedgerError('OUT_OF_ORDER_SEQUENCE', `${this}: another import of this store is under way: ${found}`);
  }

  /** Reads to the end of the queue and takes in what is of this store. @returns how many messages are. */
  async #catchUp(): Promise<number> {
    const parts = newParts();
    let own = 0;
    for (;;) {
      const { topic, queue } = this;
      const read = await this.#client.pullRecords({ topic, queue, offset: this.#nextOffset });
      for (const { start, end } of read.records) {
        const message = decodeMessageRecord(read.buffer, start, end);
        if (message === undefined || message.topic !== topic || message.queueId !== queue) continue;
        if (message.queueOffset < this.#nextOffset) continue;
        const origin = parseOrigin(message.properties.get(importProperty.origin) ?? '');
        if (origin?.storeId !== this.#storeId) continue;
        locateParts(read.buffer, start + RECORD_HEADER_BYTES, end, parts);
        if (!hasProducerStamp(read.buffer, parts)) continue;
        own++;
        this.#producerId = producerIdOf(read.buffer, parts);
        this.#nextSequence = sequenceOf(read.buffer, parts) + 1;
        this.#position = origin.physicalOffset;
        this.#runs.add(Number(message.properties.get(importProperty.queueOffset)), message.queueOffset);
      }
      this.#nextOffset = Math.max(this.#nextOffset, read.nextOffset);
      if (this.#nextOffset >= read.maxOffset) return own;
    }
  }

  async #restore(saved: LaneState, range: { readonly min: number; readonly max: number }): Promise<void> {
    this.#producerId = saved.producerId;
    this.#nextSequence = saved.nextSequence;
    this.#position = saved.position;
    this.#nextOffset = saved.nextOffset;
    this.#runs = new OffsetRuns(saved.runs);
    const lastOffset = saved.nextOffset - 1;
    if (saved.position < 0 || lastOffset < range.min) return;
    const lost = `${this} ends at ${range.max}, but the progress file knows messages up to ${lastOffset}`;
    if (lastOffset >= range.max) throw otherGroup(lost);
  }

  #freshId(): string {
    const name = `${this.#storeId} ${this.#position} ${this.queue} ${this.topic}`;
    return createHash('sha256').update(name).digest('hex').slice(0, PRODUCER_ID_DIGITS);
  }

  #explained(error: TLedgerError): TLedgerError {
    if (error.code !== 'OUT_OF_ORDER_SEQUENCE') return error;
    return otherGroup(`${this}: ${error.message}`, error);
  }
}

function otherGroup(what: string, cause?: unknown): TLedgerError {
  const why =
    'The group lacks what an earlier import put there. If it is another group, or was restored, name another --progress file';
  return new TLedgerError('DATA_LOST', `${what}. ${why}`, cause);
}
