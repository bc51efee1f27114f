// Repairs the files of a stopped node as far as that is possible without its peers: what is derived is made anew, a small
// file with one good slot gets two, an unfinished write goes. Records that the node vouched for are cut only when it is
// told to, from exactly the record on that is damaged; what that loses is counted before.
import { copyFileSync, existsSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { decodeMessageRecord } from '../format/message.ts';
import { indexAt, magicAt, recordMagic, sizeAt } from '../format/record.ts';
import { isParkedAt } from '../format/record_flags.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import { rebuildDerived } from '../replica/rebuild.ts';
import { Checkpoint } from '../storage/checkpoint.ts';
import { defaultKeyIndexLayout } from '../storage/key_index.ts';
import { LevelStateStore } from '../storage/level_state_store.ts';
import { EMPTY_TIP, type LogTip } from '../storage/log_tip.ts';
import { type OfflineGroup, walkLog } from '../storage/offline.ts';
import type { Survey } from '../storage/offline_survey.ts';
import { Segments } from '../storage/segment.ts';
import { type OfflineDirectory, type OfflineOptions, surveyDirectory, withOffline } from './offline.ts';
import { type DirectoryReport, reportOf } from './offline_report.ts';

/** What becomes of one fault. */
export interface RepairStep {
  /** `rebuild`, `remove`, `rewrite`, `cut`; `none` when nothing can be done here. */
  readonly action: 'rebuild' | 'remove' | 'rewrite' | 'cut' | 'none';
  readonly what: string;
  /** What it means, or who can help. */
  readonly why: string;
}

/** Messages of one queue that would be lost, as far as they can still be read. */
export interface LostMessages {
  readonly topic: string;
  readonly queueId: number;
  readonly count: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
}

/** What cutting the log from a record on would lose. */
export interface Loss {
  readonly fromIndex: number;
  /** The last record that can be read, and the last one vouched for. */
  readonly lastIndex: number;
  readonly flushedIndex: number | null;
  /** Records that can still be read, and those that cannot. */
  readonly readable: number;
  readonly unreadable: number;
  readonly messages: readonly LostMessages[];
}

/** What is to be done. */
export interface RepairPlan {
  readonly report: DirectoryReport;
  readonly steps: readonly RepairStep[];
  /** Null when no record is damaged. */
  readonly loss: Loss | null;
}

/** How far to go. */
export interface RepairOptions extends OfflineOptions {
  /** Only say what would be done. */
  readonly dryRun: boolean;
  /** Cut from this record on; it must be the first damaged one. */
  readonly cutFrom: number | null;
  readonly onProgress: (bytes: number) => void;
  /** Told of the plan before anything is changed. */
  readonly onPlan: (plan: RepairPlan) => void;
}

/** What was done; `after` is null when nothing was. */
export interface Repaired extends RepairPlan {
  readonly after: DirectoryReport | null;
}

/**
 * Says what is wrong and repairs what can be.
 * @throws as `withOffline`; INVALID_ARGUMENT when `cutFrom` is not the first damaged record.
 */
export function repairDirectory(options: RepairOptions): Promise<Repaired> {
  return withOffline(options, async (opened) => {
    const survey = await surveyDirectory(opened, options.onProgress);
    const first = survey.gaps.find(({ isVouched }) => isVouched);
    checkCut(options.cutFrom, first?.firstIndex ?? null);
    const loss = first === undefined ? null : await lossFrom(opened.group, first.firstIndex, survey);
    const plan = { report: reportOf(opened, survey), steps: stepsFor(opened, survey, options.cutFrom), loss };
    options.onPlan(plan);
    // What a repair has left half-way is no log that anything could be made of.
    const isUnfinished = survey.findings.some(({ kind }) => kind === 'log');
    const isHopeless = isUnfinished || (first !== undefined && options.cutFrom === null);
    const isNothing = plan.steps.every(({ action }) => action === 'none');
    if (options.dryRun || isHopeless || isNothing) return { ...plan, after: null };
    await carryOut(opened, survey, options.cutFrom === null ? null : first!.firstIndex);
    return { ...plan, after: await surveyAgain(opened, options) };
  });
}

/** Makes everything derived anew. @param upTo the last record known to be committed; what the state says when null. */
export async function rebuildOffline(opened: OfflineDirectory, survey: Survey, upTo: LogIndex | null) {
  const { group } = opened;
  const hasKeys = group.disk.list(`${group.directory}/keyindex`).length > 0;
  const store = await openStore(group.directory);
  return rebuildDerived({
    ...{ disk: group.disk, directory: group.directory, store },
    ...(hasKeys ? { keyIndex: defaultKeyIndexLayout } : {}),
    segmentSizeBytes: group.identity.segmentSizeBytes,
    upTo: upTo ?? knownCommitted(opened, survey),
  });
}

/** The last record that something here proves to be committed: it was applied, or a snapshot stands for it. */
export function knownCommitted({ group, tables }: OfflineDirectory, survey: Survey): LogIndex {
  const snapshots = survey.snapshots.map(({ tip }) => tip.index);
  return logIndex(Math.max(group.base?.index ?? 0, tables?.applied ?? 0, ...snapshots));
}

function stepsFor({ group }: OfflineDirectory, survey: Survey, cutFrom: number | null): RepairStep[] {
  const steps: RepairStep[] = survey.gaps.map(({ isVouched, firstIndex }) => {
    const what = `the log from record ${firstIndex} on`;
    if (!isVouched) return { action: 'cut', what, why: 'a write that was not finished: nobody was told that it was' };
    if (cutFrom !== null) return { action: 'cut', what, why: 'as told: these records are lost' };
    const why = 'only the other members have these records: start the node in its group, which repairs it';
    return { action: 'none', what, why };
  });
  for (const finding of survey.findings) {
    const { file, kind, reason } = finding;
    if (kind === 'log') {
      steps.push({ action: 'none', what: file, why: `${reason}: start the node in its group, which goes on with it` });
    } else if (kind === 'derived') {
      steps.push({ action: 'rebuild', what: `the ${finding.what} in ${file}`, why: 'made anew from the log' });
    } else if (kind === 'file') {
      const isHalf = reason.startsWith('one of') || file.endsWith('/checkpoint');
      const lost = 'it cannot be made anew: replace the member (remove it, delete its data, add it)';
      const why = isHalf ? 'written anew from what is known' : lost;
      steps.push({ action: isHalf ? 'rewrite' : 'none', what: file, why });
    } else if (kind === 'snapshot') {
      const isBase = finding.index === group.base?.index;
      const needed = 'the log begins behind it: start the node in its group, which gets another one';
      steps.push({
        action: isBase ? 'none' : 'remove',
        what: file,
        why: isBase ? needed : 'others stand for the same records',
      });
    }
  }
  return steps;
}

/** In an order that a crash may interrupt: the state goes before the records that it is the result of. */
async function carryOut(opened: OfflineDirectory, survey: Survey, cutFrom: LogIndex | null): Promise<void> {
  const { disk, directory, base } = opened.group;
  for (const finding of survey.findings) {
    if (finding.kind === 'snapshot' && finding.index !== base?.index) disk.remove(finding.file);
  }
  const committed = knownCommitted(opened, survey);
  let upTo = committed;
  if (cutFrom !== null) {
    const { whole } = survey;
    if (whole.chainCrc === null) throw new TLedgerError('DATA_CORRUPTED', 'where the log begins is not known');
    upTo = logIndex(Math.min(committed, whole.index));
    unlinkSegment(`${directory}/commitlog`, whole.end - (whole.end % opened.group.identity.segmentSizeBytes));
    const store = await openStore(directory);
    await store.load().catch(() => store.reset().then(() => store.load()));
    await store.replace([]);
    await store.close();
    const checkpoint = new Checkpoint(disk, `${directory}/checkpoint`);
    checkpoint.lower({ flushed: whole as LogTip, mark: base ?? EMPTY_TIP });
    checkpoint.close();
  }
  await rebuildOffline(opened, survey, upTo);
}

/** A backup may hold the very file that is cut, by a link: what it holds stays as it is. */
function unlinkSegment(directory: string, start: number): void {
  const path = join(directory, Segments.nameOf(start));
  if (!existsSync(path) || statSync(path).nlink === 1) return;
  const copy = `${path}.unlinked`;
  copyFileSync(path, copy);
  renameSync(copy, path);
}

async function surveyAgain(opened: OfflineDirectory, options: RepairOptions): Promise<DirectoryReport> {
  const { openOffline } = await import('../storage/offline.ts');
  const group = openOffline(opened.group.disk, opened.group.directory);
  const store = await openStore(group.directory);
  const { readTables } = await import('../broker/state_tables.ts');
  const tables = readTables(await store.load());
  await store.close();
  const again: OfflineDirectory = { group, tables, stateFault: null };
  return reportOf(again, await surveyDirectory(again, options.onProgress));
}

function checkCut(cutFrom: number | null, first: LogIndex | null): void {
  if (cutFrom === null || cutFrom === first) return;
  const which = first === null ? 'no record that was vouched for is damaged' : `the first damaged record is ${first}`;
  throw new TLedgerError('INVALID_ARGUMENT', `cutting from ${cutFrom}: ${which}`);
}

/** What lies behind a record, as far as it can be read. */
async function lossFrom(group: OfflineGroup, fromIndex: LogIndex, survey: Survey): Promise<Loss> {
  const queues = new Map<
    string,
    { topic: string; queueId: number; count: number; firstOffset: number; lastOffset: number }
  >();
  let readable = 0;
  await walkLog(group, {
    onGap: () => {},
    onRecord: (buffer, at) => {
      if (indexAt(buffer, at) < fromIndex) return;
      readable++;
      if (magicAt(buffer, at) !== recordMagic.message || isParkedAt(buffer, at)) return;
      const message = decodeMessageRecord(buffer, at, at + sizeAt(buffer, at));
      if (message === undefined) return;
      const { topic, queueId, queueOffset } = message;
      const known = queues.get(`${topic} ${queueId}`);
      if (known === undefined) {
        queues.set(`${topic} ${queueId}`, {
          topic,
          queueId,
          count: 1,
          firstOffset: queueOffset,
          lastOffset: queueOffset,
        });
      } else {
        known.count++;
        known.lastOffset = queueOffset;
      }
    },
  });
  const lastIndex = Math.max(survey.last.index, group.flushed?.index ?? 0);
  return {
    ...{ fromIndex, lastIndex: survey.last.index, flushedIndex: group.flushed?.index ?? null, readable },
    unreadable: lastIndex - fromIndex + 1 - readable,
    messages: [...queues.values()],
  };
}

async function openStore(directory: string): Promise<LevelStateStore> {
  try {
    return await LevelStateStore.open(`${directory}/state`);
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    LevelStateStore.setAside(`${directory}/state`);
    return LevelStateStore.open(`${directory}/state`);
  }
}
