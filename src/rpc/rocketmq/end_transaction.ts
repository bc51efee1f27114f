// EndTransaction: a half is committed or rolled back (ROCKETMQ §4.7). How it ended is remembered (broker/parked/ended.ts), so that
// clients, and this node, may say it as often as they like.
import { TLedgerError } from '../../base/errors.ts';
import type { EndTransactionRequest, EndTransactionResponse } from '../../wire/rocketmq/service_messages.ts';
import { resolveCall } from '../consuming_calls.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { named } from './enums.ts';
import { rocketmqLimits } from './message_check.ts';
import { topicKey } from './namespaces.ts';
import { okStatus } from './status.ts';

/** About what such a request takes on its way, beside the id. */
const REQUEST_BYTES = 512;

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
