// What consumers ask of the leader of a group, and what they are told.
import type { ChangeMode } from '../../broker/consuming/consume_command.ts';
import type { FilterExpression } from '../../broker/filter/filter.ts';
import type { LogIndex } from '../../raft/types.ts';

/** Messages of any queue of a topic, for one consumer of a group. */
export interface PopRequest {
  readonly group: string;
  readonly topic: string;
  readonly filter: FilterExpression;
  /** At least one message is handed out if there is one, however large. */
  readonly countMax: number;
  readonly bytesMax: number;
  /** How long what is handed out stays with the consumer. */
  readonly invisibleMs: number;
  /** Of the call; '' when it has none. The same call gets what was decided for it before and is still invisible. */
  readonly attemptId: string;
  /** How long to wait for the first message. */
  readonly waitMs: number;
  /**
   * Only of these lite topics (of a topic of type lite), each in order, whatever the group is; those that do not exist yet
   * count as soon as they do.
   */
  readonly lite?: readonly string[] | undefined;
}

/** Stands for one delivery of one message: `Receipt`s of earlier deliveries are not valid any more. */
export interface Receipt {
  readonly queueId: number;
  readonly offset: number;
  readonly handle: LogIndex;
}

/** A message that is handed out. */
export interface PoppedMessage extends Receipt {
  /** From 1. */
  readonly attempt: number;
  /** The whole record. */
  readonly record: Buffer;
}

/** What is to become of one delivery. */
export type Verdict =
  | { readonly kind: 'acknowledge' }
  /** Invisible for so long from now on. */
  | { readonly kind: 'change'; readonly invisibleMs: number; readonly mode: ChangeMode }
  /** To the group's dead letters. */
  | { readonly kind: 'bury' };

/** Verdicts on deliveries of one group and topic. */
export interface SettleRequest {
  readonly group: string;
  readonly topic: string;
  readonly verdicts: readonly { readonly receipt: Receipt; readonly verdict: Verdict }[];
}

/** Whether a verdict was carried out; not when its receipt is not valid any more. A change gives the new handle. */
export interface Settled {
  readonly isDone: boolean;
  readonly handle: LogIndex;
}

/** Where a group goes on: everything in flight is forgotten. */
export interface MoveRequest {
  readonly group: string;
  readonly topic: string;
  readonly positions: readonly { readonly queueId: number; readonly offset: number }[];
}

/** Bounds of what may wait. */
export const consumingLimits = {
  /** Waiting pops of one group and topic, and of all (ROCKETMQ §5.10). */
  waitingPopsMax: 1_024,
  waitingPopsTotalMax: 100_000,
  waitingOrdersMax: 10_000,
  /** Messages in flight of one group in one queue; beyond it nothing new is handed out. */
  inFlightMax: 10_000,
  /** Messages one pop looks at in one step: what a filter leaves out counts. */
  scanCountMax: 2_048,
  groupsMax: 10_000,
  popCountMax: 32,
  /** Characters. */
  attemptIdMax: 256,
} as const;

/** Begins the names of topics that hold dead letters. */
export const DEAD_LETTER_PREFIX = '%DLQ%';
/** The topic of a group's dead letters. */
export const deadLetterTopic = (group: string): string => DEAD_LETTER_PREFIX + group;
