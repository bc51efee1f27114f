// tledger.v1.Admin, consumer groups: what there is, what each has consumed, and moving it on or back.
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { checkGroupName, type GroupInfo, groupDefaults, type RetryPolicy } from '../broker/consuming/groups.ts';
import type { QueueProgress } from '../broker/consuming/progress.ts';
import { effectText } from '../broker/effects.ts';
import { offsetByTime } from '../broker/offset_by_time.ts';
import { decodeMessageRecord, encodeMessageRecord } from '../format/message.ts';
import { brokerProperty } from '../format/message_properties.ts';
import { recordFlag } from '../format/record_flags.ts';
import { deadLetterTopic, type PoppedMessage } from '../replica/consuming/types.ts';
import type {
  ConsumerGroup,
  DeleteGroupRequest,
  DeleteGroupResponse,
  DescribeGroupsRequest,
  DescribeGroupsResponse,
  GroupDescription,
  PutGroupRequest,
  PutGroupResponse,
  ResendDeadLettersRequest,
  ResendDeadLettersResponse,
  ResetGroupRequest,
  ResetGroupResponse,
  TopicProgress,
} from '../wire/group_messages.ts';
import { int64ToNumber, uint64ToNumber } from '../wire/int64.ts';
import type { OpenCall } from './calls.ts';
import { deleteGroupCall, moveCall, popCall, putGroupCall, storeCall, verdictsCall } from './consuming_calls.ts';
import type { Gateway } from './gateway.ts';
import { checkQueue, findTopic } from './reading.ts';

/** Dead letters that one call sends again, unless it says otherwise; and at most. */
const RESEND_COUNT_DEFAULT = 1_000;
const RESEND_COUNT_MAX = 100_000;
/** While they are on their way nobody else sends them. */
const RESEND_INVISIBLE_MS = 60_000;
/** The group that dead letters of `group` are read by when they are sent again. */
const resendGroup = (group: string): string => `%RESEND%${group}`;

/** All groups, or those asked for. @throws TLedgerError GROUP_NOT_FOUND; NO_LEADER and its kin. */
export async function describeGroups(
  gateway: Gateway,
  { names }: DescribeGroupsRequest,
  open: OpenCall,
): Promise<DescribeGroupsResponse> {
  await gateway.readBarrier(open.stepDeadlineMs);
  const { groups } = gateway.broker.tables;
  const wanted = names.length === 0 ? groups.list() : names.map((name) => found(gateway, name));
  return { groups: wanted.map((group) => describe(gateway, group)) };
}

/** @throws TLedgerError ILLEGAL_GROUP, INVALID_ARGUMENT, TOO_MANY_GROUPS; NO_LEADER and its kin. */
export async function putGroup(
  gateway: Gateway,
  { group }: PutGroupRequest,
  open: OpenCall,
): Promise<PutGroupResponse> {
  if (group === null) throw new TLedgerError('INVALID_ARGUMENT', 'group: it is missing');
  await gateway.readBarrier(open.stepDeadlineMs);
  const before = gateway.broker.tables.groups.get(group.name);
  const wish = fromMessage(group, before?.createdAtMs ?? Date.now());
  const made = await gateway.atLeader(putGroupCall, wish, { sizeBytes: 0, deadlineMs: open.stepDeadlineMs });
  return { group: toMessage(made), created: before === undefined };
}

/** @throws TLedgerError ILLEGAL_GROUP; NO_LEADER and its kin. */
export async function deleteGroup(
  gateway: Gateway,
  { name }: DeleteGroupRequest,
  open: OpenCall,
): Promise<DeleteGroupResponse> {
  checkGroupName(name);
  const deadlineMs = open.stepDeadlineMs;
  return { existed: await gateway.atLeader(deleteGroupCall, { name }, { sizeBytes: 0, deadlineMs }) };
}

