// The producer: takes messages, gathers what is submitted together into frames, keeps a bounded window of them under way
// on one stream, and sees each through failures exactly once (send_window.ts has the rules).
//
//   send -> (topic known?) -> Batcher: one open batch a queue -> SendWindow: sequences -> AppendPipe -> node
//                                                                  ^ again, in order, after every failure
import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { messageLimits } from '../format/limits.ts';
import type { Leader } from '../wire/ledger_messages.ts';
import { AppendPipe, type PipeEnd } from './append_pipe.ts';
import { Backoff } from './backoff.ts';
import { type Batch, Batcher, type Done, type Submission } from './batch.ts';
import { type Cluster, isNotNow } from './cluster.ts';
import {
  type BatchReceipt,
  encodeRecord,
  type MessageToSend,
  type SendReceipt,
  splitIntoFrames,
} from './message_to_send.ts';
import { type ProducerOptions, type ProducerSettings, producerSettings } from './options.ts';
import { type Frame, SendWindow } from './send_window.ts';
import { SilenceWatch } from './silence_watch.ts';
import { TopicRouter } from './topic_router.ts';

/** What a call is charged against the buffer beside its bytes: what it takes in memory until it is settled. */
const MESSAGE_COST = 256;
/** How often deadlines and stalls are looked at while anything is under way. */
const TICK_MS = 25;
/** How long one search for a node lasts before deadlines are looked at and the next one begins. */
const PICK_MS = 1_000;

type Charge = Pick<Submission, 'cost' | 'deadlineMs' | 'done'>;

/** Sends messages, each exactly once. Made by `TLedgerClient.producer`; close it to let go of its stream. */
export class Producer {
  readonly #cluster: Cluster;
  readonly #onClosed: () => void;
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
  /** Closed, and everything is settled. */
  #isEnded = false;
  #isPumpDue = false;
  #ticker: NodeJS.Timeout | undefined;
  #retryAtMs = 0;
  readonly #silence: SilenceWatch;
  #lastError: TLedgerError | undefined;
  #unsettledBytes = 0;
  #unsettledCalls = 0;

  /** @param onClosed told once when there is nothing left to wait for. */
  constructor(cluster: Cluster, options: ProducerOptions = {}, onClosed: () => void = () => {}) {
    this.#cluster = cluster;
    this.#onClosed = onClosed;
    this.#settings = producerSettings(options);
    this.#silence = new SilenceWatch(cluster, this.#settings.stallTimeoutMs);
    this.#batcher = new Batcher({ bytesMax: this.#settings.frameBytesMax, countMax: this.#settings.frameCountMax });
    this.#router = new TopicRouter(cluster, (topic, queue) => this.#batcher.hasOpen(topic, queue));
    this.#window = new SendWindow<Batch>({
      countMax: this.#settings.windowFramesMax,
      bytesMax: this.#settings.windowBytesMax,
      newProducerId: () => randomBytes(8).toString('hex'),
      fail: (batch, error) => this.#fail(batch, error),
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
    const { topic, orderKey } = message;
    const refusal = this.#refusal();
    if (refusal !== undefined) return done(refusal, null, message.queue ?? -1);
    const now = Date.now();
    const charge = { cost: message.body.length + MESSAGE_COST, deadlineMs: now + this.#settings.sendTimeoutMs, done };
    this.#admit(charge);
    const known = this.#router.queueNow(topic, message.queue, orderKey);
    if (known >= 0) return this.#encodeAndSubmit(message, known, now, charge);
    this.#router.route(topic, message.queue, orderKey, charge.deadlineMs, (error, queue) => {
      if (error !== null) this.#refuse(charge, error, queue);
      else this.#encodeAndSubmit(message, queue, now, charge);
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
    const frames = splitIntoFrames(records, this.#settings);
    const receipts = await Promise.all(
      frames.map((pieces) => this.sendRecords(topic, queue, Buffer.concat(pieces), pieces.length)),
    );
    const runs = receipts.map(({ queueOffset }, at) => ({
      firstOffset: queueOffset,
      count: frames[at]!.length,
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
      const refusal = this.#refusal();
      if (refusal !== undefined) return reject(refusal);
      const done: Done = (error, queueOffset) => {
        if (error !== null) reject(error);
        else resolve({ topic, queue, queueOffset });
      };
      const cost = records.length + MESSAGE_COST;
      const deadlineMs = Date.now() + this.#settings.sendTimeoutMs;
      const submission = { records, count, cost, deadlineMs, done };
      this.#admit(submission);
      this.#router.route(topic, queue, undefined, deadlineMs, (error) => {
        if (error !== null) this.#refuse(submission, error, queue);
        else this.#submit(topic, queue, submission);
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
    this.#end()?.close();
  }

  /**
   * Ends at once, without waiting: what was sent fails with OUTCOME_UNKNOWN, what was not with SHUTTING_DOWN. Takes
   * nothing new.
   */
  abort(): void {
    this.#isClosed = true;
    const reason = new TLedgerError('SHUTTING_DOWN', 'given up before it was sent');
    const pipe = this.#end();
    this.#window.expire(Number.POSITIVE_INFINITY, reason);
    this.#window.lost();
    for (const batch of this.#batcher.takeExpired(Number.POSITIVE_INFINITY)) this.#fail(batch, reason);
    this.#router.expire(Number.POSITIVE_INFINITY, reason);
    pipe?.abort(reason);
    assert(this.#unsettledCalls === 0, 'everything is settled');
  }

  /** Lets go of the clock and the stream. @returns the stream. */
  #end(): AppendPipe | undefined {
    const pipe = this.#pipe;
    if (!this.#isEnded) this.#onClosed();
    this.#isEnded = true;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    this.#pipe = undefined;
    return pipe;
  }

  /** Why nothing is taken at the moment, if so. */
  #refusal(): TLedgerError | undefined {
    if (this.isWritable) return undefined;
    if (this.#isClosed) return new TLedgerError('SHUTTING_DOWN', 'the producer is closed');
    const { bufferBytesMax } = this.#settings;
    return new TLedgerError('OVERLOADED', `the producer's buffer of ${bufferBytesMax} bytes is full: await ready()`);
  }

  #admit({ cost }: Charge): void {
    this.#unsettledBytes += cost;
    this.#unsettledCalls++;
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
  }

  #refuse({ cost, done }: Charge, error: TLedgerError, queue: number): void {
    done(error, null, queue);
    this.#release(cost, 1);
  }

  #encodeAndSubmit(message: MessageToSend, queue: number, now: number, charge: Charge): void {
    try {
      const records = encodeRecord(message, queue, message.bornAtMs ?? now);
      const { cost, deadlineMs, done } = charge;
      this.#submit(message.topic, queue, { records, count: 1, cost, deadlineMs, done });
    } catch (refusal) {
      this.#refuse(charge, asTLedgerError(refusal), queue);
    }
  }

  #submit(topic: string, queue: number, submission: Submission): void {
    this.#batcher.add(topic, queue, submission);
    this.#pumpSoon();
  }

  #succeed(batch: Batch, queueOffset: number | null): void {
    batch.succeed(queueOffset);
    this.#release(batch.cost, batch.calls);
  }

  #fail(batch: Batch, error: TLedgerError): void {
    batch.fail(error);
    this.#release(batch.cost, batch.calls);
  }

  #release(cost: number, calls: number): void {
    this.#unsettledBytes -= cost;
    this.#unsettledCalls -= calls;
    this.#wake();
  }

