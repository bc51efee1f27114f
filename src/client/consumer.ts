// Reading: a stream of committed messages that goes on, on any node, exactly where the last one broke off.
import { TLedgerError } from '../base/errors.ts';
import type { StoredMessage } from '../format/message.ts';
import { int64ToNumber, numberToInt64 } from '../wire/int64.ts';
import type { ConsumeRequest, ConsumeResponse, Topic } from '../wire/ledger_messages.ts';
import { PULL_BYTES_DEFAULT, PULL_WAIT_MS_MAX } from '../wire/limits.ts';
import { ledgerService } from '../wire/services.ts';
import { answeredCode, errorOf } from '../wire/status.ts';
import { Backoff, sleep } from './backoff.ts';
import type { Cluster } from './cluster.ts';
import { Detour } from './detour.ts';
import type { Endpoint } from './endpoint.ts';
import { type ConsumeOptions, RESUME_TIMEOUT_MS, type StartPosition } from './options.ts';
import { messagesIn } from './received.ts';
import { serverStream } from './server_stream.ts';
import { fetchTopic } from './topics.ts';

/**
 * Messages of one queue that arrived together, in order and without gaps. Tag, keys, properties and times of a message are
 * decoded when they are asked for: they are there to be read, but not in a copy made by `{ ...message }`.
 */
export interface MessageBatch {
  readonly queue: number;
  readonly messages: readonly StoredMessage[];
  /** Offset of the queue's next message when the node read this: how far behind the reader is. */
  readonly endOffset: number;
}

/** What to read at once. */
export interface PullOptions {
  readonly topic: string;
  readonly queue: number;
  readonly offset: number;
  /** At most 256 by default. */
  readonly countMax?: number;
  /** At most 1 MiB by default; one message is always returned if there is one. */
  readonly bytesMax?: number;
  /** Milliseconds to wait for the first message; 0 (default) to 60,000. */
  readonly waitMs?: number;
  /** Milliseconds for the call, on top of `waitMs`. */
  readonly timeoutMs?: number;
}

/** A part of a queue. */
export interface PullResult {
  /** Empty only if the group had nothing more when it was asked. */
  readonly messages: readonly StoredMessage[];
  /** Where to go on. */
  readonly nextOffset: number;
  readonly minOffset: number;
  /** As far as the node that answered had caught up. */
  readonly maxOffset: number;
}

/** Gaps and damaged bytes in a row, without a message between them, after which reading gives up. */
const DAMAGE_COUNT_MAX = 5;
/** A stream that lasted so long, even without a message, counts as a node that could go on. */
const STEADY_MS = 1_000;

/**
 * Reads once from one queue.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, and what `Cluster.call` throws.
 */
export async function pull(cluster: Cluster, options: PullOptions): Promise<PullResult> {
  const waitMs = Math.min(options.waitMs ?? 0, PULL_WAIT_MS_MAX);
  const response = await cluster.call(
    ledgerService.pull,
    {
      topic: options.topic,
      queue: options.queue,
      offset: numberToInt64(options.offset, 'offset'),
      maxCount: options.countMax ?? 0,
      maxBytes: options.bytesMax ?? 0,
      waitMs,
      packed: true,
    },
    {
      timeoutMs: waitMs + (options.timeoutMs ?? cluster.timeoutMs),
      attemptTimeoutMs: waitMs + cluster.attemptTimeoutMs,
    },
  );
  return {
    messages: messagesIn(response.records, options),
    nextOffset: int64ToNumber(response.nextOffset, 'nextOffset'),
    minOffset: int64ToNumber(response.minOffset, 'minOffset'),
    maxOffset: int64ToNumber(response.maxOffset, 'maxOffset'),
  };
}

/** Reads message by message; see `consumeBatches`. */
export async function* consume(cluster: Cluster, options: ConsumeOptions): AsyncGenerator<StoredMessage, void, void> {
  for await (const batch of consumeBatches(cluster, options)) yield* batch.messages;
}

/**
 * Reads committed messages as they come, in order within each queue, each once. A node that fails is replaced by
 * another one; reading goes on behind the last message that was handed out. Who is far behind is sent to a follower by
 * the leader, and goes back to it when it has caught up.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE; NO_LEADER at the beginning, unless
 * `stale`; when no node could go on for
 * `resumeTimeoutMs`: what the last one failed with; DATA_CORRUPTED when every node's bytes are damaged.
 */
