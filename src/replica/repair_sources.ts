// Asks peers for what is missing, piece by piece and not faster than the disk and network of a serving node can bear, and
// gathers it verified.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import { type LogIndex, logIndex, type NodeId, type Term } from '../raft/types.ts';
import type { DamagedRange, LogPlace } from '../storage/damage_map.ts';
import type { LogTip } from '../storage/log_tip.ts';
import { wholeSnapshot } from '../storage/repair.ts';
import { RepairDraft } from '../storage/repair_draft.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';
import type { TermRuns } from '../storage/term_runs.ts';
import type { RecordsAnswer, SnapshotAnswer } from './repair_answers.ts';

/** Bytes of records or of a snapshot asked for at a time. */
export const REPAIR_PIECE_BYTES = 512 * 1024;
/** Bytes fetched a second at most. */
const REPAIR_BYTES_PER_SECOND = 64 * 1024 * 1024;

/** The other members, as the one that repairs itself reaches them. */
export interface RepairPeers {
  /** Whom to ask, as far as known; asked anew for every attempt. */
  list(): readonly NodeId[];
  /** @throws TLedgerError when there is no answer, or none that can be used. */
  fetchRecords(peer: NodeId, firstIndex: LogIndex, bytesMax: number): Promise<RecordsAnswer>;
  /** @param index null: the newest one that a log may begin behind. @returns null when the peer has none. */
  fetchSnapshot(peer: NodeId, index: LogIndex | null, offset: number): Promise<SnapshotAnswer | null>;
}

/** A peer does not hold the records any more, or not yet. */
export class NotHeld extends TLedgerError {
  /** They were cut off its log: it will never hold them again. */
  readonly isCut: boolean;

  constructor(message: string, isCut: boolean) {
    super('OFFSET_OUT_OF_RANGE', message);
    this.isCut = isCut;
  }
}

/** One peer as a source. */
export class RepairSource {
  readonly peer: NodeId;
  readonly #peers: RepairPeers;
  readonly #place: LogPlace;
  readonly #clock: Clock;
  readonly #pieceBytes: number;

  constructor(options: {
    readonly peer: NodeId;
    readonly peers: RepairPeers;
    readonly place: LogPlace;
    readonly clock: Clock;
    readonly pieceBytes: number;
  }) {
    this.peer = options.peer;
    this.#peers = options.peers;
    this.#place = options.place;
    this.#clock = options.clock;
    this.#pieceBytes = options.pieceBytes;
  }

  /** What the peer knows of the record before `firstIndex`, and how far it is committed. */
  look(firstIndex: LogIndex): Promise<RecordsAnswer> {
    return this.#peers.fetchRecords(this.peer, firstIndex, 0);
  }

  /**
   * The very records of a damaged range: verified to continue the last good one and to end with the checksum that is
   * known. The caller discards the draft.
   * @throws TLedgerError saying why this peer has not got them.
   */
  async sameRecords(base: LogTip, { after, upTo }: DamagedRange & { readonly upTo: LogTip }): Promise<RepairDraft> {
    const draft = await this.#gather(after, after.index === base.index, upTo.index);
    if (draft.tip.chainCrc === upTo.chainCrc && draft.tip.term === upTo.term && draft.tip.start === upTo.start) {
      return draft;
    }
    draft.discard();
    throw new TLedgerError('DATA_CORRUPTED', `${this.peer} holds other records up to ${upTo.index}`);
  }

  /** The records behind `after` up to `upTo`, which this peer knows to be committed. The caller discards the draft. */
  committedRecords(after: LogTip, isBase: boolean, upTo: LogIndex): Promise<RepairDraft> {
    return this.#gather(after, isBase, upTo);
  }

