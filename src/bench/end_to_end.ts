// From a sender to a consumer: messages sent at a fixed rate, each with the time at which it was due in its body, and one
// consumer in the same process, so that both times are of one clock.
import { randomBytes } from 'node:crypto';
import type { TLedgerClient } from '../client/client.ts';
import { drive, pause, type Request } from './drive.ts';
import { type SendOptions, STAMP_BYTES, withClients } from './load.ts';
import { type Latencies, LatencyHistogram } from './meter.ts';

const RUN_BYTES = 8;
/** How long the consumer may take for the last messages. */
const LAST_MS_MAX = 10_000;
const LOOK_MS = 10;

/**
 * Sends and receives; latencies of acknowledgements and throughput are in the meter.
 * @returns latencies of deliveries.
 * @throws TLedgerError what `drive` and `consumeBatches` throw.
 */
export function benchEndToEnd(options: SendOptions): Promise<Latencies> {
  return withClients(options, async (clients) => {
    const { topic, sizeBytes, signal } = options;
    const consumer = await DeliveryMeter.start(clients[0]!, topic);
    const producers = clients.map((client) => client.producer({ flush: options.flush }));
    let next = 0;
    const request: Request = (answered, dueAtMs) => {
      const body = consumer.stamp(Buffer.alloc(sizeBytes, 'x'), dueAtMs);
      producers[next++ % producers.length]!.append({ topic, body }, (error) => {
        if (error === null) consumer.expected++;
        answered(error, 1);
      });
    };
    const beganAtMs = performance.now() + options.warmUpMs;
    try {
      consumer.countFrom(beganAtMs);
      await drive({ ...options, request });
      const untilMs = performance.now() + LAST_MS_MAX;
      while (consumer.isBehind && performance.now() < untilMs && !signal.aborted) await pause(LOOK_MS, signal);
    } finally {
      await consumer.stop();
    }
    return consumer.latencies.latencies();
  });
}

/** Knows its own messages by the run's id, and their age by the time in them. */
class DeliveryMeter {
  readonly latencies = new LatencyHistogram();
  /** Messages acknowledged. */
  expected = 0;
  #received = 0;
  #fromMs = 0;
  readonly #runId = randomBytes(RUN_BYTES);
  readonly #over = new AbortController();
  #reading: Promise<void> = Promise.resolve();
  #failure: unknown;

  static async start(client: TLedgerClient, topic: string): Promise<DeliveryMeter> {
    const meter = new DeliveryMeter();
    const { ranges } = await client.admin.topic(topic);
    const positions = new Map(ranges.map(({ queue, maxOffset }) => [queue, Number(maxOffset)]));
    meter.#reading = meter.#read(client, topic, positions).catch((error) => {
      meter.#failure = error;
    });
    return meter;
  }

  /** Messages due before are the warm-up's. */
  countFrom(atMs: number): void {
    this.#fromMs = atMs;
  }

  get isBehind(): boolean {
    return this.#received < this.expected && this.#failure === undefined;
  }

  stamp(body: Buffer, dueAtMs: number): Buffer {
    this.#runId.copy(body);
    body.writeDoubleLE(dueAtMs, RUN_BYTES);
    return body;
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#reading;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #read(client: TLedgerClient, topic: string, positions: ReadonlyMap<number, number>): Promise<void> {
    for await (const { messages } of client.consumeBatches({ topic, positions, signal: this.#over.signal })) {
      const nowMs = performance.now();
      for (const { body } of messages) {
        if (body.length < STAMP_BYTES || !body.subarray(0, RUN_BYTES).equals(this.#runId)) continue;
        this.#received++;
        const dueAtMs = body.readDoubleLE(RUN_BYTES);
        if (dueAtMs >= this.#fromMs) this.latencies.record(nowMs - dueAtMs);
      }
    }
  }
}
