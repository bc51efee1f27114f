// Readers that stay with one node each, through whatever happens to it: every value they are shown goes into the memory.
// And probes: reads that must see everything that was acknowledged before they began, on whichever node.
import { TLedgerError } from '../../src/base/errors.ts';
import { Endpoint } from '../../src/client/endpoint.ts';
import { messagesIn } from '../../src/client/received.ts';
import { serverStream } from '../../src/client/server_stream.ts';
import { unary } from '../../src/client/unary.ts';
import { int64ToNumber } from '../../src/wire/int64.ts';
import type { ConsumeRequest } from '../../src/wire/ledger_messages.ts';
import { ledgerService, type Method } from '../../src/wire/services.ts';
import { answeredCode, errorOf } from '../../src/wire/status.ts';
import { type History, keyOfBody } from './history.ts';
import { pause } from './pause.ts';

/** A node as one reader reaches it. */
export interface Access {
  readonly nodeId: string;
  readonly address: string;
}

const RETRY_MS = 100;
const PROBE_TIMEOUT_MS = 1_000;
/** A stream without a byte for so long is opened again: a silent cut may have eaten its end. */
const SILENCE_MS_MAX = 3_000;

/** Reads one topic from one node, from the first message on. */
export class Reader {
  readonly nodeId: string;
  readonly #topic: string;
  readonly #history: History;
  readonly #endpoint: Endpoint;
  readonly #stop = new AbortController();
  readonly #next: number[];
  readonly #running: Promise<void>;
  readonly #isCut: boolean;

  /** @param isCut whether the group cuts old messages away, so that a slow reader misses some. */
  constructor(at: Access, topic: string, history: History, isCut: boolean) {
    this.nodeId = at.nodeId;
    this.#topic = topic;
    this.#history = history;
    this.#isCut = isCut;
    this.#endpoint = new Endpoint(at.address);
    this.#next = Array.from({ length: history.queues }, () => 0);
    this.#running = this.#run();
  }

