// The producer: takes messages, gathers what is submitted together into frames, keeps a bounded window of them under way
// on one stream, and sees each through failures exactly once (send_window.ts has the rules).
//
//   send -> (topic known?) -> Batcher: one open batch a queue -> SendWindow: sequences -> AppendPipe -> node
//                                                                  ^ again, in order, after every failure
import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { messageLimits, validateMessage } from '../format/limits.ts';
import { encodeMessageRecord, type OutgoingMessage } from '../format/message.ts';
import { int64ToNumber } from '../wire/int64.ts';
import type { AppendResponse, Leader } from '../wire/ledger_messages.ts';
import { AppendPipe, type PipeEnd } from './append_pipe.ts';
import { Backoff } from './backoff.ts';
import { type Batch, Batcher, type Done } from './batch.ts';
import { type Cluster, isNotNow } from './cluster.ts';
import { type ProducerOptions, type ProducerSettings, producerSettings } from './options.ts';
import { type Frame, SendWindow } from './send_window.ts';
import { TopicRouter } from './topic_router.ts';

/** A message to send. */
export interface MessageToSend {
  readonly topic: string;
  /** 1 byte to 4 MiB. Not copied until it is sent: leave it unchanged until the outcome is known. */
  readonly body: Buffer;
  /** The queue; by `orderKey`, or in turn, if left out. */
  readonly queue?: number | undefined;
  /** Messages with equal keys go to the same queue and keep their order. */
  readonly orderKey?: string | Buffer | undefined;
  /** For filters; at most one. */
  readonly tag?: string | undefined;
  /** For look-ups. */
  readonly keys?: readonly string[] | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since the epoch; now, if left out. */
  readonly bornAtMs?: number | undefined;
}

/** A message is committed: it will not be lost, and readers see it exactly once, there. */
export interface SendReceipt {
  readonly topic: string;
  readonly queue: number;
  /** Null when the answer was lost so long ago that the group remembers only that it has the message. */
  readonly queueOffset: number | null;
}

/** A batch is committed. Its frames lie in the queue in order, those of other producers between them. */
export interface BatchReceipt {
  readonly topic: string;
  readonly queue: number;
  readonly count: number;
  /** Offsets of consecutive messages of the batch; firstOffset as in `SendReceipt`. */
  readonly runs: readonly { readonly firstOffset: number | null; readonly count: number }[];
}

/** How often deadlines and stalls are looked at while anything is under way. */
const TICK_MS = 25;
/** How long one search for a node lasts before deadlines are looked at and the next one begins. */
const PICK_MS = 1_000;

/** Sends messages, each exactly once. Made by `TLedgerClient.producer`; close it to let go of its stream. */
export class Producer {
  readonly #cluster: Cluster;
  readonly #settings: ProducerSettings;
  readonly #router: TopicRouter;
  readonly #batcher: Batcher;
  readonly #window: SendWindow<Batch>;
  readonly #backoff = new Backoff();
  readonly #waitingForSpace: (() => void)[] = [];
  readonly #waitingForQuiet: (() => void)[] = [];
  #pipe: AppendPipe | undefined;
  #isConnecting = false;
  #isMoving = false;
  #isClosed = false;
  #isPumpDue = false;
  #ticker: NodeJS.Timeout | undefined;
  #retryAtMs = 0;
  #progressAtMs = 0;
  #lastError: TLedgerError | undefined;
  #unsettledBytes = 0;
  #unsettledCalls = 0;

