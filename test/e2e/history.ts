// A load with a memory: numbered messages from several producers, each remembered with its outcome, and a check of what
// the group holds afterwards against that memory.
import type { TLedgerError } from '../../src/base/errors.ts';
import { type MessageToSend, TLedgerClient } from '../../src/client/index.ts';

/** What was found when the group was read back; all zero in a correct group. */
export interface Findings {
  readonly acknowledged: number;
  readonly read: number;
  /** Acknowledged, but not there. */
  readonly lost: number;
  /** There more than once. */
  readonly duplicated: number;
  /** There, but nobody sent it. */
  readonly invented: number;
  /** Behind a later message of its producer in the same queue. */
  readonly outOfOrder: number;
  /** Said to have failed, but there. */
  readonly wronglyFailed: number;
}

interface Sent {
  outcome: 'acknowledged' | 'failed' | 'unknown';
}

/** Sends numbered messages until told to stop. */
export class Load {
  readonly #client: TLedgerClient;
  readonly #topic: string;
  readonly #queues: number;
  readonly #sent = new Map<string, Sent>();
  #isStopped = false;
  #running: Promise<void>[] = [];
  acknowledged = 0;
  readonly codes = new Map<string, number>();

  constructor(endpoints: readonly string[], topic: string, queues: number) {
    this.#client = new TLedgerClient({ endpoints });
    this.#topic = topic;
    this.#queues = queues;
  }

  get client(): TLedgerClient {
    return this.#client;
  }

  /** Starts `producers` loops with `window` messages under way each. */
  start(producers: number, window: number): void {
    for (let producer = 0; producer < producers; producer++) this.#running.push(this.#run(producer, window));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async #run(producerNumber: number, window: number): Promise<void> {
    const producer = this.#client.producer({ sendTimeoutMs: 20_000 });
    let next = 0;
    const one = async (): Promise<void> => {
      while (!this.#isStopped) {
        const number = next++;
        const id = `${producerNumber}:${number}`;
        const sent: Sent = { outcome: 'unknown' };
        this.#sent.set(id, sent);
        const message: MessageToSend = { topic: this.#topic, queue: number % this.#queues, body: Buffer.from(id) };
        await producer.send(message).then(
          () => {
            sent.outcome = 'acknowledged';
            this.acknowledged++;
          },
          (error: TLedgerError) => {
            sent.outcome = error.code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed';
            this.codes.set(error.code, (this.codes.get(error.code) ?? 0) + 1);
          },
        );
      }
    };
    await Promise.all(Array.from({ length: window }, one));
    await producer.close();
  }

  /** Reads every queue to its end and compares. */
  async check(): Promise<Findings> {
    const seen = new Map<string, number>();
    const lastOf = new Map<string, number>();
    const findings = { read: 0, duplicated: 0, invented: 0, outOfOrder: 0, wronglyFailed: 0 };
    for await (const message of this.#client.consume({ topic: this.#topic, untilEnd: true })) {
      const id = message.body.toString();
      const [producer, number] = id.split(':').map(Number) as [number, number];
      findings.read++;
      const times = (seen.get(id) ?? 0) + 1;
      seen.set(id, times);
      if (times > 1) findings.duplicated++;
      const sent = this.#sent.get(id);
      if (sent === undefined) findings.invented++;
      if (sent?.outcome === 'failed') findings.wronglyFailed++;
      const lane = `${producer}/${message.queueId}`;
      if (number < (lastOf.get(lane) ?? -1)) findings.outOfOrder++;
      lastOf.set(lane, number);
    }
    let lost = 0;
    for (const [id, { outcome }] of this.#sent) if (outcome === 'acknowledged' && !seen.has(id)) lost++;
    return { acknowledged: this.acknowledged, lost, ...findings };
  }
}

/** Expected of every group, whatever happened to it. */
export const clean = { lost: 0, duplicated: 0, invented: 0, outOfOrder: 0, wronglyFailed: 0 } as const;

/** The findings that must be zero. */
export function faultsOf({ lost, duplicated, invented, outOfOrder, wronglyFailed }: Findings) {
  return { lost, duplicated, invented, outOfOrder, wronglyFailed };
}

/** Resolves after `ms` of real time: faults on real processes need some. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
