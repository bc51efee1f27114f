// Puts a snapshot that has arrived in the place of the log and of the state. Each step leaves something from which the
// next start goes on: first the snapshot is durable, and found to make sense; then the log is empty behind it; then the
// state is what it says (a state that is behind its log's base is restored from the snapshot there; see open_group.ts).
import { assert } from '../base/assert.ts';
import type { Broker } from '../broker/broker.ts';
import type { SnapshotPoint } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';

interface Parts {
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly snapshots: SnapshotStore;
  /** The snapshot's last record. */
  readonly point: SnapshotPoint;
}

/** Installs a snapshot. Nothing else may use the parts meanwhile. @throws whatever disk and store throw; final. */
export async function installSnapshot({ log, broker, snapshots, point }: Parts): Promise<void> {
  const { index, term } = point;
  assert(snapshots.completeIncoming(index, term), 'a snapshot is installed when all of it has arrived');
  const snapshot = snapshots.open(index);
  try {
    const rows = await snapshot.allRows();
    await broker.install(snapshot, () => log.restart(snapshot.meta.tip), rows);
  } finally {
    snapshot.close();
  }
  for (const older of snapshots.list()) if (older < index) snapshots.remove(older);
}
