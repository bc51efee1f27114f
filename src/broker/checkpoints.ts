// How the applied state becomes durable: checkpoints, snapshots and installations, one after the other.
//
//   applied     ...... A ............ B ......................... C ....
//   asked for      checkpoint   snapshot at B   checkpoint
//   jobs        [store rows up to A][store rows up to B][write snapshot B][store rows up to C]
//
// A snapshot takes its rows when it is asked for and is made of what the store holds then, so the store has to stop
// there: checkpoints, which take their rows when they begin, wait until no such job is left.
import { assert } from '../base/assert.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { SnapshotMeta, SnapshotStore } from '../storage/snapshot_store.ts';
import type { StateChanges, StateEntry, StateStore } from '../storage/state_store.ts';
import { toSnapshotRows } from './snapshot_rows.ts';

/** Has files that are not read any more. */
export interface Cut {
  /** Removes them, durably. Not while a flush is under way. */
  removeUnread(): void;
}

/** What has changed up to an index and is to become durable. */
export interface Changes {
  readonly index: LogIndex;
  /** With the row that names the index. */
  readonly rows: StateChanges;
  /** What has files that nobody reads any more once the rows are stored: queues whose minimum lies beyond a file. */
  readonly cut: readonly Cut[];
}

/** What checkpoints are made of. */
export interface CheckpointParts {
  readonly store: StateStore;
  readonly snapshots: SnapshotStore;
  /** Makes the units, and the entries of the key index, durable that are written. */
  readonly flushQueues: () => Promise<void>;
  /** Makes the log durable up to an index. */
  readonly flushLog?: ((upTo: LogIndex) => Promise<void>) | undefined;
  /** The changes since the last call. */
  readonly take: () => Changes;
}

/** See the head of the file. */
export class Checkpoints {
  #failure: { readonly error: unknown } | null = null;
  readonly #parts: CheckpointParts;
  /** Jobs whose rows are taken, in their order. */
  readonly #fixed: Job<void>[] = [];
  /** Asked for and not begun: comes when no fixed job is left. */
  #checkpoint: Job<LogIndex> | null = null;
  #isWorking = false;
  #work: Promise<void> = Promise.resolve();
  /** What the store's tables are the result of. */
  #stored = logIndex(0);

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  /** Set for good once something went wrong half-way: the state in memory is not to be trusted or stored. */
  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  /** Something went wrong half-way; whoever wants anything stored from now on is told why. The first reason counts. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  /** The store was found to be, or was made, the result of the records up to `index`. */
  opened(index: LogIndex): void {
    this.#stored = index;
  }

  /** See `Broker.checkpoint`. */
  checkpoint(): Promise<LogIndex> {
    this.#checkpoint ??= job(async () => {
      this.#assertSound();
      const changes = this.#parts.take();
      await this.#store(changes);
      return changes.index;
    });
    const { result } = this.#checkpoint;
    this.#start();
    return result;
  }

  /** Takes the rows now; see `Broker.takeSnapshot`. */
  snapshot(meta: SnapshotMeta): Promise<void> {
    const changes = this.#parts.take();
    assert(changes.index === meta.tip.index, 'a snapshot is of what is applied');
    return this.#fix(async () => {
      await this.#store(changes);
      assert(this.#stored === meta.tip.index, 'the store stands where the snapshot is taken');
      await this.#parts.snapshots.write(meta, this.#snapshotRows());
    });
  }

  /** Everything stored is replaced by `rows`, which are the result of the records up to `index`. */
  replace(index: LogIndex, rows: Iterable<StateEntry>, cut: readonly Cut[]): Promise<void> {
    return this.#fix(async () => {
      await this.#guard(() => this.#parts.store.replace(rows));
      this.#stored = index;
      for (const one of cut) one.removeUnread();
    });
  }

  /** Resolves when everything asked for has come to its end, good or bad. */
  settled(): Promise<void> {
    return this.#work;
  }

  #fix(work: () => Promise<void>): Promise<void> {
    const fixed = job(async () => {
      this.#assertSound();
      await work();
    });
    this.#fixed.push(fixed);
    this.#start();
    return fixed.result;
  }

  /** Begins at once when nothing is under way. */
  #start(): void {
    if (!this.#isWorking) this.#work = this.#runAll();
  }

  async #runAll(): Promise<void> {
    this.#isWorking = true;
    for (let next = this.#next(); next !== null; next = this.#next()) await next.run();
    this.#isWorking = false;
  }

  #next(): Job<unknown> | null {
    const fixed = this.#fixed.shift();
    if (fixed !== undefined) return fixed;
    const checkpoint = this.#checkpoint;
    this.#checkpoint = null;
    return checkpoint;
  }

  async #store({ index, rows, cut }: Changes): Promise<void> {
    const isNothingNew = index === this.#stored && rows.size === 1 && cut.length === 0;
    if (isNothingNew) return;
    const { store, flushQueues, flushLog } = this.#parts;
    await this.#guard(async () => {
      await flushQueues();
      await flushLog?.(index);
      await store.write(rows, { sync: true });
      for (const one of cut) one.removeUnread();
    });
    this.#stored = index;
  }

  /** What a failing store throws is final; a snapshot that could not be written costs nothing but that snapshot. */
  async *#snapshotRows(): AsyncGenerator<StateEntry> {
    try {
      yield* toSnapshotRows(this.#parts.store.entries());
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  #assertSound(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}

interface Job<T> {
  readonly result: Promise<T>;
  /** Never rejects: the result does. */
  readonly run: () => Promise<void>;
}

function job<T>(work: () => Promise<T>): Job<T> {
  let run = async (): Promise<void> => {};
  const result = new Promise<T>((resolve, reject) => {
    run = () => work().then(resolve, reject);
  });
  return { result, run };
}
