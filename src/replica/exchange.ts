// Where messages meet bytes: what leaves gets its records or its piece of a snapshot, what arrives is checked, and written
// or stored while the message that brought it is in hand.
import { assert } from '../base/assert.ts';
import type { FollowerAppend, LogIndex, RaftMessage, SnapshotChunk, Term } from '../raft/types.ts';
import { type CommitLog, offsetOfRecord } from '../storage/commit_log.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import { checkAppend } from './incoming.ts';
import type { SnapshotTraffic } from './snapshot_traffic.ts';
import type { PeerTransport, RecordBytes } from './types.ts';

interface ExchangeOptions {
  readonly log: CommitLog;
  readonly transport: PeerTransport;
  readonly traffic: SnapshotTraffic;
  /** Damage was found while something was read for a peer. */
  readonly onDamage: (damage: Damage) => void;
  /** Something odd that the replica can live with, for the log. */
  readonly onWarning: (message: string) => void;
}

const NO_RECORDS = Buffer.alloc(0);

/** The bytes of one replica's messages. */
export class Exchange {
  readonly #options: ExchangeOptions;
  /** Of the append or snapshot message in hand. */
  #incoming: RecordBytes | null = null;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /**
   * Takes a message in hand, until `release`.
   * @returns the message as consensus is to see it, or null when it counts as lost.
   * @throws TLedgerError DATA_CORRUPTED; see `checkAppend`.
   */
  take(message: RaftMessage, bytes: RecordBytes | null, currentTerm: Term): RaftMessage | null {
    this.#incoming = bytes;
    if (message.type !== 'append' && message.type !== 'snapshot') return message;
    assert(bytes !== null, 'records, or a piece of a snapshot, come with the message about them');
    if (message.type === 'snapshot') return message;
    const { log, onWarning } = this.#options;
    return checkAppend(log, currentTerm, message, bytes, onWarning);
  }

  release(): void {
    this.#incoming = null;
  }

  /** Writes records of the append in hand. @param appliedIndex nothing up to there is ever removed. */
  write({ truncateAfter, firstIndex, lastIndex }: FollowerAppend, appliedIndex: LogIndex): void {
    const { log } = this.#options;
    const { buffer, start, end } = this.#bytesInHand();
    assert(truncateAfter === null || truncateAfter >= appliedIndex, 'what is applied is never truncated');
    if (truncateAfter !== null) log.truncateAfter(truncateAfter);
    log.appendSealed(buffer, offsetOfRecord(buffer, start, end, firstIndex), end);
    assert(log.lastIndex === lastIndex, 'a follower writes exactly the records consensus accepted');
  }

  /** Stores the piece of a snapshot in hand. */
  store(chunk: SnapshotChunk): void {
    this.#options.traffic.store(chunk, this.#bytesInHand());
  }

  /** What cannot be read for it, because it is damaged, counts as lost: nobody gets it from this replica. */
  send(message: RaftMessage): void {
    try {
      this.#send(message);
    } catch (error) {
      const damage = damageOf(error);
      if (damage === null) throw error;
      this.#options.onDamage(damage);
    }
  }

  #send(message: RaftMessage): void {
    const { transport, traffic, log } = this.#options;
    if (message.type === 'snapshot') {
      const piece = traffic.read(message);
      if (piece !== null) transport.send(message, piece);
    } else if (message.type !== 'append') {
      transport.send(message, null);
    } else if (message.lastIndex > message.prevIndex) {
      transport.send(message, log.read((message.prevIndex + 1) as LogIndex, message.lastIndex));
    } else {
      const prevChain = log.chainAt(message.prevIndex);
      transport.send(message, { buffer: NO_RECORDS, start: 0, end: 0, prevChain });
    }
  }

  #bytesInHand(): RecordBytes {
    assert(this.#incoming !== null, 'bytes are stored while the message that brought them is in hand');
    return this.#incoming;
  }
}
