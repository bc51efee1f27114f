// What becomes of messages that were handed out: AckMessage, ChangeInvisibleDuration, ForwardMessageToDeadLetterQueue
// (ROCKETMQ §4.10 - §4.12).
import { TLedgerError } from '../../base/errors.ts';
import type { ChangeMode } from '../../broker/consuming/consume_command.ts';
import type { Settled, Verdict } from '../../replica/consuming/types.ts';
import type {
  AckMessageRequest,
  AckMessageResponse,
  ChangeInvisibleDurationRequest,
  ChangeInvisibleDurationResponse,
  ForwardMessageToDeadLetterQueueRequest,
  ForwardMessageToDeadLetterQueueResponse,
} from '../../wire/rocketmq/service_messages.ts';
import { verdictsCall } from '../consuming_calls.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { type DeliveryReceipt, type GroupTopic, invalidReceipt, readReceiptHandle, receiptHandle } from './handles.ts';
import { rocketmqLimits } from './message_check.ts';
import { groupKey, topicKey } from './namespaces.ts';
import { okStatus, statusOfEntries, statusOfError } from './status.ts';
import { millisOf } from './times.ts';

/** About what one verdict takes on its way. */
const VERDICT_BYTES = 96;
/** Entries of one AckMessage. */
const ENTRIES_MAX = 4_096;

const ofRequest = (
  { group, topic }: Pick<AckMessageRequest, 'group' | 'topic'>,
  { caller }: Pick<Asked, 'caller'>,
): GroupTopic => ({ topic: topicKey(topic, caller), group: groupKey(group, caller) });

/** One verdict for several receipts; in their order, whether it was carried out. */
function decide(
  { asks, renewals }: Edge,
  of: GroupTopic,
  receipts: readonly DeliveryReceipt[],
  verdict: Verdict,
  deadlineMs: number,
) {
  for (const receipt of receipts) renewals.forget(of, receipt);
  const request = { ...of, verdicts: receipts.map((receipt) => ({ receipt, verdict })) };
  return asks.askKnowing(verdictsCall, () => request, { sizeBytes: VERDICT_BYTES * receipts.length, deadlineMs });
}

/** @throws TLedgerError ILLEGAL_TOPIC, ILLEGAL_GROUP, INVALID_ARGUMENT; of the way there. Receipts are judged one by one. */
export async function acknowledge(edge: Edge, request: AckMessageRequest, asked: Asked): Promise<AckMessageResponse> {
  const of = ofRequest(request, asked);
  if (request.entries.length === 0 || request.entries.length > ENTRIES_MAX) {
    throw new TLedgerError('INVALID_ARGUMENT', `${request.entries.length} entries; 1 to ${ENTRIES_MAX} are allowed`);
  }
  const receipts = request.entries.map(({ receiptHandle: text }) => {
    try {
      return readReceiptHandle(text, of);
    } catch {
      return null;
    }
  });
  const readable = receipts.filter((receipt) => receipt !== null);
  let settled: readonly Settled[] = [];
  if (readable.length > 0) {
    settled = (await decide(edge, of, readable, { kind: 'acknowledge' }, asked.deadlineMs)).result;
  }
  let next = 0;
  const entries = request.entries.map(({ messageId, receiptHandle: handle }, at) => {
    const isDone = receipts[at] !== null && settled[next++]?.isDone === true;
    return { messageId, receiptHandle: handle, status: isDone ? okStatus : statusOfError(invalidReceipt()) };
  });
  return { status: statusOfEntries(entries), entries };
}

/** @throws TLedgerError ILLEGAL_TOPIC, ILLEGAL_GROUP, ILLEGAL_INVISIBLE_TIME, INVALID_RECEIPT_HANDLE; of the way there. */
export async function changeInvisibleDuration(
  edge: Edge,
  request: ChangeInvisibleDurationRequest,
  asked: Asked,
): Promise<ChangeInvisibleDurationResponse> {
  const of = ofRequest(request, asked);
  const { invisibleDuration, suspend } = request;
  const invisibleMs = invisibleDuration === null ? 0 : millisOf(invisibleDuration, 'invisible_duration');
  if (invisibleMs < 0 || invisibleMs > rocketmqLimits.invisibleMsMax) {
    throw new TLedgerError(
      'ILLEGAL_INVISIBLE_TIME',
      `the invisible time is ${invisibleMs} ms; 0 to ${rocketmqLimits.invisibleMsMax} are allowed`,
    );
  }
  const receipt = readReceiptHandle(request.receiptHandle, of);
  const mode = suspend === true ? 'uncounted' : 'handle';
  const verdict: Verdict = { kind: 'change', invisibleMs, mode };
  const { result, isRepeat } = await decide(edge, of, [receipt], verdict, asked.deadlineMs);
  const [settled] = result;
  let handle = settled?.isDone === true ? settled.handle : null;
  if (handle === null && isRepeat) handle = await handleNow(edge, of, receipt, { mode, deadlineMs: asked.deadlineMs });
  if (handle === null) throw invalidReceipt();
  return { status: okStatus, receiptHandle: receiptHandle({ ...receipt, handle }, of) };
}

/**
 * The handle that an asking gave whose answer was lost. Nobody else got the message meanwhile if it is still at the attempt
 * that the client has, as each delivery counts up; or, where the next one does not, if there was no next one.
 */
async function handleNow(
  { gateway }: Edge,
  of: GroupTopic,
  receipt: DeliveryReceipt,
  { mode, deadlineMs }: { readonly mode: ChangeMode; readonly deadlineMs: number },
) {
  await gateway.readBarrier(deadlineMs);
  const queue = gateway.broker.tables.progress.get(of.group, of.topic)?.queues.get(receipt.queueId);
  const delivery = queue?.inFlight.get(receipt.offset);
  if (delivery === undefined || delivery.attempt !== receipt.attempt || delivery.handle <= receipt.handle) return null;
  return mode === 'handle' || delivery.isGivenBack ? delivery.handle : null;
}

/** @throws TLedgerError ILLEGAL_TOPIC, ILLEGAL_GROUP, INVALID_RECEIPT_HANDLE (unreadable only); of the way there. */
export async function forwardToDeadLetters(
  edge: Edge,
  request: ForwardMessageToDeadLetterQueueRequest,
  asked: Asked,
): Promise<ForwardMessageToDeadLetterQueueResponse> {
  const of = ofRequest(request, asked);
  const receipt = readReceiptHandle(request.receiptHandle, of);
  await decide(edge, of, [receipt], { kind: 'bury' }, asked.deadlineMs);
  // Consumers ask for ever until they hear yes: whatever came of it, the message is not theirs any more.
  return { status: okStatus };
}
