// The bytes of an append message are checked before consensus sees it.
import { TLedgerError } from '../base/errors.ts';
import { membershipsIn } from '../format/membership.ts';
import type { AppendRequest, Term } from '../raft/types.ts';
import { type CommitLog, verifyRecords } from '../storage/commit_log.ts';
import type { RecordBytes } from './types.ts';

/**
 * Completes an append message with the terms of its records and the memberships among them, read from their bytes.
 * @param currentTerm messages of earlier terms cannot accuse this log of anything.
 * @returns null when the records are damaged: the message then counts as lost, and the leader sends it again.
 * @throws TLedgerError DATA_CORRUPTED when this log, with the same term at the same index, holds other bytes than the
 * leader's: the replica must stop.
 */
export function checkAppend(
  log: CommitLog,
  currentTerm: Term,
  message: AppendRequest,
  records: RecordBytes,
  warn: (message: string) => void,
): AppendRequest | null {
  const { prevIndex, prevTerm } = message;
  const isKnown = prevIndex > 0 && prevIndex >= log.base.index && prevIndex <= log.lastIndex;
  if (message.term >= currentTerm && isKnown && log.termAt(prevIndex) === prevTerm) {
    if (log.chainAt(prevIndex) !== records.prevChain) {
      throw new TLedgerError('DATA_CORRUPTED', `the log differs from the leader's at or before index ${prevIndex}`);
    }
  }
  try {
    const { buffer, start, end, prevChain } = records;
    const verified = verifyRecords(buffer, start, end, { prevIndex, prevTerm, prevChain });
    if (verified.lastIndex === message.lastIndex) {
      const memberships = verified.hasMembership ? membershipsIn(buffer, start, end) : [];
      const { type, from, to, term, lastIndex, commit, round } = message;
      const { runs } = verified;
      return { type, from, to, term, prevIndex, prevTerm, lastIndex, commit, runs, memberships, round };
    }
    warn(`an append up to ${message.lastIndex} from ${message.from} ends at ${verified.lastIndex}`);
  } catch (error) {
    if (!(error instanceof TLedgerError)) throw error;
    warn(`an append from ${message.from} was dropped: ${error.message}`);
  }
  return null;
}
