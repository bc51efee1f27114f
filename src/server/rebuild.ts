// `tledger index rebuild`: everything derived, made anew from the log of a stopped node.
import { TLedgerError } from '../base/errors.ts';
import { logIndex } from '../raft/types.ts';
import { refuseUnderRepair } from '../storage/repair_mark.ts';
import { type OfflineOptions, surveyDirectory, withOffline } from './offline.ts';
import { knownCommitted, rebuildOffline } from './repair.ts';

/** What was made. */
export interface RebuiltDirectory {
  readonly directory: string;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** State and queues are the result of the records up to here. */
  readonly appliedIndex: number;
  readonly topics: number;
  readonly bytesCut: number;
}

/**
 * Rebuilds the log index, the queues' units, the key index and the state.
 * @param options.upTo the last record that is known to be committed, when nothing here says so (the state is lost).
 * @throws as `withOffline`; DATA_CORRUPTED when the log itself is damaged: nothing is changed then; INVALID_ARGUMENT.
 */
export function rebuildDirectory(
  options: OfflineOptions & { readonly upTo: number | null; readonly onProgress: (bytes: number) => void },
): Promise<RebuiltDirectory> {
  return withOffline(options, async (opened) => {
    const survey = await surveyDirectory(opened, options.onProgress);
    refuseUnderRepair(opened.group.disk, opened.group.directory);
    const gap = survey.gaps.find(({ isVouched }) => isVouched);
    if (gap !== undefined) {
      throw new TLedgerError(
        'DATA_CORRUPTED',
        `the log is damaged from record ${gap.firstIndex} on (${gap.file}: ${gap.reason}): nothing can be rebuilt from it, see tledger log repair`,
      );
    }
    const known = knownCommitted(opened, survey);
    const { upTo } = options;
    if (upTo !== null && (upTo < known || upTo > survey.whole.index)) {
      throw new TLedgerError('INVALID_ARGUMENT', `up to ${upTo}: ${known} to ${survey.whole.index} is possible`);
    }
    const rebuilt = await rebuildOffline(opened, survey, upTo === null ? null : logIndex(upTo));
    const { directory, base } = opened.group;
    return { directory, firstIndex: (base?.index ?? 0) + 1, ...rebuilt };
  });
}
