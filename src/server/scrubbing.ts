// The background check of what a node stores, put together: on its files, at its configured pace, compared with what the
// other members say.
import type { Clock } from '../base/clock.ts';
import type { NodeConfig } from '../config/load.ts';
import type { Logger } from '../observe/logger.ts';
import type { LogIndex } from '../raft/types.ts';
import type { OpenGroup } from '../replica/open_group.ts';
import { type OtherCopy, Scrubber } from '../replica/scrubber.ts';
import type { Damage } from '../storage/damage.ts';
import type { Disk } from '../storage/disk.ts';
import type { StateStore } from '../storage/state_store.ts';

/** What a check works on. */
export interface ScrubbingParts {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  readonly store: StateStore;
  readonly group: Pick<OpenGroup, 'log' | 'broker'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly askOthers: (index: LogIndex) => Promise<readonly OtherCopy[]>;
  /** Told of what the replica has to act on. */
  readonly onDamage: (damage: Damage) => void;
}

/** A scrubber for an open group; it waits for `start`. @throws TLedgerError STORAGE_FAILED */
export function scrubberOf(
  config: Pick<NodeConfig, 'scrubIntervalMs' | 'scrubBytesPerSecond' | 'segmentSizeBytes'>,
  { store, group, logger, onDamage, ...parts }: ScrubbingParts,
): Scrubber {
  return new Scrubber({
    ...parts,
    log: group.log,
    broker: group.broker,
    segmentSizeBytes: config.segmentSizeBytes,
    intervalMs: config.scrubIntervalMs,
    bytesPerSecond: config.scrubBytesPerSecond,
    checkState: async () => {
      // Its entries are added up on the way.
      for await (const _ of store.entries());
    },
    onFinding: (finding) => {
      if (finding.kind === 'log' || finding.kind === 'snapshot' || finding.kind === 'derived') onDamage(finding);
      // Nobody can tell which of the two is right, and both go on: people have to look.
      if (finding.kind === 'divergence')
        logger.error('replicas differ', { index: finding.index, reason: finding.reason });
    },
    onEvent: (message) => logger.info(message),
    onWarning: (message) => logger.warn(message),
  });
}
