// Checks what a replica has stored, again and again, in the background: when a pass begins, how fast it goes, where it
// goes on after a restart, and whether the other replicas hold the same.
//
//   started ....... next due (interval after the last one began) ....... pass ....... compared with the others ....... due
//                        ^ or asked for: then at once and from the base, whatever was under way
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import { physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type NodeId } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { Disk } from '../storage/disk.ts';
import { EMPTY_TIP, type LogTip } from '../storage/log_tip.ts';
import { type Finding, ScrubPass, type ScrubResult } from '../storage/scrub.ts';
import { RatePace } from '../storage/scrub_pace.ts';
import { type ScrubProgress, ScrubProgressFile } from '../storage/scrub_progress.ts';
import type { FoundFault, KnownSnapshot, ScrubStatus } from './scrub_status.ts';
import type { LogDigest } from './types.ts';

/** A node that has just started has better things to do. */
const FIRST_AFTER_MS = 60_000;
/** Bytes read between two notes of how far the pass is. */
const NOTE_EVERY_BYTES = 64 * 1024 * 1024;
/** Faults that are told of; more of them say nothing more. */
const FAULTS_MAX = 100;

/** What another member says of its log and snapshots; `digest` is null where it does not hold the record asked for. */
export interface OtherCopy {
  readonly nodeId: NodeId;
  readonly appliedIndex: LogIndex;
  readonly digest: LogDigest | null;
  readonly snapshots: readonly KnownSnapshot[];
}

/** What a scrubber works on. */
export interface ScrubberOptions {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  readonly segmentSizeBytes: number;
  readonly indexUnitsPerFile?: number;
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly clock: Clock;
  /** From the beginning of one pass to that of the next; 0: only when it is asked for. */
  readonly intervalMs: number;
  readonly bytesPerSecond: number;
  /** Reads all of the stored state. @throws TLedgerError DATA_CORRUPTED */
  readonly checkState?: () => Promise<void>;
  /** Asks the other members that can be reached. */
  readonly askOthers?: (index: LogIndex) => Promise<readonly OtherCopy[]>;
  /** Something is damaged. */
  readonly onFinding: (finding: Finding) => void;
  /** For the log. */
  readonly onEvent: (message: string) => void;
  readonly onWarning: (message: string) => void;
}

