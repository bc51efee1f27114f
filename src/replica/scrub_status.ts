// What a replica says of the checks of its stored bytes.
import type { LogIndex } from '../raft/types.ts';

/** Something that was found, and when. */
export interface FoundFault {
  /** `log`, `snapshot`, `derived`, `file`, `divergence`: see storage/scrub_types.ts. */
  readonly kind: string;
  readonly file: string;
  /** The record or snapshot concerned; 0 when it is none. */
  readonly index: LogIndex;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

/** A snapshot that was found to be good: of equal index, all replicas have equal checksums. */
export interface KnownSnapshot {
  readonly index: LogIndex;
  readonly dataCrc: number;
  readonly sizeBytes: number;
}

/** The pass under way, and the last complete one. Times are milliseconds since the epoch, 0 for never. */
export interface ScrubStatus {
  readonly isRunning: boolean;
  /** Counts passes, also ones that were begun anew; 0 before the first. */
  readonly pass: number;
  readonly startedAtMs: number;
  readonly bytesPerSecond: number;
  /** How far the pass is, and how far it has to go. */
  readonly index: LogIndex;
  readonly goal: LogIndex;
  readonly checkedBytes: number;
  readonly totalBytes: number;
  /** When the next one begins by itself; 0 for never. */
  readonly nextAtMs: number;
  readonly lastPass: number;
  readonly lastAtMs: number;
  readonly lastIndex: LogIndex;
  /** Of the pass under way, or of the last one when none is. At most `FAULTS_MAX`. */
  readonly faults: readonly FoundFault[];
  readonly snapshots: readonly KnownSnapshot[];
}
