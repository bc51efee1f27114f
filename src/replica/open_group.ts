// Opens what one replica keeps of its group, in the one order that makes sense of it after any crash: who it voted for,
// the snapshots, the log, and the state that is derived from both. A snapshot whose installation was interrupted needs
// nothing special: the log then begins behind it, and the state is behind the log's base and is restored from it.

import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import { Broker } from '../broker/broker.ts';
import type { BrokerLimits } from '../broker/limits.ts';
import type { KeyIndexParts } from '../broker/options.ts';
import { membershipsIn } from '../format/membership.ts';
import { type LogIndex, logIndex, type Membership, type MembershipEntry } from '../raft/types.ts';
import type { ColdLimits } from '../storage/cold_reads.ts';
import { CommitLog } from '../storage/commit_log.ts';
import { type Damage, describeDamage } from '../storage/damage.ts';
import type { Disk } from '../storage/disk.ts';
import { HardStateFile } from '../storage/hard_state.ts';
import type { KeyIndexLayout } from '../storage/key_index_file.ts';
import { recordAt } from '../storage/record_at.ts';
import { SnapshotStore } from '../storage/snapshot_store.ts';
import type { StateStore } from '../storage/state_store.ts';
import { endPositionOf } from './applying.ts';

/** Bytes of the log looked through at a time for memberships. */
const SCAN_BYTES = 1024 * 1024;

/** Where a group's files are, and how they are laid out. */
export interface OpenGroupOptions {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  /** The group's state tables; closed with the group, also when opening fails. */
  readonly store: StateStore;
  readonly segmentSizeBytes: number;
  readonly cacheBytesMax?: number;
  /** Bounds of reading old data. */
  readonly cold?: Partial<ColdLimits>;
  /** Paces such reads; the machine's by default. */
  readonly clock?: Clock;
  readonly indexUnitsPerFile?: number;
  /** How messages are made findable by key; they are not by default, and what there was of an index is removed. */
  readonly keyIndex?: KeyIndexLayout | 'off';
  readonly limits?: Partial<BrokerLimits>;
  /** Derived data that was found damaged: it is made anew from the log. */
  readonly damage?: Damage | undefined;
  /** Told of what was damaged and made anew. */
  readonly onWarning: (message: string) => void;
}

/** The parts of an open group; `close` closes them all. */
export interface OpenGroup {
  readonly hardState: HardStateFile;
  readonly snapshots: SnapshotStore;
  readonly log: CommitLog;
  readonly broker: Broker;
  close(): Promise<void>;
}

/**
 * Opens and recovers a group.
 * @throws TLedgerError DATA_CORRUPTED, DATA_DIR_FOREIGN, STORAGE_FAILED; what was opened before is closed again.
 */
export async function openGroup(options: OpenGroupOptions): Promise<OpenGroup> {
  const { disk, directory, store, segmentSizeBytes, onWarning } = options;
  const opened: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(part: T): T => {
    opened.push(part);
    return part;
  };
  try {
    disk.makeDirectory(directory);
    refuseLostVote(disk, directory);
    const hardState = keep(HardStateFile.open({ disk, directory }));
    const snapshots = keep(SnapshotStore.open({ disk, directory }));
    const log = keep(CommitLog.open(logOptionsOf(options)));
    const broker = await Broker.open({
      disk,
      directory: `${directory}/consumequeue`,
      store,
      snapshots,
      base: log.base,
      readLog: log.readAt.bind(log),
      coldLog: log.cold,
      damageAt: (position) => log.damageAt(position),
      flushLog: async (upTo) => {
        if (log.flushedIndex < upTo) await log.flush();
      },
      segmentSizeBytes,
      lastIndex: log.lastIndex,
      distrust: distrustOf(options.damage),
      onWarning,
      keyIndex: keyIndexOf(options, log),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    const close = async (): Promise<void> => {
      await broker.close();
      for (const part of opened.reverse()) part.close();
    };
    return { hardState, snapshots, log, broker, close };
  } catch (error) {
    for (const part of opened.reverse()) part.close();
    await store.close();
    throw error;
  }
}

/** Term and vote are durable before the log is made: where they are missing beside a log, they were lost. */
function refuseLostVote(disk: Disk, directory: string): void {
  const path = `${directory}/hardstate`;
  if (disk.exists(path) || disk.list(`${directory}/commitlog`).length === 0) return;
  throw new TLedgerError('DATA_CORRUPTED', `${path} is missing beside a log: nobody knows whom this node voted for`);
}

/**
 * The memberships that consensus starts from: the one in force where the broker is, and those that the log holds above.
 * @param bootstrap what the configuration names, for a log that holds no membership yet.
 */
export function membershipsOf(log: CommitLog, broker: Broker, bootstrap: Membership): MembershipEntry[] {
  const entries = [broker.membership ?? { index: logIndex(0), membership: bootstrap }];
  for (let first = logIndex(broker.appliedIndex + 1); first <= log.lastIndex; ) {
    const { lastIndex } = log.fit(first, SCAN_BYTES);
    const { buffer, start, end } = log.read(first, lastIndex);
    entries.push(...membershipsIn(buffer, start, end));
    first = (lastIndex + 1) as LogIndex;
  }
  return entries;
}

/** The log's own index is looked at by the log. */
function distrustOf(damage: Damage | undefined): string | undefined {
  const isBroker = damage?.kind === 'derived' && (damage.what === 'consume queue' || damage.what === 'state');
  return isBroker ? describeDamage(damage) : undefined;
}

function keyIndexOf({ disk, directory: group, keyIndex }: OpenGroupOptions, log: CommitLog): KeyIndexParts | undefined {
  const directory = `${group}/keyindex`;
  if (keyIndex === undefined || keyIndex === 'off') {
    for (const name of disk.list(directory)) disk.remove(`${directory}/${name}`);
    return undefined;
  }
  return {
    directory,
    layout: keyIndex,
    endOf: (index) => endPositionOf(log, index),
    recordAt: (position) => recordAt(log, position),
  };
}

function logOptionsOf(options: OpenGroupOptions) {
  const { disk, directory, segmentSizeBytes, cacheBytesMax, cold, clock, indexUnitsPerFile } = options;
  return {
    disk,
    directory,
    segmentSizeBytes,
    ...(cacheBytesMax === undefined ? {} : { cacheBytesMax }),
    ...(cold === undefined ? {} : { cold }),
    ...(clock === undefined ? {} : { clock }),
    ...(indexUnitsPerFile === undefined ? {} : { indexUnitsPerFile }),
  };
}
