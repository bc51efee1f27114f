// Writes a backup of a running group, or brings an earlier one up to date. Nothing that the earlier manifest names is
// changed or removed before the new manifest is durable; interrupted anywhere, the earlier backup is what it was.
//
//   plan (one moment) -> check what is kept -> take closed segments: link, or copy -> copy the tail -> snapshot
//     -> manifest, by rename -> remove what it does not name
import { TLedgerError } from '../base/errors.ts';
import { logIndex, type MembershipEntry, type NodeId } from '../raft/types.ts';
import {
  type BackupFile,
  type BackupSegment,
  DRAFT_SUFFIX,
  encodeManifest,
  filesOf,
  INCOMPLETE_FILE,
  MANIFEST_FILE,
  type Manifest,
  nameOf,
  readManifest,
  tailPath,
} from './backup_format.ts';
import { isIntact, PacedWriter, type Passage, passSegment, passSnapshot } from './backup_io.ts';
import { type BackupPlan, type HeldSegment, type PlannedSegment, type PlanOptions, planBackup } from './backup_plan.ts';
import { DamageError } from './damage.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { LogTip } from './log_tip.ts';
import type { Pace } from './pace.ts';
import { SegmentCheck } from './segment_check.ts';
import type { Snapshot } from './snapshot_reader.ts';

const SUBDIRECTORIES = ['commitlog', 'snapshot'] as const;

/** What is backed up, and how. */
export interface BackupOptions extends Omit<PlanOptions, 'earlier'> {
  /** Where the backup goes: missing, empty, or with an earlier backup of the same group. On the same disk port. */
  readonly directory: string;
  readonly cluster: string;
  readonly group: string;
  readonly groupId: string;
  readonly nodeId: NodeId;
  /** In force at `upTo`. */
  readonly membership: MembershipEntry | null;
  readonly pace: Pace;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  /** Called after each piece. */
  readonly onProgress: (progress: BackupProgress) => void;
}

/** How far a backup is. Bytes are those of whole files, the zeros that segments end with included. */
export interface BackupProgress {
  /** The last record that will be in it. */
  readonly lastIndex: number;
  /** Bytes to be read: each file once, more only when one that was linked has to be copied after all. */
  readonly bytesTotal: number;
  readonly bytesRead: number;
  /** Of an earlier backup, read and found good. */
  readonly bytesKept: number;
  /** Shared with the node's own files: read and found good, not copied. */
  readonly bytesLinked: number;
  readonly bytesCopied: number;
}

/** A backup that is complete. */
export interface BackupDone extends BackupProgress {
  readonly manifest: Manifest;
  /** What it continues; null for a new one, and when the log was cut beyond the end of the earlier one. */
  readonly earlier: Manifest | null;
}

/**
 * Makes a backup.
 * @throws TLedgerError INVALID_ARGUMENT when the directory holds anything else, or a backup that goes further than this
 * node; DATA_DIR_FOREIGN when it holds the backup of another group, or of newer software; DATA_CORRUPTED (a `DamageError`
 * when the node's own files are damaged) naming the file; STORAGE_FAILED; SHUTTING_DOWN when the pace says so. The earlier
 * backup is what it was, then.
 */
export async function writeBackup(options: BackupOptions): Promise<BackupDone> {
  const { disk, directory } = options;
  const earlier = claim(options);
  const plan = planBackup({ ...options, earlier });
  const writer = new BackupWriter(options, plan);
  try {
    const manifest = await take(options, earlier, writer);
    saveManifest(disk, directory, manifest);
    // It is complete now: what cannot be removed is removed by the next one.
    attempt(() => {
      disk.remove(`${directory}/${INCOMPLETE_FILE}`);
      removeAllBut(disk, directory, manifest);
    });
    const isContinued = earlier !== null && plan.base.index <= earlier.last.index;
    return { ...writer.progress, manifest, earlier: isContinued ? earlier : null };
  } finally {
    plan.close();
  }
}

/** Everything but the manifest. Until that is written the earlier one counts, and a failure leaves nothing behind. */
async function take(options: BackupOptions, earlier: Manifest | null, writer: BackupWriter): Promise<Manifest> {
  const { disk, directory } = options;
  try {
    if (earlier === null) touch(disk, `${directory}/${INCOMPLETE_FILE}`);
    for (const name of SUBDIRECTORIES) disk.makeDirectory(`${directory}/${name}`);
    removeAllBut(disk, directory, earlier);
    return await writer.run();
  } catch (error) {
    // Any other error is the end of the process: the next one cleans up.
    if (error instanceof TLedgerError) attempt(() => removeAllBut(disk, directory, earlier));
    throw error;
  }
}

class BackupWriter {
  readonly #options: BackupOptions;
  readonly #plan: BackupPlan;
  readonly #passage: Passage;
  #bytesRead = 0;
  #bytesKept = 0;
  #bytesLinked = 0;
  #bytesCopied = 0;

