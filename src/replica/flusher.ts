// Decides when written records become durable. One flush covers all that was written before it began; the next begins
// when it ends, so flushes grow with the load and need no timer.
import type { Clock } from '../base/clock.ts';
import type { LogIndex, Term } from '../raft/types.ts';

/** `sync`: a replica vouches for a record after fdatasync. `async`: after the write; fdatasync follows at intervals. */
export type FlushPolicy = 'sync' | 'async';

/** How long `async` leaves written records to the page cache. */
const ASYNC_FLUSH_INTERVAL_MS = 100;

interface FlushableLog {
  readonly unflushedBytes: number;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  flush(): Promise<{ readonly index: LogIndex; readonly term: Term }>;
}

interface FlusherOptions {
  readonly log: FlushableLog;
  readonly policy: FlushPolicy;
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

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  /** When the flush under way began (monotonic); null when none is. */
  get flushingSinceMs(): number | null {
    return this.#sinceMs;
  }

  /**
   * To be called after each write.
   * @returns what may be vouched for at once (policy `async`), or null.
   */
  written(): { readonly index: LogIndex; readonly term: Term } | null {
    const { log, policy } = this.#options;
    if (this.#running === null && !this.#stopped && log.unflushedBytes > 0) this.#running = this.#run();
    return policy === 'async' ? { index: log.lastIndex, term: log.lastTerm } : null;
  }

  /** Resolves when everything written so far is durable and no flush is under way. */
  async whenIdle(): Promise<void> {
    await this.#running;
  }

  /** Starts no further flush; resolves when a running one has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log, policy, clock, onDurable, onFailure } = this.#options;
    try {
      while (log.unflushedBytes > 0 && !this.#stopped) {
        const durable = await this.#flush();
        if (policy === 'sync') onDurable(durable.index, durable.term);
        else await new Promise<void>((resolve) => clock.after(ASYNC_FLUSH_INTERVAL_MS, resolve));
      }
    } catch (error) {
      onFailure(error);
    } finally {
      this.#running = null;
    }
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
