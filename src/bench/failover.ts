// How long nobody is served while leaders change: messages at a fixed rate, and the longest silence between two
// acknowledgements around each hand-over. Without hand-overs it only watches: the harm is done by whoever runs it.
import type { TLedgerClient } from '../client/client.ts';
import { drive, pause, type Request } from './drive.ts';
import { type SendOptions, withClients } from './load.ts';

/** A run of it. */
export interface FailoverOptions extends SendOptions {
  /** Hand-overs, spread evenly over the measured time; 0: none. */
  readonly transfers: number;
  /** Told of each hand-over. */
  readonly onTransfer: (number: number, gapMs: number) => void;
}

/**
 * Sends, and hands leadership over; figures of the load are in the meter.
 * @returns milliseconds without an acknowledgement, one a hand-over; without any, the longest silence of the whole time.
 * @throws TLedgerError what `drive` and `transferLeadership` throw.
 */
export function benchFailover(options: FailoverOptions): Promise<number[]> {
  return withClients(options, async (clients) => {
    const { topic, sizeBytes, flush } = options;
    const silence = new Silence();
    const body = Buffer.alloc(sizeBytes, 'x');
    const producers = clients.map((client) => client.producer({ flush }));
    let next = 0;
    const request: Request = (answered) => {
      producers[next++ % producers.length]!.append({ topic, body }, (error) => {
        if (error === null) silence.acknowledged();
        answered(error, 1);
      });
    };
    const over = new AbortController();
    const signal = AbortSignal.any([options.signal, over.signal]);
    const load = drive({ ...options, request }).finally(() => over.abort());
    const harm = handOver(clients[0]!, silence, options, signal);
    const [, gapsMs] = await Promise.all([load, harm]);
    return gapsMs;
  });
}

async function handOver(
  client: TLedgerClient,
  silence: Silence,
  { transfers, warmUpMs, durationMs, onTransfer }: FailoverOptions,
  signal: AbortSignal,
): Promise<number[]> {
  await pause(warmUpMs, signal);
  const gapsMs: number[] = [];
  silence.take();
  if (transfers === 0) {
    await pause(durationMs, signal);
    return [silence.take()];
  }
  const everyMs = durationMs / transfers;
  const beganAtMs = performance.now();
  for (let number = 1; number <= transfers && !signal.aborted; number++) {
    silence.take();
    await client.admin.transferLeadership();
    await pause(beganAtMs + number * everyMs - performance.now(), signal);
    gapsMs.push(silence.take());
    onTransfer(number, gapsMs.at(-1)!);
  }
  return gapsMs;
}

/** The longest time between two acknowledgements; one that is under way counts. */
class Silence {
  #lastMs = performance.now();
  #longestMs = 0;

  acknowledged(): void {
    const nowMs = performance.now();
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  }

  /** @returns milliseconds, rounded; begins anew. */
  take(): number {
    const longestMs = Math.max(this.#longestMs, performance.now() - this.#lastMs);
    this.#longestMs = 0;
    return Math.round(longestMs);
  }
}
