// Committed records of one replica, a page at a time, for people who want to see what lies there: verified as by any read,
// and where one is damaged the page says so and goes on.
import { messageOf, TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { type Damage, damageOf } from '../storage/damage.ts';

const PAGE_BYTES_MAX = 512 * 1024;

/** A record as it lies on disk, or why it is not shown. */
export type PagedRecord =
  | { readonly index: LogIndex; readonly bytes: Buffer; readonly damage: null }
  | { readonly index: LogIndex; readonly bytes: null; readonly damage: string };

/** What pages are made of. */
export interface PagedLog {
  readonly log: CommitLog;
  /** The last record that may be shown. */
  readonly applied: LogIndex;
  /** Told of what is found damaged. */
  readonly onDamage: (damage: Damage) => void;
}

/** Records of one replica. */
export interface RecordPage {
  readonly records: readonly PagedRecord[];
  /** Where the next page begins; behind `appliedIndex` when there is none. */
  readonly nextIndex: LogIndex;
  /** The first record held, and the last one known to be committed. */
  readonly firstIndex: LogIndex;
  readonly appliedIndex: LogIndex;
}

/**
 * Records from `from` on, or from the first one held when that is later.
 * @param countMax above 0.
 */
export function recordPage({ log, applied, onDamage }: PagedLog, from: LogIndex, countMax: number): RecordPage {
  const records: PagedRecord[] = [];
  let next = Math.max(from, log.firstIndex);
  for (let bytes = 0; next <= applied && records.length < countMax && bytes < PAGE_BYTES_MAX; next++) {
    const record = readOne(log, logIndex(next), onDamage);
    bytes += record.bytes?.length ?? 0;
    records.push(record);
  }
  return { records, nextIndex: logIndex(next), firstIndex: log.firstIndex, appliedIndex: applied };
}

/** The record at or behind a position of the log; the one behind `applied` when all lie before it. */
export function indexAtPosition(log: CommitLog, applied: LogIndex, position: number): LogIndex {
  let low: number = log.firstIndex;
  let high = applied + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (log.locate(logIndex(middle)).position >= position) high = middle;
    else low = middle + 1;
  }
  return logIndex(low);
}

function readOne(log: CommitLog, index: LogIndex, onDamage: PagedLog['onDamage']): PagedRecord {
  try {
    const { buffer, start, end } = log.read(index, index);
    return { index, bytes: buffer.subarray(start, end), damage: null };
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    const damage = damageOf(error);
    if (damage !== null) onDamage(damage);
    return { index, bytes: null, damage: messageOf(error) };
  }
}
