// What a replica is made of, and whom it tells.

import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Broker } from '../broker/broker.ts';
import type { Membership, RaftConfig } from '../raft/types.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import type { Damage } from '../storage/damage.ts';
import type { HardStateFile } from '../storage/hard_state.ts';
import type { SnapshotStore } from '../storage/snapshot_store.ts';
import type { DiskPlace } from './disk_watch.ts';
import type { FlushPolicy } from './flusher.ts';
import type { LeadingLimits } from './leading.ts';
import type { PeerTransport } from './types.ts';

/** All that a replica is made of. */
export interface ReplicaOptions {
  readonly raft: RaftConfig;
  /** Who the configuration says belongs to the group; what the log says goes before it. */
  readonly membership: Membership;
  readonly limits: LeadingLimits;
  readonly flush: FlushPolicy;
  /** With `async`: how long written records are left to the page cache; 100 ms by default. */
  readonly flushIntervalMs?: number;
  readonly checkpointIntervalMs: number;
  /** Bytes of the log kept at least, in whole segments; 0 keeps everything. */
  readonly retentionBytes: number;
  /** How long messages are kept at least; for ever when 0 or left out. */
  readonly retentionMs?: number;
  /** The disk that may become full; nobody looks when it is left out. */
  readonly space?: DiskPlace;
  /** A flush that takes longer means that the disk hangs: then this node does not lead. */
  readonly diskStallMs: number;
  /** Bytes of a snapshot sent at a time; only tests set it. */
  readonly snapshotChunkBytes?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: CommitLog;
  readonly hardState: HardStateFile;
  readonly snapshots: SnapshotStore;
  readonly broker: Broker;
  readonly transport: PeerTransport;
  /** Something odd that the replica can live with, for the log. */
  readonly onWarning: (message: string) => void;
  /** Something rare that went as it should: a snapshot, a cut of the log. For the log. */
  readonly onEvent?: (message: string) => void;
  /**
   * Called once when its log turned out to be damaged while it could still be read elsewhere: the replica is to be stopped,
   * repaired and opened anew. Without it such damage is a failure.
   */
  readonly onDamage?: (damage: Damage) => void;
  /** Called once when the replica cannot go on; it has stopped voting, leading and answering. */
  readonly onFailure: (error: Error) => void;
}
