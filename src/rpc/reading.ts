// The rule of reading on any replica: what is found is committed and may be shown at once; that something is *not* there
// is only believed after this replica has caught up with the leader.
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import type { PullRequest, PullResult, QueueRange, TopicInfo } from '../broker/types.ts';
import { type QueueOffset, queueOffset } from '../format/message.ts';
import { int64ToNumber } from '../wire/int64.ts';
import { PULL_BYTES_DEFAULT, PULL_COUNT_DEFAULT } from '../wire/limits.ts';
import type { Gateway } from './gateway.ts';

/** The topic. @throws TLedgerError TOPIC_NOT_FOUND after catching up; NO_LEADER and its kin when that was impossible. */
export async function findTopic(gateway: Gateway, name: string, deadlineMs: number): Promise<TopicInfo> {
  const known = gateway.broker.topic(name);
  if (known !== undefined) return known;
  await gateway.readBarrier(deadlineMs);
  const found = gateway.broker.topic(name);
  if (found === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${quoted(name)} does not exist`);
  return found;
}

/** Checks a queue number against its topic. @throws TLedgerError QUEUE_OUT_OF_RANGE */
export function checkQueue(topic: TopicInfo, queueId: number): void {
  if (queueId >= 0 && queueId < topic.queues) return;
  throw new TLedgerError(
    'QUEUE_OUT_OF_RANGE',
    `topic ${topic.name} has the queues 0 to ${topic.queues - 1}, not ${queueId}`,
  );
}

/**
 * The topic of a queue that a call names: topics get more queues, and this replica may not have heard of it yet.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE after catching up; NO_LEADER and its kin when that was impossible.
 */
export async function findQueue(
  gateway: Gateway,
  name: string,
  queueId: number,
  deadlineMs: number,
): Promise<TopicInfo> {
  const known = await findTopic(gateway, name, deadlineMs);
  if (queueId >= 0 && queueId < known.queues) return known;
  await gateway.readBarrier(deadlineMs);
  const topic = await findTopic(gateway, name, deadlineMs);
  checkQueue(topic, queueId);
  return topic;
}

/** What the queue holds on this replica. */
export function rangeOf(gateway: Gateway, topic: string, queueId: number): QueueRange {
  return gateway.broker.range(topic, queueId);
}

/**
 * Checks that an offset can be read from: kept still, and not beyond what is committed.
 * @throws TLedgerError OFFSET_OUT_OF_RANGE naming the offsets held.
 */
export async function checkOffset(
  gateway: Gateway,
  at: { readonly topic: string; readonly queueId: number; readonly offset: number },
  deadlineMs: number,
): Promise<void> {
  if (at.offset > rangeOf(gateway, at.topic, at.queueId).max) await gateway.readBarrier(deadlineMs);
  const { min, max } = rangeOf(gateway, at.topic, at.queueId);
  if (at.offset >= min && at.offset <= max) return;
  throw new TLedgerError(
    'OFFSET_OUT_OF_RANGE',
    `queue ${at.queueId} of topic ${at.topic} can be read from offset ${min} to ${max}, not from ${at.offset}`,
  );
}

/** Messages from an offset on; null when there are none here yet. */
export async function pullSome(gateway: Gateway, request: PullRequest): Promise<PullResult | null> {
  const { max } = rangeOf(gateway, request.topic, request.queueId);
  if (request.offset >= max) return null;
  const result = await gateway.broker.read(request);
  return result.count === 0 ? null : result;
}

/** An offset of a request. @throws TLedgerError INVALID_ARGUMENT */
export function offsetOf(text: string): QueueOffset {
  const offset = int64ToNumber(text, 'offset');
  if (offset < 0) throw new TLedgerError('INVALID_ARGUMENT', `offset: ${offset} is negative`);
  return queueOffset(offset);
}

/** How much a response may hold; 0 stands for the default. @throws TLedgerError INVALID_ARGUMENT */
export function boundOf(value: number, kind: 'max_count' | 'max_bytes'): number {
  if (value < 0) throw new TLedgerError('INVALID_ARGUMENT', `${kind}: ${value} is negative`);
  if (value > 0) return value;
  return kind === 'max_count' ? PULL_COUNT_DEFAULT : PULL_BYTES_DEFAULT;
}