  constructor(cluster: Cluster, options: ProducerOptions = {}) {
    this.#cluster = cluster;
    this.#settings = producerSettings(options);
    this.#batcher = new Batcher({ bytesMax: this.#settings.frameBytesMax, countMax: this.#settings.frameCountMax });
    this.#router = new TopicRouter(cluster, (topic, queue) => this.#batcher.hasOpen(topic, queue));
    this.#window = new SendWindow<Batch>({
      countMax: this.#settings.windowFramesMax,
      bytesMax: this.#settings.windowBytesMax,
      newProducerId: () => randomBytes(8).toString('hex'),
      fail: (batch, error) => batch.fail(error),
    });
  }

  /**
   * Sends one message; what is sent in the same turn of the event loop travels together.
   * @throws TLedgerError (as a rejection) OVERLOADED when `bufferBytesMax` is reached (see `ready`); refusals of the
   * message such as BODY_EMPTY or TOPIC_NOT_FOUND; NO_LEADER, UNREACHABLE, DEADLINE_EXCEEDED when it certainly was not
   * sent in time; OUTCOME_UNKNOWN when it was sent and nobody could say what became of it.
   */
  send(message: MessageToSend): Promise<SendReceipt> {
    return new Promise((resolve, reject) => {
      this.append(message, (error, queueOffset, queue) => {
        if (error !== null) reject(error);
        else resolve({ topic: message.topic, queue, queueOffset });
      });
    });
  }

  /** `send` with a callback, for loops in which a promise a message would be felt. Never throws. */
  append(message: MessageToSend, done: Done): void {
    const bornAtMs = message.bornAtMs ?? Date.now();
    const encode = (queue: number) => encodeRecord(message, queue, bornAtMs);
    const begin = this.#admit(message.body.length, message.queue ?? -1, done);
    if (begin === undefined) return;
    this.#router.route(message.topic, message.queue, message.orderKey, begin.deadlineMs, (error, queue) => {
      if (error !== null) return begin.done(error, null, queue);
      try {
        this.#enqueue(message.topic, queue, encode(queue), 1, begin.deadlineMs, begin.done);
      } catch (refusal) {
        begin.done(asTLedgerError(refusal), null, queue);
      }
    });
  }

  /**
   * Sends messages to one queue, in order, in as few frames as they need.
   * @throws TLedgerError as `send`; after a failure, frames before the failed one may have been committed.
   */
  async sendBatch(
    topic: string,
    queue: number,
    messages: readonly Omit<MessageToSend, 'topic' | 'queue' | 'orderKey'>[],
  ): Promise<BatchReceipt> {
    const now = Date.now();
    const records = messages.map((one) => encodeRecord({ ...one, topic }, queue, one.bornAtMs ?? now));
    const { frameBytesMax, frameCountMax } = this.#settings;
    const frames: { readonly bytes: number; readonly pieces: Buffer[] }[] = [];
    for (const record of records) {
      const last = frames[frames.length - 1];
      const bytes = (last?.bytes ?? 0) + record.length;
      if (last === undefined || bytes > frameBytesMax || last.pieces.length >= frameCountMax) {
        frames.push({ bytes: record.length, pieces: [record] });
      } else {
        last.pieces.push(record);
        frames[frames.length - 1] = { bytes, pieces: last.pieces };
      }
    }
    const receipts = await Promise.all(
      frames.map(({ pieces }) => this.sendRecords(topic, queue, Buffer.concat(pieces), pieces.length)),
    );
    const runs = receipts.map(({ queueOffset }, at) => ({
      firstOffset: queueOffset,
      count: frames[at]!.pieces.length,
    }));
    return { topic, queue, count: records.length, runs };
  }

  /**
   * Sends records that are encoded already (`encodeMessageRecord`, back to back) as they are, in one piece.
   * @param count how many there are; at most 4,096 in at most 5 MiB.
   * @throws TLedgerError as `send`; BATCH_TOO_LARGE.
   */
  sendRecords(topic: string, queue: number, records: Buffer, count: number): Promise<SendReceipt> {
    return new Promise((resolve, reject) => {
      if (count < 1 || count > messageLimits.batchCountMax || records.length > messageLimits.batchBytesMax) {
        return reject(new TLedgerError('BATCH_TOO_LARGE', `${count} records of ${records.length} bytes in one batch`));
      }
      const begin = this.#admit(records.length, queue, (error, queueOffset) => {
        if (error !== null) reject(error);
        else resolve({ topic, queue, queueOffset });
      });
      if (begin === undefined) return;
      this.#router.route(topic, queue, undefined, begin.deadlineMs, (error) => {
        if (error !== null) begin.done(error, null, queue);
        else this.#enqueue(topic, queue, records, count, begin.deadlineMs, begin.done);
      });
    });
  }

  /** Whether `send` accepts more. */
  get isWritable(): boolean {
    return !this.#isClosed && this.#unsettledBytes < this.#settings.bufferBytesMax;
  }

  /** Resolves when the buffer is at most half full: the backpressure for loops that send faster than the group takes. */
  ready(): Promise<void> {
    if (this.#isClosed || this.#unsettledBytes * 2 <= this.#settings.bufferBytesMax) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForSpace.push(resolve));
  }

  /** Resolves when everything sent so far is settled, one way or the other. */
  flush(): Promise<void> {
    if (this.#unsettledCalls === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForQuiet.push(resolve));
  }

  /** Waits for what is under way (its own deadlines bound that), then lets go of the stream. Takes nothing new. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    this.#pipe?.close();
    this.#pipe = undefined;
  }

  /** Counts a call against the buffer until it is settled; undefined when it was refused at once. */
  #admit(
    sizeBytes: number,
    queue: number,
    done: Done,
  ): { readonly deadlineMs: number; readonly done: Done } | undefined {
    if (!this.isWritable) {
      const { bufferBytesMax } = this.#settings;
      const why = this.#isClosed
        ? 'the producer is closed'
        : `its buffer of ${bufferBytesMax} bytes is full: await ready()`;
      done(new TLedgerError(this.#isClosed ? 'SHUTTING_DOWN' : 'OVERLOADED', why), null, queue);
      return undefined;
    }
    this.#unsettledBytes += sizeBytes;
    this.#unsettledCalls++;
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
    const settle: Done = (error, queueOffset, at) => {
      this.#unsettledBytes -= sizeBytes;
      this.#unsettledCalls--;
      done(error, queueOffset, at);
      this.#wake();
    };
    return { deadlineMs: Date.now() + this.#settings.sendTimeoutMs, done: settle };
  }

  #enqueue(topic: string, queue: number, records: Buffer, count: number, deadlineMs: number, done: Done): void {
    this.#batcher.add(topic, queue, records, count, deadlineMs, done);
    this.#pumpSoon();
  }

  #wake(): void {
    if (this.#waitingForSpace.length > 0 && this.#unsettledBytes * 2 <= this.#settings.bufferBytesMax) {
      for (const resolve of this.#waitingForSpace.splice(0)) resolve();
    }
    if (this.#waitingForQuiet.length > 0 && this.#unsettledCalls === 0) {
      for (const resolve of this.#waitingForQuiet.splice(0)) resolve();
    }
  }

  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    setImmediate(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** Writes as much as the window takes: first again what the last stream left, then new frames. */
  #pump(): void {
    const pipe = this.#pipe;
    if (pipe === undefined) return this.#connect();
    if (this.#isMoving) {
      if (!this.#window.hasWritten) this.#letGo(pipe);
      return;
    }
    if (!this.#window.hasWritten) this.#progressAtMs = Date.now();
    for (;;) {
      const frame = this.#window.takeNext() ?? this.#nextNew();
      if (frame === undefined) return;
      pipe.write(requestOf(frame));
    }
  }

  #nextNew(): Frame<Batch> | undefined {
    const batch = this.#batcher.peek();
    if (batch === undefined || !this.#window.hasRoom(batch.sizeBytes)) return undefined;
    this.#window.push(this.#batcher.take()!);
    return this.#window.takeNext();
  }

  get #hasWork(): boolean {
    return this.#window.length > 0 || this.#batcher.length > 0;
  }

  #connect(): void {
    if (this.#isConnecting || !this.#hasWork) return;
    const waitMs = this.#retryAtMs - Date.now();
    this.#isConnecting = true;
    setTimeout(() => this.#open(), Math.max(0, waitMs));
  }

  async #open(): Promise<void> {
    try {
      const endpoint = await this.#cluster.pick(Date.now() + PICK_MS);
      this.#isConnecting = false;
      if (!this.#hasWork) return;
      this.#isMoving = false;
      const pipe: AppendPipe = new AppendPipe(endpoint, {
        onAcknowledged: (response) => this.#acknowledged(pipe, response),
        onProgress: (leader) => this.#progressed(leader),
        onEnd: (end) => this.#ended(pipe, end),
      });
      this.#pipe = pipe;
      this.#pump();
    } catch (error) {
      this.#isConnecting = false;
      this.#lastError = asTLedgerError(error);
      this.#tick();
      this.#connect();
    }
  }

  #acknowledged(pipe: AppendPipe, response: AppendResponse): void {
    if (!this.#window.hasWritten) {
      return pipe.abort(new TLedgerError('INTERNAL', 'the node acknowledged what was never sent'));
    }
    const batch = this.#window.acknowledge();
    const offset = int64ToNumber(response.queueOffset, 'queueOffset');
    batch?.succeed(offset < 0 ? null : offset);
  }

  #progressed(leader: Leader | null): void {
    this.#progressAtMs = Date.now();
    this.#backoff.reset();
    this.#lastError = undefined;
    this.#pipe?.endpoint.trust();
    this.#cluster.noteLeader(leader);
    const leading = this.#cluster.leaderEndpoint();
    // Follows the leader once what is under way here is answered, so that nothing becomes doubtful by it.
    if (leading !== undefined && leading !== this.#pipe?.endpoint) this.#isMoving = true;
    this.#pump();
  }

  #letGo(pipe: AppendPipe): void {
    this.#pipe = undefined;
    this.#isMoving = false;
    pipe.close();
    this.#connect();
  }

  #ended(pipe: AppendPipe, end: PipeEnd): void {
    if (pipe !== this.#pipe) return;
    this.#pipe = undefined;
    this.#isMoving = false;
    const { answered } = end;
    // What keeps messages that were not sent from being sent.
    const hindrance = answered === undefined ? 'UNREACHABLE' : isNotNow(answered) ? answered : 'DEADLINE_EXCEEDED';
    this.#lastError = new TLedgerError(hindrance, end.error.message, end.error);
    if (answered !== undefined && !isNotNow(answered) && isRefusal(end.error) && this.#window.hasWritten) {
      this.#window.refused(end.error);
    } else {
      if (answered !== undefined && isNotNow(answered)) this.#window.refusedForNow();
      else this.#window.lost();
      pipe.endpoint.avoid();
      this.#retryAtMs = Date.now() + this.#backoff.next();
    }
    this.#connect();
  }

  /** Looks at deadlines and stalls; stops by itself when there is nothing left to look at. */
  #tick(): void {
    const now = Date.now();
    const reason = this.#pipe === undefined ? this.#lastError : undefined;
    this.#window.expire(now, reason);
    for (const batch of this.#batcher.takeExpired(now)) batch.fail(reason ?? new TLedgerError('DEADLINE_EXCEEDED'));
    this.#router.expire(now);
    const isStalled = this.#window.hasWritten && now - this.#progressAtMs > this.#settings.stallTimeoutMs;
    if (isStalled) this.#pipe?.abort(new TLedgerError('UNREACHABLE', 'the node has stopped answering'));
    if (this.#unsettledCalls > 0) return;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }
}

/** Whether a node's answer says that the frame will not be taken, now or later; anything else may pass. */
function isRefusal(error: TLedgerError): boolean {
  const passing = ['OUTCOME_UNKNOWN', 'INTERNAL', 'STORAGE_FAILED', 'DATA_CORRUPTED', 'TRANSFER_FAILED'];
  return !passing.includes(error.code);
}

function requestOf(frame: Frame<Batch>) {
  const { topic, queue, pieces } = frame.load;
  return { topic, queue, producerId: frame.producerId, sequence: frame.sequence, records: pieces };
}

function encodeRecord(message: MessageToSend, queue: number, bornAtMs: number): Buffer {
  const { topic, body, tag, keys, properties } = message;
  const outgoing: OutgoingMessage = { topic, queueId: queue, body, tag, keys, properties, bornAtMs };
  validateMessage(outgoing);
  return encodeMessageRecord(outgoing);
}

function asTLedgerError(error: unknown): TLedgerError {
  assert(error instanceof TLedgerError, () => `only expected failures arise here, not ${String(error)}`);
  return error;
}
