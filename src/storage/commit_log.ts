// The CommitLog: one replica's copy of the group's log, as segment files. One owner calls it (src/replica); everything
// but flushing is synchronous. See README.md beside this file for the drawings and the invariants.
import { assert } from '../base/assert.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { type LogIndex, type LogShape, logIndex, type RecordSizer, type Term } from '../raft/types.ts';
import { checkSealed } from './append_check.ts';
import { Checkpoint } from './checkpoint.ts';
import { type ColdLimits, type ColdLog, ColdReads, defaultColdLimits } from './cold_reads.ts';
import type { Damage } from './damage.ts';
import type { Disk } from './disk.ts';
import { LogAppender } from './log_appender.ts';
import { LogBase } from './log_base.ts';
import { LogFlusher } from './log_flusher.ts';
import { LogIndexFiles } from './log_index.ts';
import { type LogParts, LogReader, type RecordPlace, type RecordRange } from './log_reader.ts';
import type { LogTip } from './log_tip.ts';
import { type RecoveryReport, recoverLog } from './recovery.ts';
import { refuseUnderRepair } from './repair_mark.ts';
import { FILLER_BYTES, Segments } from './segment.ts';
import { TailCache } from './tail_cache.ts';

export type { RecordPlace, RecordRange } from './log_reader.ts';
export type { LogTip } from './log_tip.ts';
export type { RecoveryReport } from './recovery.ts';
export { offsetOfRecord, type Predecessor, type VerifiedRecords, verifyRecords } from './verify.ts';

const CACHE_BYTES_MAX = 2 * 1024 * 1024;
const NEEDED_BYTES_MAX = 64 * 1024 * 1024;

/** Where a log lies and how it is laid out. */
export interface CommitLogOptions {
  readonly disk: Disk;
  /** The group's directory; the log takes `commitlog/`, `index/`, `base` and `checkpoint` in it. */
  readonly directory: string;
  /** The same on all replicas and for ever (identity.ts guards it). A record takes at most 8 bytes less. */
  readonly segmentSizeBytes: number;
  /** Bytes of recently appended batches kept in memory beside what is needed soon; 2 MiB by default. */
  readonly cacheBytesMax?: number;
  /** Most bytes kept because they are needed soon (`keepFrom`); 64 MiB by default. */
  readonly neededBytesMax?: number;
  /** Bounds of reading what is not in memory, for consumers. */
  readonly cold?: Partial<ColdLimits>;
  /** Paces such reads; the machine's by default. */
  readonly clock?: Clock;
  /** Units in one file of the log index; only tests set it. */
  readonly indexUnitsPerFile?: number;
  /** Only the repair opens a log that may lack what was vouched for (repair.ts). */
  readonly isForRepair?: boolean;
}

/** Indexes of the records just appended. */
export interface AppendedRange {
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
}

/**
 * The log of one replica. After any failure of the disk (STORAGE_FAILED) it is final: every later change is refused
 * with the same error, and what is on disk is for the next recovery to judge.
 */
export class CommitLog implements RecordSizer {
  /** What opening found and did. */
  readonly recovery: RecoveryReport;
  readonly #parts: LogParts;
  readonly #reader: LogReader;
  readonly #flusher: LogFlusher;
  readonly #appender: LogAppender;
  readonly #cold: ColdReads;

  private constructor(parts: LogParts, flusher: LogFlusher, recovery: RecoveryReport, options: CommitLogOptions) {
    this.#parts = parts;
    this.#reader = new LogReader(parts);
    this.#flusher = flusher;
    this.#appender = new LogAppender(parts, flusher);
    this.#cold = new ColdReads(parts, { ...defaultColdLimits, ...options.cold }, options.clock ?? systemClock);
    this.recovery = recovery;
  }