export async function* consumeBatches(
  cluster: Cluster,
  options: ConsumeOptions,
): AsyncGenerator<MessageBatch, void, void> {
  const { signal } = options;
  const progress = await Progress.begin(cluster, options).catch((error) => {
    if (signal?.aborted) return undefined;
    throw error;
  });
  if (progress === undefined) return;
  const backoff = new Backoff();
  const detour = new Detour(cluster);
  let deadlineMs = Date.now() + progress.resumeTimeoutMs;
  let damageCount = 0;
  while (!progress.isDone && signal?.aborted !== true) {
    let endpoint: Endpoint | undefined;
    let openedAtMs = Number.POSITIVE_INFINITY;
    let isMoving = false;
    try {
      endpoint = await detour.endpoint(deadlineMs, signal);
      openedAtMs = Date.now();
      for await (const response of serverStream(endpoint, ledgerService.consume, progress.request(), [
        signal,
        cluster.closing,
      ])) {
        const batch = progress.take(response);
        if (batch.messages.length > 0) {
          endpoint.trust();
          backoff.reset();
          damageCount = 0;
          progress.isKnownToExist = true;
          yield batch;
        }
        deadlineMs = Date.now() + progress.resumeTimeoutMs;
        if (progress.isDone || signal?.aborted) return;
        isMoving = detour.take(response.readFrom, endpoint);
        if (isMoving) break;
      }
      if (isMoving) continue;
    } catch (error) {
      if (signal?.aborted) return;
      if (cluster.isClosed) throw new TLedgerError('SHUTTING_DOWN', 'the client is closed', error);
      const known = errorOf(error);
      if (known.code === 'DATA_CORRUPTED') damageCount++;
      // A quiet stream was a good one, too.
      if (Date.now() - openedAtMs >= STEADY_MS) deadlineMs = Date.now() + progress.resumeTimeoutMs;
      const isOver = isFinal(error, known, progress) && !detour.isAt(endpoint);
      if (damageCount >= DAMAGE_COUNT_MAX || isOver || Date.now() >= deadlineMs) throw known;
      if (known.code === 'OFFSET_OUT_OF_RANGE') await progress.catchUp(cluster, deadlineMs - Date.now(), signal);
    }
    detour.failed(endpoint);
    await sleep(backoff.next(), signal);
  }
}

/** Whether trying another node, or the same one later, is of no use. */
function isFinal(error: unknown, known: TLedgerError, progress: Progress): boolean {
  if (!(error instanceof TLedgerError) && answeredCode(error) === undefined) return false;
  switch (known.code) {
    case 'OFFSET_OUT_OF_RANGE':
      return !progress.isKnownToExist;
    case 'TOPIC_NOT_FOUND':
    case 'UNREACHABLE':
    case 'DATA_CORRUPTED':
      return false;
    default:
      return !known.retryable;
  }
}

/** How far each queue has been read. */
class Progress {
  readonly resumeTimeoutMs: number;
  /** Whether the group has all up to where reading goes on, so that a node which has not is only behind. */
  isKnownToExist = false;
  readonly #topic: string;
  readonly #bytesMax: number;
  readonly #next: Map<number, number>;
  /** Where each queue ends for this reader; undefined: nowhere. */
  readonly #ends: ReadonlyMap<number, number> | undefined;
  /** Queues that are read from whatever is the first message, and of which none was handed out yet. */
  readonly #untouched: Set<number>;
  /** All queues are read, those to come included. */
  readonly #isOfAll: boolean;

  private constructor(options: ConsumeOptions, next: Map<number, number>, ends: Map<number, number> | undefined) {
    this.resumeTimeoutMs = options.resumeTimeoutMs ?? RESUME_TIMEOUT_MS;
    this.#topic = options.topic;
    this.#bytesMax = options.responseBytesMax ?? PULL_BYTES_DEFAULT;
    this.#next = next;
    this.#ends = ends;
    this.#isOfAll = options.queues === undefined && options.positions === undefined && ends === undefined;
    const isFixed = (queue: number) => (options.positions?.get(queue) ?? options.from ?? 'earliest') !== 'earliest';
    this.#untouched = new Set([...next.keys()].filter((queue) => !isFixed(queue)));
  }

