// What was found in the data directory of a stopped node, as a document.
import type { LogGap } from '../storage/offline.ts';
import type { Survey } from '../storage/offline_survey.ts';
import { isSound, type OfflineDirectory, type OfflineOptions, surveyDirectory, withOffline } from './offline.ts';

/** Damage outside of the log's records. */
export interface ReportedFault {
  /** `snapshot`, `log index`, `consume queue`, `key index`, `state`, or `file` for the small ones. */
  readonly what: string;
  readonly file: string;
  readonly reason: string;
}

/** What a directory holds. Indexes are null where nothing says so any more. */
export interface DirectoryReport {
  readonly directory: string;
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: string;
  readonly segmentSizeBytes: number;
  readonly baseIndex: number | null;
  readonly firstIndex: number;
  /** The last record that can be read. */
  readonly lastIndex: number;
  /** The last record before which nothing is missing. */
  readonly wholeIndex: number;
  readonly flushedIndex: number | null;
  readonly appliedIndex: number | null;
  readonly records: number;
  readonly messages: number;
  readonly bytes: number;
  readonly gaps: readonly LogGap[];
  readonly findings: readonly ReportedFault[];
  readonly snapshots: readonly number[];
  /** Nothing is damaged; there may be an unfinished write at the end. */
  readonly sound: boolean;
}

/** Looks at everything in a directory and changes nothing. @throws as `withOffline`. @param onProgress told of bytes read. */
export function reportOn(options: OfflineOptions, onProgress: (bytes: number) => void): Promise<DirectoryReport> {
  return withOffline(options, async (opened) => reportOf(opened, await surveyDirectory(opened, onProgress)));
}

/** The document. */
export function reportOf({ group, tables }: OfflineDirectory, survey: Survey): DirectoryReport {
  const { cluster, group: name, nodeId, segmentSizeBytes } = group.identity;
  const { records, messages, bytes, whole, last, gaps } = survey;
  return {
    ...{ directory: group.directory, cluster, group: name, nodeId, segmentSizeBytes },
    baseIndex: group.base?.index ?? null,
    firstIndex: (group.base?.index ?? 0) + 1,
    lastIndex: last.index,
    wholeIndex: whole.index,
    flushedIndex: group.flushed?.index ?? null,
    appliedIndex: tables?.applied ?? null,
    ...{ records, messages, bytes, gaps },
    findings: survey.findings.map((finding) => ({
      what: finding.kind === 'derived' ? finding.what : finding.kind,
      file: finding.file,
      reason: finding.reason,
    })),
    snapshots: survey.snapshots.map(({ tip }) => tip.index),
    sound: isSound(survey),
  };
}
