// RecallMessage: a delayed message that is not due yet is not delivered (ROCKETMQ §4.8).
import { TLedgerError } from '../../base/errors.ts';
import type { RecallMessageRequest, RecallMessageResponse } from '../../wire/rocketmq/service_messages.ts';
import { recallCall } from '../consuming_calls.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { readRecallHandle } from './handles.ts';
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
