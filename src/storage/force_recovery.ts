// The last resort for a group that has lost its majority for good: one survivor is told that it belongs to another group
// from now on. What only the lost ones held is lost; two survivors treated this way are two groups. Offline: the caller
// makes sure that no process uses the directory (the lock of the state's database).
import { TLedgerError } from '../base/errors.ts';
import { blankRecord, indexAt, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt, termAt } from '../format/record.ts';
import { type HardState, type LogIndex, logIndex, type NodeId, type Term, term } from '../raft/types.ts';
import { CommitLog, type LogTip, type RecoveryReport } from './commit_log.ts';
import type { Disk } from './disk.ts';
import { HardStateFile } from './hard_state.ts';
import { SnapshotStore } from './snapshot_store.ts';

const READ_BYTES_MAX = 1024 * 1024;

/** Where a survivor's data lies. */
export interface SurvivorOptions {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  readonly segmentSizeBytes: number;
  /** Units in one file of the log index; only tests set it. */
  readonly indexUnitsPerFile?: number;
}

/** A membership record of the log, in a form that storage does not look into. */
export interface MembershipRecord {
  readonly index: LogIndex;
  readonly term: Term;
  readonly body: Buffer;
}

/** What a survivor has. What was committed is not known from the log alone: the state tells what was applied. */
export interface SurvivorDescription {
  /** Term and vote: others may have acknowledged records of later terms to each other. */
  readonly hardState: HardState;
  /** The last record that is not in the log any more; a snapshot stands for it and those before. */
  readonly base: LogTip;
  /** The last record held; all of it is durable. */
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** Membership records that are held, ascending: the last one is in force. None: that of the base, or of the configuration. */
  readonly memberships: readonly MembershipRecord[];
  readonly snapshots: readonly LogIndex[];
  readonly recovery: RecoveryReport;
}

/**
 * Looks at what a survivor has. The log is recovered as by any start: an unfinished tail is cut, nothing else changes.
 * @throws TLedgerError DATA_CORRUPTED when there is no group, or records that were vouched for are damaged;
 * STORAGE_FAILED.
 */
export function describeSurvivor(options: SurvivorOptions): SurvivorDescription {
  return withSurvivor(options, (log, hardState) => {
    const { base, lastIndex, lastTerm, recovery } = log;
    const snapshots = SnapshotStore.open(options);
    try {
      return {
        hardState: hardState.state,
        base,
        lastIndex,
        lastTerm,
        memberships: membershipsOf(log),
        snapshots: snapshots.list(),
        recovery,
      };
    } finally {
      snapshots.close();
    }
  });
}

/**
 * Appends a membership record, so that `nodeId` goes on by itself as a member of what `body` says. Its term is one that
 * the survivor has not taken part in; term and vote are durable before the record. Durable when it returns; interrupted,
 * it may be repeated: where the record is the last one already, nothing is appended.
 * @returns where the record is. @throws as `describeSurvivor` does.
 */
export function forceMembership(options: SurvivorOptions & { readonly nodeId: NodeId; readonly body: Buffer }): {
  readonly index: LogIndex;
  readonly term: Term;
} {
  const { nodeId, body } = options;
  return withSurvivor(options, (log, hardState) => {
    const { state } = hardState;
    const isDone = state.vote === nodeId && log.lastTerm === state.term && isLast(log, body);
    if (isDone) return { index: log.lastIndex, term: log.lastTerm };
    const forced = term(Math.max(state.term, log.lastTerm) + 1);
    hardState.save({ term: forced, vote: nodeId });
    const record = blankRecord(recordMagic.membership, body);
    const { lastIndex } = log.appendBlank(record, 0, record.length, forced);
    return { index: lastIndex, term: forced };
  });
}

/** Closing the log flushes it, and fails if that fails. */
function withSurvivor<T>(options: SurvivorOptions, work: (log: CommitLog, hardState: HardStateFile) => T): T {
  const { disk, directory } = options;
  const path = `${directory}/hardstate`;
  if (!disk.exists(path)) throw new TLedgerError('DATA_CORRUPTED', `${path} is missing: no group lies here`);
  const hardState = HardStateFile.open(options);
  try {
    const log = CommitLog.open(options);
    try {
      return work(log, hardState);
    } finally {
      log.close();
    }
  } finally {
    hardState.close();
  }
}

function membershipsOf(log: CommitLog): MembershipRecord[] {
  const found: MembershipRecord[] = [];
  for (let first: number = log.firstIndex; first <= log.lastIndex; ) {
    const { lastIndex } = log.fit(logIndex(first), READ_BYTES_MAX);
    const { buffer, start, end } = log.read(logIndex(first), lastIndex);
    for (let at = start; at < end; at += sizeAt(buffer, at)) {
      if (magicAt(buffer, at) !== recordMagic.membership) continue;
      const body = Buffer.from(buffer.subarray(at + RECORD_HEADER_BYTES, at + sizeAt(buffer, at)));
      found.push({ index: indexAt(buffer, at), term: termAt(buffer, at), body });
    }
    first = lastIndex + 1;
  }
  return found;
}

/** Whether the log ends with a membership record of that body. */
function isLast(log: CommitLog, body: Buffer): boolean {
  if (log.lastIndex === log.base.index) return false;
  const { buffer, start, end } = log.read(log.lastIndex, log.lastIndex);
  return (
    magicAt(buffer, start) === recordMagic.membership && buffer.subarray(start + RECORD_HEADER_BYTES, end).equals(body)
  );
}
