// What becomes of messages that are held back: RecallMessage for delayed ones, EndTransaction for halves (ROCKETMQ §4.7, §4.8).
import { TLedgerError } from '../../base/errors.ts';
import type {
  EndTransactionRequest,
  EndTransactionResponse,
  RecallMessageRequest,
  RecallMessageResponse,
} from '../../wire/rocketmq/service_messages.ts';
import { recallCall, resolveCall } from '../consuming_calls.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { named } from './enums.ts';
import { readRecallHandle } from './handles.ts';
import { rocketmqLimits } from './message_check.ts';
import { topicKey } from './namespaces.ts';
import { okStatus } from './status.ts';
import { findTopic } from './topics.ts';

/** About what such a request takes on its way. */
const REQUEST_BYTES = 512;

/** @throws TLedgerError ILLEGAL_TOPIC, TOPIC_NOT_FOUND, INVALID_ARGUMENT (handle), ILLEGAL_DELIVERY_TIME; of the way there. */
export async function recallMessage(
  { gateway, asks, clock }: Edge,
  { topic: resource, recallHandle }: RecallMessageRequest,
  asked: Asked,
): Promise<RecallMessageResponse> {
  topicKey(resource, asked.caller);
  const { index, dueMs, messageId } = readRecallHandle(recallHandle);
  const { name: topic } = await findTopic(gateway, resource, asked);
  const options = { sizeBytes: REQUEST_BYTES, deadlineMs: asked.deadlineMs };
  // Gone before it was due, after an asking whose answer was lost: that asking recalled it.
  const wasUs = (error: unknown) =>
    error instanceof TLedgerError && error.code === 'ILLEGAL_DELIVERY_TIME' && clock.wallMs() < dueMs
      ? messageId
      : undefined;
  const { result } = await asks.askKnowing(recallCall, () => ({ index, topic }), options, wasUs);
  return { status: okStatus, messageId: result };
}

/** @throws TLedgerError ILLEGAL_TOPIC, INVALID_TRANSACTION_ID, TRANSACTION_NOT_FOUND; of the way there. */
export async function endTransaction(
  { asks }: Edge,
  { topic: resource, transactionId: id, resolution }: EndTransactionRequest,
  { caller, deadlineMs }: Asked,
): Promise<EndTransactionResponse> {
  const topic = topicKey(resource, caller);
  named(resolution, 'resolution');
  if (id.trim() === '') throw new TLedgerError('INVALID_TRANSACTION_ID', 'transaction id cannot be empty');
  if (Buffer.byteLength(id) > rocketmqLimits.storedPropertyBytesMax) {
    throw new TLedgerError('INVALID_TRANSACTION_ID', `no message has an id of ${id.length} characters`);
  }
  if (resolution === 'COMMIT' || resolution === 'ROLLBACK') {
    const request = { topic, id, resolution: resolution === 'COMMIT' ? ('commit' as const) : ('rollback' as const) };
    const sizeBytes = REQUEST_BYTES + Buffer.byteLength(id);
    // Saying it twice is right: an asking whose answer was lost may have been heard.
    await asks.ask(resolveCall, () => request, { sizeBytes, deadlineMs });
  }
  return { status: okStatus };
}
