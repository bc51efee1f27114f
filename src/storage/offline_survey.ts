// Everything that can be said of the files of a stopped node: what is whole, what is damaged, what is only unfinished.
import { type LogIndex, logIndex } from '../raft/types.ts';
import { EMPTY_TIP } from './log_tip.ts';
import type { WalkTip } from './log_walk.ts';
import { type LogGap, type OfflineGroup, walkLog } from './offline.ts';
import { unfinishedRepair } from './repair_mark.ts';
import { checkSnapshots } from './scrub.ts';
import { type RecordCounts, RecordUnits } from './scrub_derived.ts';
import { type Pace, unhurried } from './scrub_pace.ts';
import { damagedSlots } from './scrub_slots.ts';
import type { SnapshotDigest } from './scrub_snapshot.ts';
import type { Finding } from './scrub_types.ts';

/** What the state says, where it can be read. */
export interface KnownState {
  readonly applied: LogIndex;
  /** The lowest offset of a queue whose unit must be there; null when the queue is not known. */
  readonly queueMin: (topic: string, queueId: number) => number | null;
}

/** See the head of the file. */
export interface Survey extends RecordCounts {
  /** The last record before the first gap, and the last one of all that can be read. */
  readonly whole: WalkTip;
  readonly last: WalkTip;
  /** Where records are missing or damaged: what was vouched for, and (last, if at all) a write that was not finished. */
  readonly gaps: readonly LogGap[];
  /** Damage outside of the log. */
  readonly findings: readonly Finding[];
  readonly snapshots: readonly SnapshotDigest[];
}

/**
 * Looks at everything.
 * @param state null when it cannot be read: then queues are not looked at.
 */
export async function surveyOffline(
  group: OfflineGroup,
  state: KnownState | null,
  onProgress: (bytes: number) => void,
): Promise<Survey> {
  const { disk, directory } = group;
  const pace: Pace = {
    take: (sizeBytes) => {
      onProgress(sizeBytes);
      return unhurried.take(sizeBytes);
    },
  };
  const gaps: LogGap[] = [];
  const findings: Finding[] = [];
  const onFinding = (finding: Finding): void => void findings.push(finding);
  const units = new RecordUnits(
    {
      ...{ disk, directory, segmentSizeBytes: group.identity.segmentSizeBytes },
      base: () => group.base ?? EMPTY_TIP,
      queueMin: (topic, queueId) => state?.queueMin(topic, queueId) ?? null,
      unitsUpTo: { logIndex: group.mark?.index ?? logIndex(0), queues: state?.applied ?? logIndex(0) },
    },
    pace,
    onFinding,
  );
  const { whole, last } = await walkLog(group, {
    pace,
    onRecord: (buffer, at, position) => units.add(buffer, at, position),
    onGap: (gap) => gaps.push(gap),
    pieceDone: () => units.compareIfFull(),
  });
  await units.compare();
  const snapshots = await checkSnapshots(disk, directory, pace, onFinding);
  findings.push(...damagedSlots(disk, directory));
  const unfinished = unfinishedRepair(disk, directory);
  if (unfinished !== null) findings.push(unfinished);
  return { ...units.counts, whole, last, gaps, findings, snapshots };
}
