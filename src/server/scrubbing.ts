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
  readonly parts: Pick<OpenGroup, 'log' | 'broker'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Who asks the other members. */
  readonly others: () => { otherCopies(index: LogIndex): Promise<readonly OtherCopy[]> };
  /** Told of what it has to act on. */
  readonly replica: { damaged(damage: Damage): void };
}

/** A scrubber for an open group; it waits for `start`. @throws TLedgerError STORAGE_FAILED */
export function scrubberOf(
  config: Pick<NodeConfig, 'scrubIntervalMs' | 'scrubBytesPerSecond' | 'segmentSizeBytes'>,
  { disk, directory, store, parts, clock, logger, others, replica }: ScrubbingParts,
): Scrubber {
  return new Scrubber({
    ...{ disk, directory, clock, log: parts.log, broker: parts.broker },
    segmentSizeBytes: config.segmentSizeBytes,
    intervalMs: config.scrubIntervalMs,
    bytesPerSecond: config.scrubBytesPerSecond,
    checkState: async () => {
      // Its entries are added up on the way.
      for await (const _ of store.entries());
    },
    onFinding: (finding) => {
      if (finding.kind === 'log' || finding.kind === 'snapshot') replica.damaged(finding);
      if (finding.kind === 'derived' && finding.isMended !== true) replica.damaged(finding);
      // Nobody can tell which of the two is right, and both go on: people have to look.
      if (finding.kind === 'divergence')
        logger.error('replicas differ', { index: finding.index, reason: finding.reason });
    },
    askOthers: (index) => others().otherCopies(index),
    onEvent: (message) => logger.info(message),
    onWarning: (message) => logger.warn(message),
  });
}
