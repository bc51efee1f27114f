// Many lanes, few at a time: each lane has one frame under way, so that a queue keeps its order whatever fails, and
// throughput comes from several lanes. Everything that is held is bounded in bytes.
import { messageLimits } from '../format/limits.ts';
import type { Frame, Lane } from './lane.ts';

/** Records of one frame. Larger ones gain nothing and make a lost answer dearer. */
const FRAME_BYTES = 1_048_576;

/** Bounds of a sender. */
export interface SenderOptions {
  /** Frames under way together. */
  readonly lanesMax: number;
  /** Bytes held, under way or waiting. */
  readonly bytesMax: number;
  readonly timeoutMs: number;
  /** Aborted, what is under way ends with an unknown outcome. */
  readonly signal: AbortSignal;
  /** Told after each frame that is committed. */
  readonly onAppended: (lane: Lane, frame: Frame) => void;
}

/** Gathers records into frames and sends them. */
export class Sender {
  readonly #options: SenderOptions;
  readonly #ready: Lane[] = [];
  /** Lanes with an open frame. */
  readonly #open = new Set<Lane>();
  readonly #waiters: (() => void)[] = [];
  #busy = 0;
  #bytes = 0;
  #failure: unknown;
  #hasFailed = false;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Puts a record behind all others of its lane. */
  add(lane: Lane, record: Buffer, position: number, oldOffset: number): void {
    let frame = lane.open;
    const isFull =
      frame !== undefined &&
      (frame.sizeBytes + record.length > FRAME_BYTES || frame.records.length >= messageLimits.batchCountMax);
    if (isFull) {
      this.#seal(lane);
      frame = undefined;
    }
    if (frame === undefined) {
      frame = { records: [], positions: [], oldOffsets: [], sizeBytes: 0 };
      lane.open = frame;
      this.#open.add(lane);
    }
    frame.records.push(record);
    frame.positions.push(position);
    frame.oldOffsets.push(oldOffset);
    frame.sizeBytes += record.length;
    this.#bytes += record.length;
  }

  /** Waits until more may be added. @throws what a frame failed with. */
  async room(): Promise<void> {
    for (;;) {
      if (this.#hasFailed) throw this.#failure;
      if (this.#bytes < this.#options.bytesMax) return;
      if (this.#ready.length + this.#busy === 0) this.#sealAll();
      await this.#change();
    }
  }

  /** Waits until everything added is committed. @throws what a frame failed with. */
  async drain(): Promise<void> {
    this.#sealAll();
    while (!this.#hasFailed && this.#busy + this.#ready.length > 0) await this.#change();
    if (this.#hasFailed) throw this.#failure;
  }

  /** Sends nothing new; waits for what is under way, however that ends. */
  async stop(): Promise<void> {
    this.#hasFailed = true;
    while (this.#busy > 0) await this.#change();
  }

  #sealAll(): void {
    for (const lane of [...this.#open]) this.#seal(lane);
  }

  #seal(lane: Lane): void {
    this.#open.delete(lane);
    lane.waiting.push(lane.open!);
    lane.open = undefined;
    if (lane.waiting.length === 1 && !lane.isBusy) this.#ready.push(lane);
    this.#pump();
  }

  #pump(): void {
    while (!this.#hasFailed && this.#busy < this.#options.lanesMax && this.#ready.length > 0) {
      const lane = this.#ready.shift()!;
      const frame = lane.waiting.shift()!;
      lane.isBusy = true;
      this.#busy++;
      lane.append(frame, this.#options).then(
        () => this.#done(lane, frame),
        (error) => this.#done(lane, frame, error ?? new Error('failed')),
      );
    }
  }

  #done(lane: Lane, frame: Frame, error?: unknown): void {
    lane.isBusy = false;
    this.#busy--;
    this.#bytes -= frame.sizeBytes;
    if (error === undefined) {
      this.#options.onAppended(lane, frame);
      if (lane.waiting.length > 0) this.#ready.push(lane);
    } else if (!this.#hasFailed) {
      this.#hasFailed = true;
      this.#failure = error;
    }
    this.#pump();
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }
}