  /**
   * Opens and recovers the log, or makes an empty one. What it holds then is durable.
   * @throws TLedgerError DATA_CORRUPTED naming file, position and index when records that this replica may have vouched
   * for are damaged or missing; STORAGE_FAILED.
   */
  static open(options: CommitLogOptions): CommitLog {
    const { disk, directory, segmentSizeBytes } = options;
    const opened: { close(): void }[] = [];
    const keep = <T extends { close(): void }>(part: T): T => {
      opened.push(part);
      return part;
    };
    disk.makeDirectory(directory);
    if (options.isForRepair !== true) refuseUnderRepair(disk, directory);
    try {
      const base = keep(LogBase.open(disk, `${directory}/base`));
      base.confirm();
      const openSegments = base.isFresh ? Segments.restart : Segments.open;
      const segments = keep(openSegments(disk, `${directory}/commitlog`, segmentSizeBytes, base.tip));
      const index = keep(LogIndexFiles.open(disk, `${directory}/index`, base.tip.index, options.indexUnitsPerFile));
      if (base.isFresh) index.restart(base.tip.index);
      const checkpoint = keep(new Checkpoint(disk, `${directory}/checkpoint`));
      const { tip, runs, report } = recoverLog({ base, segments, index, checkpoint });
      const { cacheBytesMax: bytesMax = CACHE_BYTES_MAX, neededBytesMax = NEEDED_BYTES_MAX } = options;
      const cache = new TailCache({ bytesMax, neededBytesMax });
      const parts: LogParts = { base, segments, index, cache, runs, tip };
      return new CommitLog(parts, new LogFlusher(parts, checkpoint), report, options);
    } catch (error) {
      for (const part of opened) part.close();
      throw error;
    }
  }

  /** The log as consensus sees it. */
  get shape(): LogShape {
    const { base, tip, runs } = this.#parts;
    return { baseIndex: base.tip.index, baseTerm: base.tip.term, lastIndex: tip.index, runs: runs.all };
  }

  /** The record just before the first one held, with what identifies the log up to it; `EMPTY_TIP` for a log never cut. */
  get base(): LogTip {
    return this.#parts.base.tip;
  }

  /** The first record held, or to come when the log is empty: the one behind the base. */
  get firstIndex(): LogIndex {
    return logIndex(this.base.index + 1);
  }

  /** The last record held; the base when the log is empty. */
  get lastIndex(): LogIndex {
    return this.#parts.tip.index;
  }

  get lastTerm(): Term {
    return this.#parts.tip.term;
  }

  /** chainCrc of the last record, or of the base when the log is empty. */
  get lastChain(): number {
    return this.#parts.tip.chainCrc;
  }

  /** The byte after the last record. */
  get endPosition(): PhysicalOffset {
    return this.#parts.tip.end;
  }

  /** The last record known to be durable. */
  get flushedIndex(): LogIndex {
    return this.#flusher.flushed.index;
  }

  get flushedPosition(): PhysicalOffset {
    return this.#flusher.flushed.end;
  }

  /** The first unflushed record that must be flushed before it, or any behind it, is vouched for (`flushFirst`). */
  get firstToFlush(): LogIndex | null {
    return this.#appender.firstToFlush;
  }

  get unflushedBytes(): number {
    return this.#parts.tip.end - this.#flusher.flushed.end;
  }

  /** The largest record that fits into a segment, header included. */
  get recordBytesMax(): number {
    return this.#parts.segments.sizeBytes - FILLER_BYTES;
  }

