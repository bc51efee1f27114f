// Logs and peers for the tests of the repair: replicas of one log on simulated disks, and a repair that asks them.
import type { Clock } from '../../src/base/clock.ts';
import { TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { physicalOffset } from '../../src/format/record.ts';
import { type LogIndex, logIndex, type NodeId, term } from '../../src/raft/types.ts';
import { recordsAnswer, snapshotAnswer } from '../../src/replica/repair_answers.ts';
import type { RepairPeers } from '../../src/replica/repair_sources.ts';
import { Repairing } from '../../src/replica/repairing.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import type { Damage } from '../../src/storage/damage.ts';
import { HardStateFile } from '../../src/storage/hard_state.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import { DIRECTORY, openLog, SEGMENT_BYTES } from '../storage/log_fixture.ts';

export const place = (disk: MemoryDisk) => ({
  disk,
  directory: DIRECTORY,
  segmentSizeBytes: SEGMENT_BYTES,
  indexUnitsPerFile: 8,
});

/** A peer: its open log and snapshots, and how far it knows the log to be committed. */
export interface Peer {
  readonly log: CommitLog;
  readonly snapshots: SnapshotStore;
  readonly committed: LogIndex;
  /** The oldest record that is held back; none when null or left out. */
  readonly heldFrom?: LogIndex | null;
}

/** A running peer on a disk that nobody else uses. @param committed the whole log when left out. */
export function peerOn(disk: MemoryDisk, committed?: number): Peer {
  const log = openLog(disk);
  const snapshots = SnapshotStore.open({ disk, directory: DIRECTORY });
  return { log, snapshots, committed: committed === undefined ? log.lastIndex : logIndex(committed) };
}

export function setTerm(disk: MemoryDisk, at: number): void {
  const hardState = HardStateFile.open({ disk, directory: DIRECTORY });
  hardState.save({ term: term(at), vote: null });
  hardState.close();
}

export function termOf(disk: MemoryDisk): number {
  const hardState = HardStateFile.open({ disk, directory: DIRECTORY });
  hardState.close();
  return hardState.state.term;
}

/** Peers that answer at once; `null` for one that does not. */
export function peersOf(peers: Readonly<Record<NodeId, Peer | null>>): RepairPeers {
  const asked = (peer: NodeId): Peer => {
    const found = peers[peer];
    if (found == null) throw new TLedgerError('UNREACHABLE', `${peer} cannot be reached`);
    return found;
  };
  return {
    list: () => Object.keys(peers),
    fetchRecords: async (peer, firstIndex, bytesMax) => {
      const { log, committed } = asked(peer);
      const answer = recordsAnswer(log, committed, firstIndex, bytesMax);
      return { ...answer, records: Buffer.from(answer.records) };
    },
    fetchSnapshot: async (peer, index, offset) => {
      const { snapshots, heldFrom = null } = asked(peer);
      return snapshotAnswer(snapshots, { index, offset, heldFrom }, 1_000);
    },
  };
}

/** Time that passes as fast as it can. */
export const hastyClock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => 0,
  after: (_, task) => {
    let isCancelled = false;
    setImmediate(() => isCancelled || task());
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  },
  defer: (task) => {
    setImmediate(task);
  },
  soon: (task) => {
    setImmediate(task);
  },
};

export const someDamage: Damage = {
  kind: 'log',
  file: 'log',
  position: physicalOffset(0),
  index: logIndex(1),
  reason: 'a test says so',
};

/** A repair, and what it said. */
export function repairOf(
  disk: MemoryDisk,
  peers: RepairPeers,
  { damage = someDamage, isDispensable = false }: { damage?: Damage | undefined; isDispensable?: boolean } = {},
): { repair: Repairing; events: string[]; warnings: string[] } {
  const events: string[] = [];
  const warnings: string[] = [];
  const repair = new Repairing({
    place: place(disk),
    damage,
    isDispensable,
    peers,
    clock: hastyClock,
    random: new SeededRandom(1),
    pieceBytes: 700,
    askDelayMsMax: 1,
    onEvent: (message) => events.push(message),
    onWarning: (message) => warnings.push(message),
  });
  return { repair, events, warnings };
}

/** Repairs to the end. */
export async function repaired(
  disk: MemoryDisk,
  peers: RepairPeers,
  damage?: Damage,
  isDispensable = false,
): Promise<string[]> {
  const { repair, events } = repairOf(disk, peers, { damage, isDispensable });
  await repair.run();
  return events;
}

/** Asks `times` times in vain. @returns what was warned of. */
export async function refused(
  disk: MemoryDisk,
  peers: RepairPeers,
  times = 3,
  what: { damage?: Damage; isDispensable?: boolean } = {},
): Promise<string[]> {
  const counted: RepairPeers = {
    ...peers,
    list: () => {
      if (left-- === 0) repair.stop();
      return peers.list();
    },
  };
  const { repair, warnings } = repairOf(disk, counted, what);
  let left = 4 * times;
  await repair.run().then(
    () => {
      throw new Error('it was repaired');
    },
    (error: unknown) => {
      if (!(error instanceof TLedgerError) || error.code !== 'SHUTTING_DOWN') throw error;
    },
  );
  return warnings;
}
