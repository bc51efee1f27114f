// When the last message of a segment was stored: what its age is measured from. Store times never fall along the log.

import { hostBytesExtra, MESSAGE_STORE_TIMESTAMP_AT } from '../format/message_layout.ts';
import { magicAt, RECORD_HEADER_BYTES, recordMagic } from '../format/record.ts';
import { readUint64 } from '../format/uint64.ts';
import type { LogIndex } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';

/** Records looked at for a message, backwards from the end of a segment: no-ops, memberships and commands are few. */
const RECORDS_BACK_MAX = 64;

/** Store times at the ends of segments; each is read from the log once. */
export class StoreTimes {
  readonly #log: CommitLog;
  readonly #known = new Map<LogIndex, number | null>();

  constructor(log: CommitLog) {
    this.#log = log;
  }

  /**
   * Store time of the last message up to the end of a segment, in ms since the epoch.
   * @returns null when the segment ends without one: it goes with the next segment.
   * @throws TLedgerError DATA_CORRUPTED
   */
  of(boundary: LogIndex): number | null {
    const known = this.#known.get(boundary);
    if (known !== undefined) return known;
    const found = this.#find(boundary);
    this.#known.set(boundary, found);
    return found;
  }

  /** Forgets what was cut. */
  cutTo(base: LogIndex): void {
    for (const boundary of this.#known.keys()) if (boundary <= base) this.#known.delete(boundary);
  }

  #find(boundary: LogIndex): number | null {
    const first = Math.max(this.#log.firstIndex, boundary - RECORDS_BACK_MAX + 1);
    for (let index = boundary; index >= first; index--) {
      const { buffer, start } = this.#log.read(index as LogIndex, index as LogIndex);
      if (magicAt(buffer, start) !== recordMagic.message) continue;
      const body = start + RECORD_HEADER_BYTES;
      return readUint64(buffer, body + MESSAGE_STORE_TIMESTAMP_AT + hostBytesExtra(buffer, body, false));
    }
    return null;
  }
}