/** @throws TLedgerError GROUP_NOT_FOUND, TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, INVALID_ARGUMENT; NO_LEADER … */
export async function resetGroup(
  gateway: Gateway,
  request: ResetGroupRequest,
  open: OpenCall,
): Promise<ResetGroupResponse> {
  const deadlineMs = open.stepDeadlineMs;
  await gateway.readBarrier(deadlineMs);
  found(gateway, request.group);
  const topic = await findTopic(gateway, request.topic, deadlineMs);
  const positions: { readonly queueId: number; readonly offset: number }[] = [];
  if (request.positions.length > 0) {
    for (const { queue, offset } of request.positions) {
      checkQueue(topic, queue);
      positions.push({ queueId: queue, offset: kept(gateway, topic.name, queue, uint64ToNumber(offset, 'offset')) });
    }
  } else {
    const timeMs = int64ToNumber(request.timestamp, 'timestamp');
    for (let queueId = 0; queueId < topic.queues; queueId++) {
      positions.push({ queueId, offset: await offsetByTime(gateway.broker, topic.name, queueId, Math.max(0, timeMs)) });
    }
  }
  const move = { group: request.group, topic: topic.name, positions };
  await gateway.atLeader(moveCall, move, { sizeBytes: 0, deadlineMs });
  return { positions: positions.map(({ queueId, offset }) => ({ queue: queueId, offset: String(offset) })) };
}

/**
 * Each dead letter is sent once: the record that brings it into its topic also settles it. All groups of the topic get it.
 * @throws TLedgerError GROUP_NOT_FOUND, INVALID_ARGUMENT; NO_LEADER and its kin: some may have been sent.
 */
export async function resendDeadLetters(
  gateway: Gateway,
  { group, maxCount }: ResendDeadLettersRequest,
  open: OpenCall,
): Promise<ResendDeadLettersResponse> {
  if (maxCount < 0 || maxCount > RESEND_COUNT_MAX) {
    throw new TLedgerError('INVALID_ARGUMENT', `max_count: ${maxCount} is not between 0 and ${RESEND_COUNT_MAX}`);
  }
  await gateway.readBarrier(open.stepDeadlineMs);
  found(gateway, group);
  const topic = deadLetterTopic(group);
  if (gateway.broker.topic(topic) === undefined) return { count: 0, complete: true };
  const deadlineMs = open.stepDeadlineMs;
  const wanted = maxCount === 0 ? RESEND_COUNT_DEFAULT : maxCount;
  const request = {
    group: resendGroup(group),
    topic,
    filter: { type: 'tag', expression: '*' },
    bytesMax: 4 * 1_048_576,
    invisibleMs: RESEND_INVISIBLE_MS,
    attemptId: '',
    waitMs: 0,
  } as const;
  for (let count = 0; count < wanted; ) {
    const pop = { ...request, countMax: wanted - count };
    const letters = await gateway.atLeader(popCall, pop, { sizeBytes: 0, deadlineMs });
    if (letters.length === 0) return { count, complete: true };
    await Promise.all(letters.map((letter) => resend(gateway, request.group, topic, letter, deadlineMs)));
    count += letters.length;
  }
  return { count: wanted, complete: false };
}

async function resend(
  gateway: Gateway,
  group: string,
  from: string,
  letter: PoppedMessage,
  deadlineMs: number,
): Promise<void> {
  const { record, queueId, offset } = letter;
  const message = decodeMessageRecord(record, 0, record.length);
  const properties = new Map(message?.properties);
  const topic = gateway.broker.topic(properties.get(brokerProperty.deadLetterTopic) ?? '');
  if (message === undefined || topic === undefined) {
    // Its topic is gone: there is no place for it.
    const verdicts = [{ receipt: letter, verdict: { kind: 'acknowledge' } as const }];
    await gateway.atLeader(verdictsCall, { group, topic: from, verdicts }, { sizeBytes: 0, deadlineMs });
    return;
  }
  properties.delete(brokerProperty.deadLetterTopic);
  properties.delete(brokerProperty.deadLetterId);
  properties.set(brokerProperty.effect, effectText({ kind: 'settle', group, topic: from, queueId, offset }));
  const { body, tag, keys, bornAtMs } = message;
  const place = { topic: topic.name, queueId: offset % topic.queues };
  const copy = { ...place, body, tag, keys, properties: Object.fromEntries(properties), bornAtMs };
  const request = { ...place, flags: recordFlag.effect, records: encodeMessageRecord(copy) };
  await gateway.atLeader(storeCall, request, { sizeBytes: request.records.length, deadlineMs });
}

