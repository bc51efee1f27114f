// Records fetched from a peer, gathered in a file that nobody takes for a log: only when all of them are verified do they
// go where they belong. A draft of an earlier process is of no use, and is begun anew.
import { TLedgerError } from '../base/errors.ts';
import { chainCrcAt, physicalOffset, positionAt, sizeAt, termAt } from '../format/record.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import type { LogPlace } from './damage_map.ts';
import type { DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import { FILLER_BYTES, Segments } from './segment.ts';
import { offsetOfRecord, verifyRecords } from './verify.ts';

/** Records that follow each other on from one that is known. */
export class RepairDraft {
  readonly #place: LogPlace;
  readonly #file: DiskFile;
  readonly #pieces: { readonly at: number; readonly sizeBytes: number }[] = [];
  #sizeBytes = 0;
  /** The last record gathered; the one that they follow, before the first. */
  tip: LogTip;
  readonly #isBase: boolean;

  private constructor(place: LogPlace, file: DiskFile, after: LogTip, isBase: boolean) {
    this.#place = place;
    this.#file = file;
    this.tip = after;
    this.#isBase = isBase;
  }

  /** @param isBase whether `after` is the base of the log they are for: the first one then begins a segment. */
  static begin(place: LogPlace, after: LogTip, { isBase }: { readonly isBase: boolean }): RepairDraft {
    const path = pathOf(place);
    place.disk.remove(path);
    return new RepairDraft(place, place.disk.open(path, { create: true }), after, isBase);
  }

  /** What the next records must continue. */
  get predecessor() {
    const { index, term, chainCrc } = this.tip;
    return { prevIndex: index, prevTerm: term, prevChain: chainCrc };
  }

  /**
   * Takes the records in `[start, end)` up to `upTo`.
   * @throws TLedgerError MESSAGE_CORRUPTED when they don't continue what is there, or could not lie in this log; nothing
   * was taken then.
   */
  add(buffer: Buffer, start: number, end: number, upTo: LogIndex): void {
    const verified = verifyRecords(buffer, start, end, this.predecessor);
    if (verified.count === 0) return;
    const to = verified.lastIndex <= upTo ? end : offsetOfRecord(buffer, start, end, logIndex(upTo + 1));
    const tip = this.#follow(buffer, start, to);
    this.#file.write(buffer.subarray(start, to), this.#sizeBytes);
    this.#pieces.push({ at: this.#sizeBytes, sizeBytes: to - start });
    this.#sizeBytes += to - start;
    this.tip = tip;
  }

  /** What was gathered, piece by piece, each as it came. Verified again: they have lain on this disk. */
  *pieces(after: LogTip): Generator<Buffer> {
    let previous = { prevIndex: after.index, prevTerm: after.term, prevChain: after.chainCrc };
    for (const { at, sizeBytes } of this.#pieces) {
      const piece = Buffer.allocUnsafeSlow(sizeBytes);
      this.#file.read(piece, at);
      const { lastIndex, lastTerm, lastChain } = verifyRecords(piece, 0, piece.length, previous);
      previous = { prevIndex: lastIndex, prevTerm: lastTerm, prevChain: lastChain };
      yield piece;
    }
  }

  /** Makes durable what was gathered. */
  flushNow(): void {
    this.#file.flushNow();
  }

  /** It has served, or never will. */
  discard(): void {
    this.#file.close();
    this.#place.disk.remove(pathOf(this.#place));
  }

  /** Checks that each record lies where this log would have put it. @returns the last one. */
  #follow(buffer: Buffer, start: number, end: number): LogTip {
    const { segmentSizeBytes } = this.#place;
    let { tip } = this;
    let next: number =
      this.#isBase && this.#sizeBytes === 0 ? Segments.startBehind(tip, segmentSizeBytes) : this.tip.end;
    for (let at = start; at < end; at += sizeAt(buffer, at)) {
      const size = sizeAt(buffer, at);
      const segmentEnd = (Math.floor(next / segmentSizeBytes) + 1) * segmentSizeBytes;
      if (next + size + FILLER_BYTES > segmentEnd) next = segmentEnd;
      const index = logIndex(tip.index + 1);
      if (positionAt(buffer, at) !== next || size + FILLER_BYTES > segmentSizeBytes) {
        throw new TLedgerError('MESSAGE_CORRUPTED', `record ${index} does not belong at position ${next}`);
      }
      const place = { start: physicalOffset(next), end: physicalOffset(next + size) };
      tip = { index, term: termAt(buffer, at), chainCrc: chainCrcAt(buffer, at), ...place };
      next += size;
    }
    return tip;
  }
}

/** Removes what an earlier process has left. */
export function removeDraft(place: LogPlace): void {
  place.disk.remove(pathOf(place));
}

function pathOf({ directory }: LogPlace): string {
  return `${directory}/repair.part`;
}