  /**
   * The leader's way: seals the unsealed whole records in `buffer[start, end)` in place and writes them. The log keeps
   * the buffer: nobody changes it afterwards.
   */
  appendBlank(buffer: Buffer, start: number, end: number, ofTerm: Term): AppendedRange {
    this.#flusher.assertUsable();
    assert(end > start, 'an append holds at least one record');
    assert(ofTerm >= this.#parts.tip.term && ofTerm > 0, () => `term ${ofTerm} is behind ${this.#parts.tip.term}`);
    const firstIndex = logIndex(this.#parts.tip.index + 1);
    this.#appender.append(buffer, start, end, ofTerm);
    return { firstIndex, lastIndex: this.#parts.tip.index };
  }

  /**
   * The follower's way: writes records as the leader sealed them, verified by `verifyRecords`. The same rule for the
   * buffer as in `appendBlank`.
   * @throws InvariantError when they don't begin right behind the log's end; TLedgerError DATA_CORRUPTED when they
   * belong to another log: another chain, or laid out with another segment size. Nothing is written then.
   */
  appendSealed(buffer: Buffer, start: number, end: number): void {
    this.#flusher.assertUsable();
    assert(end > start, 'an append holds at least one record');
    checkSealed(this.#parts, buffer, start, end);
    this.#appender.append(buffer, start, end, null);
  }

  /** What lies at `position` and behind it will be read soon: it is kept in memory, within bounds (`TailCache.keepFrom`). */
  keepFrom(position: PhysicalOffset): void {
    this.#parts.cache.keepFrom(position);
  }

  /**
   * Keeps the records up to `index` (the base or later); what lay behind is zeroed and can't come back. The owner has made sure that
   * nothing committed is removed.
   */
  truncateAfter(index: LogIndex): void {
    this.#flusher.assertUsable();
    const parts = this.#parts;
    assert(
      index >= this.base.index && index <= parts.tip.index,
      () => `can't truncate after ${index}: the log goes from ${this.base.index} to ${parts.tip.index}`,
    );
    if (index === parts.tip.index) return;
    const tip = this.#reader.tipAt(index);
    this.#flusher.guard(() => {
      // First of all nobody may vouch for these records any more, not even after a crash in the next line.
      this.#flusher.lowerTo(tip);
      const { segments } = parts;
      while (segments.count > 1 && segments.tail.start >= tip.end) segments.removeTail();
      segments.clearAfter(tip.end);
      parts.index.truncateAfter(index);
    });
    parts.cache.truncateAfter(tip);
    this.#cold.truncateAfter(tip.end);
    parts.runs.truncateAfter(index);
    parts.tip = tip;
  }

  /**
   * A record's place with what identifies the log up to it, verified; or the base. What `restart` on another replica takes.
   * @throws TLedgerError DATA_CORRUPTED
   */
  tipAt(index: LogIndex): LogTip {
    return this.#reader.tipAt(index);
  }

  /** The last record of each segment that is closed, ascending; all lie above the base. */
  get sealedBoundaries(): readonly LogIndex[] {
    const { segments } = this.#parts;
    return Array.from({ length: segments.count - 1 }, (_, number) =>
      logIndex(segments.get(number + 1)!.firstIndex - 1),
    );
  }

  /** First and last record (held so far) of the segment that holds record `index`. */
  segmentOf(index: LogIndex): { readonly firstIndex: LogIndex; readonly lastIndex: LogIndex } {
    return this.#reader.segmentOf(index);
  }

  /**
   * The last record B of a closed segment with B < `index` and B flushed here; null when there is none above the base.
   * Where a log is cut, and a snapshot taken, is the same on all replicas only when the record *after* B is committed:
   * until then another leader could put a smaller record in its place, which still fits into B's segment. So `index` is
   * a committed (or applied) one, and B itself never qualifies for `index` = B.
   */
  boundaryBelow(index: LogIndex): LogIndex | null {
    const bound = Math.min(index - 1, this.flushedIndex);
    return this.sealedBoundaries.findLast((boundary) => boundary <= bound) ?? null;
  }

  /**
   * Removes the records up to `boundary`, which `boundaryBelow` gave, and moves the base there. The owner has made sure
   * that they are applied and that a snapshot stands for them.
   * @throws TLedgerError STORAGE_FAILED; then for good. A crash leaves the log before or after the cut.
   */
  cutTo(boundary: LogIndex): void {
    this.#flusher.assertUsable();
    const { base, segments, index, runs } = this.#parts;
    const number = this.sealedBoundaries.indexOf(boundary) + 1;
    assert(number > 0, () => `no segment ends with record ${boundary}`);
    assert(boundary <= this.flushedIndex, 'what is removed was flushed');
    const tip = this.tipAt(boundary);
    this.#flusher.guard(() => {
      base.save(tip, { isFresh: false });
      segments.removeHead(number);
      index.cutTo(boundary);
    });
    runs.cutTo(boundary);
    this.#cold.cut();
  }