  /**
   * The last record that this log, good from its base up to `good`, has in common with the peer's: the same index and
   * term, and so the same bytes. Null when none that both still hold.
   */
  async commonIndex(base: LogTip, good: LogTip, runs: TermRuns): Promise<LogIndex | null> {
    const { baseIndex, lastIndex } = await this.look(logIndex(good.index + 1));
    let same = Math.max(base.index, baseIndex);
    let other = Math.min(good.index, lastIndex) + 1;
    const isSame = async (index: number): Promise<boolean> => {
      const { previous } = await this.look(logIndex(index + 1));
      const own = index === base.index ? base.term : runs.at(logIndex(index));
      return previous !== null && previous.term === own;
    };
    if (same >= other || !(await isSame(same))) return null;
    while (other - same > 1) {
      const middle = Math.floor((same + other) / 2);
      if (await isSame(middle)) same = middle;
      else other = middle;
    }
    return logIndex(same);
  }

  /**
   * Fetches a snapshot and makes it one of the list, every byte of it verified. One of the same index that is damaged
   * goes as soon as the peer has begun to give it.
   * @param index null: the newest one that a log may begin behind. @returns its tip; null when the peer has none.
   */
  async snapshot(snapshots: SnapshotStore, index: LogIndex | null): Promise<LogTip | null> {
    let answer = await this.#peers.fetchSnapshot(this.peer, index, 0);
    if (answer === null) return null;
    const { index: at, term } = answer;
    const held = snapshots.list().includes(at) ? wholeSnapshot(snapshots, at) : null;
    if (held !== null) return held;
    snapshots.remove(at);
    for (let sizeBytes = 0; ; ) {
      if (answer === null || answer.index !== at || answer.term !== term) throw this.#unusable(at);
      const progress = await snapshots.appendIncoming(at, term, sizeBytes, answer.piece);
      if (progress.isComplete) break;
      // A bad piece was dropped.
      if (progress.sizeBytes <= sizeBytes) throw this.#unusable(at);
      sizeBytes = progress.sizeBytes;
      await this.#rest(answer.piece.length);
      answer = await this.#peers.fetchSnapshot(this.peer, at, sizeBytes);
    }
    if (!snapshots.completeIncoming(at, term)) throw this.#unusable(at);
    const tip = wholeSnapshot(snapshots, at);
    if (tip === null) throw this.#unusable(at);
    return tip;
  }

  async #gather(after: LogTip, isBase: boolean, upTo: LogIndex): Promise<RepairDraft> {
    const draft = RepairDraft.begin(this.#place, after, { isBase });
    try {
      for (;;) {
        const first = logIndex(draft.tip.index + 1);
        const answer = await this.#peers.fetchRecords(this.peer, first, this.#pieceBytes);
        this.#checkContinued(answer, draft.tip);
        if (draft.tip.index >= upTo) return draft;
        const { records } = answer;
        draft.add(records, 0, records.length, upTo);
        if (draft.tip.index >= upTo) return draft;
        if (draft.tip.index < first) {
          throw new NotHeld(`${this.peer} has records up to ${answer.lastIndex}`, false);
        }
        await this.#rest(records.length);
      }
    } catch (error) {
      draft.discard();
      throw error;
    }
  }

  #checkContinued({ previous, baseIndex, lastIndex }: RecordsAnswer, tip: LogTip): void {
    if (previous === null) {
      const has = `${this.peer} has the records behind ${baseIndex} up to ${lastIndex}`;
      throw new NotHeld(`${has}, not those behind ${tip.index}`, baseIndex > tip.index);
    }
    if (previous.term === tip.term && previous.chainCrc === tip.chainCrc) return;
    throw new TLedgerError('DATA_CORRUPTED', `${this.peer} holds another record ${tip.index}`);
  }

  #unusable(index: LogIndex): TLedgerError {
    return new TLedgerError('MESSAGE_CORRUPTED', `the snapshot at ${index} that ${this.peer} gives cannot be used`);
  }

  #rest(bytes: number): Promise<void> {
    const ms = Math.ceil((bytes * 1_000) / REPAIR_BYTES_PER_SECOND);
    return new Promise((resolve) => this.#clock.after(ms, () => resolve()));
  }
}

/** The part of a log that a peer is known to have committed. */
export function committedOf({ committedIndex, committedTerm }: RecordsAnswer): { index: LogIndex; term: Term } {
  return { index: committedIndex, term: committedTerm };
}
