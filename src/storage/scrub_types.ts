// What is checked in the background, and what may be found.
import type { LogIndex } from '../raft/types.ts';
import type { Damage } from './damage.ts';
import type { Disk } from './disk.ts';
import type { KeyIndexCheck } from './key_index_check.ts';
import type { LogTip } from './log_tip.ts';

/** What is checked, and what is known of it at the moment. */
export interface ScrubTarget {
  readonly disk: Disk;
  /** The group's directory. */
  readonly directory: string;
  readonly segmentSizeBytes: number;
  /** Units in one file of the log index; only tests set it. */
  readonly indexUnitsPerFile?: number | undefined;
  /** Where the log begins now. */
  readonly base: () => LogTip;
  /** The lowest offset whose unit is kept now; null when nothing is known of the queue: its units are not looked at. */
  readonly queueMin: (topic: string, queueId: number) => number | null;
  /** Begins to compare the key index of the segment that begins there; null when it has none that is kept. */
  readonly keyCheck?: (segmentStart: number) => KeyIndexCheck | null;
  /** Whether units that are wrong are written anew, as the verified record says: never by tools that only look. */
  readonly rewritesUnits?: boolean;
  /** The last records whose units must be there: in the log index, in the queues. All that are looked at by default. */
  readonly unitsUpTo?: { readonly logIndex: LogIndex; readonly queues: LogIndex };
}

/** Something that is not as it must be. */
export type Finding =
  /** @see isMended: what is derived was wrong, and is right again. */
  | (Damage & { readonly isMended?: boolean })
  /** A file that says one small thing (term and vote, base, checkpoint, identity): a slot of it, or all of it. */
  | { readonly kind: 'file'; readonly file: string; readonly reason: string }
  /** This replica and another one say different things of what both hold to be committed. */
  | { readonly kind: 'divergence'; readonly file: string; readonly index: LogIndex; readonly reason: string };
