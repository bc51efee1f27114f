// The leader's batch: everything that waits, checked and numbered by the broker, in one buffer that is then written once,
// sent to every follower and kept for readers as it is.
import { TLedgerError } from '../base/errors.ts';
import type { AppendPlace } from '../broker/admission.ts';
import type { Broker } from '../broker/broker.ts';
import { topicExists } from '../broker/commands.ts';
import type { TopicInfo, TopicWish } from '../broker/types.ts';
import { blankRecord, recordMagic } from '../format/record.ts';
import type { LogIndex } from '../raft/types.ts';
import type { FlushPolicy } from './flusher.ts';
import {
  type Pending,
  type PendingAppend,
  type PendingCommand,
  type PendingQueue,
  type PendingStore,
  type PendingTopic,
  sizeOf,
} from './pending.ts';
import type { Caller } from './waiters.ts';

/** What one drain takes: records to append, and who waits for them. */
export interface Batch {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Records in [start, end); 0 when all that waited was refused or known already. */
  readonly count: number;
  readonly members: readonly Caller[];
}

interface Piece {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/** Of the memory that a piece lies in. */
const OWN_SHARE_MIN = 0.75;

/** What is guaranteed of an applied record. */
type GuaranteeOf = (index: LogIndex) => FlushPolicy;

/** Where a batch will lie and how large it may be. */
export interface BatchPlace extends AppendPlace {
  readonly bytesMax: number;
  readonly guaranteeOf: GuaranteeOf;
}

/**
 * Takes what waits, in order, up to `bytesMax` (one request may exceed it). Refused requests are answered at once and
 * leave no trace; the caller must append the batch in the same turn, because the broker counts on it.
 */
export function takeBatch(pending: PendingQueue, broker: Broker, place: BatchPlace): Batch {
  const { firstIndex, bytesMax, nowMs, guaranteeOf } = place;
  const pieces: Piece[] = [];
  const members: Caller[] = [];
  let bytes = 0;
  let count = 0;
  for (let next = pending.peek(); next !== undefined; next = pending.peek()) {
    if (bytes > 0 && bytes + sizeOf(next) > bytesMax) break;
    pending.shift();
    const at = { firstIndex: (firstIndex + count) as LogIndex, nowMs };
    const admitted = admitSafely(next, members, broker, at, guaranteeOf);
    if (admitted === null) continue;
    members.push(admitted.member);
    if (admitted.piece === null) continue;
    pieces.push(admitted.piece);
    bytes += admitted.piece.end - admitted.piece.start;
    count += admitted.count;
  }
  const { buffer, start, end } = gather(pieces, bytes);
  return { buffer, start, end, count, members };
}

interface Admitted {
  readonly piece: Piece | null;
  readonly count: number;
  readonly member: Caller;
}

/** Refusals go to their caller. Anything else ends the replica, but not before all whom it took along are told. */
function admitSafely(
  item: Pending,
  earlier: readonly Caller[],
  broker: Broker,
  place: AppendPlace,
  guaranteeOf: GuaranteeOf,
): Admitted | null {
  try {
    if (item.kind === 'command') return admitCommand(item, place);
    if (item.kind === 'topic') return admitTopic(item, broker, place);
    return admitAppend(item, broker, place, guaranteeOf);
  } catch (error) {
    if (error instanceof TLedgerError) {
      item.done(error, null);
      return null;
    }
    // It wrote none of them, but an earlier request may have brought the same into the log.
    const unknown = new TLedgerError('OUTCOME_UNKNOWN', 'the node failed before it wrote the request');
    for (const member of earlier) member.settle(unknown);
    item.done(unknown, null);
    throw error;
  }
}

function admitAppend(
  item: PendingAppend | PendingStore,
  broker: Broker,
  place: AppendPlace,
  guaranteeOf: GuaranteeOf,
): Admitted {
  const { firstIndex } = place;
  const admission =
    item.kind === 'append' ? broker.admit(item.request, place) : broker.admitStored(item.request, place);
  const { queueOffset, count, lastIndex, repeated } = admission.result;
  const settle = (error: TLedgerError | null): void => {
    if (error !== null) item.done(error, null);
    else item.done(null, { queueOffset, count, lastIndex, repeated, flush: guaranteeOf(lastIndex) });
  };
  const { deadlineMs } = item;
  if (admission.kind === 'repeated') {
    return { piece: null, count: 0, member: { firstIndex: lastIndex, lastIndex, isRepeat: true, deadlineMs, settle } };
  }
  return {
    piece: { buffer: item.request.records, start: admission.start, end: admission.end },
    count: lastIndex - firstIndex + 1,
    member: { firstIndex, lastIndex, isRepeat: repeated, deadlineMs, settle },
  };
}

function admitTopic(item: PendingTopic, broker: Broker, { firstIndex, nowMs }: AppendPlace): Admitted {
  const proposal = broker.proposeTopic(item.wish.name, item.wish.queues, nowMs, item.wish.messageType);
  const created = proposal.kind === 'command';
  const settle = (error: TLedgerError | null): void => {
    const topic = broker.topic(item.wish.name);
    if (error !== null || topic === undefined) item.done(error ?? new TLedgerError('INTERNAL'), null);
    else if (!isAsWished(topic, item.wish)) item.done(topicExists(topic), null);
    else item.done(null, { topic, created });
  };
  const lastIndex = created ? firstIndex : ((firstIndex - 1) as LogIndex);
  const member = { firstIndex: lastIndex, lastIndex, isRepeat: !created, deadlineMs: item.deadlineMs, settle };
  if (!created) return { piece: null, count: 0, member };
  const record = blankRecord(recordMagic.command, proposal.body);
  return { piece: { buffer: record, start: 0, end: record.length }, count: 1, member };
}

function admitCommand(item: PendingCommand, { firstIndex }: AppendPlace): Admitted {
  const record = blankRecord(recordMagic.command, item.body);
  const settle = (error: TLedgerError | null): void => item.done(error, error === null ? firstIndex : null);
  return {
    piece: { buffer: record, start: 0, end: record.length },
    count: 1,
    member: { firstIndex, lastIndex: firstIndex, isRepeat: false, deadlineMs: item.deadlineMs, settle },
  };
}

function isAsWished(topic: TopicInfo, { queues, messageType }: TopicWish): boolean {
  return (topic.queues === queues || messageType === 'lite') && (topic.messageType ?? 'mixed') === messageType;
}

/** One piece stays where it came, unless that keeps much in memory that is not its own. */
function gather(pieces: readonly Piece[], bytes: number): Piece {
  const [first] = pieces;
  const isAlone = pieces.length === 1 && first !== undefined;
  if (isAlone && bytes >= OWN_SHARE_MIN * first.buffer.buffer.byteLength) return first;
  const buffer = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const piece of pieces) at += piece.buffer.copy(buffer, at, piece.start, piece.end);
  return { buffer, start: 0, end: at };
}
