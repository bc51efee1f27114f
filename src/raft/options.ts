// What a member is made from, and what must hold of its configuration.
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import type { HardState, LogIndex, LogShape, MembershipEntry, RaftConfig, RecordSizer } from './types.ts';

/** What a member starts from. */
export interface RaftOptions {
  readonly config: RaftConfig;
  /** As it was last flushed; term 0 and no vote for a new member. */
  readonly hardState: HardState;
  /** The log as recovered; all of it counts as flushed. */
  readonly log: LogShape;
  /**
   * Ascending, at least one. The first is in force at `commit` (index 0 for the one that the configuration names, a
   * blank for a node that waits to be added), the others have their records above it in the log.
   */
  readonly memberships: readonly MembershipEntry[];
  /** What is known to be committed from before, e.g. because it was applied; the log's base by default. */
  readonly commit?: LogIndex;
  readonly sizer: RecordSizer;
  readonly random: Random;
  readonly nowMs: number;
}

/** Asserted once, at the start: how the times of a configuration relate. */
export function checkConfig(config: RaftConfig): void {
  assert(config.heartbeatIntervalMs > 0, 'heartbeats have an interval');
  assert(config.electionTimeoutMsMin > config.heartbeatIntervalMs, 'an election timeout outlasts a heartbeat interval');
  assert(
    config.electionTimeoutMsMax >= config.electionTimeoutMsMin,
    'the longest election timeout is not the shortest',
  );
  const { heartbeatIntervalMs, idleHeartbeatIntervalMs, electionTimeoutMsMin } = config;
  assert(idleHeartbeatIntervalMs >= heartbeatIntervalMs, 'an idle group is quieter than a busy one');
  assert(idleHeartbeatIntervalMs < electionTimeoutMsMin, 'an election timeout outlasts an idle heartbeat interval');
  assert(config.appendBytesMax > 0, 'an append message has room for bytes');
}
