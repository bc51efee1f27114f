// Where queues begin and end, and where a group has come that pulls (ROCKETMQ §4.14). That is the position which pops of the
// group go on from, too: committing one forgets what is in flight in that queue.
import { TLedgerError } from '../../base/errors.ts';
import { offsetByTime } from '../../broker/offset_by_time.ts';
import { type QueueOffset, queueOffset } from '../../format/message.ts';
import { type Int64, int64ToNumber } from '../../wire/int64.ts';
import type { MessageQueue } from '../../wire/rocketmq/definitions.ts';
import type {
  GetOffsetRequest,
  GetOffsetResponse,
  QueryOffsetRequest,
  QueryOffsetResponse,
  UpdateOffsetRequest,
  UpdateOffsetResponse,
} from '../../wire/rocketmq/service_messages.ts';
import { moveCall } from '../consuming_calls.ts';
import { checkOffset, findQueue as queueOf, rangeOf } from '../reading.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { named } from './enums.ts';
import { groupKey } from './namespaces.ts';
import { okStatus } from './status.ts';
import { millisOf } from './times.ts';
import { findTopic } from './topics.ts';

const REQUEST_BYTES = 256;

/** A queue that a call names. */
export interface QueuePlace {
  readonly topic: string;
  readonly queueId: number;
}

/** @throws TLedgerError ILLEGAL_TOPIC, TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE; what catching up throws. */
export async function findQueue(
  { gateway }: Pick<Edge, 'gateway'>,
  queue: MessageQueue | null,
  asked: Pick<Asked, 'caller' | 'deadlineMs'>,
): Promise<QueuePlace> {
  const topic = await findTopic(gateway, queue?.topic ?? null, asked);
  const queueId = queue?.id ?? 0;
  await queueOf(gateway, topic.name, queueId, asked.deadlineMs);
  return { topic: topic.name, queueId };
}

/** @throws TLedgerError OFFSET_OUT_OF_RANGE when it is negative. */
export function offsetIn(text: Int64): QueueOffset {
  const offset = int64ToNumber(text, 'offset');
  if (offset >= 0) return queueOffset(offset);
  throw new TLedgerError('OFFSET_OUT_OF_RANGE', `the offset ${offset} is negative`);
}

/** @throws TLedgerError INVALID_ARGUMENT; as `findQueue`. */
export async function queryOffset(
  edge: Edge,
  { messageQueue, queryOffsetPolicy: policy, timestamp }: QueryOffsetRequest,
  asked: Asked,
): Promise<QueryOffsetResponse> {
  const { gateway } = edge;
  named(policy, 'query_offset_policy');
  const { topic, queueId } = await findQueue(edge, messageQueue, asked);
  // What is the end here may lie before it.
  if (policy !== 'BEGINNING') await gateway.readBarrier(asked.deadlineMs);
  const { min, max } = rangeOf(gateway, topic, queueId);
  if (policy === 'BEGINNING') return { status: okStatus, offset: String(min) };
  if (policy === 'END') return { status: okStatus, offset: String(max) };
  if (timestamp === undefined) throw new TLedgerError('INVALID_ARGUMENT', 'timestamp: the policy TIMESTAMP needs one');
  const offset = await offsetByTime(gateway.broker, topic, queueId, millisOf(timestamp, 'timestamp'));
  return { status: okStatus, offset: String(offset) };
}

/** @throws TLedgerError ILLEGAL_GROUP, OFFSET_OUT_OF_RANGE (beyond the end); as `findQueue`; of the way to the leader. */
export async function updateOffset(
  edge: Edge,
  request: UpdateOffsetRequest,
  asked: Asked,
): Promise<UpdateOffsetResponse> {
  const { gateway, asks } = edge;
  const group = groupKey(request.group, asked.caller);
  const { topic, queueId } = await findQueue(edge, request.messageQueue, asked);
  const offset = offsetIn(request.offset);
  const { deadlineMs } = asked;
  // A consumer may commit what was deleted meanwhile, but not what is not there yet.
  const { min } = rangeOf(gateway, topic, queueId);
  await checkOffset(gateway, { topic, queueId, offset: Math.max(offset, min) }, deadlineMs);
  const move = { group, topic, positions: [{ queueId, offset }] };
  await asks.ask(moveCall, () => move, { sizeBytes: REQUEST_BYTES, deadlineMs });
  return { status: okStatus };
}

/** @throws TLedgerError ILLEGAL_GROUP, OFFSET_NOT_FOUND; as `findQueue`; what catching up throws. */
export async function getOffset(edge: Edge, request: GetOffsetRequest, asked: Asked): Promise<GetOffsetResponse> {
  const { gateway } = edge;
  const group = groupKey(request.group, asked.caller);
  const { topic, queueId } = await findQueue(edge, request.messageQueue, asked);
  // Another node may have been told a moment ago.
  await gateway.readBarrier(asked.deadlineMs);
  const offset = gateway.broker.tables.progress.get(group, topic)?.queues.get(queueId)?.committed;
  if (offset !== undefined) return { status: okStatus, offset: String(offset) };
  throw new TLedgerError('OFFSET_NOT_FOUND', `group ${group} has no position in queue ${queueId} of topic ${topic}`);
}