  #wake(): void {
    if (this.#waitingForSpace.length > 0 && this.#unsettledBytes * 2 <= this.#settings.bufferBytesMax) {
      for (const resolve of this.#waitingForSpace.splice(0)) resolve();
    }
    if (this.#waitingForQuiet.length > 0 && this.#unsettledCalls === 0) {
      for (const resolve of this.#waitingForQuiet.splice(0)) resolve();
    }
  }

  /** What is sent in the same turn goes together; when nothing is under way, what is sent by what runs now. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    const later = this.#window.length === 0 ? process.nextTick : setImmediate;
    later(() => {
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
    if (!this.#window.hasWritten) this.#silence.broken();
    for (;;) {
      const frame = this.#window.takeNext() ?? this.#nextNew();
      if (frame === undefined) break;
      pipe.write(requestOf(frame, this.#settings.flush));
    }
    if (!this.#window.needsNewStream) return;
    this.#isMoving = true;
    if (!this.#window.hasWritten) this.#letGo(pipe);
  }

  #nextNew(): Frame<Batch> | undefined {
    const batch = this.#batcher.peek();
    if (this.#window.needsNewStream) return undefined;
    if (batch === undefined || !this.#window.hasRoom(batch.sizeBytes)) return undefined;
    this.#window.push(this.#batcher.take()!);
    return this.#window.takeNext();
  }

  get #hasWork(): boolean {
    if (this.#isEnded) return false;
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
      if (!this.#hasWork || this.#pipe !== undefined) return;
      this.#isMoving = false;
      const pipe: AppendPipe = new AppendPipe(endpoint, {
        onAcknowledged: (queueOffset) => this.#acknowledged(pipe, queueOffset),
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

  #acknowledged(pipe: AppendPipe, queueOffset: number): void {
    if (!this.#window.hasWritten) {
      return pipe.abort(new TLedgerError('INTERNAL', 'the node acknowledged what was never sent'));
    }
    this.#silence.broken();
    this.#backoff.reset();
    this.#lastError = undefined;
    pipe.endpoint.trust();
    const batch = this.#window.acknowledge();
    if (batch !== undefined) this.#succeed(batch, queueOffset < 0 ? null : queueOffset);
  }

  #progressed(leader: Leader | null): void {
    this.#cluster.noteLeader(leader);
    const leading = this.#cluster.leaderEndpoint();
    // Follows the leader once what is under way here is answered, so that nothing becomes doubtful by it.
    if (leading !== undefined && leading !== this.#pipe?.endpoint) this.#isMoving = true;
    this.#pump();
  }

  #letGo(pipe: AppendPipe): void {
    this.#window.closed();
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
    for (const batch of this.#batcher.takeExpired(now)) {
      this.#fail(batch, reason ?? new TLedgerError('DEADLINE_EXCEEDED'));
    }
    this.#router.expire(now);
    const pipe = this.#window.hasWritten ? this.#pipe : undefined;
    if (pipe !== undefined && this.#silence.isOver(pipe.endpoint, this.#window.oldest!.topic)) {
      pipe.abort(new TLedgerError('UNREACHABLE', 'the node has stopped answering'));
    }
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

function requestOf(frame: Frame<Batch>, flush: string) {
  const { topic, queue, pieces } = frame.load;
  return { topic, queue, producerId: frame.producerId, sequence: frame.sequence, flush, records: pieces };
}

function asTLedgerError(error: unknown): TLedgerError {
  assert(error instanceof TLedgerError, () => `only expected failures arise here, not ${String(error)}`);
  return error;
}
