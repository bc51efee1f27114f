// What a broker is made of, and what it is told of its surroundings.
import type { PhysicalOffset } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { ColdLog } from '../storage/cold_reads.ts';
import type { Damage } from '../storage/damage.ts';
import type { Disk } from '../storage/disk.ts';
import type { KeyIndexLayout } from '../storage/key_index_file.ts';
import type { LogTip } from '../storage/log_tip.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';
import type { StateStore } from '../storage/state_store.ts';
import type { BrokerLimits } from './limits.ts';
import type { ReadLog } from './pull.ts';

/** How messages are made findable by key. */
export interface KeyIndexParts {
  /** The group's `keyindex` directory. */
  readonly directory: string;
  /** Only tests choose another one. */
  readonly layout?: KeyIndexLayout | undefined;
  /** Where an applied record ends in the log, or the log's base. */
  readonly endOf: (index: LogIndex) => PhysicalOffset;
  /**
   * The record that begins at a position, verified.
   * @returns null when none begins there. @throws TLedgerError DATA_CORRUPTED when it is damaged.
   */
  readonly recordAt: (position: PhysicalOffset) => RecordBytes | null;
}

/** One record in a buffer. */
export interface RecordBytes {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/** What a broker stands on. */
export interface BrokerOptions {
  readonly disk: Disk;
  /** The group's `consumequeue` directory; made when the first message arrives. */
  readonly directory: string;
  /** The group's state tables; the broker closes it. */
  readonly store: StateStore;
  /** Holds the snapshot at `base`, and takes new ones. The owner closes it after the broker, or before to end a write. */
  readonly snapshots: SnapshotStore;
  /** The record just before the first one that the log holds; `EMPTY_TIP` for a log that was never cut. */
  readonly base: LogTip;
  /** Reads the log where it holds committed records; asked only for ranges inside one segment. */
  readonly readLog: ReadLog;
  /** The same log for `read`, which must not block; without it `read` answers as `pull` does. */
  readonly coldLog?: ColdLog;
  /** What is wrong with the record of the log at a position, null when nothing is: asked when a read makes no sense. */
  readonly damageAt?: (position: PhysicalOffset) => Damage | null;
  readonly segmentSizeBytes: number;
  /**
   * Makes the log durable up to an applied index. A follower may apply what the others made durable before it did so
   * itself; the checkpoint waits for this, so that after a power failure the state is never ahead of the log.
   */
  readonly flushLog?: (upTo: LogIndex) => Promise<void>;
  /** Without it messages cannot be found by key; files of an index that was there are removed. */
  readonly keyIndex?: KeyIndexParts | undefined;
  readonly limits?: Partial<BrokerLimits>;
  /** Where the log ends: a state that is ahead of it means a log that lost records, which no rebuilding may cover up. */
  readonly lastIndex?: LogIndex;
  /** Why state and queues are to be made anew from the log, though they may be readable; undefined: they are not. */
  readonly distrust?: string | undefined;
  /** Told when stored state was given up and is made anew from the log. */
  readonly onWarning?: (message: string) => void;
}
