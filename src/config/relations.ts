// Relations between settings: each may be right by itself and still not fit the others.
import type { Settings } from './schema.ts';

/** Heartbeats that may be lost in a row before a follower stands for election. */
const HEARTBEATS_PER_TIMEOUT_MIN = 3;
interface Relation {
  readonly holds: (settings: Settings) => boolean;
  readonly says: (settings: Settings) => string;
}

const relations: readonly Relation[] = [
  {
    holds: (s) => s.heartbeatIntervalMs * HEARTBEATS_PER_TIMEOUT_MIN <= s.electionTimeoutMsMin,
    says: (s) =>
      `electionTimeoutMsMin (${s.electionTimeoutMsMin}) must be at least ${HEARTBEATS_PER_TIMEOUT_MIN} times ` +
      `heartbeatIntervalMs (${s.heartbeatIntervalMs})`,
  },
  {
    holds: (s) => s.electionTimeoutMsMin <= s.electionTimeoutMsMax,
    says: (s) =>
      `electionTimeoutMsMax (${s.electionTimeoutMsMax}) must not be below electionTimeoutMsMin (${s.electionTimeoutMsMin})`,
  },
  {
    holds: (s) =>
      s.idleHeartbeatIntervalMs === 0 ||
      (s.heartbeatIntervalMs <= s.idleHeartbeatIntervalMs && s.idleHeartbeatIntervalMs < s.electionTimeoutMsMin),
    says: (s) =>
      `idleHeartbeatIntervalMs (${s.idleHeartbeatIntervalMs}) must not be below heartbeatIntervalMs ` +
      `(${s.heartbeatIntervalMs}), and below electionTimeoutMsMin (${s.electionTimeoutMsMin})`,
  },
  {
    holds: (s) => s.retentionBytes === 0 || s.retentionBytes >= s.segmentSizeBytes,
    says: (s) =>
      `retentionBytes (${s.retentionBytes}) must hold one segment of segmentSizeBytes (${s.segmentSizeBytes}), or be 0`,
  },
  {
    holds: (s) => areAscending([s.diskWarnPercent, s.diskCleanPercent, s.diskRefusePercent]),
    says: (s) =>
      `diskWarnPercent (${s.diskWarnPercent}), diskCleanPercent (${s.diskCleanPercent}) and diskRefusePercent ` +
      `(${s.diskRefusePercent}) must ascend where they are not 0`,
  },
  {
    holds: (s) => s.batchBytesMax <= s.pendingBytesMax,
    says: (s) => `pendingBytesMax (${s.pendingBytesMax}) must hold one batch of batchBytesMax (${s.batchBytesMax})`,
  },
  {
    holds: (s) => s.appendBytesMax <= s.inflightBytesMax,
    says: (s) =>
      `inflightBytesMax (${s.inflightBytesMax}) must hold one message of appendBytesMax (${s.appendBytesMax})`,
  },
  {
    holds: (s) => s.coldReadCacheBytes >= 4 * s.coldReadChunkBytes,
    says: (s) =>
      `coldReadCacheBytes (${s.coldReadCacheBytes}) must hold four chunks of coldReadChunkBytes (${s.coldReadChunkBytes})`,
  },
];

/** Adds a sentence to `problems` for each relation that does not hold. */
export function checkRelations(settings: Settings, problems: string[]): void {
  for (const relation of relations) if (!relation.holds(settings)) problems.push(relation.says(settings));
}

function areAscending(percents: readonly number[]): boolean {
  const given = percents.filter((percent) => percent > 0);
  return given.every((percent, at) => at === 0 || given[at - 1]! <= percent);
}