/** See the head of the file. */
export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #file: ScrubProgressFile;
  #known: ScrubProgress;
  #pace: RatePace | null = null;
  #running: Promise<void> | null = null;
  #timer: Timer | null = null;
  #nextAtMs = 0;
  #isStopped = false;
  #bytesPerSecond: number;
  /** A pass that was asked for while another one ran. */
  #isAsked = false;
  #tip: { readonly index: LogIndex; readonly end: number } = EMPTY_TIP;
  #fromPosition = 0;
  #goalPosition = 0;
  #notedPosition = 0;
  #faults: FoundFault[] = [];
  #snapshots: readonly KnownSnapshot[] = [];

  /** @throws TLedgerError STORAGE_FAILED when what is remembered cannot be read or made. */
  constructor(options: ScrubberOptions) {
    this.#options = options;
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#file = ScrubProgressFile.open(options.disk, `${options.directory}/scrub`);
    this.#known = this.#file.loaded ?? {
      ...{ pass: 0, startedAtMs: 0, goal: logIndex(0), tip: EMPTY_TIP },
      ...{ lastPass: 0, lastAtMs: 0, lastIndex: logIndex(0) },
    };
  }

  /** Begins to do it by itself. */
  start(): void {
    const { intervalMs, clock } = this.#options;
    if (intervalMs === 0) return;
    const { startedAtMs, tip } = this.#known;
    const isHalfWay = tip.index > 0;
    const dueMs = isHalfWay || startedAtMs === 0 ? 0 : startedAtMs + intervalMs - clock.wallMs();
    // A clock that was set back must not put it off for ever.
    this.#schedule(Math.min(intervalMs, Math.max(FIRST_AFTER_MS, dueMs)));
  }

  /**
   * Begins a pass now, from the base on; one that is under way is ended.
   * @param bytesPerSecond for this pass; the configured rate when null.
   * @returns its number: `status` names it.
   */
  scrubNow(bytesPerSecond: number | null): number {
    if (this.#isStopped) throw new TLedgerError('SHUTTING_DOWN');
    this.#bytesPerSecond = bytesPerSecond ?? this.#options.bytesPerSecond;
    this.#begin(EMPTY_TIP);
    this.#timer?.cancel();
    if (this.#running === null) this.#run();
    else {
      this.#isAsked = true;
      this.#pace?.stop();
    }
    return this.#known.pass;
  }

  status(): ScrubStatus {
    const { pass, startedAtMs, goal, lastPass, lastAtMs, lastIndex } = this.#known;
    const isRunning = this.#running !== null;
    return {
      isRunning,
      pass,
      startedAtMs,
      bytesPerSecond: this.#bytesPerSecond,
      index: isRunning ? this.#tip.index : lastIndex,
      goal,
      checkedBytes: isRunning ? Math.max(0, this.#tip.end - this.#fromPosition) : 0,
      totalBytes: isRunning ? Math.max(0, this.#goalPosition - this.#fromPosition) : 0,
      nextAtMs: isRunning ? 0 : this.#nextAtMs,
      lastPass,
      lastAtMs,
      lastIndex,
      faults: this.#faults,
      snapshots: this.#snapshots,
    };
  }

  /** Ends what is under way; it goes on there after the next start. Idempotent. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#pace?.stop();
    await this.#running;
    this.#file.close();
  }

  #schedule(delayMs: number): void {
    const { clock } = this.#options;
    this.#nextAtMs = clock.wallMs() + delayMs;
    this.#timer = clock.after(delayMs, () => {
      this.#bytesPerSecond = this.#options.bytesPerSecond;
      const from = this.#resumable();
      if (from === null) this.#begin(EMPTY_TIP);
      this.#run();
    });
  }

  /** A new pass. */
  #begin(tip: LogTip): void {
    const { clock, log, broker } = this.#options;
    const goal = logIndex(Math.min(log.flushedIndex, broker.appliedIndex));
    this.#known = { ...this.#known, pass: this.#known.pass + 1, startedAtMs: clock.wallMs(), goal, tip };
    this.#faults = [];
  }

  /** Where the pass that was under way can go on; null when the log does not hold what it had verified. */
  #resumable(): LogTip | null {
    const { log, broker } = this.#options;
    const { tip, goal } = this.#known;
    const top = Math.min(log.flushedIndex, broker.appliedIndex);
    if (tip.index === 0 || tip.index <= log.base.index || tip.index > top || goal > top) return null;
    try {
      return log.chainAt(tip.index) === tip.chainCrc ? tip : null;
    } catch (error) {
      if (error instanceof TLedgerError) return null;
      throw error;
    }
  }

  #run(): void {
    this.#timer = null;
    this.#isAsked = false;
    this.#running = this.#pass()
      .catch((error: unknown) => {
        const isEnded = error instanceof TLedgerError && error.code === 'SHUTTING_DOWN';
        if (!isEnded) this.#options.onWarning(`the check of stored data was given up: ${messageOf(error)}`);
      })
      .finally(() => {
        this.#running = null;
        this.#pace = null;
        if (this.#isStopped) return;
        if (this.#isAsked) return this.#run();
        const { intervalMs, clock } = this.#options;
        if (intervalMs === 0) return;
        const passedMs = Math.max(0, clock.wallMs() - this.#known.startedAtMs);
        this.#schedule(Math.min(intervalMs, Math.max(FIRST_AFTER_MS, intervalMs - passedMs)));
      });
  }

  async #pass(): Promise<void> {
    const { log, broker, clock, onEvent } = this.#options;
    const from = this.#resumable();
    const { pass, goal } = this.#known;
    // What is applied is looked for in the files.
    broker.writeUnits();
    this.#pace = new RatePace(clock, this.#bytesPerSecond);
    this.#tip = from ?? log.base;
    this.#fromPosition = this.#notedPosition = log.base.end;
    this.#goalPosition = log.endPosition;
    if (goal > log.base.index && goal < log.lastIndex) {
      const { position, sizeBytes } = log.locate(goal);
      this.#goalPosition = position + sizeBytes;
    }
    const target = {
      ...this.#options,
      rewritesUnits: true,
      keyCheck: (start: number) => broker.keys.index?.verify(physicalOffset(start)) ?? null,
      base: () => log.base,
      queueMin: (topic: string, queueId: number) => {
        const info = broker.topic(topic);
        return info === undefined || queueId >= info.queues ? null : broker.range(topic, queueId).min;
      },
    };
    const result = await new ScrubPass(target, {
      pace: this.#pace,
      from,
      goal,
      onFinding: (finding) => this.#found(finding),
      onProgress: (tip) => {
        if (this.#known.pass === pass) this.#progress(tip as LogTip);
      },
    }).run();
    this.#snapshots = result.snapshots.map(({ tip, dataCrc, sizeBytes }) => ({ index: tip.index, dataCrc, sizeBytes }));
    await this.#checkState();
    if (result.isWhole) await this.#compare(result);
    // Another one was asked for meanwhile.
    if (this.#known.pass !== pass) return;
    this.#ended(result.isWhole);
    if (!result.isWhole) return;
    const faults = this.#faults.length === 0 ? 'nothing is damaged' : `${this.#faults.length} faults`;
    onEvent(`checked what is stored up to record ${result.tip.index} (pass ${pass}): ${faults}`);
  }

  #ended(isWhole: boolean): void {
    const { pass, goal } = this.#known;
    const last = isWhole ? { lastPass: pass, lastAtMs: this.#options.clock.wallMs(), lastIndex: goal } : {};
    this.#known = { ...this.#known, ...last, tip: EMPTY_TIP };
    this.#file.save(this.#known);
  }

  #progress(tip: LogTip): void {
    this.#tip = tip;
    if (tip.end - this.#notedPosition < NOTE_EVERY_BYTES) return;
    this.#notedPosition = tip.end;
    // What has been found is found anew by the pass that goes on behind it: it is not forgotten by starting there.
    if (this.#faults.length > 0) return;
    this.#known = { ...this.#known, tip };
    this.#file.save(this.#known);
  }

  async #checkState(): Promise<void> {
    const { checkState, directory } = this.#options;
    try {
      await checkState?.();
    } catch (error) {
      if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
      this.#found({ kind: 'derived', what: 'state', file: `${directory}/state`, reason: error.message });
    }
  }

  /** What was verified here must be what the others hold. A member that lags is asked for what it has. */
  async #compare({ tip, snapshots }: ScrubResult): Promise<void> {
    const { askOthers, log, directory } = this.#options;
    if (askOthers === undefined || tip.index === 0 || tip.chainCrc === null) return;
    const differs = (index: LogIndex, reason: string): void =>
      this.#found({ kind: 'divergence', file: directory, index, reason });
    const check = (nodeId: NodeId, digest: LogDigest, chainCrc: number): void => {
      if (digest.chainCrc === chainCrc) return;
      const [own, other] = [chainCrc, digest.chainCrc].map((crc) => crc.toString(16).padStart(8, '0'));
      differs(digest.index, `the log up to record ${digest.index} is ${own} here and ${other} on ${nodeId}`);
    };
    for (const other of await askOthers(tip.index)) {
      const { nodeId, digest, appliedIndex } = other;
      if (digest !== null) check(nodeId, digest, tip.chainCrc);
      else if (appliedIndex < tip.index && appliedIndex >= log.firstIndex) {
        const again = (await askOthers(appliedIndex)).find((one) => one.nodeId === nodeId);
        if (again?.digest && appliedIndex >= log.firstIndex) check(nodeId, again.digest, log.chainAt(appliedIndex));
      }
      for (const known of other.snapshots) {
        const own = snapshots.find((one) => one.tip.index === known.index);
        if (own === undefined || (own.dataCrc === known.dataCrc && own.sizeBytes === known.sizeBytes)) continue;
        differs(known.index, `the snapshot at ${known.index} is not the one that ${nodeId} has`);
      }
    }
  }

  #found(finding: Finding): void {
    const { clock, onFinding, onWarning } = this.#options;
    const { kind, file, reason } = finding;
    const index = 'index' in finding ? finding.index : logIndex(0);
    if (this.#faults.length < FAULTS_MAX) {
      this.#faults = [...this.#faults, { kind, file, index, reason, atMs: clock.wallMs() }];
      onWarning(`stored data is damaged (${kind}): ${file}: ${reason}`);
    }
    onFinding(finding);
  }
}