  constructor(options: BackupOptions, plan: BackupPlan) {
    this.#options = options;
    this.#plan = plan;
    const onBytes = (count: number): void => {
      this.#bytesRead += count;
      options.onProgress(this.progress);
    };
    this.#passage = { pace: options.pace, onBytes };
  }

  get progress(): BackupProgress {
    const { segments, last, keptSnapshot, snapshot } = this.#plan;
    const tailBytes = last.end - (segments.at(-1)?.start ?? last.end);
    const closedBytes = Math.max(0, segments.length - 1) * this.#options.segmentSizeBytes;
    return {
      lastIndex: last.index,
      bytesTotal: closedBytes + tailBytes + (keptSnapshot?.sizeBytes ?? snapshot?.sizeBytes ?? 0),
      bytesRead: this.#bytesRead,
      bytesKept: this.#bytesKept,
      bytesLinked: this.#bytesLinked,
      bytesCopied: this.#bytesCopied,
    };
  }

  async run(): Promise<Manifest> {
    const { base, last } = this.#plan;
    const segments: BackupSegment[] = [];
    let before = base;
    for (const planned of this.#plan.segments) {
      const segment = await this.#segment(planned, before);
      segments.push(segment);
      before = segment.last;
    }
    const snapshot = base.index === 0 ? null : await this.#snapshot();
    const { cluster, group, groupId, segmentSizeBytes, membership, nodeId, wallMs } = this.#options;
    const head = { cluster, group, groupId, segmentSizeBytes, base, last, membership };
    return { ...head, snapshot, segments, createdMs: wallMs(), createdBy: nodeId };
  }