  static async begin(cluster: Cluster, options: ConsumeOptions): Promise<Progress> {
    const { topic: name, signal } = options;
    // A node that lags would end reading too early, or begin it too early with 'latest'.
    const topic = await fetchTopic(cluster, name, { current: options.stale !== true, signal });
    const queues = options.queues ?? options.positions?.keys() ?? Array.from({ length: topic.queues }, (_, at) => at);
    const next = new Map<number, number>();
    const ends = new Map<number, number>();
    let isBeyondEnd = false;
    for (const queue of queues) {
      const range = rangeOf(topic, queue);
      const start = startOf(options.positions?.get(queue) ?? options.from ?? 'earliest', range);
      next.set(queue, start);
      ends.set(queue, range.max);
      isBeyondEnd ||= start > range.max;
    }
    const progress = new Progress(options, next, options.untilEnd === true ? ends : undefined);
    progress.isKnownToExist = !isBeyondEnd;
    return progress;
  }

  get isDone(): boolean {
    if (this.#next.size === 0) return true;
    if (this.#ends === undefined) return false;
    for (const [queue, end] of this.#ends) if ((this.#next.get(queue) ?? end) < end) return false;
    return true;
  }

  /**
   * A node does not hold what comes next. It may only be behind, or have deleted more than others; if the group has
   * deleted it, a reader that wants whatever is first goes on behind that.
   * @throws TLedgerError OFFSET_OUT_OF_RANGE when messages were deleted before they could be read.
   */
  async catchUp(cluster: Cluster, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const query = { current: true, timeoutMs: Math.max(1, timeoutMs), signal };
    const topic = await fetchTopic(cluster, this.#topic, query).catch(() => undefined);
    if (topic === undefined) return;
    for (const [queue, next] of this.#next) {
      const { min } = rangeOf(topic, queue);
      if (next >= min) continue;
      if (!this.#untouched.has(queue)) {
        const lost = `messages ${next} to ${min - 1} of queue ${queue} of topic "${this.#topic}"`;
        throw new TLedgerError('OFFSET_OUT_OF_RANGE', `${lost} were deleted before they were read`);
      }
      this.#next.set(queue, min);
    }
  }

  /** Asks for what has not been read; queues that are read to their end are left out. */
  request(): ConsumeRequest {
    const open = [...this.#next].filter(([queue, next]) => this.#ends === undefined || next < this.#ends.get(queue)!);
    const positions = open.map(([queue, next]) => ({ queue, offset: numberToInt64(next, 'offset') }));
    const request = {
      topic: this.#topic,
      positions,
      start: 'EARLIEST',
      maxBytes: this.#bytesMax,
      packed: true,
    } as const;
    return this.#isOfAll ? { ...request, newQueues: true } : request;
  }

  /** What is new in a response, and behind the end not needed. */
  take(response: ConsumeResponse): MessageBatch {
    const { queue } = response;
    if (this.#isOfAll && !this.#next.has(queue)) {
      this.#next.set(queue, int64ToNumber(response.firstOffset, 'firstOffset'));
      this.#untouched.add(queue);
    }
    const offset = this.#next.get(queue);
    if (offset === undefined) {
      throw new TLedgerError('DATA_CORRUPTED', `queue ${queue} of topic "${this.#topic}" was not asked for`);
    }
    const found = messagesIn(response.records, { topic: this.#topic, queue, offset });
    const end = this.#ends?.get(queue) ?? Number.MAX_SAFE_INTEGER;
    const messages = offset + found.length > end ? found.slice(0, Math.max(0, end - offset)) : found;
    if (messages.length > 0) this.#untouched.delete(queue);
    this.#next.set(queue, offset + messages.length);
    return { queue, messages, endOffset: int64ToNumber(response.maxOffset, 'maxOffset') };
  }
}

function rangeOf(topic: Topic, queue: number): { readonly min: number; readonly max: number } {
  if (!Number.isInteger(queue) || queue < 0 || queue >= topic.queues) {
    const range = `the topic "${topic.name}" has queues 0 to ${topic.queues - 1}, not ${queue}`;
    throw new TLedgerError('QUEUE_OUT_OF_RANGE', range);
  }
  const range = topic.ranges.find((one) => one.queue === queue);
  return {
    min: int64ToNumber(range?.minOffset ?? '0', 'minOffset'),
    max: int64ToNumber(range?.maxOffset ?? '0', 'maxOffset'),
  };
}

function startOf(from: StartPosition, range: { readonly min: number; readonly max: number }): number {
  if (from === 'earliest') return range.min;
  if (from === 'latest') return range.max;
  if (!Number.isSafeInteger(from) || from < 0) {
    throw new TLedgerError('INVALID_ARGUMENT', `${from} is not an offset`);
  }
  return from;
}