function describe(gateway: Gateway, group: GroupInfo): GroupDescription {
  const { broker } = gateway;
  const topics = broker.tables.progress
    .ofGroup(group.name)
    .map(({ topic, queues }) => progressOf(gateway, topic, queues));
  const letters = deadLetterTopic(group.name);
  const sent = broker.tables.progress.get(resendGroup(group.name), letters)?.queues.get(0);
  const range = broker.topic(letters) === undefined ? null : broker.range(letters, 0);
  const waiting = range === null ? 0 : lagOf(sent, range);
  return { group: toMessage(group), topics, deadLetters: String(waiting) };
}

function progressOf(gateway: Gateway, topic: string, queues: ReadonlyMap<number, QueueProgress>): TopicProgress {
  const count = gateway.broker.topic(topic)?.queues ?? 0;
  let lag = 0;
  const rows = Array.from({ length: count }, (_, queueId) => {
    const { min, max } = gateway.broker.range(topic, queueId);
    const progress = queues.get(queueId);
    const ofQueue = lagOf(progress, { min, max });
    lag += ofQueue;
    return {
      queue: queueId,
      committedOffset: String(Math.max(min, progress?.committed ?? 0)),
      nextOffset: String(Math.max(min, progress?.next ?? 0)),
      inFlight: String(progress?.inFlight.size ?? 0),
      minOffset: String(min),
      maxOffset: String(max),
      lag: String(ofQueue),
    };
  });
  return { topic, queues: rows, lag: String(lag) };
}

function lagOf(
  progress: QueueProgress | undefined,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  return max - Math.min(max, Math.max(min, progress?.next ?? 0)) + (progress?.inFlight.size ?? 0);
}

function found(gateway: Gateway, name: string): GroupInfo {
  const group = gateway.broker.tables.groups.get(name);
  if (group === undefined) throw new TLedgerError('GROUP_NOT_FOUND', `there is no consumer group ${quoted(name)}`);
  return group;
}

function kept(gateway: Gateway, topic: string, queueId: number, offset: number): number {
  const { min, max } = gateway.broker.range(topic, queueId);
  if (offset >= min && offset <= max) return offset;
  throw new TLedgerError(
    'OFFSET_OUT_OF_RANGE',
    `queue ${queueId} of topic ${topic} has the offsets ${min} to ${max}, not ${offset}`,
  );
}

function toMessage({ name, isFifo, attemptsMax, retryPolicy, createdAtMs, lite }: GroupInfo): ConsumerGroup {
  const retryMs = retryPolicy.kind === 'customized' ? retryPolicy.stepsMs : stepsOf(retryPolicy);
  return {
    name,
    fifo: isFifo,
    maxAttempts: attemptsMax,
    retryMs: retryMs.map(String),
    createdTimestamp: String(createdAtMs),
    liteTopic: lite?.topic ?? '',
    liteExclusive: lite?.isExclusive ?? false,
  };
}

function fromMessage(
  { name, fifo, maxAttempts, retryMs, liteTopic = '', liteExclusive = false }: ConsumerGroup,
  createdAtMs: number,
): GroupInfo {
  if (liteExclusive && liteTopic === '') {
    throw new TLedgerError('INVALID_ARGUMENT', 'lite_exclusive: it needs a lite_topic');
  }
  return {
    name,
    isFifo: fifo,
    attemptsMax: maxAttempts === 0 ? groupDefaults.attemptsMax : maxAttempts,
    retryPolicy:
      retryMs.length === 0
        ? groupDefaults.retryPolicy
        : { kind: 'customized', stepsMs: retryMs.map((ms) => uint64ToNumber(ms, 'retry_ms')) },
    createdAtMs,
    lite: liteTopic === '' ? undefined : { topic: liteTopic, isExclusive: liteExclusive },
  };
}

/** The steps that an exponential policy comes to. */
function stepsOf({ initialMs, maxMs, multiplier }: RetryPolicy & { readonly kind: 'exponential' }): number[] {
  const steps = [initialMs];
  while (steps.at(-1)! < maxMs && steps.length < 64) steps.push(Math.min(maxMs, Math.ceil(steps.at(-1)! * multiplier)));
  return steps;
}