  async #segment({ kept, held }: PlannedSegment, before: LogTip): Promise<BackupSegment> {
    if (kept !== null && (await this.#isKept(kept))) return kept;
    if (held === null) throw this.#lost(kept!);
    return held.lastIndex === null ? this.#takeTail(held, before) : this.#takeClosed(held, held.lastIndex, before);
  }

  async #snapshot(): Promise<BackupFile> {
    const { keptSnapshot: kept, snapshot } = this.#plan;
    if (kept !== null && (await this.#isKept(kept))) return kept;
    if (snapshot === null) throw this.#lost(kept!);
    return this.#takeSnapshot(snapshot);
  }

  async #isKept(file: BackupFile): Promise<boolean> {
    const { disk, directory } = this.#options;
    const isGood = await isIntact(disk, `${directory}/${file.path}`, file, this.#passage);
    if (isGood) this.#bytesKept += file.sizeBytes;
    return isGood;
  }

  #lost({ path }: BackupFile): TLedgerError {
    const file = `${this.#options.directory}/${path}`;
    return new TLedgerError(
      'DATA_CORRUPTED',
      `${file}, part of the earlier backup, is missing or damaged, and this node does not hold it any more: back up to another directory`,
    );
  }

  async #takeClosed(held: HeldSegment, lastIndex: number, before: LogTip): Promise<BackupSegment> {
    const { segmentSizeBytes: sizeBytes } = this.#options;
    const path = `commitlog/${nameOf(held.start)}`;
    const isWhole = (check: SegmentCheck): boolean =>
      check.fault === null && check.isClosed && check.tip.index === lastIndex;
    const check = await this.#put(path, async (draft) => {
      const linked = await this.#link(held, before, draft);
      if (linked !== null && isWhole(linked) && linked.hasCleanPadding) {
        this.#bytesLinked += sizeBytes;
        return linked;
      }
      // What the name stands for need not be what is open here, if the log was replaced meanwhile.
      this.#options.disk.remove(draft);
      const { check, fault } = await this.#copy(held, { before, sizeBytes }, draft);
      if (!isWhole(check)) throw damageIn(held, check, fault ?? 'the segment is not closed where it should be');
      return check;
    });
    return { kind: 'segment', path, sizeBytes, crc32: check.crc, start: held.start, last: check.tip };
  }

  async #takeTail(held: HeldSegment, before: LogTip): Promise<BackupSegment> {
    const { last } = this.#plan;
    const sizeBytes = last.end - held.start;
    const path = tailPath(held.start, last.index);
    const check = await this.#put(path, async (draft) => {
      const { check, fault } = await this.#copy(held, { before, sizeBytes }, draft);
      const isWhole = check.isBetweenRecords && check.tip.index === last.index && check.tip.chainCrc === last.chainCrc;
      if (fault !== null || check.fault !== null || !isWhole) {
        throw damageIn(held, check, fault ?? `record ${last.index} is not where it should be`);
      }
      return check;
    });
    return { kind: 'tail', path, sizeBytes, crc32: check.crc, start: held.start, last: check.tip };
  }

  async #takeSnapshot(snapshot: Snapshot): Promise<BackupFile> {
    const { disk } = this.#options;
    const { index } = snapshot.meta.tip;
    const { sizeBytes } = snapshot;
    const path = `snapshot/${nameOf(index)}`;
    const crc = await this.#put(path, async (draft) => {
      const file = disk.open(draft, { create: true });
      try {
        const writer = new PacedWriter(file);
        const crc = await passSnapshot(snapshot, writer, this.#passage);
        await writer.finish(sizeBytes);
        return crc;
      } catch (error) {
        if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
        const source = `${this.#options.groupDirectory}/${path}`;
        throw new DamageError({ kind: 'snapshot', file: source, index, reason: error.message }, error);
      } finally {
        file.close();
      }
    });
    this.#bytesCopied += sizeBytes;
    return { kind: 'snapshot', path, sizeBytes, crc32: crc };
  }

  /** Makes a file under a draft's name, and names it when it is whole. */
  async #put<T>(path: string, make: (draft: string) => Promise<T>): Promise<T> {
    const { disk, directory } = this.#options;
    const draft = `${directory}/${path}${DRAFT_SUFFIX}`;
    disk.remove(draft);
    const made = await make(draft);
    disk.rename(draft, `${directory}/${path}`);
    return made;
  }

  /** What the segment's file says when it is reached by its name; null when it cannot be linked. */
  async #link(held: HeldSegment, before: LogTip, draft: string): Promise<SegmentCheck | null> {
    const { disk, segmentSizeBytes } = this.#options;
    // The log may have been cut since, and the name be gone.
    if (!disk.exists(held.path) || !disk.link(held.path, draft)) return null;
    const file = disk.open(draft);
    try {
      return (await this.#pass(file, held, { before, sizeBytes: segmentSizeBytes }, null)).check;
    } finally {
      file.close();
    }
  }

  async #copy(
    held: HeldSegment,
    extent: { readonly before: LogTip; readonly sizeBytes: number },
    draft: string,
  ): Promise<{ check: SegmentCheck; fault: string | null }> {
    const file = this.#options.disk.open(draft, { create: true });
    try {
      const writer = new PacedWriter(file);
      const passed = await this.#pass(held.file, held, extent, writer);
      await writer.finish(extent.sizeBytes);
      this.#bytesCopied += extent.sizeBytes;
      return passed;
    } finally {
      file.close();
    }
  }

  async #pass(
    file: DiskFile,
    { start }: HeldSegment,
    { before, sizeBytes }: { readonly before: LogTip; readonly sizeBytes: number },
    writer: PacedWriter | null,
  ): Promise<{ check: SegmentCheck; fault: string | null }> {
    const check = new SegmentCheck(before, start, start + this.#options.segmentSizeBytes);
    const fault = await passSegment(file, sizeBytes, check, writer, { ...this.#passage, start });
    return { check, fault };
  }
}

function damageIn(held: HeldSegment, check: SegmentCheck, otherwise: string): DamageError {
  const { position, reason } = check.fault ?? { position: check.tip.end, reason: otherwise };
  return new DamageError({ kind: 'log', file: held.path, position, index: logIndex(check.tip.index + 1), reason });
}

/** Whether the directory may be used, and what backup it holds. */
function claim(options: BackupOptions): Manifest | null {
  const { disk, directory, cluster, group, groupId, segmentSizeBytes } = options;
  const earlier = readManifest(disk, directory);
  if (earlier === null) {
    const names = disk.list(directory);
    if (names.length === 0 || names.includes(INCOMPLETE_FILE)) {
      disk.makeDirectory(directory);
      return null;
    }
    throw new TLedgerError('INVALID_ARGUMENT', `${directory} is neither empty nor a backup: it holds ${names[0]}`);
  }
  const mine = { cluster, group, groupId, segmentSizeBytes };
  for (const [name, value] of Object.entries(mine)) {
    const there = earlier[name as keyof typeof mine];
    if (there === value) continue;
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${directory} is the backup of another group: its ${name} is ${there}, not ${value}`,
    );
  }
  return earlier;
}

/** When it fails, nobody knows which of the two manifests is there: the files of both stay. */
function saveManifest(disk: Disk, directory: string, manifest: Manifest): void {
  const path = `${directory}/${MANIFEST_FILE}`;
  const draft = `${path}${DRAFT_SUFFIX}`;
  disk.remove(draft);
  const file = disk.open(draft, { create: true });
  try {
    file.write(encodeManifest(manifest), 0);
    file.flushNow();
  } finally {
    file.close();
  }
  disk.rename(draft, path);
}

/** Removes from our own folders what is not part of the given backup. */
function removeAllBut(disk: Disk, directory: string, manifest: Manifest | null): void {
  const named = new Set(manifest === null ? [] : filesOf(manifest).map(({ path }) => path));
  for (const folder of SUBDIRECTORIES) {
    for (const name of disk.list(`${directory}/${folder}`)) {
      if (!named.has(`${folder}/${name}`)) disk.remove(`${directory}/${folder}/${name}`);
    }
  }
}

function touch(disk: Disk, path: string): void {
  disk.open(path, { create: true }).close();
}

function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof TLedgerError)) throw error;
  }
}