  /**
   * Discards every record and goes on, empty, behind `base`, which a snapshot stands for that is durable here
   * (`SnapshotStore.completeIncoming`) and that lies at a boundary of the log it is from. The state is replaced after
   * this, never before: a state ahead of its log is refused at the next start.
   * @throws TLedgerError STORAGE_FAILED; then for good. A crash leaves the log as it was or empty behind `base`.
   */
  restart(base: LogTip): void {
    this.#flusher.assertUsable();
    const parts = this.#parts;
    this.#flusher.guard(() => {
      parts.base.save(base, { isFresh: true });
      parts.segments.restart(base);
      parts.index.restart(base.index);
      this.#flusher.restart(base);
      parts.base.save(base, { isFresh: false });
    });
    parts.cache.clear();
    this.#cold.truncateAfter(physicalOffset(0));
    parts.runs.restart(base.term);
    parts.tip = base;
  }

  /**
   * Makes durable what has been written; one flush runs at a time, and callers that come meanwhile share the next one.
   * @returns the last record that was written when the flush began, clamped if the log was truncated meanwhile.
   * @throws TLedgerError STORAGE_FAILED; then for good.
   */
  flush(): Promise<{ readonly index: LogIndex; readonly term: Term }> {
    return this.#flusher.flush();
  }

  /** See RecordSizer. What is left of a large cached batch is preferred as it is, if it fits. */
  fit(firstIndex: LogIndex, bytesMax: number): { readonly lastIndex: LogIndex; readonly sizeBytes: number } {
    return this.#reader.fit(firstIndex, bytesMax);
  }

  /**
   * The records firstIndex … lastIndex back to back, without fillers. Not copied when they lie in one cached batch; they
   * must not be changed.
   * @throws TLedgerError DATA_CORRUPTED when the bytes on disk don't match their checksums.
   */
  read(firstIndex: LogIndex, lastIndex: LogIndex): RecordRange {
    return this.#reader.read(firstIndex, lastIndex);
  }

  /**
   * The bytes `[position, position + sizeBytes)` of one segment, as they lie there: whoever takes records out of them
   * checks them (broker/pull.ts does). From the cache they are not copied; they must not be changed.
   * @throws TLedgerError DATA_CORRUPTED when no segment holds that range: who asks has the place from derived files.
   */
  readAt(position: PhysicalOffset, sizeBytes: number): Buffer {
    return this.#reader.readAt(position, sizeBytes);
  }

  /** The log for consumers of old data, which must not slow it down. */
  get cold(): ColdLog {
    return this.#cold;
  }

  /**
   * What is wrong, on the disk, with the record that begins at `position`; null when nothing is, or none begins there. For
   * whoever found bytes that make no sense, to tell a damaged log from a misleading pointer into it.
   */
  damageAt(position: PhysicalOffset): Damage | null {
    return this.#reader.damageAt(position);
  }

  /** Term of a record or of the base. */
  termAt(index: LogIndex): Term {
    return this.#reader.termAt(index);
  }

  /** chainCrc of a record or of the base. */
  chainAt(index: LogIndex): number {
    return this.#reader.chainAt(index);
  }

  /** Where a record lies. */
  locate(index: LogIndex): RecordPlace {
    return this.#reader.locate(index);
  }

  /**
   * Makes the next start shorter, without blocking: it scans from what is flushed now. The log does it by itself every
   * 64 MiB; the owner does it at intervals, so that what is vouched for after a power loss is never old.
   * @throws TLedgerError STORAGE_FAILED; then for good.
   */
  async advanceCheckpoint(): Promise<void> {
    this.#flusher.assertUsable();
    await this.#flusher.advanceCheckpoint();
  }

  /** Flushes, saves the checkpoint and closes the files; a failed log is only closed. Closing twice is harmless. */
  close(): void {
    this.#cold.close();
    this.#flusher.close();
  }
}
