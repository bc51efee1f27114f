// The room that a replica takes: what of the log is kept, and how full the disk is.
import type { LogIndex } from '../raft/types.ts';
import { type DiskLevel, type DiskStatus, DiskWatch } from './disk_watch.ts';
import type { ReplicaOptions } from './options.ts';
import { Retention } from './retention.ts';

interface SpaceOptions extends Omit<ReplicaOptions, 'onFailure'> {
  /** Whether the replica takes part; while it installs a snapshot nothing is cut. */
  readonly isRunning: () => boolean;
  /** See `Retention`. */
  readonly retainFrom: () => LogIndex;
  readonly turn: (task: () => void) => void;
  readonly onCut: (base: LogIndex) => void;
  readonly onFailure: (error: unknown) => void;
}

/** See the head of the file. */
export class Space {
  readonly retention: Retention;
  readonly #disk: DiskWatch | null;

  constructor(options: SpaceOptions) {
    const { retentionBytes, retentionMs = 0, space } = options;
    this.retention = new Retention({
      ...options,
      bytesMax: retentionBytes,
      ageMsMax: retentionMs,
      mindsDisk: (space?.cleanPercent ?? 0) > 0,
      needsRoom: () => this.isAt('clean'),
    });
    const onLook = (): void => {
      if (options.isRunning() && this.isAt('clean')) this.retention.look();
    };
    this.#disk = space === undefined ? null : new DiskWatch({ ...options, ...space, onLook });
  }

  /** Whether the disk is at least so full; never when nobody looks. */
  isAt(level: DiskLevel): boolean {
    return this.#disk?.isAt(level) === true;
  }

  /** Null when nobody looks. */
  get status(): DiskStatus | null {
    return this.#disk?.status ?? null;
  }

  /** Looks at ages and at the disk from now on. */
  start(): void {
    this.retention.start();
    this.#disk?.start();
  }

  /** Looks no more; resolves when nothing is written for it. */
  async stop(): Promise<void> {
    this.retention.stop();
    await this.#disk?.stop();
  }

  /** The replica failed. */
  abandon(): void {
    this.retention.stop();
    this.#disk?.abandon();
  }
}
