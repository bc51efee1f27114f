// The two ways to load a group. Closed loop: so many requests under way, the next one when one is answered; finds the
// highest throughput, but its latencies are flattered, as a slow group is asked less (coordinated omission). Open loop:
// requests are due at a fixed rate, whatever becomes of those before, and a latency counts from when the request was due,
// not from when it could be sent; this is what users feel.
import { isErrorCode, TLedgerError } from '../base/errors.ts';
import type { Meter } from './meter.ts';

/** How requests follow each other. */
export type Load =
  | { readonly kind: 'closed'; readonly inFlight: number }
  | { readonly kind: 'open'; readonly requestsPerSecond: number };

/** Tells once how a request ended, and how many messages it carried. */
export type Answered = (error: unknown, messages: number) => void;

/** Sends one request; it was due at `dueAtMs` (performance.now). */
export type Request = (answered: Answered, dueAtMs: number) => void;

/** One run. */
export interface DriveOptions {
  readonly load: Load;
  readonly request: Request;
  readonly meter: Meter;
  /** Of a message's body. */
  readonly sizeBytes: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** Ends the run early, with what was measured until then. */
  readonly signal: AbortSignal;
}

/** Requests of an open loop that are under way at most; more wait, and their waiting counts as latency. */
const OPEN_IN_FLIGHT_MAX = 65_536;
/** Requests of an open loop are due at full milliseconds, several at once at rates above 1,000 a second: timers tell no finer. */
const GRID_MS = 1;
/** A request that failed is followed by the next one only then, lest a dead group is asked without end. */
const AFTER_FAILURE_MS = 10;
/** How long answers are awaited that are due when the time is over. */
const REST_MS_MAX = 35_000;
const SECOND_MS = 1_000;

/**
 * Runs a load through warm-up and measured time, and awaits the rest.
 * @throws TLedgerError the first refusal that no repetition can help, e.g. TOPIC_NOT_FOUND.
 */
export async function drive(options: DriveOptions): Promise<void> {
  const run = new Drive(options);
  await run.toItsEnd();
}

/** Goes through warm-up and measured time. Rejects with the reason when `fatal` is aborted. */
export async function measured(
  { meter, warmUpMs, durationMs, signal }: Omit<DriveOptions, 'load' | 'request' | 'sizeBytes'>,
  fatal: AbortSignal,
): Promise<void> {
  const signals = AbortSignal.any([signal, fatal]);
  await pause(warmUpMs, signals);
  if (!signals.aborted) {
    meter.begin();
    const timer = setInterval(() => meter.endSecond(), SECOND_MS);
    await pause(durationMs, signals);
    clearInterval(timer);
    meter.end();
  }
  fatal.throwIfAborted();
}

class Drive {
  readonly #options: DriveOptions;
  readonly #fatal = new AbortController();
  #isOver = false;
  #underWay = 0;
  #whenIdle: () => void = () => {};

  constructor(options: DriveOptions) {
    this.#options = options;
  }

  async toItsEnd(): Promise<void> {
    const { load } = this.#options;
    const stop = load.kind === 'closed' ? this.#close(load.inFlight) : this.#open(load.requestsPerSecond);
    try {
      await measured(this.#options, this.#fatal.signal);
    } finally {
      this.#isOver = true;
      stop();
    }
    await this.#rest();
    this.#fatal.signal.throwIfAborted();
  }

  /** Keeps `inFlight` requests under way. */
  #close(inFlight: number): () => void {
    const next = (): void => {
      if (this.#isOver) return;
      this.#send(performance.now(), (isWell) => {
        if (isWell) next();
        else setTimeout(next, AFTER_FAILURE_MS);
      });
    };
    for (let at = 0; at < inFlight; at++) next();
    return () => {};
  }

  /** Sends what is due, a millisecond at a time. */
  #open(requestsPerSecond: number): () => void {
    const beganAtMs = performance.now();
    let sent = 0;
    const sendDue = (): void => {
      const nowMs = performance.now();
      while (!this.#isOver && this.#underWay < OPEN_IN_FLIGHT_MAX) {
        const dueAtMs = beganAtMs + Math.ceil((sent * SECOND_MS) / requestsPerSecond / GRID_MS) * GRID_MS;
        if (dueAtMs > nowMs) return;
        sent++;
        this.#send(dueAtMs, () => {});
      }
    };
    const timer = setInterval(sendDue, GRID_MS);
    return () => clearInterval(timer);
  }

  #send(dueAtMs: number, then: (isWell: boolean) => void): void {
    const { meter, request, sizeBytes } = this.#options;
    this.#underWay++;
    request((error, messages) => {
      this.#underWay--;
      if (error === null || error === undefined) meter.answered(dueAtMs, messages, messages * sizeBytes);
      else this.#note(error, dueAtMs);
      if (this.#isOver && this.#underWay === 0) this.#whenIdle();
      then(error === null || error === undefined);
    }, dueAtMs);
  }

  #note(error: unknown, dueAtMs: number): void {
    const { code, retryable } = error as Partial<TLedgerError>;
    const isPassing = retryable === true || code === 'OUTCOME_UNKNOWN' || code === 'DEADLINE_EXCEEDED';
    if (!isPassing && !this.#isOver) this.#fatal.abort(error);
    this.#options.meter.failed(dueAtMs, isErrorCode(code) ? code : 'INTERNAL');
  }

  async #rest(): Promise<void> {
    if (this.#underWay === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const idle = new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
    const late = new Promise<void>((_, reject) => {
      const why = () => `${this.#underWay} requests were not answered within ${REST_MS_MAX / 1_000} s`;
      timer = setTimeout(() => reject(new TLedgerError('DEADLINE_EXCEEDED', why())), REST_MS_MAX);
    });
    await Promise.race([idle, late]);
    clearTimeout(timer);
  }
}

/** Waits, or until `signal` is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
