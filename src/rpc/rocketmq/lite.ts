// SyncLiteSubscription: a client tells which lite topics of a parent topic it wants, and where to begin (ROCKETMQ §5.9).
import { TLedgerError } from '../../base/errors.ts';
import type { LiteBinding } from '../../broker/consuming/groups.ts';
import { checkLiteName } from '../../broker/lite/lite_table.ts';
import { offsetByTime } from '../../broker/offset_by_time.ts';
import { int64ToNumber } from '../../wire/int64.ts';
import type { OffsetOption } from '../../wire/rocketmq/definitions.ts';
import type {
  SyncLiteSubscriptionRequest,
  SyncLiteSubscriptionResponse,
} from '../../wire/rocketmq/service_messages.ts';
import { bindLiteCall, moveCall } from '../consuming_calls.ts';
import { rangeOf } from '../reading.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { named } from './enums.ts';
import type { GroupTopic } from './handles.ts';
import type { ExclusiveLite } from './lite_exclusive.ts';
import { groupKey } from './namespaces.ts';
import { okStatus } from './status.ts';
import { findTopic } from './topics.ts';

const REQUEST_BYTES = 256;

/**
 * @throws TLedgerError ILLEGAL_GROUP (bound to another parent, too), ILLEGAL_TOPIC (not of type lite, too), TOPIC_NOT_FOUND, ILLEGAL_LITE_TOPIC,
 * UNRECOGNIZED_CLIENT, LITE_SUBSCRIPTION_QUOTA_EXCEEDED; of the way to the leader. The client wants what it wanted then.
 */
export async function syncLiteSubscription(
  edge: Edge,
  exclusive: ExclusiveLite,
  request: SyncLiteSubscriptionRequest,
  asked: Asked,
): Promise<SyncLiteSubscriptionResponse> {
  const { gateway, clients, lite } = edge;
  const { liteTopicSet: names, offsetOption } = request;
  const action = named(request.action, 'action');
  const group = groupKey(request.group, asked.caller);
  const topic = await findTopic(gateway, request.topic, asked);
  if (topic.messageType !== 'lite') throw new TLedgerError('ILLEGAL_TOPIC', `topic ${topic.name} has no lite topics`);
  const { clientId } = clients.known(asked.caller);
  const of = { group, topic: topic.name };
  if (action === 'PARTIAL_ADD' || action === 'COMPLETE_ADD') for (const name of names) checkLiteName(name);
  const { isExclusive } = await bind(edge, of, asked.deadlineMs);
  const wanted = isExclusive
    ? await exclusive.claim({ clientId, of, action, names }, asked.deadlineMs)
    : lite.plan(clientId, of, action, names);
  const before = lite.of(clientId, of);
  const isNew = (name: string): boolean => !before.has(name) && !lite.isWantedByOthers(clientId, of, name);
  // Before anything is handed out from where the group was.
  if (offsetOption !== undefined) await moveTo(edge, of, [...wanted].filter(isNew), offsetOption, asked);
  // It may have gone while the leader was asked: nothing is kept for those.
  if (clients.get(clientId) === undefined) exclusive.release(clientId, [{ of, names: wanted }]);
  clients.known(asked.caller);
  lite.put(clientId, of, wanted);
  return { status: okStatus };
}

/** The group is bound to the parent topic that it subscribes to first. @throws TLedgerError ILLEGAL_GROUP when to another. */
async function bind({ gateway, asks }: Edge, of: GroupTopic, deadlineMs: number): Promise<LiteBinding> {
  const known = gateway.broker.tables.groups.get(of.group)?.lite;
  const lite = known ?? (await asks.ask(bindLiteCall, () => of, { sizeBytes: REQUEST_BYTES, deadlineMs }));
  checkBinding(of, lite);
  return lite;
}

/** @param lite what the group is bound to; undefined while to nothing. @throws TLedgerError ILLEGAL_GROUP */
export function checkBinding({ group, topic }: GroupTopic, lite: LiteBinding | undefined): void {
  if (lite === undefined || lite.topic === topic) return;
  throw new TLedgerError('ILLEGAL_GROUP', `group ${group} is bound to the lite topics of ${lite.topic}, not ${topic}`);
}

/** Lite topics that do not exist yet begin at 0 whatever is asked for. */
async function moveTo(
  { gateway, asks }: Edge,
  of: GroupTopic,
  names: readonly string[],
  option: OffsetOption,
  { deadlineMs }: Asked,
): Promise<void> {
  const isLast = option.policy === 'LAST' || Object.values(option).every((one) => one === undefined);
  if (names.length === 0 || isLast) return;
  await gateway.readBarrier(deadlineMs);
  const positions: { queueId: number; offset: number }[] = [];
  for (const name of names) {
    const queueId = gateway.broker.tables.lite.queueOf(of.topic, name);
    if (queueId !== undefined) positions.push({ queueId, offset: await offsetOf(gateway, of.topic, queueId, option) });
  }
  if (positions.length === 0) return;
  const move = { ...of, positions };
  await asks.ask(moveCall, () => move, { sizeBytes: REQUEST_BYTES * positions.length, deadlineMs });
}

async function offsetOf(
  gateway: Edge['gateway'],
  topic: string,
  queueId: number,
  { policy, offset, tailN, timestamp }: OffsetOption,
): Promise<number> {
  const { min, max } = rangeOf(gateway, topic, queueId);
  const within = (wish: number): number => Math.min(Math.max(wish, min), max);
  if (policy === 'MIN') return min;
  if (policy === 'MAX') return max;
  if (offset !== undefined) return within(int64ToNumber(offset, 'offset'));
  if (tailN !== undefined) return within(max - Math.max(0, int64ToNumber(tailN, 'tail_n')));
  return offsetByTime(gateway.broker, topic, queueId, int64ToNumber(timestamp ?? '0', 'timestamp'));
}
