// Relations between settings: each may be right by itself and still not fit the others.
import type { Settings } from './schema.ts';

/** Heartbeats that may be lost in a row before a follower stands for election. */
const HEARTBEATS_PER_TIMEOUT_MIN = 3;
/** What a message's record adds to its body at most: headers, topic and properties (format/message_layout.ts). */
const RECORD_OVERHEAD_BYTES_MAX = 48 + 91 + 255 + 65_535;
/** A record and the filler behind it share a segment (format/record.ts). */
const FILLER_BYTES_MIN = 8;

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
    holds: (s) => s.bodyBytesMax + RECORD_OVERHEAD_BYTES_MAX <= s.batchBytesMax,
    says: (s) =>
      `batchBytesMax (${s.batchBytesMax}) must hold one message of bodyBytesMax (${s.bodyBytesMax}) and its ` +
      `${RECORD_OVERHEAD_BYTES_MAX} bytes of headers and properties`,
  },
  {
    holds: (s) => s.batchBytesMax + FILLER_BYTES_MIN <= s.segmentSizeBytes,
    says: (s) =>
      `segmentSizeBytes (${s.segmentSizeBytes}) must hold a batch of batchBytesMax (${s.batchBytesMax}) and a filler`,
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
];

/** Adds a sentence to `problems` for each relation that does not hold. */
export function checkRelations(settings: Settings, problems: string[]): void {
  for (const relation of relations) if (!relation.holds(settings)) problems.push(relation.says(settings));
}