  /** Whether every queue has been read up to `ends`. */
  hasReached(ends: readonly number[]): boolean {
    return ends.every((end, queue) => this.#next[queue]! >= end);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#endpoint.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const abort = (): void => attempt.abort();
      signal.addEventListener('abort', abort);
      let silence = setTimeout(abort, SILENCE_MS_MAX);
      try {
        const stream = serverStream(this.#endpoint, ledgerService.consume, this.#request(), [attempt.signal]);
        for await (const { queue, records } of stream) {
          clearTimeout(silence);
          silence = setTimeout(abort, SILENCE_MS_MAX);
          this.#take(queue, records);
        }
      } catch (error) {
        if (!signal.aborted) await this.#failed(error);
      } finally {
        clearTimeout(silence);
        signal.removeEventListener('abort', abort);
      }
      await pause(RETRY_MS, signal);
    }
  }

  #request(): ConsumeRequest {
    const positions = this.#next.map((offset, queue) => ({ queue, offset: String(offset) }));
    return { topic: this.#topic, positions, start: 'EARLIEST', maxBytes: 0, packed: true };
  }

  /** Offsets rise by one; `messagesIn` throws for gaps and damaged bytes. */
  #take(queue: number, records: Buffer): void {
    const offset = this.#next[queue]!;
    for (const message of messagesIn(records, { topic: this.#topic, queue, offset })) {
      this.#history.observe(this.nodeId, queue, message.queueOffset, keyOfBody(message.body));
      this.#next[queue] = message.queueOffset + 1;
    }
  }

  /** Most failures are the faults' doing. What was read before must not have gone, and bytes must be whole. */
  async #failed(error: unknown): Promise<void> {
    const { code, message } = errorOf(error);
    if (code === 'DATA_CORRUPTED') this.#history.sight('broken', `${this.nodeId}: ${message}`);
    if (code !== 'OFFSET_OUT_OF_RANGE' || (this.#isCut && (await this.#skipWhatIsCut()))) return;
    this.#history.sight('stale', `${this.nodeId} forgot what it showed: ${message}`);
  }

  /** @returns whether something was cut, or that is not known: then the offset asked for may be out of range. */
  async #skipWhatIsCut(): Promise<boolean> {
    const call = { deadlineMs: Date.now() + PROBE_TIMEOUT_MS };
    const metadata = await unary(this.#endpoint, ledgerService.metadata, { topics: [this.#topic] }, call).catch(
      () => undefined,
    );
    const ranges = metadata?.topics[0]?.ranges;
    if (ranges === undefined) return true;
    let isSkipped = false;
    for (const { queue, minOffset } of ranges) {
      const min = int64ToNumber(minOffset, 'minOffset');
      if (min <= this.#next[queue]!) continue;
      isSkipped = true;
      this.#next[queue] = min;
    }
    return isSkipped;
  }
}

/** How probes fared. */
export interface ProbeCounts {
  answered: number;
  unanswered: number;
}

/** Asks one node again and again for the newest that was acknowledged, for what comes behind it, and for how far it is. */
export class Prober {
  readonly counts: ProbeCounts = { answered: 0, unanswered: 0 };
  readonly #nodeId: string;
  readonly #topic: string;
  readonly #history: History;
  readonly #endpoint: Endpoint;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(at: Access, topic: string, history: History) {
    this.#nodeId = at.nodeId;
    this.#topic = topic;
    this.#history = history;
    this.#endpoint = new Endpoint(at.address);
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#endpoint.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let turn = 0; !signal.aborted; turn++) {
      const queue = turn % this.#history.queues;
      const end = this.#history.acknowledgedEnd(queue);
      const where = `${this.#nodeId}, queue ${queue}, asked with ${end} acknowledged`;
      try {
        if (turn % 3 === 2) await this.#probeMetadata(queue, end, where);
        else await this.#probeQueue(queue, turn % 3 === 0 ? end : Math.max(0, end - 1), end, where);
        this.counts.answered++;
      } catch (error) {
        this.#failed(error, where);
      }
      await pause(RETRY_MS, signal);
    }
  }

  /** Behind the newest there may be nothing, and a node may say so only after it has caught up. */
  async #probeQueue(queue: number, offset: number, end: number, where: string): Promise<void> {
    const at = { topic: this.#topic, queue, offset: String(offset) };
    const request = { ...at, maxCount: 16, maxBytes: 0, waitMs: 0, packed: true };
    const response = await this.#ask(ledgerService.pull, request);
    const found = messagesIn(response.records, { topic: this.#topic, queue, offset });
    for (const one of found) this.#history.observe(this.#nodeId, queue, one.queueOffset, keyOfBody(one.body));
    const max = int64ToNumber(response.maxOffset, 'maxOffset');
    if (max < end) this.#history.sight('stale', `${where}: its queue ends at ${max}`);
    if (offset < end && found.length === 0) this.#history.sight('stale', `${where}: found nothing at ${offset}`);
  }

  async #probeMetadata(queue: number, end: number, where: string): Promise<void> {
    const { topics } = await this.#ask(ledgerService.metadata, { topics: [this.#topic], current: true });
    const range = topics[0]?.ranges.find((one) => one.queue === queue);
    const max = range === undefined ? -1 : int64ToNumber(range.maxOffset, 'maxOffset');
    if (max < end) this.#history.sight('stale', `${where}: its metadata says ${max}`);
  }

  /** No answer is no lie; but what an answer says must be true. */
  #failed(error: unknown, where: string): void {
    this.counts.unanswered++;
    const { message } = errorOf(error);
    const answered = error instanceof TLedgerError ? error.code : answeredCode(error);
    if (answered === 'OFFSET_OUT_OF_RANGE' || answered === 'TOPIC_NOT_FOUND') {
      this.#history.sight('stale', `${where}: ${message}`);
    }
    if (answered === 'DATA_CORRUPTED') this.#history.sight('broken', `${where}: ${message}`);
  }

  #ask<Out, In, Response>(method: Method<Out, In, Response>, request: Out): Promise<Response> {
    return unary(this.#endpoint, method, request, { deadlineMs: Date.now() + PROBE_TIMEOUT_MS });
  }
}
