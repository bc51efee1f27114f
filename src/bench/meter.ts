// What a benchmark counts: messages and bytes that were settled in the measured time, latencies of all that was due in it,
// failures by code, and the same second by second.
//
//      warm-up      |            measured time            |   rest is awaited
//   ────────────────┼─────────────────────────────────────┼──────────────────
//      not counted  |  due here: its latency counts, whenever it is answered
//                   |  answered here: it counts for throughput
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Latencies in milliseconds; all 0 when there are none. */
export interface Latencies {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** One second of the measured time. */
export interface Second {
  /** Since the measured time began, at its end. */
  readonly atSeconds: number;
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** What was counted. */
export interface Figures {
  /** Length of the measured time. */
  readonly seconds: number;
  readonly messages: number;
  readonly messagesPerSecond: number;
  /** Of bodies, in 10^6 bytes. */
  readonly megabytesPerSecond: number;
  readonly latencyMs: Latencies;
  /** Requests that failed, by code. */
  readonly failed: Readonly<Record<string, number>>;
  readonly perSecond: readonly Second[];
}

const MICROS_MAX = 3_600_000_000;
/** Significant digits that the histogram keeps (HdrHistogram): values are exact to a thousandth. */
const FIGURES = 3;
/** A rest at the end that is shorter is no second of its own. */
const REST_MS_MIN = 500;

/** An HDR histogram of latencies. */
export class LatencyHistogram {
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: MICROS_MAX, figures: FIGURES });

  /** Notes one. */
  record(latencyMs: number): void {
    this.#histogram.record(Math.min(MICROS_MAX, Math.max(1, Math.round(latencyMs * 1_000))));
  }

  /** Forgets all. */
  reset(): void {
    this.#histogram.reset();
  }

  /** @param percent above 0, up to 100. @returns milliseconds; 0 when nothing was noted. */
  percentile(percent: number): number {
    return this.#histogram.count === 0 ? 0 : this.#histogram.percentile(percent) / 1_000;
  }

  /** The usual figures. */
  latencies(): Latencies {
    const { count, mean, max } = this.#histogram;
    return {
      count,
      mean: count === 0 ? 0 : rounded(mean / 1_000),
      p50: this.percentile(50),
      p90: this.percentile(90),
      p99: this.percentile(99),
      p999: this.percentile(99.9),
      max: count === 0 ? 0 : max / 1_000,
    };
  }
}

/** Counts one run. Times are `performance.now()`. */
export class Meter {
  readonly #all = new LatencyHistogram();
  readonly #second = new LatencyHistogram();
  readonly #failed = new Map<string, number>();
  readonly #perSecond: Second[] = [];
  #beganAtMs = Number.POSITIVE_INFINITY;
  #endedAtMs = Number.POSITIVE_INFINITY;
  #messages = 0;
  #bytes = 0;
  #messagesBefore = 0;
  #secondBeganAtMs = 0;

  /** The measured time begins. */
  begin(): void {
    this.#beganAtMs = performance.now();
    this.#secondBeganAtMs = this.#beganAtMs;
  }

  /** The measured time is over; latencies of what was due in it may still come. */
  end(): void {
    this.endSecond();
    this.#endedAtMs = performance.now();
  }

  /** A request that was due at `dueAtMs` has just been answered; it carried so many messages and bytes of bodies. */
  answered(dueAtMs: number, messages: number, bytes: number): void {
    const nowMs = performance.now();
    this.#count(nowMs, messages, bytes);
    if (dueAtMs < this.#beganAtMs || dueAtMs >= this.#endedAtMs) return;
    this.#all.record(nowMs - dueAtMs);
    if (nowMs < this.#endedAtMs) this.#second.record(nowMs - dueAtMs);
  }

  /** Messages came that nobody asked for one by one: no latency. */
  came(messages: number, bytes: number): void {
    this.#count(performance.now(), messages, bytes);
  }

  /** A request that was due at `dueAtMs` failed. Its latency does not count: it has none. */
  failed(dueAtMs: number, code: string): void {
    if (dueAtMs < this.#beganAtMs || dueAtMs >= this.#endedAtMs) return;
    this.#failed.set(code, (this.#failed.get(code) ?? 0) + 1);
  }

  /** Ends one second of the report and begins the next; short rests are left out. Called about once a second. */
  endSecond(): void {
    const nowMs = performance.now();
    const passedMs = nowMs - this.#secondBeganAtMs;
    if (nowMs < this.#beganAtMs || nowMs >= this.#endedAtMs) return;
    if (passedMs < REST_MS_MIN && this.#perSecond.length > 0) return;
    this.#perSecond.push({
      atSeconds: rounded((nowMs - this.#beganAtMs) / 1_000),
      messagesPerSecond: Math.round(((this.#messages - this.#messagesBefore) / passedMs) * 1_000),
      p50Ms: this.#second.percentile(50),
      p99Ms: this.#second.percentile(99),
    });
    this.#messagesBefore = this.#messages;
    this.#secondBeganAtMs = nowMs;
    this.#second.reset();
  }

  /** The last whole second, for a progress line. */
  get lastSecond(): Second | undefined {
    return this.#perSecond.at(-1);
  }

  #count(nowMs: number, messages: number, bytes: number): void {
    if (nowMs < this.#beganAtMs || nowMs >= this.#endedAtMs) return;
    this.#messages += messages;
    this.#bytes += bytes;
  }

  /** All that was counted. */
  figures(): Figures {
    const endMs = Number.isFinite(this.#endedAtMs) ? this.#endedAtMs : performance.now();
    const seconds = Math.max(0.001, (endMs - this.#beganAtMs) / 1_000);
    const hasBegun = Number.isFinite(this.#beganAtMs);
    const perSecond = hasBegun ? this.#messages / seconds : 0;
    return {
      seconds: hasBegun ? rounded(seconds) : 0,
      messages: this.#messages,
      messagesPerSecond: Math.round(perSecond),
      megabytesPerSecond: rounded(this.#bytes / seconds / 1e6),
      latencyMs: this.#all.latencies(),
      failed: Object.fromEntries(this.#failed),
      perSecond: this.#perSecond,
    };
  }
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
