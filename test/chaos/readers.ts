// Readers that stay with one node each, through whatever happens to it: every value they are shown goes into the memory.
// And probes: reads that must see everything that was acknowledged before they began, on whichever node.
import { TLedgerError } from '../../src/base/errors.ts';
import { Endpoint } from '../../src/client/endpoint.ts';
import { messagesIn } from '../../src/client/received.ts';
import { serverStream } from '../../src/client/server_stream.ts';
import { int64ToNumber } from '../../src/wire/int64.ts';
import type { ConsumeRequest, PullRequest, PullResponse } from '../../src/wire/ledger_messages.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { answeredCode, errorOf } from '../../src/wire/status.ts';
import { type History, keyOfBody } from './history.ts';
import { pause } from './pause.ts';

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

  constructor(at: { readonly nodeId: string; readonly address: string }, topic: string, history: History) {
    this.nodeId = at.nodeId;
    this.#topic = topic;
    this.#history = history;
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
        if (!signal.aborted) this.#failed(error);
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
  #failed(error: unknown): void {
    const { code, message } = errorOf(error);
    if (code === 'DATA_CORRUPTED') this.#history.sight('broken', `${this.nodeId}: ${message}`);
    if (code === 'OFFSET_OUT_OF_RANGE')
      this.#history.sight('stale', `${this.nodeId} forgot what it showed: ${message}`);
  }
}

/** How probes fared. */
export interface ProbeCounts {
  answered: number;
  unanswered: number;
}

/** Asks one node again and again for the newest that was acknowledged, and for what comes behind it. */
export class Prober {
  readonly counts: ProbeCounts = { answered: 0, unanswered: 0 };
  readonly #nodeId: string;
  readonly #topic: string;
  readonly #history: History;
  readonly #endpoint: Endpoint;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(at: { readonly nodeId: string; readonly address: string }, topic: string, history: History) {
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
      await this.#probe(queue, Math.floor(turn / this.#history.queues) % 2 === 0);
      await pause(RETRY_MS, signal);
    }
  }

  /** @param beyond ask for the offset behind the newest, which takes a barrier where nothing is there yet. */
  async #probe(queue: number, beyond: boolean): Promise<void> {
    const end = this.#history.acknowledgedEnd(queue);
    const offset = beyond || end === 0 ? end : end - 1;
    const where = `${this.#nodeId}, queue ${queue}, asked from ${offset} on with ${end} acknowledged`;
    try {
      const response = await this.#pull(queue, offset);
      this.counts.answered++;
      const found = messagesIn(response.records, { topic: this.#topic, queue, offset });
      for (const one of found) this.#history.observe(this.#nodeId, queue, one.queueOffset, keyOfBody(one.body));
      const max = int64ToNumber(response.maxOffset, 'maxOffset');
      if (max < end) this.#history.sight('stale', `${where}: its queue ends at ${max}`);
      if (offset < end && found.length === 0) this.#history.sight('stale', `${where}: found nothing`);
    } catch (error) {
      const known = errorOf(error);
      const answered = error instanceof TLedgerError ? error.code : answeredCode(error);
      if (answered === 'OFFSET_OUT_OF_RANGE') this.#history.sight('stale', `${where}: ${known.message}`);
      if (answered === 'DATA_CORRUPTED') this.#history.sight('broken', `${where}: ${known.message}`);
      this.counts.unanswered++;
    }
  }

  #pull(queue: number, offset: number): Promise<PullResponse> {
    const { path, requestSerialize, responseDeserialize } = ledgerService.pull;
    const at = { topic: this.#topic, queue, offset: String(offset) };
    const request: PullRequest = { ...at, maxCount: 16, maxBytes: 0, waitMs: 0, packed: true };
    const deadline = Date.now() + PROBE_TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      this.#endpoint.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        (error, response) => {
          if (error !== null || response === undefined) reject(error ?? new Error('no response'));
          else resolve(response);
        },
      );
    });
  }
}
