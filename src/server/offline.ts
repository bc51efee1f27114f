// A data directory whose node is stopped, opened for tools: locked against nodes, and read without changing anything.
import { join } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { readTables, type StoredTables } from '../broker/state_tables.ts';
import type { Damage } from '../storage/damage.ts';
import { type OfflineGroup, openOffline } from '../storage/offline.ts';
import { OfflineLock } from '../storage/offline_lock.ts';
import { type KnownState, type Survey, surveyOffline } from '../storage/offline_survey.ts';
import { RealDisk } from '../storage/real_disk.ts';
import type { Finding } from '../storage/scrub_types.ts';

/** Which directory. */
export interface OfflineOptions {
  readonly dataDir: string;
  readonly group: string;
}

/** What lies there; `tables` is null when the state cannot be read, for the reason given. */
export interface OfflineDirectory {
  readonly group: OfflineGroup;
  readonly tables: StoredTables | null;
  readonly stateFault: string | null;
}

/**
 * Runs `work` while no node can use the directory.
 * @throws TLedgerError DATA_DIR_LOCKED while a node uses it; DATA_DIR_FOREIGN when it is no node's, or a newer version's;
 * DATA_CORRUPTED when it cannot even be told whose it is.
 */
export async function withOffline<T>(
  options: OfflineOptions,
  work: (opened: OfflineDirectory) => Promise<T>,
): Promise<T> {
  const directory = join(options.dataDir, options.group);
  const disk = new RealDisk();
  // Whose it is first: nothing is made in a directory that is somebody else's.
  openOffline(disk, directory);
  const lock = await OfflineLock.take(directory);
  try {
    const group = openOffline(disk, directory);
    return await work({ group, ...(await stateOf(lock)) });
  } finally {
    await lock.release();
  }
}

/** Looks at everything in a data directory. @param onProgress told of the bytes read. */
export function surveyDirectory(opened: OfflineDirectory, onProgress: (bytes: number) => void): Promise<Survey> {
  return surveyOffline(opened.group, knownState(opened), onProgress).then((survey) => {
    const { stateFault, group } = opened;
    if (stateFault === null) return survey;
    const file = `${group.directory}/state`;
    const damage: Damage = { kind: 'derived', what: 'state', file, reason: stateFault };
    return { ...survey, findings: [...survey.findings, damage] };
  });
}

/** Whether something is damaged; an unfinished write at the end is not. */
export function isSound({ gaps, findings }: Survey): boolean {
  return findings.length === 0 && gaps.every(({ isVouched }) => !isVouched);
}

/** One line about a finding. */
export function findingText(finding: Finding): string {
  const what = finding.kind === 'derived' ? finding.what : finding.kind;
  return `${what}: ${finding.file}: ${finding.reason}`;
}

function knownState({ tables }: OfflineDirectory): KnownState | null {
  if (tables === null) return null;
  return {
    applied: tables.applied,
    queueMin: (topic, queueId) => {
      const info = tables.topics.find(({ name }) => name === topic);
      if (info === undefined || queueId >= info.queues) return null;
      return tables.ranges.get(topic)?.get(queueId)?.min ?? null;
    },
  };
}

async function stateOf(lock: OfflineLock): Promise<Pick<OfflineDirectory, 'tables' | 'stateFault'>> {
  try {
    return { tables: readTables(await lock.readState()), stateFault: null };
  } catch (error) {
    if (error instanceof TLedgerError && error.code === 'DATA_CORRUPTED')
      return { tables: null, stateFault: error.message };
    throw error;
  }
}
