// Decides when written records become durable. One flush covers all that was written before it began; the next begins
// when it ends, so flushes grow with the load and need no timer.
//
//   async:   written ........ vouched for at once            flushed, at intervals
//            written, flushFirst ....... flushed at once ... vouched for, with what was written behind it
//            much written .. vouched for at once, and flushed at once, for a leader takes only so much without a flush
import type { Clock } from '../base/clock.ts';
import type { LogIndex, Term } from '../raft/types.ts';

/** `sync`: a replica vouches for a record after fdatasync. `async`: after the write; fdatasync follows at intervals. */
export type FlushPolicy = 'sync' | 'async';

/** How long `async` leaves written records to the page cache, unless the settings say otherwise. */
const ASYNC_FLUSH_INTERVAL_MS = 100;

interface FlushableLog {
  readonly unflushedBytes: number;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** See `CommitLog.firstToFlush`. */
  readonly firstToFlush: LogIndex | null;
  termAt(index: LogIndex): Term;
  flush(): Promise<{ readonly index: LogIndex; readonly term: Term }>;
}

interface FlusherOptions {
  readonly log: FlushableLog;
  readonly policy: FlushPolicy;
  /** With policy `async`: how long written records are left to the page cache; 100 ms by default. */
  readonly intervalMs?: number | undefined;
  /** Bytes written but not flushed that end the pause between two flushes. */
  readonly hurryBytes: number;
  readonly clock: Clock;
  /** Records up to `index` may be vouched for from now on. */
  readonly onDurable: (index: LogIndex, term: Term) => void;
  /** A flush begins, or has come back. */
  readonly onFlush: () => void;
  readonly onFlushed: () => void;
  /** A flush failed: final. */
  readonly onFailure: (error: unknown) => void;
}

/** Flushes of one log. */
export class Flusher {
  readonly #options: FlusherOptions;
  #running: Promise<void> | null = null;
  #stopped = false;
  #sinceMs: number | null = null;
  /** Ends the pause between two flushes, if there is one. */
  #wake: () => void = () => {};
  /** How many wait for the end of all flushes. */
  #hurries = 0;

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  /** When the flush under way began (monotonic); null when none is. */
  get flushingSinceMs(): number | null {
    return this.#sinceMs;
  }

  /**
   * To be called after each write.
   * @returns what may be vouched for at once (policy `async`), or null. Of a record that asks for its flush, and of
   * those behind it, nobody hears before that.
   */
  written(): { readonly index: LogIndex; readonly term: Term } | null {
    const { log, policy } = this.#options;
    if (this.#running === null && !this.#stopped && log.unflushedBytes > 0) this.#running = this.#run();
    if (policy === 'sync') return null;
    if (this.#isPressing) this.#wake();
    const { firstToFlush } = log;
    if (firstToFlush === null) return { index: log.lastIndex, term: log.lastTerm };
    const index = (firstToFlush - 1) as LogIndex;
    return { index, term: log.termAt(index) };
  }

  /** Resolves when everything written so far is durable and no flush is under way. */
  async whenIdle(): Promise<void> {
    this.#hurries++;
    this.#wake();
    await this.#running;
    this.#hurries--;
  }

  /** Starts no further flush; resolves when a running one has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log, policy, onDurable, onFailure } = this.#options;
    try {
      while (log.unflushedBytes > 0 && !this.#stopped) {
        const durable = await this.#flush();
        onDurable(durable.index, durable.term);
        if (policy === 'async') await this.#rest();
      }
    } catch (error) {
      onFailure(error);
    } finally {
      this.#running = null;
    }
  }

  /** Whether something written asks for its flush, or much is. */
  get #isPressing(): boolean {
    const { log, hurryBytes } = this.#options;
    return log.firstToFlush !== null || log.unflushedBytes >= hurryBytes;
  }

  /** The pause between two flushes; none while somebody waits for the next one. */
  async #rest(): Promise<void> {
    const { clock, intervalMs = ASYNC_FLUSH_INTERVAL_MS } = this.#options;
    if (this.#stopped || this.#hurries > 0 || this.#isPressing) return;
    await new Promise<void>((resolve) => {
      const timer = clock.after(intervalMs, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = () => {};
  }

  async #flush(): Promise<{ readonly index: LogIndex; readonly term: Term }> {
    const { log, clock, onFlush, onFlushed } = this.#options;
    this.#sinceMs = clock.monotonicMs();
    onFlush();
    try {
      return await log.flush();
    } finally {
      this.#sinceMs = null;
      onFlushed();
    }
  }
}
